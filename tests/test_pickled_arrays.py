"""Reading pickles without running them: every way to write an array, and every way to attack a reader."""

from __future__ import annotations

import collections
import datetime
import io
import pickle
import pickletools
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from common.pickled_arrays import read_pickled

PROTOCOLS = range(6)

# A dictionary with an array and a list, as CIFAR-10 has them, by Python 2 with protocol 2.
PYTHON_2 = (
    b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85q\x05"
    b"U\x01b\x87q\x06Rq\x07(K\x01K\x02K\x03\x86cnumpy\ndtype\nq\x08U\x02u1K\x00K\x01\x87Rq\x09(K\x03U\x01|NNN"
    b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x06\x00\x02\x80\x04\x27\xfftbU\x06labelsq\x0a]q\x0b(K\x06K\x09e"
    b"U\x0bbatch_labelq\x0cT\x03\x00\x00\x00\x31\x20\xe9u."
)
# The same with protocol 0: all of it is text.
PYTHON_2_TEXT = (
    b"(dp1\nS'data'\np2\ncnumpy.core.multiarray\n_reconstruct\np3\n(cnumpy\nndarray\np4\n(I0\ntp5\nS'b'\np6\ntp7\nRp8\n"
    b"(I1\n(L2L\nI3\ntp9\ncnumpy\ndtype\np10\n(S'u1'\np11\nI0\nI1\ntp12\nRp13\n(I3\nS'|'\np14\nNNNI-1\nI-1\nI0\ntp15\n"
    b"bI00\nS\"\\x00\\x02\\x80\\x04'\\xff\"\np16\ntp17\nbsS'labels'\np18\n(lp19\nI6\naI9\nasS'batch_label'\np20\n"
    b"S'1 \\xe9'\np21\ns."
)


class _Reduces:
    """Pickles as a call of anything."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call


def same(found: Any, expected: Any) -> bool:
    """Equal in value and in type, down to the byte order of arrays."""
    if type(found) is not type(expected):
        return False
    if isinstance(expected, np.ndarray | np.generic):
        return found.dtype == expected.dtype and found.shape == expected.shape and found.tobytes() == expected.tobytes()
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(same, found, expected))
    return bool(found == expected)


def old_names(data: bytes) -> bytes:
    """A pickle as numpy 1 writes it: its inner folder had another name."""
    for module in (b"multiarray", b"numeric"):
        new, old = b"numpy._core." + module, b"numpy.core." + module
        data = data.replace(b"\x8c" + bytes([len(new)]) + new, b"\x8c" + bytes([len(old)]) + old).replace(new, old)
    return data


PLAIN = {
    "nothing": None,
    "truth": [True, False],
    "numbers": [0, 1, -1, 255, 256, 65535, 65536, -(2**31), 2**31, 2**63, -(2**63) - 1, 2**3000, 0.0, -2.5, 1e300],
    "text": ["", "a'b\"c\\\n", "é", "名", "\U0001f600", "x" * 300, "\ud800"],
    "bytes": [b"", b"a", bytes(range(256)), b"y" * 300],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((), [()])],
    "nested": {"a": {b"b": [1, {2: "c"}]}, "empty": {}, "list": []},
    "shared": [["x"], ["x"]],
}
ARRAYS = {
    "types": [
        np.arange(6).reshape(2, 3).astype(code)
        for code in "? i1 u1 i2 u2 i4 u4 i8 u8 f2 f4 f8 c8 c16 >i2 >u4 >f8 >c16".split()  # noqa: SIM905
    ],
    "shapes": [np.zeros(shape, np.float32) for shape in [(), (0,), (0, 3), (1,), (2, 1, 3), (1,) * 20]],
    "text": [np.array(["ab", "名"]), np.array([b"ab", b"c"]), np.array(["x"], ">U3"), np.array([], "S1")],
    "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "axes exchanged": np.arange(24, dtype=np.int16).reshape(2, 3, 4).transpose(1, 0, 2),
    "strides": np.arange(20)[::3],
    "backward": np.arange(5)[::-1],
    "read only": np.frombuffer(b"\1\2\3", np.uint8),
    "scalars": [
        np.float64(1.5),
        np.float32(-0.0),
        np.int64(-7),
        np.uint8(200),
        np.bool_(True),
        np.str_("é"),
        np.bytes_(b"z"),
    ],
    "big scalar": np.array(3, ">i4")[()],
    "type": [np.dtype("f4"), np.dtype(">i8"), np.dtype("S5")],
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", PLAIN)
def test_plain_objects_come_back(name: str, protocol: int) -> None:
    assert same(read_pickled(pickle.dumps(PLAIN[name], protocol)), PLAIN[name])


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back(name: str, protocol: int) -> None:
    """As numpy 2 writes them, and as numpy 1 did, whose names were others."""
    data = pickle.dumps({"x": ARRAYS[name]}, protocol)
    assert same(read_pickled(data), {"x": ARRAYS[name]})
    assert same(read_pickled(old_names(data)), {"x": ARRAYS[name]})
    assert b"numpy._core" not in old_names(data)


def test_the_axes_of_protocol_5() -> None:
    """Newer versions of numpy write arrays with exchanged axes in a way of their own; here it is made by hand."""
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    written = pickle.dumps((array.tobytes(), array.dtype, (2, 3, 4), "K", (1, 0, 2)), 5)
    call = b"\x80\x05\x8c\x13numpy._core.numeric\x8c\x0b_frombuffer\x93" + written[2:-1] + b"R."
    assert same(read_pickled(call), array.transpose(1, 0, 2))
    with pytest.raises(UserError, match="wrong sequence of axes"):
        read_pickled(call.replace(b"K\x01K\x00K\x02\x87", b"K\x01K\x01K\x02\x87"))


@pytest.mark.parametrize("data", [PYTHON_2, PYTHON_2_TEXT], ids=["protocol 2", "protocol 0"])
def test_files_of_python_2(data: bytes, tmp_path: Path) -> None:
    expected = {
        b"data": np.array([[0, 2, 128], [4, 39, 255]], np.uint8),
        b"labels": [6, 9],
        b"batch_label": b"1 \xe9",
    }
    # The twin: Python's own reader agrees on what this file says.
    assert same(pickle.loads(data, encoding="bytes"), expected)  # noqa: S301
    assert same(read_pickled(data), expected)
    (tmp_path / "batch").write_bytes(data + b"what follows is not read")
    assert same(read_pickled(tmp_path / "batch"), expected)
    assert same(read_pickled(str(tmp_path / "batch"), only=["labels"]), {"labels": [6, 9]})


def test_the_oldest_state_of_an_array() -> None:
    data = pickle.dumps(np.arange(3, dtype="u1"), 2)
    without_version = data.replace(b"(K\x01K\x03\x85", b"(K\x03\x85")
    assert len(without_version) == len(data) - 2
    assert same(read_pickled(without_version), np.arange(3, dtype="u1"))


def test_sharing_is_kept_and_arrays_are_views() -> None:
    array = np.arange(4)
    found = read_pickled(pickle.dumps([array, array, {"a": array}]))
    assert found[0] is found[1] is found[2]["a"]
    assert not found[0].flags.writeable


ZOO: dict[str, tuple[bytes, str]] = {
    "REDUCE": (b"cos\nsystem\n(S'touch FLAG'\ntR.", "os.system"),
    "REDUCE of posix": (b"cposix\nsystem\n(S'touch FLAG'\ntR.", "posix.system"),
    "INST": (b"(S'touch FLAG'\nios\nsystem\n.", "os.system"),
    "OBJ": (b"(cos\nsystem\nS'touch FLAG'\no.", "os.system"),
    "NEWOBJ": (b"\x80\x02cos\nsystem\nU\x0atouch FLAG\x85\x81.", "os.system"),
    "NEWOBJ_EX": (b"\x80\x04cos\nsystem\nC\x0atouch FLAG\x85}\x92.", "os.system"),
    "STACK_GLOBAL": (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0atouch FLAG\x85R.", "os.system"),
    "known class by OBJ": (b"(cnumpy\nndarray\nI3\no.", "an object that OBJ makes"),
    "known class by NEWOBJ": (b"\x80\x02cnumpy\nndarray\nK\x03\x85\x81.", "an object that NEWOBJ makes"),
    "known class by REDUCE": (b"cnumpy\nndarray\n(I3\ntR.", "a call of numpy.ndarray"),
    "known class": (b"cnumpy\nndarray\n.", "numpy.ndarray itself"),
    "known function": (b"(c_codecs\nencode\nl.", "_codecs.encode itself"),
    "thrown away": (b"cos\nsystem\n(S'touch FLAG'\ntR0N.", "os.system"),
    "eval": (pickle.dumps(_Reduces(eval, ("open('FLAG', 'w')",))), "builtins.eval"),
    "getattr": (b"c__builtin__\ngetattr\n(S'x'\nS'y'\ntR.", "__builtin__.getattr"),
    "numpy's eval": (
        b"cnumpy.testing._private.utils\nrunstring\n(S'x'\n(dtR.",
        "numpy.testing._private.utils.runstring",
    ),
    "numpy's files": (b"cnumpy\nfromfile\n(S'FLAG'\ntR.", "numpy.fromfile"),
    "numpy's load": (b"cnumpy.core.multiarray\nfromfile\n(S'FLAG'\ntR.", "numpy.core.multiarray.fromfile"),
    "dotted name": (b"\x80\x04\x8c\x05numpy\x8c\x0ecore.os.system\x93\x8c\x01x\x85R.", "numpy.core.os.system"),
    "BUILD of an instance": (pickle.dumps(_Reduces(object.__new__, (_Reduces,), {"call": ()}), 2), "getattr"),
    "extension": (b"\x80\x02\x82\x05.", "the extension 5"),
    "persistent id": (b"Pthing\n.", "outside the file"),
    "binary persistent id": (b"\x80\x02K\x01Q.", "outside the file"),
    "buffer outside": (b"\x80\x05\x97\x98.", "outside the file"),
    "set": (pickle.dumps({1}, 4), "a set"),
    "frozen set": (pickle.dumps(frozenset([1]), 4), "a set"),
    "complex": (pickle.dumps(1j), "builtins.complex"),
    "bytearray": (pickle.dumps(bytearray(b"x"), 2), "bytearray"),
    "date": (pickle.dumps(datetime.date(2020, 1, 1)), "datetime.date"),
    "ordered": (pickle.dumps(collections.OrderedDict(a=1)), "collections.OrderedDict"),
    "objects": (pickle.dumps(np.array([{}], object)), "numpy's type O8"),
    "void": (pickle.dumps(np.zeros(2, "V3")), "numpy's type V3"),
    "structure": (pickle.dumps(np.zeros(2, "f4,i2")), "numpy's type V6"),
    "structure in a plain type": (
        pickle.dumps(np.zeros(2, "f4")).replace(b"NNNJ", b"N\x8c\x01x\x85}J"),
        "a compound type",
    ),
    "dates": (pickle.dumps(np.array(["2020"], "M8[Y]")), "numpy's type M8"),
    "matrix": (pickle.dumps(np.ma.masked_array(np.arange(2))), "numpy.ma"),
    "generator": (pickle.dumps(np.random.default_rng(1)), "numpy.random"),
    "tuple for a key": (pickle.dumps({(1, 2): 3}), "a dictionary with a key"),
    "number for a key": (pickle.dumps({0.5: 3}), "a dictionary with a key"),
    "huge key": (pickle.dumps({2**70: 3}), "a dictionary with a key"),
    "long key": (pickle.dumps({"x" * 20_000: 3}), "a dictionary with a key"),
    "escape codes": (b"c\x1b[31m\nx\x07\n.", r"\\x1b\[31m.x\\x07"),
}


def body(data: bytes) -> bytes:
    """The instructions of a pickle without its beginning and its end, to be put into another."""
    data = data[2:] if data.startswith(b"\x80") else data
    return (data[9:] if data.startswith(b"\x95") else data).removesuffix(b".")


@pytest.mark.parametrize("name", ZOO)
def test_everything_else_is_refused_by_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data, what = ZOO[name]
    with pytest.raises(UserError, match=f"refused, because it holds .*{what}") as caught:
        read_pickled(data)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    # In a part that is not wanted it is passed over, and still not run; in a wanted one it is refused.
    both = b"(S'good'\nI5\nS'bad'\n" + body(data) + b"d."
    if "a dictionary with a key" not in what:
        assert read_pickled(both, only=["good"]) == {"good": 5}
    if name != "thrown away":
        with pytest.raises(UserError, match=what):
            read_pickled(both, only=["good", "bad"])
    assert list(tmp_path.iterdir()) == []


def test_unwanted_parts_of_any_kind_are_passed_over() -> None:
    """As in the published teapot model, which also holds sparse matrices."""

    class Sparse(dict):  # type: ignore[type-arg]
        pass

    Sparse.__module__, Sparse.__qualname__ = "collections", "Sparse"
    collections.Sparse = Sparse  # type: ignore[attr-defined]
    try:
        matrix = Sparse(rows=np.array([[1], [2, 3]], object))
        matrix.format = {"kind", frozenset([1])}  # type: ignore[attr-defined]
        data = [pickle.dumps({"N": matrix, "faces": np.arange(3), "z": 1j}, protocol) for protocol in PROTOCOLS]
    finally:
        del collections.Sparse  # type: ignore[attr-defined]
    for each in data:
        assert same(read_pickled(each, only=["faces"]), {"faces": np.arange(3)})
        with pytest.raises(UserError, match=r"collections\.Sparse|copy_?reg|O8"):
            read_pickled(each, only=["faces", "N"])


def test_missing_entries_are_named() -> None:
    with pytest.raises(UserError, match="lacks the entries b, d; there are a, 3; choose another file"):
        read_pickled(pickle.dumps({"a": 1, 3: 2}), only=["a", "b", "d"])
    with pytest.raises(UserError, match="holds no dictionary; expected one with the entries a"):
        read_pickled(pickle.dumps([1]), only=["a"])
    with pytest.raises(UserError, match=r"refused, because it holds os.system"):
        read_pickled(ZOO["REDUCE"][0], only=["a"])


def array_pickle(**changes: bytes) -> bytes:
    """An array of six bytes by Python 2, with parts of it changed."""
    parts = {
        "version": b"K\x01",
        "shape": b"K\x02K\x03\x86",
        "type": b"U\x02u1",
        "order": b"U\x01|",
        "data": b"U\x06abcdef",
    }
    parts |= changes
    kind = (
        b"cnumpy\ndtype\n"
        + parts["type"]
        + b"K\x00K\x01\x87R(K\x03"
        + parts["order"]
        + b"NNNJ\xff\xff\xff\xffK\x00K\x00tb"
    )
    start = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    return start + b"(" + parts["version"] + parts["shape"] + kind + b"\x89" + parts["data"] + b"tb."


def test_the_changed_array_is_whole_when_nothing_is_changed() -> None:
    assert read_pickled(array_pickle()).tobytes() == b"abcdef"
    with pytest.raises(UserError, match=r"shape \(3, 3\) is for another number"):
        read_pickled(array_pickle(shape=b"K\x03K\x03\x86"))


def laughs(levels: int) -> bytes:
    """Ten references to ten references to ..., a list that would unfold to ten to the power of `levels`."""
    lists = (b"](" + (b"h" + bytes([n])) * 10 + b"eq" + bytes([n + 1]) + b"0" for n in range(levels))
    return b"\x80\x02]q\x000" + b"".join(lists) + b"h" + bytes([levels]) + b"."


LARGE = b"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x40"
HUGE = b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01"
DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "ends too early"),
    "text": (b"hello world", "does not come before"),
    "web page": (b"<html><body>404</body></html>", "no instruction"),
    "numpy file": (b"\x93NUMPY\x01\x00", "lacks its object"),
    "zip": (b"PK\x03\x04", "."),
    "stop at once": (b".", "stops in the middle"),
    "two objects": (b"NN.", "stops in the middle"),
    "open mark": (b"N(.", "stops in the middle"),
    "protocol 6": (b"\x80\x06N.", "protocol 6 is not known"),
    "no memo": (b"\x80\x02h\x05.", "does not come before"),
    "no mark": (b"\x80\x02]e.", "lacks its mark"),
    "odd dictionary": (b"(I1\nd.", "lacks its value"),
    "append to a tuple": (b"\x80\x02)K\x01a.", "no list"),
    "entry of a list": (b"\x80\x02]K\x01K\x02s.", "no dictionary"),
    "list for a key": (b"\x80\x02}]K\x02s.", "a dictionary with a key"),
    "call of a number": (b"\x80\x02K\x01)R.", "no function"),
    "arguments of another kind": (b"cnumpy\ndtype\n]R.", "no function"),
    "state of a list": (b"\x80\x02]}b.", "that has none"),
    "state of a function": (b"cnumpy\nndarray\n}b.", "that has none"),
    "state twice": (array_pickle()[:-1] + b"}b.", "twice"),
    "no state": (array_pickle().partition(b"(K\x01")[0] + b".", "not complete"),
    "holds itself": (b"\x80\x02]q\x00h\x00a.", "holds itself"),
    "holds itself deeper": (b"\x80\x02]q\x00}U\x01xh\x00\x85sa.", "holds itself"),
    "deep lists": (b"]" * 20_000 + b"a" * 19_999 + b".", "nested more than 100"),
    "deep tuples": (b"\x80\x02)" + b"\x85" * 20_000 + b".", "nested more than 100"),
    "deep dictionaries": (b"}" + b"I1\n}" * 10_000 + b"s" * 10_000 + b".", "nested more than 100"),
    "billion laughs": (laughs(30), "would unfold to more"),
    "long length": (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fx.", "."),
    "negative length": (b"\x80\x02T\xff\xff\xff\xffx.", "."),
    "long text": (b"\x80\x02X\xff\xff\xff\xffx.", "."),
    "no number": (b"Ixyz\n.", "."),
    "many digits": (b"I" + b"9" * 10_000 + b"\n.", "."),
    "no UTF-8": (b"\x80\x02X\x02\x00\x00\x00\xff\xff.", "."),
    "quotes": (b"Sabc\n.", "without quotation marks"),
    "bad escape": (b"S'\\x'\n.", "."),
    "strange escape": (b"S'\\\\\\q'\n.", "escape that Python 2 does not write"),
    "escape beyond a byte": (b"S'\\400'\n.", "escape that Python 2 does not write"),
    "many containers": (b"(" + b"]" * 1_000_001 + b"l.", "more than 1,000,000 containers"),
    "huge shape": (array_pickle(shape=HUGE + HUGE + b"\x86"), "no tuple of sizes"),
    "huge empty shape": (array_pickle(shape=b"K\x00" + LARGE + LARGE + b"\x87", data=b"U\x00"), "too large"),
    "negative shape": (array_pickle(shape=b"J\xfe\xff\xff\xffJ\xfd\xff\xff\xff\x86"), "no tuple of sizes"),
    "shape of text": (array_pickle(shape=b"U\x01x\x85"), "no tuple of sizes"),
    "shape is a number": (array_pickle(shape=b"K\x06"), "no tuple of sizes"),
    "shape too small": (array_pickle(shape=b"K\x05\x85"), "another number"),
    "cut bytes": (array_pickle(data=b"U\x05abcde"), "another number"),
    "half a number": (array_pickle(type=b"U\x02f8", order=b"U\x01<"), "6 bytes for an array of float64"),
    "no byte order": (array_pickle(type=b"U\x02u2"), "without its byte order"),
    "strange byte order": (array_pickle(order=b"U\x01x"), "without its byte order"),
    "bytes are a list": (array_pickle(data=b"]"), "its type or its bytes"),
    "bytes are text": (array_pickle(data=b"X\x06\x00\x00\x00abcdef"), "its type or its bytes"),
    "truth of 97": (array_pickle(type=b"U\x02b1"), "neither 0 nor 1"),
    "text of no characters": (
        array_pickle(type=b"U\x02U1", order=b"U\x01<", shape=b"K\x01\x85", data=b"U\x04\xff\xff\xff\xff"),
        "characters that do not exist",
    ),
    "type is a number": (array_pickle(type=b"K\x01"), "no word"),
    "two values in a scalar": (
        b"cnumpy.core.multiarray\nscalar\n" + body(pickle.dumps(np.dtype("u1"), 2)) + b"U\x02ab\x86R.",
        "scalar of 2 values",
    ),
    "other encoding": (b"c_codecs\nencode\nVabc\nVrot13\n\x86R.", "unknown encoding"),
    "no latin": (b"c_codecs\nencode\nV\\u540d\nVlatin1\n\x86R.", "."),
    "bytes of a number": (b"c__builtin__\nbytes\nJ\xff\xff\xff\x7f\x85R.", "unknown encoding"),
    "one buffer, many arrays": (
        b"\x80\x02"
        + body(pickle.dumps(np.dtype("u1"), 2))
        + b"q\x000B\x00\x00\x01\x00"
        + bytes(65536)
        + b"q\x010("
        + (b"cnumpy.core.numeric\n_frombuffer\n(h\x01h\x00J\x00\x00\x01\x00\x85U\x01CtR" * 1000)
        + b"l.",
        "more objects of its bytes than it has",
    ),
    "one text, many byte strings": (
        b"X\x00\x00\x01\x00" + b"x" * 65536 + b"q\x010(" + b"c_codecs\nencode\nh\x01U\x06latin1\x86R" * 1000 + b"l.",
        "more objects of its bytes than it has",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_one_clear_line(name: str) -> None:
    data, why = DAMAGED[name]
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"not a whole pickle|refused, because") as caught:
            read_pickled(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert re.search(why, message)
    assert "\n" not in message
    assert len(message) < 400
    assert peak < 2_000_000 + 200 * len(data)


def test_large_arrays_take_little_memory() -> None:
    for protocol in (2, 4, 5):
        data = pickle.dumps({"x": np.zeros((1000, 1000))}, protocol)
        tracemalloc.start()
        found = read_pickled(data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found["x"].shape == (1000, 1000)
        assert peak < 4 * len(data)


WHOLE = [
    *(pickle.dumps({"plain": PLAIN, "arrays": ARRAYS["text"]}, protocol) for protocol in (0, 2, 5)),
    *(pickle.dumps([np.arange(3.0), np.float32(2.0), ARRAYS["columns first"]], protocol) for protocol in PROTOCOLS),
    PYTHON_2,
    PYTHON_2_TEXT,
]


@pytest.mark.parametrize("number", range(len(WHOLE)))
def test_a_file_that_is_cut_off_is_refused(number: int) -> None:
    data = WHOLE[number]
    read_pickled(data)
    for length in range(len(data)):
        with pytest.raises(UserError):
            read_pickled(data[:length])


def only_user_errors(data: bytes) -> None:
    """Reads anything; nothing but UserError may come out, and what is read can be written again."""
    for only in (None, ["data", "plain"]):
        try:
            found = read_pickled(data, only=only)
        except UserError:
            continue
        pickle.dump(found, io.BytesIO())


@st.composite
def corrupted(draw: st.DrawFn) -> bytes:
    """A whole pickle with some bytes changed, removed, doubled or put in."""
    data = bytearray(draw(st.sampled_from(WHOLE)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        end = min(len(data), place + draw(st.integers(0, 20)))
        match draw(st.sampled_from("change remove double insert".split())):  # noqa: SIM905
            case "change":
                data[place:end] = draw(st.binary(min_size=end - place, max_size=end - place))
            case "remove":
                del data[place:end]
            case "double":
                data[place:place] = data[place:end]
            case _:
                data[place:place] = draw(st.binary(max_size=8))
    return bytes(data)


@settings(max_examples=400, deadline=None)
@given(corrupted())
def test_corrupted_files_end_in_user_errors(data: bytes) -> None:
    only_user_errors(data)


_NAMES = [b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"c_codecs\nencode\n", b"cos\nsystem\n"] + [
    b"cnumpy.core." + name
    for name in (b"multiarray\n_reconstruct\n", b"multiarray\nscalar\n", b"numeric\n_frombuffer\n")
]
_PIECES = [
    *(opcode.code.encode("latin-1") for opcode in pickletools.opcodes if opcode.arg is None),
    *_NAMES,
    *(b"K" + bytes([n]) for n in range(4)),
    *(b"h" + bytes([n]) for n in range(3)),
    *(b"q" + bytes([n]) for n in range(3)),
    *(
        b"U" + bytes([len(text)]) + text
        for text in (b"", b"b", b"<", b"|", b"u1", b"f8", b"U1", b"O8", b"C", b"K", b"12345678")
    ),
    *(b"X" + bytes([len(text), 0, 0, 0]) + text for text in (b"latin1", b"x")),
    body(pickle.dumps(np.dtype("u1"), 2)),
    body(pickle.dumps(np.arange(2, dtype=">i4"), 2)),
]


@settings(max_examples=600, deadline=None)
@given(st.lists(st.sampled_from(_PIECES), max_size=30))
def test_random_instructions_end_in_user_errors(pieces: list[bytes]) -> None:
    only_user_errors(b"".join(pieces) + b".")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing: no such file"):
        read_pickled(tmp_path / "missing")
    with pytest.raises(UserError, match="is a folder"):
        read_pickled(tmp_path)
    (tmp_path / "bad.pkl").write_bytes(b"x")
    with pytest.raises(UserError, match=r"bad.pkl: not a whole pickle"):
        read_pickled(tmp_path / "bad.pkl")
