"""The sections that the benchmarks write into docs/performance.md, from made-up results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import data, dhsic, metrics, pages, render, start_up, steps_vs_pytorch
from benchmarks.turns import Turn, spread, summarize

MACHINE = {"name": "Abacus", "cores": 4, "bfloat16": []}


def turns_of(*rates: float, disturbance: float = 0.0) -> list[Turn]:
    """Turns with these rates; a step takes half as much of the processor as of the clock."""
    return [Turn(rate, 0.5 / rate, disturbance) for rate in rates]


def contest(first: str, second: str, disturbance: float = 0.0) -> dict[str, Any]:
    """The first one is 2, 4 and 3 times as fast."""
    return summarize({first: turns_of(200, 800, 300), second: turns_of(100, 200, 100, disturbance=disturbance)})


def steps_section(disturbance: float = 0.07) -> str:
    result = {
        "processor": MACHINE,
        "cores": [1, 3],
        "device": "cpu",
        "versions": {"tensorflow": "2.21.0", "torch": "2.13.0"},
    }
    case = steps_vs_pytorch.CASES["ibgan"]
    return steps_vs_pytorch.page_section(case, contest("spout", "pytorch", disturbance), "float32", result, 3, 20)


def by_threads(*counts: int) -> dict[str, Any]:
    """So many threads are almost as many times as fast."""
    return summarize({str(count): turns_of(1000 * count, 1200 * count - 200 * (count > 1)) for count in counts})


def render_result() -> dict[str, Any]:
    agreement = {"uniform_light": {"mean": 0.00123, "largest": 9}}
    samples = {16: {**contest("fast", "opendr"), "agreement": agreement}, 1: contest("fast", "opendr", 0.2)}
    samples[1]["agreement"] = agreement
    return {
        "processor": MACHINE,
        "size": 64,
        "triangles": 6320,
        "turns": 3,
        "versions": {"numba": "0.60", "opendr": "0.78"},
        "samples": samples,
        "scaling": by_threads(1, 2, 3),
    }


def data_result() -> dict[str, Any]:
    turns = {"spout": turns_of(200, 800, 300), "plain Pillow": turns_of(100, 200, 100)}
    return {
        "processor": MACHINE,
        "threads": 1,
        "turns": 3,
        "versions": {"pillow": "13.0", "numpy": "2.4", "tensorflow": "2.21.0"},
        "preset": "ibgan",
        "mean_bytes": 7012.4,
        "equal": True,
        "preparation": {**summarize(turns), "processor_time": data.processor_time(turns)},
        "scaling": by_threads(1, 2),
        "reading": summarize({"pipeline": turns_of(4000, 6000, 5000), "lookup": turns_of(8000, 9000, 9500)}),
        "reading_needed": 1000.0,
    }


def metrics_result() -> dict[str, Any]:
    found = {"ours": spread([0.5, 0.25]), "plain": spread([5.0, 2.0]), "ratio": spread([10.0, 8.0]), "rounds": 2}
    agreed = {"difference": 0.0, "agrees": True, "disturbance": spread([0.04])}
    differing = {"difference": 0.5, "agrees": False, "disturbance": spread([0.5])}
    return {
        "processor": MACHINE,
        "cores": [1],
        "rows": 73728,
        "versions": {"numpy": "2.4", "scipy": "1.17", "scikit-learn": "1.9"},
        "contests": {"mig": found | agreed, "sap": found | differing, "dhsic": found | agreed | {"rounds": 1}},
        "suite": {"seconds": {"mig": 1.0, "sap": 2.0}, "total": 3.04, "others": 0.0},
        "apart": {"seconds": {"dlib_dci_gbt": 9.0}, "others": 0.2},
    }


def dhsic_result() -> dict[str, Any]:
    found = {"ours": spread([0.5, 0.25]), "plain": spread([5.0, 2.0]), "ratio": spread([10.0, 8.0])}
    of_images = found | {"megabytes": {"ours": 18.2, "plain": 4400.04}, "disturbance": spread([0.2])}
    return {
        "processor": MACHINE,
        "cores": [1],
        "turns": 5,
        "versions": {"numpy": "2.4"},
        "dhsic": {
            1000: of_images | {"difference": 0.5, "agrees": False, "disturbance": spread([0.01])},
            5000: of_images | {"difference": 1e-16, "agrees": True},
        },
    }


def test_the_steps() -> None:
    text = steps_section()
    assert text.startswith("### IB-GAN on dSprites, batch 64, float32\n\nAbacus, 2 of 4 cores; TensorFlow 2.21.0, ")
    assert "PyTorch 2.13.0; 3 rounds of 20 steps; other programs took 7% of these cores. Compare these" in text
    assert "4% of these cores.\n" in steps_section(0.04)
    assert "| spout | 300.00 (200.00 to 800.00) |  |" in text
    assert text.endswith("| pytorch | 100.00 (100.00 to 200.00) | 3.00 (2.00 to 4.00) |\n")


def test_the_renderer() -> None:
    text = render.backends_section(render_result())
    assert "1 of 4 cores; Numba 0.60, OpenDR 0.78; 3 rounds; other programs took 20% of these cores." in text
    assert text.count("| opendr | 100 (100 to 200) | 3.00 (2.00 to 4.00) |") == 2
    assert "0.0012 (9) of uniform_light" in text
    assert "threads" not in text


def test_the_renderer_on_several_cores() -> None:
    text = render.cores_section(render_result())
    assert "Abacus, 3 of 4 cores; Numba 0.60; 3 rounds; other programs took 0% of these cores.\n" in text
    assert "| 1 | 1,100 (1,000 to 1,200) |  |\n" in text
    assert text.endswith("| 3 | 3,200 (3,000 to 3,400) | 2.92 (2.83 to 3.00) |\n")


def test_the_data() -> None:
    text = data.page_section(data_result())
    assert "7,012 bytes on average" in text
    assert "the arrays are equal, byte for byte" in text
    assert "| plain Pillow | 100 (100 to 200) | 3.00 (2.00 to 4.00) |" in text
    assert "spout 1,667 (625 to 2,500), plain Pillow 5,000 (2,500 to 5,000), ratio 3.00 (2.00 to 4.00)." in text
    assert "| 2 | 2,100 (2,000 to 2,200) | 1.92 (1.83 to 2.00) |" in text
    assert "| pipeline | 5,000 (4,000 to 6,000) | 5.0 (4.0 to 6.0) |" in text
    assert "NOT EQUAL" in data.page_section(data_result() | {"equal": False})


def test_the_metrics() -> None:
    text = metrics.contests_section(metrics_result())
    assert f"### Metrics beside the plain method, 3 of {len(metrics.CONTESTS)}\n" in text
    assert "1 or 2 rounds; other programs took 50% of these cores." in text
    row = "| 0.375 (0.250 to 0.500) | 3.50 (2.00 to 5.00) | 9.0 (8.0 to 10.0) |"
    assert f"| `mig` {row} 0.0e+00 | 2 |" in text
    assert f"| `sap` {row} 5.0e-01, MORE THAN IT MAY BE | 2 |" in text
    suite = metrics.suite_section(metrics_result())
    assert "other programs took 20%" in suite
    assert suite.index("| all of them | 3.0 |") < suite.index("| `sap` | 2.00 |") < suite.index("| `mig` | 1.00 |")
    assert "| `dlib_dci_gbt`, apart from them | 9.00 |" in suite


def test_dhsic() -> None:
    text = dhsic.page_section(dhsic_result())
    assert "Abacus, 1 of 4 cores; NumPy 2.4; 5 rounds; other programs took 20% of these cores. Compare" in text
    figures = "0.375 (0.250 to 0.500) | 3.50 (2.00 to 5.00) | 9.0 (8.0 to 10.0) | 18.2 | 4,400.0"
    assert f"| 1,000 | {figures} | 5.0e-01, MORE THAN IT MAY BE |\n" in text
    assert text.endswith(f"| 5,000 | {figures} | 1.0e-16 |\n")


WRITERS: list[Callable[[], str]] = [
    steps_section,
    lambda: render.backends_section(render_result()),
    lambda: render.cores_section(render_result()),
    lambda: dhsic.page_section(dhsic_result()),
    lambda: data.page_section(data_result()),
    lambda: metrics.contests_section(metrics_result()),
]


@pytest.mark.parametrize("write", WRITERS)
def test_a_section_is_replaced_and_not_doubled(
    write: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    page = tmp_path / pages.PERFORMANCE
    page.parent.mkdir()
    pages.write_performance("first", "out of date\n")
    page.write_text(page.read_text(encoding="utf-8") + "\nBy hand.\n", encoding="utf-8")
    pages.write_performance("second", "stays\n")
    pages.write_performance("first", write())
    text = page.read_text(encoding="utf-8")
    assert text.count("<!-- begin first -->") == text.count("<!-- end first -->") == text.count(write()) == 1
    assert "out of date" not in text
    assert text.startswith("# Performance\n")
    assert "By hand.\n\n<!-- begin second -->\nstays\n" in text
    pages.write_performance("first", write())
    assert page.read_text(encoding="utf-8") == text


def test_the_start() -> None:
    commands = {"wall": spread([1.0, 3.0]), "cpu": spread([0.5]), "ratio": spread([4.0, 5.0])}
    result = {
        "processor": MACHINE,
        "cores": [1],
        "turns": 5,
        "runs": 3,
        "saves": 9,
        "python": "3.11.7",
        "versions": {"tensorflow": "2.21.0"},
        "commands": {**{kind: {"python -c pass": value} for kind, value in commands.items()}, "disturbance": 0.06},
        "run": {
            "first": spread([9.0, 11.0]),
            "first_cpu": spread([7.0]),
            "wall": spread([20.0, 30.0]),
            "cpu": spread([18.0]),
            "disturbance": 0.1,
        },
        "checkpoint": {
            "milliseconds": spread([120.0, 140.0, 300.0]),
            "steps": spread([0.4, 0.5]),
            "megabytes": 68.2,
            "numbers": 5690054,
            "disturbance": 0.3,
        },
    }
    texts = {name: section(result) for name, section in start_up.SECTIONS.items()}
    assert "| `python -c pass` | 2.00 (1.00 to 3.00) | 0.50 (0.50 to 0.50) | 4.5 (4.0 to 5.0) |" in texts["commands"]
    assert (
        "Python 3.11.7, TensorFlow 2.21.0; 5 rounds, each command once in each; other programs took 6%"
        in texts["commands"]
    )
    assert "| until the first step is on record | 10.0 (9.0 to 11.0) | 7.0 (7.0 to 7.0) |" in texts["run"]
    assert "| until the end | 25.0 (20.0 to 30.0) | 18.0 (18.0 to 18.0) |" in texts["run"]
    assert "| 140 (120 to 300) | 0.45 (0.40 to 0.50) | 68.2 |" in texts["checkpoint"]
    assert "5,690,054 numbers" in texts["checkpoint"]
    assert "other programs took 30%" in texts["checkpoint"]
