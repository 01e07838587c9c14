"""What a model sees of an example, be it a photo or a text: a view of it, and a batch of views made ready."""

from collections.abc import Callable

import tensorflow as tf

from tfpipe.core.inputs import ModelInput, TextInput
from tfpipe.core.settings import Augmentation
from tfpipe.data import text_views, views
from tfpipe.data.tokens import build_encode

MakeView = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""(JPEG bytes or text, example id, view number) → pixels (size, size, 3) float32, normalised, or text () string."""


def build_view(
    augmentation: Augmentation, model_input: ModelInput, seed: int, *, random_erasing: float = 0.0
) -> MakeView:
    """A function that makes views, to be mapped over examples; `data/views.py` and `data/text_views.py` say which."""
    if isinstance(model_input, TextInput):
        return text_views.build_view(augmentation, seed)
    return views.build_view(augmentation, model_input, seed, random_erasing=random_erasing)


def build_finish(model_input: ModelInput) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function from a batch of views to what a network takes: texts are encoded here, photos are ready."""
    if isinstance(model_input, TextInput):
        return build_encode(model_input)
    return tf.identity
