"""Who speaks for which example, and with what weight."""

from collections.abc import Sequence

import numpy as np

from tfpipe.core.errors import DataError, MismatchError

Array = np.ndarray


def find_positions(classes: list[str], teacher_classes: list[str], teacher: str) -> Array:
    """Where each class of the records stands in a teacher's list, (num_classes,); -1 where it has none such.

    Raises:
        MismatchError: when the teacher knows a class that the records do not.
    """
    strange = sorted(set(teacher_classes) - set(classes))
    if strange:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        missing = sorted(set(classes) - set(teacher_classes))
        new = f" (and they have {', '.join(missing[:3])}, which it lacks)" if missing else ""
        raise MismatchError(
            f"the teacher {teacher} knows {', '.join(strange[:3])}{more}, and the records have no such class{new}. "
            "The class list changed since it was trained: train it again with these records."
        )
    places = {name: place for place, name in enumerate(teacher_classes)}
    return np.array([places.get(name, -1) for name in classes])


def find_known(positions: Array, train_counts: Array) -> Array:
    """(num_classes,) of bool: which classes a teacher has in its list, and was trained on.

    Args:
        positions: see `find_positions`.
        train_counts: (teacher's classes,) examples of each that it was trained on.
    """
    known: Array = (positions >= 0) & (train_counts[positions] > 0)
    return known


def combine_weights(
    speaks: Array, weights: tuple[float, ...], regions: Array, labels: Array, region_filters: tuple[str | None, ...],
    classes: list[str],
) -> Array:  # fmt: skip
    """Each teacher's share of the say over each example.

    Args:
        speaks: (num_examples, teachers) of bool.
        weights: one per teacher, in all more than 0.
        regions: (num_examples,) of str.
        labels: (num_examples,) of int.
        region_filters: None where a teacher speaks for all regions.
        classes: names, by their number.

    Returns:
        (num_examples, teachers) float32; rows sum to 1.

    Raises:
        MismatchError: when nobody speaks for some example, naming region or class.
    """
    shares = share_say(speaks, weights)
    mute = ~shares.any(axis=1)
    if mute.any():
        heard = {region for region, weight in zip(region_filters, weights, strict=True) if weight > 0}
        without = [] if None in heard else sorted(set(regions[mute].tolist()) - heard)
        if without:
            raise MismatchError(
                f"no teacher speaks for region {_named(without)}: add one without `region_filter`, or with that one."
            )
        unknown = sorted({classes[label] for label in labels[mute]})
        raise MismatchError(
            f"no teacher that speaks for them was trained on the class {_named(unknown)} ({mute.sum()} examples): "
            "add one that was, such as one without `region_filter`."
        )
    return shares


def share_say(speaks: Array, weights: Sequence[float]) -> Array:
    """Weights that sum to 1 over those who speak, (num_examples, teachers) float32; all 0 where nobody does."""
    said = speaks * np.asarray(weights, np.float64)
    totals = said.sum(axis=1, keepdims=True)
    return np.divide(said, totals, out=np.zeros_like(said), where=totals > 0).astype(np.float32)


def check_region(region: str | None, regions: Array, where: str) -> None:
    """Refuse a filter that lets nothing through.

    Raises:
        DataError: naming the regions there are.
    """
    if region is not None and not (regions == region).any():
        raise DataError(
            f"{where}: no row has region {region!r}; there are: {', '.join(sorted(set(regions.tolist())))}."
        )


def _named(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(name or repr(name) for name in names[:5]) + more
