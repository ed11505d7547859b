"""InfoGAN-CR: disentangling GANs by contrastive regularization (Lin, Thekumparampil, Fanti and Oh, ICML 2020).

With a contrastive weight of 0 throughout, it is what the paper calls InfoGAN (modified).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from models import losses
from models.base import DisentanglementModel
from models.distribution import global_mean, replica_count
from models.initializers import WeightInitialization
from models.latents import LatentSpace, Uniform
from models.layers import BatchNormalization, BatchStatistics, deferred_moving_statistics
from models.networks import infogan_cr as networks
from models.noise import Noise
from models.optimizers import AdamOptions, OptimizerOptions
from models.options import ModelOptions, check_choice, check_range
from models.restart import restart_when
from models.schedules import piecewise_constant
from models.spectral import update_spectral_vectors

_LEAST_WEIGHT = 1e-8
"""A contrastive weight up to this counts as 0, as in the authors' code."""
_MOST_GAP = 2.0


@dataclass(frozen=True)
class InfoGANCROptions(ModelOptions):
    """The options of InfoGAN-CR. The defaults are the published dSprites experiment.

    Args:
        network: `dsprites` (64 x 64; circular dSprites too), `teapot` (64 x 64) or `celeba` (32 x 32).
        codes: k, the number of codes, each uniform in [-1, 1].
        noise_size: size of the noise, uniform in [-1, 1], that Q does not see. Published: 5, CelebA 100.
        information_weight: lambda of G and of D. Published: dSprites 0.05, teapot 0.2, CelebA 2, circular dSprites 0.2.
        contrastive_weights: alpha, weight of the contrastive loss for G: its values one after the other. Published:
            0, then 2 on dSprites (the script that its authors offer without a scheduler has 1), teapot 3, CelebA 1.
            If no value is above 0 there is no contrastive discriminator: InfoGAN (modified).
        contrastive_steps: the steps at which alpha takes its next value, rising. Published: dSprites 288,000, teapot
            50,000, CelebA 80,000, circular dSprites 216,000.
        gaps: least distance of the two values of a code that differs within a pair, 0 to 2: its values one after the
            other. Published: 0; teapot 1.9, then 0.
        gap_steps: the steps at which the gap takes its next value. Published: teapot 85,000.
        generator_updates: updates of G for each one of D, on the same latents.

    Raises:
        ValueError: an option out of its range.
    """

    network: networks.Network = "dsprites"
    codes: int = 5
    noise_size: int = 5
    information_weight: float = 0.05
    contrastive_weights: tuple[float, ...] = (0.0, 2.0)
    contrastive_steps: tuple[int, ...] = (288_000,)
    gaps: tuple[float, ...] = (0.0,)
    gap_steps: tuple[int, ...] = ()
    generator_updates: int = 2

    def __post_init__(self) -> None:
        for name in ("contrastive_weights", "contrastive_steps", "gaps", "gap_steps"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_choice("network", self.network, networks.Network)
        for name in ("codes", "noise_size", "generator_updates"):
            check_range(name, getattr(self, name), 1)
        check_range("information_weight", self.information_weight)
        _check_schedule("contrastive_weights", self.contrastive_weights, "contrastive_steps", self.contrastive_steps)
        _check_schedule("gaps", self.gaps, "gap_steps", self.gap_steps, _MOST_GAP)
        if self.is_contrastive and self.codes < 2:
            raise ValueError("codes is 1; allowed: 2 or more, for the contrastive loss tells which of them is the same")

    @property
    def is_contrastive(self) -> bool:
        """Whether the contrastive weight is ever above 0."""
        return max(self.contrastive_weights) > _LEAST_WEIGHT

    @property
    def restarts(self) -> tuple[int, ...]:
        """The steps before which the contrastive discriminator begins anew."""
        return tuple(sorted({*self.contrastive_steps, *self.gap_steps}))

    def build(self, image_shape: Sequence[int], seed: int) -> InfoGANCR:
        return InfoGANCR(self, image_shape=image_shape, seed=seed)


def _check_schedule(
    name: str, values: Sequence[float], steps_name: str, steps: Sequence[int], most: float = float("inf")
) -> None:
    for value in values:
        check_range(name, value, 0.0, most)
    if list(steps) != sorted(set(steps)) or any(step < 1 for step in steps):
        raise ValueError(f"{steps_name} is {tuple(steps)}; allowed: positive steps that rise")
    if len(values) != len(steps) + 1:
        raise ValueError(
            f"{name} has {len(values)} values and {steps_name} {len(steps)} steps; give one value more than steps"
        )


@dataclass(frozen=True)
class Pairs:
    """Latents of image pairs that agree in one code.

    Args:
        first, second: `[batch, latents]`.
        fixed: the number of the code that agrees, `[batch]` int32.
    """

    first: tf.Tensor
    second: tf.Tensor
    fixed: tf.Tensor


@dataclass(frozen=True)
class _Contrast:
    """What a step knows of its contrastive loss: the pairs, alpha, whether alpha counts, the gap."""

    pairs: Pairs
    weight: tf.Tensor
    is_on: tf.Tensor | bool
    gap: tf.Tensor


@dataclass(frozen=True)
class _Drawn:
    """Images of one state of the generator, and how to differentiate them.

    Args:
        tape: that has seen them made.
        fakes: of the step's latents.
        pair: the two images of each pair, stacked: `[2 * batch, ...]`; None without a contrastive loss.
        statistics: batch statistics of each of the passes over the fakes and, if alpha counts, over the pair images.
    """

    tape: tf.GradientTape
    fakes: tf.Tensor
    pair: tf.Tensor | None
    statistics: list[tf.Tensor]


@keras.saving.register_keras_serializable(package="spout")
class InfoGANCR(DisentanglementModel):
    """InfoGAN-CR.

    ```
    c ~ U[-1,1]^k --.                       .--> D --> real or fake
                     >--> G --> x --> front-+
    e ~ U[-1,1]^m --'                       `--> Q --> mean of c       L_info = -E log N(c; Q(x), 1)

    (c,e), (c',e) with one c_I = c'_I --> G --> x, x' --> H --> I      L_CR = -E log H(x, x')_I

    D, front, Q:  min  L_adv,D + lambda L_info
    G:            min  L_adv,G + lambda L_info + alpha L_CR
    H:            min  L_CR
    ```

    One step updates H, then D with Q, then G several times; the vectors of spectral normalization come last. When
    alpha or the gap changes, H begins anew. `encode` returns the mean of Q.

    Args:
        options: see `InfoGANCROptions`; a mapping of them is accepted too.
        image_shape: (64, 64, channels); with the network `celeba` (32, 32, channels).
        seed: the run's seed.
        **kwargs: as in `keras.Model`.

    Raises:
        ValueError: images of another size.
    """

    headline = ("discriminator/loss", "generator/loss_adversarial", "information/lower_bound", "contrastive/accuracy")

    def __init__(
        self,
        options: InfoGANCROptions | Mapping[str, Any] | None = None,
        image_shape: Sequence[int] = (64, 64, 1),
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        options = InfoGANCROptions.of(options)
        blocks = (Uniform("c", options.codes), Uniform("z", options.noise_size, is_code=False))
        super().__init__(image_shape, LatentSpace(blocks), seed, **kwargs)
        plan = networks.PLANS[options.network]
        if tuple(self.image_shape[:2]) != (plan.side, plan.side):
            raise ValueError(
                f"image_shape is {self.image_shape}; the network {options.network!r} takes {plan.side} x {plan.side} "
                "images only"
            )
        self.options = options
        self._signed = plan.last == "tanh"
        scheme = WeightInitialization("dcgan_tensorflow", seed)
        channels = self.image_shape[2]
        self.generator = networks.build_generator(plan, self.latent_space.size, channels, scheme)
        self.front = networks.build_front(plan, channels, scheme)
        features = self.front.output_shape[-1]
        self.discriminator = networks.build_discriminator(features, scheme)
        self.recognition = networks.build_recognition(plan, features, options.codes, scheme)
        self.contrastive: keras.Model | None = None
        if options.is_contrastive:
            self.contrastive = networks.build_contrastive(plan, channels, options.codes, scheme)
        else:
            self.headline = (*self.headline[:3], "discriminator/probability_fake")
        self.built = True

    @property
    def networks(self) -> dict[str, keras.Model]:
        always = {
            "generator": self.generator,
            "front": self.front,
            "discriminator": self.discriminator,
            "recognition": self.recognition,
        }
        return always if self.contrastive is None else {**always, "contrastive": self.contrastive}

    def player_variables(self) -> dict[str, list[keras.Variable]]:
        judges = (self.front, self.discriminator, self.recognition)
        players = {
            "generator": self.generator.trainable_variables,
            "discriminator": [variable for network in judges for variable in network.trainable_variables],
        }
        if self.contrastive is not None:
            players["contrastive"] = self.contrastive.trainable_variables
        return players

    def default_optimizers(self) -> dict[str, OptimizerOptions]:
        generator, others = (2e-3, 2e-4) if self.options.network == "celeba" else (1e-3, 2e-3)
        return {
            name: AdamOptions(learning_rate=generator if name == "generator" else others)
            for name in self.player_variables()
        }

    @property
    def snapshots(self) -> dict[str, int]:
        """`infogan_modified`: the state just before the contrastive loss counts for the first time."""
        on = [weight > _LEAST_WEIGHT for weight in self.options.contrastive_weights]
        if on[0] or not any(on):
            return {}
        return {"infogan_modified": self.options.contrastive_steps[on.index(True) - 1]}

    def contrastive_weight(self, step: tf.Tensor) -> tf.Tensor:
        """alpha(t) at a step counted from 0."""
        return piecewise_constant(step, self.options.contrastive_weights, self.options.contrastive_steps)

    def gap(self, step: tf.Tensor) -> tf.Tensor:
        """The gap at a step counted from 0."""
        return piecewise_constant(step, self.options.gaps, self.options.gap_steps)

    def sample_pairs(self, batch: int | tf.Tensor, noise: Noise, gap: tf.Tensor | float) -> Pairs:
        """Pairs of latents that agree in one code and in the noise; all other codes differ by `gap` at least.

        Args:
            batch: number of pairs (on this replica).
            noise: the stateless source.
            gap: least distance, 0 to 2.

        Source: InfoGAN-CR (ICML 2020), the contrastive sampling with a gap; the authors' code, `gan/latent.py`.
        """
        codes = self.options.codes
        fixed = noise.integers("pairs/fixed", [batch], codes)
        one, other = (noise.uniform(f"pairs/{name}", [batch, codes], -1.0, 1.0) for name in ("first", "second"))
        same = tf.one_hot(fixed, codes, on_value=True, off_value=False, dtype=tf.bool)
        inner = 1.0 - 0.5 * gap
        apart = tf.where(one > other, 0.5 * gap, -0.5 * gap)
        first = tf.where(same, one, one * inner + apart)
        second = tf.where(same, one, other * inner - apart)
        shared = noise.uniform("pairs/noise", [batch, self.options.noise_size], -1.0, 1.0)
        return Pairs(tf.concat([first, shared], axis=1), tf.concat([second, shared], axis=1), fixed)

    def _contrast(self, step: tf.Tensor, batch: tf.Tensor, noise: Noise) -> _Contrast | None:
        if self.contrastive is None:
            return None
        weight, gap = self.contrastive_weight(step), self.gap(step)
        known = {value > _LEAST_WEIGHT for value in self.options.contrastive_weights}
        is_on = known.pop() if len(known) == 1 else weight > _LEAST_WEIGHT
        return _Contrast(self.sample_pairs(batch, noise, gap), weight, is_on, gap)

    def train_step(self, data: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step in the reference's order: H, then D with Q, then G several times, then the spectral vectors.

        A pass of the generator that the reference makes for several updates with the same weights is made once.
        """
        step = tf.convert_to_tensor(self.step)
        noise = Noise(self.seed, step)
        reals = self._to_network(data)
        batch = tf.shape(reals)[0]
        latents = self.latent_space.sample(batch, noise)
        contrast = self._contrast(step, batch, noise)
        if self.contrastive is not None and self.options.restarts:
            due = tf.reduce_any(tf.equal(tf.cast(step, tf.int64), tf.constant(self.options.restarts, tf.int64)))
            restart_when(due, self.players["contrastive"], self.contrastive, noise)

        drawn = self._draw(latents, contrast, idle_pair=True)
        scalars: dict[str, tf.Tensor] = {}
        if contrast is not None:
            scalars |= self._update_contrastive(drawn, contrast)
        scalars |= self._update_discriminator(reals, drawn.fakes, latents)
        passes = [drawn]
        for update in range(self.options.generator_updates):
            if update:
                passes.append(self._draw(latents, contrast, idle_pair=False))
            found = self._update_generator(passes[-1], latents, contrast)
            scalars = found | scalars
        self._move_statistics(passes, contrast)
        for network in self.networks.values():
            update_spectral_vectors(network)
        self.step.assign_add(1)
        return scalars

    def _draw(self, latents: tf.Tensor, contrast: _Contrast | None, idle_pair: bool) -> _Drawn:
        """Images of the generator as it is now.

        Args:
            latents: of the fakes.
            contrast: of the step.
            idle_pair: whether the pair images are wanted even if alpha does not count: then they are made with the
                moving statistics, and have no gradient.
        """
        with tf.GradientTape() as tape:
            fakes, statistics = self._trained_pass(latents)
            if contrast is None:
                return _Drawn(tape, fakes, None, [statistics])
            first, second = contrast.pairs.first, contrast.pairs.second

            def lively() -> tuple[tf.Tensor, tf.Tensor]:
                (one, of_one), (other, of_other) = self._trained_pass(first), self._trained_pass(second)
                return tf.concat([one, other], axis=0), tf.stack([of_one, of_other])

            def idle() -> tuple[tf.Tensor, tf.Tensor]:
                both = tf.concat([first, second], axis=0)
                no_statistics = tf.zeros([2, *statistics.shape])
                if idle_pair:
                    return tf.stop_gradient(self.generator(both, training=False)), no_statistics
                return tf.zeros([tf.shape(both)[0], *self.image_shape]), no_statistics

            pair, of_pair = _choose(contrast.is_on, lively, idle)
        return _Drawn(tape, fakes, pair, [statistics, *tf.unstack(of_pair)])

    def _trained_pass(self, latents: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Images in training mode, and in place of moving the moving statistics what would move them."""
        with deferred_moving_statistics() as notes:
            images = self.generator(latents, training=True)
        return images, _flat_statistics(self._batch_norms(), notes)

    def _batch_norms(self) -> list[BatchNormalization]:
        return [layer for layer in self.generator.layers if isinstance(layer, BatchNormalization)]

    def _move_statistics(self, passes: Sequence[_Drawn], contrast: _Contrast | None) -> None:
        """Moves the generator's moving statistics as often as the reference, which shares no pass.

        That is before the contrastive loss counts: once for D and once for each update of G. After: twice for H, once
        for D, three times for each update of G. Moving is linear, so all of it together is one product.
        """
        layers = self._batch_norms()
        momentum = layers[0].momentum
        places: list[range] = []
        rows: list[tf.Tensor] = []
        for drawn in passes:
            places.append(range(len(rows), len(rows) + len(drawn.statistics)))
            rows.extend(drawn.statistics)
        quiet = [places[0][0], *(place[0] for place in places)]
        weights = tf.constant(_moving_weights(quiet, len(rows), momentum))
        if contrast is not None:
            busy = [*places[0][1:], places[0][0], *(row for place in places for row in place)]
            weights = tf.where(contrast.is_on, _moving_weights(busy, len(rows), momentum), weights)
        before = tf.concat(
            [tf.convert_to_tensor(part) for layer in layers for part in (layer.moving_mean, layer.moving_variance)], 0
        )
        after = tf.linalg.matvec(tf.stack([before, *(tf.stop_gradient(row) for row in rows)]), weights, True)
        sizes = [layer.moving_mean.shape[0] for layer in layers for _ in range(2)]
        parts = iter(tf.split(after, sizes))
        for layer in layers:
            layer.moving_mean.assign(next(parts))
            layer.moving_variance.assign(next(parts))

    def _contrastive_loss(self, pair: tf.Tensor, fixed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """L_CR of each pair, and whether H names its code, each `[batch]`."""
        logits = self.contrastive(tf.concat(tf.split(pair, 2), axis=-1), training=True)  # type: ignore[misc]
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=fixed, logits=logits)
        return loss, tf.cast(tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), fixed), tf.float32)

    def _update_contrastive(self, drawn: _Drawn, contrast: _Contrast) -> dict[str, tf.Tensor]:
        player = self.players["contrastive"]
        pair = tf.stop_gradient(drawn.pair)
        with tf.GradientTape() as tape:
            per_pair, right = self._contrastive_loss(pair, contrast.pairs.fixed)
            loss = global_mean(per_pair)
        player.update(tape.gradient(loss, player.variables))
        return {
            "contrastive/loss": tf.reduce_mean(per_pair),
            "contrastive/accuracy": tf.reduce_mean(right),
            "contrastive/weight": contrast.weight,
            "contrastive/gap": contrast.gap,
        }

    def _update_discriminator(self, reals: tf.Tensor, fakes: tf.Tensor, latents: tf.Tensor) -> dict[str, tf.Tensor]:
        player = self.players["discriminator"]
        # Neither D nor Q normalizes over the batch, so both kinds of images pass as one.
        images = tf.concat([reals, tf.stop_gradient(fakes)], axis=0)
        with tf.GradientTape() as tape:
            features = self.front(images, training=True)
            real_logits, fake_logits = tf.split(self.discriminator(features, training=True), 2)
            information, per_code = self._information_loss(tf.split(features, 2)[1], latents)
            real_loss = losses.guarded_cross_entropy(real_logits, real=True)
            fake_loss = losses.guarded_cross_entropy(fake_logits, real=False)
            total = (
                global_mean(real_loss)
                + global_mean(fake_loss)
                + self.options.information_weight * global_mean(information)
            )
        player.update(tape.gradient(total, player.variables))
        lower_bounds = losses.uniform_entropy(-1.0, 1.0) - tf.reduce_mean(per_code, axis=0)
        return {
            "discriminator/loss": tf.reduce_mean(real_loss) + tf.reduce_mean(fake_loss),
            "discriminator/loss_real": tf.reduce_mean(real_loss),
            "discriminator/loss_fake": tf.reduce_mean(fake_loss),
            "discriminator/probability_real": tf.reduce_mean(tf.sigmoid(real_logits)),
            "discriminator/probability_fake": tf.reduce_mean(tf.sigmoid(fake_logits)),
            "information/loss": tf.reduce_mean(information),
            "information/lower_bound": tf.reduce_sum(lower_bounds),
            **{f"information/c{index}": value for index, value in enumerate(tf.unstack(lower_bounds))},
        }

    def _information_loss(self, features: tf.Tensor, latents: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """L_info of each image, `[batch]`, and of each code, `[batch, codes]`."""
        codes = latents[:, : self.options.codes]
        per_code = -losses.gaussian_log_likelihood(codes, self.recognition(features, training=True), 0.0)
        return tf.reduce_sum(per_code, axis=1), per_code

    def _update_generator(self, drawn: _Drawn, latents: tf.Tensor, contrast: _Contrast | None) -> dict[str, tf.Tensor]:
        player = self.players["generator"]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(drawn.fakes)
            features = self.front(drawn.fakes, training=True)
            logits = self.discriminator(features, training=True)
            adversarial = losses.guarded_cross_entropy(logits, real=True)
            information, _ = self._information_loss(features, latents)
            total = global_mean(adversarial) + self.options.information_weight * global_mean(information)
        images, upstream = [drawn.fakes], [tape.gradient(total, drawn.fakes)]
        loss = total
        if contrast is not None:
            contrastive, of_pair = self._contrastive_gradient(drawn.pair, contrast)
            images.append(drawn.pair)
            upstream.append(of_pair)
            loss += contrastive
        player.update(drawn.tape.gradient(images, player.variables, output_gradients=upstream))
        return {
            "generator/loss": loss * replica_count(),
            "generator/loss_adversarial": tf.reduce_mean(adversarial),
        }

    def _contrastive_gradient(self, pair: tf.Tensor, contrast: _Contrast) -> tuple[tf.Tensor, tf.Tensor]:
        """This replica's share of alpha L_CR, and its gradient with respect to the pair images."""

        def lively() -> tuple[tf.Tensor, tf.Tensor]:
            # H's moving statistics, which nothing uses, move in H's own update only.
            with tf.GradientTape(watch_accessed_variables=False) as tape, deferred_moving_statistics():
                tape.watch(pair)
                per_pair, _ = self._contrastive_loss(pair, contrast.pairs.fixed)
                loss = contrast.weight * global_mean(per_pair)
            return loss, tape.gradient(loss, pair)

        return _choose(contrast.is_on, lively, lambda: (tf.constant(0.0), tf.zeros_like(pair)))

    def _to_network(self, images: tf.Tensor) -> tf.Tensor:
        images = tf.cast(images, tf.float32)
        return images * 2.0 - 1.0 if self._signed else images

    def generate(self, latents: tf.Tensor) -> tf.Tensor:
        """Images in [0, 1] of codes and noise, `[batch, codes + noise_size]`."""
        images = self.generator(latents, training=False)
        return (images + 1.0) * 0.5 if self._signed else images

    def encode(self, images: tf.Tensor) -> tf.Tensor:
        """The mean of Q, `[batch, codes]`: the representation that the paper measures."""
        return self.recognition(self.front(self._to_network(images), training=False), training=False)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "options": self.options.as_dict()}


def _choose(
    condition: tf.Tensor | bool, yes: Callable[[], tuple[tf.Tensor, ...]], no: Callable[[], tuple[tf.Tensor, ...]]
) -> tuple[tf.Tensor, ...]:
    """What one of two functions gives; of both on several replicas, whose batch statistics cannot wait in a branch."""
    if isinstance(condition, bool):
        return yes() if condition else no()
    if replica_count() == 1:
        return tuple(tf.cond(condition, yes, no))
    return tuple(tf.where(condition, one, other) for one, other in zip(yes(), no(), strict=True))


def _flat_statistics(layers: Sequence[BatchNormalization], notes: Sequence[BatchStatistics]) -> tf.Tensor:
    """Mean and variance of each layer in one vector, in the layers' order."""
    of_layer = {id(note.layer): note for note in notes}
    return tf.concat([part for layer in layers for part in (of_layer[id(layer)].mean, of_layer[id(layer)].variance)], 0)


def _moving_weights(order: Sequence[int], rows: int, momentum: float) -> list[float]:
    """Weights of the old moving statistics and of `rows` batch statistics after moving by them in this order."""
    weights = [0.0] * rows
    for place, row in enumerate(order):
        weights[row] += (1.0 - momentum) * momentum ** (len(order) - 1 - place)
    return [momentum ** len(order), *weights]
