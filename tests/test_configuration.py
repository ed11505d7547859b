"""The gin layer: what it refuses and how it says so, and that the shipped files hold the published values."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

import training.configuration as configuration_module
from common.errors import UserError
from common.typing_checks import checked
from models.ibgan import IBGANOptions
from models.optimizers import RMSpropOptions, SGDOptions
from training.configuration import RESUMABLE_CHANGES, differences, flatten, load, resolved
from training.options import Configuration, ExperimentOptions, TraversalOptions

INCLUDE = "include 'gin/ibgan.gin'\n"
MINIMAL = "experiment.name = 'minimal'\nexperiment.model = @ibgan()\nexperiment.total_steps = 5\n"

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a gin file."""

    def write_file(text: str) -> Path:
        path = tmp_path / "case.gin"
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def refusal(files: list[Any], bindings: tuple[str, ...] = ()) -> str:
    with pytest.raises(UserError) as caught:
        load(files, bindings)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ibgan.betta = 1", ["'ibgan' has no option 'betta'", "did you mean 'beta'?", "case.gin line 2"]),
        ("ibgan.zzz = 1", ["'ibgan' has no option 'zzz'", "allowed: ", "z_dim"]),
        ("ibgann.beta = 1", ["'ibgann' is not known", "did you mean 'ibgan'", "case.gin line 2"]),
        ("experiment.model = @ibgna()", ["'ibgna' is not known", "did you mean 'ibgan'", "case.gin line 2"]),
        ("experiment.model = @ibgan", ["experiment.model is @ibgan without parentheses", "case.gin line 2"]),
        ("experiment.model = 'ibgan'", ["experiment.model is 'ibgan' (str)", "case.gin line 2"]),
        ("experiment.model = @rmsprop()", ["experiment.model is a RMSpropOptions"]),
        ("sgd.momentum = 0.5", ["case.gin line 2: nothing uses the binding sgd.momentum"]),
        ("foo/ibgan.beta = 0.5", ["case.gin line 2: nothing uses the binding foo/ibgan.beta"]),
        (
            "generatr/rmsprop.learning_rate = 1e-3",
            ["case.gin line 2: nothing uses the binding generatr/rmsprop", "did you mean 'generator/rmsprop'"],
        ),
        ("SIZE = 5", ["case.gin line 2: nothing uses the macro SIZE"]),
        ("ibgan.beta = %SIZE", ["the macro %SIZE is used but not set"]),
        ("ibgan.beta = 'big'", ["case.gin line 2: ibgan.beta is 'big' (str); expected a number"]),
        ("ibgan.beta = None", ["ibgan.beta is None", "expected a number"]),
        ("ibgan.z_dim = 1.5", ["ibgan.z_dim is 1.5 (float); expected an integer"]),
        ("ibgan.z_dim = True", ["ibgan.z_dim is True (bool); expected an integer"]),
        ("ibgan.label_smoothing = 1", ["ibgan.label_smoothing is 1 (int); expected True or False"]),
        ("ibgan.beta = -1", ["ibgan.beta is -1.0; allowed: 0 or more"]),
        ("ibgan.towers = 'joined'", ["ibgan.towers is 'joined'; allowed: 'separate', 'shared'"]),
        ("experiment.global_batch = 0", ["experiment.global_batch is 0; allowed: 1 or more"]),
        ("experiment.seed = -1", ["experiment.seed is -1; allowed: 0 to "]),
        ("experiment.strategy = 'tpu'", ["experiment.strategy is 'tpu'", "'mirrored'"]),
        ("experiment.precision = 'float16'", ["experiment.precision is 'float16'", "'mixed_bfloat16'"]),
        ("experiment.name = 'a/b'", ["experiment.name is 'a/b'", "no slash"]),
        ("experiment.paper_scores = {'a': 'b'}", ["experiment.paper_scores['a'] is 'b' (str)"]),
        ("evaluation.metrics = 'factor_vae'", ["evaluation.metrics is 'factor_vae' (str)", "tuple"]),
        ("evaluation.preset = 'slow'", ["evaluation.preset is 'slow'", "'fast'", "'paper'"]),
        ("traversal.low = -1.0", ["traversal.low and high: give both"]),
        ("traversal.steps = 1", ["traversal.steps is 1; allowed: 2 to 1000"]),
        ("generation.images = 0", ["generation.images is 0; allowed: 1 to 1000000"]),
        ("benchmark.turns = 0", ["benchmark.turns is 0; allowed: 1 or more"]),
        ("data.limit = 0", ["data.limit is 0; allowed: 1 or more"]),
        (
            "generator/rmsprop.learning_rate = -1.0",
            ["case.gin line 2: generator/rmsprop.learning_rate is -1.0; allowed: 0 or more"],
        ),
        ("generator/rmsprop.milestones = (5, 2)", ["generator/rmsprop.milestones are [5, 2]"]),
        ("ibgan.beta = = 3", ["case.gin", "line 2", "Unable to parse value"]),
        ("ibgan.beta 3", ["case.gin", "line 2"]),
        ("include 'gin/nowhere.gin'", ["gin/nowhere.gin", "line 2"]),
        ("import no_such_module", ["no_such_module"]),
    ],
)
def test_a_wrong_line_is_refused_with_its_place_and_a_way_out(write: Write, line: str, words: list[str]) -> None:
    message = refusal([write(INCLUDE + line + "\n")])
    for word in words:
        assert word in message, message


@pytest.mark.parametrize(
    ("binding", "words"),
    [
        ("ibgan.betta = 1", ["--gin_param", "'ibgan' has no option 'betta'", "did you mean 'beta'?"]),
        ("ibgann.beta = 1", ["--gin_param", "'ibgann' is not known"]),
        ("sgd.momentum = 0.5", ["--gin_param: nothing uses the binding sgd.momentum"]),
        ("ibgan.beta = 'big'", ["--gin_param: ibgan.beta is 'big'"]),
        ("nonsense", ["--gin_param='nonsense'"]),
        ("ibgan.beta =", ["--gin_param='ibgan.beta ='"]),
    ],
)
def test_a_wrong_binding_is_refused(write: Write, binding: str, words: list[str]) -> None:
    message = refusal([write(INCLUDE)], (binding,))
    for word in words:
        assert word in message, message


@pytest.mark.parametrize("missing", ["name", "model", "total_steps"])
def test_what_must_be_set_is_named(write: Write, missing: str) -> None:
    text = "".join(line + "\n" for line in MINIMAL.splitlines() if not line.startswith(f"experiment.{missing} "))
    assert f"experiment.{missing} is not set" in refusal([write(text)])


def test_a_file_that_is_not_there() -> None:
    message = refusal(["gin/ibgann.gin"])
    assert "'gin/ibgann.gin' is not there" in message
    assert "did you mean 'gin/ibgan.gin'" in message
    assert "is not there" in refusal(["/"])


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "case.gin"
    path.write_bytes(b"\xff\xfe\x00")
    assert "case.gin" in refusal([path])


def test_a_missing_include_is_not_logged_beside_the_error(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        refusal([write("include 'gin/nowhere.gin'\n")])
    assert not caplog.records
    assert logging.root.manager.disable == logging.NOTSET


def test_a_failed_load_does_not_reach_the_next(write: Write) -> None:
    refusal([write(INCLUDE + "sgd.momentum = 0.5\n")])
    configuration, _ = load([write(MINIMAL)])
    assert configuration.experiment.name == "minimal"
    assert configuration.experiment.global_batch == 64


def test_bindings_win_over_files_and_later_files_over_earlier_ones(write: Write, tmp_path: Path) -> None:
    later = tmp_path / "later.gin"
    later.write_text("ibgan.beta = 0.5\nibgan.z_dim = 7\n")
    configuration, _ = load([write(MINIMAL + "ibgan.beta = 0.4\n"), later], ["ibgan.z_dim = 9"])
    assert configuration.experiment.model == IBGANOptions(beta=0.5, z_dim=9)


def test_numbers_as_people_write_them(write: Write) -> None:
    text = MINIMAL + "experiment.chunk_steps = 1e3\nibgan.beta = 1\nevaluation.metrics = ['factor_vae']\n"
    configuration, _ = load([write(text)])
    assert configuration.experiment.chunk_steps == 1000
    assert isinstance(configuration.experiment.chunk_steps, int)
    assert isinstance(configuration.experiment.model.beta, float)  # type: ignore[attr-defined]
    assert configuration.evaluation.metrics == ("factor_vae",)


def test_macros_and_scopes_reach_what_they_name(write: Write) -> None:
    text = MINIMAL + (
        "RATE = 0.25\nfast/sgd.learning_rate = %RATE\nsgd.momentum = 0.5\n"
        "experiment.optimizers = {'generator': @fast/sgd(), 'encoder': @sgd()}\n"
    )
    configuration, _ = load([write(text)])
    assert configuration.experiment.optimizers == {
        "generator": SGDOptions(learning_rate=0.25, momentum=0.5),
        "encoder": SGDOptions(momentum=0.5),
    }


def test_files_are_found_from_any_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    configuration, _ = load(["gin/quickstart.gin"])
    assert configuration.experiment.name == "quickstart"


@pytest.mark.parametrize("name", ["ibgan", "ibgan_chairs3d", "quickstart"])
def test_the_text_of_a_configuration_gives_it_again(name: str, write: Write) -> None:
    configuration, text = load([f"gin/{name}.gin"], ["experiment.paper = '" + "long words " * 200 + "'"])
    again, text_again = load([write(text)])
    assert again == configuration
    assert text_again == text


# The shipped files: the table of the published settings, as literals.

PUBLISHED = {
    "ibgan": {
        "z_dim": 16,
        "r_dim": 10,
        "beta": 0.141,
        "global_batch": 64,
        "total_steps": 150_000,
        "discriminator_rate": 1e-6,
        "noise": (1.0, 0.0, 100_000),
        "label_smoothing": False,
        "weight_initialization": "normal",
        "widths": (16, 16),
        "towers": "separate",
        "encoder_size": "small",
        "seed": 7,
        "data": "dsprites",
    },
    "ibgan_color_dsprites": {
        "z_dim": 16,
        "r_dim": 10,
        "beta": 0.071,
        "global_batch": 64,
        "total_steps": 500_000,
        "discriminator_rate": 1e-6,
        "noise": (1.0, 0.0, 100_000),
        "label_smoothing": False,
        "weight_initialization": "normal",
        "widths": (16, 16),
        "towers": "separate",
        "encoder_size": "small",
        "seed": 7,
        "data": "color_dsprites",
    },
    "ibgan_celeba": {
        "z_dim": 64,
        "r_dim": 15,
        "beta": 0.35,
        "global_batch": 64,
        "total_steps": 1_000_000,
        "discriminator_rate": 2e-6,
        "noise": (0.5, 0.01, 1_000_000),
        "label_smoothing": True,
        "weight_initialization": "orthogonal",
        "widths": (64, 64),
        "towers": "shared",
        "encoder_size": "large",
        "seed": 0,
        "data": "celeba",
    },
    "ibgan_chairs3d": {
        "z_dim": 64,
        "r_dim": 10,
        "beta": 0.325,
        "global_batch": 64,
        "total_steps": 700_000,
        "discriminator_rate": 2e-6,
        "noise": (0.5, 0.01, 700_000),
        "label_smoothing": True,
        "weight_initialization": "orthogonal",
        "widths": (32, 16),
        "towers": "shared",
        "encoder_size": "large",
        "seed": 0,
        "data": "chairs3d",
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_shipped_files_hold_the_published_values(name: str) -> None:
    configuration, _ = load([f"gin/{name}.gin"])
    experiment, model = configuration.experiment, configuration.experiment.model
    assert isinstance(model, IBGANOptions)
    rates = {player: options.learning_rate for player, options in experiment.optimizers.items()}
    for options in experiment.optimizers.values():
        assert isinstance(options, RMSpropOptions)
        assert (options.rho, options.momentum, options.epsilon, options.weight_decay) == (0.99, 0.9, 1e-8, 0.0)
        assert options.milestones == ()
    expected = PUBLISHED[name]
    assert rates == {
        "encoder": 5e-5,
        "generator": 5e-5,
        "reconstructor": 5e-5,
        "discriminator": expected["discriminator_rate"],
    }
    found = {
        **{key: getattr(model, key) for key in expected if hasattr(model, key)},
        **{key: getattr(experiment, key) for key in ("global_batch", "total_steps", "seed")},
        "discriminator_rate": rates["discriminator"],
        "noise": (model.noise_start, model.noise_end, model.noise_steps),
        "widths": (model.generator_width, model.discriminator_width),
        "data": configuration.data.name,
    }
    assert found == expected
    assert (model.variant, model.lambda_information, model.gan_weight) == ("official", 1.0, 1.0)
    assert (model.kl_rule, model.update_order, model.noise_ramp) == ("official", "simultaneous", "official")
    assert model.instance_noise
    assert experiment.precision == "float32"


def test_the_community_file_is_the_community_code() -> None:
    configuration, _ = load(["gin/ibgan_dsprites_community.gin"])
    model = configuration.experiment.model
    assert isinstance(model, IBGANOptions)
    assert configuration.experiment.global_batch == 128
    # Its loop runs from 0 to 150,000 and includes both.
    assert configuration.experiment.total_steps == 150_001
    assert model == IBGANOptions(variant="community")
    assert (model.kl_rule, model.update_order, model.noise_ramp) == ("community", "sequential", "community")
    assert (model.initialization_scope, model.reconstructor_slope) == ("community", 256.0)
    assert model.smooth_generator_labels is True
    assert (configuration.traversal.span, configuration.traversal.steps) == ((-1.1, 1.1), 10)
    assert configuration.traversal.batch_norm == "batch"


def test_constructor_defaults_are_the_published_dsprites_experiment() -> None:
    model = load(["gin/ibgan.gin"])[0].experiment.model
    assert model == IBGANOptions()
    assert IBGANOptions().build((64, 64, 1), 0).default_optimizers() == dict(
        load(["gin/ibgan.gin"])[0].experiment.optimizers
    )


# Differences between two configurations.


def options_of(*bindings: str) -> dict[str, Any]:
    return json.loads(json.dumps(resolved(load(["gin/ibgan.gin"], list(bindings))[0])))


def test_equal_configurations_have_no_differences() -> None:
    assert differences(options_of(), options_of()) == []
    assert differences(options_of(), resolved(load(["gin/ibgan.gin"])[0])) == []


@pytest.mark.parametrize(
    ("binding", "line"),
    [
        ("ibgan.beta = 0.2", "experiment.model.beta was 0.141 and is 0.2"),
        ("data.limit = 500", "data.limit was None and is 500"),
        ("experiment.global_batch = 32", "experiment.global_batch was 64 and is 32"),
        ("evaluation.seed = 3", "evaluation.seed was 0 and is 3"),
        (
            "generator/rmsprop.learning_rate = 0.1",
            "experiment.optimizers.generator.learning_rate was 5e-05 and is 0.1",
        ),
    ],
)
def test_differences_name_the_option_and_both_values(binding: str, line: str) -> None:
    assert line in differences(options_of(), options_of(binding))


def test_going_on_for_longer_and_keeping_more_checkpoints_is_no_difference() -> None:
    assert {"experiment.total_steps", "experiment.keep_checkpoints"} == RESUMABLE_CHANGES
    longer = options_of("experiment.total_steps = 9", "experiment.keep_checkpoints = 9", "generation.images = 5")
    assert differences(options_of(), longer) == []


def test_an_option_younger_than_the_run_has_not_changed_while_it_is_at_its_default() -> None:
    old = options_of()
    del old["experiment"]["precision"], old["experiment"]["model"]["beta"], old["data"]["limit"]
    del old["experiment"]["optimizers"]["encoder"]["epsilon"]
    assert differences(old, options_of()) == []
    assert differences(old, options_of("experiment.precision = 'mixed_bfloat16'", "data.limit = 7")) == [
        "data.limit was None and is 7",
        "experiment.precision was 'float32' and is 'mixed_bfloat16'",
    ]


def test_an_option_that_is_gone_and_one_without_a_default_are_differences() -> None:
    old = options_of()
    old["data"]["gone"] = 3
    del old["experiment"]["total_steps"], old["experiment"]["name"]
    assert differences(old, options_of()) == [
        "data.gone was 3 and is 'not set'",
        "experiment.name was 'not set' and is 'ibgan_dsprites'",
    ]


def test_flatten_names_every_leaf() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": [1, 2]}}, "e": None}) == {"a.b": 1, "a.c.d": [1, 2], "e": None}


def test_resolved_names_the_kind_of_the_model_and_of_the_optimizers() -> None:
    options = options_of()
    assert options["experiment"]["model"]["kind"] == "IBGANOptions"
    assert options["experiment"]["optimizers"]["encoder"]["kind"] == "RMSpropOptions"
    assert "kind" not in options["experiment"]
    assert set(options) == {field.name for field in dataclasses.fields(Configuration)}


def test_every_option_has_a_name_in_gin() -> None:
    """Names and defaults stand in one place, the class; gin sees exactly these."""
    for name, cls in configuration_module._option_classes().items():
        assert dataclasses.is_dataclass(cls), name


# The checks of types alone.


@dataclasses.dataclass
class Sample:
    number: float = 0.0
    count: int | None = None
    word: str = ""
    choice: Literal["a", "b"] = "a"
    names: tuple[str, ...] = ()
    switch: bool = False


@pytest.mark.parametrize(
    ("field", "value", "converted"),
    [
        ("number", 3, 3.0),
        ("count", 1e5, 100_000),
        ("count", None, None),
        ("names", ["a", "b"], ("a", "b")),
        ("choice", "b", "b"),
        ("switch", False, False),
        ("count", 0, 0),
        ("number", 0, 0.0),
        ("word", "", ""),
    ],
)
def test_values_that_pass(field: str, value: Any, converted: Any) -> None:
    result = checked(Sample, "sample", {field: value})[field]
    assert result == converted
    assert type(result) is type(converted)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("number", True, "sample.number is True (bool); expected a number"),
        ("number", None, "sample.number is None (NoneType); expected a number"),
        ("count", 1.5, "sample.count is 1.5 (float); expected an integer or None"),
        ("count", "5", "sample.count is '5' (str); expected an integer or None"),
        ("word", 5, "sample.word is 5 (int); expected a text"),
        ("choice", "c", "sample.choice is 'c'; allowed: 'a', 'b'"),
        ("names", "ab", "sample.names is 'ab' (str); expected a tuple of a text"),
        ("names", (1,), "sample.names is 1 (int); expected a text"),
        ("switch", 1, "sample.switch is 1 (int); expected True or False"),
    ],
)
def test_values_that_do_not_pass(field: str, value: Any, message: str) -> None:
    with pytest.raises(TypeError) as caught:
        checked(Sample, "sample", {field: value})
    assert str(caught.value) == message


def test_choices_that_cannot_be_hashed_are_refused_too() -> None:
    with pytest.raises(TypeError, match="choice"):
        checked(Sample, "sample", {"choice": ["a"]})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"low": 1.0, "high": 1.0}, "low must be below high"),
        ({"high": 1.0}, "give both of them"),
        ({"low": float("-inf"), "high": 1.0}, "low is -inf"),
        ({"rows": 0}, "rows is 0"),
        ({"frames_per_second": 101}, "frames_per_second is 101; allowed: 1 to 50"),
        ({"batch_norm": "train"}, "batch_norm is 'train'"),
    ],
)
def test_traversal_options_out_of_range(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TraversalOptions(**changes)


@pytest.mark.parametrize("name", ["", ".hidden", "a/b"])
def test_names_that_cannot_be_folders(name: str) -> None:
    with pytest.raises(ValueError, match="it becomes a folder"):
        ExperimentOptions(name=name, model=IBGANOptions(), total_steps=1)
