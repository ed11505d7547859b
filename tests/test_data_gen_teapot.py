"""3D Teapot as a data set: where it comes from, what it can do, its preview, and what its command refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import data_gen
import teapot_renderer
from common.errors import UserError
from data_gen import teapot, teapot_command, teapot_preview
from data_gen.teapot import Teapot
from data_gen.teapot_latents import VARIANTS, published_stream
from data_gen.teapot_recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
TINY: dict[str, Any] = {"image_size": 16, "samples": 1, "fineness": 3, "num_train": 300, "num_groups": 6}


def load(source: str, data_dir: Path, raw_dir: Path | None = None, **options: Any) -> Teapot:
    dataset = data_gen.load("teapot", source=source, data_dir=data_dir, raw_dir=raw_dir or data_dir, **options)
    assert isinstance(dataset, Teapot)
    return dataset


def prepare(data_dir: Path, layout: str, *more: str) -> None:
    """Writes the set of `TINY`."""
    flags = [text for name, value in TINY.items() for text in (f"--{name}", str(value))]
    teapot_command.run([*flags, "--backend", "fast", "--format", layout, "--data_dir", str(data_dir), *more])


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Teapot:
    return load("rendered", tmp_path_factory.mktemp("rendered"), **TINY)


def test_a_rendered_set_has_the_latents_and_their_images(rendered: Teapot) -> None:
    variant = VARIANTS["uniform_light"]
    latents = published_stream(variant, 1, 300, 6)
    assert rendered.name == "teapot_uniform_light_utah_16px"
    assert rendered.source == "rendered by the fast back-end, Utah teapot, fineness 3"
    assert (rendered.num_examples, rendered.image_shape) == (300, (16, 16, 3))
    assert (rendered.values_at(np.arange(300)) == latents.train).all()
    assert [factor.kind for factor in rendered.factors] == [
        "periodic",
        "continuous",
        "periodic",
        "periodic",
        "continuous",
    ]
    assert rendered.factor_space is None
    mesh = Recipe(variant, fineness=3).loaded_mesh
    scenes = variant.scenes(latents.train[[299, 4]])
    expected = teapot_renderer.render(mesh, scenes, size=16, backend="fast", samples=1)
    assert (rendered.images_at([299, 4]) == expected).all()
    groups = rendered.metric_groups
    assert groups is not None
    assert (groups.num_groups, groups.group_size) == (6, 100)
    assert groups.labels.tolist() == [0, 1, 2, 3, 4, 0]
    assert groups.values is not None
    assert (groups.values == latents.groups).all()
    expected = teapot_renderer.render(mesh, variant.scenes(latents.groups[3]), size=16, backend="fast", samples=1)
    assert (groups.images_at([3])[0] == expected).all()


def test_images_stay_on_the_disk_and_are_drawn_once(rendered: Teapot, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(rendered._images.base.filename)  # type: ignore[union-attr]
    assert path.name == "rendered.npy"
    before = path.stat().st_mtime_ns

    def no_more(*given: Any) -> None:
        raise AssertionError("drawn again")

    monkeypatch.setattr(Recipe, "images", no_more)
    again = load("auto", path.parents[1], **TINY)
    assert again.fingerprint() == rendered.fingerprint()
    assert path.stat().st_mtime_ns == before
    limited = load("rendered", path.parents[1], limit=250, **TINY)
    assert limited.name == "teapot_uniform_light_utah_16px_limit250"
    assert (limited.images_at([249]) == rendered.images_at([249])).all()
    assert limited.metric_groups is not None
    assert limited.metric_groups.num_groups == 5


def test_another_recipe_is_drawn_anew(rendered: Teapot) -> None:
    data_dir = Path(rendered._images.base.filename).parents[1]  # type: ignore[union-attr]
    finer = load("rendered", data_dir, **{**TINY, "samples": 4})
    assert (finer.images_at([0]) != rendered.images_at([0])).any()
    assert load("rendered", data_dir, **TINY).fingerprint() == rendered.fingerprint()


@pytest.mark.parametrize("layout", ["tfrecord", "npz"])
def test_a_prepared_set_is_read_back(layout: str, rendered: Teapot, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no whole set teapot_uniform_light_utah_16px .*python -m data_gen.teapot"):
        load("prepared", tmp_path, **TINY)
    prepare(tmp_path, layout)
    for source in ("prepared", "auto"):
        found = load(source, tmp_path, **TINY)
        assert found.fingerprint() == rendered.fingerprint()
        assert found.source == rendered.source
    groups, expected = found.metric_groups, rendered.metric_groups
    assert groups is not None
    assert expected is not None
    assert (groups.images_at(np.arange(6)) == expected.images_at(np.arange(6))).all()
    assert (tmp_path / rendered.name / "prepared.npy").is_file()
    with pytest.raises(UserError, match=r"no whole set .* differs in samples\): write it with"):
        load("prepared", tmp_path, **{**TINY, "samples": 4})
    limited = load("prepared", tmp_path, limit=20, **TINY)
    assert (limited.num_examples, limited.name) == (20, f"{rendered.name}_limit20")


def test_a_damaged_prepared_set_is_refused(tmp_path: Path) -> None:
    prepare(tmp_path, "npz", "--limit", "20")
    archive = tmp_path / "teapot_uniform_light_utah_16px_limit20" / "npz" / "train_data" / "data.npz"
    data = bytearray(archive.read_bytes())
    data[-3000] ^= 1
    archive.write_bytes(data)
    with pytest.raises(UserError, match=r"train_data/data.npz missing or changed since written; write the set again"):
        load("prepared", tmp_path, limit=20, **TINY)


def published(folder: Path, name: str, dtype: str, compressed: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Writes files as the published scripts do, of noise; returns the images and groups."""
    variant = VARIANTS[name]
    latents = published_stream(variant, 7, 30, 4)
    rng = np.random.default_rng(0)
    images, groups = (rng.integers(0, 256, (*shape, 8, 8, 3), dtype=np.uint8) for shape in ((30,), (4, 100)))
    scale = 255.0 if dtype == "float64" else np.uint8(1)
    save = np.savez_compressed if compressed else np.savez
    for part in ("train_data", "metric_data"):
        (folder / part).mkdir(parents=True)
    save(folder / "train_data/data.npz", imgs=(images / scale).astype(dtype), latents=latents.train)
    save(folder / "metric_data/data.npz", imgs=(groups / scale).astype(dtype), labels=latents.labels.astype(np.int32))
    return images, groups


@pytest.mark.parametrize(("dtype", "compressed"), [("uint8", False), ("float64", False), ("float64", True)])
def test_published_files_are_read(dtype: str, compressed: bool, tmp_path: Path) -> None:
    raw_dir = tmp_path / "raw"
    published(raw_dir / "another", "all_color", dtype)
    images, groups = published(raw_dir / "some folder", "uniform_light", dtype, compressed)
    for source in ("published", "auto"):
        dataset = load(source, tmp_path, raw_dir)
        assert (dataset.name, dataset.source) == ("teapot_uniform_light", "published")
        assert (dataset.images_at(np.arange(30)) == images).all()
        assert (dataset.values_at([29]) == published_stream(VARIANTS["uniform_light"], 7, 30, 0).train[29]).all()
    found = dataset.metric_groups
    assert found is not None
    assert (found.images_at([0, 1, 2, 3]) == groups).all()
    assert found.labels.tolist() == [0, 1, 2, 3]
    assert found.values is None
    with pytest.raises(UserError, match="cannot be drawn, because their mesh is not known"):
        dataset.sample(np.random.default_rng(0), 1)
    limited = load("published", tmp_path, raw_dir, limit=12)
    assert (limited.name, limited.num_examples) == ("teapot_uniform_light_limit12", 12)
    color = load("published", tmp_path, raw_dir / "another" / "train_data" / "data.npz", variant="all_color")
    assert color.variant.name == "all_color"
    with pytest.raises(UserError, match=r"no published 3D Teapot of the variant up_light in .*train_data/data.npz"):
        load("published", tmp_path, raw_dir, variant="up_light")
    with pytest.raises(UserError, match="the published 3D Teapot is as it is: leave out image_size"):
        load("published", tmp_path, raw_dir, image_size=8)


def test_published_training_images_alone_will_do(tmp_path: Path) -> None:
    published(tmp_path / "raw", "up_light", "uint8")
    (tmp_path / "raw" / "metric_data" / "data.npz").unlink()
    dataset = load("auto", tmp_path, tmp_path / "raw", variant="fixed_color_complete_rotation_up_light")
    assert dataset.metric_groups is None
    assert [factor.name for factor in dataset.factors] == ["gamma", "beta", "alpha"]


def test_changed_published_files_are_read_anew(tmp_path: Path) -> None:
    published(tmp_path / "raw", "up_light", "uint8")
    first = load("published", tmp_path, tmp_path / "raw", variant="up_light")
    path = tmp_path / "raw" / "train_data" / "data.npz"
    with np.load(path) as file:
        np.savez(path, imgs=255 - file["imgs"], latents=file["latents"])
    second = load("published", tmp_path, tmp_path / "raw", variant="up_light")
    assert (second.images_at([0]) == 255 - np.asarray(first.images_at([0]))).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"imgs": np.zeros((30, 8, 8, 3), np.float32)}, r"imgs is float32 of shape"),
        ({"imgs": np.zeros((30, 8, 9, 3), np.uint8)}, r"imgs is uint8 of shape \(30, 8, 9, 3\)"),
        ({"imgs": np.zeros((0, 8, 8, 3), np.uint8)}, r"imgs is uint8 of shape \(0, 8, 8, 3\)"),
        ({"imgs": np.full((30, 8, 8, 3), 1.5)}, r"imgs reaches from 1.5 to 1.5; expected 0 to 1"),
        ({"latents": np.zeros((29, 3))}, r"latents is float64 of shape \(29, 3\) for 30 images"),
        ({"latents": np.array([{}] * 30, dtype=object)}, "pickled objects"),
    ],
)
def test_published_files_that_are_not_what_they_should_be(
    change: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    published(tmp_path / "raw", "up_light", "uint8")
    path = tmp_path / "raw" / "train_data" / "data.npz"
    with np.load(path) as file:
        held = dict(file)
    np.savez(path, **{**held, **change})
    with pytest.raises(UserError, match=message):
        load("auto", tmp_path, tmp_path / "raw", variant="up_light")
    assert not list(tmp_path.glob("**/*.npy"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"imgs": np.zeros((0, 100, 8, 8, 3), np.uint8)},
            r"imgs is uint8 of shape \(0, 100, 8, 8, 3\), which does not fit",
        ),
        ({"imgs": np.zeros((4, 100, 9, 9, 3), np.uint8)}, r"imgs is uint8 of shape \(4, 100, 9, 9, 3\)"),
        ({"labels": np.zeros(5, np.int32)}, r"labels is int32 of shape \(5,\) for 4 groups"),
        ({"labels": np.full(4, 3)}, "labels reach from 3 to 3 for 3 factors"),
    ],
)
def test_published_groups_that_are_not_what_they_should_be(
    change: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    published(tmp_path / "raw", "up_light", "uint8")
    path = tmp_path / "raw" / "metric_data" / "data.npz"
    with np.load(path) as file:
        held = dict(file)
    np.savez(path, **{**held, **change})
    with pytest.raises(UserError, match=message):
        load("auto", tmp_path, tmp_path / "raw", variant="up_light")


def test_our_own_files_are_not_taken_for_published_ones(tmp_path: Path) -> None:
    prepare(tmp_path / "raw", "npz", "--limit", "10")
    with pytest.raises(UserError, match="no published 3D Teapot"):
        load("published", tmp_path, tmp_path / "raw")


def test_sampling_draws_new_images(rendered: Teapot) -> None:
    images, values = rendered.sample(np.random.default_rng(0), 6, {"beta": 1.0, "light_azimuth": 0.0})
    assert (values[:, 1] == 1.0).all()
    assert (values[:, 3] == 0.0).all()
    scenes = VARIANTS["uniform_light"].scenes(values)
    mesh = Recipe(VARIANTS["uniform_light"], fineness=3).loaded_mesh
    assert (images == teapot_renderer.render(mesh, scenes, size=16, backend="fast", samples=1)).all()
    assert rendered.sample(np.random.default_rng(0), 0)[0].shape == (0, 16, 16, 3)
    with pytest.raises(ValueError, match="unknown factor 'scale'; allowed: gamma, beta, alpha, light_azimuth"):
        rendered.sample(np.random.default_rng(0), 1, {"scale": 1.0})


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_the_miniature_has_the_schema_of_the_set(variant: str) -> None:
    dataset = data_gen.load("teapot", source="synthetic", variant=variant)
    assert isinstance(dataset, Teapot)
    assert dataset.image_shape == (64, 64, 3)
    assert dataset.num_examples == 300
    assert dataset.factors == VARIANTS[variant].factors
    groups = dataset.metric_groups
    assert groups is not None
    assert groups.labels.tolist() == list(range(len(dataset.factors)))
    assert groups.values is not None
    for label, values in enumerate(groups.values):
        assert [len(set(column)) == 1 for column in values.T] == [number == label for number in range(len(values.T))]
    assert data_gen.load("teapot", source="synthetic", variant=variant, limit=7).num_examples == 7
    assert teapot.synthetic(variant, 20).num_examples == 20


def test_the_preview_shows_every_latent_and_writes_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sheet = tmp_path / "sheets" / "sheet.png"
    written: list[str] = []
    page = teapot_preview._Page
    text = page.text

    def noted(self: Any, x: float, y: float, words: str, *style: Any) -> None:
        written.append(words)
        text(self, x, y, words, *style)

    monkeypatch.setattr(page, "text", noted)
    teapot_command.run(["--variant", "all_color", "--backend", "fast", "--preview", str(sheet)])
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["sheets", "sheets/sheet.png"]
    assert "nothing else was written" in capsys.readouterr().out
    assert {"azimuth", "elevation", "red", "green", "blue", "teapot_all_color_utah"} <= set(written)
    with Image.open(sheet) as picture:
        assert picture.width > 1200
        assert picture.height > 900
        # Rows of a color's values run from without to full of it.
        colors = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(colors, axis=0)) > 2000


def test_a_row_of_the_preview_moves_one_latent() -> None:
    for variant in VARIANTS.values():
        rows = teapot_preview.traversals(variant)
        for column, (factor, row) in enumerate(zip(variant.factors, rows, strict=True)):
            assert [len(set(values)) > 1 for values in row.T] == [other == column for other in range(len(rows))]
            assert factor.limits is not None
            assert row[0, column] == factor.limits[0]
            assert (row[-1, column] == factor.limits[1]) == (factor.kind != "periodic")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variant", "uniform"], "unknown variant 'uniform'; did you mean 'uniform_light'"),
        (["--backend", "fats"], "unknown backend 'fats'; did you mean 'fast'"),
        (["--format", "tfrecords"], "unknown format 'tfrecords'; did you mean 'tfrecord'"),
        (["--npz_dtype", "float32", "--format", "npz"], "unknown npz_dtype 'float32'; did you mean 'float64'"),
        (["--npz_dtype", "float64"], "--npz_dtype belongs to --format npz"),
        (["--shards", "3", "--format", "npz"], "--shards belongs to --format tfrecord"),
        (["--shards", "0", "--limit", "5"], "0 shards for 5 images; give a number from 1 to 5"),
        (["--shards", "6", "--limit", "5"], "6 shards for 5 images"),
        (["--limit", "0"], "limit is 0; give a number at least 1"),
        (["--limit", "few"], "--limit: 'few' is no whole number"),
        (["--image_size", "0"], "image_size is 0; give a number from 1 to 1024"),
        (["--image_size", "1024", "--samples", "25"], "makes 5120 samples in a row; at most 4096"),
        (["--num_train", "0"], "num_train is 0"),
        (["--num_groups", "-1"], "num_groups is -1; give a number from 0 to 1000000"),
        (["--seed", "-1"], "seed is -1; give a number from 0 to 4294967295"),
        (["--seed", "4294967296"], "seed is 4294967296"),
        (["--samples", "8"], "samples is 8; give a square number: 1, 4, 9"),
        (["--samples", "0"], "samples is 0; give a number from 1 to 256"),
        (["--workers", "0"], "workers is 0; give a number of at least 1"),
        (["--mesh", "teapot"], "mesh 'teapot' is not known; allowed: utah"),
        (["--mesh", "no/such.obj"], "no/such.obj"),
        (["--fineness", "0"], "fineness is 0"),
        (["--up", "x"], "up is 'x'; allowed: z, y"),
        (["--preview", "sheet"], "--preview sheet: its ending stands for no picture"),
        (["--sedd", "1"], "unrecognized arguments: --sedd 1; did you mean '--seed'"),
        (["uniform_light"], "unrecognized arguments: uniform_light"),
    ],
)
def test_bad_flags_are_named_and_nothing_is_written(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((UserError, FileNotFoundError), match=message):
        teapot_command.run(["--backend", "fast", *arguments])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["--variant", "up"], ["--mesh", "no/such.obj"]])
def test_bad_input_is_one_line_and_code_2(arguments: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "data_gen.teapot", "--data_dir", str(tmp_path), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "light"}, "unknown variant 'light'"),
        ({"variants": "up_light"}, "unknown option 'variants' of teapot; did you mean 'variant'"),
        ({"source": "render"}, "unknown source 'render' of teapot; did you mean 'rendered'"),
        ({"source": "rendered", "samples": 3}, "samples is 3; give a square number"),
        ({"source": "synthetic", "image_size": 2000}, "image_size is 2000; give a number from 1 to 1024"),
    ],
)
def test_loading_names_what_it_does_not_know(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        data_gen.load("teapot", data_dir=tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_the_command_says_what_it_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(tmp_path, "npz", "--limit", "5")
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "teapot_uniform_light_utah_16px_limit5: 5 images of 16x16, and 5 groups of 100"
    assert told[1].startswith("back-end: fast 1, 1 samples in a pixel (")
    assert told[2].startswith("mesh: Utah teapot, fineness 3, 552 triangles; a stand-in")
    assert told[3].startswith(f"whole in {tmp_path}")


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "teapot_up_light_utah"),
        ({"seed": 2, "image_size": 128, "limit": 9}, "teapot_up_light_utah_128px_seed2_limit9"),
        ({"mesh": "some/Stanford Bunny-2.obj"}, "teapot_up_light_stanford_bunny_2"),
    ],
)
def test_names_say_what_is_unlike_the_published_set(options: dict[str, Any], name: str) -> None:
    assert Recipe(VARIANTS["up_light"], **options).name == name
