"""A student that learns from a live teacher's features too."""

from typing import Any

import keras
import tensorflow as tf

from tfpipe.training.distiller import Distiller, Targets
from tfpipe.training.live_teachers import LiveTeachers, features_and_logits
from tfpipe.training.losses import SoftLabels


class FeatureDistiller(Distiller):
    """Adds the distance between the student's features, linearly mapped, and the first teacher's (Romero 2015, §2.2).

    Features are what stands below the head, pooled, where both networks have seen everything; so the guided layer is
    the last one, all through training, instead of a middle one in a phase of its own. The squared distance is divided
    by the squared length of the teacher's features: 0 says that they are met, 1 is as far off as no answer, whatever
    the teacher's width or scale. Where the first teacher has no say, neither have its features.

    Args:
        student: see `Learner`; both it and the first teacher have a layer `pool`.
        teachers: live ones.
        feature_weight: of the distance.
        seed: of the map's first values.
        settings: of `Distiller`.
    """

    def __init__(
        self, student: keras.Model, *, teachers: LiveTeachers, feature_weight: float, seed: int, **settings: Any
    ) -> None:
        super().__init__(student, teachers=teachers, **settings)
        self.student_features = features_and_logits(student)
        teacher_channels = teachers.networks[0].get_layer("pool").output.shape[-1]
        start = keras.initializers.GlorotUniform(seed)
        self.feature_map = keras.layers.Dense(
            teacher_channels, use_bias=False, kernel_initializer=start, dtype="float32", name="feature_map"
        )
        self.feature_map.build(student.get_layer("pool").output.shape)

        self.feature_loss = keras.metrics.Mean("feature_loss")

        self.live_teachers = teachers
        self.feature_weight = feature_weight

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The distance beside the rest."""
        return [*super().metrics, self.feature_loss]

    def answer(self, batch: tuple[tf.Tensor, Targets], *, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Student and teachers are asked once, for features and logits."""
        images, targets = batch
        features, logits = self.student_features(images, training=training)
        labels, teacher_features = self.live_teachers.with_features(targets["teacher_inputs"])
        speaks = tf.cast(targets["teacher_weights"][:, 0] > 0, tf.float32)
        feature_losses = speaks * relative_distance(teacher_features, self.feature_map(features))
        self.feature_loss.update_state(feature_losses)
        losses = self.losses_of(targets | {"teacher_answers": labels}, logits)
        return logits, losses + self.feature_weight * feature_losses

    def ask(self, targets: Targets) -> list[SoftLabels]:
        """Within a step the teachers have spoken when it comes to the losses."""
        return targets["teacher_answers"] if "teacher_answers" in targets else super().ask(targets)


def relative_distance(teacher_features: tf.Tensor, mapped_features: tf.Tensor) -> tf.Tensor:
    """‖mapped - teacher‖² / ‖teacher‖², both (batch, channels) → (batch,)."""
    teacher_features = tf.cast(teacher_features, tf.float32)
    squared = tf.reduce_sum(tf.square(mapped_features - teacher_features), axis=-1)
    return squared / (tf.reduce_sum(tf.square(teacher_features), axis=-1) + keras.config.epsilon())
