"""What a person looks at: plots, TensorBoard, and `report.html`."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tfpipe.core.config import Config
from tfpipe.core.files import atomic_open
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.records import Records
from tfpipe.plots.evaluation import (
    plot_against,
    plot_buckets,
    plot_classes,
    plot_confusion,
    plot_regions,
    plot_reliability,
)
from tfpipe.plots.page import build_chapters, build_page
from tfpipe.plots.page.chapters import Evaluation
from tfpipe.plots.tensorboard import write_summaries
from tfpipe.stages.evaluate.predictions import Predictions
from tfpipe.stages.evaluate.tables import MOST_CLASSES
from tfpipe.training.confusions import confused_classes, confusion_matrix

MOST_PICTURED = 24
"""Confused pairs with photos, which are read from all of the records."""

Array = np.ndarray


def write_report(said: Predictions, metrics: Metrics, records: Records, config: Config, workspace: Workspace) -> None:
    """Everything that is for the eye, in the step's folder."""
    folder = workspace.step_dir(config, "evaluate")
    classes = confused_classes(said.outcomes, MOST_CLASSES)
    sizes = np.bincount(said.outcomes.labels, minlength=len(said.classes))
    evaluation = Evaluation(
        name=config.name,
        metrics=metrics,
        resamples=config.evaluate.resamples,
        min_recall=config.evaluate.min_recall,
        matrix=confusion_matrix(said.outcomes, classes),
        matrix_classes=[said.classes[number] for number in classes],
        num_classes=len(said.classes),
        class_sizes={said.classes[number]: int(count) for number, count in enumerate(sizes) if count},
        photos=_photos(said, metrics, records) if records.task == "image" else {},
        task=records.task,
    )
    chapters = build_chapters(evaluation)
    for name, content in (("chapters.html", chapters), ("report.html", build_page(evaluation, chapters))):
        with atomic_open(folder / name) as file:
            file.write(content)
    pngs = list(_plot(evaluation, folder))
    numbers = {name: metrics[name] for name in metrics["intervals"]}
    write_summaries(folder / "logs", numbers=numbers, png_paths=pngs)


def _photos(said: Predictions, metrics: Metrics, records: Records) -> dict[str, bytes]:
    """Id → JPEG bytes, of the most confused pairs."""
    pairs = metrics["confusions"][:MOST_PICTURED]
    ids = {pair[key] for pair in pairs for key in ("example", "counterpart") if pair[key]}
    numbers = np.flatnonzero(np.isin(said.ids, sorted(ids)))
    return {str(said.ids[number]): content for number, content in records.contents(numbers.tolist()).items()}


def _plot(evaluation: Evaluation, folder: Path) -> Iterator[Path]:
    metrics = evaluation.metrics
    if metrics["by_region"]:
        plot_regions(metrics["by_region"], folder / "regions.png")
        yield folder / "regions.png"
    plot_buckets(metrics["per_bucket"], folder / "buckets.png")
    yield folder / "buckets.png"
    plot_classes(metrics["per_class"], evaluation.min_recall, folder / "classes.png")
    yield folder / "classes.png"
    if evaluation.matrix_classes:
        path = folder / "confusion.png"
        plot_confusion(evaluation.matrix, evaluation.matrix_classes, evaluation.num_classes, path)
        yield path
    plot_reliability(metrics["reliability"], folder / "reliability.png")
    yield folder / "reliability.png"
    if "against" in metrics:
        plot_against(evaluation.name, metrics["against"], folder / "against.png")
        yield folder / "against.png"
