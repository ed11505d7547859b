"""The loops of `data_gen.fast_bilinear`: weighted sums of bytes, 4 or 16 at a time."""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_BITS = 22
_LONG = ir.IntType(64)
_INTEGER = ir.IntType(32)
_BYTE = ir.IntType(8)


def _mixer(lanes: int) -> Any:
    """Makes the function that adds up so many neighboring bytes of several places, each place with its weight."""
    several_bytes, several = ir.VectorType(_BYTE, lanes), ir.VectorType(_INTEGER, lanes)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place, stride, weights, taps, target = arguments
        half = ir.Constant(several, [1 << (_BITS - 1)] * lanes)
        total = cgutils.alloca_once_value(builder, half)
        with cgutils.for_range(builder, taps) as tap:
            here = builder.add(place, builder.mul(tap.index, stride))
            loaded = builder.load(builder.inttoptr(here, several_bytes.as_pointer()), align=1)
            at = builder.add(weights, builder.mul(tap.index, ir.Constant(_LONG, 4)))
            weight = builder.load(builder.inttoptr(at, _INTEGER.as_pointer()), align=4)
            one = builder.insert_element(ir.Constant(several, ir.Undefined), weight, ir.Constant(_INTEGER, 0))
            spread = builder.shuffle_vector(one, one, ir.Constant(several, [0] * lanes))
            product = builder.mul(builder.zext(loaded, several), spread)
            builder.store(builder.add(builder.load(total), product), total)
        shifted = builder.lshr(builder.load(total), ir.Constant(several, [_BITS] * lanes))
        pointer = builder.inttoptr(target, several_bytes.as_pointer())
        builder.store(builder.trunc(shifted, several_bytes), pointer, align=1)
        return context.get_dummy_value()

    @intrinsic
    def mix(typing_context, place, stride, weights, taps, target):  # type: ignore[no-untyped-def]
        return types.void(place, stride, weights, taps, target), generate

    return mix


_mix_4 = _mixer(4)
_mix_16 = _mixer(16)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def scale(  # type: ignore[no-untyped-def]
    source, top, left, rows, across, weights_across, down, weights_down, scratch, result
):
    """Scales a window of an image: first along the rows, then down the columns, rounded to bytes both times.

    Args:
        source: uint8 of shape (height, width, 4).
        top, left: where the window starts.
        rows: how many it has.
        across, weights_across: of the columns, see `fast_bilinear.windows`.
        down, weights_down: of the rows.
        scratch: uint8 of shape (at least rows + 1, 4 * new width rounded up to a multiple of 16).
        result: uint8 of shape (new height, new width, 3), filled in.
    """
    row_bytes, scratch_bytes = source.strides[0], scratch.strides[0]
    taps_across, taps_down = weights_across.shape[1], weights_down.shape[1]
    start = source.ctypes.data + top * row_bytes + left * 4
    first_weight, held = weights_across.ctypes.data, scratch.ctypes.data
    for row in range(rows):
        place, target = start + row * row_bytes, held + row * scratch_bytes
        for column in range(result.shape[1]):
            weights = first_weight + column * taps_across * 4
            _mix_4(place + across[column] * 4, 4, weights, taps_across, target + column * 4)
    first_weight = weights_down.ctypes.data
    line = held + rows * scratch_bytes
    for row in range(result.shape[0]):
        place, weights = held + down[row] * scratch_bytes, first_weight + row * taps_down * 4
        for wide in range(0, scratch_bytes, 16):
            _mix_16(place + wide, scratch_bytes, weights, taps_down, line + wide)
        for column in range(result.shape[1]):
            for color in range(3):
                result[row, column, color] = scratch[rows, column * 4 + color]
