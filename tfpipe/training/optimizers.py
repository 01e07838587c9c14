"""Optimisers: their schedule, whom weight decay pulls, how fast each layer learns, and the weights' moving average."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tfpipe.core.settings import TrainingSettings

OFFSETS_AND_SCALES = ("bias", "beta", "gamma")
"""Not decayed, of whatever shape: an attention's bias is (num_heads, head_dim)."""

POSITIONS_AND_TOKENS = re.compile(r"position_embedding|pos_embed|relative_position|rel_pos|_tokens?$")
"""Not decayed either, as they call themselves in KerasHub: paths such as `…/position_embedding/embeddings`."""


def build_optimizer(
    settings: TrainingSettings,
    *,
    learning_rate: float,
    weight_decay: float,
    epochs: int,
    steps_per_epoch: int,
    rates: Mapping[str, float] | None = None,
) -> keras.optimizers.Optimizer:
    """The optimiser of the settings, with linear warm-up and cosine decay to zero over `epochs`.

    Args:
        settings: `optimizer`, `warmup_epochs`, `clip_norm` and `ema_decay`.
        learning_rate: at the end of the warm-up.
        weight_decay: share of a weight that a step at a learning rate of 1 would take away (Loshchilov 2017).
        epochs: of the whole phase.
        steps_per_epoch: updates, not parts of an accumulated batch.
        rates: path of each trainable variable → factor on its learning rate; None: 1 for all.
    """
    schedule = warmup_cosine(
        learning_rate,
        warmup_steps=math.ceil(min(settings.warmup_epochs, epochs / 2) * steps_per_epoch),
        total_steps=epochs * steps_per_epoch,
    )
    return OPTIMIZERS[settings.optimizer](
        learning_rate=schedule,
        weight_decay=weight_decay,
        global_clipnorm=settings.clip_norm,
        rates=rates,
        use_ema=settings.ema_decay > 0,
        ema_momentum=settings.ema_decay,
    )


def warmup_cosine(
    learning_rate: float, *, warmup_steps: int, total_steps: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """From 0 up to `learning_rate` in a line, then down to 0 along a half cosine."""
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup_steps else learning_rate,
        decay_steps=max(1, total_steps - warmup_steps),
        warmup_target=learning_rate if warmup_steps else None,
        warmup_steps=warmup_steps,
    )


@contextmanager
def averaged_weights(optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Inside, the network that `optimizer` trains has its averaged weights; afterwards its own again, to the bit.

    To validate and to save in. What training resumes from must be written outside. Without EMA, and before
    the first step, when there is nothing to average, the network stays as it is. Batch norm's moving
    statistics are averages already, of what the training weights saw, and stay as they are too.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if not optimizer.use_ema or not ops.convert_to_numpy(optimizer.iterations):
        yield
        return
    variables = optimizer._trainable_variables
    own = [ops.convert_to_numpy(variable) for variable in variables]
    _assign(variables, [ops.convert_to_numpy(average) for average in optimizer._model_variables_moving_average])
    try:
        yield
    finally:
        _assign(variables, own)


def _assign(variables: Sequence[keras.Variable], values: Sequence[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def is_decayed(variable: keras.Variable) -> bool:
    """Whether weight decay pulls a variable: kernels and word embeddings, nothing else.

    As in timm and the vision transformers' papers: vectors (biases, norms, layer scales), position embeddings
    and class, register or mask tokens are left alone.
    """
    name = variable.path.rsplit("/", 1)[-1]
    return len(variable.shape) > 1 and name not in OFFSETS_AND_SCALES and not POSITIONS_AND_TOKENS.search(variable.path)


class LayerWise(keras.optimizers.Optimizer):
    """What Keras's optimisers lack, to be inherited beside one of them.

    Each variable learns, and decays, at its own multiple of the learning rate. Weight decay pulls what
    `is_decayed`. Gradients are clipped once they are summed over replicas; Keras clips each replica's part.

    Args:
        rates: path of each trainable variable → factor on its learning rate; None: 1 for all.
    """

    def __init__(self, *, rates: Mapping[str, float] | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.rates = rates

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Once the variables are known, so are their factors."""
        if not self.built:
            self._factors = tuple(_factors(variables, self.rates))
            self._decays = tuple(float(self.weight_decay or 0) * is_decayed(variable) for variable in variables)
        super().build(variables)

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """Decay, then the optimiser's own step, of one variable (or of its copy on one device)."""
        index = self._get_variable_index(variable)
        rate = ops.cast(learning_rate, variable.dtype)
        if self._factors[index] != 1:
            rate = rate * self._factors[index]
        if self._decays[index]:
            self.assign_sub(variable, variable * self._decays[index] * rate)
        super().update_step(gradient, variable, rate)

    def get_config(self) -> dict[str, Any]:
        """The optimiser's, and `rates`."""
        return super().get_config() | {"rates": None if self.rates is None else dict(self.rates)}

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
        """Done in `update_step`, which knows the factor."""

    def _clip_gradients(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """Done below: here, a replica has only its own part, and the norm of a part is not that of the whole."""
        return gradients

    def _all_reduce_sum_gradients(
        self, gradients_and_variables: Sequence[tuple[tf.Tensor, tf.Variable]]
    ) -> list[tuple[tf.Tensor, tf.Variable]]:
        summed = super()._all_reduce_sum_gradients(gradients_and_variables)
        gradients = super()._clip_gradients([gradient for gradient, _ in summed])
        return [(gradient, variable) for gradient, (_, variable) in zip(gradients, summed, strict=True)]


class FusedStep(keras.optimizers.Adam):
    """Keras's step as TensorFlow's one operation for it, to be inherited before one of Keras's Adams.

    Keras writes some fifteen operations for each variable, for which a network of 158 pays whenever its graph is drawn.
    The formula is the same (Kingma 2014, the end of §2), to a float's rounding.
    """

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """One variable (or its copy on one device) and its two averages."""
        index, dtype = self._get_variable_index(variable), variable.dtype
        step = tf.cast(self.iterations.value + 1, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(tf.cast(self.beta_1, dtype), step),
            beta2_power=tf.pow(tf.cast(self.beta_2, dtype), step),
            lr=tf.cast(learning_rate, dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, dtype),
        )


class Adam(LayerWise, FusedStep):
    """Kingma 2014; its weight decay is decoupled as well."""


class AdamW(LayerWise, FusedStep, keras.optimizers.AdamW):
    """Loshchilov 2017."""


class SGD(LayerWise, keras.optimizers.SGD):
    """With Nesterov's momentum."""

    def __init__(self, *, momentum: float = 0.9, nesterov: bool = True, **settings: Any) -> None:
        super().__init__(momentum=momentum, nesterov=nesterov, **settings)


class LossScaling(keras.optimizers.LossScaleOptimizer):
    """For float16. A step is left out if any replica's gradients overflow; Keras asks the first replica alone.

    The replicas of this process, that is: workers do not hear of each other's overflows.
    """

    def check_finite(self, grads: Sequence[tf.Tensor]) -> tf.Tensor:
        """() bool: whether all gradients on all replicas are numbers."""
        finite = super().check_finite(grads)
        return tf.distribute.get_replica_context().merge_call(_all_of, args=(finite,))


def _all_of(strategy: tf.distribute.Strategy, finite: tf.distribute.DistributedValues) -> tf.Tensor:
    return tf.reduce_all(tf.stack(strategy.experimental_local_results(finite)))


def _factors(variables: Sequence[keras.Variable], rates: Mapping[str, float] | None) -> Iterator[float]:
    """One for each variable.

    Raises:
        ValueError: when `rates` leaves one out.
    """
    for variable in variables:
        if rates is not None and variable.path not in rates:
            raise ValueError(f"rates: no factor for {variable.path}; there are {', '.join(rates)}.")
        yield 1.0 if rates is None else float(rates[variable.path])


OPTIMIZERS = {"adam": Adam, "adamw": AdamW, "sgd": SGD}
