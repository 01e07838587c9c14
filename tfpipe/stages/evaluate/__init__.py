"""`evaluate`: how right a model is, whole, per region, per class and by class frequency, in the plan's words."""

from dataclasses import asdict
from typing import Any

from tfpipe.core.config import Config
from tfpipe.core.errors import ConfigError
from tfpipe.core.files import read_json, write_json
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.arrays import RowFile
from tfpipe.data.records import Records, check_classes
from tfpipe.models.saving import load_model
from tfpipe.stages.evaluate.against import compare_with_others
from tfpipe.stages.evaluate.predictions import (
    Predictions,
    compiled,
    count_training,
    predict,
    save_predictions,
)
from tfpipe.stages.evaluate.report import write_report
from tfpipe.stages.evaluate.tables import write_confusions, write_per_class, write_predictions
from tfpipe.stages.evaluate.texts import measure_texts, write_classification_report
from tfpipe.stages.needs import reference
from tfpipe.training.bootstrap import resample, score_interval, share_interval
from tfpipe.training.comparison import Draws
from tfpipe.training.confusions import most_confused, surest_right
from tfpipe.training.outcomes import judge
from tfpipe.training.reproducible import make_reproducible
from tfpipe.training.scores import score


def run(config: Config, workspace: Workspace) -> Metrics:
    """Predict the whole split, all regions; write predictions, tables, plots and a page, and compare with others."""
    make_reproducible(config.seed, deterministic=config.deterministic)
    folder = workspace.step_dir(config, "evaluate")
    records = Records(workspace.records_dir(config), config.evaluate.split)
    if records.task == "text" and config.evaluate.views > 1:
        raise ConfigError(f"{config.path}: evaluate.views: {config.evaluate.views} looks at a text show the same.")
    said = _predict_split(records, config, workspace)
    train_counts = count_training(config, workspace, said.classes)
    draws = resample(said.outcomes, said.regions, resamples=config.evaluate.resamples, seed=config.seed)
    scores = score(
        said.outcomes,
        regions=said.regions,
        classes=said.classes,
        train_counts=train_counts,
        settings=config.evaluate,
    )
    metrics = (
        {"split": config.evaluate.split, "views": config.evaluate.views}
        | _gain(scores["top1_accuracy"], config, workspace)
        | _with_intervals(scores, draws)
        | {"confusions": _confusions(said, config.evaluate.num_confusions)}
        | (measure_texts(said, records, config) if records.task == "text" else {})
        | compare_with_others(said, draws, config, workspace)
    )
    write_predictions(said, folder / "predictions.csv")
    write_per_class(said, train_counts, folder / "per_class.csv")
    write_confusions(said, folder / "confusion.json")
    write_json(metrics["by_region"], folder / "eval_by_region.json")
    if records.task == "text":
        write_classification_report(said, folder / "classification_report.txt")
    write_report(said, metrics, records, config, workspace)
    return metrics


def _predict_split(records: Records, config: Config, workspace: Workspace) -> Predictions:
    """What the model says of every photo, kept in `predictions.npz`."""
    network, card = load_model(workspace.best_path(config))
    check_classes(records.classes, card.classes, f"the model of {config.name}")
    folder = workspace.step_dir(config, "evaluate")
    file = RowFile(folder / "logits.f32", len(card.classes))
    title = f"evaluate {config.name}"
    predict(compiled(network), records, card.model_input, file, title, views=config.evaluate.views)
    ids, regions, labels = records.facts()
    said = Predictions(ids, regions, card.classes, judge(file.read(), labels))
    save_predictions(folder, said.columns() | {"logits": file.read()})
    file.path.unlink()
    return said


def _with_intervals(scores: Metrics, draws: Draws) -> Metrics:
    """The scores, with how far each would move with another draw of photos."""
    whole = {
        name: score_interval((region, name), values, scores[name])
        for (region, name), values in draws.items()
        if not region
    }
    for name in ("top1_accuracy", "top5_accuracy"):
        whole[name] = share_interval(draws["", name], scores["num_examples"])
    by_region = {
        region: numbers
        | {
            f"{name}_interval": asdict(share_interval(draws[region, name], numbers["num_examples"]))
            for name in ("top1", "top5")
        }
        for region, numbers in scores["by_region"].items()
    }
    return scores | {"by_region": by_region, "intervals": {name: asdict(found) for name, found in whole.items()}}


def _confusions(said: Predictions, count: int) -> list[dict[str, Any]]:
    """The most confused pairs: a mistaken photo, and beside it one of the class that it was taken for."""
    found = []
    for confusion in most_confused(said.outcomes, count):
        counterpart = surest_right(said.outcomes, confusion.answer)
        found.append(
            {
                "label": said.classes[confusion.label],
                "answer": said.classes[confusion.answer],
                "count": confusion.count,
                "share": confusion.share,
                "mean_confidence": confusion.mean_confidence,
                "example": str(said.ids[confusion.example]),
                "counterpart": None if counterpart is None else str(said.ids[counterpart]),
            }
        )
    return found


def _gain(top1_accuracy: float, config: Config, workspace: Workspace) -> Metrics:
    """By how much the model is better than frozen features; on another split than theirs there is no telling."""
    if config.evaluate.split != "test" or not reference(config):
        return {}
    baseline = read_json(workspace.step_dir(config.dataset_config, "baseline") / "metrics.json")["top1_accuracy"]
    return {"baseline_top1_accuracy": baseline, "gain_over_baseline": top1_accuracy - baseline}
