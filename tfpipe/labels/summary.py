"""What a store's labels are like: how often teachers are right, how far they agree, how soft the targets are."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import numpy as np

from tfpipe.labels.header import LabelHeader
from tfpipe.labels.sparse import record_type, softened
from tfpipe.labels.store import iter_shards

Array = np.ndarray

MOST_LOOKED_AT = 10_000
"""Examples whose targets' entropy is measured."""


@dataclass(frozen=True)
class Answers:
    """Which class each teacher thought likeliest, over all views: counts of what became of it."""

    regions: list[str]
    spoken: Array
    """(teachers,) views that each spoke for."""
    right: Array
    """(teachers,) of them, with the true class first."""
    both: Array
    """(teachers, teachers) views that two of them spoke for."""
    same: Array
    """(teachers, teachers) of them, with the same class first."""
    shared: Array
    """(regions,) views of which all teachers spoke that speak for the region at all."""
    shared_right: Array
    """(regions, teachers) of them, with the true class first; NaN where a teacher has no say in a region."""


def count_answers(store: Path, header: LabelHeader, weights: Array, regions: Array, labels: Array) -> Answers:
    """Read every record once.

    Args:
        store: the folder of a closed store.
        header: of it.
        weights: (num_examples, teachers), 0 where a teacher has no say.
        regions: (num_examples,) of str.
        labels: (num_examples,) of int.
    """
    names, region_numbers = np.unique(regions, return_inverse=True)
    speaks = weights > 0
    has_say = np.stack([speaks[region_numbers == number].any(axis=0) for number in range(len(names))])
    shared = (speaks == has_say[region_numbers]).all(axis=1)
    num_teachers = header.num_teachers
    right, both, same = np.zeros(num_teachers), np.zeros((num_teachers,) * 2), np.zeros((num_teachers,) * 2)
    shared_right = np.where(has_say, 0.0, np.nan)
    for view in range(header.views):
        for places, records in iter_shards(store, header, view):
            best = np.stack([piece["ids"][:, 0] for piece in records], axis=1)
            spoken = speaks[places]
            hit = (best == labels[places, None]) & spoken
            right += hit.sum(axis=0)
            pairs = spoken[:, :, None] & spoken[:, None, :]
            both += pairs.sum(axis=0)
            same += (pairs & (best[:, :, None] == best[:, None, :])).sum(axis=0)
            np.add.at(shared_right, region_numbers[places][shared[places]], hit[shared[places]])
    views_shared = header.views * np.bincount(region_numbers[shared], minlength=len(names))
    return Answers(names.tolist(), np.diagonal(both), right, both, same, views_shared, shared_right)


def tell_answers(answers: Answers, names: tuple[str, ...]) -> dict[str, Any]:
    """As metrics: `train_top1` of each teacher, `agreement` of each two, `region_wins` where several speak."""
    with np.errstate(invalid="ignore"):
        top1 = answers.right / answers.spoken
        of_regions = answers.shared_right / answers.shared[:, None]
        agreement = answers.same / answers.both
    pairs = combinations(range(len(names)), 2)
    return {
        "train_top1": dict(zip(names, top1.tolist(), strict=True)),
        "agreement": {f"{names[one]} · {names[other]}": float(agreement[one, other]) for one, other in pairs},
        "region_wins": {
            region: _tell_win(found, names)
            for region, found in zip(answers.regions, of_regions, strict=True)
            if np.isfinite(found).sum() > 1
        },
    }


def target_entropy(store: Path, header: LabelHeader, weights: Array) -> float:
    """Of the teachers' softened and weighted answers, the mean entropy over that of no knowledge at all: 0 to 1.

    Of at most `MOST_LOOKED_AT` examples of the first view, evenly spaced; classes left out share what is left evenly.
    """
    apart = max(1, header.num_examples // MOST_LOOKED_AT)
    entropies = []
    for places, records in islice(iter_shards(store, header, 0), 0, None, apart):
        targets = combined(records, weights[places], header)
        entropies.append(-(targets * np.log(np.maximum(targets, 1e-300))).sum(axis=-1))
    return float(np.concatenate(entropies).mean() / np.log(max(2, header.num_classes)))


def combined(records: list[Array], weights: Array, header: LabelHeader, *, temperature: float | None = None) -> Array:
    """The teachers' probabilities, weighted: (batch, num_classes) float64, rows sum to 1.

    Args:
        records: of each teacher, (batch,).
        weights: (batch, teachers), rows sum to 1.
        header: of their store.
        temperature: 1, or that of the distillation by default.
    """
    rest = "log_rest" if temperature == 1 else "log_rest_softened"
    probs = [softened(piece, header.num_classes, temperature or header.temperature, rest) for piece in records]
    weighted: Array = sum(
        weights[:, teacher, None].astype(np.float64) * probs[teacher] for teacher in range(len(probs))
    )
    return weighted / weighted.sum(axis=-1, keepdims=True)


def bytes_per_view(header: LabelHeader) -> int:
    """Of one teacher."""
    return record_type(header.kept).itemsize


def iter_combined(store: Path, header: LabelHeader, weights: Array) -> Iterator[Array]:
    """The teachers' weighted probabilities of the first view, at temperature 1, in pieces of (…, num_classes)."""
    for places, records in iter_shards(store, header, 0):
        yield combined(records, weights[places], header, temperature=1)


def _tell_win(found: Array, names: tuple[str, ...]) -> dict[str, Any]:
    order = [int(place) for place in np.argsort(-found, kind="stable")[: np.isfinite(found).sum()]]
    first, second = order[:2]
    return {
        "teacher": names[first],
        "by": float(found[first] - found[second]),
        "top1": {names[teacher]: float(found[teacher]) for teacher in sorted(order)},
    }
