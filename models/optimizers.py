"""Optimizers with the semantics of PyTorch, in which the published numbers were made.

Weight decay is the coupled one everywhere (added to the gradient); Keras' own `weight_decay` is the decoupled one.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from models.options import check_range
from models.schedules import MultiStepDecay

_PACKAGE = "spout"


class _CoupledWeightDecay(keras.optimizers.Optimizer):
    """Mix-in: adds `coupled_weight_decay * variable` to each gradient before the update."""

    def __init__(self, *args: Any, coupled_weight_decay: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if coupled_weight_decay < 0:
            raise ValueError(f"weight decay is {coupled_weight_decay}; allowed: 0 or more")
        self.coupled_weight_decay = coupled_weight_decay

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        if self.coupled_weight_decay:
            gradient = gradient + self.coupled_weight_decay * tf.cast(variable, gradient.dtype)
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict:
        return {**super().get_config(), "coupled_weight_decay": self.coupled_weight_decay}


class _TorchRMSprop(keras.optimizers.Optimizer):
    """RMSprop as PyTorch computes it: epsilon outside the root, learning rate outside the momentum buffer.

    Args:
        learning_rate: a float or a schedule.
        rho: decay of the squared gradients, default 0.99 (PyTorch's alpha).
        momentum: decay of the momentum buffer, default 0.
        epsilon: added to the root, default 1e-8.
        **kwargs: as in `keras.optimizers.Optimizer`.

    Source: `torch.optim.RMSprop`, not centered.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1e-2,
        rho: float = 0.99,
        momentum: float = 0.0,
        epsilon: float = 1e-8,
        name: str = "rmsprop",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.rho = rho
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        names = ["square_average", "momentum"] if self.momentum else ["square_average"]
        self._square_averages, *rest = self.add_optimizer_variables(variables, names)
        self._momentums = rest[0] if rest else []

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        index = self._get_variable_index(variable)
        gradient = tf.cast(gradient, variable.dtype)
        rate = tf.cast(learning_rate, variable.dtype)
        square_average = self._square_averages[index]
        new_average = self.rho * square_average + (1.0 - self.rho) * tf.square(gradient)
        self.assign(square_average, new_average)
        direction = gradient / (tf.sqrt(new_average) + self.epsilon)
        if self.momentum:
            # One pass in place of five: buffer = momentum * buffer + direction; variable -= rate * buffer.
            tf.raw_ops.ResourceApplyMomentum(
                var=_native(variable).handle,
                accum=_native(self._momentums[index]).handle,
                lr=rate,
                grad=direction,
                momentum=tf.cast(self.momentum, variable.dtype),
            )
        else:
            self.assign_sub(variable, rate * direction)

    def get_config(self) -> dict:
        return {**super().get_config(), "rho": self.rho, "momentum": self.momentum, "epsilon": self.epsilon}


class _FusedAdam(keras.optimizers.Adam):
    """Keras' Adam in one pass over each variable in place of a dozen: the same numbers up to rounding.

    Epsilon is added to the root of the uncorrected second moment, as in TensorFlow and in the paper's section 2;
    PyTorch adds it to the root of the corrected one, which differs by less than the float's last bits for 1e-8.
    """

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        index = self._get_variable_index(variable)
        dtype = variable.dtype
        step = tf.cast(self.iterations + 1, dtype)
        beta_1, beta_2 = tf.cast(self.beta_1, dtype), tf.cast(self.beta_2, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=_native(variable).handle,
            m=_native(self._momentums[index]).handle,
            v=_native(self._velocities[index]).handle,
            beta1_power=tf.pow(beta_1, step),
            beta2_power=tf.pow(beta_2, step),
            lr=tf.cast(learning_rate, dtype),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(gradient, dtype),
        )


def _native(variable: keras.Variable | tf.Variable) -> tf.Variable:
    return variable.value if isinstance(variable, keras.Variable) else variable


@keras.saving.register_keras_serializable(package=_PACKAGE)
class RMSprop(_CoupledWeightDecay, _TorchRMSprop):
    """`torch.optim.RMSprop`; see `_TorchRMSprop` for the arguments."""


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Adam(_CoupledWeightDecay, _FusedAdam):
    """Adam with coupled weight decay; see `_FusedAdam`."""


@keras.saving.register_keras_serializable(package=_PACKAGE)
class SGD(_CoupledWeightDecay, keras.optimizers.SGD):
    """Stochastic gradient descent with coupled weight decay."""


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Adagrad(_CoupledWeightDecay, keras.optimizers.Adagrad):
    """Adagrad with coupled weight decay."""


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Adadelta(_CoupledWeightDecay, keras.optimizers.Adadelta):
    """Adadelta with coupled weight decay."""


@dataclass(frozen=True)
class OptimizerOptions(abc.ABC):
    """What every optimizer of a player has.

    Args:
        learning_rate: the rate before any milestone, 0 or more.
        weight_decay: coupled weight decay, 0 or more.
        milestones: steps, positive and rising, at which the rate is multiplied by `decay_factor`.
        decay_factor: see `milestones`.
    """

    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    milestones: tuple[int, ...] = ()
    decay_factor: float = 0.5

    def __post_init__(self) -> None:
        for name in ("learning_rate", "weight_decay", "decay_factor", "epsilon"):
            check_range(name, getattr(self, name, 0.0))
        for name in ("beta_1", "beta_2", "rho", "momentum"):
            check_range(name, getattr(self, name, 0.0), 0.0, 1.0)
        if self.milestones:
            MultiStepDecay(self.learning_rate, self.milestones, self.decay_factor)

    def _common(self) -> dict[str, Any]:
        rate: float | MultiStepDecay = self.learning_rate
        if self.milestones:
            rate = MultiStepDecay(self.learning_rate, self.milestones, self.decay_factor)
        return {"learning_rate": rate, "coupled_weight_decay": self.weight_decay}

    @abc.abstractmethod
    def build(self) -> keras.optimizers.Optimizer:
        """The optimizer, not yet built on any variable."""


@dataclass(frozen=True)
class RMSpropOptions(OptimizerOptions):
    """RMSprop with PyTorch's semantics, see `_TorchRMSprop`; `rho` and `momentum` 0 to 1, `epsilon` 0 or more."""

    rho: float = 0.99
    momentum: float = 0.0
    epsilon: float = 1e-8

    def build(self) -> keras.optimizers.Optimizer:
        return RMSprop(rho=self.rho, momentum=self.momentum, epsilon=self.epsilon, **self._common())


@dataclass(frozen=True)
class AdamOptions(OptimizerOptions):
    """Adam; `beta_1` and `beta_2`, 0 to 1, and `epsilon`, 0 or more, as in its paper."""

    beta_1: float = 0.5
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def build(self) -> keras.optimizers.Optimizer:
        return Adam(beta_1=self.beta_1, beta_2=self.beta_2, epsilon=self.epsilon, **self._common())


@dataclass(frozen=True)
class SGDOptions(OptimizerOptions):
    """Stochastic gradient descent; `momentum` 0 to 1."""

    momentum: float = 0.9

    def build(self) -> keras.optimizers.Optimizer:
        return SGD(momentum=self.momentum, **self._common())


@dataclass(frozen=True)
class AdagradOptions(OptimizerOptions):
    """Adagrad, its accumulator starting at 0 as in PyTorch; `epsilon` 0 or more."""

    epsilon: float = 1e-10

    def build(self) -> keras.optimizers.Optimizer:
        return Adagrad(initial_accumulator_value=0.0, epsilon=self.epsilon, **self._common())


@dataclass(frozen=True)
class AdadeltaOptions(OptimizerOptions):
    """Adadelta with PyTorch's defaults; `rho` 0 to 1, `epsilon` 0 or more."""

    rho: float = 0.9
    epsilon: float = 1e-6

    def build(self) -> keras.optimizers.Optimizer:
        return Adadelta(rho=self.rho, epsilon=self.epsilon, **self._common())


OPTIMIZERS: dict[str, type[OptimizerOptions]] = {
    "rmsprop": RMSpropOptions,
    "adam": AdamOptions,
    "sgd": SGDOptions,
    "adagrad": AdagradOptions,
    "adadelta": AdadeltaOptions,
}
