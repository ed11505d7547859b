"""The learning proof of IB-GAN on dSprites: trains the shortened schedule and writes `docs/results.md`.

  python -m benchmarks.results_ibgan            trains (an hour on two CPU cores; a killed run goes on), then writes
  python -m benchmarks.results_ibgan --only_write   writes again from the finished run

Whatever came out is what the page says: scores by step, the untrained network first, beside the paper's.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from common.errors import UserError, run_command
from common.files import write_text

ROOT = Path(__file__).resolve().parent.parent
GIN_FILE = "gin/ibgan_dsprites_short.gin"
RUN = Path("runs") / "ibgan_dsprites_short"
PAGE = Path("docs") / "results.md"
PICTURES = Path("docs") / "images"
BEST_BY = "ibgan_factor_vae"
COMMAND = ["run.py", f"--gin_file={GIN_FILE}", f"--run_dir={RUN}"]
_NAME = "ibgan_dsprites_short"


def main() -> int:
    """Trains if asked to, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only_write", action="store_true", help="do not train; write from the finished run")
    arguments = parser.parse_args()
    if not arguments.only_write:
        code = subprocess.run([sys.executable, *COMMAND], cwd=ROOT, check=False).returncode
        if code:
            return code
    section = ibgan_section(ROOT / RUN)
    copy_pictures(ROOT / RUN, ROOT / PICTURES)
    write_section(ROOT / PAGE, "ibgan-dsprites-short", section)
    print(f"wrote {PAGE}")
    return 0


def copy_pictures(run: Path, target: Path) -> None:
    """Copies the sheets of the best and of the last step into the documents."""
    target.mkdir(parents=True, exist_ok=True)
    step, drawn = _best(run)[0], run / "training_pictures"
    shutil.copyfile(drawn / f"zfixed_{step:09d}.png", target / f"{_NAME}_best_traversals.png")
    shutil.copyfile(drawn / f"samples_{step:09d}.png", target / f"{_NAME}_best_samples.png")
    shutil.copyfile(run / "pictures" / "zfixed_all.png", target / f"{_NAME}_last_traversals.png")
    shutil.copyfile(run / "pictures" / "samples.png", target / f"{_NAME}_last_samples.png")


def write_section(page: Path, name: str, text: str) -> None:
    """Puts a section into a page, between its two marks; the rest of the page stays as it is."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    block = f"{begin}\n{text}{end}\n"
    old = page.read_text(encoding="utf-8") if page.is_file() else _HEAD
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end) + "\n", re.DOTALL)
    new = pattern.sub(lambda _: block, old) if pattern.search(old) else old + "\n" + block
    write_text(page, new)


_HEAD = """# Results

What our own runs gave, beside the published numbers. Each section names the data, the seed, the steps and the command;
a run that is shorter than the paper's says so.
"""


def ibgan_section(run: Path) -> str:
    """The section about the run in this folder."""
    if not (run / "result.json").is_file():
        raise UserError(f"{run} holds no finished run; run this command without --only_write")
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    options = json.loads((run / "options.json").read_text(encoding="utf-8"))
    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    experiment, model = options["experiment"], options["experiment"]["model"]
    lines = [
        "## IB-GAN on dSprites, shortened schedule",
        "",
        f"Data: `{result['data']}` ({result['data_source']}). Seed {experiment['seed']}, one run, "
        f"{result['step']:,} of the paper's {experiment['paper_steps']:,} steps "
        f"of {experiment['global_batch']} images, "
        f"instance noise over {model['noise_steps']:,} steps, "
        f"learning rates {_rates(experiment)}; all else as published.",
        f"Machine: {environment['processor']}, {environment['cores']} cores; {_hours(run, experiment)}.",
        "",
        f"Command: `make results-ibgan` (`python {' '.join(COMMAND)}`).",
        f"Fingerprint of the weights: `{result['fingerprint'][:16]}...`",
        "",
        *_score_table(run, result, experiment),
        "",
        "The paper's 0.80 +- 0.07 is the score after 150,000 steps. The `fast` preset measures with fewer images than",
        "the protocol; the last row is the protocol itself.",
        "",
        *_information(run),
        "",
        *_pictures(run, result["step"]),
    ]
    return "\n".join(lines)


def _pictures(run: Path, last: int) -> list[str]:
    best, score = _best(run)
    shown = {
        f"At step {best:,}, whose {BEST_BY} of {score:.3f} is the highest of this run": "best",
        f"At the end, step {last:,}": "last",
    }
    lines = []
    for caption, name in shown.items():
        lines += [
            f"{caption}: each code moved alone from -3 to 3, the others kept; below it, samples from the prior.",
            "",
            f"![Traversals. {caption}](images/{_NAME}_{name}_traversals.png)",
            "",
            f"![Samples. {caption}](images/{_NAME}_{name}_samples.png)",
            "",
        ]
    return lines


def _best(run: Path) -> tuple[int, float]:
    """The step after the first with the highest score while training, and that score."""
    name = f"score_fast/{BEST_BY}"
    scored = [(record[name], record["step"]) for record in _records(run) if record.get("step") and name in record]
    score, step = max(scored)
    return step, score


def _rates(experiment: dict[str, Any]) -> str:
    return ", ".join(f"{name} {options['learning_rate']:g}" for name, options in experiment["optimizers"].items())


def _records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def _hours(run: Path, experiment: dict[str, Any]) -> str:
    lines = (run / "timing.jsonl").read_text(encoding="utf-8").splitlines()
    rates = [json.loads(line)["timing/steps_per_second"] for line in lines]
    minutes = sum(experiment["log_every"] / rate for rate in rates if rate) / 60
    return f"about {minutes:.0f} minutes of training steps"


def _score_table(run: Path, result: dict[str, Any], experiment: dict[str, Any]) -> list[str]:
    names = list(result["scores"])
    rows = []
    for record in _records(run):
        scores = {key.split("/")[1]: value for key, value in record.items() if key.startswith("score_")}
        if scores:
            label = "0 (untrained)" if record["step"] == 0 else f"{record['step']:,}"
            rows.append([label, "fast", *(f"{scores[name]:.3f}" for name in names)])
    rows.append([f"{result['step']:,}", "paper", *(f"{result['scores'][name]:.3f}" for name in names)])
    published = experiment["paper_scores"]
    paper = [" +- ".join(f"{value:.2f}" for value in published[name]) if name in published else "" for name in names]
    rows.append([f"the paper, {experiment['paper_steps']:,}", "", *paper])
    header = ["step", "preset", *names]
    return [_row(header), _row(["---"] * len(header)), *map(_row, rows)]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _information(run: Path) -> list[str]:
    last = next(record for record in reversed(_records(run)) if "information/lower_bound" in record)
    divergences = sorted((value for key, value in last.items() if key.startswith("kl/")), reverse=True)
    listed = ", ".join(f"{value:.2f}" for value in divergences)
    return [
        f"At the end I_L is {last['information/lower_bound']:.2f} nats "
        f"and I_U {last['information/upper_bound']:.2f} nats; "
        f"divergences of the ten codes, sorted: {listed}."
    ]


if __name__ == "__main__":
    run_command(main)
