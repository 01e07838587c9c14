"""Views as teacher and student see them: of one photo or text, or, where `label` asks for it, of two that are mixed.

Which one is mixed with which, and how, is part of the view: it follows from (id, view, seed). The partner
stands some places further on in the canonical order, as many for all examples of a view, so that both are
read as streams; records are shuffled as they are written, so it is one like any other.
"""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from tfpipe.core.inputs import ModelInput
from tfpipe.core.settings import Augmentation
from tfpipe.data.mixing import Example as Pair
from tfpipe.data.mixing import mix, splice
from tfpipe.data.records import Records
from tfpipe.data.seen import build_view
from tfpipe.data.views import view_seed

FURTHEST = 4096
"""Places between partners at most: what lies between them is read, though not decoded, before an epoch begins."""

MIXING = 0x6D697865
"""Sets the draws of mixing apart from those of the view."""

Example = dict[str, tf.Tensor]
MakeExample = Callable[[Example, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""(example, view number) → its view, as `seen.MakeView` makes it, and its target (num_classes,)."""


@dataclass(frozen=True)
class Views:
    """How the views of examples are made: (id, view, seed) → the same pixels, always."""

    augmentation: Augmentation
    seed: int
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0

    @property
    def are_mixed(self) -> bool:
        """Whether each has a partner."""
        return bool(self.mixup_alpha or self.cutmix_alpha)

    def examples(self, records: Records, view: tf.Tensor, *, first: int = 0) -> tf.data.Dataset:
        """Undecoded examples in canonical order from `first` on, each with its `partner` in that view, if any."""
        examples = records.examples(first)
        if not self.are_mixed:
            return examples
        onwards = examples.concatenate(records.examples().repeat())
        partners = onwards.skip(partner_distance(view, self.seed, records.num_examples))
        return tf.data.Dataset.zip(examples, partners).map(lambda example, partner: example | {"partner": partner})

    def build(self, model_input: ModelInput, records: Records) -> MakeExample:
        """A function that decodes examples, to be mapped over them."""
        make_view = build_view(self.augmentation, model_input, self.seed)
        task, num_classes = records.task, len(records.classes)

        def decode(example: Example, view: tf.Tensor) -> Pair:
            return make_view(example[task], example["id"], view), tf.one_hot(example["label"], num_classes)

        def make(example: Example, view: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            own = decode(example, view)
            if not self.are_mixed:
                return own
            seed = tf.random.experimental.stateless_fold_in(view_seed(example["id"], view, self.seed), MIXING)
            partner = decode(example["partner"], view)
            return self._mixed(own, partner, seed) if task == "image" else splice(own, partner, seed, self.cutmix_alpha)

        return make

    def _mixed(self, own: Pair, partner: Pair, seed: tf.Tensor) -> Pair:
        one, other = (tuple(part[tf.newaxis] for part in pair) for pair in (own, partner))
        images, targets = mix(one, other, seed, mixup_alpha=self.mixup_alpha, cutmix_alpha=self.cutmix_alpha)
        return images[0], targets[0]


def partner_distance(view: tf.Tensor, seed: int, num_examples: int) -> tf.Tensor:
    """() int64, how many places further on the partners of a view stand, counting on from the beginning at the end.

    Never 0 or all the way round, unless there is but one example.
    """
    furthest = max(1, min(num_examples - 1, FURTHEST))
    key = tf.stack([tf.constant(seed, tf.int64), tf.cast(view, tf.int64)])
    return tf.random.stateless_uniform((), key, 1, furthest + 1, tf.int64)
