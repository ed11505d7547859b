"""dSprites: reading every kind of file, refusing damaged ones, redrawing, caching, and its version in color."""

from __future__ import annotations

import io
import math
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import data_gen
from common.errors import UserError
from data_gen import color_dsprites, dsprites, dsprites_files
from data_gen.dsprites_files import OFFICIAL_NAME, factor_space, find_archives, inspect, packed_blocks

SIZES = (3, 2, 4, 4, 4)
COUNT = math.prod(SIZES)
RAW = Path(os.environ.get("SPOUT_RAW_DIR", "data/raw"))
needs_raw = pytest.mark.skipif(not (RAW / "dsprites").is_dir(), reason="set SPOUT_RAW_DIR to real dSprites files")


@pytest.fixture(scope="module")
def miniature() -> dsprites.Dsprites:
    return dsprites.synthetic(SIZES)


def members_of(dataset: dsprites.Dsprites) -> dict[str, np.ndarray]:
    """What the official archive holds, for a set with fewer levels."""
    numbers = np.arange(dataset.num_examples)
    classes = dataset.factors_at(numbers)
    levels = dsprites_files.full_levels(SIZES)
    values = np.stack([levels[column][classes[:, column]] for column in range(5)], axis=1).astype(np.float64)
    return {
        "metadata": np.array({"title": "never read"}, dtype=object),
        "imgs": dataset.bits_at(numbers)[..., 0],
        "latents_classes": np.concatenate([np.zeros((len(classes), 1), np.int64), classes], axis=1),
        "latents_values": np.concatenate([np.ones((len(classes), 1)), values], axis=1),
    }


def write_npz(path: Path, members: dict[str, np.ndarray]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, allow_pickle=True, **members)
    return path


@pytest.fixture
def archive(tmp_path: Path, miniature: dsprites.Dsprites) -> Path:
    return write_npz(tmp_path / "raw" / "deep" / OFFICIAL_NAME, members_of(miniature))


def test_official_archive_is_known_by_its_contents(archive: Path, miniature: dsprites.Dsprites) -> None:
    renamed = archive.rename(archive.with_name("something.npz"))
    file = inspect(renamed, SIZES)
    assert file.kind == "official"
    assert (file.classes == miniature.factors_at(np.arange(COUNT))).all()
    packed = np.concatenate(list(packed_blocks(file)))
    assert (packed == miniature._packed).all()
    assert find_archives(archive.parents[1]) == [renamed]
    assert find_archives(renamed) == [renamed]


def test_blocks_do_not_change_the_images(
    archive: Path, miniature: dsprites.Dsprites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dsprites_files, "_BLOCK_IMAGES", 50)
    blocks = list(packed_blocks(inspect(archive, SIZES)))
    assert [len(block) for block in blocks] == [50] * 7 + [34]
    assert (np.concatenate(blocks) == miniature._packed).all()


def test_official_is_packed_once_and_then_needed_no_more(
    archive: Path, miniature: dsprites.Dsprites, tmp_path: Path
) -> None:
    data_dir, raw_dir = tmp_path / "data", archive.parents[1]
    first = dsprites._official(data_dir, raw_dir, SIZES)
    assert first is not None
    assert (first.name, first.source, first.factor_space) == ("dsprites", "official", factor_space(SIZES))
    assert (first.images_at(np.arange(COUNT)) == miniature.images_at(np.arange(COUNT))).all()
    assert np.allclose(first.values_at([COUNT - 1]), [[3, 1, 2 * np.pi, 1, 1]])
    stamp = (data_dir / "dsprites" / "packed.npy").stat().st_mtime_ns
    assert dsprites._official(data_dir, raw_dir, SIZES) is not None
    shutil.rmtree(raw_dir)
    again = dsprites._official(data_dir, raw_dir, SIZES)
    assert again is not None
    assert (again.images_at([5]) == first.images_at([5])).all()
    assert (data_dir / "dsprites" / "packed.npy").stat().st_mtime_ns == stamp
    assert dsprites._official(tmp_path / "elsewhere", raw_dir, SIZES) is None


def test_another_archive_or_a_torn_cache_is_packed_anew(
    archive: Path, miniature: dsprites.Dsprites, tmp_path: Path
) -> None:
    data_dir, raw_dir = tmp_path / "data", archive.parents[1]
    dsprites._official(data_dir, raw_dir, SIZES)
    members = members_of(miniature)
    members["imgs"] = 1 - members["imgs"]
    write_npz(archive, members)
    changed = dsprites._official(data_dir, raw_dir, SIZES)
    assert changed is not None
    assert (changed.bits_at([7]) == 1 - miniature.bits_at([7])).all()
    cache = data_dir / "dsprites" / "packed.npy"
    cache.write_bytes(cache.read_bytes()[:1000])
    cache.with_name(".packed.npy.0.partial").write_bytes(b"left by a killed run")
    mended = dsprites._official(data_dir, raw_dir, SIZES)
    assert mended is not None
    assert (mended.bits_at([7]) == 1 - miniature.bits_at([7])).all()
    assert sorted(path.name for path in cache.parent.iterdir()) == ["packed.json", "packed.npy"]


Damage = Callable[[Path, dict[str, np.ndarray]], Any]


def header_lying_about(count: int) -> bytes:
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": (count, 64, 64)})
    return member.getvalue()


def replace_member(path: Path, name: str, data: bytes) -> None:
    with zipfile.ZipFile(path) as old:
        members = {member: old.read(member) for member in old.namelist()}
    members[f"{name}.npy"] = data
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for member, contents in members.items():
            new.writestr(member, contents)


def cut(path: Path, keep: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def flip_pixels(path: Path) -> None:
    """Damages the compressed images in the middle, leaving the archive's directory as it was."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("imgs.npy")
    data = bytearray(path.read_bytes())
    name_length, extra_length = struct.unpack_from("<HH", data, info.header_offset + 26)
    middle = info.header_offset + 30 + name_length + extra_length + info.compress_size // 2
    for place in range(middle, middle + 8):
        data[place] ^= 0xFF
    path.write_bytes(bytes(data))


def changed(**changes: Callable[[np.ndarray], np.ndarray]) -> Damage:
    def apply(path: Path, members: dict[str, np.ndarray]) -> None:
        write_npz(path, members | {key: change(members[key]) for key, change in changes.items()})

    return apply


def without(key: str) -> Damage:
    return lambda path, members: write_npz(path, {name: member for name, member in members.items() if name != key})


def shifted_pixel(images: np.ndarray) -> np.ndarray:
    images = images.copy()
    images[200, 3, 4] = 255
    return images


DAMAGE: dict[str, tuple[Damage, str]] = {
    "empty file": (lambda path, members: path.write_bytes(b""), "damaged or truncated \\(0 bytes"),
    "web page": (lambda path, members: path.write_bytes(b"<html>not found</html>"), "damaged or truncated"),
    "half": (lambda path, members: cut(path, 0.5), "damaged or truncated"),
    "end missing": (lambda path, members: cut(path, 0.99), "damaged or truncated"),
    "flipped bits": (lambda path, members: flip_pixels(path), "damaged or truncated"),
    "no images": (without("imgs"), "no array 'imgs' in it"),
    "no classes": (without("latents_classes"), "no array 'latents_classes'"),
    "no values": (without("latents_values"), "no array 'latents_values'"),
    "pickled images": (changed(imgs=lambda images: np.array({"a": 1}, dtype=object)), "pickled objects"),
    "booleans": (changed(imgs=lambda images: images.astype(bool)), "imgs is bool"),
    "smaller images": (changed(imgs=lambda images: images[:, ::2, ::2]), "shape \\(384, 32, 32\\)"),
    "flat images": (changed(imgs=lambda images: images.reshape(-1, 4096)), "shape \\(384, 4096\\)"),
    "no image": (changed(imgs=lambda images: images[:0]), "shape \\(0, 64, 64\\)"),
    "column order": (changed(imgs=np.asfortranarray), "column order"),
    "a gray pixel": (changed(imgs=shifted_pixel), "image 200 has a pixel of value 255"),
    "short images": (lambda path, members: replace_member(path, "imgs", header_lying_about(384)), "should take"),
    "too many images": (
        lambda path, members: write_npz(
            path, {key: np.concatenate([value, value]) for key, value in members.items() if key != "metadata"}
        ),
        "imgs has 768 images; dSprites has 384",
    ),
    "bad header": (lambda path, members: replace_member(path, "imgs", b"\x93NUMPY\x01\x00\x06\x00{{{{{\n"), "damaged"),
    "not an array": (lambda path, members: replace_member(path, "imgs", b"hello"), "damaged"),
    "short table": (changed(latents_classes=lambda table: table[:-1]), "a row for each of 384 images"),
    "narrow table": (changed(latents_classes=lambda table: table[:, :4]), "6 or 5 columns"),
    "table of floats": (changed(latents_classes=lambda table: table + 0.5), "latents_classes is float64"),
    "negative level": (changed(latents_classes=lambda table: table - 1), "level -1"),
    "shuffled grid": (changed(latents_classes=lambda table: table[::-1]), "not in the grid's order"),
    "too high level": (changed(latents_classes=lambda table: table * 2), "levels up to"),
    "other values": (changed(latents_values=lambda table: table + 0.1), "latents_values of shape disagree"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_files_are_refused_with_what_was_found(
    archive: Path, miniature: dsprites.Dsprites, tmp_path: Path, kind: str
) -> None:
    damage, message = DAMAGE[kind]
    damage(archive, members_of(miniature))
    with pytest.raises(UserError, match=message) as caught:
        dsprites._official(tmp_path / "data", archive.parents[1], SIZES)
    assert str(archive) in str(caught.value)
    assert dsprites_files.OFFICIAL_URL in str(caught.value)
    assert not list((tmp_path / "data").rglob("*packed*"))


def test_a_subgrid_under_the_official_name_is_refused(tmp_path: Path, miniature: dsprites.Dsprites) -> None:
    write_npz(tmp_path / OFFICIAL_NAME, members_of(miniature))
    with pytest.raises(UserError, match=r"holds 384 images \(subgrid\), not all 737,280"):
        data_gen.load("dsprites", data_dir=tmp_path / "data", raw_dir=tmp_path)


@needs_raw
def test_real_subgrid() -> None:
    dataset = data_gen.load("dsprites", raw_dir=RAW, source="subgrid")
    assert (dataset.name, dataset.source) == ("dsprites_subgrid", "real subset (46,080)")
    assert dataset.grid.sizes == (3, 6, 10, 16, 16)
    assert [factor.kind for factor in dataset.factors] == ["discrete", "continuous", "periodic"] + ["continuous"] * 2
    with np.load(RAW / "dsprites" / "dsprites_downsampled.npz", allow_pickle=False) as real:
        chosen = np.random.default_rng(0).integers(0, 46_080, 300)
        images, values = real["imgs"][chosen], real["latents_values"][chosen]
        assert (dataset.images_at(chosen)[..., 0] == images * 255).all()
        assert np.allclose(dataset.values_at(chosen), values)
        assert (dataset.factors_at(chosen) == real["latents_classes"][chosen]).all()
    drawn, classes = dataset.sample(np.random.default_rng(1), 5, {"shape": 2})
    assert (drawn == dataset.images_at(dataset.grid.index_of(classes))).all()


@needs_raw
def test_real_random_images_equal_the_redrawn_ones() -> None:
    dataset = dsprites.load(data_dir=RAW, raw_dir=RAW, source="random")
    assert (dataset.source, dataset.factor_space, dataset.num_examples) == ("real sample (10,000)", None, 10_000)
    assert [factor.size for factor in dataset.factors] == [3, 6, 40, 32, 32]
    with np.load(RAW / "dsprites" / "dsprites_random_10000.npz", allow_pickle=False) as real:
        places = real["original_dataset_indices"]
        assert np.allclose(dataset.values_at(np.arange(10_000)), real["latents_values"])
    assert (factor_space().index_of(dataset.factors_at(np.arange(10_000))) == places).all()
    redrawn = dsprites.reconstruct(dataset.factors_at(np.arange(500)))
    assert np.abs(dataset.bits_at(np.arange(500))[..., 0].astype(int) - redrawn).sum() <= 2
    with pytest.raises(UserError, match="no full grid of factors"):
        dataset.sample(np.random.default_rng(0), 1)


def test_synthetic_is_a_coarse_grid(miniature: dsprites.Dsprites) -> None:
    assert miniature.factor_space == factor_space(SIZES)
    assert miniature.source == "synthetic"
    assert [len(values) for values in miniature.levels] == list(SIZES)
    # Around the circle the levels are 0, 9, 19 and 29 of 40: the last level of all would be the first one again.
    assert np.allclose(miniature.levels[2], np.array([0, 9, 19, 29]) * 2 * np.pi / 39)
    images = miniature.images_at(np.arange(COUNT))
    assert images.dtype == np.uint8
    assert images.shape == (COUNT, 64, 64, 1)
    assert set(np.unique(images)) == {0, 255}
    assert len({image.tobytes() for image in images}) > COUNT * 0.9
    full_classes = [[1, 5, 19, 10, 31]]
    place = factor_space(SIZES).index_of([[1, 1, 2, 1, 3]])
    assert (miniature.bits_at(place)[..., 0] == dsprites.reconstruct(np.array(full_classes))).all()


@pytest.mark.parametrize("levels", [(3, 6, 40, 32), (4, 6, 40, 32, 32), (0, 1, 1, 1, 1)])
def test_synthetic_levels_are_checked(levels: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="give five numbers"):
        data_gen.load("dsprites", source="synthetic", levels=levels)


def test_reconstructed_with_a_limit_draws_only_that(tmp_path: Path) -> None:
    dataset = dsprites.load(data_dir=tmp_path / "data", raw_dir=tmp_path, limit=300)
    assert (dataset.name, dataset.source) == ("dsprites_reconstructed_limit300", "reconstructed")
    assert dataset.factor_space is None
    assert not (tmp_path / "data").exists()
    classes = dataset.factors_at(np.arange(300))
    assert (dataset.bits_at(np.arange(300))[..., 0] == dsprites.reconstruct(classes)).all()
    assert len(np.unique(factor_space().index_of(classes))) == 300
    again = data_gen.load("dsprites", data_dir=tmp_path / "data", raw_dir=tmp_path, limit=300)
    assert again.fingerprint() == dataset.fingerprint()


def test_reconstructed_is_kept_and_made_anew_with_another_generator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def few(watch: Any) -> np.ndarray:
        calls.append(1)
        return np.zeros((COUNT, 512), np.uint8)

    monkeypatch.setattr(dsprites, "reconstruct_all_packed", few)
    for _ in range(2):
        dataset = dsprites._reconstructed(tmp_path, None, SIZES)
        assert (dataset.name, dataset.source) == ("dsprites_reconstructed", "reconstructed")
        assert dataset.factor_space == factor_space(SIZES)
    assert len(calls) == 1
    other = tmp_path / "other.py"
    other.write_text("changed")
    monkeypatch.setattr(dsprites.dsprites_reconstruction, "__file__", str(other))
    assert dsprites._reconstructed(tmp_path, 10, SIZES).images_at(np.arange(10)).any()
    assert len(calls) == 1
    dsprites._reconstructed(tmp_path, None, SIZES)
    assert len(calls) == 2


def test_missing_files_say_what_to_do(tmp_path: Path, archive: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=r"download .*npz from https://.* into .*or choose the source 'reconstructed'"):
        data_gen.load("dsprites", data_dir=tmp_path, raw_dir=empty, source="official")
    with pytest.raises(UserError, match=r"no dSprites file of the kind 'random' .* found: .*\(subgrid\)"):
        data_gen.load("dsprites", data_dir=tmp_path, raw_dir=tmp_path, source="random")
    with pytest.raises(UserError, match="no dSprites file at all"):
        data_gen.load("dsprites", data_dir=tmp_path, raw_dir=empty, source="subgrid")


def test_other_archives_are_passed_over(tmp_path: Path, archive: Path) -> None:
    np.savez(tmp_path / "a.npz", codes=np.zeros(3))
    np.savez(tmp_path / "b.npz", imgs=np.zeros((2, 64, 64), np.uint8))
    (tmp_path / "c.npz").write_text("no archive")
    assert len(find_archives(tmp_path)) == 4
    dataset = data_gen.load("dsprites", data_dir=tmp_path / "data", raw_dir=tmp_path, source="subgrid")
    assert dataset.num_examples == COUNT


def test_a_folder_that_cannot_be_written_is_named(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file, not a folder")
    with pytest.raises(UserError, match=r"data.*: (no such file|a part of this path is a file)"):
        dsprites._official(tmp_path / "data", archive.parents[1], SIZES)


def test_colors_scale_the_channels(miniature: dsprites.Dsprites) -> None:
    color = color_dsprites.ColorDsprites(miniature)
    assert color.num_examples == COUNT * 512
    assert color.name == "color_dsprites_synthetic"
    assert color.factor_names[-3:] == ("red", "green", "blue")
    assert color.grid.sizes[-3:] == (8, 8, 8)
    levels = [1, 0, 3, 2, 1, 7, 0, 3]
    index = color.grid.index_of([levels])
    gray = miniature.bits_at(miniature.grid.index_of([levels[:5]]))
    # 255 x 3 / 7 is 109.3.
    assert (color.images_at(index) == gray * np.array([255, 0, 109], np.uint8)).all()
    assert np.allclose(color.values_at(index)[0, 5:], [1, 0, 3 / 7])
    assert np.allclose(color.values_at(index)[0, :5], miniature.values_at(index // 512)[0])
    assert color_dsprites.CHANNEL_VALUES.tolist() == [0, 36, 73, 109, 146, 182, 219, 255]


def test_colors_of_published_size_need_no_more_memory(tmp_path: Path) -> None:
    base = dsprites.Dsprites(
        np.lib.stride_tricks.as_strided(np.zeros(512, np.uint8), (737_280, 512), (0, 1)),
        levels=dsprites_files.full_levels(),
        name="dsprites",
        source="official",
        factor_space=factor_space(),
    )
    color = color_dsprites.ColorDsprites(base)
    assert color.num_examples == color.grid.size == 377_487_360
    assert color.factors_at([377_487_359]).tolist() == [[2, 5, 39, 31, 31, 7, 7, 7]]
    limited = color.limited(100)
    assert limited.images_at(np.arange(100)).shape == (100, 64, 64, 3)
    assert limited.factors_at(np.arange(100)).shape == (100, 8)
