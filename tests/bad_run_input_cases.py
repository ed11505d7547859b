"""Bad input for `run.py` that needs no trained run: flags, bindings, gin files, places; see `bad_input_cases`."""

from __future__ import annotations

import tiny_runs
from bad_input_cases import Case, Content

GIN = "--gin_file=gin/ibgan.gin"
DESCRIBE = (GIN, "--mode=describe")


def cases() -> list[Case]:
    """What `run.py` refuses without a trained run."""
    given = [
        ("--mod=train", ("'mod'", "--help")),
        ("--mode=trai", ("trai", "traverse")),
        ("train", ("'train'", "--help")),
        ("--seeds=0", ("--seeds=0", "1 to 10,000")),
        ("--seeds=x", ("'x'", "10 is 0 to 9")),
        ("--seeds=3,3", ("twice",)),
        ("--seeds=99999999999", ("1 to 10,000",)),
        ("--sweep=x", ("'x'", "key=[value, value]")),
        ("--sweep=ibgan.beta=[]", ("no values",)),
        ("--sweep=ibgan.beta=[0.1", ("']' is missing",)),
        ("--sweep=ibgan.bta=[0.1] --dry_run", ("'bta'", "did you mean 'beta'")),
        ("--sweep=ibgan.beta=['x'] --dry_run", ("'x'", "expected a number")),
        ("--sweep=ibgan.beta=[0.1,0.1] --dry_run", ("0.1 twice",)),
        ("--sweep=ibgan.beta=range(10**9) --dry_run", ("no gin literal",)),
        ("--sweep=ibgan.beta=[{[1]:2}]", ("no gin literal",)),
        ("--sweep=experiment.seed=[1] --seeds=2", ("in --sweep and in --seeds",)),
        ("--seeds=2 --sweep_index=5", ("--sweep_index is 5", "0 to 1")),
        ("--seeds=2 --sweep_index=-1", ("--sweep_index is -1", "0 to 1")),
        ("--seeds=2 --sweep_index=x", ("'x' is no whole number", "--help")),
        ("--seeds=2 --parallel=0", ("--parallel is 0", "cores for 1 to")),
        ("--seeds=2 --parallel=100000 --dry_run", ("--parallel is 100000",)),
        ("--seeds=2 --dry_run --summarize", ("--dry_run and --summarize",)),
        ("--dry_run", ("--dry_run is for sweeps", "--seeds=10")),
        ("--summarize --run_dir={d}", ("holds no sweep", "sweep.json")),
        ("--mode=describe --seeds=2", ("--seeds is for training",)),
        ("--mode=translate", ("--input=a.png",)),
        ("--input=x", ("--input is a flag of --mode=translate",)),
        ("--runs=x", ("--runs is a flag of --mode=select",)),
        ("--out=x", ("--out is a flag of --mode=select, translate, publish, not of train",)),
        ("--seed=3", ("--seed is a flag", "experiment.seed = 1")),
        ("--checkpoint=best", ("--checkpoint is a flag of --mode=evaluate", "not of train")),
        ("--mode=publish --seed=3", ("not of publish",)),
        ("--mode=publish --run_dir={d} --style=x", ("not of publish",)),
        ("--mode=publish --run_dir={d} --out=", ("--out is empty", "leave it out")),
        ("--mode=publish --seeds=3", ("--seeds is for training",)),
        ("--mode=benchmark --out=x", ("not of benchmark",)),
        ("--mode=benchmark --seeds=3", ("--seeds is for training",)),
    ]
    cases = [Case("run", (GIN, *words.split(" ")), expected) for words, expected in given]
    alone = [
        ("--mode=select", ("--runs='runs/a/*'",)),
        ("--mode=select --runs={d}/*", ("finds no run folder",)),
        ("--mode=select --runs={d}", ("holds no run",)),
        ("--mode=select --runs={d} --preset=x", ("x", "paper|fast")),
        ("--mode=select --runs={d} --seed=-1", ("-1", "non-negative")),
        ("--mode=translate --run_dir={d} --input=x --direction=z", ("--direction=z", "x2y")),
        ("--mode=translate --run_dir={d} --input=x --direction=x2y", ("--input=x", "no such file")),
        ("--summarize", ("--summarize is for sweeps",)),
        ("--summarize --run_dir={d}/none", ("holds no sweep",)),
        *((f"--mode={mode} --run_dir={{d}}/none", ("holds no run", "train one first")) for mode in MODES),
    ]
    cases += [Case("run", tuple(words.split(" ")), expected) for words, expected in alone]
    cases += [Case("run", (*DESCRIBE, f"--gin_param={binding}"), expected) for binding, expected in BINDINGS]
    cases += [Case("run", ("--gin_file={d}/a.gin", "--mode=describe"), *case) for case in _gin_files()]
    places: list[tuple[str, tuple[str, ...], dict[str, Content]]] = [
        ("{d}/file/x", ("file/x", "a file, not a folder"), {"file": b"x"}),
        ("{d}/file", ("is a file", "--run_dir"), {"file": b"x"}),
        ("{d}", ("is not empty and no run folder",), {"stuff": b"x"}),
        ("/proc/nowhere", ("/proc/nowhere", "check the path"), {}),
        ("{d}/" + "x" * 300, ("too long",), {}),
        # What was made above the name that is too long goes, too.
        ("{d}/new/" + "x" * 300, ("too long",), {}),
        ("", ("--run_dir is empty", "leave it out"), {}),
    ]
    tiny = (GIN, *(f"--gin_param={binding}" for binding in tiny_runs.TINY))
    cases += [Case("run", (*tiny, "--mode=benchmark", f"--gin_param={one}"), words) for one, words in BENCHMARKED]
    return cases + [Case("run", (*tiny, f"--run_dir={place}"), words, files) for place, words, files in places]


MODES = ("evaluate", "traverse", "generate", "interpolate", "export", "pairs", "publish", "benchmark")
BENCHMARKED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("benchmark.steps = 0", ("benchmark.steps is 0", "1 or more")),
    ("benchmark.steps = 1.5", ("1.5", "expected an integer")),
    ("benchmark.steps = 1e300", ("1e+300", "integers go up to")),
    ("benchmark.turns = -1", ("benchmark.turns is -1", "1 or more")),
    ("experiment.global_batch = 1000000", ("global_batch is 1000000", "at most")),
    ("data.name = 'mnist'", ("(28, 28, 1)", "64 x 64 images only")),
    ("data.name = 'sketchy'", ("vectors in pairs", "such as iiae")),
    ("experiment.model = @vgan()", ("nothing uses the binding ibgan.",)),
)
"""What the mode benchmark refuses."""
BINDINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("ibgan.beta = 'x'", ("'x'", "expected a number")),
    ("ibgan.beta = -1", ("-1", "allowed: 0 or more")),
    ("ibgan.beta = 1e400", ("inf", "allowed: 0 or more")),
    ("ibgan.beta = nan", ("'nan' is no value", "values are numbers")),
    ("ibgan.beta = __import__('os').mkdir('proof')", ("'__import__' is no value",)),
    ("ibgan.beta", ("a binding is name.option = value",)),
    ("ibgan.beta = (", ("a binding is name.option = value",)),
    ("ibgan.bta = 3", ("'bta'", "did you mean 'beta'")),
    ("ibgn.beta = 3", ("'ibgn'", "did you mean 'ibgan'")),
    ("vgan.beta = 3", ("nothing uses the binding vgan.beta",)),
    ("x = 3", ("nothing uses the macro x",)),
    ("ibgan.beta = %x", ("the macro %x is used but not set",)),
    ("a = %b\nb = %a\nibgan.beta = %a", ("stands for itself",)),
    ("ibgan.beta = @ibgan()", ("stands for itself",)),
    ("ibgan.z_dim = 1.5", ("1.5", "expected an integer")),
    ("ibgan.z_dim = 99999999999999999999", ("99999999999999999999", "integers go up to")),
    ("experiment.total_steps = 1e30", ("1e+30", "integers go up to")),
    ("experiment.name = 'a\\0b'", ("control character",)),
    ("experiment.name = 'a\\nb'", ("control character",)),
    ("ibgan.generator_width = 0", ("is 0", "1 or more")),
    ("experiment.total_steps = -1", ("-1", "0 or more")),
    ("experiment.seed = 99999999999999", ("99999999999999", "allowed: 0 to")),
    ("experiment.name = 'a/b'", ("'a/b'", "no slash")),
    ("experiment.model = 3", ("3 (int)", "called as in @name()")),
    ("experiment.model = @ibgan", ("without parentheses",)),
    ("experiment.model = @nope()", ("'nope' is not known",)),
    ("experiment.strategy = 'x'", ("'x'", "'mirrored'")),
    ("experiment.devices = 100", ("experiment.devices is 100", "'mirrored'")),
    ("experiment.strategy = 'mirrored'\nexperiment.devices = 100", ("devices is 100", "choose")),
    ("experiment.strategy = 'multi_worker'", ("TF_CONFIG", "docs/architecture.md")),
    ("experiment.precision = 'float16'", ("'float16'", "mixed_bfloat16")),
    ("data.name = 'dsprits'", ("'dsprits'", "did you mean 'dsprites'")),
    ("data.source = 'x'", ("'x'", "synthetic")),
    ("data.limit = 0", ("0", "1 or more")),
    ("data.options = {'x': 1}", ("unknown option 'x'", "levels")),
    ("data.options = {'levels': 'a'}", ("levels is 'a'", "a tuple of an integer")),
    ("data.augmentation = 'flips'", ("models of pairs",)),
    ("evaluation.metrics = 'mig'", ("'mig'", "a tuple of a text")),
    ("evaluation.metrics = ('nope',)", ("'nope'", "allowed")),
    ("traversal.low = 3", ("give both of them",)),
    ("traversal.frames_per_second = 60", ("is 60", "1 to 50")),
    ("generation.images = 1000000000000", ("1000000000000", "1 to")),
    ("import os", ("'import' is not allowed",)),
    ("from os import path", ("'import' is not allowed",)),
    ("include 'nope.gin'", ("nope.gin",)),
)


def _gin_files() -> list[tuple[tuple[str, ...], dict[str, Content]]]:
    def imported() -> bytes:
        return b"import proof_of_import\n"

    return [
        (("experiment.name is not set",), {"a.gin": b""}),
        (("no text", "gin/"), {"a.gin": b"\xff\xfe\x00"}),
        (("includes itself",), {"a.gin": b"include 'a.gin'\n"}),
        (("b.gin",), {"a.gin": b"include 'b.gin'\n"}),
        (("brackets",), {"a.gin": b"x = " + b"[" * 3000}),
        (("experiment.model is not set",), {"a.gin": b"experiment.name = 'x'\n"}),
        (
            ("'import' is not allowed", "line 1"),
            {"a.gin": imported, "proof_of_import.py": b"import os; os.mkdir('proof')"},
        ),
        (("is not there", "gin/ibgan.gin"), {"b.gin": b""}),
        (("is not there", "gin/ibgan.gin"), {"a.gin": None}),
    ]
