"""How well a network's probabilities are calibrated at a temperature, with intervals. NumPy alone."""

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from scipy.sparse import csr_array, hstack

from tfpipe.training.bootstrap import Interval, interval, iter_sums
from tfpipe.training.outcomes import in_chunks, log_softmax
from tfpipe.training.reliability import NUM_BINS, Binning, find_bins, find_edges, reliability

BINNINGS: tuple[Binning, ...] = ("width", "mass")
CHUNK = 2**22
"""Draws held at a time."""

Array = np.ndarray


@dataclass(frozen=True)
class Judged:
    """The little of probabilities from which calibration follows; (num_examples,) each."""

    labels: Array
    """Class ids, as meant."""
    answers: Array
    """The likeliest classes; of equals, the first."""
    confidences: Array
    """Their probabilities, float32."""
    label_probs: Array
    """The labels' probabilities, float32."""
    losses: Array
    """Cross-entropy, in nats."""
    briers: Array
    """Squared distance of the probabilities from the label's one and all others' nothing: 0 to 2 (Brier 1950)."""

    @property
    def right(self) -> Array:
        """Whether the likeliest class is the label."""
        return self.answers == self.labels

    def part(self, inside: Array) -> "Judged":
        """Of the examples that (num_examples,) bool marks."""
        return Judged(*(getattr(self, field.name)[inside] for field in fields(self)))


def judge_probabilities(logits: Array, labels: Array, temperature: float) -> Judged:
    """Look at softmax(logits / temperature) once, a part at a time.

    Args:
        logits: (num_examples, num_classes); may lie on the disk.
        labels: (num_examples,) class ids.
        temperature: 1 leaves the probabilities as the network has them.
    """
    parts = [_judge_part(part / np.float32(temperature), of_part) for part, of_part in in_chunks(logits, labels)]
    return Judged(labels, *(np.concatenate(column) for column in zip(*parts, strict=True)))


def describe(judged: Judged, *, resamples: int, seed: int) -> dict[str, Any]:
    """Every measure of calibration, with 95 % intervals.

    `ece_by_chance` is what the expected calibration error would be on average, were each answer right exactly as
    often as it is sure: with few examples that is far from 0, and no temperature gets below it.

    Args:
        judged: at least one example.
        resamples: of the bootstrap.
        seed: of the draws.
    """
    found = {binning: reliability(judged.confidences, judged.right, binning=binning) for binning in BINNINGS}
    scores = {
        "ece": found["width"]["ece"],
        "mce": found["width"]["mce"],
        "ece_equal_mass": found["mass"]["ece"],
        "mce_equal_mass": found["mass"]["mce"],
        "nll": float(judged.losses.mean(dtype=np.float64)),
        "brier": float(judged.briers.mean(dtype=np.float64)),
    }
    intervals = _intervals(judged, scores, resamples=resamples, seed=seed)
    return scores | {
        "num_examples": len(judged.labels),
        "top1_accuracy": float(judged.right.mean()),
        "mean_confidence": found["width"]["mean_confidence"],
        "ece_by_chance": ece_by_chance(judged.confidences, draws=resamples, seed=seed),
        "intervals": {name: asdict(each) for name, each in intervals.items()},
        "bins": found["width"]["bins"],
        "bins_equal_mass": found["mass"]["bins"],
    }


def ece_by_chance(confidences: Array, *, draws: int, seed: int) -> float:
    """The mean expected calibration error of answers that are right exactly as often as they are sure.

    Args:
        confidences: (num_examples,).
        draws: of which answers are right; the mean is over them (Bröcker 2007, "consistency resampling").
        seed: of the draws.
    """
    rng, members = np.random.default_rng(seed), _members(confidences, "width")
    rows = max(1, CHUNK // len(confidences))
    total = 0.0
    for start in range(0, draws, rows):
        uniform = rng.random((min(rows, draws - start), len(confidences)))
        total += float(np.abs(((uniform < confidences) - confidences) @ members).sum())
    return total / draws / len(confidences)


def _judge_part(logits: Array, labels: Array) -> tuple[Array, Array, Array, Array, Array]:
    log_probs, answers = log_softmax(logits), logits.argmax(axis=-1)
    probs = np.exp(log_probs)
    rows = np.arange(len(labels))
    label_probs = probs[rows, labels]
    briers = np.square(probs).sum(axis=-1, dtype=np.float64) - 2.0 * label_probs + 1
    return answers, probs[rows, answers], label_probs, -log_probs[rows, labels], briers


def _intervals(judged: Judged, scores: dict[str, float], *, resamples: int, seed: int) -> dict[str, Interval]:
    """Of each score; bins stay where they are.

    A resample's bins are as far from the sample's as those from the truth, and so its calibration errors are larger
    on average; their resamples are moved by as much, and the interval is about the score.
    """
    parts = [_scores_of(sums) for sums in iter_sums(_columns(judged), resamples=resamples, seed=seed)]
    draws = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    moved = {
        name: values if name in ("nll", "brier") else np.clip(values - values.mean() + scores[name], 0, 1)
        for name, values in draws.items()
    }
    return {name: interval(values) for name, values in moved.items()}


def _columns(judged: Judged) -> csr_array:
    """(num_examples, 3 + 4 · NUM_BINS): what an example adds to each sum, in `_scores_of`'s order."""
    plain = np.stack([np.ones(len(judged.labels)), judged.losses, judged.briers], axis=-1)
    gaps = (judged.right - judged.confidences.astype(np.float64))[:, None]
    members = [_members(judged.confidences, binning) for binning in BINNINGS]
    return csr_array(hstack([csr_array(plain), *(part for each in members for part in (each, each.multiply(gaps)))]))


def _scores_of(sums: Array) -> dict[str, Array]:
    """(resamples, columns of `_columns`) → (resamples,) of each score."""
    plain, *binned = np.split(sums, 3 + NUM_BINS * np.arange(4), axis=-1)
    count, losses, briers = plain.T
    found = {"nll": losses / count, "brier": briers / count}
    for suffix, sizes, gaps in (("", binned[0], binned[1]), ("_equal_mass", binned[2], binned[3])):
        found[f"ece{suffix}"] = np.abs(gaps).sum(axis=-1) / count
        found[f"mce{suffix}"] = np.divide(np.abs(gaps), sizes, out=np.zeros_like(gaps), where=sizes > 0).max(axis=-1)
    return found


def _members(confidences: Array, binning: Binning) -> csr_array:
    """(num_examples, NUM_BINS): one where an example is in a bin."""
    bin_of = find_bins(confidences, find_edges(confidences, binning))
    count = len(confidences)
    return csr_array((np.ones(count), bin_of, np.arange(count + 1)), shape=(count, NUM_BINS))
