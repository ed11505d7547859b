"""Checkpoints: the last few, the best, and snapshots; restoring falls back to an older one if the newest is damaged."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from common.errors import UserError, near_matches
from common.output import say
from models.base import DisentanglementModel


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: where they are kept: `last/`, `best/` and one folder per snapshot below it.
        model: a configured model; its optimizers are saved too.
        keep: how many of the last ones are kept.
        state: further objects to save, by name.
        lower_is_better: whether the best is the one with the lowest score.
    """

    def __init__(
        self,
        folder: Path,
        model: DisentanglementModel,
        keep: int,
        state: dict[str, Any] | None = None,
        lower_is_better: bool = False,
    ) -> None:
        optimizers = {f"optimizer_{name}": player.optimizer for name, player in model.players.items()}
        self._lower_is_better = lower_is_better
        self._best_score = tf.Variable(self._worst, dtype=tf.float64)
        self._checkpoint = tf.train.Checkpoint(model=model, best_score=self._best_score, **optimizers, **(state or {}))
        self._model, self._folder = model, folder
        self._keep = keep
        self._saved_step: int | None = None
        _refuse_damaged_list(folder / "last")
        self._last = tf.train.CheckpointManager(self._checkpoint, str(folder / "last"), max_to_keep=keep)
        self._best = self._single("best")
        self._snapshots = {name: self._single(name) for name in model.snapshots}

    def _single(self, name: str) -> tf.train.CheckpointManager:
        _refuse_damaged_list(self._folder / name)
        return tf.train.CheckpointManager(self._checkpoint, str(self._folder / name), max_to_keep=1)

    @property
    def _worst(self) -> float:
        return math.inf if self._lower_is_better else -math.inf

    @property
    def step(self) -> int:
        """The model's step."""
        return int(self._model.step.numpy())

    def save(self) -> None:
        """Saves the present state; nothing if this step is saved already."""
        if self._saved_step == self.step:
            return
        self._last.save(checkpoint_number=self.step)
        self._saved_step = self.step

    def save_if_best(self, score: float) -> bool:
        """Saves the present state as the best if `score` beats all earlier ones; tells whether it did."""
        best = float(self._best_score.numpy())
        if not (score < best if self._lower_is_better else score > best):
            return False
        self._best_score.assign(score)
        self._best.save(checkpoint_number=self.step)
        return True

    def restore(self) -> int | None:
        """Restores the newest whole checkpoint; a damaged one stays until its step is saved again.

        Returns:
            its step, or None if there is none.

        Raises:
            UserError: a whole checkpoint of another model.
        """
        self._saved_step = self._restore_newest(self._last)
        return self._saved_step

    def tidy(self) -> None:
        """Removes what killed processes have left: half-written files, and checkpoints that should be gone already.

        Only for the process that trains: the half-written files of a living one look the same.
        """
        for manager, keep in ((self._last, self._keep), (self._best, 1), *((s, 1) for s in self._snapshots.values())):
            folder = Path(manager.directory)
            for pattern in ("*_temp", "*.tempstate*", "checkpoint.tmp*"):
                for path in folder.glob(pattern):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            for name in (Path(prefix).name for prefix in manager.checkpoints[:-keep]):
                # What was restored because all later ones are damaged stays until the next one is saved.
                for path in folder.glob(f"{name}.*") if name != f"ckpt-{self._saved_step}" else ():
                    path.unlink()

    def save_snapshot(self, name: str) -> None:
        """Saves the present state as one of the model's `snapshots`."""
        self._snapshots[name].save(checkpoint_number=self.step)

    def _restore_newest(self, manager: tf.train.CheckpointManager) -> int | None:
        step = _restore_newest(self._checkpoint, _listed(Path(manager.directory)))
        if step is not None and not math.isfinite(float(self._best_score.numpy())):
            # Nothing was the best when it was saved, perhaps by a run that took higher scores for better.
            self._best_score.assign(self._worst)
        return step


def _refuse_damaged_list(folder: Path) -> None:
    """TensorFlow keeps a list of the checkpoints of a folder; what it cannot read it takes for none, or fails."""
    path = folder / "checkpoint"
    try:
        damaged = path.is_file() and tf.train.get_checkpoint_state(str(folder)) is None
    except ValueError:
        damaged = True
    if damaged:
        raise UserError(f"{path} is damaged; copy it again, or remove the run folder and train again")


def restore_weights(folder: Path, model: DisentanglementModel, name: str = "last") -> int | None:
    """Restores a model from the newest whole checkpoint of a name, its optimizers left alone; writes nothing.

    Args:
        folder: of the run's checkpoints.
        model: with the options of that run.
        name: `last`, `best`, or one of the model's `snapshots`.

    Returns:
        its step, or None if there is none.

    Raises:
        UserError: an unknown name, or a whole checkpoint of another model.
    """
    known = ["last", "best", *model.snapshots]
    if name not in known:
        raise UserError(f"checkpoint is {name!r}{near_matches(name, known)}")
    _refuse_damaged_list(folder / name)
    return _restore_newest(tf.train.Checkpoint(model=model), _listed(folder / name))


def _listed(folder: Path) -> list[str]:
    """The checkpoints of a folder, oldest first; TensorFlow's manager forgets those that are younger than the clock."""
    state = tf.train.get_checkpoint_state(str(folder))
    return [] if state is None else list(state.all_model_checkpoint_paths)


def _restore_newest(checkpoint: tf.train.Checkpoint, paths: Sequence[str]) -> int | None:
    """Restores the last whole one of some checkpoints; returns its step, None if there is none."""
    for path in reversed(paths):
        step = path.rsplit("-", 1)[-1]
        if not step.isdigit() or not _is_whole(path):
            say(f"checkpoint {path} is damaged; trying the one before")
            continue
        try:
            checkpoint.restore(path).assert_existing_objects_matched().expect_partial()
        except (AssertionError, ValueError):
            raise UserError(
                f"checkpoint {path} is of another model; give the options of that run, or choose another --run_dir"
            ) from None
        return int(step)
    return None


def _is_whole(path: str) -> bool:
    """Reads all of a checkpoint, which checks its checksums, so that a damaged one is never restored in part."""
    try:
        reader = tf.train.load_checkpoint(path)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except Exception:
        # TensorFlow has many names for damage: DataLossError, NotFoundError, IndexError, ValueError.
        return False
    return True
