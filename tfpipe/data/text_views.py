"""Views of texts: (example id, view number, seed) → the same text, always.

What the settings' words mean, after the data augmentation of Tang 2019 (§3.3), whose students of BERT learn from what
their teacher says of such texts:

| `augmentation` | words left out | stretch that is kept, of the words |
|----------------|----------------|------------------------------------|
| `none`         | none           | all: validation, test, the page    |
| `moderate`     | 10 %           | all                                |
| `aggressive`   | 20 %           | 50 to 100 %, anywhere              |

Words are what stands between blanks. One word always stays. A label may no longer be true of what is left of a
text: such views are for students, whose teacher says what it thinks of the very same words.
"""

from collections.abc import Callable

import tensorflow as tf

from tfpipe.core.settings import Augmentation
from tfpipe.data.views import view_seed

MakeView = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""(text, example id, view number) → text, () string."""

LEFT_OUT: dict[Augmentation, float] = {"none": 0.0, "moderate": 0.1, "aggressive": 0.2}
"""Probability of each word."""
SHORTEST: dict[Augmentation, float] = {"none": 1.0, "moderate": 1.0, "aggressive": 0.5}
"""Share of the words that the shortest stretch has."""


def build_view(augmentation: Augmentation, seed: int) -> MakeView:
    """A function that makes views, to be mapped over examples."""
    return lambda text, example_id, view: augment_text(text, augmentation, view_seed(example_id, view, seed))


def augment_text(text: tf.Tensor, augmentation: Augmentation, seed: tf.Tensor) -> tf.Tensor:
    """A view of a text, both () string.

    Args:
        text: in UTF-8.
        augmentation: how much is left out.
        seed: (2,) int32.
    """
    if augmentation == "none":
        return text
    seeds = tf.random.experimental.stateless_split(seed, 2)
    words = _stretch(tf.strings.split(text), SHORTEST[augmentation], seeds[0])
    draws = tf.random.stateless_uniform(tf.shape(words), seeds[1])
    # The word with the highest draw stays in any case.
    stays = (draws >= LEFT_OUT[augmentation]) | (draws >= tf.reduce_max(draws))
    return tf.strings.reduce_join(tf.boolean_mask(words, stays), separator=" ")


def _stretch(words: tf.Tensor, shortest: float, seed: tf.Tensor) -> tf.Tensor:
    """Neighbouring words of a random number, from a random place on."""
    if shortest == 1:
        return words
    share, place = tf.unstack(tf.random.stateless_uniform((2,), seed))
    count = tf.cast(tf.size(words), tf.float32)
    kept = tf.math.ceil(count * (shortest + share * (1 - shortest)))
    first = tf.cast(place * (count - kept + 1), tf.int32)
    return words[first : first + tf.cast(kept, tf.int32)]
