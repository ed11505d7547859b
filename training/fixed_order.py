"""Sums of gradients in a fixed order, so that the same command gives the same numbers.

TensorFlow's `AddN` adds into whichever of its inputs is free when it runs, and so adds three tensors or more in an
order that depends on how the operations before it fell into the threads. Rounded differently, a run goes another way.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python import pywrap_tfe
from tensorflow.python.eager import backprop


def fix_order_of_sums() -> None:
    """Makes gradient tapes add in the order in which they come upon the gradients, and graphs keep their additions.

    For the whole process. Tapes offer no public way to choose how they add: what `tensorflow.python` registers for them
    is registered anew, with that one function changed. The optimizer of graphs would turn chains of additions into
    `AddN`. What calls `tf.add_n` itself is not changed.
    """
    pywrap_tfe.TFE_Py_RegisterVSpace(backprop._default_vspace._replace(aggregate_fn=_sum))
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})


def _sum(gradients: Sequence[Any]) -> Any:
    """The sum of gradients from several uses of one tensor; sparse ones as TensorFlow adds them."""
    if len(gradients) > 2 and all(isinstance(gradient, tf.Tensor) for gradient in gradients):
        return functools.reduce(tf.add, gradients)
    return backprop._aggregate_grads(gradients)
