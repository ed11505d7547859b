"""Kills every kind of command at random moments, gives it again until it ends, and compares what it leaves.

  python -m benchmarks.kill_campaign --kills=100 --seed=0             everything (an hour on one core)
  python -m benchmarks.kill_campaign --only=data,ibgan --kills=20     kinds of scenarios, or single ones, by name
  python -m benchmarks.kill_campaign --list                           the scenarios
  python -m benchmarks.kill_campaign --write                          puts the table into docs/reliability.md, too

Each scenario first runs undisturbed, which gives its duration and its result. Then follow sequences: a fresh folder,
one to five times the command and `kill -9` of its whole process group at a random moment, at last the command to its
end.
Moments are drawn from the undisturbed duration: over all of it, in its beginning (log uniform), after the first sign
of work (the command's first word, or the first change in its folder), or at the n-th change in the folder, in the
middle of whatever is being written. For later starts of a sequence the duration is what is left of the work.

After each kill no file under its final name may be half-written. After the end the last line on standard output, all
tensors of all checkpoints, metrics.jsonl and every other file that is a function of the configuration must be those of
the undisturbed run, no file more and none less, and nothing temporary may be left. Anything else is a line
`FAILED` with scenario, seed and moments, and exit code 1; the folder is kept then. Programs that are busy on the same
cores do no harm: slower runs are only killed earlier in their work. The last line printed is the result as JSON.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.kill_scenarios import KINDS, Scenario, scenarios, write_inputs
from benchmarks.kill_sequences import Campaign, Tally
from benchmarks.pages import row, write_section
from benchmarks.turns import ROOT, processor, versions_of
from common.arguments import CommandParser
from common.cores import available_cores
from common.errors import UserError, near_matches, run_command
from common.files import write_text
from common.output import say
from common.progress import progress

PAGE = Path("docs") / "reliability.md"
_FOLDER_HELP = "for working files; the same command goes on in it (default: a temporary one, kept on a failure)"
PACKAGES = ("tensorflow", "keras", "numpy")


def shares(kills: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Divides kills in proportion to weights, so that the shares add up; names with a share of 0 are left out."""
    total = sum(weights.values())
    bounds, done = [], 0
    for weight in weights.values():
        done += weight
        bounds.append(round(kills * done / total))
    found = {name: stop - start for name, start, stop in zip(weights, [0, *bounds], bounds, strict=False)}
    return {name: share for name, share in found.items() if share}


def chosen(only: str | None) -> dict[str, Scenario]:
    """The scenarios that `--only` names, by kind or by name; all without it.

    Raises:
        UserError: an unknown name.
    """
    known = scenarios()
    if only is None:
        return known
    names = [name.strip() for name in only.split(",") if name.strip()]
    for name in names:
        if name not in KINDS and name not in known:
            raise UserError(f"--only names {name!r}{near_matches(name, [*KINDS, *known])}")
    found = {name: one for name, one in known.items() if name in names or one.kind in names}
    if not found:
        raise UserError(f"--only={only} names nothing; give some of: {', '.join((*KINDS, *known))}")
    return found


def parser() -> CommandParser:
    """The command line."""
    description, _, rest = (__doc__ or "").partition("\n\n")
    result = CommandParser("python -m benchmarks.kill_campaign", description, rest)
    result.add_argument("--kills", type=int, default=100, metavar="N", help="how many in all (default: 100)")
    result.add_argument("--seed", type=int, default=0, metavar="N", help="of the moments (default: 0)")
    result.add_argument("--only", metavar="NAME,NAME", help=f"kinds ({', '.join(KINDS)}) or scenarios (default: all)")
    result.add_argument("--folder", type=Path, help=_FOLDER_HELP)
    result.add_argument("--write", action="store_true", help="write the table into docs/reliability.md, too")
    result.add_argument("--list", action="store_true", help="list the scenarios and stop")
    return result


_HEAD = """# Reliability

What happens to runs that are killed: every kind of command was killed at random moments by `kill -9`, given again, and
compared with a run that was never killed.
"""


def page_section(tallies: Mapping[str, Tally], result: Mapping[str, Any]) -> str:
    """The campaign as a section of the page.

    Args:
        tallies: scenario to what happened.
        result: the machine, the versions and so on, as `main` collects them.
    """
    kills = sum(tally.kills for tally in tallies.values())
    before = sum(tally.before for tally in tallies.values())
    at_writes = sum(tally.at_writes for tally in tallies.values())
    failures = [line for tally in tallies.values() for line in tally.failures]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines = [
        "## Kills at random moments",
        "",
        f"{kills} kills in {sum(tally.sequences for tally in tallies.values())} sequences, {before} of them before the "
        f"command's first sign of work, {kills - before} at work, of which {at_writes} right at a change in its "
        "folder: "
        f"**{len(failures) or 'no'} failure{'' if len(failures) == 1 else 's'}**.",
        "",
        f"{result['date']}; {result['processor']['name']}, {result['cores_used']} of {result['processor']['cores']} "
        f"cores; Python {result['python']}, {versions}; seed {result['seed']}.",
        "",
        f"Command: `{result['command']}` (`--help` says how it works; another `--seed` draws other moments).",
        "",
        "A sequence is a fresh folder, up to five kills of the same command in a row, and the command once more to its "
        "end. Moments are drawn from the duration of the undisturbed run; half of the kills take also processes that "
        "the command has put into groups of their own, such as members of a sweep. Then must hold:",
        "",
        "* after every kill: no file under its final name is half-written; JSON, arrays, archives, pictures, "
        "checkpoints, shards and reports are all read whole",
        "* after the end: exit code 0, and the same last line on standard output (of a training: the scores and the "
        "fingerprint of the weights)",
        "* `metrics.jsonl`, pictures, shards, arrays and all other files that are functions of the configuration are "
        "the undisturbed run's byte for byte; of checkpoints and Keras files every tensor is, optimizers included; no "
        "file is missing, none is left over, no temporary one either",
        "",
        "Times, versions and what is derived from them (`timing.jsonl`, `environment.json`, `report.html`, logs, "
        "TensorBoard events, the graphs of SavedModels) are not compared; they must be there, and JSON, HTML and "
        "graphs whole.",
        "",
        row(["scenario", "undisturbed", "kills", "before work", "at work", "at a write", "sequences", "verdict"]),
        row(["---", "--:", "--:", "--:", "--:", "--:", "--:", "---"]),
    ]
    for tally in tallies.values():
        numbers = (tally.kills, tally.before, tally.kills - tally.before, tally.at_writes, tally.sequences)
        verdict = f"{len(tally.failures)} FAILED" if tally.failures else "the same"
        lines.append(row([tally.about, f"{tally.seconds:.0f} s", *map(str, numbers), verdict]))
    late = sum(tally.too_late for tally in tallies.values())
    lines += ["", f"{late} more times the command, gone on from where it was, ended before its moment came."]
    return "\n".join([*lines, ""])


def _conditions(options: Any) -> dict[str, Any]:
    """The machine, the versions, the command."""
    words = ["python -m benchmarks.kill_campaign", f"--kills={options.kills}", f"--seed={options.seed}"]
    words += [f"--only={options.only}"] if options.only else []
    return {
        "date": datetime.date.today().isoformat(),
        "command": " ".join(words),
        "seed": options.seed,
        "processor": processor(),
        "cores_used": available_cores(),
        "python": platform.python_version(),
        "versions": versions_of(PACKAGES),
    }


def _run_all(wanted: Mapping[str, Scenario], base: Path, kills: int, seed: int) -> Iterator[tuple[str, Tally]]:
    """Scenario by scenario; those that are finished in the folder are not run again."""
    share = shares(kills, {name: scenario.weight for name, scenario in wanted.items()})
    bar = progress(range(sum(share.values())), "killing", unit="kill")
    for name, count in share.items():
        record = base / name / "tally.json"
        asked = {"seed": seed, "kills": count}
        tally = _kept(record, asked)
        if tally is None:
            tally = _run_one(scenarios()[name], base, count, seed, lambda: next(bar, None))
            write_text(record, json.dumps({"asked": asked, "tally": asdict(tally)}) + "\n")
        else:
            say(f"{name}: finished before")
            for _ in zip(range(tally.kills), bar, strict=False):
                pass
        for line in tally.failures:
            print(f"FAILED {line}", flush=True)
        yield name, tally
    next(bar, None)


def _kept(record: Path, asked: Mapping[str, int]) -> Tally | None:
    """What an earlier campaign in the same folder has found, if it was asked the same."""
    if not record.is_file():
        return None
    kept = json.loads(record.read_text(encoding="utf-8"))
    return Tally(**kept["tally"]) if kept["asked"] == asked else None


def _run_one(scenario: Scenario, base: Path, kills: int, seed: int, tell: Callable[[], object]) -> Tally:
    """One scenario; those that it begins with are run undisturbed first, unless they have been."""
    known = scenarios()
    try:
        for needed in sorted(scenario.needs):
            if not (base / needed / "undisturbed").is_dir():
                say(f"{needed}: undisturbed")
                Campaign(known[needed], base, seed).run_undisturbed()
        campaign = Campaign(scenario, base, seed)
        expected = campaign.run_undisturbed()
        about = f"{expected.seconds:.1f} s undisturbed, work from {expected.work_seconds:.1f} s on"
        say(f"{scenario.name}: {about}; kills: {kills}")
        return campaign.kill(kills, tell)
    except UserError as error:
        return Tally(scenario.about, 0.0, failures=[str(error)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the campaign; exit code 1 if anything differs."""
    options = parser().parse_args(arguments)
    wanted = chosen(options.only)
    if options.list:
        for name, scenario in wanted.items():
            print(f"{name:14} {scenario.kind:9} {scenario.about}")
        return 0
    if options.kills < 1:
        raise UserError(f"--kills is {options.kills}; give a number of at least 1")
    if not hasattr(os, "killpg"):
        raise UserError("this system has no process groups, which the campaign kills; run it on Linux or macOS")
    base = (options.folder or Path(tempfile.mkdtemp(prefix="spout_kills_"))).resolve()
    write_inputs(base / "inputs")
    tallies = dict(_run_all(wanted, base, options.kills, options.seed))
    result = _conditions(options)
    if options.write:
        write_section(ROOT / PAGE, "kill campaign", page_section(tallies, result), _HEAD)
        say(f"wrote {PAGE}")
    failures = [line for tally in tallies.values() for line in tally.failures]
    if failures:
        say(f"{len(failures)} failures; everything is kept in {base}")
    elif options.folder is None:
        shutil.rmtree(base)
    print(json.dumps({**result, "scenarios": {name: asdict(tally) for name, tally in tallies.items()}}))
    return 1 if failures else 0


if __name__ == "__main__":
    run_command(main)
