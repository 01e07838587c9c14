"""Other models beside this one, on the same photos: read, checked, compared, told."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tfpipe.core.config import Config
from tfpipe.core.errors import MismatchError
from tfpipe.core.progress import say
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.records import check_classes
from tfpipe.stages.evaluate.predictions import Predictions, load_predictions
from tfpipe.training.bootstrap import resample
from tfpipe.training.comparison import Draws, compare

MOST_REGIONS = 20
"""In the table on standard error; the page and the metrics have all."""

WHOLE = {"top1_accuracy": "top-1", "top5_accuracy": "top-5", "macro_accuracy": "macro accuracy", "macro_f1": "macro F1"}


def compare_with_others(said: Predictions, draws: Draws, config: Config, workspace: Workspace) -> Metrics:
    """The models of `evaluate.against`, each against this one; nothing, if there are none."""
    found = {}
    for other in config.against_configs:
        theirs = load_predictions(workspace.step_dir(other, "evaluate"))
        check_same_photos(said, theirs, config, other)
        their_draws = resample(theirs.outcomes, theirs.regions, resamples=config.evaluate.resamples, seed=config.seed)
        found[other.name] = compare(
            said.outcomes, theirs.outcomes, said.regions, this_draws=draws, that_draws=their_draws
        )
        say("\n".join(_table(config.name, other.name, found[other.name])))
    return {"against": found} if found else {}


def check_same_photos(ours: Predictions, theirs: Predictions, config: Config, other: Config) -> None:
    """Two models can be compared only on the same photos and classes.

    Raises:
        MismatchError: saying what differs.
    """
    check_classes(ours.classes, theirs.classes, f"{other.path} (evaluate.against of {config.path})")
    if not np.array_equal(ours.ids, theirs.ids):
        shared = len(np.intersect1d(ours.ids, theirs.ids))
        raise MismatchError(
            f"{config.path}: evaluate.against: {other.path} was measured on {len(theirs.ids):,} photos, this one on "
            f"{len(ours.ids):,}, and {shared:,} are the same. Compare models of one data set, on one `evaluate.split`."
        )
    if not np.array_equal(ours.outcomes.labels, theirs.outcomes.labels):
        raise MismatchError(
            f"{config.path}: evaluate.against: {other.path} was measured with other labels of the same photos. "
            f"Run `tfpipe evaluate --config {other.path} --force` and compare again."
        )


def _table(name: str, other: str, found: dict[str, Any]) -> Iterator[str]:
    """Lines for a person: accuracies in per cent, differences in percentage points."""
    lines = [(title, found[measured]) for measured, title in WHOLE.items()]
    by_size = sorted(found["by_region"].items(), key=lambda pair: (-pair[1]["num_examples"], pair[0]))
    for region, numbers in by_size[:MOST_REGIONS]:
        lines += [(f"{region} ({numbers['num_examples']:,}) top-1", numbers["top1"])]
        lines += [(f"{region} ({numbers['num_examples']:,}) top-5", numbers["top5"])]
    width = max(len(title) for title, _ in lines)
    columns = [max(len(each), 7) for each in (name, other)]
    yield f"  {'':{width}}  {name:>{columns[0]}}  {other:>{columns[1]}}  difference, 95 % interval"
    for title, row in lines:
        values = "  ".join(f"{100 * row[key]:>{size}.1f}" for key, size in zip(("this", "that"), columns, strict=True))
        interval = f"[{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
        line = (
            f"  {title:{width}}  {values}  {100 * row['difference']:+6.1f}  {interval:15}{_verdict(row, name, other)}"
        )
        yield line.rstrip()
    alone = found["mcnemar"]
    yield (
        f"  right where the other is wrong: {name} {alone['only_this']:,}, {other} {alone['only_that']:,} photos; "
        f"McNemar's exact p = {alone['p_value']:.2g}"
    )


def _verdict(row: dict[str, float], name: str, other: str) -> str:
    """Who wins where the interval leaves no doubt."""
    if row["low"] > 0:
        return f"  {name} is better"
    return f"  {other} is better" if row["high"] < 0 else ""
