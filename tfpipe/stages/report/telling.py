"""What a run has to tell, from what its steps have left."""

from collections.abc import Iterator
from pathlib import Path

import yaml

from tfpipe.core.config import Config
from tfpipe.core.environment import environment, git_commit
from tfpipe.core.files import read_json
from tfpipe.core.lineage import Lineage, whole_family
from tfpipe.core.page.markup import Html
from tfpipe.core.progress import duration
from tfpipe.core.steps import Metrics
from tfpipe.plots.page.chapters import percent, span
from tfpipe.plots.run.story import Cost, Numbers, Story

Headline = tuple[str, str, str]

CALIBRATION_PLOTS = {
    "calibration.png": "Confidence and accuracy",
    "risk_coverage.png": "What is answered, and how often wrong",
}


def tell(lineage: Lineage) -> Story:
    """The story of a run, as far as it has come."""
    config, workspace = lineage.config, lineage.workspace
    dataset = config.dataset_config
    return Story(
        name=config.name,
        things=config.things,
        verdict=_verdict(lineage),
        numbers=list(_numbers(lineage)),
        waterfall=lineage.metrics(config, "verify").get("waterfall", []),
        curves=list(_iter_curves(lineage)),
        evaluation=_evaluation(lineage),
        calibration=lineage.metrics(config, "calibrate"),
        calibration_plots=_pictures(workspace.step_dir(config, "calibrate"), CALIBRATION_PLOTS),
        backends=lineage.metrics(config, "verify").get("backends", {}),
        split=lineage.metrics(dataset, "split"),
        findings=_findings(workspace.step_dir(dataset, "audit") / "report.json"),
        costs=[
            Cost(
                f"{each.step} {each.config.name}",
                *(each.state[key] for key in ("started", "seconds", "peak_memory_bytes", "output_bytes")),
            )
            for each in lineage.steps.values()
        ],
        environment={"git commit": git_commit(), "seed": str(config.seed)} | environment(),
        hashes=list(_iter_hashes(lineage)),
        settings={each.path.as_posix(): _written(each) for each in whole_family(config)},
    )


def _verdict(lineage: Lineage) -> str:
    config = lineage.config
    scores, calibrated, verified = (lineage.metrics(config, step) for step in ("evaluate", "calibrate", "verify"))
    told = []
    if scores:
        interval = span(scores["intervals"]["top1_accuracy"])
        told.append(
            f"{percent(scores['top1_accuracy'])} ({interval}) of {scores['num_examples']:,} {scores['split']} "
            f"{config.things} are named right."
        )
    if calibrated:
        at = calibrated["test"]["threshold"]
        told.append(f"{percent(at['coverage'])} get an answer, and {percent(at['precision'])} of those are right.")
    if verified:
        told.append(
            f"{verified['num_backends']} backends of a real browser answer as Python does, to within "
            f"{verified['max_backend_difference']:.0e}."
        )
    return " ".join(told) or f"{lineage.metrics(config.dataset_config, 'split')['num_rows']:,} {config.things}, split."


def _numbers(lineage: Lineage) -> Iterator[Headline]:
    config = lineage.config
    baseline, scores = lineage.metrics(config.dataset_config, "baseline"), lineage.metrics(config, "evaluate")
    if baseline:
        yield "baseline", percent(baseline["top1_accuracy"]), "top-1, never fitted to the task"
    for teacher in config.teacher_configs:
        if teacher and (found := lineage.metrics(teacher, "evaluate")):
            yield teacher.name, percent(found["top1_accuracy"]), span(found["intervals"]["top1_accuracy"])
    if scores:
        yield config.name, percent(scores["top1_accuracy"]), span(scores["intervals"]["top1_accuracy"])
        yield "macro F1", percent(scores["macro_f1"]), span(scores["intervals"]["macro_f1"])
    if calibrated := lineage.metrics(config, "calibrate"):
        after = calibrated["test"]["after"]
        yield "calibration error", f"{after['ece']:.3f}", f"{after['ece_by_chance']:.3f} by chance alone"
    if exported := lineage.metrics(config, "export").get("weight_bytes"):
        precision = config.export.precision
        yield "in the page", f"{exported[precision] / 1e6:.2f} MB", precision
    seconds = sum(each.state["seconds"] for each in lineage.steps.values())
    yield "time", duration(seconds), f"{len(lineage.steps)} steps"


def _iter_curves(lineage: Lineage) -> Iterator[tuple[str, bytes]]:
    for config in whole_family(lineage.config):
        for step in ("teach", "distill"):
            path = lineage.workspace.step_dir(config, step) / "training_metrics.png"
            if lineage.has(config, step) and path.is_file():
                yield f"{step} {config.name}", path.read_bytes()


def _evaluation(lineage: Lineage) -> Html:
    """The chapters as `evaluate` wrote them."""
    path = lineage.workspace.step_dir(lineage.config, "evaluate") / "chapters.html"
    found = lineage.has(lineage.config, "evaluate") and path.is_file()
    return Html(path.read_text(encoding="utf-8") if found else "")


def _pictures(folder: Path, titles: dict[str, str]) -> list[tuple[str, bytes]]:
    return [(title, (folder / name).read_bytes()) for name, title in titles.items() if (folder / name).is_file()]


def _findings(path: Path) -> list[Numbers]:
    report: Metrics = read_json(path) if path.is_file() else {"findings": []}
    return [finding for finding in report["findings"] if finding["count"]]


def _iter_hashes(lineage: Lineage) -> Iterator[tuple[str, str]]:
    for each in lineage.steps.values():
        yield from each.state["outputs"].items()


def _written(config: Config) -> str:
    document = config.model_dump(mode="json", exclude_unset=True, exclude={"path", "name"})
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
