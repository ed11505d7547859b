"""The format of pickles without the machine: a stack, a memory, plain containers, and functions that the caller lends.

Python's own reader imports and calls whatever a file names, so that a file from elsewhere can do anything. This one
follows the same instructions (`pickletools`; PEP 307, 3154, 574), but a name in the file only ever chooses among the
functions that it was lent. Everything else is refused by name.
"""

from __future__ import annotations

import codecs
import io
import pickletools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

MAX_DEPTH = 100
"""Containers may be nested so deep; Python's own functions give up at ten times as much."""
MAX_CONTAINERS = 1_000_000
"""A container takes a byte in the file and a hundred times as much in memory."""
MAX_KEY_LENGTH = 10_000
_MAX_NAME_LENGTH = 200
# Python warns of these, and a warning may be an error.
_BAD_ESCAPE = re.compile(rb"\\(?:[^'\"abfnrtvx0-7]|[4-7][0-7][0-7]|$)")
_UNFOLDED = 16
"""Parts that are named again are shared. A file must not unfold to more parts than this times its bytes."""
_BYTES_USED = 4
"""Functions may make new objects of so many times the file's bytes; an honest file uses each byte once or twice."""


class RefusedError(ValueError):
    """The file holds what is not read; the message names it."""


class Unknown:
    """Stands for something that is not read, in a part of the file that may not be wanted.

    Args:
        what: its name.
    """

    def __init__(self, what: str) -> None:
        self.what = what


class Pending:
    """Stands for an object whose state comes after it."""

    value: Any = None
    """The object itself, or an `Unknown`; None until the state is there."""

    def set_state(self, reader: PickleReader, state: Any) -> None:
        """Takes the state, and sets `value`."""
        raise NotImplementedError


class Function:
    """A function that a file may name.

    Args:
        name: what the file calls it.
        call: what is done instead, with the reader and the arguments; it raises ValueError for wrong ones.
    """

    def __init__(self, name: str, call: Call) -> None:
        self.name = name
        self.call = call


Call = Callable[["PickleReader", tuple[Any, ...]], Any]


class PickleReader:
    """Reads the first object of a pickle.

    Args:
        data: the file.
        functions: those that it may name, by module and name with a point between.
        strict: refuse what is not known at once. Otherwise it becomes an `Unknown`, and is refused by `finished` only
            if it is in what is wanted.
    """

    def __init__(self, data: bytes, functions: Mapping[str, Function], strict: bool) -> None:
        self.functions = functions
        self.strict = strict
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self._stream = io.BytesIO(data)
        self._containers = 0
        self._left = _BYTES_USED * len(data) + 4096
        self._most_parts = _UNFOLDED * len(data) + 1000

    def read(self) -> Any:
        """Follows the instructions to the end.

        Returns:
            the object, for `finished`.

        Raises:
            RefusedError: for what is not read.
            ValueError: if the file is damaged.
        """
        while True:
            code = self._stream.read(1).decode("latin-1")
            if not code:
                raise ValueError("it ends too early")
            known = _KNOWN.get(code)
            if known is None:
                raise ValueError(f"{code!a} at byte {self._stream.tell() - 1:,} is no instruction")
            if known.name == "STOP":
                if len(self.stack) != 1 or self.marked:
                    raise ValueError("it stops in the middle of an object")
                return self.stack[0]
            act = _ACTIONS.get(known.name)
            if act is None:
                raise ValueError(f"{known.name} is not an instruction of protocols 0 to 5")
            act(self, self._argument(known))

    def _argument(self, known: pickletools.OpcodeInfo) -> Any:
        if known.arg is None:
            return None
        if known.name == "STRING":
            # pickletools takes ASCII only here, but Python 2 wrote the bytes of arrays in this way.
            quoted = re.fullmatch(rb"(['\"])(.*)\1\r?\n", self._stream.readline(), re.DOTALL)
            if quoted is None:
                raise ValueError("a byte string without quotation marks")
            if _BAD_ESCAPE.search(quoted[2].replace(b"\\\\", b"")):
                raise ValueError("a byte string with an escape that Python 2 does not write")
            return codecs.escape_decode(quoted[2])[0]
        value: Any = known.arg.reader(self._stream)
        # Byte strings of Python 2, which pickletools shows as text.
        return value.encode("latin-1") if known.name in ("BINSTRING", "SHORT_BINSTRING") else value

    def unknown(self, what: str) -> Unknown:
        """Refuses something by its name, unless it may be in a part that is not wanted."""
        if self.strict:
            raise RefusedError(what)
        return Unknown(what)

    def use(self, size: int) -> None:
        """Counts bytes that a function makes into a new object: one buffer could be used again without end."""
        self._left -= size
        if self._left < 0:
            raise ValueError("it makes more objects of its bytes than it has bytes")

    def counted(self, container: Any) -> Any:
        """Counts a new container."""
        self._containers += 1
        if self._containers > MAX_CONTAINERS:
            raise ValueError(f"it has more than {MAX_CONTAINERS:,} containers")
        return container

    def pop(self) -> Any:
        """Takes the last object off the stack."""
        self.top()
        return self.stack.pop()

    def top(self) -> Any:
        """The last object on the stack."""
        if not self.stack:
            raise ValueError("an instruction lacks its object")
        return self.stack[-1]

    def pop_pair(self) -> tuple[Any, Any]:
        """Takes the last two objects off the stack."""
        second = self.pop()
        return self.pop(), second

    def pop_marked(self) -> list[Any]:
        """Takes all objects after the last mark off the stack, and the mark."""
        if not self.marked:
            raise ValueError("an instruction lacks its mark")
        items, self.stack = self.stack, self.marked.pop()
        return items

    def finished(self, root: Any) -> Any:
        """An object of this file with the real objects in place of what stood for them.

        Args:
            root: what `read` returned, or a part of it.

        Raises:
            RefusedError: if something that is not read is in it.
            ValueError: if a container holds itself, is nested too deeply, or unfolds to far more than the file.
        """
        done: dict[int, tuple[Any, int, int]] = {}
        open_now: set[int] = set()
        waiting: list[tuple[Any, bool]] = [(root, False)]
        while waiting:
            item, entered = waiting.pop()
            if id(item) in done or not isinstance(item, list | tuple | dict):
                continue
            parts = [*item.keys(), *item.values()] if isinstance(item, dict) else item
            if entered:
                done[id(item)] = self._copied(item, [done.get(id(part)) or (_plain(part), 1, 0) for part in parts])
                open_now.remove(id(item))
                continue
            if id(item) in open_now:
                raise ValueError("a container holds itself")
            open_now.add(id(item))
            waiting.append((item, True))
            waiting.extend((part, False) for part in parts)
        return done[id(root)][0] if id(root) in done else _plain(root)

    def _copied(self, item: Any, parts: list[tuple[Any, int, int]]) -> tuple[Any, int, int]:
        """A container with finished parts, of how many parts it consists all in all, and how deep it is nested."""
        size = 1 + sum(part[1] for part in parts)
        depth = 1 + max((part[2] for part in parts), default=0)
        if size > self._most_parts:
            raise ValueError(f"it would unfold to more than {self._most_parts:,} parts")
        if depth > MAX_DEPTH:
            raise ValueError(f"containers are nested more than {MAX_DEPTH} deep")
        values = [part[0] for part in parts]
        if isinstance(item, dict):
            count = len(item)
            return dict(zip(values[:count], values[count:], strict=True)), size, depth
        return (tuple(values) if isinstance(item, tuple) else values), size, depth


def shown(name: str) -> str:
    """A name from a file, for an error message: cut where it is long, made visible where it is not."""
    return ascii(name if len(name) <= 80 else f"{name[:80]}...")[1:-1]


def _plain(part: Any) -> Any:
    """A part that is no container, as it is handed out."""
    if isinstance(part, Pending):
        part = part.value
        if part is None:
            raise ValueError("an array or a type is not complete")
    if isinstance(part, Unknown):
        raise RefusedError(part.what)
    if isinstance(part, Function):
        raise RefusedError(f"{part.name} itself")
    return part


def _pairs(items: list[Any] | tuple[Any, Any]) -> Iterable[tuple[Any, Any]]:
    if len(items) % 2:
        raise ValueError("a dictionary's key lacks its value")
    for key in items[::2]:
        # Other keys, and long ones, can be chosen so that a dictionary takes hours.
        if isinstance(key, str | bytes):
            simple = len(key) <= MAX_KEY_LENGTH
        else:
            simple = isinstance(key, int) and -(2**63) <= key < 2**63
        if not simple:
            raise RefusedError("a dictionary with a key that is neither a short text nor a whole number")
    return zip(items[::2], items[1::2], strict=True)


def _named(reader: PickleReader, module: Any, name: Any) -> Function | Unknown:
    if not isinstance(module, str) or not isinstance(name, str) or len(module) + len(name) > _MAX_NAME_LENGTH:
        raise ValueError("a function's name is no text, or a long one")
    full = f"{module}.{name}"
    return reader.functions.get(full) or reader.unknown(shown(full))


def _reduce(reader: PickleReader) -> Any:
    function, arguments = reader.pop_pair()
    if isinstance(function, Unknown):
        return function
    if not isinstance(function, Function) or not isinstance(arguments, tuple):
        raise ValueError("it calls something that is no function")
    return function.call(reader, arguments)


def _build(reader: PickleReader) -> None:
    state, target = reader.pop(), reader.top()
    if isinstance(target, Pending):
        if target.value is not None:
            raise ValueError("it sets the state of an object twice")
        target.set_state(reader, state)
    elif not isinstance(target, Unknown):
        raise ValueError("it sets the state of something that has none")


def _extend(reader: PickleReader, items: list[Any]) -> None:
    target = reader.top()
    if isinstance(target, list):
        target.extend(items)
    elif not isinstance(target, Unknown):
        raise ValueError("it adds to something that is no list")


def _update(reader: PickleReader, items: list[Any] | tuple[Any, Any]) -> None:
    target = reader.top()
    if isinstance(target, dict):
        target.update(_pairs(items))
    elif not isinstance(target, Unknown):
        raise ValueError("it sets entries of something that is no dictionary")


def _add_to_set(reader: PickleReader) -> None:
    reader.pop_marked()
    if not isinstance(reader.top(), Unknown):
        raise ValueError("it adds to something that is no set")


def _tuple(reader: PickleReader, count: int) -> tuple[Any, ...]:
    if len(reader.stack) < count:
        raise ValueError("a tuple lacks its parts")
    items = tuple(reader.stack[-count:])
    del reader.stack[-count:]
    return items


def _recalled(reader: PickleReader, number: int) -> Any:
    if number not in reader.memo:
        raise ValueError("it refers to an object that does not come before")
    return reader.memo[number]


def _put(reader: PickleReader, number: int) -> None:
    reader.memo[number] = reader.top()


def _object(reader: PickleReader, parts: Iterable[Any], instruction: str) -> Unknown:
    """What an instruction makes that creates an object of a class, its first part."""
    cls = next(iter(parts), None)
    return reader.unknown(cls.what if isinstance(cls, Unknown) else f"an object that {instruction} makes")


def _unknown_after(what: str, take: Callable[[PickleReader], Any]) -> Callable[[PickleReader, Any], Unknown]:
    """An instruction that takes something off the stack and puts on what is not read."""

    def value(reader: PickleReader, argument: Any) -> Unknown:
        take(reader)
        return reader.unknown(what)

    return value


def _instance(reader: PickleReader, argument: str) -> Unknown:
    reader.pop_marked()
    return reader.unknown(shown(argument.replace(" ", ".")))


def _discard(reader: PickleReader) -> None:
    if reader.stack:
        reader.stack.pop()
    else:
        reader.pop_marked()


def _mark(reader: PickleReader) -> None:
    reader.marked.append(reader.stack)
    reader.stack = []


def _protocol(number: int) -> None:
    if number > 5:
        raise ValueError(f"protocol {number} is not known; 0 to 5 are")


def _pushing(value: Callable[[PickleReader, Any], Any]) -> Callable[[PickleReader, Any], None]:
    """An instruction that puts something on the stack."""

    def act(reader: PickleReader, argument: Any) -> None:
        found = value(reader, argument)
        reader.stack.append(found)

    return act


_KNOWN = {opcode.code: opcode for opcode in pickletools.opcodes}
_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
_TEXTS = ("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_BYTES = ("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8")
_OUTSIDE = "a reference to something outside the file"

# What each instruction puts on the stack, of the reader and the instruction's argument.
_PUSHED: dict[str, Callable[[PickleReader, Any], Any]] = {
    **dict.fromkeys((*_NUMBERS, *_TEXTS, *_BYTES), lambda reader, argument: argument),
    "BYTEARRAY8": lambda reader, argument: bytes(argument),
    "NONE": lambda reader, argument: None,
    "NEWTRUE": lambda reader, argument: True,
    "NEWFALSE": lambda reader, argument: False,
    "EMPTY_TUPLE": lambda reader, argument: (),
    "EMPTY_LIST": lambda reader, argument: reader.counted([]),
    "EMPTY_DICT": lambda reader, argument: reader.counted({}),
    "TUPLE": lambda reader, argument: reader.counted(tuple(reader.pop_marked())),
    "LIST": lambda reader, argument: reader.counted(reader.pop_marked()),
    "DICT": lambda reader, argument: reader.counted(dict(_pairs(reader.pop_marked()))),
    "TUPLE1": lambda reader, argument: reader.counted(_tuple(reader, 1)),
    "TUPLE2": lambda reader, argument: reader.counted(_tuple(reader, 2)),
    "TUPLE3": lambda reader, argument: reader.counted(_tuple(reader, 3)),
    "DUP": lambda reader, argument: reader.top(),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _recalled),
    "GLOBAL": lambda reader, argument: _named(reader, *argument.split(" ", 1)),
    "STACK_GLOBAL": lambda reader, argument: _named(reader, *reader.pop_pair()),
    "REDUCE": lambda reader, argument: _reduce(reader),
    "EMPTY_SET": lambda reader, argument: reader.unknown("a set"),
    "FROZENSET": _unknown_after("a set", PickleReader.pop_marked),
    "INST": _instance,
    "OBJ": lambda reader, argument: _object(reader, reader.pop_marked(), "OBJ"),
    "NEWOBJ": lambda reader, argument: _object(reader, _tuple(reader, 2), "NEWOBJ"),
    "NEWOBJ_EX": lambda reader, argument: _object(reader, _tuple(reader, 3), "NEWOBJ_EX"),
    "PERSID": lambda reader, argument: reader.unknown(_OUTSIDE),
    "BINPERSID": _unknown_after(_OUTSIDE, PickleReader.pop),
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), lambda reader, argument: reader.unknown(f"the extension {argument}")),
    "NEXT_BUFFER": lambda reader, argument: reader.unknown(_OUTSIDE),
}

_ACTIONS: dict[str, Callable[[PickleReader, Any], None]] = {
    **{name: _pushing(value) for name, value in _PUSHED.items()},
    "PROTO": lambda reader, argument: _protocol(argument),
    "FRAME": lambda reader, argument: None,
    "READONLY_BUFFER": lambda reader, argument: None,
    "POP": lambda reader, argument: _discard(reader),
    "POP_MARK": lambda reader, argument: reader.pop_marked().clear(),
    "MARK": lambda reader, argument: _mark(reader),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _put),
    "MEMOIZE": lambda reader, argument: _put(reader, len(reader.memo)),
    "APPEND": lambda reader, argument: _extend(reader, [reader.pop()]),
    "APPENDS": lambda reader, argument: _extend(reader, reader.pop_marked()),
    "SETITEM": lambda reader, argument: _update(reader, reader.pop_pair()),
    "SETITEMS": lambda reader, argument: _update(reader, reader.pop_marked()),
    "ADDITEMS": lambda reader, argument: _add_to_set(reader),
    "BUILD": lambda reader, argument: _build(reader),
}
