"""The 16 pictures of each pair and their page: at the end of a training and by the mode `pairs`."""

from __future__ import annotations

import html.parser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import tiny_runs

from common.errors import UserError
from data_gen.pairs import PairedDataset
from models.pairs import PairModel
from training import modes, pair_export, pair_grids
from training.configuration import load
from training.experiment import Experiment, build
from training.pair_grids import KINDS
from training.pictures import read_png, to_uint8
from training.run_folder import RunFolder

TINY = tiny_runs.PAIRS


class _Addresses(html.parser.HTMLParser):
    """What a page shows and where it leads."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.images: list[str] = []
        self.links: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if tag == "img" and name == "src" and value is not None:
                self.images.append(unquote(value))
            if tag == "a" and name == "href" and value is not None:
                self.links.append(unquote(value))


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    """One that has not learned anything."""
    return build(load(["gin/iiae_mnist_cdcb_64.gin"], [*TINY, "generation.images = 7", "generation.batch = 64"])[0])


@pytest.fixture(scope="module")
def folder(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven pairs of it, four on a page."""
    run = RunFolder(tmp_path_factory.mktemp("pairs"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_export, "_PAIRS_OF_PAGE", 4)
        patch.setattr(pair_grids, "_ROWS", 2)
        patch.setattr(pair_export, "answer", answers.append)
        assert modes.pairs(experiment, run) == 0
    return run.path / "pairs"


answers: list[dict[str, object]] = []


def test_the_mode_pairs(folder: Path) -> None:
    page = str(folder / "index.html")
    assert answers == [{"folder": str(folder), "page": page, "pages": 2, "pairs": 7, "step": 0}]
    names = {f"{number:05d}-{kind}_{domain}.png" for number in range(7) for kind in KINDS for domain in "xy"}
    assert {path.name for path in (folder / "images").iterdir()} == names
    shown: list[str] = []
    for page in ("index.html", "page_2.html"):
        found = _Addresses(folder / page)
        shown += [address for address in found.images if not address.startswith("data:")]
        for address in [*found.links, *(image for image in found.images if not image.startswith("data:"))]:
            assert not address.startswith(("/", "http", "file")), address
            assert (folder / address).is_file() or address == "../report.html", address
        assert ("page_2.html" if page == "index.html" else "index.html") in found.links
    assert [Path(address).name for address in shown[:2]] == ["00000-inputs_x.png", "00000-outputs_x.png"]
    assert sorted(Path(address).name for address in shown) == sorted(names)
    assert sorted(path.name for path in (folder / "figures").iterdir()) == [
        "x_to_y.png",
        "x_with_style_y.png",
        "y_to_x.png",
        "y_with_style_x.png",
    ]


def test_what_the_pictures_show(experiment: Experiment, folder: Path) -> None:
    model, images = experiment.model, folder / "images"
    assert isinstance(model, PairModel)
    test = experiment.dataset.held_out
    assert isinstance(test, PairedDataset)
    x, y = test.x_images_at(np.arange(7)), test.y_images_at(np.arange(7))
    assert np.array_equal(read_png(images / "00005-inputs_y.png"), y[5])
    assert np.array_equal(read_png(images / "00005-style_x.png"), x[6]), "the style of a swap is that of the next pair"
    style = model.exclusive_code(y[5:6] / np.float32(255), "y")
    expected = to_uint8(model.translate(x[5:6] / np.float32(255), "x", style).numpy()[0])
    found = read_png(images / "00005-reference_y.png")
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_what_has_no_pairs_of_images_is_refused(tmp_path: Path) -> None:
    vectors = build(load(["gin/iiae_sketchy.gin"], ["data.source = 'synthetic'", "iiae.width = 2"])[0])
    with pytest.raises(UserError, match="no model of pairs of images"):
        modes.pairs(vectors, RunFolder(tmp_path))
    assert not list(tmp_path.iterdir())
