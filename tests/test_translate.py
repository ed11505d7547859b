"""The mode translate: images of one's own into the other domain."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import helpers
import numpy as np
import pytest
import tiny_runs
from PIL import Image
from test_run_command import assert_refused, without_tensorflow

from common.errors import UserError
from data_gen.crops import Picture
from models.noise import Noise
from models.pairs import PairModel
from training import modes, translate
from training.checkpoints import Checkpoints
from training.configuration import load
from training.experiment import build_model
from training.options import Configuration
from training.pictures import read_png, to_uint8
from training.run_folder import RunFolder
from training.runtime import prepare
from training.translate_flags import TranslateFlags

TINY = (*tiny_runs.PAIRS, "iiae.exclusive_size = 2")
Run = tuple[Configuration, Path, PairModel]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that is saved, with weights that let something pass."""
    configuration, text = load(["gin/iiae_mnist_cdcb_64.gin"], list(TINY))
    path = tmp_path_factory.mktemp("translate") / "run"
    model = build_model(configuration, prepare(configuration.experiment), (64, 64, 3))
    assert isinstance(model, PairModel)
    helpers.rouse(model, biases=False)
    folder = RunFolder(path)
    folder.claim(configuration, text, [], "synthetic")
    Checkpoints(folder.checkpoints, model, 1).save()
    return configuration, path, model


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with images of all kinds, one of them broken, and something else."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 50, 4), np.uint8)
    Image.fromarray(pixels).save(folder / "clear.png")
    Image.fromarray(pixels[..., 0]).save(folder / "more" / "gray.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(folder / "wide.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(pixels[..., :3]).save(folder / "turned.jpg", exif=turned)
    (folder / "broken.png").write_bytes((folder / "clear.png").read_bytes()[:200])
    (folder / "notes.txt").write_text("none")
    return folder


def styles_in(tmp_path: Path, count: int) -> Path:
    folder = tmp_path / "styles"
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"s{number}.png")
    return folder


def translated(run: Run, capsys: pytest.CaptureFixture[str], **flags: Any) -> dict[str, Any]:
    configuration, path, model = run
    given: dict[str, Any] = {
        "direction": "x2y",
        **{name: str(v) if isinstance(v, Path) else v for name, v in flags.items()},
    }
    assert translate.translate_images(model, path, configuration, TranslateFlags(**given)) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return answer


def test_a_folder_in_sampled_styles(run: Run, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = translated(run, capsys, input=photos, seed=3)
    folder = run[1] / "translations"
    names = ("clear", "more_gray", "turned", "wide")
    assert sorted(found["files"]) == sorted(f"{name}-sample{k}.png" for name in names for k in range(3))
    assert found["skipped"] == {"broken.png": "truncated"}
    assert found["translated"] == 4
    assert {path.name for path in folder.iterdir()} == {*found["files"], "sheet.png", "translations.json"}
    model, noise = run[2], Noise(3, 0)
    for name, file in (("turned", "turned.jpg"), ("more_gray", "more/gray.png")):
        picture = Picture((64, 64), window="center", filter="area")
        image = picture((photos / file).read_bytes())[None] / np.float32(255)
        for k in range(3):
            style = model.exclusive_noise("y", 1, noise, f"style{k}")
            expected = to_uint8(model.translate(image, "x", style).numpy()[0])
            made = read_png(folder / f"{name}-sample{k}.png")
            assert np.abs(made.astype(int) - expected).max() <= 1
    sheet = read_png(folder / "sheet.png")
    assert sheet.shape[0] > 4 * 64
    again = translated(run, capsys, input=photos, seed=3, samples=5)
    assert len(again["files"]) == 20, "earlier results are replaced"
    assert np.array_equal(read_png(folder / "more_gray-sample2.png"), made), "of more samples the first are the same"


def test_the_styles_of_images(run: Run, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, styles = run[2], styles_in(tmp_path, 2)
    found = translated(run, capsys, input=photos, direction="y2x", style=styles, out=tmp_path / "out")
    assert len(found["files"]) == 8
    assert found["folder"] == str(tmp_path / "out")
    picture = Picture((64, 64), window="center", filter="area")
    image, style = (
        picture(path.read_bytes())[None] / np.float32(255) for path in (photos / "clear.png", styles / "s1.png")
    )
    expected = to_uint8(model.translate(image, "y", model.exclusive_code(style, "x")).numpy()[0])
    found_image = read_png(tmp_path / "out" / "clear-s1.png")
    assert np.abs(found_image.astype(int) - expected).max() <= 1
    assert not np.array_equal(found_image, read_png(tmp_path / "out" / "clear-s0.png"))


def test_one_file(run: Run, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made.png"
    found = translated(run, capsys, input=photos / "clear.png", out=out)
    assert found["files"] == [str(out)]
    assert read_png(out).shape == (64, 64, 3)
    style = styles_in(tmp_path, 1) / "s0.png"
    found = translated(run, capsys, input=photos / "clear.png", style=style, out=tmp_path / "few")
    assert found["files"] == ["clear-s0.png"]
    assert read_png(tmp_path / "few" / "sheet.png").shape[1] > 3 * 64


def test_names_that_would_meet(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    (folder / "a").mkdir(parents=True)
    for name in ("a_b.png", "a/b.png", "a_b.jpg"):
        Image.new("RGB", (32, 32)).save(folder / name)
    found = translated(run, capsys, input=folder, samples=1)
    assert len(set(found["files"])) == 3


def test_pairs_side_by_side_are_remarked(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (64, 32)).save(tmp_path / "pair.png")
    assert modes.translate(*run[:2], "last", TranslateFlags(str(tmp_path / "pair.png"), "x2y")) == 0
    assert "pair.png is twice as wide as high" in capsys.readouterr().err


def test_what_cannot_be_translated(run: Run, photos: Path, tmp_path: Path) -> None:
    configuration, path, model = run
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "letter.txt").write_text("keep me")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_text("no image")
    (tmp_path / "empty").mkdir()
    cases: list[tuple[dict[str, Any], str]] = [
        ({"input": photos / "broken.png"}, "broken.png cannot be used: truncated"),
        ({"input": tmp_path / "bad"}, r"none of 1 images can be used: a.png \(no image\)"),
        ({"input": photos / "clear.png", "style": tmp_path / "bad"}, "--style=.*none of 1 images"),
        ({"input": tmp_path / "empty"}, "no images in it"),
        ({"input": photos, "out": mine}, "holds other files"),
        ({"input": photos, "out": photos / "notes.txt"}, "is a file"),
        ({"input": photos / "clear.png", "out": photos}, "--input=.* lies in .*, which is replaced"),
        ({"input": photos, "out": tmp_path / "one.png"}, "one file for 5 translations"),
        ({"input": photos / "clear.png", "out": photos / "clear.png"}, "is one of the images given"),
    ]
    for flags, message in cases:
        given: dict[str, Any] = {"direction": "x2y", **{name: str(value) for name, value in flags.items()}}
        with pytest.raises(UserError, match=message):
            translate.translate_images(model, path, configuration, TranslateFlags(**given))
    assert (mine / "letter.txt").read_text() == "keep me"
    assert not (tmp_path / "one.png").exists()
    assert not list(tmp_path.glob(".*partial"))


@pytest.mark.parametrize(
    ("name", "bindings", "message"),
    [
        ("ibgan", (), "ibgan.* is no model of pairs"),
        ("iiae_sketchy", ("iiae.width = 2",), "iiae_sketchy is a model of vectors"),
    ],
)
def test_models_that_do_not_translate(name: str, bindings: tuple[str, ...], message: str, tmp_path: Path) -> None:
    configuration, text = load([f"gin/{name}.gin"], ["data.source = 'synthetic'", *bindings])
    RunFolder(tmp_path).claim(configuration, text, [], "synthetic")
    with pytest.raises(UserError, match=message):
        modes.translate(configuration, tmp_path, "last", TranslateFlags(str(tmp_path), "x2y"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"input": ""}, "needs an image or a folder"),
        ({"direction": "z2y"}, "--direction=z2y"),
        ({"input": "not/there.png"}, "--input=not/there.png: no such file"),
        ({"style": "not/there.png"}, "--style=not/there.png: no such file"),
        ({"style": "run.py", "samples": 2}, "not both"),
        ({"samples": 0}, "--samples=0; give 1 to 100"),
        ({"out": "a.jpg"}, "ends in .png"),
        ({"out": "a.png", "samples": 2}, "one file for 2 translations"),
    ],
)
def test_flags_that_cannot_be(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        TranslateFlags(**{"input": "run.py", "direction": "x2y", **flags})


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--mode=translate", "--run_dir=x"], ["--input=a.png"]),
        (["--mode=translate", "--run_dir=x", "--input=run.py"], ["--direction=x2y"]),
        (["--mode=translate", "--input=run.py", "--direction=x2y"], ["--run_dir"]),
        (["--run_dir=x", "--style=run.py"], ["--style is a flag of --mode=translate"]),
    ],
)
def test_flags_are_checked_without_tensorflow(flags: list[str], words: list[str]) -> None:
    assert_refused(without_tensorflow(*flags), *words)


def test_scaling_follows_the_data(run: Run, photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    used: list[str] = []

    class Noted(Picture):
        def of_image(self, image: Image.Image) -> Any:
            used.append(self.filter)
            return super().of_image(image)

    monkeypatch.setattr(translate, "Picture", Noted)
    translated(run, capsys, input=photos / "clear.png")
    monkeypatch.setattr(translate, "_BILINEAR", ("mnist_cdcb",))
    translated(run, capsys, input=photos / "clear.png")
    assert used == ["area", "bilinear"]
