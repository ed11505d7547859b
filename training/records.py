"""What a run writes down while it trains: `metrics.jsonl`, TensorBoard events, the status line; all from one record.

`metrics.jsonl` holds only what is a function of the configuration, so that a killed and restarted run leaves the same
file. Times go to `timing.jsonl`. On a restart both are cut back to the checkpoint, and the TensorBoard events are
written anew from them.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams
from tqdm import tqdm

from common.files import write_text
from common.output import say

Record = Mapping[str, Any]


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON-lines file, up to a line that is none: the last one, if a kill cut it off."""
    if not path.is_file():
        return []
    records: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(record, dict) or type(record.get("step")) is not int:
            break
        records.append(record)
    return records


class Records:
    """Writes the records of one run.

    Args:
        folder: the run folder.
        start_step: the step that training goes on from; later records of an earlier attempt are dropped, and all
            of them with None, a start from nothing.
        total_steps: for the progress bar.
        hyper_parameters: option name to value, for TensorBoard's HParams.
        quiet: no status line (workers other than the first).
    """

    def __init__(
        self,
        folder: Path,
        start_step: int | None,
        total_steps: int,
        hyper_parameters: Mapping[str, Any],
        quiet: bool = False,
    ) -> None:
        self._metrics = folder / "metrics.jsonl"
        self._timing = folder / "timing.jsonl"
        events = folder / "events"
        for path in (self._metrics, self._timing):
            kept = [record for record in read_records(path) if start_step is not None and record["step"] <= start_step]
            write_text(path, "".join(json.dumps(record) + "\n" for record in kept))
        shutil.rmtree(events, ignore_errors=True)
        self._writer = tf.summary.create_file_writer(str(events))
        self._write_hyper_parameters(hyper_parameters)
        for path in (self._metrics, self._timing):
            for record in read_records(path):
                self._to_events(record)
        self._quiet = quiet
        self._bar = self._progress_bar(start_step or 0, total_steps)

    def _progress_bar(self, start_step: int, total_steps: int) -> tqdm | None:
        if self._quiet or not sys.stderr.isatty():
            return None
        return tqdm(total=total_steps, initial=start_step, unit="step", dynamic_ncols=True, file=sys.stderr)

    def _write_hyper_parameters(self, values: Mapping[str, Any]) -> None:
        plain = {
            name: value if isinstance(value, bool | int | float | str) else str(value) for name, value in values.items()
        }
        with self._writer.as_default():
            hparams.hparams(plain)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one record of results; `values` are plain numbers by name."""
        self._append(self._metrics, {"step": step, **values})

    def write_timing(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one record of times."""
        self._append(self._timing, {"step": step, **values})

    def _append(self, path: Path, record: Record) -> None:
        with open(path, "a", encoding="utf-8") as handle:
            handle.write(json.dumps(record) + "\n")
        self._to_events(record)

    def _to_events(self, record: Record) -> None:
        with self._writer.as_default():
            for name, value in record.items():
                if name != "step" and isinstance(value, int | float) and math.isfinite(value):
                    tf.summary.scalar(name, value, step=record["step"])

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """Adds a picture, uint8 `[height, width, 3]`, to the TensorBoard events."""
        with self._writer.as_default():
            tf.summary.image(name, image[None], step=step)

    def status(self, step: int, values: Mapping[str, float], steps_per_second: float) -> None:
        """Moves the progress bar on a terminal; prints a line elsewhere."""
        if self._quiet:
            return
        shown = "  ".join(f"{name.rsplit('/', 1)[-1]} {value:8.4f}" for name, value in values.items())
        if self._bar is not None:
            self._bar.update(step - self._bar.n)
            self._bar.set_postfix_str(shown, refresh=True)
            return
        clock = time.strftime("%H:%M:%S")
        say(f"{clock}  step {step:>8}  {steps_per_second:7.2f} steps/s  {shown}")

    def say(self, message: str) -> None:
        """A line for people, above the progress bar if there is one."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.write(message, file=sys.stderr)
        else:
            say(message)

    def close(self) -> None:
        """Flushes everything to disk."""
        self._writer.close()
        if self._bar is not None:
            self._bar.close()


def series(records: Iterable[Record], prefix: str) -> dict[str, tuple[list[int], list[float]]]:
    """The curves of all values whose name starts with `prefix`: name to (steps, values)."""
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for record in records:
        for name, value in record.items():
            if name.startswith(prefix) and isinstance(value, int | float):
                steps, values = curves.setdefault(name, ([], []))
                steps.append(record["step"])
                values.append(value)
    return curves
