"""VGAN: GANs with the variational discriminator bottleneck, VDB (Peng et al., ICLR 2019).

Sources: the authors' image code (`variant="official"`, whose settings are those of the published numbers), the paper's
text (`variant="paper"`), and the best-known re-implementation (`variant="community"`). They are three models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras
import tensorflow as tf

from models import gradient_penalties as penalties
from models.adversarial import AdversarialLoss, AdversarialOptions, discriminator_parts, generator_parts, needs_real
from models.base import DisentanglementModel
from models.distribution import all_replicas_mean, global_mean, replica_count
from models.initializers import Scheme, WeightInitialization
from models.latents import Block, LatentSpace, Normal, Uniform
from models.networks import vgan as networks
from models.networks.vgan import Bottleneck
from models.noise import Noise
from models.optimizers import OptimizerOptions, RMSpropOptions
from models.options import ModelOptions, check_choice, check_range, given
from models.vgan_growing import grow

Variant = Literal["official", "community", "paper"]
Deviation = Literal["exp", "sigmoid"]
View = Literal["mean", "sample"]
GradientPenalty = Literal["none", "real", "fake", "wasserstein"]
LatentDistribution = Literal["normal", "uniform", "unit_uniform"]

_OFFICIAL: dict[str, Any] = {
    "z_dim": 256,
    "width": 32,
    "max_width": 256,
    "label_embedding": 1,
    "bottleneck": "spatial",
    "deviation": "exp",
    "activation_before_score": True,
    "generator_sees": "sample",
    "adversarial_loss": "standard",
    "discriminator_scale": 1.0,
    "drift": 0.0,
    "gradient_penalty": "none",
    "information_constraint": 0.1,
    "beta": 0.1,
    "beta_step": 1e-5,
    "constraint_in_loss": False,
    "divergence_epsilon": 0.0,
    "average_decay": 0.999,
    "flip": True,
    "dequantization": 1.0 / 128.0,
}
_OF_VARIANT: dict[str, dict[str, Any]] = {
    "official": _OFFICIAL,
    "community": {
        "z_dim": 512,
        "width": 64,
        "max_width": 1024,
        "label_embedding": 0,
        "bottleneck": "vector",
        "deviation": "sigmoid",
        "activation_before_score": True,
        "generator_sees": "mean",
        "adversarial_loss": "wasserstein",
        "discriminator_scale": 0.5,
        "drift": 0.001,
        "gradient_penalty": "wasserstein",
        "information_constraint": 0.2,
        "beta": 0.0,
        "beta_step": 1e-6,
        "constraint_in_loss": True,
        "divergence_epsilon": 1e-8,
        "average_decay": 0.0,
        "flip": False,
        "dequantization": 0.0,
    },
    # What the paper's text leaves open is as in its authors' code.
    "paper": {
        **_OFFICIAL,
        "label_embedding": 0,
        "bottleneck": "vector",
        "activation_before_score": False,
        "generator_sees": "mean",
        "constraint_in_loss": True,
    },
}


@dataclass(frozen=True)
class VGANOptions(ModelOptions):
    """The options of VGAN. The defaults are the authors' CIFAR-10 experiment.

    Args:
        variant: `official`, `community` or `paper`; sets those of the options below that are None.
        z_dim: size of the generator's noise.
        latent_distribution: `normal`; `uniform`, in [-1, 1]; or `unit_uniform`, in [0, 1) (community).
        traversed: so many numbers of z are moved in traversals.
        width: channels next to the image; they double with each halving of the map.
        max_width: but to no more than this.
        label_embedding: size of the embedding of the one label that is appended to z (official); 0: none.
        bottleneck: `spatial`, at each of the 16 positions of the last map (official); `vector` (community, paper);
            `instance_noise`: a spatial one without deviations, to which standard normal noise is added (official
            `instnoise`); `none`: a plain discriminator.
        bottleneck_size: K, of the vector or at each position. None: half of the last map's channels for the vector,
            `max_width` otherwise.
        deviation: how the bottleneck's standard deviation is parametrized.
        activation_before_score: whether a leaky ReLU comes before the linear unit (official, community).
        generator_sees: whether the generator's scores are of the bottleneck's mean (paper eq. 11, community) or of a
            sample (official).
        adversarial_loss: see `models.adversarial`.
        discriminator_scale: factor of the discriminator's standard loss; the community code has 0.5.
        drift: weight of the squared scores of reals in the Wasserstein loss.
        double_sigmoid: a slip of the community code (`standard-gan_with-sigmoid`): scores pass two sigmoids.
        squares_of_means: another one, in its `lsgan`: squares of a batch's mean, not means of squares.
        gradient_penalty: `real`: squared gradient norms at reals (R1); `fake`: at fakes; `wasserstein`: WGAN-GP's;
            `none`.
        gradient_penalty_weight: published 10, with instance noise 0.05. R1 has no factor 1/2.
        per_pixel_penalty: a slip of the community code: WGAN-GP's norm is over the channels, at each pixel.
        information_constraint: I_c in nats; of the spatial bottleneck at each position.
        beta: the weight of the bottleneck's divergence, or its start.
        beta_step: beta's own learning rate, alpha_beta.
        adaptive_beta: whether beta learns.
        constraint_in_loss: whether the loss has `beta * (divergence - I_c)` and not `beta * divergence`; gradients are
            the same.
        divergence_epsilon: added to the variance in the divergence's logarithm.
        average_decay: of the moving average of the generator's weights; 0: there is none.
        generate_from_average: whether `generate` takes the average.
        discriminator_updates: updates of D for one of G, each on an equal part of the batch.
        flip: mirror every real image with probability 1/2.
        dequantization: uniform noise from 0 to this is added to reals in [-1, 1].
        weight_initialization: a scheme of `models.initializers`.

    Raises:
        ValueError: an option out of its range.
    """

    variant: Variant = "official"
    z_dim: int | None = None
    latent_distribution: LatentDistribution = "normal"
    traversed: int = 8
    width: int | None = None
    max_width: int | None = None
    label_embedding: int | None = None
    bottleneck: Bottleneck | None = None
    bottleneck_size: int | None = None
    deviation: Deviation | None = None
    activation_before_score: bool | None = None
    generator_sees: View | None = None
    adversarial_loss: AdversarialLoss | None = None
    discriminator_scale: float | None = None
    drift: float | None = None
    double_sigmoid: bool = False
    squares_of_means: bool = False
    gradient_penalty: GradientPenalty | None = None
    gradient_penalty_weight: float = 10.0
    per_pixel_penalty: bool = False
    information_constraint: float | None = None
    beta: float | None = None
    beta_step: float | None = None
    adaptive_beta: bool = True
    constraint_in_loss: bool | None = None
    divergence_epsilon: float | None = None
    average_decay: float | None = None
    generate_from_average: bool = True
    discriminator_updates: int = 1
    flip: bool | None = None
    dequantization: float | None = None
    weight_initialization: Scheme = "pytorch"

    def __post_init__(self) -> None:
        check_choice("variant", self.variant, Variant)
        self._follow(**_OF_VARIANT[self.variant])
        for name, allowed in (
            ("latent_distribution", LatentDistribution),
            ("bottleneck", Bottleneck),
            ("deviation", Deviation),
            ("generator_sees", View),
            ("adversarial_loss", AdversarialLoss),
            ("gradient_penalty", GradientPenalty),
            ("weight_initialization", Scheme),
        ):
            check_choice(name, getattr(self, name), allowed)
        for name in ("z_dim", "width", "max_width", "discriminator_updates"):
            check_range(name, getattr(self, name), 1)
        if self.bottleneck_size is not None:
            check_range("bottleneck_size", self.bottleneck_size, 1)
        check_range("traversed", self.traversed, 1, given(self.z_dim))
        check_range("average_decay", given(self.average_decay), 0.0, 1.0)
        for name in (
            "label_embedding",
            "discriminator_scale",
            "drift",
            "gradient_penalty_weight",
            "information_constraint",
            "beta",
            "beta_step",
            "divergence_epsilon",
            "dequantization",
        ):
            check_range(name, getattr(self, name))

    @property
    def has_divergence(self) -> bool:
        """Whether the bottleneck is one whose divergence is constrained."""
        return self.bottleneck in ("spatial", "vector")

    @property
    def adversarial(self) -> AdversarialOptions:
        """The adversarial objective."""
        return AdversarialOptions(
            kind=given(self.adversarial_loss),
            discriminator_scale=given(self.discriminator_scale),
            drift=given(self.drift),
            double_sigmoid=self.double_sigmoid,
            squares_of_means=self.squares_of_means,
        )

    @property
    def batch_parts(self) -> int:
        return self.discriminator_updates

    def build(self, image_shape: Sequence[int], seed: int) -> VGAN:
        return VGAN(self, image_shape=image_shape, seed=seed)


@dataclass(frozen=True)
class Judgement:
    """What the discriminator says of images.

    Args:
        score: `[batch]`; above 0: real.
        divergence: of the bottleneck from N(0, I) in nats, of `spatial` the mean over the positions, `[batch]`; 0
            where there is none.
    """

    score: tf.Tensor
    divergence: tf.Tensor


@keras.saving.register_keras_serializable(package="spout")
class VGAN(DisentanglementModel):
    """VGAN.

    ```
    z --> generator --> x --> encoder --> E(c|x) = N(mu, sigma^2) ~ c --> judge --> score

    encoder, judge:  min  L_D + penalty + beta (E KL(E(c|x) || N(0, I)) - I_c),   x half real, half generated
    beta:            beta <- max(0, beta + beta_step (E KL - I_c))
    generator:       min  L_G, of scores of mu or of c
    ```

    `encode` returns the bottleneck's mean as one vector (of a plain discriminator, its last map); the representation
    `pooled` is its mean over the positions. z is noise, of which the first numbers count as codes so that there is
    something to traverse.

    Args:
        options: see `VGANOptions`; a mapping of them is accepted too.
        image_shape: height, width and channels; square, the side a power of two, 4 or more.
        seed: the run's seed.
        **kwargs: as in `keras.Model`.

    Raises:
        ValueError: images of another shape.
    """

    headline = ("discriminator/loss", "discriminator/accuracy_fake", "bottleneck/kl", "bottleneck/beta")

    def __init__(
        self,
        options: VGANOptions | Mapping[str, Any] | None = None,
        image_shape: Sequence[int] = (32, 32, 3),
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        options = VGANOptions.of(options)
        super().__init__(image_shape, _latent_space(options), seed, **kwargs)
        self.options = options
        if not options.has_divergence:
            self.headline = (*self.headline[:2], "discriminator/accuracy_real", "generator/gradient_norm")
        plan = networks.plan_for(self.image_shape, given(options.width), given(options.max_width))
        kind: Bottleneck = given(options.bottleneck)
        scheme = WeightInitialization(options.weight_initialization, self.seed)
        size = options.bottleneck_size
        if size is None:
            size = given(options.max_width) if kind != "vector" else max(1, plan.map_width // 2)
        z_dim, label = given(options.z_dim), given(options.label_embedding)
        self.generator = networks.build_generator(plan, z_dim, label, scheme)
        self.encoder = networks.build_encoder(plan, kind, size, scheme)
        code_shape = [*self.encoder.output_shape[1:-1], plan.map_width if kind == "none" else size]
        self.judge = networks.build_judge(code_shape, given(options.activation_before_score), scheme)
        self.average: keras.Model | None = None
        if options.average_decay:
            self.average = networks.build_generator(plan, z_dim, label, scheme, name="generator_average")
            self.average.trainable = False
            self._move_average(0.0)
        self.beta = self.add_weight(
            shape=(),
            dtype="float32",
            trainable=False,
            initializer=keras.initializers.Constant(given(options.beta)),
            name="beta",
            aggregation="only_first_replica",
        )
        self.built = True

    @property
    def networks(self) -> dict[str, keras.Model]:
        always = {"generator": self.generator, "encoder": self.encoder, "judge": self.judge}
        return always if self.average is None else {**always, "generator_average": self.average}

    def player_variables(self) -> dict[str, list[keras.Variable]]:
        return {
            "discriminator": self.encoder.trainable_variables + self.judge.trainable_variables,
            "generator": self.generator.trainable_variables,
        }

    def default_optimizers(self) -> dict[str, OptimizerOptions]:
        return {name: RMSpropOptions(learning_rate=1e-4) for name in ("discriminator", "generator")}

    def train_step(self, data: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step in the references' order: D, beta, then G on fresh noise, then the average of G."""
        updates, step = self.options.discriminator_updates, tf.convert_to_tensor(self.step)
        if (data.shape[0] or 0) % updates:
            raise ValueError(
                f"a batch of {data.shape[0]} images cannot be cut into {updates} equal parts, one for each update of "
                "the discriminator"
            )
        scalars: dict[str, tf.Tensor] = {}
        for update in range(updates):
            noise = Noise(self.seed, step * (updates + 1) + update)
            reals = self._augmented(data[update::updates], noise)
            scalars = self._update_discriminator(reals, noise)
        scalars |= self._update_generator(reals, Noise(self.seed, step * (updates + 1) + updates))
        self._move_average(given(self.options.average_decay))
        self.step.assign_add(1)
        return scalars

    def _augmented(self, images: tf.Tensor, noise: Noise) -> tf.Tensor:
        """Reals in [-1, 1], mirrored at random and dequantized."""
        reals = 2.0 * tf.cast(images, tf.float32) - 1.0
        if self.options.flip:
            mirrored = noise.uniform("flip", [tf.shape(reals)[0]]) < 0.5
            reals = tf.where(mirrored[:, None, None, None], reals[:, :, ::-1], reals)
        if amount := given(self.options.dequantization):
            reals += noise.uniform("dequantization", tf.unstack(tf.shape(reals)), 0.0, amount)
        return reals

    def posterior(self, images: tf.Tensor, training: bool) -> tuple[tf.Tensor, tf.Tensor | None, tf.Tensor]:
        """The bottleneck's distribution E(c|x).

        Args:
            images: in [-1, 1].
            training: whether this is a step.

        Returns:
            mean, standard deviation (None where there is none), and the divergence as in `Judgement`. The first two are
            `[batch, K]` or `[batch, 4, 4, K]`.
        """
        statistics = tf.cast(self.encoder(images, training=training), tf.float32)
        if not self.options.has_divergence:
            return statistics, None, tf.zeros(tf.shape(statistics)[:1])
        mean, raw = tf.split(statistics, 2, axis=-1)
        deviation = tf.exp(raw) if self.options.deviation == "exp" else tf.sigmoid(raw)
        epsilon = given(self.options.divergence_epsilon)
        logarithm = 2.0 * raw if self.options.deviation == "exp" and not epsilon else None
        return mean, deviation, code_divergence(mean, deviation, epsilon, logarithm)

    def _judge(self, images: tf.Tensor, noises: Sequence[tf.Tensor] | None) -> Judgement:
        """Scores images in [-1, 1].

        Args:
            images: one or several batches, one behind the other.
            noises: standard normal noise for the bottleneck, for each batch; None: its mean is judged.
        """
        mean, deviation, divergence = self.posterior(images, training=True)
        code = mean
        # Instance noise is not switched off for the generator, whatever it sees otherwise.
        if noises is not None and self.options.bottleneck != "none":
            noise = tf.concat(list(noises), axis=0)
            code += noise if deviation is None else deviation * noise
        return Judgement(tf.reshape(self.judge(code, training=True), [-1]), divergence)

    def _bottleneck_noise(self, noise: Noise, stream: str, batch: tf.Tensor) -> tf.Tensor:
        return noise.normal(f"bottleneck/{stream}", [batch, *self.judge.input_shape[1:]])

    def _judge_both(self, reals: tf.Tensor, fakes: tf.Tensor, noise: Noise) -> tuple[Judgement, Judgement, tf.Tensor]:
        """Judgements of a D update with the gradients of the scores that its penalty needs, `[batch, ...]` or empty."""
        kind, batch = self.options.gradient_penalty, tf.shape(reals)[0]
        streams = {name: self._bottleneck_noise(noise, name, batch) for name in ("real", "fake")}
        if kind not in ("real", "fake"):
            both = self._judge(tf.concat([reals, fakes], axis=0), [streams["real"], streams["fake"]])
            (real_score, fake_score), (real_kl, fake_kl) = tf.split(both.score, 2), tf.split(both.divergence, 2)
            real, fake = Judgement(real_score, real_kl), Judgement(fake_score, fake_kl)
            if kind == "none":
                return real, fake, tf.zeros([0])
            mixed = penalties.interpolates(reals, fakes, noise.uniform("interpolates", [batch]))
            stream = self._bottleneck_noise(noise, "interpolates", batch)
            return real, fake, penalties.slopes(lambda images: self._judge(images, [stream]).score, mixed)
        judged: dict[str, Judgement] = {}

        def score(name: str) -> Callable[[tf.Tensor], tf.Tensor]:
            def of(images: tf.Tensor) -> tf.Tensor:
                judged[name] = self._judge(images, [streams[name]])
                return judged[name].score

            return of

        images = {"real": reals, "fake": fakes}
        other = "fake" if kind == "real" else "real"
        gradients = penalties.slopes(score(kind), images[kind])
        score(other)(images[other])
        return judged["real"], judged["fake"], gradients

    def _penalty(self, gradients: tf.Tensor) -> tf.Tensor:
        """The unweighted gradient penalty, `[batch]`."""
        if self.options.gradient_penalty == "wasserstein":
            return penalties.two_sided(gradients, self.options.per_pixel_penalty)
        return penalties.zero_centered(gradients)

    def _update_discriminator(self, reals: tf.Tensor, noise: Noise) -> dict[str, tf.Tensor]:
        """One update of D, then one of beta."""
        options, player, beta = self.options, self.players["discriminator"], tf.convert_to_tensor(self.beta)
        penalized = options.gradient_penalty != "none"
        fakes = self.generator(self.latent_space.sample(tf.shape(reals)[0], noise), training=True)
        with tf.GradientTape() as tape:
            real, fake, gradients = self._judge_both(reals, fakes, noise)
            loss_real, loss_fake = (
                global_mean(part) for part in discriminator_parts(options.adversarial, real.score, fake.score)
            )
            loss = loss_real + loss_fake
            divergence = 0.5 * (global_mean(real.divergence) + global_mean(fake.divergence))
            if options.has_divergence:
                constraint = given(options.information_constraint) if options.constraint_in_loss else 0.0
                loss += beta * (divergence - constraint / replica_count())
            if penalized:
                penalty = global_mean(self._penalty(gradients))
                loss += options.gradient_penalty_weight * penalty
        player.update(tape.gradient(loss, player.variables))
        scalars = {
            "discriminator/loss": loss * replica_count(),
            "discriminator/loss_real": loss_real * replica_count(),
            "discriminator/loss_fake": loss_fake * replica_count(),
            "discriminator/accuracy_real": tf.reduce_mean(tf.cast(real.score > 0.0, tf.float32)),
            "discriminator/accuracy_fake": tf.reduce_mean(tf.cast(fake.score < 0.0, tf.float32)),
        }
        if penalized:
            scalars["discriminator/gradient_penalty"] = penalty * replica_count()
            scalars["discriminator/gradient_norm"] = tf.reduce_mean(penalties.gradient_norms(gradients))
        if options.has_divergence:
            scalars |= self._update_beta(divergence * replica_count())
            scalars["bottleneck/kl_real"] = tf.reduce_mean(real.divergence)
            scalars["bottleneck/kl_fake"] = tf.reduce_mean(fake.divergence)
        return scalars

    def _update_beta(self, divergence: tf.Tensor) -> dict[str, tf.Tensor]:
        """Dual ascent on beta, by the divergence of the global batch.

        Args:
            divergence: E KL of this replica's batch.

        Source: VDB (ICLR 2019), eq. 9.
        """
        beta, target = tf.convert_to_tensor(self.beta), given(self.options.information_constraint)
        violation = all_replicas_mean(divergence) - target
        if self.options.adaptive_beta:
            self.beta.assign(tf.maximum(0.0, beta + given(self.options.beta_step) * violation))
        return {
            "bottleneck/kl": divergence,
            "bottleneck/target": tf.constant(target, tf.float32),
            "bottleneck/violation": violation,
            "bottleneck/beta": beta,
        }

    def _update_generator(self, reals: tf.Tensor, noise: Noise) -> dict[str, tf.Tensor]:
        """One update of G on fresh noise."""
        options, player, batch = self.options, self.players["generator"], tf.shape(reals)[0]
        real_score = None
        if needs_real(options.adversarial):
            real_score = self._judge(reals, self._generator_noise(noise, "real", batch)).score
        latents = self.latent_space.sample(batch, noise)
        with tf.GradientTape() as tape:
            fakes = self.generator(latents, training=True)
            fake = self._judge(fakes, self._generator_noise(noise, "fake", batch))
            parts = generator_parts(options.adversarial, real_score, fake.score)
            loss = global_mean(parts[0]) + global_mean(parts[1])
        *gradients, slope = tape.gradient(loss, [*player.variables, fakes])
        player.update(gradients)
        # Of the mean loss of all images; times their number, of the loss of one.
        images = tf.cast(batch * replica_count(), tf.float32)
        return {
            "generator/loss": loss * replica_count(),
            "generator/gradient_norm": images * tf.reduce_mean(penalties.gradient_norms(slope)),
        }

    def _generator_noise(self, noise: Noise, stream: str, batch: tf.Tensor) -> list[tf.Tensor] | None:
        if self.options.generator_sees == "mean" and self.options.bottleneck != "instance_noise":
            return None
        return [self._bottleneck_noise(noise, stream, batch)]

    def _move_average(self, decay: float) -> None:
        """`average <- decay * average + (1 - decay) * generator`."""
        if self.average is None:
            return
        for average, present in zip(self.average.variables, self.generator.variables, strict=True):
            average.assign(decay * average + (1.0 - decay) * present)

    def take_over(self, other: DisentanglementModel) -> list[str]:
        """Starts from the weights of another VGAN, also of one for smaller images, see `models.vgan_growing.grow`."""
        return grow(other, self) if isinstance(other, VGAN) else super().take_over(other)

    def generate(self, latents: tf.Tensor) -> tf.Tensor:
        """Images in [0, 1] by the averaged generator, if there is one and `generate_from_average` says so."""
        network = self.average if self.options.generate_from_average and self.average else self.generator
        return 0.5 * (tf.cast(network(latents, training=False), tf.float32) + 1.0)

    def encode(self, images: tf.Tensor) -> tf.Tensor:
        """The bottleneck's mean as one vector, `[batch, K]` or `[batch, 16 * K]`."""
        mean = self._mean(images)
        return tf.reshape(mean, [tf.shape(mean)[0], -1])

    def encode_pooled(self, images: tf.Tensor) -> tf.Tensor:
        """The bottleneck's mean, averaged over the positions, `[batch, K]`."""
        mean = self._mean(images)
        return mean if mean.shape.rank == 2 else tf.reduce_mean(mean, axis=[1, 2])

    def _mean(self, images: tf.Tensor) -> tf.Tensor:
        return self.posterior(2.0 * tf.cast(images, tf.float32) - 1.0, training=False)[0]

    @property
    def representations(self) -> dict[str, Callable[[tf.Tensor], tf.Tensor]]:
        return {"mean": self.encode, "pooled": self.encode_pooled}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "options": self.options.as_dict()}


def _latent_space(options: VGANOptions) -> LatentSpace:
    blocks: list[Block] = []
    for name, size in (("z", options.traversed), ("noise", given(options.z_dim) - options.traversed)):
        if not size:
            continue
        if options.latent_distribution == "normal":
            blocks.append(Normal(name, size, is_code=name == "z"))
        else:
            low = -1.0 if options.latent_distribution == "uniform" else 0.0
            blocks.append(Uniform(name, size, low, 1.0, is_code=name == "z"))
    return LatentSpace(tuple(blocks))


def code_divergence(
    mean: tf.Tensor, deviation: tf.Tensor, epsilon: float = 0.0, log_variance: tf.Tensor | None = None
) -> tf.Tensor:
    """KL(N(mean, deviation^2) || N(0, I)) in nats, of maps the mean over their positions.

    Args:
        mean, deviation: `[batch, K]` or `[batch, height, width, K]`.
        epsilon: added to the variance in the logarithm; the community code has 1e-8.
        log_variance: if it is known; `epsilon` is then without effect.

    Returns:
        `[batch]`.

    Source: VDB (ICLR 2019), eq. 8; the authors' code for maps.
    """
    variance = tf.square(deviation)
    logarithm = tf.math.log(variance + epsilon) if log_variance is None else log_variance
    divergence = 0.5 * tf.reduce_sum(tf.square(mean) + variance - logarithm - 1.0, axis=-1)
    return divergence if divergence.shape.rank == 1 else tf.reduce_mean(divergence, axis=[1, 2])
