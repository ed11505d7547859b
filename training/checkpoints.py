"""Checkpoints: the last few, and the best; restoring falls back to an older one if the newest is damaged."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import tensorflow as tf

from common.output import say
from models.base import DisentanglementModel


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: where they are kept: `last/` and `best/` below it.
        model: a configured model; its optimizers are saved too.
        keep: how many of the last ones are kept.
        state: further objects to save, by name.
    """

    def __init__(
        self, folder: Path, model: DisentanglementModel, keep: int, state: dict[str, Any] | None = None
    ) -> None:
        optimizers = {f"optimizer_{name}": player.optimizer for name, player in model.players.items()}
        self._best_score = tf.Variable(float("-inf"), dtype=tf.float64)
        self._checkpoint = tf.train.Checkpoint(model=model, best_score=self._best_score, **optimizers, **(state or {}))
        self._model = model
        self._last = tf.train.CheckpointManager(self._checkpoint, str(folder / "last"), max_to_keep=keep)
        self._best = tf.train.CheckpointManager(self._checkpoint, str(folder / "best"), max_to_keep=1)

    @property
    def step(self) -> int:
        """The model's step."""
        return int(self._model.step.numpy())

    def save(self) -> None:
        """Saves the present state; nothing if this step is saved already."""
        if self._last.latest_checkpoint and _step_of(self._last.latest_checkpoint) == self.step:
            return
        self._last.save(checkpoint_number=self.step)

    def save_if_best(self, score: float) -> bool:
        """Saves the present state as the best if `score` beats all earlier ones; tells whether it did."""
        if score <= float(self._best_score.numpy()):
            return False
        self._best_score.assign(score)
        self._best.save(checkpoint_number=self.step)
        return True

    def restore(self) -> int | None:
        """Restores the newest whole checkpoint.

        Returns:
            its step, or None if there is none.
        """
        for path in reversed(self._last.checkpoints):
            if _restored(self._checkpoint, path):
                self._drop_newer(_step_of(path))
                return _step_of(path)
            say(f"checkpoint {path} is damaged; trying the one before")
        return None

    def restore_best(self) -> int | None:
        """Restores the best checkpoint; see `restore`."""
        path = self._best.latest_checkpoint
        return _step_of(path) if path and _restored(self._checkpoint, path) else None

    def _drop_newer(self, step: int) -> None:
        """Forgets what a damaged or overtaken attempt left behind this step, so that it is computed again."""
        if self._last.latest_checkpoint and _step_of(self._last.latest_checkpoint) == step:
            return
        folder = Path(self._last.directory)
        for file in folder.glob("ckpt-*"):
            if file.is_dir():
                shutil.rmtree(file)
            elif int(file.name.split("-")[1].split(".")[0]) > step:
                file.unlink()
        kept = [path for path in self._last.checkpoints if _step_of(path) <= step]
        tf.train.update_checkpoint_state(str(folder), kept[-1], all_model_checkpoint_paths=kept)
        self._last = tf.train.CheckpointManager(self._checkpoint, str(folder), max_to_keep=len(kept) + 1)


def _step_of(path: str) -> int:
    return int(path.rsplit("-", 1)[1])


def _restored(checkpoint: tf.train.Checkpoint, path: str) -> bool:
    try:
        checkpoint.restore(path).assert_existing_objects_matched()
    except (tf.errors.OpError, AssertionError, ValueError):
        return False
    return True
