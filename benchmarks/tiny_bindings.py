"""Bindings that leave next to nothing of gin/ibgan.gin to compute: for what is timed, killed or tested around it."""

from __future__ import annotations

IBGAN_SIZES = (
    "ibgan.z_dim = 4",
    "ibgan.r_dim = 2",
    "ibgan.generator_width = 2",
    "ibgan.discriminator_width = 2",
)
TINY = (
    "data.source = 'synthetic'",
    *IBGAN_SIZES,
    "experiment.global_batch = 8",
    "experiment.evaluate_every = 0",
    "experiment.best_metric = None",
    "evaluation.metrics = ()",
    "traversal.rows = 2",
    "traversal.steps = 3",
)
"""A whole run: no scores, small pictures."""
