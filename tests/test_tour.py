"""The notebook runs from its first cell to its last, in one namespace, and shows what it says it shows."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import tiny_runs

TOUR = tiny_runs.ROOT / "docs" / "tour.ipynb"


def notebook() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(TOUR.read_text(encoding="utf-8"))
    return found


def test_the_notebook_is_one_and_holds_no_outputs() -> None:
    content = notebook()
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    cells = content["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells) <= 16
    for cell in cells:
        keys = {"cell_type", "id", "metadata", "source"}
        is_code = cell["cell_type"] == "code"
        assert set(cell) == (keys | {"execution_count", "outputs"} if is_code else keys)
        assert is_code or cell["cell_type"] == "markdown"
        assert not is_code or (cell["execution_count"] is None and cell["outputs"] == [])


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TOUR.parent)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr("tempfile.mkdtemp", lambda: str(tmp_path))
    names: dict[str, Any] = {}
    shortened = 0
    for cell in notebook()["cells"]:
        if cell["cell_type"] != "code":
            continue
        text = "".join(cell["source"])
        shortened += text.count("STEPS = 400")
        exec(compile(text.replace("STEPS = 400", "STEPS = 2"), f"tour.ipynb, cell {cell['id']}", "exec"), names)
    assert shortened == 1
    assert int(names["model"].step.numpy()) == 2
    assert len(plt.get_fignums()) == 4, "factors, traversals, scores, teapots"
    plt.close("all")
    assert (names["run_dir"] / "report.html").is_file()
    assert [row.shape for row in names["rows"]] == [(9, 64, 64, 1)] * 4
    assert set(names["scores"]) == {"mig", "sap", "dci_lasso", "factor_vae"}
    assert np.isfinite(list(names["scores"].values())).all()
    teapots = names["teapots"]
    assert teapots.shape == (8, 64, 64, 3)
    assert len(np.unique(teapots, axis=0)) == 8
