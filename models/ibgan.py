"""IB-GAN: disentangled representation learning with an information-bottleneck GAN (AAAI 2021).

Sources: the authors' code (`variant="official"`, which made the published numbers) and its best-known community
re-implementation (`variant="community"`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras
import tensorflow as tf

from models import losses
from models.base import DisentanglementModel
from models.distribution import all_replicas_mean, global_mean, replica_count
from models.initializers import Scheme, WeightInitialization
from models.latents import LatentSpace, Normal
from models.networks import ibgan as networks
from models.noise import Noise
from models.optimizers import OptimizerOptions, RMSpropOptions
from models.options import ModelOptions, check_choice, check_range, given
from models.schedules import linear_ramp

Variant = Literal["official", "community"]
Towers = Literal["separate", "shared"]
KlRule = Literal["constant", "official", "community"]
UpdateOrder = Literal["simultaneous", "sequential"]
InitializationScope = Literal["all", "community"]
NoiseRamp = Literal["official", "community"]
AdversarialLoss = Literal["cross_entropy", "least_squares"]

_RUNAWAY_KL = 20.0
_RUNAWAY_WEIGHT = 100.0
_SMOOTHED_LABELS = (0.7, 1.2)
_LEAKY_SLOPE = 0.2


@dataclass(frozen=True)
class IBGANOptions(ModelOptions):
    """The options of IB-GAN. The defaults are the published dSprites experiment.

    Args:
        z_dim: size of the noise z.
        r_dim: size of the bottleneck r.
        generator_width: `ngf`, base width of G.
        discriminator_width: `ndf`, base width of D and q.
        encoder_size: `small` (dSprites) or `large` (CelebA, 3D Chairs).
        towers: D and q `separate` (dSprites), or on a `shared` front that only D trains (CelebA, 3D Chairs).
        beta: weight of the upper bound I_U. Published: dSprites 0.141, color dSprites 0.071, CelebA 0.35, chairs 0.325.
        lambda_information: lambda, weight of the lower bound I_L.
        gan_weight: gamma, weight of G's adversarial loss (read, but never used, by the community code).
        adversarial_loss: `cross_entropy` (non-saturating) or `least_squares`.
        instance_noise: whether noise is added to what D and q see.
        noise_start, noise_end: deviation of that noise at the two ends of its ramp.
        noise_steps: length of the ramp.
        label_smoothing: targets of real images from U(0.7, 1.2) in place of 1.
        weight_initialization: `normal`, `xavier`, `kaiming`, `orthogonal` or `pytorch`.
        variant: `official` or `community`; sets those of the options below that are None.
        kl_rule: `constant`: beta. `official`: beta; with beta 0, a weight of 100 once I_U reaches 20 nats.
            `community`: beta below 20 nats, 100 from there on.
        update_order: `simultaneous`: one pass of D and q over the fakes serves both losses. `sequential`: G's losses
            come from a second pass, after D's update.
        smooth_generator_labels: whether label smoothing reaches the targets of G; `community` re-uses D's.
        noise_ramp: `official`: reaches its end at step `noise_steps`, counted from 1. `community`: counted from 0,
            and running on beyond the end, down to 0.
        initialization_scope: `all` weights; `community`: the transposed convolutions and, with `normal`, all that
            follows the first convolution without a bias keep PyTorch's default.
        reconstructor_slope: slope of the leaky ReLU of q's last hidden layer (separate towers only). `community`:
            16 * discriminator_width, a bug there: the width stands where the slope belongs.

    Raises:
        ValueError: an option out of its range.
    """

    z_dim: int = 16
    r_dim: int = 10
    generator_width: int = 16
    discriminator_width: int = 16
    encoder_size: networks.EncoderSize = "small"
    towers: Towers = "separate"
    beta: float = 0.141
    lambda_information: float = 1.0
    gan_weight: float = 1.0
    adversarial_loss: AdversarialLoss = "cross_entropy"
    instance_noise: bool = True
    noise_start: float = 1.0
    noise_end: float = 0.0
    noise_steps: int = 100_000
    label_smoothing: bool = False
    weight_initialization: Scheme = "normal"
    variant: Variant = "official"
    kl_rule: KlRule | None = None
    update_order: UpdateOrder | None = None
    smooth_generator_labels: bool | None = None
    noise_ramp: NoiseRamp | None = None
    initialization_scope: InitializationScope | None = None
    reconstructor_slope: float | None = None

    def __post_init__(self) -> None:
        check_choice("variant", self.variant, Variant)
        community = self.variant == "community"
        self._follow(
            kl_rule=self.variant,
            update_order="sequential" if community else "simultaneous",
            smooth_generator_labels=community,
            noise_ramp=self.variant,
            initialization_scope="community" if community else "all",
            reconstructor_slope=16.0 * self.discriminator_width if community else _LEAKY_SLOPE,
        )
        self._check()

    def _check(self) -> None:
        for option, allowed in (
            ("encoder_size", networks.EncoderSize),
            ("towers", Towers),
            ("adversarial_loss", AdversarialLoss),
            ("kl_rule", KlRule),
            ("update_order", UpdateOrder),
            ("noise_ramp", NoiseRamp),
            ("initialization_scope", InitializationScope),
            ("weight_initialization", Scheme),
        ):
            check_choice(option, getattr(self, option), allowed)
        for option in ("z_dim", "r_dim", "generator_width", "discriminator_width"):
            check_range(option, getattr(self, option), 1)
        for option in ("beta", "lambda_information", "gan_weight", "noise_start", "noise_end", "noise_steps"):
            check_range(option, getattr(self, option))
        check_range("reconstructor_slope", given(self.reconstructor_slope))

    def build(self, image_shape: Sequence[int], seed: int) -> IBGAN:
        return IBGAN(self, image_shape=image_shape, seed=seed)


@keras.saving.register_keras_serializable(package="spout")
class IBGAN(DisentanglementModel):
    """IB-GAN.

    ```
    z ~ N(0,I) --> e(r|z) --> r --> G --> x --(+ noise)--> D --> real or fake
                     |                             `-----> q --> zhat
                     `-- I_U = KL(e(r|z) || N(0,I))               `-- I_L = E[log q(z|x)] + H(z)

    min over G, q, e   max over D:   V_GAN(D, G) - (lambda I_L - beta I_U)
    ```

    The latent space of `generate` is the bottleneck r; `encode` returns the mean of e(q(x)).

    Args:
        options: see `IBGANOptions`; a mapping of them is accepted too.
        image_shape: (64, 64, 1) or (64, 64, 3).
        seed: the run's seed.
        **kwargs: as in `keras.Model`.

    Raises:
        ValueError: images of another size.
    """

    headline = (
        "discriminator/loss",
        "generator/loss_adversarial",
        "information/lower_bound",
        "information/upper_bound",
    )

    def __init__(
        self,
        options: IBGANOptions | Mapping[str, Any] | None = None,
        image_shape: Sequence[int] = (64, 64, 1),
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        options = IBGANOptions.of(options)
        super().__init__(image_shape, LatentSpace((Normal("r", options.r_dim),)), seed, **kwargs)
        if tuple(self.image_shape[:2]) != (networks.IMAGE_SIZE, networks.IMAGE_SIZE):
            raise ValueError(f"image_shape is {self.image_shape}; the networks of IB-GAN take 64 x 64 images only")
        self.options = options
        self._build_networks(self.image_shape[2])
        self.built = True

    def _build_networks(self, channels: int) -> None:
        options = self.options
        scheme = WeightInitialization(options.weight_initialization, self.seed)
        community_scope = options.initialization_scope == "community"
        deconvolution_scheme = WeightInitialization("pytorch", self.seed) if community_scope else scheme
        # Only the community code's "normal" helper raises at a missing bias; its other schemes guard it.
        broken = community_scope and options.weight_initialization == "normal"
        self.encoder = networks.build_encoder(options.z_dim, options.r_dim, options.encoder_size, scheme)
        self.generator = networks.build_generator(
            options.r_dim, channels, options.generator_width, scheme, deconvolution_scheme
        )
        width = options.discriminator_width
        self.front: keras.Model | None = None
        if options.towers == "shared":
            self.front = networks.build_front(channels, width, scheme, broken)
            self.reconstructor = networks.build_head(options.z_dim, width, scheme, "reconstructor", broken)
            self.discriminator = networks.build_head(1, width, scheme, "discriminator", broken)
        else:
            slope = options.reconstructor_slope
            self.reconstructor = networks.build_tower(
                options.z_dim, channels, width, scheme, "reconstructor", slope, broken
            )
            self.discriminator = networks.build_tower(1, channels, width, scheme, "discriminator", broken_scope=broken)

    @property
    def networks(self) -> dict[str, keras.Model]:
        front = {} if self.front is None else {"front": self.front}
        return {
            "encoder": self.encoder,
            "generator": self.generator,
            **front,
            "reconstructor": self.reconstructor,
            "discriminator": self.discriminator,
        }

    def player_variables(self) -> dict[str, list[keras.Variable]]:
        front = [] if self.front is None else self.front.trainable_variables
        return {
            "encoder": self.encoder.trainable_variables,
            "generator": self.generator.trainable_variables,
            "reconstructor": self.reconstructor.trainable_variables,
            "discriminator": front + self.discriminator.trainable_variables,
        }

    def default_optimizers(self) -> dict[str, OptimizerOptions]:
        shared = RMSpropOptions(learning_rate=5e-5, momentum=0.9)
        return {
            "encoder": shared,
            "generator": shared,
            "reconstructor": shared,
            "discriminator": RMSpropOptions(learning_rate=1e-6, momentum=0.9),
        }

    def encode_noise(self, z: tf.Tensor, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and log variance of e(r|z), each `[batch, r_dim]`."""
        mean, log_variance = tf.split(self.encoder(z, training=training), 2, axis=1)
        return mean, log_variance

    def _judge(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = images if self.front is None else self.front(images, training=True)
        return self.discriminator(features, training=True), self.reconstructor(features, training=True)

    def noise_deviation(self, step: tf.Tensor) -> tf.Tensor:
        """sigma(t), the deviation of the instance noise at a step counted from 0."""
        options = self.options
        if not options.instance_noise:
            return tf.constant(0.0)
        first = 1 if options.noise_ramp == "official" else 0
        sigma = linear_ramp(step + first, options.noise_start, options.noise_end, first, options.noise_steps)
        if options.noise_ramp == "community":
            return tf.maximum(sigma, 0.0)
        low, high = sorted((options.noise_start, options.noise_end))
        return tf.clip_by_value(sigma, low, high)

    def _kl_weight(self, divergence: tf.Tensor) -> tf.Tensor | float:
        options = self.options
        if options.kl_rule == "constant" or (options.kl_rule == "official" and options.beta):
            return options.beta
        runaway = all_replicas_mean(tf.stop_gradient(divergence)) >= _RUNAWAY_KL
        return tf.where(runaway, _RUNAWAY_WEIGHT, options.beta)

    def train_step(self, data: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step in the reference's order: D on noisy reals and fakes, then e, G and q on the same noisy fakes."""
        options, step = self.options, tf.convert_to_tensor(self.step)
        noise = Noise(self.seed, step)
        reals = tf.cast(data, tf.float32) * 2.0 - 1.0
        batch = tf.shape(reals)[0]
        adversarial = losses.ADVERSARIAL_LOSSES[options.adversarial_loss]
        real_labels = noise.uniform("labels", [batch], *_SMOOTHED_LABELS) if options.label_smoothing else 1.0
        generator_labels = real_labels if options.smooth_generator_labels else 1.0
        sigma = self.noise_deviation(step)
        z = noise.normal("z", [batch, options.z_dim])
        noisy_reals = _corrupt(reals, sigma, noise, "real")

        with tf.GradientTape(persistent=True) as tape:
            mean, log_variance = self.encode_noise(z, training=True)
            codes = mean + tf.exp(0.5 * log_variance) * noise.normal("r", [batch, options.r_dim])
            noisy_fakes = _corrupt(self.generator(codes, training=True), sigma, noise, "fake")
            if options.update_order == "sequential":
                fake_logits, _ = self._judge(tf.stop_gradient(noisy_fakes))
            else:
                fake_logits, reconstruction = self._judge(noisy_fakes)
            real_logits, _ = self._judge(noisy_reals)
            real_loss = adversarial(real_logits, real_labels)
            fake_loss = adversarial(fake_logits, 0.0)
            discriminator_loss = global_mean(real_loss) + global_mean(fake_loss)
        discriminator = self.players["discriminator"]
        discriminator_gradients = tape.gradient(discriminator_loss, discriminator.variables)
        if options.update_order == "sequential":
            discriminator.update(discriminator_gradients)

        with tape:
            if options.update_order == "sequential":
                fake_logits, reconstruction = self._judge(noisy_fakes)
            generator_loss = adversarial(fake_logits, generator_labels)
            lower_bound = losses.gaussian_information_lower_bound(z, reconstruction)
            divergences = losses.standard_normal_divergence(mean, log_variance)
            upper_bound = tf.reduce_sum(divergences, axis=1)
            kl_weight = self._kl_weight(tf.reduce_mean(upper_bound))
            total = (
                options.gan_weight * global_mean(generator_loss)
                - options.lambda_information * global_mean(lower_bound)
                + kl_weight * global_mean(upper_bound)
            )
        others = [self.players[name] for name in ("encoder", "generator", "reconstructor")]
        gradients = tape.gradient(total, [player.variables for player in others])
        if options.update_order == "simultaneous":
            discriminator.update(discriminator_gradients)
        for player, player_gradients in zip(others, gradients, strict=True):
            player.update(player_gradients)
        self.step.assign_add(1)

        return {
            "discriminator/loss": tf.reduce_mean(real_loss) + tf.reduce_mean(fake_loss),
            "discriminator/loss_real": tf.reduce_mean(real_loss),
            "discriminator/loss_fake": tf.reduce_mean(fake_loss),
            "discriminator/probability_real": tf.reduce_mean(tf.sigmoid(real_logits)),
            "discriminator/probability_fake": tf.reduce_mean(tf.sigmoid(fake_logits)),
            "generator/loss": total * replica_count(),
            "generator/loss_adversarial": tf.reduce_mean(generator_loss),
            "information/lower_bound": tf.reduce_mean(lower_bound),
            "information/upper_bound": tf.reduce_mean(upper_bound),
            "information/kl_weight": tf.cast(kl_weight, tf.float32),
            "noise/deviation": sigma,
            **{f"kl/r{index}": value for index, value in enumerate(tf.unstack(tf.reduce_mean(divergences, axis=0)))},
        }

    def generate(self, latents: tf.Tensor) -> tf.Tensor:
        """Images `[batch, 64, 64, channels]` in [0, 1] of codes r `[batch, r_dim]`."""
        images = self.generator(latents, training=False)
        return tf.clip_by_value((images + 1.0) * 0.5, 0.0, 1.0)

    def reconstruct_noise(self, images: tf.Tensor) -> tf.Tensor:
        """zhat, the mean of q(z|x), `[batch, z_dim]`, of images in [0, 1]."""
        features = tf.cast(images, tf.float32) * 2.0 - 1.0
        if self.front is not None:
            features = self.front(features, training=False)
        return self.reconstructor(features, training=False)

    def encode(self, images: tf.Tensor) -> tf.Tensor:
        """The mean of e(q(x)), `[batch, r_dim]`: the representation of the authors' evaluation."""
        mean, _ = self.encode_noise(self.reconstruct_noise(images), training=False)
        return mean

    def sample_latents(self, batch: int, noise: Noise) -> tf.Tensor:
        """Codes r of e(r|z) with z from its prior, `[batch, r_dim]`."""
        mean, log_variance = self.encode_noise(noise.normal("z", [batch, self.options.z_dim]), training=False)
        return mean + tf.exp(0.5 * log_variance) * noise.normal("r", [batch, self.options.r_dim])

    def traversal_bases(self, rows: int, noise: Noise) -> dict[str, tf.Tensor]:
        """`zfixed`: the means mu(z) of drawn z; `rfixed`: r from its prior."""
        mean, _ = self.encode_noise(noise.normal("z", [rows, self.options.z_dim]), training=False)
        return {"zfixed": mean, "rfixed": self.latent_space.sample(rows, noise)}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "options": self.options.as_dict()}


def _corrupt(images: tf.Tensor, sigma: tf.Tensor, noise: Noise, stream: str) -> tf.Tensor:
    """Adds instance noise and clips to [-1, 1]; with sigma 0 the images pass untouched."""
    noisy = images + sigma * noise.normal(f"instance/{stream}", [tf.shape(images)[0], *images.shape[1:]])
    return tf.where(sigma > 0, tf.clip_by_value(noisy, -1.0, 1.0), images)
