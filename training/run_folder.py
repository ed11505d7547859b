"""The run folder: what stands where in it, and the refusal to go on with another configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import write_text
from training.configuration import differences, locate, resolved
from training.options import Configuration

WEIGHTS = "weights.npz"
"""The one state of a published run."""

_OPTIONS = "options.json"


class RunFolder:
    """A run folder.

    Args:
        path: the folder; made by `claim`, not before.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def configuration_file(self) -> Path:
        """The gin text that gives the run's configuration again."""
        return self.path / "configuration.gin"

    @property
    def options_file(self) -> Path:
        """All options after defaults, as JSON."""
        return self.path / _OPTIONS

    @property
    def checkpoints(self) -> Path:
        """Checkpoints: `last/` and `best/`."""
        return self.path / "checkpoints"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"

    def subfolder(self, name: str) -> Path:
        """A folder below this one, made if missing."""
        folder = self.path / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def refuse_file(self) -> None:
        """Raises `UserError` if something else than a folder stands there."""
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file where a folder was expected; choose another --run_dir")

    def claim(self, configuration: Configuration, gin_text: str, gin_files: list[str], data_source: str) -> None:
        """Makes the folder for a run, or checks that it belongs to the same one.

        Args:
            configuration: of the run that wants it.
            gin_text: the gin text of it.
            gin_files: files as the user gave them; their texts are kept.
            data_source: where the data come from; a run does not go on with other data.

        Raises:
            UserError: the folder holds a run of another configuration, a longer run, or something else.
        """
        options = {**resolved(configuration), "data_source": data_source}
        if self.is_published:
            raise UserError(
                f"{self.path} is a published run, which cannot be trained on; choose another --run_dir "
                f"(experiment.start_from = {str(self.path)!r} begins from its weights)"
            )
        if self.options_file.is_file():
            changed = self._differences(options)
            if changed:
                raise UserError(
                    f"{self.path} holds a run of another configuration: {'; '.join(changed)}. "
                    "Choose another --run_dir, or give the options of that run"
                )
        elif self.path.is_dir() and any(not path.name.startswith(".") for path in self.path.iterdir()):
            raise UserError(f"{self.path} is not empty and no run folder; choose another --run_dir")
        total = configuration.experiment.total_steps
        if self.steps_done() > total:
            raise UserError(
                f"{self.path} has done {self.steps_done()} steps, more than experiment.total_steps = {total}; "
                "choose more steps or another --run_dir"
            )
        # First of all files: it makes the folder a run's, should the run be killed before the others are written.
        write_text(self.options_file, json.dumps(options, indent=2) + "\n")
        write_text(self.configuration_file, gin_text)
        for number, file in enumerate(gin_files):
            text = locate(file).read_text(encoding="utf-8")
            write_text(self.subfolder("gin") / f"{number}_{Path(file).name}", text)

    @property
    def is_published(self) -> bool:
        """Whether it holds weights to use, and none to train on: what the mode publish makes."""
        return (self.path / WEIGHTS).is_file()

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint to go on from, whole or not."""
        return any((self.checkpoints / "last").glob("ckpt-*.index"))

    def steps_done(self) -> int:
        """The step of the newest checkpoint, whole or not; 0 if there is none."""
        steps = [path.stem.rpartition("-")[2] for path in (self.checkpoints / "last").glob("ckpt-*.index")]
        return max((int(step) for step in steps if step.isdigit()), default=0)

    def refuse_another_model(self, configuration: Configuration) -> None:
        """Checks that the folder's run is of this model and data set; its source, limit and options may be others.

        Raises:
            UserError: it is of another one.
        """
        changed = [
            line
            for line in differences(self.read_options(), resolved(configuration))
            if line.startswith(("experiment.model.", "data.name "))
        ]
        if changed:
            raise UserError(f"{self.path} holds a run of another model: {'; '.join(changed)}")

    def _differences(self, options: dict[str, Any]) -> list[str]:
        old = self.read_options()
        changed = differences(old, options)
        if old.get("data_source") != options["data_source"]:
            changed.append(f"the data were {old.get('data_source')!r} and are {options['data_source']!r}")
        return changed

    def read_options(self) -> dict[str, Any]:
        """The options that the folder's run was started with.

        Raises:
            UserError: the file is damaged.
        """
        return read_json(self.options_file)

    def require(self) -> None:
        """Refuses a folder that holds no run.

        Raises:
            UserError: with what to do.
        """
        if not self.configuration_file.is_file():
            raise UserError(f"{self.path} holds no run; train one first, or give the --run_dir of a run")


def read_json(path: Path) -> Any:
    """The content of a JSON file of a run, which is an object in all of them.

    Raises:
        UserError: it is not there or damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is not there; train the run first") from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        # All but the options are made of what else is there.
        remedy = "remove the run folder and train again" if path.name == _OPTIONS else "give the training command again"
        raise UserError(f"{path} is damaged; {remedy}")
    return found
