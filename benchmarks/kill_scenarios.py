"""What the kill campaign runs: every kind of command that writes something, so small that each takes seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.tiny_bindings import IBGAN_SIZES
from data_gen.mnist_miniature import SIDE, draw_digits

KINDS = ("training", "data", "modes", "sweep", "select", "metrics")


@dataclass(frozen=True)
class Scenario:
    """A command that is killed and given again.

    Args:
        name: of the scenario.
        kind: one of `KINDS`.
        about: what it does, in a few words.
        command: the words after the interpreter; `{folder}` stands for the folder that it writes in, `{inputs}` for
            that of `write_inputs`.
        weight: how large its share of all kills is, compared with the others.
        begins_with: sub-folders that are there before the command is first given: name to the scenario whose
            undisturbed result, and the part of it, is copied there, such as `{"run": "ibgan/run"}`.
    """

    name: str
    kind: str
    about: str
    command: tuple[str, ...]
    weight: int = 5
    begins_with: Mapping[str, str] = field(default_factory=dict)

    def words(self, folder: Path, inputs: Path) -> list[str]:
        """The command for these folders."""
        return [word.replace("{folder}", str(folder)).replace("{inputs}", str(inputs)) for word in self.command]

    @property
    def needs(self) -> set[str]:
        """The scenarios that must have run undisturbed before."""
        return {origin.partition("/")[0] for origin in self.begins_with.values()}


_SHORT = (
    "data.source = 'synthetic'",
    "experiment.global_batch = 8",
    "experiment.total_steps = 16",
    "experiment.chunk_steps = 2",
    "experiment.log_every = 2",
    "experiment.checkpoint_every = 2",
    "experiment.picture_every = 8",
    "experiment.evaluate_every = 8",
    "evaluation.preset = 'fast'",
    "traversal.rows = 2",
    "traversal.steps = 3",
)
"""Bindings of all trainings: everything that can happen does, every few steps."""

_IBGAN = (
    *IBGAN_SIZES,
    "evaluation.metrics = ('ibgan_factor_vae',)",
    "experiment.best_metric = 'ibgan_factor_vae'",
)
_FACTOR_VAE = (
    "factor_vae.latent_size = 3",
    "factor_vae.discriminator_units = 8",
    "factor_vae.weight_initialization = 'pytorch'",
    "evaluation.metrics = ('mig',)",
    "experiment.best_metric = 'mig'",
)
_OF_FAMILY: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "ibgan": ("IB-GAN", "ibgan", _IBGAN),
    "infogan": (
        "InfoGAN",
        "infogan_mnist",
        (
            "experiment.best_metric = 'code_error_majority'",
            # They have 60 million numbers.
            "experiment.checkpoint_every = 4",
            "experiment.keep_checkpoints = 1",
        ),
    ),
    "infogan_cr": (
        "InfoGAN-CR, with its snapshot",
        "infogan_cr_dsprites",
        (
            "infogan_cr.contrastive_steps = (6,)",
            "infogan_cr.generator_updates = 1",
            "evaluation.metrics = ('mig',)",
            "experiment.best_metric = 'mig'",
        ),
    ),
    "factor_vae": ("FactorVAE", "factor_vae_dsprites", _FACTOR_VAE),
    "vgan": (
        "VGAN, with FID",
        "vgan_dsprites_short",
        (
            "vgan.width = 2",
            "vgan.max_width = 8",
            "vgan.z_dim = 8",
            "vgan.bottleneck_size = 4",
            "data.limit = 200",
            "evaluation.metrics = ('fid',)",
            "evaluation.generated_images = 130",
            "evaluation.generated_images_fast = 130",
            "experiment.best_metric = 'fid'",
        ),
    ),
    "iiae": (
        "IIAE, with retrieval",
        "iiae_mnist_cdcb_64",
        (
            "data.options = {'size': 64, 'num_train': 20}",
            "iiae.width = 1",
            "iiae.exclusive_size = 1",
            "iiae.shared_size = 2",
            "experiment.global_batch = 2",
            "experiment.picture_every = 16",
            "experiment.evaluate_every = 16",
        ),
    ),
}


def _run(gin_file: str, bindings: tuple[str, ...], *more: str) -> tuple[str, ...]:
    params = (f"--gin_param={binding}" for binding in (*_SHORT, *bindings))
    return ("run.py", f"--gin_file=gin/{gin_file}.gin", *params, *more)


def _training() -> list[Scenario]:
    return [
        Scenario(family, "training", f"training of {title}", _run(file, bindings, "--run_dir={folder}/run"))
        for family, (title, file, bindings) in _OF_FAMILY.items()
    ]


def _data() -> list[Scenario]:
    to = "--data_dir={folder}"
    teapot = ("-m", "data_gen.teapot", "--backend=fast", "--num_train=3000", "--num_groups=4", "--image_size=32", to)
    dsprites = ("-m", "data_gen.dsprites", "--source=reconstructed", "--limit=6000", "--shards=8", to)
    mnist = ("-m", "data_gen.mnist", "--source=custom", "--raw_dir={inputs}/mnist", "--shards=8", to)
    images = ("-m", "data_gen.image_folder", "--path={inputs}/images", "--size=64", "--shards=8", to)
    return [
        Scenario("teapot", "data", "3D Teapot as TFRecord shards", (*teapot, "--shards=8"), 8),
        Scenario("teapot_npz", "data", "3D Teapot as published archives", (*teapot, "--format=npz"), 8),
        Scenario("dsprites", "data", "dSprites, redrawn, as shards", dsprites, 6),
        Scenario("mnist", "data", "digits as shards", mnist, 6),
        Scenario("image_folder", "data", "a folder of images as shards", images, 8),
    ]


def _modes() -> list[Scenario]:
    def mode(name: str, about: str, *more: str, family: str = "ibgan") -> Scenario:
        words = ("run.py", "--run_dir={folder}/run", f"--mode={name}", *more)
        return Scenario(name, "modes", about, words, 4, {"run": f"{family}/run"})

    many = "--gin_param=evaluation.metrics = ('ibgan_factor_vae', 'mig', 'sap', 'dci_lasso')"
    return [
        mode("evaluate", "scores of a finished run", many, "--gin_param=evaluation.preset = 'fast'"),
        mode("traverse", "sheets and GIFs of traversals", "--gin_param=traversal.steps = 10"),
        mode("generate", "generated images", "--gin_param=generation.images = 400"),
        mode("export", "Keras files and SavedModels"),
        mode("pairs", "the pictures of pairs, with their page", family="iiae"),
    ]


def _several() -> list[Scenario]:
    short = ("experiment.total_steps = 8", "experiment.picture_every = 0", "experiment.evaluate_every = 0")
    sweep = _run("factor_vae_dsprites", (*_FACTOR_VAE, *short), "--sweep=factor_vae.gamma=[1.0,40.0]", "--seeds=0,")
    codes = ("--metrics=mig,sap,modularity,dci_lasso,beta_vae", "--json", "--plots={folder}/plots")
    return [
        Scenario("sweep", "sweep", "a sweep of two members", (*sweep, "--run_dir={folder}/sweep")),
        Scenario(
            "select",
            "select",
            "ModelCentrality and UDR of two runs",
            ("run.py", "--mode=select", "--runs={folder}/sweep/0*", "--preset=fast", "--out={folder}/selection"),
            3,
            {"sweep": "sweep/sweep"},
        ),
        Scenario(
            "metrics",
            "metrics",
            "scores of codes, with plots",
            ("-m", "metrics", "--codes={inputs}/codes.npz", *codes),
            7,
        ),
    ]


def scenarios() -> dict[str, Scenario]:
    """All scenarios by name; one that begins with the result of another one comes after it."""
    return {scenario.name: scenario for scenario in (*_training(), *_data(), *_modes(), *_several())}


def write_inputs(folder: Path, seed: int = 0) -> None:
    """Writes what the commands read: `codes.npz`, digits in the layout of MNIST, a folder of images.

    Args:
        folder: where they go.
        seed: determines them.
    """
    rng = np.random.default_rng(seed)
    _write_codes(folder / "codes.npz", rng)
    _write_digits(folder / "mnist", rng)
    _write_images(folder / "images", rng)


def _write_codes(path: Path, rng: np.random.Generator) -> None:
    def codes_of(factors: np.ndarray) -> np.ndarray:
        return factors @ mix + rng.normal(0.0, 0.1, (*factors.shape[:-1], 4))

    path.parent.mkdir(parents=True, exist_ok=True)
    mix = rng.normal(0.0, 1.0, (3, 4))
    factors = rng.integers(0, 6, (5000, 3))
    labels = np.arange(600) % 3
    groups = rng.integers(0, 6, (600, 20, 3))
    groups[np.arange(600), :, labels] = groups[np.arange(600), :1, labels]
    np.savez(path, codes=codes_of(factors), factors=factors, group_codes=codes_of(groups), group_labels=labels)


def _write_digits(folder: Path, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 3000), ("t10k", 500)):
        labels = rng.integers(0, 10, count)
        images = draw_digits(labels, rng)
        heads = {"images-idx3": (0x803, count, SIDE, SIDE), "labels-idx1": (0x801, count)}
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = np.array(heads[kind], ">i4").tobytes()
            (folder / f"{part}-{kind}-ubyte").write_bytes(head + array.astype(np.uint8).tobytes())


def _write_images(folder: Path, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(400):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((160, 120), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", "JPEG", quality=90)
