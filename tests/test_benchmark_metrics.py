"""The benchmark of the metrics: its contests are fair, its tables tell, and bad options are refused."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from benchmarks import dhsic
from benchmarks import metrics as benchmark
from benchmarks import plain_metrics as plain
from common.errors import UserError
from metrics import registry

CORES = tuple(sorted(os.sched_getaffinity(0)))[:1] if hasattr(os, "sched_getaffinity") else (0,)
QUICK = [name for name, contest in benchmark.CONTESTS.items() if not contest.is_slow and "forest" not in name]


def test_every_metric_of_one_models_codes_can_be_timed() -> None:
    names = benchmark.suite_names(slow=False) + benchmark.suite_names(slow=True)
    assert set(names) == {name for name in registry.names() if registry.get(name).protocols}
    assert set(benchmark.CONTESTS) <= set(registry.names())
    for name in names:
        assert benchmark.kind_of(name) in benchmark.ARRAYS
    for contest in benchmark.CONTESTS.values():
        assert callable(getattr(plain, contest.plain))


def test_groups_keep_what_their_label_says() -> None:
    codes, labels = benchmark.grouped(10, 40, pairs=False, seed=0)
    assert codes.shape == (10, 40, benchmark.NUM_CODES)
    assert labels.tolist() == [0, 1, 2, 3, 4] * 2
    assert benchmark.plainly(benchmark.CONTESTS["beta_vae"], {"group_codes": codes, "group_labels": labels})[0] > 0.5


@pytest.mark.parametrize("name", QUICK)
def test_ours_and_the_usual_method_agree(name: str) -> None:
    result = benchmark.compare(name, 600, 1, CORES)
    assert result["agrees"], result["values"]
    assert result["ours"]["median"] > 0
    assert result["ratio"]["median"] > 0


def contest(ratio: float, difference: float = 0.0, disturbance: float = 0.0) -> dict[str, Any]:
    """What a comparison found."""
    figures = {"median": ratio, "low": ratio / 2, "high": ratio * 2}
    agrees = difference <= benchmark.EXACT
    spread = {"median": disturbance, "low": 0.0, "high": disturbance}
    return {
        "ours": figures,
        "plain": figures,
        "ratio": figures,
        "difference": difference,
        "agrees": agrees,
        "disturbance": spread,
    }


def test_the_table_shows_ratios_and_disagreement() -> None:
    table = benchmark.table({"mig": contest(10), "sap": contest(4, difference=0.5, disturbance=0.3)})
    assert "10.0 (5.0 - 20.0)" in table
    assert "5.0e-01 !" in table
    assert "numbers differ by more than they may: sap" in table
    assert "Other programs took up to 30%" in table
    assert "numbers differ" not in benchmark.table({"mig": contest(10)})


def test_the_suite_is_told_by_its_slowest() -> None:
    suite = {"seconds": {"mig": 1.0, "sap": 2.0}, "total": 3.0, "others": 0.0}
    text = benchmark.suite_table(suite, {"seconds": {"dlib_dci_gbt": 9.0}, "others": 0.2}, 2)
    assert "complete suite on 2 cores: 3.0 s" in text
    assert text.index("sap") < text.index("mig") < text.index("dlib_dci_gbt")
    assert "do not quote" in text


def test_the_suite_runs_in_a_process_of_its_own() -> None:
    answer = benchmark.time_suite(300, CORES, ["mig", "dlib_irs"])
    assert list(answer["seconds"]) == ["mig", "dlib_irs"]
    assert answer["total"] > 0
    with pytest.raises(UserError, match="no metric 'mug'"):
        benchmark.time_suite(300, CORES, ["mug"])


def test_the_plain_dhsic_takes_the_memory_of_all_pairs() -> None:
    found = dhsic.memory(800)
    matrix = 800**2 * 8 / 1e6
    assert found["plain"] > benchmark.NUM_CODES * matrix
    assert 0.1 < found["ours"] < found["plain"] / 4


@pytest.mark.parametrize("argument", ["--images=9", "--images=1000,", "--images=5001", "--turns=0"])
def test_bad_options_of_dhsic_are_refused(argument: str) -> None:
    with pytest.raises(UserError, match="allowed"):
        dhsic.parse([argument])


@pytest.mark.parametrize("arguments", [["--metrics=mug"], ["--metrics=mig,mig"], ["--turns=0"], ["--rows=3"]])
def test_bad_options_are_refused(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    options = benchmark.parse(arguments)
    monkeypatch.setattr(benchmark, "parse", lambda: options)
    with pytest.raises(UserError, match=r"give some of|allowed"):
        benchmark.main()


def test_plain_metrics_know_a_perfect_representation() -> None:
    levels = np.random.default_rng(0).integers(0, (3, 4, 5), size=(400, 3))
    codes = levels.astype(float)
    assert plain.mig(codes, levels) > 0.9
    assert plain.modularity(codes, levels) > 0.95
    assert plain.dlib_irs(codes, levels) == pytest.approx(1)
    assert plain.infogan_cr_scores(np.eye(3)) == pytest.approx((1, 1))
    assert plain.dlib_scores(np.eye(3)) == pytest.approx((1, 1))
