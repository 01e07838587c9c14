"""MixUp (Zhang 2017) and CutMix (Yun 2019) over a batch, stateless: the same seed mixes the same way.

Beside timm's `Mixup`, whose alphas mean the same: every batch is mixed (its `prob=1.0`), with both alphas a
fair coin chooses for the whole batch (`switch_prob=0.5`, `mode="batch"`), each image has a λ of its own
(`mode="elem"`: less noise from step to step), and the target is mixed by the pixels that were really pasted
(`correct_lam=True`). The partner is the neighbour in the batch, which is shuffled, instead of the one at
its other end. Labels are smoothed afterwards, in the loss: the order makes no difference.
"""

import tensorflow as tf

Batch = tuple[tf.Tensor, tf.Tensor]
"""(batch, size, size, 3) images and (batch, num_classes) targets."""


def mix(images: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor, *, mixup_alpha: float, cutmix_alpha: float) -> Batch:
    """Mix each image with its neighbour in the batch; with both alphas, one of the two by a coin.

    Args:
        images: (batch, size, size, 3).
        targets: (batch, num_classes), rows sum to 1.
        seed: (2,) int32.
        mixup_alpha: of Beta(alpha, alpha); 0 switches MixUp off.
        cutmix_alpha: likewise for CutMix.
    """
    if not (mixup_alpha and cutmix_alpha):
        if mixup_alpha:
            return mixup(images, targets, seed, mixup_alpha)
        return cutmix(images, targets, seed, cutmix_alpha) if cutmix_alpha else (images, targets)
    heads = tf.random.stateless_uniform((), seed + 1) < 0.5
    return tf.cond(
        heads,
        lambda: mixup(images, targets, seed, mixup_alpha),
        lambda: cutmix(images, targets, seed, cutmix_alpha),
    )


def mixup(images: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor, alpha: float) -> Batch:
    """λ of each image and 1 - λ of its neighbour, λ ~ Beta(alpha, alpha) per image."""
    share = _beta(tf.shape(images)[:1], seed, alpha)
    return _blend(images, share[:, None, None, None]), _blend(targets, share[:, None])


def cutmix(images: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor, alpha: float) -> Batch:
    """A box of the neighbour pasted in; the targets mix by the area that is really covered."""
    count, size = tf.shape(images)[0], images.shape[1]
    side = tf.sqrt(1 - _beta(tf.shape(images)[:1], seed, alpha)) * size
    centres = tf.random.stateless_uniform((count, 2), seed + 2) * size
    low = tf.clip_by_value(tf.round(centres - side[:, None] / 2), 0, size)
    high = tf.clip_by_value(tf.round(centres + side[:, None] / 2), 0, size)
    at = tf.range(size, dtype=tf.float32)
    inside = (at >= low[..., None]) & (at < high[..., None])
    box = tf.cast(inside[:, 0, :, None] & inside[:, 1, None, :], tf.float32)[..., None]
    kept = 1 - tf.reduce_mean(box, axis=(1, 2, 3))
    return _blend(images, 1 - box), _blend(targets, kept[:, None])


def _blend(values: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    return values * share + tf.roll(values, 1, axis=0) * (1 - share)


def _beta(shape: tf.Tensor, seed: tf.Tensor, alpha: float) -> tf.Tensor:
    first = tf.random.stateless_gamma(shape, seed + 3, alpha)
    second = tf.random.stateless_gamma(shape, seed + 4, alpha)
    return first / (first + second)
