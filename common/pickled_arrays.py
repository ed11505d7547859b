"""Reads pickled numbers, text and numpy arrays, and runs nothing: see `common.pickle_reader`."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError, disk_error
from common.pickle_reader import Call, Function, Pending, PickleReader, RefusedError, Unknown, shown

_READ = "only dictionaries, lists, tuples, numbers, text and numpy arrays are read, and nothing is ever run"
_TYPE_CODE = re.compile(r"b1|[iu][1248]|f[248]|c8|c16|[SU][1-9][0-9]{0,5}")
_LAST_CHARACTER = 0x10FFFF
_MAX_DIMENSIONS = 64


class _OtherContentsError(ValueError):
    """The file is whole but not what was asked for."""


def read_pickled(source: str | os.PathLike[str] | bytes, *, only: Collection[str] | None = None) -> Any:
    """Reads a pickle of plain containers, numbers, text and numpy arrays; nothing in it is imported or called.

    Known are dictionaries (with text or whole numbers for keys), lists, tuples, None, truth values, numbers, text, byte
    strings, and the arrays, scalars and types of numpy, as Python 2 and 3 and every version of numpy write them in the
    protocols 0 to 5. Sizes are checked against the file's own, so that a small file cannot fill the memory. What
    follows the first object of a file is left alone, as `pickle.load` does.

    Args:
        source: a file's path, or its bytes.
        only: the object must be a dictionary, and these of its entries are wanted, with these names as keys (Python 2's
            byte strings count as text). Other entries may hold anything; they are passed over. Default: all of it.

    Returns:
        the object. Byte strings of Python 2 are `bytes`; arrays are read-only views of the file's bytes.

    Raises:
        UserError: if the file is damaged, holds anything else, or lacks an entry that is wanted.
    """
    name = "the pickle" if isinstance(source, bytes) else os.fspath(source)
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        reader = PickleReader(data, _FUNCTIONS, strict=only is None)
        found = reader.read()
        return reader.finished(found if only is None else _entries(found, only))
    except OSError as error:
        raise disk_error(error) or error from error
    except RefusedError as error:
        raise UserError(f"{name}: refused, because it holds {error}; {_READ}") from None
    except _OtherContentsError as error:
        raise UserError(f"{name}: {error}") from None
    except ValueError as error:
        raise UserError(f"{name}: not a whole pickle ({error}); copy or download it again") from None
    except MemoryError:
        raise UserError(f"{name}: does not fit into memory; close other programs") from None


def _entries(found: Any, only: Collection[str]) -> dict[str, Any]:
    """The wanted entries of a dictionary, with text for keys."""
    if isinstance(found, Unknown):
        raise RefusedError(found.what)
    if not isinstance(found, dict):
        raise _OtherContentsError(f"holds no dictionary; expected one with the entries {', '.join(only)}")
    named = {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in found.items()}
    missing = [name for name in only if name not in named]
    if missing:
        there = ", ".join(shown(str(key)) for key in list(named)[:20]) or "none"
        raise _OtherContentsError(f"lacks the entries {', '.join(missing)}; there are {there}; choose another file")
    return {name: named[name] for name in only}


class _Type(Pending):
    """A numpy type; its state has the byte order."""

    def __init__(self, code: str) -> None:
        self.code = code

    def set_state(self, reader: PickleReader, state: Any) -> None:
        """Takes version, byte order, parts of a compound type, and sizes and flags that the code tells as well."""
        if not isinstance(state, tuple) or not 7 <= len(state) <= 9:
            raise ValueError("a numpy type with a wrong state")
        if any(part is not None for part in (*state[2:5], *state[8:])):
            self.value = reader.unknown("a compound type of numpy")
            return
        order = _word(state[1])
        one_byte = self.code[0] == "S" or self.code[1:] == "1"
        if order not in ("<", ">", "|") or (order == "|" and not one_byte):
            raise ValueError("a numpy type without its byte order")
        self.value = np.dtype(order + self.code)


class _Array(Pending):
    """A numpy array."""

    def set_state(self, reader: PickleReader, state: Any) -> None:
        """Takes version (missing in the oldest), shape, type, whether columns come first, and the bytes."""
        if not isinstance(state, tuple) or not 4 <= len(state) <= 5:
            raise ValueError("an array with a wrong state")
        shape, kind, columns_first, data = state[-4:]
        self.value = _array(reader, data, kind, shape, "F" if columns_first else "C")


def _array(reader: PickleReader, data: Any, kind: Any, shape: Any, order: str) -> NDArray[Any] | Unknown:
    """Bytes as an array; `Unknown` if its type is."""
    numbers = _row(reader, data, kind)
    if isinstance(numbers, Unknown):
        return numbers
    if not isinstance(shape, tuple) or len(shape) > _MAX_DIMENSIONS:
        raise ValueError("an array's shape is no tuple of sizes")
    if not all(isinstance(size, int) and 0 <= size < 2**63 for size in shape):
        raise ValueError("an array's shape is no tuple of sizes")
    if math.prod(shape) != numbers.size:
        raise ValueError(f"an array of {numbers.size:,} values whose shape {shape} is for another number")
    try:
        return numbers.reshape(shape, order="F" if order == "F" else "C")
    except ValueError:
        raise ValueError(f"an array of the shape {shape}, which is too large") from None


def _row(reader: PickleReader, data: Any, kind: Any) -> NDArray[Any] | Unknown:
    """Bytes as a row of numbers."""
    dtype = kind.value if isinstance(kind, _Type) else kind
    if isinstance(dtype, Unknown):
        return dtype
    if not isinstance(dtype, np.dtype) or not isinstance(data, bytes):
        raise ValueError("an array without its type or its bytes")
    if len(data) % dtype.itemsize:
        raise ValueError(f"{len(data):,} bytes for an array of {dtype}")
    reader.use(len(data))
    if dtype.kind == "b" and data.translate(None, b"\0\1"):
        raise ValueError("an array of truth values that are neither 0 nor 1")
    numbers = np.frombuffer(data, dtype)
    if dtype.kind == "U" and len(data) and numbers.view(dtype.str[0] + "u4").max() > _LAST_CHARACTER:
        raise ValueError("an array of text with characters that do not exist")
    return numbers


def _word(value: Any) -> str:
    """A short word, which Python 2 wrote as a byte string."""
    if not isinstance(value, str | bytes) or len(value) > 100:
        raise ValueError("an array is described by something that is no word")
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _new_type(reader: PickleReader, arguments: tuple[Any, ...]) -> _Type | Unknown:
    if not 1 <= len(arguments) <= 3:
        raise ValueError("a numpy type without its code")
    code = _word(arguments[0])
    return _Type(code) if _TYPE_CODE.fullmatch(code) else reader.unknown(f"numpy's type {shown(code)}")


def _new_array(reader: PickleReader, arguments: tuple[Any, ...]) -> _Array | Unknown:
    if len(arguments) != 3:
        raise ValueError("an array with wrong arguments")
    cls = arguments[0]
    if isinstance(cls, Unknown):
        return cls
    if not isinstance(cls, Function) or cls.name != "numpy.ndarray":
        raise ValueError("an array of an unknown class")
    return _Array()


def _array_of_buffer(reader: PickleReader, arguments: tuple[Any, ...]) -> NDArray[Any] | Unknown:
    """What protocol 5 writes: bytes, type, shape, order, and with the order K in which sequence the axes go."""
    if not 4 <= len(arguments) <= 5:
        raise ValueError("an array with wrong arguments")
    order = _word(arguments[3])
    array = _array(reader, arguments[0], arguments[1], arguments[2], order)
    axes = arguments[4] if len(arguments) == 5 else None
    if isinstance(array, Unknown) or order != "K" or axes is None:
        return array
    if not isinstance(axes, tuple) or not all(isinstance(axis, int) for axis in axes):
        raise ValueError("an array with a wrong sequence of axes")
    if sorted(axes) != list(range(array.ndim)):
        raise ValueError("an array with a wrong sequence of axes")
    return array.transpose(axes)


def _scalar(reader: PickleReader, arguments: tuple[Any, ...]) -> Any:
    if len(arguments) != 2:
        raise ValueError("a numpy scalar with wrong arguments")
    numbers = _row(reader, arguments[1], arguments[0])
    if isinstance(numbers, Unknown):
        return numbers
    if numbers.size != 1:
        raise ValueError(f"a numpy scalar of {numbers.size:,} values")
    return numbers[0]


def _encoded(reader: PickleReader, arguments: tuple[Any, ...]) -> bytes:
    """How Python 3 writes bytes for readers of Python 2: as text whose characters are the bytes."""
    if len(arguments) != 2 or not isinstance(arguments[0], str) or _word(arguments[1]) not in ("latin1", "latin-1"):
        raise ValueError("a byte string in an unknown encoding")
    reader.use(len(arguments[0]))
    return arguments[0].encode("latin-1")


def _no_bytes(reader: PickleReader, arguments: tuple[Any, ...]) -> bytes:
    """How Python 3 writes the empty byte string for readers of Python 2."""
    if arguments:
        raise ValueError("a byte string in an unknown encoding")
    return b""


def _never_called(reader: PickleReader, arguments: tuple[Any, ...]) -> Unknown:
    return reader.unknown("a call of numpy.ndarray")


def _functions() -> dict[str, Function]:
    calls: dict[str, Call] = {
        "numpy.ndarray": _never_called,
        "numpy.dtype": _new_type,
        "_codecs.encode": _encoded,
        "builtins.bytes": _no_bytes,
        "__builtin__.bytes": _no_bytes,
    }
    # The folder's name in numpy 1 and in numpy 2.
    for core in ("numpy.core", "numpy._core"):
        calls[f"{core}.multiarray._reconstruct"] = _new_array
        calls[f"{core}.multiarray.scalar"] = _scalar
        calls[f"{core}.numeric._frombuffer"] = _array_of_buffer
    return {name: Function(name, call) for name, call in calls.items()}


_FUNCTIONS = _functions()
