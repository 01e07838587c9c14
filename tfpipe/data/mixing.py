"""MixUp (Zhang 2017) and CutMix (Yun 2019), stateless: the same seed mixes the same way.

Beside timm's `Mixup`, whose alphas mean the same: every batch is mixed (its `prob=1.0`), with both alphas a
fair coin chooses for the whole batch (`switch_prob=0.5`, `mode="batch"`), each image has a λ of its own
(`mode="elem"`: less noise from step to step), and the target is mixed by the pixels that were really pasted
(`correct_lam=True`). The partner is the neighbour in the batch, which is shuffled, instead of the one at
its other end. Labels are smoothed afterwards, in the loss: the order makes no difference.

A view that is mixed (`data/partners.py`) is a batch of one, whose partner stands elsewhere in the records.
"""

import tensorflow as tf

Batch = tuple[tf.Tensor, tf.Tensor]
"""(batch, size, size, 3) images and (batch, num_classes) targets, whose rows sum to 1."""
Example = tuple[tf.Tensor, tf.Tensor]
"""What a batch holds, without its first axis."""


def mix_neighbours(batch: Batch, seed: tf.Tensor, *, mixup_alpha: float, cutmix_alpha: float) -> Batch:
    """Mix each image with its neighbour in the batch; see `mix`."""
    neighbours = (tf.roll(batch[0], 1, axis=0), tf.roll(batch[1], 1, axis=0))
    return mix(batch, neighbours, seed, mixup_alpha=mixup_alpha, cutmix_alpha=cutmix_alpha)


def mix(batch: Batch, partners: Batch, seed: tf.Tensor, *, mixup_alpha: float, cutmix_alpha: float) -> Batch:
    """Mix images and targets with their partners; with both alphas, one way of the two by a coin.

    Args:
        batch: what is mixed.
        partners: as many, what is mixed in.
        seed: (2,) int32.
        mixup_alpha: of Beta(alpha, alpha); 0 switches MixUp off.
        cutmix_alpha: likewise for CutMix.
    """
    if not (mixup_alpha and cutmix_alpha):
        if mixup_alpha:
            return mixup(batch, partners, seed, mixup_alpha)
        return cutmix(batch, partners, seed, cutmix_alpha) if cutmix_alpha else batch
    heads = tf.random.stateless_uniform((), seed + 1) < 0.5
    return tf.cond(
        heads,
        lambda: mixup(batch, partners, seed, mixup_alpha),
        lambda: cutmix(batch, partners, seed, cutmix_alpha),
    )


def mixup(batch: Batch, partners: Batch, seed: tf.Tensor, alpha: float) -> Batch:
    """λ of each image and 1 - λ of its partner, λ ~ Beta(alpha, alpha) per image."""
    share = _beta(tf.shape(batch[0])[:1], seed, alpha)
    return _blend(batch, partners, share[:, None, None, None], share)


def cutmix(batch: Batch, partners: Batch, seed: tf.Tensor, alpha: float) -> Batch:
    """A box of the partner pasted in; the targets mix by the area that is really covered."""
    count, size = tf.shape(batch[0])[0], batch[0].shape[1]
    side = tf.sqrt(1 - _beta(tf.shape(batch[0])[:1], seed, alpha)) * size
    centres = tf.random.stateless_uniform((count, 2), seed + 2) * size
    low = tf.clip_by_value(tf.round(centres - side[:, None] / 2), 0, size)
    high = tf.clip_by_value(tf.round(centres + side[:, None] / 2), 0, size)
    at = tf.range(size, dtype=tf.float32)
    inside = (at >= low[..., None]) & (at < high[..., None])
    box = tf.cast(inside[:, 0, :, None] & inside[:, 1, None, :], tf.float32)[..., None]
    return _blend(batch, partners, 1 - box, 1 - tf.reduce_mean(box, axis=(1, 2, 3)))


def splice(example: Example, partner: Example, seed: tf.Tensor, alpha: float) -> Example:
    """CutMix of texts: the first words of one, then the last of its partner, in shares drawn from Beta(alpha, alpha).

    Args:
        example: text () string, and target (num_classes,).
        partner: likewise.
        seed: (2,) int32.
        alpha: above 0.

    Returns:
        A text, and a target that is mixed by the words that came from each; of a text that is longer than a model
        reads, also by those that it does not read.
    """
    (text, target), (other, other_target) = example, partner
    share = _beta(tf.constant([], tf.int32), seed, alpha)
    own, others = tf.strings.split(text), tf.strings.split(other)
    own = own[: _count_of(share, own)]
    others = others[tf.size(others) - _count_of(1 - share, others) :]
    of_own = tf.cast(tf.size(own), tf.float32) / tf.cast(tf.maximum(tf.size(own) + tf.size(others), 1), tf.float32)
    spliced = tf.strings.reduce_join(tf.concat([own, others], axis=0), separator=" ")
    return spliced, target * of_own + other_target * (1 - of_own)


def _count_of(share: tf.Tensor, words: tf.Tensor) -> tf.Tensor:
    """Rounded up."""
    return tf.cast(tf.math.ceil(share * tf.cast(tf.size(words), tf.float32)), tf.int32)


def _blend(batch: Batch, partners: Batch, of_pixels: tf.Tensor, of_target: tf.Tensor) -> Batch:
    """Shares of the batch's own: `of_pixels` broadcasts to the images, `of_target` is (batch,)."""
    (images, targets), (others, other_targets) = batch, partners
    of_classes = of_target[:, None]
    return (
        images * of_pixels + others * (1 - of_pixels),
        targets * of_classes + other_targets * (1 - of_classes),
    )


def _beta(shape: tf.Tensor, seed: tf.Tensor, alpha: float) -> tf.Tensor:
    first = tf.random.stateless_gamma(shape, seed + 3, alpha)
    second = tf.random.stateless_gamma(shape, seed + 4, alpha)
    return first / (first + second)
