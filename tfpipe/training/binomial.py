"""What a share of so many says of the share of all."""

from scipy.stats import beta

from tfpipe.training.bootstrap import LEVEL, Interval


def exact_interval(hits: int, count: int, *, level: float = LEVEL) -> Interval:
    """By the binomial distribution, never too narrow (Clopper 1934); all there is, where nothing was counted."""
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, hits, count - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, count - hits)) if hits < count else 1.0
    return Interval(low, high)
