"""Sheets of a categorical code by a continuous one: what moves, what stays, which noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import helpers
import numpy as np
import pytest
from infogan_models import CODES, VARIANTS, build, tiny_networks

from models.infogan import InfoGAN
from models.latents import Categorical, Uniform
from training import traversal
from training.options import TraversalOptions
from training.traversal import Painter, write_traversals

__all__ = ["tiny_networks"]


def sheet_cells(monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[InfoGAN, list[np.ndarray], list[Any]]:
    """The latents `[rows, columns, size]` of each sheet, in their order, and what the sheets were called with."""
    model = build(noise_size=4, categorical_codes=(3, 2), continuous_codes=2)
    painter = Painter(model, TraversalOptions(steps=5, **options))
    drawn: list[np.ndarray] = []
    called: list[Any] = []
    generate, sheet = painter.generate, traversal.pictures.labelled_sheet

    def noted_generate(latents: np.ndarray) -> np.ndarray:
        drawn.append(np.array(latents))
        return generate(latents)

    def noted_sheet(*given: Any) -> np.ndarray:
        called.append(given[1:])
        return sheet(*given)

    monkeypatch.setattr(painter, "generate", noted_generate)
    monkeypatch.setattr(traversal.pictures, "labelled_sheet", noted_sheet)
    assert list(painter.code_sheets()) == ["prior_c1_c3", "prior_c1_c4", "prior_c2_c3", "prior_c2_c4"]
    return model, [cells.reshape(-1, 5, cells.shape[-1]) for cells in drawn], called


def test_columns_of_an_overview_have_labels_if_they_hold_for_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    columns: list[Any] = []
    monkeypatch.setattr(traversal.pictures, "labelled_sheet", lambda *given: columns.append(given[2]))
    mixed = build(noise_size=4, categorical_codes=(5,), continuous_codes=1)
    # As many categories as steps: the numbers of the one are not those of the other.
    Painter(mixed, TraversalOptions(steps=5)).overview("prior")
    alike = build(noise_size=4, categorical_codes=(), continuous_codes=2)
    Painter(alike, TraversalOptions(steps=3, low=-1.0, high=1.0)).overview("prior")
    assert columns == [[], ["-1.00", "0.00", "1.00"]]


def test_sheets_have_categories_in_rows_and_values_in_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    _, sheets, called = sheet_cells(monkeypatch, low=-2.0, high=2.0)
    for cells, (row, column) in zip(sheets, [(0, 9), (0, 10), (1, 9), (1, 10)], strict=True):
        sizes, starts = (3, 2), (4, 7)
        assert cells.shape == (sizes[row], 5, 11)
        categories = cells[:, :, starts[row] : starts[row] + sizes[row]]
        np.testing.assert_array_equal(categories.argmax(axis=2), np.repeat(np.arange(sizes[row])[:, None], 5, axis=1))
        other = cells[:, :, starts[1 - row] : starts[1 - row] + sizes[1 - row]]
        assert (other.argmax(axis=2) == 0).all()
        assert (other.sum(axis=2) == categories.sum(axis=2)).all()
        np.testing.assert_allclose(cells[:, :, column], np.tile([-2.0, -1.0, 0.0, 1.0, 2.0], (sizes[row], 1)))
        assert (cells[:, :, 19 - column] == 0).all()
        # One noise for each row, another one in every row.
        assert (cells[:, :, :4] == cells[:, :1, :4]).all()
        assert len(np.unique(cells[:, 0, 0])) == sizes[row]
    assert called[0] == (["0", "1", "2"], ["-2.00", "-1.00", "0.00", "1.00", "2.00"], "prior: rows c1, columns c3")


def test_every_cell_may_have_its_own_noise_which_stays_through_training(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sheets, _ = sheet_cells(monkeypatch, noise="cell", batch_norm="batch")
    assert len(np.unique(sheets[0][:, :, 0])) == 15
    np.testing.assert_array_equal(sheets[0][:, :, 9], np.tile(np.linspace(-1, 1, 5, dtype=np.float32), (3, 1)))
    painter = Painter(model, TraversalOptions(steps=5, noise="cell", batch_norm="batch"))
    before = painter.code_sheets()
    again = painter.code_sheets()
    assert all(np.array_equal(before[name], again[name]) for name in before)
    model.train_step(helpers.images_for(model))
    assert any(not np.array_equal(before[name], sheet) for name, sheet in painter.code_sheets().items())


def test_sheets_are_written_with_the_traversals(tmp_path: Path) -> None:
    model = build(**CODES)
    written = write_traversals(Painter(model, TraversalOptions(steps=3, rows=2)), tmp_path)
    names = {path.name for path in written}
    assert names == {path.name for path in tmp_path.iterdir()}
    codes = {f"prior_{code}.{ending}" for code in ("c1", "c2", "c3") for ending in ("png", "gif")}
    assert names == {"prior_all.png", *codes, "prior_c1_c2.png", "prior_c1_c3.png"}


def test_models_without_both_kinds_of_codes_have_no_sheets() -> None:
    for name in ("color", "faces"):
        assert Painter(build(**VARIANTS[name]), TraversalOptions()).code_sheets() == {}
    assert traversal._middle(Uniform("c", 1, 0.0, 3.0)) == 1.5
    assert traversal._middle(Categorical("c", 3)) == 0


def test_sheet_noise_out_of_range() -> None:
    with pytest.raises(ValueError, match="noise is 'sheet'; allowed: 'row', 'cell'"):
        TraversalOptions(noise="sheet")  # type: ignore[arg-type]
