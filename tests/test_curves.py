"""The plots of a run: which there are, and what is in which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training import pictures
from training.curves import write_curves

VGAN = (
    *("discriminator/loss", "discriminator/accuracy_real", "discriminator/gradient_norm", "generator/loss"),
    *("generator/gradient_norm", "learning_rate/generator", "learning_rate/discriminator"),
    *(f"bottleneck/{name}" for name in ("kl_real", "kl_fake", "kl", "target", "violation", "beta")),
)


def records_of(*names: str, steps: int = 3) -> list[dict[str, Any]]:
    return [{"step": 10 * step, **dict.fromkeys(names, 0.1 * step)} for step in range(steps)]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Title to the curves of every plot that is drawn."""
    seen: dict[str, list[str]] = {}
    draw = pictures.line_plot

    def watched(series: pictures.Series, title: str, *rest: Any) -> bytes:
        seen[title] = list(series)
        return draw(series, title, *rest)

    monkeypatch.setattr(pictures, "line_plot", watched)
    return seen


def test_plots_of_vgan(tmp_path: Path, drawn: dict[str, list[str]]) -> None:
    written = write_curves(records_of(*VGAN), tmp_path)
    names = ["bottleneck", "beta", "discriminator", "accuracy", "generator", "gradients", "learning_rate"]
    assert [path.name for path, _ in written] == [f"curves_{name}.png" for name in names]
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path, _ in written}
    assert drawn[written[0][1]] == ["kl_real", "kl_fake", "kl", "target"]
    assert [drawn[title] for _, title in written[1:4]] == [["beta"], ["loss"], ["accuracy_real"]]
    assert drawn[written[5][1]] == ["discriminator/gradient_norm", "generator/gradient_norm"]
    picture = pictures.read_png(tmp_path / "curves_bottleneck.png")
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


def test_every_curve_is_in_one_plot(tmp_path: Path, drawn: dict[str, list[str]]) -> None:
    names = ["loss", "kl/r0", "information/lower_bound", "vae/rate", "total_correlation/estimate", "noise/sigma"]
    names += ["contrastive/loss", "reconstruction/error_x", "divergence/shared_x", "classes/accuracy", "classes/loss"]
    write_curves(records_of(*names), tmp_path)
    assert sum(len(curves) for curves in drawn.values()) == len(names)
    assert drawn["classes"] == ["accuracy", "loss"]
    assert (tmp_path / "curves_classes.png").is_file()


def test_a_score_above_one_is_drawn_alone(tmp_path: Path, drawn: dict[str, list[str]]) -> None:
    records = [{"step": 0, "score_fast/mig": 0.1, "score_fast/sap": 0.2, "score_fast/fid/real": 300.0}]
    written = write_curves(records, tmp_path)
    assert [path.name for path, _ in written] == ["curves_score_fid_real.png", "curves_scores.png"]
    assert list(drawn.values()) == [["fid/real"], ["mig", "sap"]]
    assert "lower is better" not in written[1][1]


def test_nothing_recorded_gives_no_plot(tmp_path: Path) -> None:
    assert write_curves([], tmp_path) == []
    assert write_curves([{"step": 0}], tmp_path) == []
    assert list(tmp_path.iterdir()) == []
