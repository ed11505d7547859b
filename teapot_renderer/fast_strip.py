"""The innermost loop of the fast back-end, as vector instructions: four samples, or four quantities, at a time.

numba's compiler does not turn loops as short as these into vector instructions by itself, and they are where the time
goes; so the vectors are spelled out here, and LLVM makes of them what the processor has.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 4
"""Samples of a row that are drawn together."""

_INTEGER = ir.IntType(32)
_LONG = ir.IntType(64)
_INTEGERS = ir.VectorType(_INTEGER, LANES)
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_DOUBLES = ir.VectorType(ir.DoubleType(), LANES)
_BYTES_PER_SAMPLE = 8
_NO_NAN = {"fastmath": ("nnan", "nsz")}


@intrinsic
def draw_rows(  # type: ignore[no-untyped-def]
    typing_context,
    samples,
    stride,
    rows,
    strips,
    values,
    corners,
    shares,
    shares_right,
    shares_down,
    edges,
    right,
    down,
):
    """Draws what a triangle covers of some rows of samples.

    Args:
        samples: address of the first row's first sample. A sample is an int64 with the bits of its nearness (a positive
            float32) above and its color (red, green, blue, 8 bits each) below.
        stride: bytes from a sample to the one below it, int64.
        rows: how many rows, int64.
        strips: how many times four samples in each row, int64, at least 1.
        values: address of float32 of shape (vertices, 4): nearness, and red, green and blue (0 to 255) times it.
        corners: the triangle's vertices, three int64.
        shares: of the corners in the values at the first sample, three float32.
        shares_right: how the shares change to the sample at the right.
        shares_down: how they change to the sample below.
        edges: the edge functions at the first sample, three int32; a sample is covered where none is negative.
        right: how they change to the sample at the right.
        down: how they change to the sample below.
    """
    arguments = samples, stride, rows, strips, values, corners, shares, shares_right, shares_down, edges, right, down
    return types.void(*arguments), _generate


@intrinsic
def least_of_square(typing_context, samples, stride):  # type: ignore[no-untyped-def]
    """The smallest of 4 x 4 samples.

    Args:
        samples: address of the first.
        stride: bytes from a sample to the one below it, int64.

    Returns:
        int64.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place, stride = arguments
        least = None
        for row in range(LANES):
            line = builder.add(place, builder.mul(stride, ir.Constant(_LONG, row)))
            values = builder.load(builder.inttoptr(line, _DOUBLES.as_pointer()), align=8)
            least = values if least is None else builder.call(_extreme(builder, "minnum"), [least, values], **_NO_NAN)
        longs = builder.bitcast(least, ir.VectorType(_LONG, LANES))
        lanes = [builder.extract_element(longs, ir.Constant(_INTEGER, number)) for number in range(LANES)]
        smallest = lanes[0]
        for lane in lanes[1:]:
            smallest = builder.select(builder.icmp_signed("<", lane, smallest), lane, smallest)
        return smallest

    return types.int64(samples, stride), generate


def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    samples, stride, rows, strips, values, corners, *rest = arguments
    shares, shares_right, shares_down, edges, right, down = (
        [builder.extract_value(triple, number) for number in range(3)] for triple in rest
    )
    rows_of_values = builder.inttoptr(values, _FLOATS.as_pointer())
    at_corners = [
        builder.load(builder.gep(rows_of_values, [builder.extract_value(corners, number)]), align=4)
        for number in range(3)
    ]
    start = _blend(builder, at_corners, shares)
    step_right = _blend(builder, at_corners, shares_right)
    step_down = _blend(builder, at_corners, shares_down)

    lanes = ir.Constant(_INTEGERS, list(range(LANES)))
    float_lanes = ir.Constant(_FLOATS, [float(lane) for lane in range(LANES)])
    edge_steps = [_spread(builder, step, _INTEGERS) for step in right]
    first_edges = [
        builder.add(_spread(builder, edge, _INTEGERS), builder.mul(lanes, step))
        for edge, step in zip(edges, edge_steps, strict=True)
    ]
    next_strip = [builder.shl(step, ir.Constant(_INTEGERS, [LANES.bit_length() - 1] * LANES)) for step in edge_steps]
    next_row = [_spread(builder, step, _INTEGERS) for step in down]
    along = [builder.fmul(float_lanes, _lane(builder, step_right, number)) for number in range(LANES)]
    values_next_strip = builder.fmul(step_right, ir.Constant(_FLOATS, [float(LANES)] * LANES))

    row_edges = [cgutils.alloca_once_value(builder, edge) for edge in first_edges]
    strip_edges = [cgutils.alloca_once(builder, _INTEGERS) for _ in first_edges]
    strip_values = cgutils.alloca_once(builder, _FLOATS)
    with cgutils.for_range(builder, rows) as row:
        # From the first row each time, so that roundings do not add up.
        number = _spread(builder, builder.sitofp(row.index, ir.FloatType()), _FLOATS)
        builder.store(builder.fadd(start, builder.fmul(number, step_down)), strip_values)
        for strip_edge, row_edge, step in zip(strip_edges, row_edges, next_row, strict=True):
            edge = builder.load(row_edge)
            builder.store(edge, strip_edge)
            builder.store(builder.add(edge, step), row_edge)
        in_row = builder.add(samples, builder.mul(row.index, stride))
        with cgutils.for_range(builder, strips) as strip:
            offset = builder.mul(strip.index, ir.Constant(_LONG, LANES * _BYTES_PER_SAMPLE))
            place = builder.inttoptr(builder.add(in_row, offset), _DOUBLES.as_pointer())
            here = builder.load(strip_values)
            _draw_strip(builder, place, [builder.load(edge) for edge in strip_edges], here, along)
            builder.store(builder.fadd(here, values_next_strip), strip_values)
            for strip_edge, step in zip(strip_edges, next_strip, strict=True):
                builder.store(builder.add(builder.load(strip_edge), step), strip_edge)
    return context.get_dummy_value()


def _draw_strip(builder: Any, place: Any, edges: list[Any], here: Any, along: list[Any]) -> None:
    """Four samples: covered ones get the triangle's color where it is nearer than what is there."""
    nothing = ir.Constant(_INTEGERS, [0] * LANES)
    negative = builder.or_(builder.or_(edges[0], edges[1]), edges[2])
    inside = builder.icmp_signed(">=", negative, nothing)
    nearness = builder.fadd(_lane(builder, here, 0), along[0])
    distance = builder.fdiv(ir.Constant(_FLOATS, [1.0] * LANES), nearness)
    color = nothing
    for channel in (1, 2, 3):
        scaled = builder.fadd(_lane(builder, here, channel), along[channel])
        level = builder.fadd(builder.fmul(scaled, distance), ir.Constant(_FLOATS, [0.5] * LANES))
        color = builder.or_(builder.shl(color, ir.Constant(_INTEGERS, [8] * LANES)), builder.fptosi(level, _INTEGERS))
    color = builder.select(inside, color, nothing)
    bits = builder.select(inside, builder.bitcast(nearness, _INTEGERS), nothing)
    order = [half * LANES + lane for lane in range(LANES) for half in (0, 1)]
    pairs = builder.shuffle_vector(color, bits, ir.Constant(ir.VectorType(_INTEGER, 2 * LANES), order))

    there, drawn = builder.load(place, align=8), builder.bitcast(pairs, _DOUBLES)
    builder.store(builder.call(_extreme(builder, "maxnum"), [there, drawn], **_NO_NAN), place, align=8)


def _extreme(builder: Any, name: str) -> Any:
    """The instruction for the larger or the smaller of samples: as double-precision numbers they have the same order.

    It is asked for by its name: of a comparison and a selection LLVM makes a masked store, slow on many processors.
    """
    kind = ir.FunctionType(_DOUBLES, [_DOUBLES, _DOUBLES])
    return cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f64")


def _blend(builder: Any, vectors: list[Any], shares: list[Any]) -> Any:
    """The sum of three vectors' shares."""
    first, second, third = (
        builder.fmul(vector, _spread(builder, share, _FLOATS)) for vector, share in zip(vectors, shares, strict=True)
    )
    return builder.fadd(builder.fadd(first, second), third)


def _lane(builder: Any, vector: Any, number: int) -> Any:
    """A vector of one element of another."""
    return builder.shuffle_vector(vector, ir.Constant(_FLOATS, ir.Undefined), ir.Constant(_INTEGERS, [number] * LANES))


def _spread(builder: Any, value: Any, kind: Any) -> Any:
    """A vector of equal elements."""
    nothing = ir.Constant(kind, ir.Undefined)
    single = builder.insert_element(nothing, value, ir.Constant(_INTEGER, 0))
    return builder.shuffle_vector(single, nothing, ir.Constant(_INTEGERS, [0] * LANES))
