"""Times every metric beside a plain re-implementation of the usual method, in turns, and checks that the values agree.

  make benchmarks                                      sets .venv up, then runs this among other programs
  python -m benchmarks.metrics                         all metrics (an hour)
  python -m benchmarks.metrics --metrics=mig,dhsic     some of them
  python -m benchmarks.metrics --suite                 only what the complete suite takes (minutes)
  python -m benchmarks.metrics --write                 puts the tables into docs/performance.md, too

The usual method is one scikit-learn or scipy call for each pair, or whole matrices of pairs
(`benchmarks/plain_metrics.py`). The representation is made up: five factors with the sizes of dSprites, ten codes that
mix them with noise; 73,728 images for InfoGAN-CR's protocols, 10,000 and 5,000 for disentanglement_lib's. Ours run as
users run them, on as many processor cores as they are given (`--threads`), the plain ones as scikit-learn runs by
default; processor seconds tell the two apart. The ratios are formed within a round. Then the complete suite is timed in
a process of its own. The last line printed is the result as JSON. What memory dHSIC takes: `benchmarks.dhsic`.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import multiprocessing
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.pages import figure, section, setting, write_performance
from benchmarks.pages import table as markdown
from benchmarks.turns import (
    MOST_DISTURBANCE,
    busy_seconds,
    choose_cores,
    processor,
    some_of,
    spread,
    stay_on,
    versions_of,
)
from common.arguments import CommandParser
from common.errors import UserError, run_command
from common.output import say
from metrics import registry
from metrics.importances import DciResult
from metrics.inputs import Inputs

SIZES = (3, 6, 40, 32, 32)
NUM_CODES = 10
ROWS = 73_728
NUM_MODELS = 6
PACKAGES = ("numpy", "scipy", "scikit-learn", "joblib")
EXACT = 1e-6

Array = np.ndarray
Arrays = Mapping[str, Array]
Plain = Callable[[Arrays], Sequence[float]]


@dataclass(frozen=True)
class Contest:
    """A metric and the plain method beside it.

    Args:
        arrays: name of the function in `ARRAYS` that makes its input.
        plain: name of the function in `benchmarks.plain_metrics` that `call` is given, which needs scikit-learn.
        call: (that function, arrays) -> the numbers to compare.
        tolerance: how far the numbers may be apart. Above `EXACT`: what chance or another optimizer decides.
        is_slow: whether the plain method takes minutes.
    """

    arrays: str
    plain: str
    call: Callable[[Callable[..., Any], Arrays], Any]
    tolerance: float = EXACT
    is_slow: bool = False


def representation(rows: int, seed: int) -> tuple[Array, Array]:
    """Codes `[rows, 10]` float32 and the levels `[rows, 5]` of the factors that they mix."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, SIZES, size=(rows, len(SIZES)))
    return encode(levels, rng), levels


def encode(levels: Array, rng: np.random.Generator) -> Array:
    """Codes of images with these levels `[..., 5]`: each code mixes some factors; the last one is noise."""
    sizes = np.array(SIZES)
    standard = (levels - (sizes - 1) / 2) / np.sqrt((sizes**2 - 1) / 12)
    mixing = np.random.default_rng(7)
    weights = mixing.normal(size=(len(SIZES), NUM_CODES)) * (mixing.random((len(SIZES), NUM_CODES)) < 0.35)
    weights[:, : len(SIZES)] += np.eye(len(SIZES))
    weights[:, -1] = 0
    codes = np.tanh(standard @ weights) + 0.15 * rng.normal(size=(*levels.shape[:-1], NUM_CODES))
    return codes.astype(np.float32)


def grouped(count: int, size: int, pairs: bool, seed: int) -> tuple[Array, Array]:
    """Codes of groups `[count, size, 10]` in which one factor is kept, by the group or by the pair, and which."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(SIZES)
    levels = rng.integers(0, SIZES, size=(count, size, len(SIZES)))
    source = np.arange(size) // 2 * 2 if pairs else np.zeros(size, dtype=np.int64)
    for group, label in enumerate(labels):
        levels[group, :, label] = levels[group, source, label]
    return encode(levels, rng), labels


def infogan_cr_arrays(rows: int) -> dict[str, Array]:
    """What InfoGAN-CR's metrics read."""
    codes, levels = representation(rows, 0)
    groups, labels = grouped(500, 100, False, 1)
    return {
        "codes": codes,
        "factors": levels.astype(np.float64),
        "discrete": np.array([True, False, False, False, False]),
        "group_codes": groups,
        "group_labels": labels,
    }


def dlib_arrays(rows: int, pairs: bool = False) -> dict[str, Array]:
    """What disentanglement_lib's metrics read; at most `rows` images."""
    train, test = min(10_000, rows), min(5_000, rows)
    codes, levels = representation(train + test, 2)
    groups, labels = grouped(train + test, 128 if pairs else 64, pairs, 3)
    return {
        "codes": codes[:train],
        "factors": levels[:train].astype(np.float64),
        "test_codes": codes[train:],
        "test_factors": levels[train:].astype(np.float64),
        "discrete": np.full(len(SIZES), True),
        "group_codes": groups[:train],
        "group_labels": labels[:train],
        "test_group_codes": groups[train:],
        "test_group_labels": labels[train:],
    }


def dhsic_arrays(rows: int) -> dict[str, Array]:
    """5,000 images."""
    return {"codes": representation(min(5_000, rows), 4)[0]}


def udr_arrays(rows: int) -> dict[str, Array]:
    """Several models' codes of 1,000 images."""
    rng = np.random.default_rng(5)
    codes, _ = representation(min(1_000, rows), 6)
    order = [rng.permutation(NUM_CODES) for _ in range(NUM_MODELS)]
    return {"model_codes": np.stack([codes[:, o] + 0.3 * rng.normal(size=codes.shape) for o in order])}


ARRAYS: dict[str, Callable[[int], dict[str, Array]]] = {
    "infogan_cr": infogan_cr_arrays,
    "dlib": dlib_arrays,
    "dlib_pairs": functools.partial(dlib_arrays, pairs=True),
    "dhsic": dhsic_arrays,
    "udr": udr_arrays,
}


def _levels(arrays: Arrays, prefix: str = "") -> Array:
    return arrays[f"{prefix}factors"].astype(np.int64)


def _on_levels(function: Callable[..., Any], arrays: Arrays) -> Any:
    return function(arrays["codes"], _levels(arrays))


def _on_split(function: Callable[..., Any], arrays: Arrays) -> Any:
    return function(arrays["codes"], _levels(arrays), arrays["test_codes"], _levels(arrays, "test_"))


def _on_groups(function: Callable[..., Any], arrays: Arrays) -> Any:
    return function(arrays["group_codes"], arrays["group_labels"])


def _on_split_groups(function: Callable[..., Any], arrays: Arrays, spread_of: bool = False) -> Any:
    names = ("group_codes", "group_labels", "test_group_codes", "test_group_labels")
    more = (arrays["codes"].astype(np.float64).std(axis=0, ddof=1),) if spread_of else ()
    return function(*(arrays[name] for name in names), *more)


def _factor_vae(function: Callable[..., Any], arrays: Arrays) -> Any:
    return function(arrays["group_codes"], arrays["group_labels"], arrays["codes"].astype(np.float64).std(axis=0))


def _sap(function: Callable[..., Any], arrays: Arrays) -> Any:
    return function(arrays["codes"], arrays["factors"], arrays["discrete"])


def _dci(fit: str, depths: Sequence[int], function: Callable[..., Any], arrays: Arrays) -> Any:
    from benchmarks import plain_metrics
    from metrics.dci import factor_seeds

    method = getattr(plain_metrics, fit)
    if depths:
        method = method(depths, factor_seeds(0, len(SIZES)))
    return function(arrays["codes"], arrays["factors"], method)


def _udr(method: str, function: Callable[..., Any], arrays: Arrays) -> Any:
    return max(function(list(arrays["model_codes"]), method))


CONTESTS: dict[str, Contest] = {
    "factor_vae": Contest("infogan_cr", "factor_vae", _factor_vae),
    "beta_vae": Contest("infogan_cr", "beta_vae", _on_groups, 5e-3),
    "sap": Contest("infogan_cr", "sap", _sap, 2e-3),
    "mig": Contest("infogan_cr", "mig", _on_levels),
    "modularity": Contest("infogan_cr", "modularity", _on_levels),
    "explicitness": Contest("infogan_cr", "explicitness", _on_levels, 1e-4, is_slow=True),
    "dci_lasso": Contest("infogan_cr", "infogan_cr_dci", functools.partial(_dci, "lasso_fit", ())),
    "dci_lassocv": Contest("infogan_cr", "infogan_cr_dci", functools.partial(_dci, "lassocv_fit", ())),
    # Where several codes split a node equally well, chance decides in both.
    "dci_random_forest": Contest(
        "infogan_cr", "infogan_cr_dci", functools.partial(_dci, "forest_fit", (4, 5, 2, 5, 5)), 1e-3
    ),
    "dci_random_forest_ibgan": Contest(
        "infogan_cr", "infogan_cr_dci", functools.partial(_dci, "forest_fit", (4, 2, 4, 2, 2)), 1e-3
    ),
    "dci_random_forest_cv": Contest(
        "infogan_cr", "infogan_cr_dci", functools.partial(_dci, "forest_cv_fit", range(2, 16)), 0.02, is_slow=True
    ),
    "dhsic": Contest("dhsic", "dhsic", lambda function, arrays: function(arrays["codes"])),
    "dlib_factor_vae": Contest("dlib", "dlib_factor_vae", functools.partial(_on_split_groups, spread_of=True)),
    "dlib_beta_vae": Contest("dlib_pairs", "dlib_beta_vae", _on_split_groups, 5e-3),
    "dlib_sap": Contest("dlib", "dlib_sap", _on_split, 5e-3, is_slow=True),
    "dlib_mig": Contest("dlib", "mig", _on_levels),
    "dlib_modularity": Contest("dlib", "modularity", _on_levels),
    "dlib_explicitness": Contest("dlib", "dlib_explicitness", _on_split, 1e-2),
    "dlib_dci_gbt": Contest("dlib", "dlib_dci", _on_split, 2e-3, is_slow=True),
    "dci_hist_gbt": Contest("dlib", "dlib_dci", _on_split, 0.03, is_slow=True),
    "dlib_irs": Contest("dlib", "dlib_irs", _on_levels),
    "dlib_udr_lasso": Contest("udr", "udr", functools.partial(_udr, "lasso")),
    "dlib_udr_spearman": Contest("udr", "udr", functools.partial(_udr, "spearman")),
}


def ours(name: str, arrays: Arrays) -> list[float]:
    """The numbers that our metric gives."""
    result = registry.get(name).function(Inputs(arrays))
    if isinstance(result, DciResult):
        return [result.disentanglement, result.completeness]
    return [result.score]


def plainly(contest: Contest, arrays: Arrays) -> list[float]:
    """The numbers that the plain method gives."""
    from benchmarks import plain_metrics

    return [float(value) for value in np.atleast_1d(contest.call(getattr(plain_metrics, contest.plain), arrays))]


def compare(name: str, rows: int, turns: int, cores: tuple[int, ...]) -> dict[str, Any]:
    """Lets a metric and its plain counterpart take turns.

    Args:
        name: the metric's id.
        rows: how many images InfoGAN-CR's metrics look at.
        turns: how often each is run.
        cores: the processor cores that this process is held to.

    Returns:
        seconds of both, ratios, the largest difference of their numbers, and how much of the cores others took.
    """
    contest = CONTESTS[name]
    arrays = ARRAYS[contest.arrays](rows)
    runners: dict[str, Callable[[], list[float]]] = {
        "ours": lambda: ours(name, arrays),
        "plain": lambda: plainly(contest, arrays),
    }
    # Imports and the start of processes are not counted.
    importlib.import_module("benchmarks.plain_metrics")
    runners["ours"]()
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    values: dict[str, list[float]] = {}
    disturbance = []
    for turn in range(turns):
        for who in ("ours", "plain") if turn % 2 == 0 else ("plain", "ours"):
            begin, begin_busy, begin_own = time.perf_counter(), busy_seconds(cores), own_seconds()
            values[who] = runners[who]()
            took = time.perf_counter() - begin
            seconds[who].append(took)
            others = busy_seconds(cores) - begin_busy - (own_seconds() - begin_own)
            disturbance.append(max(0.0, others) / (took * len(cores)))
        say(
            f"{name}: round {turn + 1} of {turns}, ours {seconds['ours'][-1]:.2f} s, plain {seconds['plain'][-1]:.2f} s"
        )
    # A plain method may tell more (held-out accuracy), after the numbers that ours are compared with.
    difference = max(abs(a - b) for a, b in zip(values["ours"], values["plain"], strict=False))
    return {
        "ours": spread(seconds["ours"]),
        "plain": spread(seconds["plain"]),
        "ratio": spread([plain / own for plain, own in zip(seconds["plain"], seconds["ours"], strict=True)]),
        "difference": difference,
        "tolerance": contest.tolerance,
        "agrees": bool(difference <= contest.tolerance),
        "values": values,
        "disturbance": spread(disturbance),
        "rounds": turns,
    }


def own_seconds() -> float:
    """Processor seconds of this process and its worker processes so far."""
    import psutil

    me = psutil.Process()
    total = sum(me.cpu_times()[:4])
    for child in me.children(recursive=True):
        try:
            total += sum(child.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return total


def run_suite(rows: int, cores: tuple[int, ...], names: Sequence[str]) -> dict[str, Any]:
    """Seconds that each metric takes when all are run one after the other, starting processes included."""
    stay_on(cores)
    arrays = {kind: make(rows) for kind, make in ARRAYS.items()}
    seconds = {}
    begin_busy, begin_own, begin_all = busy_seconds(cores), own_seconds(), time.perf_counter()
    for name in names:
        begin = time.perf_counter()
        ours(name, arrays[kind_of(name)])
        seconds[name] = time.perf_counter() - begin
        say(f"{name}: {seconds[name]:.2f} s")
    whole = time.perf_counter() - begin_all
    others = max(0.0, busy_seconds(cores) - begin_busy - (own_seconds() - begin_own)) / (whole * len(cores))
    return {"seconds": {name: round(value, 3) for name, value in seconds.items()}, "total": whole, "others": others}


def kind_of(name: str) -> str:
    """Which of `ARRAYS` a metric reads; those without a contest are variants of others."""
    if name in CONTESTS:
        return CONTESTS[name].arrays
    if not name.startswith("dlib_"):
        return "infogan_cr"
    return "dlib_pairs" if "beta_vae" in name else "dlib"


def suite_names(slow: bool) -> list[str]:
    """The metrics of one model's codes; those that are measured only when they are named, or the others."""
    metrics = [registry.get(name) for name in registry.names()]
    return [metric.name for metric in metrics if metric.protocols and ("paper" in metric.slow_in) == slow]


def time_suite(rows: int, cores: tuple[int, ...], names: Sequence[str]) -> dict[str, Any]:
    """`run_suite` in a process of its own."""
    context = multiprocessing.get_context("spawn")
    # Not a daemon: it starts processes itself.
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_suite, args=(sender, rows, cores, names))
    process.start()
    sender.close()
    try:
        answer = receiver.recv()
    except EOFError:
        raise UserError("the suite ended without a word; is there enough memory?") from None
    finally:
        process.join()
    if isinstance(answer, str):
        raise UserError(f"the suite failed: {answer}")
    return answer


def _send_suite(sender: Any, rows: int, cores: tuple[int, ...], names: Sequence[str]) -> None:
    try:
        sender.send(run_suite(rows, cores, names))
    except Exception as error:
        sender.send(f"{type(error).__name__}: {error}")


def table(contests: Mapping[str, dict[str, Any]]) -> str:
    """The comparison for people: one row for each metric."""
    lines = [f"{'metric':<24}{'ours, s':>9}{'plain, s':>10}{'so many times as fast':>25}{'difference':>13}"]
    for name, result in contests.items():
        ratio = result["ratio"]
        faster = f"{ratio['median']:.1f} ({ratio['low']:.1f} - {ratio['high']:.1f})"
        apart = f"{result['difference']:.1e}" + ("" if result["agrees"] else " !")
        lines.append(
            f"{name:<24}{result['ours']['median']:9.2f}{result['plain']['median']:10.2f}{faster:>25}{apart:>13}"
        )
    wrong = [name for name, result in contests.items() if not result["agrees"]]
    if wrong:
        lines.append(f"! numbers differ by more than they may: {', '.join(wrong)}")
    worst = max((result["disturbance"]["median"] for result in contests.values()), default=0.0)
    if worst > MOST_DISTURBANCE:
        lines.append(f"Other programs took up to {worst:.0%} of these cores: do not quote these figures.")
    return "\n".join(lines)


def suite_table(suite: dict[str, Any], slow: dict[str, Any], cores: int) -> str:
    """What the complete suite takes."""
    lines = [f"complete suite on {cores} cores: {suite['total']:.1f} s"]
    for name, seconds in sorted(suite["seconds"].items(), key=lambda item: -item[1]):
        lines.append(f"  {name:<24}{seconds:8.2f} s")
    lines += ["apart from it:"] if slow["seconds"] else []
    for name, seconds in slow["seconds"].items():
        lines.append(f"  {name:<24}{seconds:8.2f} s")
    worst = max(suite["others"], slow["others"])
    if worst > MOST_DISTURBANCE:
        lines.append(f"Other programs took up to {worst:.0%} of these cores: do not quote these figures.")
    return "\n".join(lines)


def contests_section(result: Mapping[str, Any]) -> str:
    """Metrics beside the plain method, as a section of the page.

    Args:
        result: as `main` collects it.
    """
    contests = result["contests"]
    rows = [
        [
            f"`{name}`",
            *(figure(found[kind], digits) for kind, digits in (("ours", 3), ("plain", 2), ("ratio", 1))),
            f"{found['difference']:.1e}{'' if found['agrees'] else ', MORE THAN IT MAY BE'}",
            str(found["rounds"]),
        ]
        for name, found in contests.items()
    ]
    rounds = sorted({found["rounds"] for found in contests.values()})
    about = _setting(
        result,
        f"{' or '.join(map(str, rounds))} rounds",
        max(found["disturbance"]["median"] for found in contests.values()),
    )
    header = ["", "spout, seconds", "plain, seconds", "spout is so many times as fast", "difference", "rounds"]
    return section(
        f"Metrics beside the plain method, {len(contests)} of {len(CONTESTS)}",
        about,
        f"Medians and ranges. {_representation(result)} The plain method is one call of scikit-learn or SciPy for each "
        "pair of code and factor, or whole matrices; the difference is that of the values.",
        markdown(header, rows),
    )


def suite_section(result: Mapping[str, Any]) -> str:
    """What the complete suite takes, as a section of the page.

    Args:
        result: as `main` collects it.
    """
    suite, apart = result["suite"], result["apart"]
    slowest = sorted(suite["seconds"].items(), key=lambda item: -item[1])
    rows = [["all of them", f"{suite['total']:.1f}"], *([f"`{name}`", f"{value:.2f}"] for name, value in slowest)]
    rows += [[f"`{name}`, apart from them", f"{value:.2f}"] for name, value in apart["seconds"].items()]
    return section(
        f"The complete suite of {len(slowest)} metrics",
        _setting(result, "one round", max(suite["others"], apart["others"])),
        f"One after the other, the start of worker processes included. {_representation(result)}",
        markdown(["", "seconds"], rows),
    )


def _setting(result: Mapping[str, Any], rounds: str, disturbance: float) -> str:
    """Where the metrics were timed, and with what."""
    named = {"NumPy": "numpy", "SciPy": "scipy", "scikit-learn": "scikit-learn"}
    versions = {name: result["versions"].get(package) for name, package in named.items()}
    return setting(result["processor"], len(result["cores"]), versions, rounds, disturbance)


def _representation(result: Mapping[str, Any]) -> str:
    return f"Of {result['rows']:,} images with {NUM_CODES} codes and {len(SIZES)} factors (`dlib_`: 10,000 and 5,000)."


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandParser("python -m benchmarks.metrics", __doc__ or "")
    parser.add_argument("--metrics", default=",".join(CONTESTS), help="ids with commas between (default: all)")
    parser.add_argument("--turns", type=int, default=5, help="rounds (default 5)")
    parser.add_argument(
        "--slow_turns",
        type=int,
        default=1,
        help="rounds where the usual method takes minutes; 0: leave these metrics out (default 1)",
    )
    parser.add_argument("--rows", type=int, default=ROWS, help=f"images of InfoGAN-CR's protocols (default {ROWS:,})")
    parser.add_argument("--threads", type=int, default=2, help="processor cores (default 2)")
    parser.add_argument("--suite", action="store_true", help="only time the complete suite")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/performance.md, too")
    return parser.parse_args(arguments)


def main() -> int:
    """Measures and prints tables and JSON."""
    options = parse()
    names = some_of("metrics", options.metrics, CONTESTS)
    if options.turns < 1 or options.slow_turns < 0 or options.rows < 200:
        raise UserError("--turns: allowed: 1 or more; --slow_turns: 0 or more; --rows: 200 or more")
    machine, cores = processor(), choose_cores(options.threads)
    stay_on(cores)
    contests = {}
    for name in [] if options.suite else names:
        turns = options.slow_turns if CONTESTS[name].is_slow else options.turns
        if turns:
            contests[name] = compare(name, options.rows, turns, cores)
    say("the complete suite")
    suite = time_suite(options.rows, cores, suite_names(slow=False))
    slow = time_suite(options.rows, cores, suite_names(slow=True))
    print(f"{machine['name']}, {len(cores)} of {machine['cores']} cores, {options.rows:,} images, {NUM_CODES} codes\n")
    if contests:
        print(f"{table(contests)}\n")
    print(suite_table(suite, slow, len(cores)))
    result = {
        "processor": machine,
        "cores": list(cores),
        "rows": options.rows,
        "python": platform.python_version(),
        "versions": versions_of(PACKAGES),
        "contests": contests,
        "suite": suite,
        "apart": slow,
    }
    if options.write:
        write_performance("metrics suite", suite_section(result))
        if contests:
            write_performance("metrics contests", contests_section(result))
    print(json.dumps(result))
    return 0 if all(contest["agrees"] for contest in contests.values()) else 1


if __name__ == "__main__":
    run_command(main)
