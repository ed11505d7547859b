"""InfoGAN: interpretable representation learning by information maximizing generative adversarial nets (NIPS 2016).

Sources: the paper; its authors' code for MNIST (`variant="official"`); its best-known community re-implementation,
whose layout most others follow (`variant="community"`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras
import tensorflow as tf

from models import losses
from models.base import DisentanglementModel
from models.distribution import global_mean, replica_count
from models.latents import Block, Categorical, LatentSpace, Normal, Uniform
from models.layers import batch_parts
from models.networks.infogan import PLANS, Builder, Network
from models.noise import Noise
from models.optimizers import AdamOptions, OptimizerOptions
from models.options import ModelOptions, check_choice, check_range, given

Variant = Literal["community", "official"]
NoiseDistribution = Literal["normal", "uniform"]
InformationPlayer = Literal["generator", "discriminator"]
ContinuousLoss = Literal["learned_variance", "fixed_variance", "squared_error"]
RecognitionStatistics = Literal["all", "fakes"]

# The community code adds this to twice the variance, and to the argument of the logarithm.
_VARIANCE_EPSILON = 1e-6
_OFFICIAL_LOG_EPSILON = 1e-8
_LOG_HALF = math.log(0.5)


@dataclass(frozen=True)
class InfoGANOptions(ModelOptions):
    """The options of InfoGAN. The defaults are the community's MNIST experiment with its known slips mended.

    Args:
        network: tables of layers: `mnist_community`, `mnist_small`, `mnist_official` (28 x 28), `svhn`, `celeba`,
            `faces` (32 x 32) or `chairs` (64 x 64). None: that of the variant for MNIST.
        noise_size: columns of the incompressible noise z.
        categorical_codes: categories of each categorical code, which are called c1, c2, ... in this order.
        continuous_codes: number of continuous codes, uniform in [-1, 1], whose names go on from there.
        lambda_categorical: weight of the categorical codes' information.
        variant: `community` or `official`; sets those of the options below that are None.
        lambda_continuous: weight of the continuous codes' information. Community 0.1, official 1.
        noise_distribution: of z. Community `normal`, official `uniform` in [-1, 1].
        information_player: whose optimizer trains Q's own layers. Community `generator`, official `discriminator`.
        information_updates_trunk: whether the information also trains the layers that Q shares with D, in D's update.
            Equation 6 of the paper has Q maximize it; official code yes, community code no.
        continuous_loss: Q of a continuous code. `learned_variance`: a Gaussian with both parameters from heads
            (community). `fixed_variance`: one of variance 1 (official). `squared_error`: the squared distance, which is
            a Gaussian of variance 1/2.
        fresh_latents: whether G's update draws latents of its own (official) or goes on with those of D's (community).
        log_epsilon: added to D's probabilities before the logarithm (official 1e-8); 0: the stable form of logits.
        recognition_statistics: whose moving statistics Q's batch normalization keeps: those of `all` images that D sees
            (community, where D and Q are one module), or of `fakes` only (official).
        leaky_slope: slope of the leaky ReLUs of D and Q. None: the network's, 0.1, or 0.01 of `mnist_official`.
        auxiliary_q: train Q but leave the information out of G's objective: the baseline of the paper's figure 1.
        double_softmax: the community code's slip: a softmax before a cross-entropy that takes logits. With ten
            categories that loss cannot fall below log(e + 9) - 1 = 1.4612.
        frozen_variance_head: the community code's slip: no optimizer has the variance head.
        least_log_variance: the learned log variance is cut off below this; the likelihood has no upper bound otherwise.

    Raises:
        ValueError: an option out of its range.
    """

    network: Network | None = None
    noise_size: int = 62
    categorical_codes: tuple[int, ...] = (10,)
    continuous_codes: int = 2
    lambda_categorical: float = 1.0
    variant: Variant = "community"
    lambda_continuous: float | None = None
    noise_distribution: NoiseDistribution | None = None
    information_player: InformationPlayer | None = None
    information_updates_trunk: bool | None = None
    continuous_loss: ContinuousLoss | None = None
    fresh_latents: bool | None = None
    log_epsilon: float | None = None
    recognition_statistics: RecognitionStatistics | None = None
    leaky_slope: float | None = None
    auxiliary_q: bool = False
    double_softmax: bool = False
    frozen_variance_head: bool = False
    least_log_variance: float = -6.0

    def __post_init__(self) -> None:
        check_choice("variant", self.variant, Variant)
        official = self.variant == "official"
        self._follow(
            network="mnist_official" if official else "mnist_community",
            lambda_continuous=1.0 if official else 0.1,
            noise_distribution="uniform" if official else "normal",
            information_player="discriminator" if official else "generator",
            information_updates_trunk=official,
            continuous_loss="fixed_variance" if official else "learned_variance",
            fresh_latents=official,
            log_epsilon=_OFFICIAL_LOG_EPSILON if official else 0.0,
            recognition_statistics="fakes" if official else "all",
        )
        check_choice("network", self.network, Network)
        self._follow(leaky_slope=PLANS[given(self.network)].slope)
        self._check()

    def _check(self) -> None:
        for option, allowed in (
            ("noise_distribution", NoiseDistribution),
            ("information_player", InformationPlayer),
            ("continuous_loss", ContinuousLoss),
            ("recognition_statistics", RecognitionStatistics),
        ):
            check_choice(option, getattr(self, option), allowed)
        check_range("noise_size", self.noise_size, 1)
        check_range("continuous_codes", self.continuous_codes, 0)
        object.__setattr__(self, "categorical_codes", tuple(self.categorical_codes))
        for categories in self.categorical_codes:
            check_range("categorical_codes", categories, 2)
        if not self.categorical_codes and not self.continuous_codes:
            raise ValueError("categorical_codes and continuous_codes are both empty; give at least one code")
        for option in ("lambda_categorical", "lambda_continuous", "log_epsilon", "leaky_slope"):
            check_range(option, getattr(self, option))
        check_range("least_log_variance", self.least_log_variance, -100.0, 0.0)
        if self.frozen_variance_head and (self.continuous_loss != "learned_variance" or not self.continuous_codes):
            raise ValueError("frozen_variance_head is True, but there is no variance head; leave it False")

    def build(self, image_shape: Sequence[int], seed: int) -> InfoGAN:
        return InfoGAN(self, image_shape=image_shape, seed=seed)

    def latent_space(self) -> LatentSpace:
        """z and the codes c1, c2, ...: noise, then categorical codes, then continuous ones."""
        names = [f"c{number}" for number in range(1, len(self.categorical_codes) + self.continuous_codes + 1)]
        noise: Block = (
            Normal("z", self.noise_size, is_code=False)
            if self.noise_distribution == "normal"
            else Uniform("z", self.noise_size, is_code=False)
        )
        categorical = [Categorical(name, size) for name, size in zip(names, self.categorical_codes, strict=False)]
        continuous = [Uniform(name, 1) for name in names[len(categorical) :]]
        return LatentSpace((noise, *categorical, *continuous))


@dataclass(frozen=True)
class Belief:
    """Q(c|x) of a batch of images.

    Args:
        logits: per categorical code `[batch, categories]`.
        mean: of the continuous codes, `[batch, codes]`; None if there are none.
        log_variance: likewise.
    """

    logits: tuple[tf.Tensor, ...]
    mean: tf.Tensor | None
    log_variance: tf.Tensor | None


@keras.saving.register_keras_serializable(package="spout")
class InfoGAN(DisentanglementModel):
    """InfoGAN.

    ```
    z ~ noise, c ~ codes --> G --> x --> trunk --> D: real or fake
                                             `---> Q(c|x) --> L_I = E[log Q(c|x)] + H(c) <= I(c; G(z, c))

    min over G, Q   max over D:   V(D, G) - lambda L_I(G, Q)          (equation 6)
    ```

    `encode` returns the probabilities of all categorical codes, then the means of the continuous ones, in the order of
    the latent space.

    Args:
        options: see `InfoGANOptions`; a mapping of them is accepted too.
        image_shape: height and width as the network has them, and the channels.
        seed: the run's seed.
        **kwargs: as in `keras.Model`.

    Raises:
        ValueError: images of another size.
    """

    headline = (
        "discriminator/loss",
        "generator/loss_adversarial",
        "information/lower_bound",
    )

    def __init__(
        self,
        options: InfoGANOptions | Mapping[str, Any] | None = None,
        image_shape: Sequence[int] = (28, 28, 1),
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        options = InfoGANOptions.of(options)
        super().__init__(image_shape, options.latent_space(), seed, **kwargs)
        self.options = options
        self._plan = PLANS[str(options.network)]
        side = self._plan.side
        if tuple(self.image_shape[:2]) != (side, side):
            fitting = [name for name, plan in PLANS.items() if (plan.side, plan.side) == self.image_shape[:2]]
            raise ValueError(
                f"network {options.network!r} takes {side} x {side} images, not {self.image_shape}"
                + (f"; networks of that size: {', '.join(fitting)}" if fitting else "")
            )
        self._build_networks()
        self.built = True

    def _build_networks(self) -> None:
        options = self.options
        builder = Builder(self._plan, self.image_shape[2], given(options.leaky_slope), self.seed)
        self.generator = builder.generator(self.latent_space.size)
        self.trunk = builder.trunk()
        features = self.trunk.output_shape[-1]
        self.discriminator = builder.head("discriminator", features, 1)
        self.recognition = builder.recognition(features)
        if self.recognition is not None:
            features = self.recognition.output_shape[-1]
        heads = {
            "categorical": sum(options.categorical_codes),
            "mean": options.continuous_codes,
            "log_variance": options.continuous_codes if options.continuous_loss == "learned_variance" else 0,
        }
        for name, outputs in heads.items():
            # Each is an attribute of its own: TensorFlow's checkpoints do not look into a dictionary of networks.
            setattr(self, f"{name}_head", builder.head(name, features, outputs) if outputs else None)
        if options.frozen_variance_head:
            self.heads["log_variance"].trainable = False

    @property
    def heads(self) -> dict[str, keras.Model]:
        """Q's output layers by what they say of the codes: `categorical`, `mean`, `log_variance`."""
        found = {name: getattr(self, f"{name}_head") for name in ("categorical", "mean", "log_variance")}
        return {name: head for name, head in found.items() if head is not None}

    @property
    def networks(self) -> dict[str, keras.Model]:
        recognition = {} if self.recognition is None else {"recognition": self.recognition}
        return {
            "generator": self.generator,
            "trunk": self.trunk,
            "discriminator": self.discriminator,
            **recognition,
            **self.heads,
        }

    def player_variables(self) -> dict[str, list[keras.Variable]]:
        shared = ("generator", "trunk", "discriminator")
        own = [v for name, network in self.networks.items() if name not in shared for v in network.trainable_variables]
        variables = {
            "discriminator": self.trunk.trainable_variables + self.discriminator.trainable_variables,
            "generator": list(self.generator.trainable_variables),
        }
        variables[str(self.options.information_player)] += own
        return variables

    def default_optimizers(self) -> dict[str, OptimizerOptions]:
        return {"discriminator": AdamOptions(learning_rate=2e-4), "generator": AdamOptions(learning_rate=1e-3)}

    def believe(self, features: tf.Tensor, training: bool) -> Belief:
        """Q(c|x) from the trunk's features of images."""
        if self.recognition is not None:
            features = self.recognition(features, training=training)
        outputs = {name: head(features, training=training) for name, head in self.heads.items()}
        logits = (
            tf.split(outputs["categorical"], self.options.categorical_codes, axis=1) if "categorical" in outputs else []
        )
        return Belief(tuple(logits), outputs.get("mean"), outputs.get("log_variance"))

    def _adversarial(self, logits: tf.Tensor, label: float) -> tf.Tensor:
        epsilon = given(self.options.log_epsilon)
        if not epsilon:
            return losses.sigmoid_cross_entropy(logits, label)
        return losses.guarded_cross_entropy(logits, bool(label), epsilon)

    def information(self, latents: tf.Tensor, belief: Belief) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
        """Per code the loss that trains Q and G, and the lower bound of the information in nats.

        The bound is E[log Q(c|x)] + H(c) with the proper density of Q: also where the loss is not that likelihood (a
        double softmax, a squared error).

        Args:
            latents: `[batch, size]`, from which the images were made.
            belief: of these images.

        Returns:
            name of the code to loss and bound, each `[batch]`.
        """
        options, codes = self.options, self.latent_space.split(latents)
        terms: dict[str, tuple[tf.Tensor, tf.Tensor]] = {}
        categorical = [block.name for block in self.latent_space.blocks if isinstance(block, Categorical)]
        continuous = [
            block.name for block in self.latent_space.blocks if block.is_code and block.name not in categorical
        ]
        for name, logits in zip(categorical, belief.logits, strict=True):
            likelihood = losses.categorical_log_likelihood(codes[name], logits)
            loss = -likelihood
            if options.double_softmax:
                loss = -losses.categorical_log_likelihood(codes[name], tf.nn.softmax(logits))
            terms[name] = loss, likelihood + losses.categorical_entropy(logits.shape[-1])
        for column, name in enumerate(continuous):
            code, mean = codes[name][:, 0], belief.mean[:, column]  # type: ignore[index]
            log_variance: tf.Tensor | float = 0.0
            if belief.log_variance is not None:
                log_variance = tf.maximum(belief.log_variance[:, column], options.least_log_variance)
            elif options.continuous_loss == "squared_error":
                log_variance = _LOG_HALF
            likelihood = losses.gaussian_log_likelihood(code, mean, log_variance)
            if options.continuous_loss == "squared_error":
                loss = tf.square(code - mean)
            elif options.continuous_loss == "learned_variance":
                loss = -losses.gaussian_log_likelihood(code, mean, log_variance, _VARIANCE_EPSILON)
            else:
                loss = -likelihood
            terms[name] = loss, likelihood + losses.uniform_entropy(-1.0, 1.0)
        return terms

    def _note_recognition(self, features: tf.Tensor) -> None:
        """Moves the moving statistics of Q's batch normalization, where Q runs whenever D does."""
        if self.recognition is not None and self.options.recognition_statistics == "all":
            self.recognition(tf.stop_gradient(features), training=True)

    def _weighted(self, terms: Mapping[str, tuple[tf.Tensor, tf.Tensor]]) -> tuple[tf.Tensor, tf.Tensor]:
        """The losses of the categorical and of the continuous codes as they enter the objective, `[]` or `[batch]`."""
        options, values = self.options, [loss for loss, _ in terms.values()]
        count = len(options.categorical_codes)
        categorical, continuous = (sum(part, start=tf.constant(0.0)) for part in (values[:count], values[count:]))
        return options.lambda_categorical * categorical, given(options.lambda_continuous) * continuous

    def _discriminator_update(self, reals: tf.Tensor, fakes: tf.Tensor, latents: tf.Tensor) -> dict[str, tf.Tensor]:
        """D's half of a step: real against fake images, and the information where it reaches D's player."""
        options, player = self.options, self.players["discriminator"]
        with tf.GradientTape() as tape:
            with batch_parts(2):
                both = self.trunk(tf.concat([reals, tf.stop_gradient(fakes)], axis=0), training=True)
            real_logits, fake_logits = tf.split(self.discriminator(both, training=True), 2)
            real_features, features = tf.split(both, 2)
            self._note_recognition(real_features)
            real_loss, fake_loss = self._adversarial(real_logits, 1.0), self._adversarial(fake_logits, 0.0)
            loss = global_mean(real_loss) + global_mean(fake_loss)
            if options.information_updates_trunk or options.information_player == "discriminator":
                seen = features if options.information_updates_trunk else tf.stop_gradient(features)
                categorical, continuous = self._weighted(self.information(latents, self.believe(seen, training=True)))
                loss += global_mean(categorical + continuous)
            else:
                self._note_recognition(features)
        player.update(tape.gradient(loss, player.variables))
        return {
            "discriminator/loss": loss * replica_count(),
            "discriminator/loss_real": tf.reduce_mean(real_loss),
            "discriminator/loss_fake": tf.reduce_mean(fake_loss),
            "discriminator/probability_real": tf.reduce_mean(tf.sigmoid(real_logits)),
            "discriminator/probability_fake": tf.reduce_mean(tf.sigmoid(fake_logits)),
        }

    def train_step(self, data: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step in the reference's order: D's update; then, by the new D, G's and, in the community code, Q's."""
        options, player = self.options, self.players["generator"]
        reals = self._scaled(data)
        batch = tf.shape(reals)[0]
        step = tf.convert_to_tensor(self.step)
        latents = self.latent_space.sample(batch, Noise(self.seed, step))
        with tf.GradientTape() as tape:
            fakes = self.generator(latents, training=True)
        scalars = self._discriminator_update(reals, fakes, latents)

        with tape:
            if options.fresh_latents:
                # The negative steps are a source of their own.
                latents = self.latent_space.sample(batch, Noise(self.seed, -1 - step))
                fakes = self.generator(latents, training=True)
            features = self.trunk(fakes, training=True)
            adversarial = self._adversarial(self.discriminator(features, training=True), 1.0)
            seen = tf.stop_gradient(features) if options.auxiliary_q else features
            terms = self.information(latents, self.believe(seen, training=True))
            categorical, continuous = self._weighted(terms)
            total = global_mean(adversarial)
            if not options.auxiliary_q or options.information_player == "generator":
                total += global_mean(categorical + continuous)
        player.update(tape.gradient(total, player.variables))
        self.step.assign_add(1)

        bounds = {name: tf.reduce_mean(bound) for name, (_, bound) in terms.items()}
        return {
            **scalars,
            "generator/loss": total * replica_count(),
            "generator/loss_adversarial": tf.reduce_mean(adversarial),
            "information/lower_bound": tf.reduce_sum(list(bounds.values())),
            "information/loss_categorical": tf.reduce_mean(categorical),
            "information/loss_continuous": tf.reduce_mean(continuous),
            **{f"information/{name}": bound for name, bound in bounds.items()},
        }

    def _scaled(self, images: tf.Tensor) -> tf.Tensor:
        """Images in [0, 1] in the range of the generator's."""
        images = tf.cast(images, tf.float32)
        return images * 2.0 - 1.0 if self._plan.last == "tanh" else images

    def generate(self, latents: tf.Tensor) -> tf.Tensor:
        """Images `[batch, height, width, channels]` in [0, 1] of latents z, c1, c2, ..."""
        images = self.generator(latents, training=False)
        return tf.clip_by_value((images + 1.0) * 0.5, 0.0, 1.0) if self._plan.last == "tanh" else images

    def _recognize(self, images: tf.Tensor) -> Belief:
        return self.believe(self.trunk(self._scaled(images), training=False), training=False)

    def encode(self, images: tf.Tensor) -> tf.Tensor:
        """Q(c|x): probabilities of every categorical code, then means of the continuous ones, `[batch, code]`."""
        belief = self._recognize(images)
        means = [] if belief.mean is None else [belief.mean]
        return tf.concat([*(tf.nn.softmax(logits) for logits in belief.logits), *means], axis=1)

    def classify(self, images: tf.Tensor, code: int = 0) -> tf.Tensor:
        """The most probable category of one categorical code.

        Args:
            images: `[batch, height, width, channels]` in [0, 1].
            code: which of the categorical codes, from 0.

        Returns:
            int64 `[batch]`.

        Raises:
            ValueError: there is no such code.
        """
        count = len(self.options.categorical_codes)
        if not 0 <= code < count:
            raise ValueError(f"code is {code}; this model has {count} categorical codes, numbered from 0")
        return tf.argmax(self._recognize(images).logits[code], axis=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "options": self.options.as_dict()}
