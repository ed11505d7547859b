"""Sweeps: many runs of one experiment from one command, resumable as a whole, on one machine or spread over many."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from common.errors import UserError
from common.locks import locked
from common.output import answer, say
from training.configuration import differences, flatten, load, resolved
from training.options import Configuration
from training.run_folder import RunFolder
from training.sweep_plan import (
    Bindings,
    Member,
    Plan,
    members_of,
    parse_seeds,
    parse_sweep,
    product,
    read_plan,
    with_seeds,
    write_plan,
)
from training.sweep_states import state_of
from training.sweep_summary import print_summary, write_summary
from training.sweep_workers import check_parallel, run_members
from training.train import train


@dataclass(frozen=True)
class SweepFlags:
    """What the command line says of a sweep.

    Args:
        gin_files, gin_params: as for one run.
        run_dir: the sweep's folder; None: `runs/sweep_` and the experiment's name.
        sweep: texts of `--sweep`.
        seeds: text of `--seeds`.
        index: run only this member, in this process.
        dry_run: only list the members.
        summarize: only summarize what is there.
        parallel: how many members at once; None: as many as there are GPUs, or one.
    """

    gin_files: Sequence[str]
    gin_params: Sequence[str]
    run_dir: str | None
    sweep: Sequence[str]
    seeds: str | None
    index: int | None = None
    dry_run: bool = False
    summarize: bool = False
    parallel: int | None = None


def leave_gpus_to_members() -> None:
    """Keeps this process, which only starts others, from taking memory on GPUs; call it before anything is computed."""
    with contextlib.suppress(RuntimeError):
        tf.config.set_visible_devices([], "GPU")


def run_sweep(flags: SweepFlags) -> int:
    """Plans a sweep and does with it what the flags say.

    Returns:
        the exit code: 0, 1 if a member failed, 128 plus the signal that stopped it.

    Raises:
        UserError: anything in the input that cannot be; before the first member starts.
    """
    if flags.summarize and not flags.sweep and not flags.seeds:
        return _summarize_folder(flags.run_dir)
    plan, kept, folder = _plan(flags)
    if flags.summarize and kept is None:
        raise UserError(f"{folder} holds no sweep yet; start it, or give the folder in which sweep.json is")
    _refuse_other_runs(plan, folder)
    if flags.index is not None and not 0 <= flags.index < len(plan.members):
        raise UserError(f"--sweep_index is {flags.index}; this sweep has the members 0 to {len(plan.members) - 1}")
    if flags.parallel is not None:
        check_parallel(flags.parallel)
    if flags.dry_run:
        return _list_members(plan, folder)
    _keep(plan, kept, folder)
    if flags.index is not None:
        return _run_one(plan, folder, flags)
    if flags.summarize:
        return _summarize(plan, folder)
    outcome = run_members(plan, folder, flags.gin_files, flags.gin_params, flags.parallel)
    if outcome.signal is not None:
        say("stopped; the same command goes on from there")
        return 128 + outcome.signal
    summary = write_summary(plan, folder)
    print_summary(summary)
    for name, reason in outcome.failed.items():
        say(f"failed: {name}: {reason}")
    answer({**summary, "failed": list(outcome.failed)})
    return 1 if outcome.failed else 0


def _plan(flags: SweepFlags) -> tuple[Plan, Plan | None, Path]:
    """The plan with every member's configuration checked, the plan that the folder has, and the sweep's folder."""
    axes = with_seeds(parse_sweep(flags.sweep), parse_seeds(flags.seeds) if flags.seeds else ())
    combinations = product(axes)
    first = _configuration(flags, combinations[0])
    folder = Path(flags.run_dir or Path("runs") / f"sweep_{first.experiment.name}")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file where a folder was expected; choose another --run_dir")
    kept = read_plan(folder)
    if kept is None and folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise UserError(f"{folder} is not empty and no folder of a sweep; choose another --run_dir")
    members = members_of(combinations, kept.members if kept else ())
    options = [_options(_configuration(flags, member.bindings, member.index)) for member in members]
    _refuse_twins(members, options)
    plan = Plan(first.experiment.name, tuple(flags.gin_files), tuple(flags.gin_params), tuple(members), tuple(options))
    if kept is not None:
        _refuse_another_plan(kept, plan, folder)
    return plan, kept, folder


def _configuration(flags: SweepFlags, bindings: Bindings, index: int = 0) -> Configuration:
    """The configuration of one member, with its number in the message if it cannot be."""
    added = [f"{key} = {value}" for key, value in bindings.items()]
    try:
        return load(flags.gin_files, [*flags.gin_params, *added])[0]
    except UserError as error:
        if not added:
            raise
        raise UserError(f"member {index} of the sweep ({', '.join(added)}): {error}") from None


def _options(configuration: Configuration) -> dict[str, Any]:
    """All options by dotted names, as JSON gives them back."""
    return json.loads(json.dumps(flatten(resolved(configuration))))


def _refuse_twins(members: Sequence[Member], options: Sequence[dict[str, Any]]) -> None:
    seen: dict[str, Member] = {}
    for member, values in zip(members, options, strict=True):
        other = seen.setdefault(json.dumps(values, sort_keys=True), member)
        if other is not member:
            raise UserError(
                f"members {other.index} ({other.label}) and {member.index} ({member.label}) of the sweep are the same "
                "run; leave one of the values out"
            )


def _refuse_another_plan(kept: Plan, plan: Plan, folder: Path) -> None:
    """Members that the folder has must mean what they meant; a gin file may have been edited since."""
    for member, old, new in zip(kept.members, kept.options, plan.options, strict=False):
        if changed := differences(old, new):
            raise UserError(
                f"{folder} holds another sweep: for its member {member.index}, {'; '.join(changed)}. "
                "Choose another --run_dir, or give the options of that sweep"
            )


def _refuse_other_runs(plan: Plan, folder: Path) -> None:
    for member, options in zip(plan.members, plan.options, strict=True):
        run = RunFolder(folder / member.name)
        if run.options_file.is_file() and (changed := differences(run.read_options(), options)):
            raise UserError(
                f"{run.path} holds a run of another configuration: {'; '.join(changed)}. "
                "Choose another --run_dir, or remove that run"
            )


def _keep(plan: Plan, kept: Plan | None, folder: Path) -> None:
    """Writes the plan. Several machines may do so at once: equal plans are written once, and each file is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, wait=True):
        if read_plan(folder) not in (kept, plan):
            raise UserError(f"another command has just changed the plan in {folder}; give this one again")
        write_plan(folder, plan)


def _list_members(plan: Plan, folder: Path) -> int:
    states = [state_of(folder / m.name, options) for m, options in zip(plan.members, plan.options, strict=True)]
    say(f"{len(plan.members)} members in {folder}; all configurations are right, nothing was started or written")
    for member, state in zip(plan.members, states, strict=True):
        say(f"{member.index:>4}  {member.label}  ->  {folder / member.name}  ({state.describe()})")
    answer(
        {
            "run_dir": str(folder),
            "members": [
                {
                    "index": member.index,
                    "bindings": dict(member.bindings),
                    "run_dir": str(folder / member.name),
                    "state": state.name,
                }
                for member, state in zip(plan.members, states, strict=True)
            ],
        }
    )
    return 0


def _run_one(plan: Plan, folder: Path, flags: SweepFlags) -> int:
    index = flags.index or 0
    member = plan.members[index]
    say(f"member {index} of {len(plan.members)}: {member.label}")
    configuration, text = load(flags.gin_files, [*flags.gin_params, *member.gin_bindings])
    return train(configuration, text, list(flags.gin_files), folder / member.name)


def _summarize_folder(run_dir: str | None) -> int:
    if not run_dir:
        raise UserError("--summarize needs the sweep: its --run_dir, or the command that started it")
    plan = read_plan(Path(run_dir))
    if plan is None:
        raise UserError(f"{run_dir} holds no sweep; give the folder in which sweep.json is")
    return _summarize(plan, Path(run_dir))


def _summarize(plan: Plan, folder: Path) -> int:
    summary = write_summary(plan, folder)
    print_summary(summary)
    answer(summary)
    return 0
