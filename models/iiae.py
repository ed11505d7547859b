"""IIAE: variational interaction information maximization for cross-domain disentanglement (NeurIPS 2020).

Sources: the authors' code (`variant="official"`), from which the published numbers come; a community re-implementation
for images (`variant="community"`).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import keras
import tensorflow as tf

from models import losses
from models.distribution import global_mean, replica_count, replica_index
from models.latents import LatentSpace, Normal
from models.layers import batch_statistics
from models.networks.iiae import Builder, Network, domains, dropout_noise, published_width
from models.noise import Noise
from models.optimizers import AdamOptions, OptimizerOptions
from models.options import ModelOptions, check_choice, check_range, given
from models.pairs import Domain, Pair, PairModel

Variant = Literal["official", "community"]
DivergenceForm = Literal["exact", "community"]

_OF_NETWORK: dict[str, dict[str, Any]] = {
    "spatial": {"exclusive_size": 8, "shared_size": 128, "annealing_steps": 25_000, "leaky_slope": 0.2},
    "flat": {"exclusive_size": 8, "shared_size": 128, "annealing_steps": 100, "leaky_slope": 0.2},
    "mlp": {"exclusive_size": 64, "shared_size": 64, "annealing_steps": 2_000, "leaky_slope": 0.2},
    "community": {"exclusive_size": 8, "shared_size": 128, "annealing_steps": 25_000, "leaky_slope": 0.02},
}
_PUBLISHED_COEFFICIENTS: dict[str, dict[str, float]] = {
    "spatial": {"lambda_weight": 1.0, "beta": 0.2, "l1_weight": 1000.0},
    "flat": {"lambda_weight": 1.0, "beta": 0.02, "l1_weight": 1000.0},
    "mlp": {"lambda_weight": 1.0, "beta": 0.5, "l1_weight": 10.0},
    "community": {"lambda_weight": 1.0, "beta": 0.2, "l1_weight": 1000.0},
}
_COMMUNITY_WEIGHTS = {
    "reconstruction_weight": 100.02,
    "exclusive_weight": 5.02,
    "shared_weight": 0.02,
    "interaction_weight": 5.0,
}
_COEFFICIENTS = ("lambda_weight", "beta", "l1_weight")
_FOUR = tuple(_COMMUNITY_WEIGHTS)


class Weights(NamedTuple):
    """What the terms of the objective are multiplied by."""

    reconstruction: float
    exclusive: float
    shared: float
    interaction: float


@dataclass(frozen=True)
class IIAEOptions(ModelOptions):
    """The options of IIAE. The defaults are the authors' MNIST-CDCB experiment.

    The objective has two parametrizations, of which one is given: the authors' `lambda_weight`, `beta` and `l1_weight`,
    or the community's four weights. `weights` says what both come to.

    Args:
        variant: `official` or `community`; sets those of the options below that are None.
        network: `spatial`: z_s is a map (official, for MNIST-CDCB, Facades and Maps). `flat`: z_s is a vector
            (official, for Cars). `mlp`: for vectors (official, for Sketchy). `community`: z_s is a vector, and one
            trunk serves both domains.
        width: filters of the encoders' first convolution; all layers follow. None: as published, 32, of `mlp` 128.
        exclusive_size: size of z_x and of z_y. None: 8, of `mlp` 64.
        shared_size: size of z_s, of `spatial` of each of its places. None: 128, of `mlp` 64.
        lambda_weight: of the interaction information. Official 1.
        beta: of the ordinary evidence bound. Official: MNIST-CDCB 0.2, Facades 0.001, Maps and Cars 0.02, Sketchy 0.5.
        l1_weight: of the reconstruction within both. Official 1000, Maps 20,000, Sketchy 10 (of squares).
        reconstruction_weight: the community's weight of the absolute error. MNIST 100.02.
        exclusive_weight: of the divergences of z_x and z_y from N(0, I). 5.02.
        shared_weight: of that of z_s. 0.02.
        interaction_weight: of the divergences of q(z_s|x,y) from r(z_s|x) and r(z_s|y). 5.
        divergence_examples: the community code multiplies all divergences by the global batch and divides them by this
            number: half the number of its files, 60,000 of MNIST. 0: it does not (official).
        divergence: `exact`, or `community`: its form of the divergence between two Gaussians, which does not divide the
            squared distance of the means by the variance.
        annealing_steps: the divergences from N(0, I) are weighted by 1 - exp(-t / annealing_steps) at step t, from 1
            on; those of the interaction are not. 0: neither are. None: 25,000, of `flat` 100, of `mlp` 2,000.
        log_variance_limit: log variances are cut off above it. Official ln 10,000; 0: they are not (community).
        leaky_slope: of the encoders' leaky ReLUs. None: 0.2, of `community` 0.02.
        dropout: share of the decoders' values that become 0 in training.
        domain_statistics: whether the trunk for both domains has moving statistics for each, and not, as the community
            code, one set that both move in turn and that fits neither. No other network serves both.
        classes: of a classifier of z_s, which Sketchy's published network has (100), 0: none. Row r of the global batch
            must be of class `r % classes`.
        classification_weight: of its cross-entropy. Published 0: it is not used.
        rectified_decoder: whether a ReLU ends the decoders of `mlp`. Published: no.

    Raises:
        ValueError: an option out of its range, or weights of both parametrizations.
    """

    takes_pairs: ClassVar[bool] = True

    variant: Variant = "official"
    network: Network | None = None
    width: int | None = None
    exclusive_size: int | None = None
    shared_size: int | None = None
    lambda_weight: float | None = None
    beta: float | None = None
    l1_weight: float | None = None
    reconstruction_weight: float | None = None
    exclusive_weight: float | None = None
    shared_weight: float | None = None
    interaction_weight: float | None = None
    divergence_examples: int | None = None
    divergence: DivergenceForm = "exact"
    annealing_steps: int | None = None
    log_variance_limit: float | None = None
    leaky_slope: float | None = None
    dropout: float = 0.5
    domain_statistics: bool = True
    classes: int = 0
    classification_weight: float = 0.0
    rectified_decoder: bool = False

    def __post_init__(self) -> None:
        check_choice("variant", self.variant, Variant)
        check_choice("divergence", self.divergence, DivergenceForm)
        community = self.variant == "community"
        self._follow(
            network="community" if community else "spatial",
            divergence_examples=60_000 if community else 0,
            log_variance_limit=0.0 if community else math.log(1e4),
        )
        check_choice("network", self.network, Network)
        network: Network = given(self.network)
        self._follow(width=published_width(network), **_OF_NETWORK[network])
        self._follow_weights(network)
        for name in ("width", "exclusive_size", "shared_size"):
            check_range(name, getattr(self, name), 1)
        for name in ("divergence_examples", "annealing_steps", "log_variance_limit", "leaky_slope", "classes"):
            check_range(name, getattr(self, name))
        check_range("classification_weight", self.classification_weight)
        check_range("dropout", self.dropout, 0.0, 0.99)
        if self.classes and network != "mlp":
            raise ValueError(f"classes is {self.classes}; only network 'mlp' has a classifier, leave it 0")
        if self.classification_weight and not self.classes:
            raise ValueError("classification_weight is set, but there is no classifier; set classes")
        if self.rectified_decoder and network != "mlp":
            raise ValueError("rectified_decoder is for network 'mlp'; leave it False")

    def _follow_weights(self, network: Network) -> None:
        chosen = [name for name in _COEFFICIENTS + _FOUR if getattr(self, name) is not None]
        four = [name for name in chosen if name in _FOUR]
        if four and len(four) < len(chosen):
            raise ValueError(
                f"{chosen[0]} and {four[0]} are of two parametrizations; give {', '.join(_COEFFICIENTS)}; or "
                f"{', '.join(_FOUR)}"
            )
        if four or (not chosen and self.variant == "community"):
            self._follow(**_COMMUNITY_WEIGHTS)
        else:
            self._follow(**_PUBLISHED_COEFFICIENTS[network])
        for name in _COEFFICIENTS + _FOUR:
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name))

    @property
    def weights(self) -> Weights:
        """The weights of the terms: those given, or what lambda, beta and the scale of the reconstruction come to."""
        if self.beta is not None:
            both = given(self.lambda_weight) + self.beta
            return Weights(both * given(self.l1_weight), both, self.beta, given(self.lambda_weight))
        return Weights(*(float(getattr(self, name)) for name in _FOUR))

    def build(self, image_shape: Sequence[int], seed: int) -> IIAE:
        return IIAE(self, image_shape=image_shape, seed=seed)


class Gaussian(NamedTuple):
    """A normal distribution of independent dimensions, of each row of a batch."""

    mean: tf.Tensor
    log_variance: tf.Tensor

    def sample(self, noise: Noise, stream: str) -> tf.Tensor:
        """Draws `mean + deviation * noise`, of the mean's shape."""
        shape = [tf.shape(self.mean)[0], *self.mean.shape[1:]]
        return self.mean + tf.exp(0.5 * self.log_variance) * noise.normal(stream, shape)


class Posteriors(NamedTuple):
    """What the encoders say of a batch of pairs: z_x, z_y, and z_s by both images, by x alone and by y alone."""

    exclusive_x: Gaussian
    exclusive_y: Gaussian
    shared: Gaussian
    shared_x: Gaussian
    shared_y: Gaussian


@keras.saving.register_keras_serializable(package="spout")
class IIAE(PairModel):
    """IIAE.

    ```
    x --> E_x --> z_x ~ q(z_x|x) ----------------------> D_x([z_s, z_x]) --> x
      `-> h_x --> r(z_s|x)
             `--> q(z_s|x,y) --> z_s ------------------'`
             ,--'                                       `,
      ,-> h_y --> r(z_s|y)                                \\
    y --> E_y --> z_y ~ q(z_y|y) ----------------------> D_y([z_s, z_y]) --> y

    min (lambda + beta) (R_x + R_y + g K(z_x) + g K(z_y)) + beta g K(z_s) + lambda (K[q || r_x] + K[q || r_y])
    ```

    R are errors of reconstruction, K(z) divergences from N(0, I), g the annealing. `encode` is the mean of r(z_s|x).

    Args:
        options: see `IIAEOptions`; a mapping of them is accepted too.
        image_shape: of an image of either domain: square, the side a multiple of 32; of the network `mlp` the size.
        seed: the run's seed.
        **kwargs: as in `keras.Model`.

    Raises:
        ValueError: images of another shape.

    Source: Hwang et al., NeurIPS 2020, arXiv 2012.04251; the authors' code for all that the paper leaves open.
    """

    headline = ("loss", "reconstruction/error_x", "reconstruction/error_y", "divergence/shared_x")
    image_ranks = (1, 3)

    def __init__(
        self,
        options: IIAEOptions | Mapping[str, Any] | None = None,
        image_shape: Sequence[int] = (256, 256, 3),
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        options = IIAEOptions.of(options)
        builder = Builder(
            network=given(options.network),
            image_shape=tuple(int(side) for side in image_shape),
            width=given(options.width),
            exclusive_size=given(options.exclusive_size),
            shared_size=given(options.shared_size),
            dropout=options.dropout,
            slope=given(options.leaky_slope),
            seed=int(seed),
            domain_statistics=options.domain_statistics,
            rectified=options.rectified_decoder,
        )
        self._shared_shape = builder.shared_shape
        exclusive = [Normal(name, builder.exclusive_size) for name in ("z_x", "z_y")]
        # As a code it would be 128 or 8192 directions to draw.
        shared = Normal("z_s", math.prod(builder.shared_shape), is_code=False)
        super().__init__(image_shape, LatentSpace((*exclusive, shared)), seed, **kwargs)
        self.options = options
        self._build_networks(builder)
        self.built = True

    def _build_networks(self, builder: Builder) -> None:
        if builder.is_community:
            trunk = builder.trunk("trunk")
            trunks = {"trunk": trunk}
        else:
            trunks = {f"trunk_{domain}": builder.trunk(f"trunk_{domain}") for domain in ("x", "y")}
            trunk = trunks["trunk_x"]
        classes = self.options.classes
        networks = {
            **{f"exclusive_{domain}": builder.exclusive(f"exclusive_{domain}") for domain in ("x", "y")},
            **trunks,
            **{f"shared_{domain}": builder.shared(f"shared_{domain}", trunk) for domain in ("x", "y")},
            "joint": builder.shared("joint", trunk, joint=True),
            **{f"decoder_{domain}": builder.decoder(f"decoder_{domain}") for domain in ("x", "y")},
            **({"classifier": builder.classifier(classes)} if classes else {}),
        }
        # One attribute each: TensorFlow's checkpoints do not look into a dict of Keras networks.
        for name, network in networks.items():
            setattr(self, name, network)
        self._names = tuple(networks)

    @property
    def networks(self) -> dict[str, keras.Model]:
        return {name: getattr(self, name) for name in self._names}

    def player_variables(self) -> dict[str, list[keras.Variable]]:
        return {"autoencoder": [v for network in self.networks.values() for v in network.trainable_variables]}

    def default_optimizers(self) -> dict[str, OptimizerOptions]:
        if self.options.variant == "community":
            # Three of them there, with the same settings: the same as one.
            return {"autoencoder": AdamOptions(learning_rate=2e-5, beta_1=0.9, milestones=(10_000, 30_000))}
        return {"autoencoder": AdamOptions(learning_rate=2e-4, beta_1=0.5)}

    def _inputs(self, images: tf.Tensor) -> tf.Tensor:
        """Images as the networks take them: in [-1, 1]; vectors as they are."""
        values = tf.cast(images, tf.float32)
        return values if len(self.image_shape) == 1 else 2.0 * values - 1.0

    def _outputs(self, values: tf.Tensor) -> tf.Tensor:
        """Images in [0, 1] of what the decoders give."""
        return values if len(self.image_shape) == 1 else 0.5 * (values + 1.0)

    def _gaussian(self, outputs: tf.Tensor) -> Gaussian:
        mean, log_variance = tf.split(tf.cast(outputs, tf.float32), 2, axis=-1)
        limit = self.options.log_variance_limit
        return Gaussian(mean, tf.minimum(log_variance, limit) if limit else log_variance)

    def _features(self, domain: Domain, inputs: tf.Tensor, training: bool) -> tf.Tensor:
        with domains(domain):
            return self.networks[self._trunk(domain)](inputs, training=training)

    def _trunk(self, domain: Domain) -> str:
        return "trunk" if "trunk" in self._names else f"trunk_{domain}"

    def _both_features(self, x: tf.Tensor, y: tf.Tensor, training: bool) -> Pair:
        if "trunk" not in self._names:
            return self._features("x", x, training), self._features("y", y, training)
        # One pass, each half normalized by itself.
        with domains("x", "y"):
            features = self.networks["trunk"](tf.concat([x, y], axis=0), training=training)
        return tuple(tf.split(features, 2))

    def _infer(self, x: tf.Tensor, y: tf.Tensor, training: bool) -> Posteriors:
        """All posteriors of inputs as the networks take them."""
        features = dict(zip(("x", "y"), self._both_features(x, y, training), strict=True))
        outputs = {
            "exclusive_x": self.networks["exclusive_x"](x, training=training),
            "exclusive_y": self.networks["exclusive_y"](y, training=training),
            "shared": self.networks["joint"](tf.concat([features["x"], features["y"]], axis=-1), training=training),
            "shared_x": self.networks["shared_x"](features["x"], training=training),
            "shared_y": self.networks["shared_y"](features["y"], training=training),
        }
        return Posteriors(**{name: self._gaussian(values) for name, values in outputs.items()})

    def posteriors(self, x: tf.Tensor, y: tf.Tensor) -> Posteriors:
        """All posteriors of pairs in [0, 1], in inference mode; those of z_s in the shape of its map, if it is one."""
        return self._infer(self._inputs(x), self._inputs(y), training=False)

    def _decode_both(self, shared: tf.Tensor, exclusive: Pair, training: bool) -> Pair:
        x, y = (
            tf.cast(self.networks[f"decoder_{domain}"]([shared, code], training=training), tf.float32)
            for domain, code in zip(("x", "y"), exclusive, strict=True)
        )
        return x, y

    def train_step(self, data: tf.Tensor | Pair) -> dict[str, tf.Tensor]:
        """One step: all networks forward once, then one update of all of them.

        The authors' code decodes eight times in each step. Seven of these are pictures; all they change is the moving
        statistics of the decoders' batch normalization.
        """
        options, noise = self.options, Noise(self.seed, tf.convert_to_tensor(self.step))
        x, y = (self._inputs(part) for part in self.pair_of(data))
        player = self.players["autoencoder"]
        with tf.GradientTape() as tape:
            found = self._infer(x, y, training=True)
            shared = found.shared.sample(noise, "z_s")
            exclusive = found.exclusive_x.sample(noise, "z_x"), found.exclusive_y.sample(noise, "z_y")
            with dropout_noise(noise):
                x_again, y_again = self._decode_both(shared, exclusive, training=True)
            terms = {
                "reconstruction/error_x": self._error(x_again, x),
                "reconstruction/error_y": self._error(y_again, y),
                **self._divergences(found),
            }
            if options.classes:
                terms["classification"] = self._classification(shared)
            annealing = self._annealing()
            loss = global_mean(self._objective(terms, annealing))
        player.update(tape.gradient(loss, player.variables))
        self.step.assign_add(1)
        means = {name: tf.reduce_mean(values) for name, values in terms.items()}
        return {"loss": loss * replica_count(), **means, "annealing": annealing}

    def _error(self, again: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
        """Of each image the mean absolute error in [-1, 1]; of vectors the mean squared one."""
        difference = again - inputs
        errors = tf.square(difference) if len(self.image_shape) == 1 else tf.abs(difference)
        return tf.reduce_mean(errors, axis=list(range(1, errors.shape.rank)))

    def _divergences(self, found: Posteriors) -> dict[str, tf.Tensor]:
        """The divergences in nats, `[batch]` each."""
        between = gaussian_divergence if self.options.divergence == "exact" else community_divergence
        from_prior = {"exclusive_x": found.exclusive_x, "exclusive_y": found.exclusive_y, "shared": found.shared}
        return {
            **{f"divergence/{name}": _summed(losses.standard_normal_divergence(*q)) for name, q in from_prior.items()},
            "divergence/shared_x": _summed(between(found.shared, found.shared_x)),
            "divergence/shared_y": _summed(between(found.shared, found.shared_y)),
        }

    def _annealing(self) -> tf.Tensor:
        steps = self.options.annealing_steps
        if not steps:
            return tf.constant(1.0)
        return 1.0 - tf.exp(-tf.cast(tf.convert_to_tensor(self.step) + 1, tf.float32) / float(steps))

    def _objective(self, terms: Mapping[str, tf.Tensor], annealing: tf.Tensor) -> tf.Tensor:
        """The weighted sum of the terms, `[batch]`."""
        options, weights = self.options, self.options.weights
        reconstruction = terms["reconstruction/error_x"] + terms["reconstruction/error_y"]
        exclusive = terms["divergence/exclusive_x"] + terms["divergence/exclusive_y"]
        interaction = terms["divergence/shared_x"] + terms["divergence/shared_y"]
        divergence = weights.exclusive * annealing * exclusive + weights.interaction * interaction
        divergence += weights.shared * annealing * terms["divergence/shared"]
        if options.divergence_examples:
            batch = tf.shape(reconstruction)[0] * replica_count()
            divergence *= tf.cast(batch, tf.float32) / float(options.divergence_examples)
        total = weights.reconstruction * reconstruction + divergence
        return total + options.classification_weight * terms["classification"] if options.classes else total

    def _classification(self, shared: tf.Tensor) -> tf.Tensor:
        """The cross-entropy of the classes of these rows, `[batch]`."""
        rows = tf.shape(shared)[0]
        labels = (replica_index() * rows + tf.range(rows)) % self.options.classes
        logits = self.networks["classifier"](shared, training=True)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=tf.cast(logits, tf.float32))

    def shared_code(self, images: tf.Tensor, domain: Domain) -> tf.Tensor:
        """The mean of r(z_s|x) or r(z_s|y), `[batch, size]`; a map row by row, channels fastest."""
        features = self._features(domain, self._inputs(images), training=False)
        mean = self._gaussian(self.networks[f"shared_{domain}"](features, training=False)).mean
        return tf.reshape(mean, [-1, math.prod(self._shared_shape)])

    def exclusive_code(self, images: tf.Tensor, domain: Domain) -> tf.Tensor:
        """The mean of q(z_x|x) or q(z_y|y), `[batch, size]`."""
        return self._gaussian(self.networks[f"exclusive_{domain}"](self._inputs(images), training=False)).mean

    def exclusive_noise(self, domain: Domain, batch: int, noise: Noise, stream: str = "style") -> tf.Tensor:
        return noise.normal(f"{stream}/{domain}", [batch, given(self.options.exclusive_size)])

    def decode(self, shared: tf.Tensor, exclusive: tf.Tensor, domain: Domain) -> tf.Tensor:
        shared = tf.reshape(shared, [-1, *self._shared_shape])
        values = self.networks[f"decoder_{domain}"]([shared, exclusive], training=False)
        return self._outputs(tf.cast(values, tf.float32))

    def reconstruct(self, x: tf.Tensor, y: tf.Tensor, noise: Noise | None = None) -> Pair:
        found = self.posteriors(x, y)
        codes = [
            q.mean if noise is None else q.sample(noise, f"reconstruction/{name}")
            for name, q in (("z_s", found.shared), ("z_x", found.exclusive_x), ("z_y", found.exclusive_y))
        ]
        x_again, y_again = self._decode_both(codes[0], (codes[1], codes[2]), training=False)
        return self._outputs(x_again), self._outputs(y_again)

    @contextlib.contextmanager
    def drawn_as_trained(self, noise: Noise) -> Iterator[None]:
        """Batch normalization by the batch, and dropout: the community code draws all its pictures so."""
        with batch_statistics(), dropout_noise(noise):
            yield

    def generate(self, latents: tf.Tensor) -> tf.Tensor:
        """Pairs side by side of latents [z_x, z_y, z_s]: one z_s for both decoders."""
        codes = self.latent_space.split(latents)
        return self.side_by_side(*(self.decode(codes["z_s"], codes[f"z_{domain}"], domain) for domain in ("x", "y")))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "options": self.options.as_dict()}


def gaussian_divergence(q: Gaussian, r: Gaussian) -> tf.Tensor:
    """KL(q || r) of two Gaussians of independent dimensions, dimension by dimension, in nats.

    Source: the authors' code; Kingma and Welling 2014, appendix B, for two Gaussians.
    """
    distance = (tf.square(q.mean - r.mean) + tf.exp(q.log_variance)) * tf.exp(-r.log_variance)
    return 0.5 * (r.log_variance - q.log_variance - 1.0 + distance)


def community_divergence(q: Gaussian, r: Gaussian) -> tf.Tensor:
    """The community code's form of `gaussian_divergence`: the means' distance is not in units of r's deviation.

    It is 0 for equal distributions and positive for others too, and the same if r is N(0, I).
    """
    ratio = tf.exp(q.log_variance - r.log_variance)
    return 0.5 * (r.log_variance - q.log_variance - 1.0 + tf.square(q.mean - r.mean) + ratio)


def _summed(values: tf.Tensor) -> tf.Tensor:
    """The sum over all but the first axis."""
    return tf.reduce_sum(values, axis=list(range(1, values.shape.rank)))
