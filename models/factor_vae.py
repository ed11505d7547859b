"""FactorVAE: disentangling by factorizing (Kim and Mnih, ICML 2018), as InfoGAN-CR (ICML 2020) ran it.

Sources: the baseline in InfoGAN-CR's code (`variant="infogan_cr"`, from which the published numbers in its Table 1
come), algorithm 2 of the original paper (`variant="kim_mnih"`), and the community code that InfoGAN-CR's was modeled
on (`variant="community"`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras
import tensorflow as tf

from models import losses
from models.base import DisentanglementModel
from models.distribution import all_replicas_rows, global_mean, replica_count
from models.initializers import Scheme, WeightInitialization
from models.latents import LatentSpace, Normal
from models.networks import factor_vae as networks
from models.noise import Noise, content_normal
from models.optimizers import AdamOptions, OptimizerOptions
from models.options import ModelOptions, check_choice, check_range, given

Variant = Literal["infogan_cr", "kim_mnih", "community"]
Permutation = Literal["in_batch", "second_batch", "separate_batch"]

_OF_VARIANT: dict[str, dict[str, Any]] = {
    "infogan_cr": {
        "permutation": "in_batch",
        "discriminator_layers": 5,
        "decoder_wide_layers": 1,
        "log_epsilon": 1e-8,
        "weight_initialization": "dcgan_tensorflow",
    },
    "kim_mnih": {
        "permutation": "second_batch",
        "discriminator_layers": 6,
        "decoder_wide_layers": 1,
        "log_epsilon": 0.0,
        "weight_initialization": "tensorflow",
    },
    "community": {
        "permutation": "separate_batch",
        "discriminator_layers": 6,
        "decoder_wide_layers": 2,
        "log_epsilon": 0.0,
        "weight_initialization": "tensorflow",
    },
}


@dataclass(frozen=True)
class FactorVAEOptions(ModelOptions):
    """The options of FactorVAE. The defaults are InfoGAN-CR's dSprites experiment.

    Args:
        latent_size: size of z.
        gamma: weight of the total correlation. Published: 1, 10, 20 and 40 (InfoGAN-CR), 35 (community).
        discriminator_units: units of each hidden layer of the discriminator.
        variant: `infogan_cr`, `kim_mnih` or `community`; sets those of the options below that are None.
        permutation: what the discriminator learns from. `in_batch`: z of the batch that the VAE has just seen, encoded
            anew, and its permutation. `second_batch` and `separate_batch` take the rows of even number as the VAE's
            batch, those of odd number as another, so the batch must be twice as large. `second_batch`: the z that the
            VAE's update has drawn, and the second batch permuted (algorithm 2 of the paper). `separate_batch`: the
            second batch and its permutation (community).
        discriminator_layers: hidden layers of the discriminator.
        decoder_wide_layers: how many of the decoder's transposed convolutions have 64 filters and not 32.
        log_epsilon: added to the probabilities in the discriminator's loss.
        weight_initialization: a scheme of `models.initializers`.

    Raises:
        ValueError: an option out of its range.
    """

    latent_size: int = 10
    gamma: float = 40.0
    discriminator_units: int = 1000
    variant: Variant = "infogan_cr"
    permutation: Permutation | None = None
    discriminator_layers: int | None = None
    decoder_wide_layers: int | None = None
    log_epsilon: float | None = None
    weight_initialization: Scheme | None = None

    def __post_init__(self) -> None:
        check_choice("variant", self.variant, Variant)
        self._follow(**_OF_VARIANT[self.variant])
        check_choice("permutation", self.permutation, Permutation)
        check_choice("weight_initialization", self.weight_initialization, Scheme)
        for name in ("latent_size", "discriminator_units", "discriminator_layers"):
            check_range(name, getattr(self, name), 1)
        for name in ("gamma", "decoder_wide_layers", "log_epsilon"):
            check_range(name, getattr(self, name))

    @property
    def batch_parts(self) -> int:
        return 1 if self.permutation == "in_batch" else 2

    def build(self, image_shape: Sequence[int], seed: int) -> FactorVAE:
        return FactorVAE(self, image_shape=image_shape, seed=seed)


@keras.saving.register_keras_serializable(package="spout")
class FactorVAE(DisentanglementModel):
    """FactorVAE.

    ```
    x --> encoder --> z ~ q(z|x) --> decoder --> p(x|z)
                          `--> discriminator --> z drawn jointly, or permuted: each column on its own

    min over encoder, decoder:   E[-log p(x|z)] + KL(q(z|x) || N(0, I)) + gamma TC
    TC = KL(q(z) || prod_j q(z_j)), estimated by E[logit_joint(z) - logit_permuted(z)]
    ```

    `encode` draws z once for each image, as the published scores do; the noise is a function of the image and the
    seed, so that it gives the same z each time. The representation `mean` is the mean of q(z|x).

    Args:
        options: see `FactorVAEOptions`; a mapping of them is accepted too.
        image_shape: height, width and channels; square, the side a power of two, 16 or more.
        seed: the run's seed.
        **kwargs: as in `keras.Model`.

    Raises:
        ValueError: images of another shape.
    """

    headline = ("vae/reconstruction", "vae/divergence", "total_correlation/estimate", "discriminator/loss")

    def __init__(
        self,
        options: FactorVAEOptions | Mapping[str, Any] | None = None,
        image_shape: Sequence[int] = (64, 64, 1),
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        options = FactorVAEOptions.of(options)
        space = LatentSpace((Normal("z", options.latent_size, traversal=(-2.0, 2.0)),))
        super().__init__(image_shape, space, seed, **kwargs)
        self.options = options
        scheme = WeightInitialization(given(options.weight_initialization), self.seed)
        self.encoder = networks.build_encoder(self.image_shape, options.latent_size, scheme)
        self.decoder = networks.build_decoder(
            self.image_shape, options.latent_size, given(options.decoder_wide_layers), scheme
        )
        self.discriminator = networks.build_discriminator(
            options.latent_size, given(options.discriminator_layers), options.discriminator_units, scheme
        )
        self.built = True

    @property
    def networks(self) -> dict[str, keras.Model]:
        return {"encoder": self.encoder, "decoder": self.decoder, "discriminator": self.discriminator}

    def player_variables(self) -> dict[str, list[keras.Variable]]:
        return {
            "vae": self.encoder.trainable_variables + self.decoder.trainable_variables,
            "discriminator": self.discriminator.trainable_variables,
        }

    def default_optimizers(self) -> dict[str, OptimizerOptions]:
        return {
            "vae": AdamOptions(learning_rate=1e-4, beta_1=0.9, beta_2=0.999),
            "discriminator": AdamOptions(learning_rate=1e-4, beta_1=0.5, beta_2=0.9),
        }

    def encode_distribution(self, images: tf.Tensor, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and log variance of q(z|x), each `[batch, latent_size]`, of images in [0, 1]."""
        mean, log_variance = tf.split(self.encoder(images, training=training), 2, axis=1)
        return mean, log_variance

    def _draw(self, images: tf.Tensor, noise: Noise, stream: str) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """z of q(z|x), and the mean and log variance that it was drawn with."""
        mean, log_variance = self.encode_distribution(images, training=True)
        deviation = tf.exp(0.5 * log_variance)
        return mean + deviation * noise.normal(stream, tf.unstack(tf.shape(mean))), mean, log_variance

    def _minibatches(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What the VAE learns from, and what the permuted z come from."""
        if self.options.permutation == "in_batch":
            return images, images
        if (images.shape[0] or 0) % 2:
            raise ValueError(
                f"a batch of {images.shape[0]} images is not even; with permutation {self.options.permutation!r} it "
                "is cut into two batches"
            )
        return images[0::2], images[1::2]

    def train_step(self, data: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step in the references' order: the VAE, then the discriminator on z of the updated encoder."""
        options, noise = self.options, Noise(self.seed, tf.convert_to_tensor(self.step))
        images, other_images = self._minibatches(tf.cast(data, tf.float32))
        vae, discriminator = self.players["vae"], self.players["discriminator"]
        epsilon = given(options.log_epsilon)

        with tf.GradientTape() as tape:
            z, mean, log_variance = self._draw(images, noise, "z")
            reconstruction = losses.bernoulli_reconstruction(self.decoder(z, training=True), images)
            divergences = losses.standard_normal_divergence(mean, log_variance)
            divergence = tf.reduce_sum(divergences, axis=1)
            correlation = joint_log_odds(self.discriminator(z, training=True))
            vae_loss = global_mean(reconstruction + divergence + options.gamma * correlation)
        vae.update(tape.gradient(vae_loss, vae.variables))

        drawn, _, _ = self._draw(other_images, noise, "discriminator/z")
        joint = tf.stop_gradient(z if options.permutation == "second_batch" else drawn)
        permuted = permute_columns(tf.stop_gradient(drawn), noise)
        with tf.GradientTape() as tape:
            # One pass for both: the discriminator has nothing in it that depends on the batch.
            logits = self.discriminator(tf.concat([joint, permuted], axis=0), training=True)
            joint_logits, permuted_logits = tf.split(logits, [tf.shape(joint)[0], tf.shape(permuted)[0]])
            joint_probability = tf.nn.softmax(joint_logits)[:, 0]
            permuted_probability = tf.nn.softmax(permuted_logits)[:, 1]
            discriminator_loss = 0.5 * (
                global_mean(negative_log_softmax(joint_logits, 0, epsilon))
                + global_mean(negative_log_softmax(permuted_logits, 1, epsilon))
            )
        discriminator.update(tape.gradient(discriminator_loss, discriminator.variables))
        self.step.assign_add(1)

        return {
            "vae/loss": vae_loss * replica_count(),
            "vae/reconstruction": tf.reduce_mean(reconstruction),
            "vae/divergence": tf.reduce_mean(divergence),
            "total_correlation/estimate": tf.reduce_mean(correlation),
            "total_correlation/weight": tf.constant(options.gamma, tf.float32),
            "discriminator/loss": discriminator_loss * replica_count(),
            "discriminator/probability_joint": tf.reduce_mean(joint_probability),
            "discriminator/probability_permuted": tf.reduce_mean(permuted_probability),
            **{f"kl/z{index}": value for index, value in enumerate(tf.unstack(tf.reduce_mean(divergences, axis=0)))},
        }

    def generate(self, latents: tf.Tensor) -> tf.Tensor:
        """The means of the pixels of p(x|z), `[batch, height, width, channels]` in [0, 1]."""
        return tf.sigmoid(tf.cast(self.decoder(latents, training=False), tf.float32))

    def encode(self, images: tf.Tensor) -> tf.Tensor:
        """z drawn of q(z|x), `[batch, latent_size]`, with noise that is a function of the image and the seed."""
        mean, log_variance = self.encode_distribution(images, training=False)
        return mean + tf.exp(0.5 * log_variance) * content_normal(images, self.options.latent_size, self.seed)

    def encode_mean(self, images: tf.Tensor) -> tf.Tensor:
        """The mean of q(z|x), `[batch, latent_size]`."""
        return self.encode_distribution(images, training=False)[0]

    @property
    def representations(self) -> dict[str, Callable[[tf.Tensor], tf.Tensor]]:
        return {"sampled": self.encode, "mean": self.encode_mean}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "options": self.options.as_dict()}


def joint_log_odds(logits: tf.Tensor) -> tf.Tensor:
    """log D(z) / (1 - D(z)) of the discriminator's logits `[batch, 2]`, `[batch]`: its mean estimates TC.

    Source: Kim and Mnih 2018, eq. 3.
    """
    return logits[:, 0] - logits[:, 1]


def negative_log_softmax(logits: tf.Tensor, index: int, epsilon: float) -> tf.Tensor:
    """-log(p + epsilon) of the probability of class `index`.

    Args:
        logits: `[batch, classes]`.
        index: the class.
        epsilon: 0 or more; 0 is computed from the logits without a logarithm of 0.

    Returns:
        `[batch]`.
    """
    if epsilon:
        return -tf.math.log(tf.nn.softmax(logits)[:, index] + epsilon)
    return -tf.nn.log_softmax(logits)[:, index]


def permute_columns(z: tf.Tensor, noise: Noise) -> tf.Tensor:
    """Rows of the global batch with every column permuted on its own: draws of the product of q(z)'s marginals.

    Args:
        z: this replica's rows, `[batch, latent_size]`.
        noise: decides on the permutations.

    Returns:
        this replica's rows of the permuted global batch, `[batch, latent_size]`.

    Source: Kim and Mnih 2018, algorithm 1.
    """
    order = noise.permutations("permutation", tf.shape(z)[0], z.shape[1])
    columns = tf.transpose(all_replicas_rows(z))
    return tf.transpose(tf.gather(columns, tf.transpose(order), axis=1, batch_dims=1))
