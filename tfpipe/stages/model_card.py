"""The model card: what the model is for, what it was made from, how good it is, and where it is not.

In the format of Hugging Face; after Mitchell 2019, Model Cards for Model Reporting. Nothing in it depends on the day,
so that equal exports are equal bytes.
"""

from collections.abc import Iterator, Mapping, Sequence

import yaml

import tfpipe
from tfpipe.core.config import Config
from tfpipe.core.inputs import ModelInput, TextInput
from tfpipe.core.lineage import Lineage
from tfpipe.core.page.markdown import escaped
from tfpipe.core.settings import Precision, Task
from tfpipe.core.steps import Metrics
from tfpipe.models.saving import Card
from tfpipe.models.tokenizer import vocabulary_size
from tfpipe.stages.verify.waterfall import QUANTIZED

PRECISIONS = {"float32": "float32"} | QUANTIZED
TASKS: dict[Task, str] = {"image": "image-classification", "text": "text-classification"}
MOST_CLASSES = 100
"""That the card names."""
MOST_WEAK = 20
Sizes = Mapping[Precision, int]


def build_model_card(title: str, card: Card, lineage: Lineage, sizes: Sizes) -> str:
    """Markdown with a head in YAML.

    Args:
        title: of the page or folder.
        card: what the model knows of itself.
        lineage: of the steps before the export.
        sizes: bytes of the weights in each precision of a page; none of a folder for transformers.
    """
    config = lineage.config
    parts = (
        f"# {escaped(title)}",
        config.export.description.replace("<", "&lt;"),
        _what_it_is(card, config, sizes),
        _use(config),
        _data(lineage),
        _training(config),
        _scores(lineage),
        _honesty(lineage),
        _limits(lineage),
        _classes(card),
    )
    return _head(title, lineage) + "\n\n".join(part for part in parts if part) + "\n"


def _head(title: str, lineage: Lineage) -> str:
    config = lineage.config
    task, scores = TASKS[config.dataset_config.task], lineage.metrics(config, "evaluate")
    measured = ("top1_accuracy", "top5_accuracy", "macro_f1")
    results = [{"type": NAMES[name][0], "name": NAMES[name][1], "value": round(scores[name], 4)} for name in measured]
    dataset = {"name": config.dataset_config.dataset, "type": config.dataset_config.dataset, "split": scores["split"]}
    document = {
        "library_name": "keras",
        "pipeline_tag": task,
        "tags": ["tensorflow", "tfjs", "tfpipe"] if config.has_page else ["tensorflow", "transformers", "tfpipe"],
        "metrics": ["accuracy", "f1"],
        "model-index": [{"name": title, "results": [{"task": {"type": task}, "dataset": dataset, "metrics": results}]}],
    }
    return f"---\n{yaml.safe_dump(document, sort_keys=False, allow_unicode=True)}---\n\n"


def _what_it_is(card: Card, config: Config, sizes: Sizes) -> str:
    told = f"`{card.name}`, {_input(card.model_input)}, {len(card.classes):,} classes"
    if sizes:
        told += f"; {config.export.precision}, {sizes[config.export.precision]:,} bytes of weights"
    return f"{told}. Made by tfpipe {tfpipe.__version__}; `manifest.yaml` traces it to its data."


def _input(model_input: ModelInput) -> str:
    if isinstance(model_input, TextInput):
        return f"texts of up to {model_input.max_length} sub-words, {vocabulary_size(model_input):,} of which it knows"
    return f"the centre square of a photo at {model_input.size} × {model_input.size} pixels"


def _use(config: Config) -> str:
    things, thing = config.things, config.things.removesuffix("s")
    told = (
        f"To say which of the classes below a {thing} shows, and with what confidence, of {things} like those it was "
        "trained on. It does not know that there are others: what belongs to none of its classes gets the nearest one, "
        "often, but not always, with a low confidence. Do not let it decide alone where a mistake does harm."
    )
    where = "It runs on the reader's device; nothing is sent anywhere." if config.has_page else ""
    return "\n\n".join(part for part in ("## Intended use", told, where) if part)


def _data(lineage: Lineage) -> str:
    dataset, things = lineage.config.dataset_config, lineage.config.things
    split, audit = lineage.metrics(dataset, "split"), lineage.metrics(dataset, "audit")
    rows = [(name, f"{count:,}") for name, count in split["per_split"].items()]
    excluded = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in split["excluded"].items())
    told = (
        f"`{dataset.dataset}`: {split['num_rows']:,} {things} of {split['num_classes']:,} classes, in "
        f"{split['num_groups']:,} groups; no group, no copy and no near copy stands in two splits. The largest class "
        f"has {audit['imbalance_ratio']:.1f} times as many {things} as the smallest."
    )
    left_out = f"Left out: {excluded}." if excluded else ""
    region = lineage.config.data.region
    only = f"The model was trained on the region {escaped(region)} alone." if region else ""
    table = _table(("split", things), rows)
    return "\n\n".join(part for part in ("## Data", told, table, left_out, only) if part)


def _training(config: Config) -> str:
    if config.role == "teacher":
        start = f"from `{config.network.weights}`" if config.network.weights != "none" else "from scratch"
        return f"## Training\n\n{config.training.epochs} epochs on labels, {start}."
    teachers = ", ".join(
        f"`{teacher.network.name}` ({teacher.data.region or 'all regions'})"
        for teacher in config.teacher_configs
        if teacher
    )
    told = (
        f"Distilled from {teachers or 'stored soft labels'} at a temperature of {config.distillation.temperature:g} "
        f"({config.distillation.loss}) for {config.distillation_epochs} epochs, then fine-tuned "
        f"on labels for {config.finetune_epochs}."
    )
    return f"## Training\n\n{told}"


def _scores(lineage: Lineage) -> str:
    config = lineage.config
    scores, things = lineage.metrics(config, "evaluate"), config.things
    whole = [
        (NAMES[name][1], _share(scores[name]), _interval(scores["intervals"][name]))
        for name in ("top1_accuracy", "top5_accuracy", "macro_accuracy", "macro_f1")
    ]
    parts = [
        "## Evaluation",
        f"On {scores['num_examples']:,} {scores['split']} {things}, with 95 % intervals; the weights in float32.",
        _table(("", "value", "95 %"), whole),
    ]
    if scores["by_region"]:
        rows = [
            (escaped(name), f"{found['num_examples']:,}", _share(found["top1"]), _interval(found["top1_interval"]))
            for name, found in scores["by_region"].items()
        ]
        parts.append(_table(("region", things, "top-1", "95 %"), rows))
    quantized = lineage.metrics(config, "quantize")
    if quantized:
        rows = [
            (PRECISIONS[name], _share(found["top1_accuracy"]), _share(found["agreement"]), f"{found['bytes']:,}")
            for name, found in quantized["precisions"].items()
        ]
        parts.append(_table(("precision", "top-1", "same answer as float32", "bytes"), rows))
    return "\n\n".join(parts)


def _honesty(lineage: Lineage) -> str:
    calibrated = lineage.metrics(lineage.config, "calibrate")
    after, at = calibrated["test"]["after"], calibrated["test"]["threshold"]
    return (
        "## Calibration\n\n"
        f"Logits are divided by {calibrated['temperature']:.4g}. On test the expected calibration error is then "
        f"{after['ece']:.3f}; of a perfect model on so few {lineage.config.things} it would be "
        f'{after["ece_by_chance"]:.3f}. Below a confidence of {calibrated["threshold"]:.3f} the answer is "not '
        f'conclusive": {_share(at["coverage"])} get an answer, and {_share(at["precision"])} of those are right.'
    )


def _limits(lineage: Lineage) -> str:
    return "\n".join(["## Limits", "", *(f"- {limit}" for limit in _iter_limits(lineage))])


def _iter_limits(lineage: Lineage) -> Iterator[str]:
    config, scores = lineage.config, lineage.metrics(lineage.config, "evaluate")
    yield "The intervals tell of chance in this test split, not of other cameras, authors or years."
    per_class: Metrics = scores["per_class"]
    bound = config.evaluate.min_recall
    weak = sorted((recall, name) for name, recall in per_class.items() if recall is not None and recall < bound)
    if weak:
        named = ", ".join(f"{escaped(name)} ({_share(recall)})" for recall, name in weak[:MOST_WEAK])
        more = f" and {len(weak) - MOST_WEAK:,} more" if len(weak) > MOST_WEAK else ""
        of = f"{len(weak):,} of {len(per_class):,} tested classes"
        yield f"{of} are recognised less than {_share(bound)} of the time: {named}{more}."
    tested = scores["num_classes_tested"]
    classes = lineage.metrics(config.dataset_config, "split")["num_classes"]
    if tested < classes:
        yield f"Classes without test {config.things}, of which nothing is known: {classes - tested:,} of {classes:,}."
    if scores["by_region"]:
        name, worst = min(scores["by_region"].items(), key=lambda pair: (pair[1]["top1"], pair[0]))
        yield f"It is worst in {escaped(name)}: {_share(worst['top1'])} top-1."
    audit = lineage.metrics(config.dataset_config, "audit")
    if audit.get("num_groups_across_labels"):
        yield f"Groups that carry more than one label, so that some are wrong: {audit['num_groups_across_labels']:,}."


def _classes(card: Card) -> str:
    more = len(card.classes) - MOST_CLASSES
    names = [f"- {escaped(name)}" for name in card.classes[:MOST_CLASSES]]
    return "\n".join(["## Classes", "", *names, *([f"- and {more:,} more"] if more > 0 else [])])


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (head, tuple("---" for _ in head), *rows)]
    return "\n".join(lines)


def _share(share: float | None) -> str:
    return "—" if share is None else f"{100 * share:.1f} %"


def _interval(interval: Mapping[str, float | None]) -> str:
    low, high = interval["low"], interval["high"]
    return "" if low is None or high is None else f"{100 * low:.1f}–{100 * high:.1f} %"


NAMES = {
    "top1_accuracy": ("accuracy", "top-1 accuracy"),
    "top5_accuracy": ("top_5_accuracy", "top-5 accuracy"),
    "macro_accuracy": ("recall", "mean recall of the classes"),
    "macro_f1": ("f1", "macro F1"),
}
"""Metric → its type on the hub, and its name."""
