"""MobileNetV2 (Sandler 2018) from keras.applications, with batch norm on TensorFlow's fused operation."""

import warnings
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfpipe.core.errors import ConfigError
from tfpipe.core.settings import BaselineSettings, ModelSettings

PATTERN = r"mobilenet_?v2"
MEAN = (127.5, 127.5, 127.5)
SCALE = (127.5, 127.5, 127.5)
BATCH_NORM_MOMENTUM = 0.9
"""PyTorch's and timm's. keras.applications has 0.999: after a few hundred steps its averages still hold
so much of their start that a network which learned well answers at random (measured: 0.89 against 0.06)."""


@keras.saving.register_keras_serializable("tfpipe")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch norm, same weights and settings, computed by one fused operation.

    Keras 3 builds batch norm from primitive operations; on a CPU that makes a
    MobileNetV2 half as fast to train. Input (batch, height, width, channels).
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: None = None) -> tf.Tensor:
        """Normalise over all axes but the last."""
        is_training = bool(training and self.trainable)
        normalised, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            self.gamma,
            self.beta,
            mean=None if is_training else self.moving_mean,
            variance=None if is_training else self.moving_variance,
            epsilon=self.epsilon,
            is_training=is_training,
        )
        if is_training:
            # The operation returns the unbiased variance; Keras averages the biased one.
            count = tf.cast(tf.size(inputs) / tf.shape(inputs)[-1], variance.dtype)
            self._move(self.moving_mean, mean)
            self._move(self.moving_variance, variance * (count - 1) / count)
        return normalised

    def _move(self, average: keras.Variable, value: tf.Tensor) -> None:
        average.assign(average * self.momentum + value * (1 - self.momentum))


def build(settings: ModelSettings, *, num_classes: int, image_size: int, dropout: float, seed: int) -> keras.Model:
    """Backbone of width `alpha`, average pooling, dropout, logits."""
    weights = "imagenet" if settings.pretrained else settings.weights
    features = _features(settings.alpha, weights, image_size, section="model")
    hidden = keras.layers.Dropout(dropout, seed=seed, name="dropout")(features.output)
    logits = keras.layers.Dense(num_classes, name="logits")(hidden)
    return keras.Model(features.input, logits, name="mobilenetv2")


def build_features(settings: BaselineSettings) -> keras.Model:
    """Backbone and average pooling alone, frozen: images (batch, size, size, 3) → features (batch, channels)."""
    network = _features(settings.alpha, settings.weights, settings.image_size, section="baseline")
    network.trainable = False
    return network


def _features(alpha: float, weights: str, image_size: int, *, section: str) -> keras.Model:
    published = keras.applications.MobileNetV2(
        input_shape=(image_size, image_size, 3), alpha=alpha, include_top=False, weights=None
    )
    _load_weights(published, alpha, weights, image_size, section)
    backbone = _fused(published)
    return keras.Model(backbone.input, keras.layers.GlobalAveragePooling2D(name="pool")(backbone.output))


def _fused(model: keras.Model) -> keras.Model:
    def fuse(layer: Any) -> Any:
        if type(layer) is keras.layers.BatchNormalization:
            return FusedBatchNormalization.from_config(layer.get_config() | {"momentum": BATCH_NORM_MOMENTUM})
        return layer.__class__.from_config(layer.get_config())

    fused = keras.models.clone_model(model, clone_function=fuse)
    fused.set_weights(model.get_weights())
    return fused


def _load_weights(backbone: keras.Model, alpha: float, weights: str, image_size: int, section: str) -> None:
    if weights == "none":
        return
    if weights == "imagenet":
        backbone.set_weights(_imagenet_weights(alpha, image_size, section))
        return
    path = Path(weights)
    if not path.is_file():
        raise ConfigError(f"{section}.weights: {path} is no file; expected `none`, `imagenet` or a weights file.")
    try:
        # Keras warns of every layer that does not fit, before it raises.
        with warnings.catch_warnings(action="ignore"):
            backbone.load_weights(path)
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"{section}.weights: {path} does not fit mobilenetv2 with alpha {alpha} ({reason}). "
            "It takes a backbone's weights; to go on from a whole model of tfpipe, there is `model.start_from`."
        ) from None


def _imagenet_weights(alpha: float, image_size: int, section: str) -> list[Any]:
    try:
        published = keras.applications.MobileNetV2(
            input_shape=(image_size, image_size, 3), alpha=alpha, include_top=False, weights="imagenet"
        )
    except Exception as error:  # noqa: BLE001 - keras raises a bare Exception when a download fails
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"{section}.weights: the ImageNet weights of mobilenetv2 with alpha {alpha} cannot be had ({reason}). "
            "Give a weights file, or `none`."
        ) from None
    return list(published.get_weights())
