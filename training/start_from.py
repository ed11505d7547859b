"""Starting a run from the weights of another one: `experiment.start_from`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass

from common.errors import UserError
from common.files import write_text
from training.configuration import load
from training.experiment import Experiment, image_shape_of
from training.published import restore_run
from training.run_folder import RunFolder, read_json

_RECORD = "start_from.json"


@dataclass(frozen=True)
class Origin:
    """Where the first weights of a run come from.

    Args:
        run: folder of the other run, as it was given.
        step: of its checkpoint.
        fingerprint: of all its weights.
        taken: the networks, blocks or layers that were taken over.
    """

    run: str
    step: int
    fingerprint: str
    taken: Sequence[str]

    def __str__(self) -> str:
        return f"{self.run}, step {self.step:,}"

    def write(self, folder: RunFolder) -> None:
        """Writes it down in the folder of the run that starts, as `start_from.json`."""
        write_text(folder.path / _RECORD, json.dumps(dataclasses.asdict(self), indent=2) + "\n")


def origin_of(folder: RunFolder) -> Origin | None:
    """What a run was started from; None if from nothing."""
    path = folder.path / _RECORD
    try:
        return Origin(**read_json(path)) if path.is_file() else None
    except TypeError:
        raise UserError(f"{path} is damaged; remove the run folder and train again") from None


def take_over(experiment: Experiment) -> Origin:
    """Gives the model of an experiment the weights that its `start_from` names; see the models' `take_over`.

    Args:
        experiment: whose model has not been trained yet; its steps and optimizers stay as they are.

    Raises:
        UserError: no such run, no checkpoint in it, another model, or nothing that fits.
    """
    name = experiment.configuration.experiment.start_from or ""
    folder = RunFolder(name)
    if not folder.configuration_file.is_file():
        raise UserError(f"experiment.start_from is {name!r}, which holds no run; give the folder of a trained one")
    configuration, _ = load([folder.configuration_file])
    options, wanted = configuration.experiment.model, experiment.configuration.experiment.model
    if type(options) is not type(wanted):
        kinds = [type(kind).__name__.removesuffix("Options") for kind in (options, wanted)]
        raise UserError(f"experiment.start_from is {name!r}, a run of {kinds[0]}; this one is of {kinds[1]}")
    try:
        other = options.build(image_shape_of(configuration), configuration.experiment.seed)
        step = restore_run(folder, other)
        if step is None:
            raise UserError(f"experiment.start_from is {name!r}, which has no checkpoint yet; train it first")
        with experiment.runtime.strategy.scope():
            taken = experiment.model.take_over(other)
    except ValueError as error:
        raise UserError(f"experiment.start_from is {name!r}: {error}") from None
    return Origin(name, step, other.fingerprint(), taken)
