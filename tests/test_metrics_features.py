"""Feature extractors: InceptionV3 with weights of a file, Keras models, functions; ids, ranges, batches, refusals."""

from __future__ import annotations

import socket
import warnings
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from common.files import sha256_of
from metrics import features
from metrics.features import (
    Extractor,
    checked_images,
    from_function,
    from_keras_file,
    in_whole_batches,
    inception_preparation,
    inception_v3,
    qualified,
)


def pictures(count: int, side: int = 8, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, side, side, channels)).astype(np.float32)


def flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


def test_inception_by_a_given_file(tmp_path: Path) -> None:
    # Random weights of the real network, in a file as a user would give it.
    keras = features.import_keras()
    keras.utils.set_random_seed(0)
    network = keras.applications.InceptionV3(include_top=False, weights=None, pooling="avg", input_shape=(299, 299, 3))
    weights = tmp_path / "inception.weights.h5"
    network.save_weights(weights)
    extractor = inception_v3(weights, batch_size=2)
    assert extractor.id == f"keras_inception_v3_{sha256_of(weights)[:8]}"
    assert (extractor.lowest, extractor.highest) == (0.0, 1.0)
    images = pictures(2)
    found = extractor(images)
    assert found.shape == (2, features.INCEPTION_FEATURES)
    assert found.dtype == np.float32
    # The network itself, on images that were prepared by hand.
    expected = network(plain_resize(images, 299) * 2 - 1, training=False)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


@pytest.fixture
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that is built faster than InceptionV3, in its place."""
    keras = features.import_keras()

    def build(include_top: bool, **options: object) -> object:
        inputs = keras.Input((299, 299, 3))
        pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 1)(inputs))
        return keras.Model(inputs, keras.layers.Dense(5)(pooled) if include_top else pooled)

    monkeypatch.setattr(keras.applications, "InceptionV3", build)


@pytest.mark.usefixtures("small_network")
def test_images_of_all_kinds_and_in_any_batches(tmp_path: Path) -> None:
    weights = tmp_path / "small.weights.h5"
    features.import_keras().applications.InceptionV3(include_top=False).save_weights(weights)
    extractor = inception_v3(weights, batch_size=2)
    images = pictures(3)
    # Batches do not matter beyond rounding: an image's place in its batch may move the last bit.
    apart = np.concatenate([extractor(images[:1]), extractor(images[1:])])
    np.testing.assert_allclose(apart, extractor(images), rtol=1e-5, atol=1e-7)
    # Gray images are repeated, and bytes are divided.
    gray = pictures(1, channels=1)
    assert extractor(gray).tobytes() == extractor(np.repeat(gray, 3, axis=-1)).tobytes()
    levels = np.random.default_rng(1).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    assert extractor(levels).tobytes() == extractor((levels / np.float32(255)).astype(np.float32)).tobytes()
    with pytest.raises(ValueError, match="1 or 3 channels, not 2"):
        extractor(pictures(1, channels=2))
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]; they span -1"):
        extractor(pictures(1) * 2 - 1 - np.float32(1e-2))


@pytest.mark.usefixtures("small_network")
def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    keras = features.import_keras()
    path = tmp_path / "small.weights.h5"
    keras.applications.InceptionV3(include_top=False).save_weights(path)
    assert inception_v3(path)(pictures(1)).shape == (1, 2)
    with pytest.raises(
        UserError, match=r"holds no weights of InceptionV3 for probabilities .* published file is incep"
    ):
        inception_v3(path, output="probabilities")
    text = tmp_path / "text.h5"
    text.write_text("not weights")
    with pytest.raises(UserError, match="holds no weights of InceptionV3 for features"):
        inception_v3(text)
    with pytest.raises(UserError, match=r"none\.h5: no such file; give the weights of InceptionV3"):
        inception_v3(tmp_path / "none.h5")
    with pytest.raises(ValueError, match="output is 'logits'; allowed: features, probabilities"):
        inception_v3(output="logits")


@pytest.mark.usefixtures("small_network")
def test_weights_that_keras_merely_warns_of_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keras = features.import_keras()
    path = tmp_path / "partial.weights.h5"
    path.write_bytes(b"weights")

    def warn(model: object, file: Path) -> None:
        warnings.warn("Affected layers will retain their freshly-initialized weights.", stacklevel=1)

    monkeypatch.setattr(keras.Model, "load_weights", warn)
    with pytest.raises(UserError, match=r"holds no weights of InceptionV3 for features \(Affected layers"):
        inception_v3(path)


def test_weights_that_cannot_be_fetched_are_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keras = features.import_keras()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    asked: list[dict[str, object]] = []

    def offline(name: str, url: str, **options: object) -> str:
        asked.append({"name": name, "url": url, "timeout": socket.getdefaulttimeout(), **options})
        print("Downloading data from", url)
        raise Exception(f"URL fetch failure on {url}: None -- [Errno -2] Name or service not known")

    monkeypatch.setattr(keras.utils, "get_file", offline)
    with pytest.raises(UserError, match="not in Keras' cache and could not be fetched from https://storage") as error:
        inception_v3()
    assert "download that file where there is a network and give its path" in str(error.value)
    assert "\n" not in str(error.value)
    (request,) = asked
    assert request["name"] == "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
    assert request["file_hash"] == "bcbd6486424b2319ff4ef7d526e38f63"
    assert request["timeout"] == 60
    assert socket.getdefaulttimeout() is None
    said = capsys.readouterr()
    assert said.out == ""
    assert "Name or service not known" in said.err
    # What Keras itself would fetch: the same addresses and checksums.
    from keras.src.applications import inception_v3 as published

    files = [published.WEIGHTS_PATH_NO_TOP, published.WEIGHTS_PATH]
    assert [features._INCEPTION_URL + name for name, _ in features._INCEPTION_FILES.values()] == files


def test_fetched_weights_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keras = features.import_keras()
    weights = tmp_path / "fetched.h5"
    weights.write_bytes(b"weights")
    built: list[object] = []
    monkeypatch.setattr(keras.utils, "get_file", lambda name, url, **options: str(weights))
    monkeypatch.setattr(features, "_inception_model", lambda *arguments: built.append(arguments))
    plain, compat = inception_v3(), inception_v3(vgan_compat=True)
    checksum = sha256_of(weights)[:8]
    assert (plain.id, compat.id) == (f"keras_inception_v3_{checksum}", f"keras_inception_v3_vgan_{checksum}")
    assert inception_v3(output="probabilities").id == f"keras_inception_v3_classes_{checksum}"
    assert built == [(weights, "features", False), (weights, "features", True), (weights, "probabilities", False)]
    assert (compat.lowest, compat.highest) == (-1.0, 1 + 1 / 128)
    assert plain.preprocessing != compat.preprocessing


def plain_resize(images: np.ndarray, side: int) -> np.ndarray:
    """Bilinear, pixel centers at halves, the border repeated; one axis after the other."""
    for axis in (1, 2):
        old = images.shape[axis]
        places = np.clip((np.arange(side) + 0.5) * old / side - 0.5, 0, old - 1)
        low = np.floor(places).astype(int)
        high = np.minimum(low + 1, old - 1)
        shape = [1, 1, 1, 1]
        shape[axis] = side
        part = (places - low).astype(np.float32).reshape(shape)
        images = np.take(images, low, axis) * (1 - part) + np.take(images, high, axis) * part
    return images


@pytest.mark.parametrize("side", [5, 32, 299, 320])
def test_images_are_resized_and_scaled_as_documented(side: int) -> None:
    images = pictures(2, side)
    found = np.asarray(inception_preparation()(images))
    # TensorFlow computes places in single precision.
    np.testing.assert_allclose(found, plain_resize(images, 299) * 2 - 1, atol=2e-4)


def test_vgan_scales_what_it_takes_for_unit_images() -> None:
    images = pictures(1, 299) * 2 - 1
    found = np.asarray(inception_preparation(vgan_compat=True)(images))
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(found, (images * std + mean) * 2 - 1, atol=1e-5)


def test_a_keras_model(tmp_path: Path) -> None:
    keras = features.import_keras()
    inputs = keras.Input((6, 6, 1))
    hidden = keras.layers.Flatten()(inputs)
    model = keras.Model(inputs, [keras.layers.Dense(4)(hidden), keras.layers.Dense(2)(hidden)])
    path = tmp_path / "model.keras"
    model.save(path)
    extractor = from_keras_file(path, (6, 6, 1), output=1, batch_size=4)
    assert extractor.id == f"model_{sha256_of(path)[:8]}_output_1"
    images = pictures(7, 6, 1)
    found = extractor(images)
    np.testing.assert_allclose(found, np.asarray(model(images)[1]), rtol=1e-5, atol=1e-6)
    assert np.concatenate([extractor(images[:5]), extractor(images[5:])]).tobytes() == found.tobytes()
    with pytest.raises(UserError, match="2 outputs"):
        from_keras_file(path, (6, 6, 1))
    with pytest.raises(UserError, match="does not take images of 5x5x1"):
        from_keras_file(path, (5, 5, 1), output=0)
    with pytest.raises(UserError, match="no such file"):
        from_keras_file(tmp_path / "other.keras", (6, 6, 1))


def test_a_function() -> None:
    extractor = from_function("pixels", flat, batch_size=4)
    images = pictures(6, 2)
    assert extractor.id == "function_pixels"
    assert extractor(images).tobytes() == flat(images).tobytes()
    assert qualified("fid", extractor.id) == "fid_function_pixels"
    assert qualified("fid", "") == "fid"


def test_functions_get_whole_batches_only() -> None:
    sizes: list[int] = []

    def watched(images: np.ndarray) -> np.ndarray:
        sizes.append(len(images))
        return flat(images)

    assert in_whole_batches(watched, pictures(10, 2), 4).shape == (10, 12)
    assert sizes == [4, 4, 4]
    for wrong in (lambda images: images[:1].reshape(1, -1), lambda images: images, lambda images: np.zeros((4, 0))):
        with pytest.raises(ValueError, match=r"features must have the shape \(4, D\)"):
            in_whole_batches(wrong, pictures(10, 2), 4)


def test_features_that_are_not_finite_are_refused() -> None:
    with pytest.raises(UserError, match="function_bad gives features that are NaN or infinite"):
        from_function("bad", lambda images: flat(images) * np.nan)(pictures(2))


def test_images_are_checked() -> None:
    images = pictures(2)
    assert checked_images(images).tobytes() == images.tobytes()
    assert checked_images(images.astype(np.float64)).dtype == np.float32
    assert checked_images(np.full((1, 2, 2, 1), 255, np.uint8)).max() == 1.0
    # A generator's rounding is not held against it.
    assert checked_images(images * 0 + np.float32(1 + 1e-5)).max() == 1.0
    assert checked_images(images * 2 - 1, None, -1.0, 1.0).min() < 0
    for wrong, error, words in (
        (images[0], ValueError, "must have the shape"),
        (images[:0], ValueError, "must have the shape"),
        (images * 255, ValueError, r"must lie in \[0, 1\]"),
        (images - 1, ValueError, r"must lie in \[0, 1\]"),
        (images * np.nan, ValueError, "span nan to nan"),
        ((images * 255).astype(np.int64), TypeError, "floats in .* or uint8"),
        (images > 0.5, TypeError, "not bool"),
    ):
        with pytest.raises(error, match=words):
            checked_images(wrong)
    with pytest.raises(ValueError, match=r"must have the shape \(n, 4, 4, 1\)"):
        checked_images(images, (4, 4, 1))
    with pytest.raises(TypeError, match=r"floats in \[-1, 1\]"):
        checked_images(np.zeros((1, 2, 2, 1), np.uint8), None, -1.0, 1.0)


@pytest.mark.parametrize("name", ["Upper", "a-b", "", "1a"])
def test_ids_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match="lower-case letters"):
        Extractor(name, flat, "none")


def test_ranges_are_checked() -> None:
    with pytest.raises(ValueError, match="range is 1 to 0"):
        Extractor("a", flat, "none", lowest=1.0, highest=0.0)
    with pytest.raises(ValueError, match="batch_size 0"):
        Extractor("a", flat, "none", batch_size=0)
