"""How far a member of a sweep is, read from its folder alone."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common.errors import UserError
from training.configuration import differences
from training.run_folder import RunFolder, read_json

TOTAL_STEPS = "experiment.total_steps"


@dataclass(frozen=True)
class State:
    """How far a member is.

    Args:
        name: `finished`, `unfinished` (it has begun) or `waiting`.
        step, total_steps: of its newest checkpoint, and of its end.
        result: what `result.json` says, if it is finished.
    """

    name: Literal["finished", "unfinished", "waiting"]
    step: int
    total_steps: int
    result: Mapping[str, Any] | None = None

    def describe(self) -> str:
        """In words for people."""
        if self.name == "unfinished":
            return f"unfinished: step {self.step:,} of {self.total_steps:,}"
        return self.name


def state_of(path: Path, options: Mapping[str, Any]) -> State:
    """The state of a member.

    Args:
        path: its run folder.
        options: its options by dotted names. A run of other options does not count as this member's.
    """
    folder, total_steps = RunFolder(path), int(options[TOTAL_STEPS])
    if not folder.options_file.is_file() or differences(folder.read_options(), options):
        return State("waiting", 0, total_steps)
    step = folder.steps_done()
    result = path / "result.json"
    if result.is_file() and folder.report.is_file():
        # A damaged one is made again, as an unfinished member is.
        with contextlib.suppress(UserError):
            kept = read_json(result)
            # Also after total_steps was raised the older result is still there.
            if kept.get("step") == total_steps:
                return State("finished", total_steps, total_steps, kept)
    return State("unfinished", step, total_steps)
