"""The learning proofs: trains shortened or whole experiments and writes what came out into `docs/results.md`.

  make results                                        all of them, one after the other (hours; a killed run goes on)
  python -m benchmarks.results infogan-mnist          one or some of them
  python -m benchmarks.results --only_write           writes again from runs that are finished, and skips the others

Whatever came out is what the page says: scores by step beside the paper's, the seeds, the data, the length of the run
and every option in which it differs from the published experiment.
"""

from __future__ import annotations

import functools
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.pages import row, write_section
from benchmarks.turns import ROOT
from common.arguments import CommandParser
from common.errors import UserError, run_command

RUNS = Path("runs")
PAGE = Path("docs") / "results.md"
PICTURES = Path("docs") / "images"


@dataclass(frozen=True)
class Shown:
    """A picture of the first seed's run folder.

    Args:
        file: in the run folder; `{best}` and `{last}` are the steps of the best and of the last state, nine digits.
        name: what the copy is called after the proof's name.
        caption: stands before it; `{best}`, `{last}` as plain numbers.
    """

    file: str
    name: str
    caption: str


@dataclass(frozen=True)
class Proof:
    """One learning proof.

    Args:
        name: of its section.
        title: of its section.
        gin_file: what is trained.
        published: the gin file of the published experiment, which the section compares the options with.
        seeds: one run for each.
        pictures: what is shown.
        best_by: the metric by which `{best}` is chosen; None: none is.
        terms: records of `metrics.jsonl` whose last value is worth a line.
        bindings: further ones, such as fewer steps.
    """

    name: str
    title: str
    gin_file: str
    published: str
    seeds: tuple[int, ...]
    pictures: tuple[Shown, ...]
    best_by: str | None = None
    terms: tuple[str, ...] = ()
    bindings: tuple[str, ...] = ()

    def run_dir(self, seed: int) -> Path:
        """The run folder of a seed."""
        base = RUNS / self.name.replace("-", "_")
        return base if len(self.seeds) == 1 else base / f"seed_{seed}"

    def command(self, seed: int) -> list[str]:
        """The command that trains a seed."""
        return [
            "run.py",
            f"--gin_file={self.gin_file}",
            f"--gin_param=experiment.seed = {seed}",
            *(f"--gin_param={binding}" for binding in self.bindings),
            f"--run_dir={self.run_dir(seed)}",
        ]


_TRAVERSALS = "each code moved alone, the others kept"


def _last(base: str) -> tuple[Shown, ...]:
    """The two sheets of the end of a run whose traversals start from codes of this name."""
    return (
        Shown(f"pictures/{base}_all.png", "traversals", f"Step {{last}}, the end: {_TRAVERSALS}"),
        Shown("pictures/samples.png", "samples", "Step {last}: samples from the prior"),
    )


_DIGITS = tuple(
    Shown(
        f"pictures/prior_c1_{code}.png",
        code,
        f"Seed 0, step {{last}}: rows are categories of c1, columns values of {code}",
    )
    for code in ("c2", "c3")
)
_JUDGED = ("discriminator/accuracy_real", "discriminator/accuracy_fake")

PROOFS = (
    Proof(
        "ibgan-dsprites-short",
        "IB-GAN on dSprites, shortened schedule",
        "gin/ibgan_dsprites_short.gin",
        "gin/ibgan.gin",
        (7,),
        (
            Shown("training_pictures/zfixed_{best}.png", "best_traversals", f"Step {{best}}, the best: {_TRAVERSALS}"),
            Shown("training_pictures/samples_{best}.png", "best_samples", "Step {best}: samples from the prior"),
            Shown("pictures/zfixed_all.png", "last_traversals", f"Step {{last}}, the end: {_TRAVERSALS}"),
            Shown("pictures/samples.png", "last_samples", "Step {last}: samples from the prior"),
        ),
        best_by="ibgan_factor_vae",
        terms=("information/lower_bound", "information/upper_bound"),
    ),
    Proof(
        "infogan-mnist",
        "InfoGAN on MNIST",
        "gin/infogan_mnist.gin",
        "gin/infogan_mnist.gin",
        (0, 1, 2),
        _DIGITS,
        terms=("information/c1", "information/c2", "information/c3"),
    ),
    Proof(
        "infogan-mnist-small",
        "InfoGAN on MNIST, all twenty epochs, by networks an eighth of the size",
        "gin/infogan_mnist_small.gin",
        "gin/infogan_mnist.gin",
        (0, 1, 2),
        _DIGITS,
        terms=("information/c1", "information/c2", "information/c3"),
    ),
    Proof(
        "factor-vae-dsprites-short",
        "FactorVAE on dSprites, shortened schedule",
        "gin/factor_vae_dsprites_short.gin",
        "gin/factor_vae_dsprites_gamma10.gin",
        (0,),
        _last("prior"),
        best_by="factor_vae",
        terms=("total_correlation/estimate", "vae/reconstruction", "vae/divergence"),
    ),
    Proof(
        "infogan-cr-dsprites-short",
        "InfoGAN-CR on dSprites, shortened schedule",
        "gin/infogan_cr_dsprites_short.gin",
        "gin/infogan_cr_dsprites.gin",
        (0,),
        _last("prior"),
        best_by="factor_vae",
        terms=("information/lower_bound", "contrastive/loss", "contrastive/accuracy"),
    ),
    Proof(
        "infogan-cr-teapot-short",
        "InfoGAN-CR on 20,000 teapots, shortened schedule",
        "gin/infogan_cr_teapot_short.gin",
        "gin/infogan_cr_teapot_uniform_light.gin",
        (0,),
        _last("prior"),
        best_by="factor_vae",
        terms=("information/lower_bound", "contrastive/loss", "contrastive/accuracy"),
    ),
    Proof(
        "vgan-dsprites-short",
        "VGAN on dSprites, an eighth of the width",
        "gin/vgan_dsprites_short.gin",
        "gin/vgan_cifar10.gin",
        (0, 1),
        (
            Shown(
                "pictures/curves_bottleneck.png", "bottleneck", "Seed 0: the divergence and I_c, to which beta holds it"
            ),
            Shown("pictures/curves_beta.png", "beta", "Seed 0: beta"),
            Shown("pictures/samples.png", "samples", "Seed 0, step {last}: samples from the prior"),
        ),
        terms=(*_JUDGED, "bottleneck/kl", "bottleneck/kl_real", "bottleneck/kl_fake", "bottleneck/beta"),
    ),
    Proof(
        "vgan-dsprites-short-gan",
        "The same without the bottleneck: a plain GAN on dSprites",
        "gin/vgan_dsprites_short_gan.gin",
        "gin/vgan_dsprites_short.gin",
        (0, 1),
        (Shown("pictures/samples.png", "samples", "Seed 0, step {last}: samples from the prior"),),
        terms=_JUDGED,
    ),
    Proof(
        "iiae-mnist-cdcb-64",
        "IIAE on MNIST-CDCB, 64 x 64, a fourth of the width",
        "gin/iiae_mnist_cdcb_64.gin",
        "gin/iiae_mnist_cdcb.gin",
        (0, 1),
        (
            *(
                Shown(
                    f"pictures/pairs_{x}_to_{y}.png",
                    f"{x}_to_{y}",
                    f"{x} to {y}: input, reconstruction, in the "
                    "style of the partner, three sampled styles, the partner",
                )
                for x, y in ("xy", "yx")
            ),
            *(
                Shown(
                    f"pictures/pairs_{x}_with_style_{y}.png", f"{x}_with_style_{y}", f"{x}, in the style of another {y}"
                )
                for x, y in ("xy", "yx")
            ),
        ),
        terms=("reconstruction/error_x", "reconstruction/error_y", "divergence/exclusive_x", "divergence/exclusive_y"),
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains if asked to, and writes the page."""
    known = {proof.name: proof for proof in PROOFS}
    parser = CommandParser("python -m benchmarks.results", __doc__ or "")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(known)} (default: all)")
    parser.add_argument("--only_write", action="store_true", help="do not train; write from the runs that are finished")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in known]:
        raise UserError(f"there is no proof {unknown[0]!r}; there are: {', '.join(known)}")
    for proof in [known[name] for name in options.names or known]:
        if not options.only_write:
            for seed in proof.seeds:
                code = subprocess.run([sys.executable, *proof.command(seed)], cwd=ROOT, check=False).returncode
                if code:
                    return code
        if any(not (ROOT / proof.run_dir(seed) / "result.json").is_file() for seed in proof.seeds):
            print(f"{proof.name}: not finished, its section stays as it is")
            continue
        write_section(ROOT / PAGE, proof.name, section(proof), _HEAD)
        print(f"wrote {proof.name} into {PAGE}")
    return 0


_HEAD = """# Results

What our own runs gave, beside the published numbers. Each section names the data, the seed, the steps and the command;
a run that is shorter than the paper's says so.
"""


def section(proof: Proof) -> str:
    """The section about the finished runs of a proof; copies their pictures."""
    folders = [ROOT / proof.run_dir(seed) for seed in proof.seeds]
    results = [_json(folder / "result.json") for folder in folders]
    options, environment = _json(folders[0] / "options.json"), _json(folders[0] / "environment.json")
    experiment, result = options["experiment"], results[0]
    paper_steps = experiment["paper_steps"]
    share = "" if not paper_steps else f" of the published {paper_steps:,}"
    seeds = ", ".join(map(str, proof.seeds))
    lines = [
        f"## {proof.title}",
        "",
        f"Data: `{result['data']}` ({result['data_source']}). {_count(len(proof.seeds))}, seed {seeds}; "
        f"{result['step']:,}{share} steps of {experiment['global_batch']} images; "
        f"about {_minutes(folders, experiment):.0f} minutes of training steps a run on {environment['processor']}, "
        f"{_cores(environment)}.",
        "",
        *_differences(proof, options),
        f"Command: `python -m benchmarks.results {proof.name}`, which runs",
        *(f"`python {_quoted(proof.command(seed))}`" for seed in proof.seeds[:1]),
        "and the same for the other seeds." if len(proof.seeds) > 1 else "",
        "Fingerprints of the weights: " + ", ".join(f"`{found['fingerprint'][:16]}`" for found in results) + ".",
        "",
        *_score_table(proof, folders, results, experiment),
        "",
        *_terms(proof, folders),
        *_pictures(proof, folders[0], result["step"]),
    ]
    return "\n".join(lines)


def _count(runs: int) -> str:
    return "One run" if runs == 1 else f"{runs} runs"


def _cores(environment: dict[str, Any]) -> str:
    return "one core" if environment["cores"] == 1 else f"{environment['cores']} cores"


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _quoted(command: Sequence[str]) -> str:
    return " ".join(f'"{word}"' if " " in word else word for word in command)


@functools.cache
def _records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def _minutes(folders: Sequence[Path], experiment: dict[str, Any]) -> float:
    """Minutes of training steps of a run, averaged over the runs."""
    minutes = []
    for folder in folders:
        lines = (folder / "timing.jsonl").read_text(encoding="utf-8").splitlines()
        rates = [json.loads(line)["timing/steps_per_second"] for line in lines]
        minutes.append(sum(experiment["log_every"] / rate for rate in rates if rate) / 60)
    return statistics.mean(minutes)


def _differences(proof: Proof, options: dict[str, Any]) -> list[str]:
    """Which options differ from the published experiment's, as one paragraph."""
    from common.tensorflow_start import import_tensorflow

    import_tensorflow()
    from training.configuration import flatten, load, resolved

    published = flatten(json.loads(json.dumps(resolved(load([proof.published])[0]))))
    run = flatten(options)
    silent = ("name", "seed", "paper", "paper_steps", "paper_scores", "log_every", "keep_checkpoints", "best_metric")
    told = [
        f"`{key.removeprefix('experiment.')}` {run[key]!r} ({published.get(key, 'not set')!r})"
        for key in sorted(run)
        if run[key] != published.get(key)
        and key.startswith(("experiment.", "data."))
        and key.removeprefix("experiment.").split(".")[0] not in silent
        and not key.endswith(("picture_every", "checkpoint_every", "evaluate_every"))
    ]
    if not told:
        return [f"All options are those of `{proof.published}`.", ""]
    return [f"Differs from `{proof.published}`, whose value stands in brackets, in " + ", ".join(told) + ".", ""]


def _score_table(
    proof: Proof, folders: Sequence[Path], results: Sequence[dict[str, Any]], experiment: dict[str, Any]
) -> list[str]:
    names = list(results[0]["scores"])
    rows = []
    for step in sorted({record["step"] for record in _records(folders[0]) if _scores_in(record)}):
        found = [_scores_in(record) for folder in folders for record in _records(folder) if record["step"] == step]
        kept = [scores for scores in found if scores]
        label = "0 (untrained)" if step == 0 else f"{step:,}"
        rows.append([label, "fast", *(_mean([scores[name] for scores in kept if name in scores]) for name in names)])
    snapshots = list(results[0].get("snapshots", {}))
    for snapshot in snapshots:
        found = [result["snapshots"][snapshot] for result in results]
        rows.append([f"{found[0]['step']:,}, snapshot {snapshot}", "paper", *_over_seeds(names, found)])
    if len(results) > 1:
        for seed, result in zip(proof.seeds, results, strict=True):
            rows.append([f"{result['step']:,}, seed {seed}", "paper", *_over_seeds(names, [result])])
    rows.append([f"{results[0]['step']:,}", "paper", *_over_seeds(names, results)])
    published = experiment["paper_scores"]
    for prefix, what in (*((f"{name}/", f"the paper, {name}") for name in snapshots), ("", "the paper")):
        cells = [" +- ".join(f"{value:.2f}" for value in published.get(prefix + name, ())) for name in names]
        if any(cells):
            rows.append([what, "", *cells])
    header = ["step", "preset", *names]
    note = ["", "The preset `fast` measures with fewer images than the protocol, `paper`."]
    if len(results) > 1:
        note.append(f"Over the seeds: mean +- standard deviation, n = {len(results)}.")
    return [row(header), row(["---"] * len(header)), *map(row, rows), *note]


def _scores_in(record: dict[str, Any]) -> dict[str, float]:
    prefix = "score_fast/"
    return {key.removeprefix(prefix): value for key, value in record.items() if key.startswith(prefix)}


def _over_seeds(names: Sequence[str], results: Sequence[dict[str, Any]]) -> list[str]:
    return [_mean([result["scores"][name] for result in results if name in result["scores"]]) for name in names]


def _mean(values: Sequence[float]) -> str:
    if not values:
        return "-"
    mean = statistics.mean(values)
    digits = 3 if mean == 0 or abs(mean) >= 0.01 else 5
    spread = f" +- {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{spread}"


def _terms(proof: Proof, folders: Sequence[Path]) -> list[str]:
    """The last values of the terms, averaged over the runs, as one line."""
    told = []
    for term in proof.terms:
        last = [next((record[term] for record in reversed(_records(f)) if term in record), None) for f in folders]
        told.append(f"`{term}` {_mean([value for value in last if value is not None])}")
    divergences = sorted((value for key, value in _last_of(folders[0], "kl/").items()), reverse=True)
    if divergences:
        told.append("divergence of each code " + ", ".join(f"{value:.2f}" for value in divergences))
    return [f"At the end: {'; '.join(told)}.", ""] if told else []


def _last_of(folder: Path, prefix: str) -> dict[str, float]:
    for record in reversed(_records(folder)):
        if found := {key: value for key, value in record.items() if key.startswith(prefix)}:
            return found
    return {}


def _best_step(proof: Proof, folder: Path, last: int) -> int:
    """The step after the first with the best score while training; the last one if nothing was scored."""
    from metrics.registry import lower_is_better

    if proof.best_by is None:
        return last
    sign = -1.0 if lower_is_better(proof.best_by) else 1.0
    scored = [
        (sign * scores[proof.best_by], record["step"])
        for record in _records(folder)
        if record["step"] and proof.best_by in (scores := _scores_in(record))
    ]
    return max(scored)[1] if scored else last


def _pictures(proof: Proof, folder: Path, last: int) -> list[str]:
    best = _best_step(proof, folder, last)
    (ROOT / PICTURES).mkdir(parents=True, exist_ok=True)
    lines = []
    for shown in proof.pictures:
        source = folder / shown.file.format(best=f"{best:09d}", last=f"{last:09d}")
        target = f"{proof.name.replace('-', '_')}_{shown.name}{source.suffix}"
        shutil.copyfile(source, ROOT / PICTURES / target)
        caption = shown.caption.format(best=f"{best:,}", last=f"{last:,}")
        lines += [f"{caption}.", "", f"![{caption}](images/{target})", ""]
    return lines


if __name__ == "__main__":
    run_command(main)
