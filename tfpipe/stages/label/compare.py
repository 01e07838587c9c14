"""`label --check N`: ask the teachers again, and compare what they say with what is stored."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import softmax

from tfpipe.core.config import Config
from tfpipe.core.errors import DataError, MismatchError
from tfpipe.core.progress import say, track
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.records import Records
from tfpipe.labels.header import LabelHeader
from tfpipe.labels.sparse import record_type
from tfpipe.stages.label.teachers import Teacher, find_teachers, gather_facts
from tfpipe.stages.label.units import Unit, forget_networks, iter_answers, list_units, only
from tfpipe.stages.label.work import as_fitted, open_labels
from tfpipe.stages.phases import training_records
from tfpipe.training.reproducible import make_reproducible

MOST_DIFFERENT = 1e-3
"""Mean difference of a probability that float16 and another machine's arithmetic explain."""

LEAST_AGREEING = 0.999
"""Share of the k best classes that must be the same."""

Array = np.ndarray


@dataclass(frozen=True)
class Difference:
    """Between stored and fresh labels of some views."""

    probabilities: Array
    """(views, k + 1): of the stored classes, and of all others together."""
    agreement: Array
    """(views,): share of the stored classes that are among the best still; of all classes, whether the first is."""


def compare(config: Config, workspace: Workspace, count: int) -> Metrics:
    """Mean and largest difference of the probabilities at temperature 1, and the share of classes that agree.

    Raises:
        MismatchError: when the labels are not these teachers'.
    """
    make_reproducible(config.seed, deterministic=config.deterministic)
    records = training_records(config, workspace)
    store, header = open_labels(config, workspace, records)
    found = [compare_unit(unit) for unit in track(*_draw(config, workspace, records, store, header, count))]
    forget_networks()
    different = np.concatenate([difference.probabilities for difference in found])
    agreement = float(np.concatenate([difference.agreement for difference in found]).mean())
    mean, largest = float(different.mean()), float(different.max())
    told = f"mean |Δp| {mean:.2g}, largest {largest:.2g}, {agreement:.2%} of the classes agree"
    if mean > MOST_DIFFERENT or agreement < LEAST_AGREEING:
        raise MismatchError(
            f"{store}: of {len(different)} labels asked for again, {told}; at most {MOST_DIFFERENT:g} and at least "
            f"{LEAST_AGREEING:.1%} would do. Run `tfpipe label --force`."
        )
    say(f"label {config.name}: {len(different)} labels asked for again: {told}")
    return {
        "num_compared": len(different),
        "mean_probability_difference": mean,
        "max_probability_difference": largest,
        "index_agreement": agreement,
    }


def compare_unit(unit: Unit) -> Difference:
    """What is stored of the unit's examples against what its teacher says now."""
    header = unit.teacher.header
    stored = np.memmap(unit.path, record_type(header.kept), mode="r")[np.flatnonzero(unit.keep)]
    fresh = np.concatenate(list(iter_answers(unit)))
    same = stored["ids"][:, :, None] == fresh["ids"][:, None, :]
    now = _buckets(fresh)
    # A class that is no longer among the best has at most as much as the last of them.
    of_stored = np.where(same.any(axis=-1), np.take_along_axis(now[:, :-1], same.argmax(axis=-1), axis=-1), 0.0)
    expected = np.concatenate([of_stored, 1 - of_stored.sum(axis=-1, keepdims=True)], axis=-1)
    # All classes are the same set at any time.
    agreement = same.any(axis=-1).mean(axis=-1) if header.kept < header.num_classes else same[:, 0, 0].astype(float)
    return Difference(np.abs(_buckets(stored) - expected), agreement)


def _draw(
    config: Config, workspace: Workspace, records: Records, store: Path, header: LabelHeader, count: int
) -> tuple[list[Unit], str, int]:
    """Units with as many random (example, view)s as asked for, of every teacher with a network."""
    facts = gather_facts(records)
    fitted = zip(find_teachers(config, workspace, facts), header.teachers, strict=True)
    teachers = [as_fitted(*pair) for pair in fitted if not pair[0].is_brought]
    if not teachers:
        raise DataError(f"{store}: the labels were brought as .npz, so there is no teacher to ask again.")
    rng = np.random.default_rng(config.seed)
    total = header.num_examples * header.views
    drawn = np.sort(rng.choice(total, min(count, total), replace=False))

    def of(teacher: Teacher) -> list[Unit]:
        units = list_units(teacher, store / teacher.name, None, records, facts, deterministic=config.deterministic)
        starts = np.array([unit.view * header.num_examples + unit.first for unit in units])
        places = [drawn[(drawn >= s) & (drawn < s + len(u.keep))] - s for s, u in zip(starts, units, strict=True)]
        # Where a teacher has no say there is nothing to compare.
        kept = [place[unit.keep[place]] for place, unit in zip(places, units, strict=True)]
        return [only(unit, place.tolist()) for place, unit in zip(kept, units, strict=True) if len(place)]

    units = [unit for teacher in teachers for unit in of(teacher)]
    if not units:
        raise DataError(f"{store}: no teacher speaks for any of {len(drawn)} random views. Compare more of them.")
    return units, f"compare {config.name}", len(units)


def _buckets(records: Array) -> Array:
    """Probabilities of k classes and of all others, (batch, k + 1) float64."""
    return softmax(
        np.concatenate(
            [records["logits"].astype(np.float64), records["log_rest"][:, None].astype(np.float64)], axis=-1
        ),
        axis=-1,
    )
