"""Where a photo was taken: what the page is told about it, and what that does on photos that were kept aside."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tfpipe.core.config import Config
from tfpipe.core.progress import say
from tfpipe.core.settings import RegionChoice
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.rows import iter_rows
from tfpipe.stages.evaluate.predictions import iter_logits, load_predictions
from tfpipe.training.outcomes import log_softmax
from tfpipe.training.regions import SMOOTHING, RegionCounts, count_regions, in_region, region_factors

Array = np.ndarray
CHOICES: tuple[RegionChoice, ...] = ("none", "filter", "reweight")


def count_training_regions(config: Config, workspace: Workspace, classes: list[str]) -> RegionCounts:
    """The training rows of each region and class; a regional model's are those of its region."""
    rows = iter_rows(workspace.splits_path(config))
    own = (row for row in rows if row.split == "train" and config.data.region in (None, row.region))
    return count_regions(((row.region, row.label) for row in own), classes)


def regions_of_page(seen: RegionCounts, mode: RegionChoice) -> dict[str, Any]:
    """`model/regions.json`: of each region, the classes that training saw there, and in how many photos.

    Without regions, where naming one would change nothing: then the page does not ask.
    """
    choosable = is_asked(seen, mode)
    regions = {
        name: {"classes": np.flatnonzero(counts).tolist(), "counts": counts[counts > 0].tolist()}
        for name, counts in zip(seen.names, seen.counts, strict=True)
        if choosable
    }
    return {"mode": mode, "smoothing": SMOOTHING, "regions": regions}


def is_asked(seen: RegionCounts, mode: RegionChoice) -> bool:
    """Whether the page has something to choose from, and the choice changes something."""
    return len(seen.names) > 1 and bool((region_factors(seen.counts, mode) != 1).any())


def measure_regions(seen: RegionCounts, temperature: float, config: Config, workspace: Workspace) -> Metrics:
    """Top-1 of the photos that `evaluate` looked at, if the page is told where each was taken, and if it is not.

    Args:
        seen: training photos by region and class.
        temperature: of the page's probabilities.
        config: of the model.
        workspace: with what `evaluate` kept.

    Returns:
        Whole and by region; nothing, if there is nothing to choose from.
    """
    if len(seen.names) < 2:
        return {}
    folder = workspace.step_dir(config, "evaluate")
    said = load_predictions(folder)
    own, labels = seen.index(said.regions), said.outcomes.labels
    # Photos without a region of training's get another's factors here, and are left out of what is told.
    right = _right(iter_logits(folder), own, labels, seen.counts, temperature)
    is_unseen = seen.counts[own, labels] == 0
    mode = config.export.regions
    found: Metrics = {"split": config.evaluate.split, "mode": mode, "asked": int(is_asked(seen, mode))}
    found |= _tell(right, is_unseen, own >= 0)
    found["by_region"] = {name: _tell(right, is_unseen, own == number) for number, name in enumerate(seen.names)}
    say(f"  {_sentence(found)}")
    return found


def _right(
    batches: Iterator[Array], own: Array, labels: Array, counts: Array, temperature: float
) -> dict[RegionChoice, Array]:
    """(num_examples,) whether the first answer is right, for each choice."""
    factors = {choice: region_factors(counts, choice) for choice in CHOICES}
    right: dict[RegionChoice, list[Array]] = {choice: [] for choice in CHOICES}
    first = 0
    for logits in batches:
        part = slice(first, first + len(logits))
        probs = np.exp(log_softmax(logits.astype(np.float64) / temperature))
        for choice in CHOICES:
            answers = in_region(probs, factors[choice][own[part]]).argmax(axis=-1)
            right[choice].append(answers == labels[part])
        first = part.stop
    return {choice: np.concatenate(parts) for choice, parts in right.items()}


def _tell(right: dict[RegionChoice, Array], is_unseen: Array, inside: Array) -> Metrics:
    """Of some photos; a choice's `gained` are right with it alone, its `lost` without it alone."""
    plain = right["none"][inside]
    found: Metrics = {
        "num_examples": len(plain),
        "num_of_unseen_classes": int(is_unseen[inside].sum()),
        "top1": float(plain.mean()) if len(plain) else float("nan"),
    }
    for choice in CHOICES[1:]:
        chosen = right[choice][inside]
        found[choice] = {
            "top1": float(chosen.mean()) if len(plain) else float("nan"),
            "gained": int((chosen & ~plain).sum()),
            "lost": int((plain & ~chosen).sum()),
        }
    return found


def _sentence(found: Metrics) -> str:
    choices = [
        f"{choice} {found[choice]['top1']:.3f} (+{found[choice]['gained']} −{found[choice]['lost']})"
        for choice in CHOICES[1:]
    ]
    asked = "asks" if found["asked"] else "does not ask, since the answer would change nothing"
    return (
        f"regions, {found['mode']}: the page {asked}; top-1 of {found['num_examples']:,} photos of {found['split']} "
        f"{found['top1']:.3f} without, {', '.join(choices)}"
    )
