"""Bad input for every command, and the words that its one line of complaint must hold."""

from __future__ import annotations

import dataclasses
import gzip
import pickle
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import corruption
import numpy as np
from corruption import (
    dsprites_grid,
    idx_file,
    image_file,
    mat_file,
    npy_claim,
    npy_file,
    npz_file,
    tar_file,
    tar_of,
    zip_file,
)

Content = bytes | None | Callable[[], bytes]
PROOF = "proof"
"""A folder that a file makes if anything in it is run."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A command line that must be refused.

    Args:
        module: of the command.
        arguments: `{d}` in them is the folder of the case, which is also the present one.
        words: what the line must hold, in small letters or not: what was given, what is allowed or to be done.
        files: made before, by name; None is an empty folder. Large ones are functions.
        prepare: changes the folder after that.
    """

    module: str
    arguments: tuple[str, ...]
    words: tuple[str, ...]
    files: Mapping[str, Content] = dataclasses.field(default_factory=dict)
    prepare: Callable[[Path], None] | None = None

    @property
    def name(self) -> str:
        """What the test is called."""
        return f"{self.module}: {' '.join(self.arguments)[:60]}".replace("{d}", "")

    def make(self, folder: Path) -> list[str]:
        """Makes the files; returns the arguments with the folder in them."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.mkdir()
            else:
                path.write_bytes(content() if callable(content) else content)
        if self.prepare is not None:
            self.prepare(folder)
        return [argument.replace("{d}", str(folder)) for argument in self.arguments]


RAW = ("--raw_dir", "{d}/raw", "--data_dir", "{d}/data")
SYNTHETIC = ("--source", "synthetic", "--data_dir", "{d}/data")
SETS = (
    *("mnist", "dsprites", "color_dsprites", "circular_dsprites", "teapot", "celeba", "chairs3d", "cars", "facades"),
    *("maps", "afhq", "sketchy", "svhn", "cifar10", "mnist_cdcb", "image_folder"),
)
# Archives of images are named as their publishers name them.
ARCHIVES = {
    "celeba": "img_align_celeba.zip",
    "chairs3d": "rendered_chairs.tar",
    "cars": "nips2015-analogy-data.tar.gz",
    "facades": "facades.tar.gz",
    "maps": "maps.tar.gz",
    "afhq": "afhq.zip",
    "cifar10": "cifar-10-python.tar.gz",
}


def _flags_of_sets() -> list[Case]:
    """What all data sets' commands have in common."""
    cases = []
    for name in SETS:
        module = f"data_gen.{name}"
        source = () if name == "teapot" else SYNTHETIC[:2]
        cases += [
            Case(module, ("--limt", "3"), ("--limt", "did you mean '--limit'", "--help")),
            Case(module, ("--limit", "few"), ("--limit", "'few' is no whole number", "--help")),
            Case(module, (*source, "--limit", "0", "--data_dir", "{d}/data"), ("limit is 0", "at least 1")),
        ]
        if name != "teapot":
            cases.append(Case(module, ("--source", "nope", "--data_dir", "{d}/data"), ("'nope'", "allowed: auto")))
    for name in ("mnist", "svhn", "cifar10", "sketchy", "celeba", "chairs3d", "cars", "facades", "afhq"):
        wanted = Case(f"data_gen.{name}", RAW, ("{d}/raw", "synthetic"), {"raw": None})
        missing = ("no such file or folder", "give the folder")
        cases += [wanted, Case(wanted.module, ("--raw_dir", "{d}/none", "--data_dir", "{d}/data"), missing)]
    return cases


def _options_of_sets() -> list[Case]:
    """Options that single data sets have."""
    given: dict[str, list[tuple[str, tuple[str, ...]]]] = {
        "celeba": [
            ("--preset x", ("'x'", "ibgan")),
            ("--size 0", ("size is 0", "1 to 4096")),
            ("--split tset", ("'tset'", "'test'")),
            ("--identity maybe", ("'maybe' is neither yes nor no",)),
            ("--size 100000", ("100000", "4096")),
        ],
        "chairs3d": [("--channels 4", ("4", "1")), ("--tolerance x", ("'x' is no number",))],
        "cars": [("--preset x", ("'x'", "iiae")), ("--jpeg_copies 2", ("'2' is neither yes nor no",))],
        "facades": [("--split valid", ("'valid'", "val"))],
        "maps": [("--split test", ("'test'", "train"))],
        "afhq": [("--x cow", ("'cow'", "cat")), ("--x dog --y dog", ("dog",)), ("--version 3", ("3", "afhq"))],
        "sketchy": [("--zero_shot_split 3", ("3", "allowed: 1, 2"))],
        "svhn": [("--split val", ("'val'", "allowed"))],
        "mnist_cdcb": [
            ("--size 100", ("100", "64, 128, 256")),
            ("--seed -1", ("seed is -1", "at least 0")),
            ("--num_train 0", ("0", "at least")),
        ],
        "circular_dsprites": [("--variant x", ("'x'", "official"))],
        "dsprites": [("--shards 0", ("0 shards", "from 1 to")), ("--shards 100", ("100 shards", "from 1 to"))],
    }
    cases = [
        Case(f"data_gen.{name}", (*SYNTHETIC, "--limit", "4", *words.split()), expected)
        for name, options in given.items()
        for words, expected in options
    ]
    teapot = ("--data_dir", "{d}/data", "--limit", "4", "--num_groups", "1")
    files: dict[str, Content] = {"bad.obj": b"v 1 2\n", "bad.pkl": b"x", "evil.pkl": corruption.malicious_pickle(PROOF)}
    for words, expected in (
        ("--variant x", ("x", "uniform_light")),
        ("--backend gpu", ("gpu", "opendr")),
        ("--samples 3", ("3", "square")),
        ("--image_size 0", ("0",)),
        ("--num_train -1", ("-1",)),
        ("--num_train 99999999999999999999", ("99999999999999999999", "from 1 to")),
        ("--seed -1", ("-1",)),
        ("--mesh x", ("'x'", "FILE.obj")),
        ("--fineness 0", ("0", "1 to 100")),
        ("--up x", ("x", "z")),
        ("--format h5", ("h5", "tfrecord")),
        ("--workers 0", ("0",)),
        ("--preview x.txt", ("x.txt", ".png")),
        ("--mesh {d}/none.obj", ("none.obj", "no such file")),
        ("--mesh {d}/bad.obj", ("bad.obj, line 1", "three finite numbers")),
        ("--mesh {d}/bad.pkl", ("bad.pkl", "not a whole pickle")),
        ("--mesh {d}/evil.pkl", ("evil.pkl", "posix.mkdir", "nothing is ever run")),
    ):
        cases.append(Case("data_gen.teapot", (*teapot, *words.split()), expected, files))
    return cases


def _link_to_itself(folder: Path) -> None:
    (folder / "link").symlink_to("link")


def _targets() -> list[Case]:
    """Places that cannot be written to."""
    blocked = ("--source", "synthetic", "--limit", "4", "--data_dir", "{d}/file/data")
    return [
        *(
            Case(f"data_gen.{name}", blocked, ("file/data", "is a file", "choose another"), {"file": b"x"})
            for name in ("mnist", "dsprites", "sketchy", "facades", "image_folder")
        ),
        Case("data_gen.teapot", ("--limit", "4", "--data_dir", "{d}/file"), ("a file, not a folder",), {"file": b"x"}),
        Case("data_gen.mnist", (*blocked[:4], "--data_dir", "/proc/nowhere"), ("/proc/nowhere", "check the path")),
        Case(METRICS, ("--codes", "link"), ("link", "leads back to itself"), prepare=_link_to_itself),
        Case("metrics.__main__", ("--codes", "{d}/a.npz", "--plots", "{d}/a.npz"), ("a.npz", "give a folder"), CODES),
        Case(
            "metrics.__main__", ("--codes", "a.npz", "--plots", "a.npz/x"), ("a.npz/x", "choose another folder"), CODES
        ),
        *(
            Case(RENDER, ("--size", "16", "--samples", "1", "--out", out), words, {"file": b"x"})
            for out, words in (
                ("{d}/file/o.png", ("is a file", "choose another")),
                ("{d}", ("{d}",)),
                ("{d}/" + "x" * 300 + ".png", ("too long", "shorter")),
                ("{d}/o.txt", ("o.txt", "allowed endings: .png")),
                ("/proc/o.png", ("/proc/o.png", "check the path")),
            )
        ),
    ]


def _mnist(**changes: Content) -> dict[str, Content]:
    whole = {
        "train-images-idx3-ubyte": idx_file(np.zeros((20, 28, 28), np.uint8)),
        "train-labels-idx1-ubyte": idx_file(np.zeros(20, np.uint8)),
        "t10k-images-idx3-ubyte": idx_file(np.zeros((10, 28, 28), np.uint8)),
        "t10k-labels-idx1-ubyte": idx_file(np.zeros(10, np.uint8)),
    }
    names = {"images": "train-images-idx3-ubyte", "labels": "train-labels-idx1-ubyte"}
    return {f"raw/{name}": data for name, data in {**whole, **{names[k]: v for k, v in changes.items()}}.items()}


def _files_of_mnist_and_svhn() -> list[Case]:
    images = idx_file(np.zeros((20, 28, 28), np.uint8))
    whole = mat_file(X=np.zeros((32, 32, 3, 4), np.uint8), y=np.ones((4, 1), np.uint8))

    def svhn(data: Content, *words: str) -> Case:
        return Case("data_gen.svhn", RAW, ("train_32x32.mat", *words), {"raw/train_32x32.mat": data})

    def arrays(**changes: Any) -> Callable[[], bytes]:
        plain = {"X": np.zeros((32, 32, 3, 4), np.uint8), "y": np.ones((4, 1), np.uint8)}
        return lambda: mat_file(**{**plain, **changes})

    return [
        *(
            Case("data_gen.mnist", RAW, ("train-images-idx3-ubyte", *words), _mnist(images=data))
            for data, words in (
                (b"", ("no idx file",)),
                (images[:6], ("ends within its sizes", "get it again")),
                (images[:-5], ("need 15,680 bytes", "15,675")),
                (images + b"x", ("holds more",)),
                (bytes([0, 0, 8, 3, 255, 255, 255, 255, 0, 0, 0, 28, 0, 0, 0, 28]), ("claims", "3,367,254,359,280")),
                (gzip.compress(images)[:-9], ("damaged or truncated",)),
                (b"<!DOCTYPE html>404", ("a web page",)),
                (idx_file(np.zeros((20, 28, 27), np.uint8)), ("(20, 28, 27)", "(n, 28, 28)")),
            )
        ),
        Case("data_gen.mnist", RAW, ("reach up to 10", "0 to 9"), _mnist(labels=idx_file(np.full(20, 10, np.uint8)))),
        Case("data_gen.mnist", RAW, ("(20,)", "19 images"), _mnist(images=idx_file(np.zeros((19, 28, 28), np.uint8)))),
        Case("data_gen.mnist", (*RAW, "--source", "published"), ("not the published", "'custom'"), _mnist()),
        svhn(b"", "no MATLAB file"),
        svhn(whole[:-3], "damaged or truncated"),
        svhn(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM\x89HDF", "version 5 to 7.2"),
        svhn(arrays(X=np.zeros((32, 32, 3, 4))), "float64", "expected uint8"),
        svhn(arrays(X=np.zeros((32, 31, 3, 4), np.uint8)), "(32, 31, 3, 4)", "(32, 32, 3, n)"),
        svhn(arrays(y=np.full((4, 1), 11, np.uint8)), "whole numbers from 1 to 10"),
        svhn(arrays(y=np.full((4, 1), np.nan)), "whole numbers from 1 to 10"),
        svhn(arrays(y=np.ones((3, 1))), "expected 4 labels"),
        svhn(lambda: mat_file(y=np.ones((4, 1))), "no array X"),
    ]


def _cifar(**changes: bytes | None) -> dict[str, Content]:
    names = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
    files: dict[str, bytes | None] = {**dict.fromkeys(names, corruption.batch_pickle()), **changes}
    return {f"raw/cifar-10-batches-py/{name}": data for name, data in files.items() if data is not None}


def _files_of_cifar_and_archives() -> list[Case]:
    archive = "raw/cifar-10-python.tar.gz"
    packed = tar_file({"x.txt": b"x"}, packed=True)
    cases = [
        Case("data_gen.cifar10", RAW, words, _cifar(data_batch_3=data))
        for data, words in (
            (corruption.malicious_pickle(PROOF), ("posix.mkdir", "nothing is ever run")),
            (b"", ("data_batch_3", "ends too early")),
            (None, ("lacks data_batch_3", "anew")),
            (corruption.batch_pickle(rows=np.zeros((4, 3071), np.uint8)), ("uint8 of shape (n, 3072)",)),
            (corruption.batch_pickle(rows=np.zeros((4, 3072), np.float32)), ("uint8 of shape (n, 3072)",)),
            (corruption.batch_pickle(labels=[1]), ("4 images and 1 labels",)),
            (corruption.batch_pickle(labels=[11] * 4), ("11", "0 to 9")),
            (corruption.batch_pickle(labels=[10**30] * 4), ("labels", "0 to 9")),
            (pickle.dumps([1]), ("holds no dictionary", "data, labels")),
        )
    ]
    cases += [
        Case("data_gen.cifar10", RAW, (repr(name), "leads out of the archive"), {archive: tar_file({name: b"x"})})
        for name in ("../x", "/x")
    ]
    for name, file in ARCHIVES.items():
        module, place = f"data_gen.{name}", f"raw/{file}"
        cases += [
            Case(module, RAW, (file, "neither a zip nor a tar"), {place: b"junk"}),
            Case(module, RAW, (file, "web page"), {place: b"<html>404</html>"}),
            Case(module, RAW, (file, "damaged or truncated"), {place: packed[:-12]}),
        ]
    cases.append(Case("data_gen.facades", RAW, ("facades.tar.gz", "no images"), {"raw/facades.tar.gz": packed}))
    return cases


def _files_of_images() -> list[Case]:
    module, given = "data_gen.image_folder", ("--path", "{d}/raw", "--size", "16", "--data_dir", "{d}/data")
    good: dict[str, Content] = {f"raw/{number}.png": image_file(size=(40, 40)) for number in range(3)}
    cases = [
        Case(module, (*given, *options.split()), words, good)
        for options, words in (
            ("--size 0", ("0", "4096")),
            ("--channels 2", ("2", "3")),
            ("--crop middle", ("middle", "center")),
            ("--crop 100000", ("3 of 3 images", "too small", "--tolerance")),
            ("--filter cubic", ("'cubic'", "'bicubic'")),
            ("--background green", ("green", "white")),
            ("--called a/b", ("'a/b'", "letters")),
            ("--tolerance nan", ("nan", "0", "1")),
        )
    ]
    link = (tarfile.SYMTYPE, "/etc/passwd")
    for content, words in (
        (b"", ("raw", "empty")),
        (zip_file({"../a.png": image_file()}), ("'../a.png'", "leads out of the archive")),
        (zip_file({"/etc/a.png": image_file()}), ("/etc/a.png", "leads out of the archive")),
        (zip_file({"a.png": image_file()})[:-10], ("damaged or truncated zip",)),
        (tar_of("a.png", *link), ("1 of 1 images", "link")),
        (tar_of("a.png", tarfile.LNKTYPE, "../../x"), ("1 of 1 images", "link")),
        (tar_of("a.png", tarfile.CHRTYPE), ("1 of 1 images", "no plain file")),
        (tar_of("a.png", size=10**12), ("damaged or truncated tar",)),
        (gzip.compress(b"x" * 100), ("damaged or truncated tar",)),
        (b"Rar!\x1a\x07\x00", ("neither a zip nor a tar", "unpack")),
    ):
        cases.append(Case(module, given, words, {"raw": content}))
    return [
        *cases,
        Case(module, given, ("empty file: a.png", "--tolerance"), {"raw/a.png": b""}),
        Case(module, given, ("1 of 1 images", "b.jpg", "--tolerance"), {"raw/b.jpg": image_file("JPEG")[:200]}),
        Case(module, given, ("no image: c.jpg", "--tolerance"), {"raw/c.jpg": b"text"}),
        Case(module, given, ("no images in it", "a.txt"), {"raw/a.txt": b"x"}),
        Case(module, ("--path", "{d}/nope", "--size", "16"), ("nope", "no such file")),
    ]


def _dsprites(**changes: Any) -> dict[str, Content]:
    return {"raw/x.npz": lambda: npz_file({k: v for k, v in dsprites_grid(**changes).items() if v is not None})}


def _sketchy(**changes: Any) -> dict[str, Content]:
    arrays: dict[str, Any] = {}
    for part, classes in (("train", "ab"), ("test", "cd")):
        for domain in ("sketch", "image"):
            arrays[f"{part}_{domain}_features"] = np.ones((2, 8), np.float32)
            arrays[f"{part}_{domain}_paths"] = np.array([f"x/{name}/1.png" for name in classes])
    return {
        f"raw/split1/{name}.npy": array if isinstance(array, bytes) else npy_file(array)
        for name, array in (arrays | changes).items()
        if array is not None
    }


def _files_of_arrays() -> list[Case]:
    subgrid = (*RAW, "--source", "subgrid")
    big = 2**63 - 1 + np.zeros((6, 6), np.uint64)
    cases = [
        Case("data_gen.dsprites", subgrid, ("x.npz", *words), _dsprites(**changes))
        for changes, words in (
            ({"imgs": np.full((6, 64, 64), 2, np.uint8)}, ("pixel of value 2", "0 and 1")),
            ({"imgs": np.zeros((6, 64, 64), np.float32)}, ("float32", "uint8")),
            ({"imgs": None}, ("no dSprites file of the kind 'subgrid'", "damaged, or of another kind")),
            ({"imgs": np.array([{}] * 6, dtype=object)}, ("no dSprites file",)),
            ({"latents_classes": np.zeros((5, 6), np.int64)}, ("(5, 6)", "each of 6 images")),
            ({"latents_classes": np.full((6, 6), -1)}, ("level -1", "start at 0")),
            ({"latents_classes": big}, ("levels up to", "(3, 6, 40, 32, 32)")),
            ({"latents_classes": np.full((6, 6), 0.5)}, ("float64", "integers")),
            ({"latents_values": np.full((6, 6), np.nan)}, ("no finite numbers",)),
            ({"latents_values": np.full((6, 6), np.inf)}, ("no finite numbers",)),
            ({"latents_values": np.full((6, 6), "a")}, ("<U1", "numbers")),
        )
    ]
    cases += [
        Case("data_gen.sketchy", RAW, ("train_image_features.npy", *words), _sketchy(train_image_features=data))
        for data, words in (
            (None, ("is missing",)),
            (b"", ("damaged or truncated",)),
            (np.full((2, 8), np.nan, np.float32), ("no finite numbers",)),
            (np.full((2, 8), 1e300), ("no finite numbers",)),
            (np.ones((1, 8), np.float32), ("1 vectors", "2 paths")),
            (np.ones((2, 8), np.int32), ("int32", "floats")),
            (np.array([{}] * 2, dtype=object), ("pickled objects",)),
            (npy_claim("(1000000000000, 8)"), ("damaged or truncated", "32,000,000,000,")),
            (npy_claim("(-1, -512)"), ("damaged or truncated",)),
            (corruption.malicious_pickle(PROOF), ("damaged or truncated",)),
            (zip_file({"a": b"x"}), ("is an archive",)),
            (b"<html>", ("web page",)),
        )
    ]
    official = {"raw/dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz": b"PK\3\4 cut off"}
    cut = ("co1sh3sc6or40x32y32_64x64.npz", "damaged or truncated")
    cases.append(Case("data_gen.dsprites", (*RAW, "--source", "official"), cut, official))
    return cases


RENDER = "teapot_renderer.__main__"
METRICS = "metrics.__main__"


def codes_file(**changes: Any) -> Callable[[], bytes]:
    """Codes and factors of sixty images."""
    rng = np.random.default_rng(0)
    whole = {"codes": rng.normal(size=(60, 3)), "factors": rng.integers(0, 3, (60, 2)).astype(float)}
    return lambda: npz_file({name: array for name, array in (whole | changes).items() if array is not None})


CODES: dict[str, Content] = {"a.npz": codes_file()}


def _arrays_of_metrics() -> list[Case]:
    codes = np.random.default_rng(0).normal(size=(60, 3))
    broken = codes.copy()
    broken[3, 1] = np.nan
    groups = np.random.default_rng(0).normal(size=(20, 10, 3))
    wrong = [
        ({"codes": broken}, ("1 values of 180", "NaN or infinite")),
        ({"codes": np.where(np.isnan(broken), np.inf, broken)}, ("NaN or infinite",)),
        ({"codes": codes * 1e300}, ("beyond 1e+100", "scale them down")),
        ({"factors": np.full((60, 2), np.inf)}, ("factors holds infinite values",)),
        ({"codes": codes[:59]}, ("59 rows", "factors 60")),
        ({"codes": codes[:, :0]}, ("is empty", "(60, 0)")),
        ({"codes": codes.astype("U9")}, ("real numbers", "<U9")),
        ({"codes": codes.astype(complex)}, ("real numbers", "complex128")),
        ({"codes": codes[0]}, ("2 axes", "(3,)")),
        ({"codes": np.array([[None] * 3] * 60)}, ("Python objects", "never unpickled")),
        ({"factor_names": np.array(["a"])}, ("1 names for 2 factors",)),
        ({"discrete": np.array([0.5, 1])}, ("True and False", "float64")),
    ]
    cases = [
        Case(METRICS, ("--codes", "{d}/a.npz", "--metrics", "mig"), words, {"a.npz": codes_file(**changes)})
        for changes, words in wrong
    ]
    few = {"codes": codes[:4], "factors": np.arange(8.0).reshape(4, 2)}
    grouped = {"group_codes": groups[:, :1], "group_labels": np.arange(20) % 3}
    return [
        *cases,
        Case(
            METRICS,
            ("--codes", "a.npz", "--metrics", "dlib_sap"),
            ("4 rows", "6 or more"),
            {"a.npz": codes_file(**few)},
        ),
        Case(METRICS, ("--codes", "a.npz", "--metrics", "fid"), ("features_real", "there is codes"), CODES),
        Case(
            METRICS,
            ("--codes", "a.npz", "--metrics", "factor_vae"),
            ("two images or more",),
            {"a.npz": codes_file(**grouped)},
        ),
    ]


def _files_of_metrics() -> list[Case]:
    whole = codes_file()()
    cases = [
        Case(METRICS, ("--codes", "{d}/a.npz"), ("a.npz", *words), {"a.npz": data})
        for data, words in (
            (b"", ("is empty", "numpy.savez")),
            (whole[:500], ("not a whole .npz file", "write or copy it again")),
            (b"PK", ("not a whole .npz file", "does not begin as one")),
            (b"\x89HDF\r\n\x1a\n", ("not an .npz file", "numpy.savez")),
            (npy_file(np.ones(3)), ("one array without a name", "numpy.savez")),
            (corruption.malicious_pickle(PROOF), ("not an .npz file",)),
            (zip_file({"codes.npy": corruption.malicious_pickle(PROOF)}), ("codes", "savez")),
            (zip_file({"codes.npy": npy_claim("(1000000000000, 3)", "<f8")}), ("codes", "damaged")),
            (b"codes,labels\n1,2\n", ("not an .npz file", "numpy.savez")),
            (whole[:600] + bytes(100) + whole[700:], ("codes", "damaged")),
            (None, ("is a folder", "the .npz file itself")),
        )
    ]
    given: list[tuple[str, tuple[str, ...]]] = [
        ("", ("--codes is missing", "--encoder")),
        ("--codes {d}/no.npz", ("no such file", "check the path")),
        ("--codes a.npz --metrics mgi", ("'mgi'", "did you mean 'mig'")),
        ("--codes a.npz --metrics ,", ("no metric was chosen", "allowed: factor_vae")),
        ("--codes a.npz --seed -1", ("--seed is -1", "0 or more")),
        ("--codes a.npz --seed x", ("--seed", "'x' is no whole number")),
        ("--codes a.npz --preset quick", ("quick", "fast")),
        ("--codes a.npz --jason", ("--jason", "'--json'")),
        ("--codes a.npz --batch 0", ("--batch is 0", "1 or more")),
        ("--encoder e.keras", ("--encoder and --dataset belong together",)),
        ("--codes a.npz --encoder e.keras --dataset dsprites", ("not both",)),
        ("--encoder e.keras --dataset dsprits", ("'dsprits'", "did you mean 'dsprites'")),
        ("--encoder e.keras --dataset dsprites --source x", ("'x'", "synthetic")),
        ("--encoder e.keras --dataset sketchy --source synthetic", ("vectors and no images",)),
        ("--encoder no.keras --dataset dsprites --source synthetic", ("no such file", ".keras")),
        ("--encoder e.keras --dataset dsprites --source synthetic", ("cannot be loaded", "model.save")),
        ("--encoder zip.keras --dataset dsprites --source synthetic", ("cannot be loaded", "model.save")),
        ("--encoder e.h5 --dataset dsprites --source synthetic", ("cannot be loaded", "model.save")),
    ]
    files: dict[str, Content] = {
        **CODES,
        "e.keras": b"x",
        "zip.keras": zip_file({"config.json": b"{", "metadata.json": b"{}", "model.weights.h5": b""}),
        "e.h5": b"\x89HDF\r\n\x1a\n",
    }
    return cases + [Case(METRICS, tuple(words.split()), expected, files) for words, expected in given]


def _renderer() -> list[Case]:
    model = {"meshLinearTransform": np.full((3, 2), 1e308), "ppcaB": np.full(6, 1e308), "faces": np.array([[0, 1, 2]])}
    files: dict[str, Content] = {
        "bad.obj": b"v 1 2\n",
        "far.obj": b"v 1e31 0 0\n",
        "none.obj": b"v 1 1 1\n",
        "face.obj": b"v 0 0 0\nf 1 2 3\n",
        "flat.obj": b"v 0 0 0\nv 0 0 0\nv 0 0 0\nf 1 2 3\n",
        "binary.obj": bytes(range(256)),
        "folder.obj": None,
        "cut.bpt": b"1\n3 3\n",
        "many.bpt": b"99999999999\n",
        "evil.pkl": corruption.malicious_pickle(PROOF),
        "large.pkl": pickle.dumps(model),
        "faces.pkl": pickle.dumps({**model, "ppcaB": np.zeros(6), "faces": np.array([[0, 1, 9]])}),
    }
    given = [
        ("--azimut 3", ("--azimut", "'--azimuth'")),
        ("--azimuth nan", ("nan", "-360 to 360")),
        ("--elevation 91", ("91", "-90 to 90")),
        ("--light 0,0,0", ("AZIMUTH,ELEVATION",)),
        ("--point_light 1,2", ("'1,2'", "3 numbers")),
        ("--color 2,0,0", ("2", "0 to 1")),
        ("--turn 5", ("--turn", ".gif")),
        ("--size 100000", ("100000", "8 to 2048")),
        ("--samples 2", ("2", "1, 4, 9")),
        ("--backend gpu", ("gpu", "fast")),
        ("--fineness x", ("'x'", "1 to 100")),
        ("--azimuth 3 --gamma 3", ("--azimuth and --gamma exclude",)),
        ("--mesh nope", ("'nope'", "FILE.obj")),
        ("--mesh bad.obj", ("bad.obj, line 1", "three finite numbers")),
        ("--mesh far.obj", ("too far out", "1e+30")),
        ("--mesh none.obj", ("no faces",)),
        ("--mesh face.obj", ("names vertex 2", "there are 1")),
        ("--mesh flat.obj", ("spans 0.0",)),
        ("--mesh binary.obj", ("line 1", "polygon mesh")),
        ("--mesh folder.obj", ("a folder where a file was expected",)),
        ("--mesh cut.bpt", ("cut.bpt", "17")),
        ("--mesh many.bpt", ("99999999999", "number of patches")),
        ("--mesh evil.pkl", ("posix.mkdir", "nothing is ever run")),
        ("--mesh large.pkl", ("finite numbers", "no teapot model")),
        ("--mesh faces.pkl", ("0 to 9", "0 to 2")),
        ("--save_mesh m.txt", ("m.txt", "FILE.obj")),
    ]
    small = ("--size", "16", "--samples", "1", "--out", "{d}/o.png")
    return [Case(RENDER, (*small, *words.split()), expected, files) for words, expected in given]


def _other_commands() -> list[Case]:
    flags = [
        ("teapot_renderer.install_opendr", "--chek", ("--chek", "'--check'")),
        ("teapot_renderer.install_opendr", "now", ("now", "--help")),
        *((f"benchmarks.{name}", "--bogus", ("--bogus", "--help")) for name in BENCHMARKS),
        ("benchmarks.data", "--turns 0", ("--turns", "1 or more")),
        ("benchmarks.data", "--turns x", ("'x' is no whole number",)),
        ("benchmarks.data", "--preset x", ("x", "ibgan")),
        ("benchmarks.metrics", "--metrics x", ("x", "factor_vae")),
        ("benchmarks.dhsic", "--images 9", ("--images=9", "10 to 5000")),
        ("benchmarks.render", "--scenes -1", ("--scenes", "1 or more")),
        ("benchmarks.render", "--only x", ("--only=x", "backends, cores")),
        ("benchmarks.results", "nope", ("'nope'", "there are:")),
        ("benchmarks.steps_vs_pytorch", "--models x", ("x", "ibgan")),
        ("benchmarks.steps_vs_pytorch", "--device tpu", ("tpu", "gpu")),
        ("benchmarks.fit_dsprites_outline", "--raw_dir none", ("none", "--raw_dir")),
        ("metrics.shape_classifier", "--bogus", ("--bogus", "--help")),
        ("data_gen.__main__", "lst", ("'lst'", "list")),
        ("data_gen.__main__", "list x", ("'x' belongs to verify",)),
        ("data_gen.__main__", "verify", ("name of a prepared set", "list")),
        ("data_gen.__main__", "verify nope --data_dir {d}", ("'nope'", "there are: none")),
        ("data_gen.__main__", "verify dsprites --data_dir {d}", ("python -m data_gen.dsprites",)),
        ("data_gen.__main__", "verify ../x --data_dir {d}", ("'../x'", "there are: none")),
    ]
    return [Case(module, tuple(words.split()), expected) for module, words, expected in flags]


BENCHMARKS = (
    *("data", "dhsic", "fit_dsprites_outline", "kill_campaign", "metrics", "render", "results", "start_up"),
    "steps_vs_pytorch",
)


def cases() -> list[Case]:
    """All cases but those of `run.py`."""
    return [
        *_flags_of_sets(),
        *_options_of_sets(),
        *_targets(),
        *_files_of_mnist_and_svhn(),
        *_files_of_cifar_and_archives(),
        *_files_of_images(),
        *_files_of_arrays(),
        *_arrays_of_metrics(),
        *_files_of_metrics(),
        *_renderer(),
        *_other_commands(),
    ]
