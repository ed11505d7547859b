"""The mode train: the loop with everything that happens between its chunks, resumed where it stopped."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import tensorflow as tf

from common.errors import UserError
from common.files import made_folder, write_text
from common.locks import locked
from common.output import answer, say
from common.progress import encoding_line
from data_gen.pairs import PairedDataset
from metrics.registry import lower_is_better
from models.pairs import PairModel
from training import pictures
from training.checkpoints import Checkpoints
from training.configuration import flatten, resolved
from training.environment import describe_environment
from training.evaluation import Evaluator, Scores, recorded_values, score_values, value_of
from training.experiment import Experiment, build
from training.loop import NotFinite
from training.options import Configuration
from training.pair_export import AT_THE_END, write_pairs
from training.pair_grids import PAIR_SHEETS, PairPainter
from training.records import Records
from training.run_folder import RunFolder, read_json
from training.start_from import Origin, take_over
from training.summary import snapshot_values, write_summary
from training.traversal import Painter, write_traversals


class Stop:
    """Notes SIGINT and SIGTERM, for the loop to end cleanly after the chunk; a second one ends at once."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within this context the two signals are noted."""
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def train(configuration: Configuration, gin_text: str, gin_files: list[str], run_dir: str | Path) -> int:
    """Trains, or goes on training, or only repeats the result of a finished run.

    Args:
        configuration: what to do.
        gin_text: gin text of it, for the run folder.
        gin_files: the files as given, likewise.
        run_dir: the run folder.

    Returns:
        the exit code: 0, or 128 plus the signal that stopped it, or 1 if the training diverged.

    Raises:
        UserError: anything in the input that cannot be.
    """
    experiment = build(configuration)
    # All that the user may have to mend comes before the folder is claimed for this configuration.
    evaluator = Evaluator(experiment)
    evaluator.refuse_impossible(configuration.experiment.best_metric)
    chief = _is_chief(experiment)
    folder = RunFolder(run_dir if chief else Path(run_dir) / f".worker_{_worker_index(experiment)}")
    origin = None
    if configuration.experiment.start_from is not None and not folder.has_checkpoint:
        origin = take_over(experiment)
    folder.refuse_file()
    try:
        # Locked before it is claimed: a command that is refused must not change the options of the one that trains.
        with made_folder(folder.path), locked(folder.path, wait=False):
            folder.claim(configuration, gin_text, gin_files, experiment.dataset.source)
            return _train_in(experiment, evaluator, folder, chief, origin)
    except BlockingIOError:
        raise UserError(f"another process trains in {folder.path}; wait for it, or choose another --run_dir") from None


def _train_in(
    experiment: Experiment, evaluator: Evaluator, folder: RunFolder, chief: bool, origin: Origin | None
) -> int:
    session = _Session(experiment, evaluator, folder, origin, quiet=not chief)
    stop = Stop()
    try:
        with stop.listening():
            finished = session.run(stop)
    except NotFinite as error:
        say(f"error: {error}; the last whole checkpoint is in {folder.checkpoints}")
        return 1
    finally:
        session.close()
    if not finished:
        session.records.say(f"stopped at step {session.loop.step}; the same command goes on from there")
        return 128 + (stop.signal or signal.SIGTERM)
    result = session.finish()
    if chief:
        answer(result)
    return 0


class _Session:
    """One attempt at a run, from its checkpoint to its end or the next kill."""

    def __init__(
        self, experiment: Experiment, evaluator: Evaluator, folder: RunFolder, origin: Origin | None, quiet: bool
    ) -> None:
        self.experiment, self.evaluator, self.folder = experiment, evaluator, folder
        self.options = experiment.configuration.experiment
        self.loop = experiment.loop()
        self.checkpoints = Checkpoints(
            folder.checkpoints,
            experiment.model,
            self.options.keep_checkpoints,
            {"means": self.loop.means},
            lower_is_better(self.options.best_metric or ""),
        )
        restored = self.checkpoints.restore()
        self.checkpoints.tidy()
        if restored is None and self.options.start_from is not None:
            origin = origin or take_over(experiment)
            origin.write(folder)
            # From here on the run goes on by itself, whatever becomes of the other one.
            self.checkpoints.save()
        # Whatever was written at step 0 is written again, for it may not be whole.
        self.start = start = restored or None
        self.loop.restart_data()
        self.environment = describe_environment(experiment.runtime)
        write_text(folder.path / "environment.json", json.dumps(self.environment, indent=2) + "\n")
        hyper_parameters = flatten(resolved(experiment.configuration))
        self.records = Records(folder.path, start, self.options.total_steps, hyper_parameters, quiet)
        self._replay_pictures(start)
        self.painter = Painter(experiment.model, experiment.configuration.traversal)
        self.pair_painter: PairPainter | None = None
        self._announce(start, origin)

    def _announce(self, start: int | None, origin: Origin | None) -> None:
        runtime, dataset = self.experiment.runtime, self.experiment.dataset
        where = "on the device" if self.loop.resident else "streamed"
        self.records.say(
            f"{self.options.name}: {dataset.name} ({dataset.source}, {dataset.num_examples:,} images, {where}); "
            f"{runtime.replicas} device(s), {runtime.precision}, XLA {'on' if runtime.xla else 'off'}, "
            f"chunks of {runtime.chunk_steps} steps; run folder {self.folder.path}"
        )
        if self.options.best_metric is not None and not self.options.evaluate_every:
            self.records.say(
                "note: experiment.best_metric chooses among measurements while training, and experiment.evaluate_every "
                "is 0: there will be no checkpoint best"
            )
        if start:
            self.records.say(f"going on from step {start}")
        elif origin is not None:
            self.records.say(f"starting from {origin}: {', '.join(origin.taken)}")

    def _replay_pictures(self, start: int | None) -> None:
        """Puts the sheets of earlier attempts into the new TensorBoard events; drops those after the checkpoint."""
        for path in sorted(self.folder.subfolder("training_pictures").glob("*.png")):
            name, _, step = path.stem.rpartition("_")
            if not step.isdecimal():
                # None of ours.
                continue
            if start is None or int(step) > start:
                path.unlink()
            else:
                self.records.picture(int(step), f"pictures/{name}", pictures.read_png(path))

    def run(self, stop: Stop) -> bool:
        """Trains to the end; False if a signal ended it earlier."""
        if self.start is None:
            self._events(0)
        while self.loop.step < self.options.total_steps:
            steps = min(self.experiment.runtime.chunk_steps, self._next_event() - self.loop.step)
            seconds = self.loop.run(steps)
            self._events(self.loop.step, steps, seconds)
            if stop.signal is not None and self.loop.step < self.options.total_steps:
                self.checkpoints.save()
                return False
        self.checkpoints.save()
        return True

    def _next_event(self) -> int:
        options, step = self.options, self.loop.step
        periods = (options.log_every, options.picture_every, options.checkpoint_every, options.evaluate_every)
        coming = [(step // period + 1) * period for period in periods if period]
        coming += [at for at in self.experiment.model.snapshots.values() if at > step]
        return min(options.total_steps, *coming)

    def _events(self, step: int, steps: int = 0, seconds: float = 0.0) -> None:
        """What is due at this step; the checkpoint comes last, so that all before it is done again after a kill."""
        options = self.options
        if step and (step % options.log_every == 0 or step == options.total_steps):
            self._log(step, steps / seconds if seconds else 0.0)
        if _due(step, options.picture_every):
            self._paint(step)
        if _due(step, options.evaluate_every):
            self._evaluate(step)
        for name, at in self.experiment.model.snapshots.items():
            if at == step:
                self._keep_snapshot(name)
        if step and _due(step, options.checkpoint_every):
            self.checkpoints.save()

    def _log(self, step: int, steps_per_second: float) -> None:
        means = self.loop.means.take()
        rates = {
            f"learning_rate/{name}": player.learning_rate for name, player in self.experiment.model.players.items()
        }
        self.records.write(step, {**means, **rates})
        self.records.write_timing(
            step,
            {
                "timing/steps_per_second": steps_per_second,
                "timing/images_per_second": steps_per_second * self.options.global_batch,
            },
        )
        shown = {name: means[name] for name in self.experiment.model.headline if name in means}
        self.records.status(step, shown, steps_per_second)

    def _paint(self, step: int) -> None:
        sheets = self._pair_sheets()
        if self.painter.draws:
            sheets |= self.painter.sheets()
        for name, sheet in sheets.items():
            pictures.save_png(sheet, self.folder.subfolder("training_pictures") / f"{name}_{step:09d}.png")
            self.records.picture(step, f"pictures/{name}", sheet)

    def _pair_sheets(self) -> dict[str, pictures.Picture]:
        """The sheets of a model of pairs of images; none of another one."""
        if self.pair_painter is None:
            model, dataset = self.experiment.model, self.experiment.dataset
            if not isinstance(model, PairModel) or not isinstance(dataset, PairedDataset):
                return {}
            options = self.experiment.configuration.traversal
            self.pair_painter = PairPainter(model, dataset, options.seed, options.batch_norm == "batch")
        return self.pair_painter.sheets()

    def _evaluate(self, step: int) -> None:
        preset = self.experiment.configuration.evaluation.preset_during_training
        scores = self.evaluator.kept_scores(self.folder.subfolder("evaluation"), preset)
        recorded = recorded_values(scores)
        if not recorded:
            return
        self.records.write(step, {f"score_{preset}/{name}": value for name, value in recorded.items()})
        values = score_values(scores)
        shown = ", ".join(f"{name} {values[name]:.4f}" if name in values else f"{name} -" for name in scores)
        self.records.say(f"step {step}: {shown}")
        best = value_of(scores, self.options.best_metric) if self.options.best_metric else None
        if step and step >= self.options.best_after and best is not None:
            self.checkpoints.save_if_best(best)

    def _keep_snapshot(self, name: str) -> None:
        """Saves, draws and scores, by the same protocol as the end of the run, a state that has a name of its own."""
        step, preset = self.loop.step, self.experiment.configuration.evaluation.preset
        self.checkpoints.save_snapshot(name)
        scores = self.evaluator.kept_scores(self.folder.subfolder("evaluation"), preset, encoding_line)
        values = score_values(scores)
        self.records.write(step, {f"score_{name}/{metric}": v for metric, v in recorded_values(scores).items()})
        folder = self.folder.subfolder(f"snapshots/{name}")
        pictures.save_png(self.painter.samples(), folder / "samples.png")
        for base in self.painter.bases():
            pictures.save_png(self.painter.overview(base), folder / f"{base}_all.png")
        summary = {"step": step, "fingerprint": self.experiment.model.fingerprint(), "scores": scores}
        write_text(folder / "scores.json", json.dumps(summary, indent=2) + "\n")
        shown = ", ".join(f"{metric} {value:.4f}" for metric, value in values.items())
        self.records.say(f"step {step}: snapshot {name}{': ' if shown else ''}{shown}")

    def finish(self) -> dict[str, Any]:
        """Scores, pictures and report of the finished run; the result as plain data."""
        if (kept := self._kept_result()) is not None:
            self.records.say(f"finished before; nothing is left to do in {self.folder.path}")
            return kept
        preset = self.experiment.configuration.evaluation.preset
        self.records.say("scores, pictures and report")
        scores: Scores = self.evaluator.kept_scores(self.folder.subfolder("evaluation"), preset, encoding_line)
        folder = self.folder.subfolder("pictures")
        for name, sheet in self._pair_sheets().items():
            pictures.save_png(sheet, folder / f"{PAIR_SHEETS}{name}.png")
        if self.pair_painter is not None:
            painter, configuration = self.pair_painter, self.experiment.configuration
            write_pairs(painter.model, painter.dataset, configuration, self.folder, AT_THE_END)
        if self.painter.draws:
            pictures.save_png(self.painter.samples(), folder / "samples.png")
            write_traversals(self.painter, folder)
        fingerprint = self.experiment.model.fingerprint()
        result = {
            "run_dir": str(self.folder.path),
            "step": self.loop.step,
            "data": self.experiment.dataset.name,
            "data_source": self.experiment.dataset.source,
            "scores": score_values(scores),
            "snapshots": snapshot_values(self.folder),
            "fingerprint": fingerprint,
            "report": str(self.folder.report),
        }
        write_summary(self.experiment, self.folder, scores, self.environment, fingerprint)
        write_text(self.folder.path / "result.json", json.dumps(result, indent=2) + "\n")
        return result

    def _kept_result(self) -> dict[str, Any] | None:
        """The result of these very weights, if an earlier attempt came to its end."""
        path = self.folder.path / "result.json"
        if not path.is_file() or not self.folder.report.is_file():
            return None
        try:
            kept = read_json(path)
        except UserError:
            # It is made again of what it was made of.
            return None
        return kept if kept.get("fingerprint") == self.experiment.model.fingerprint() else None

    def close(self) -> None:
        """Flushes the records."""
        self.records.close()


def _due(step: int, period: int) -> bool:
    return bool(period) and step % period == 0


def _is_chief(experiment: Experiment) -> bool:
    return _worker_index(experiment) == 0


def _worker_index(experiment: Experiment) -> int:
    resolver = experiment.runtime.strategy.cluster_resolver
    if resolver is None or not isinstance(experiment.runtime.strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 0
    return resolver.task_id or 0
