"""What settings name outside of themselves: a source, files, weights."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tfpipe.core.config import Config
from tfpipe.core.errors import EnvironmentProblemError, TfpipeError
from tfpipe.core.secrets import redact
from tfpipe.data.download.reach import answers
from tfpipe.data.sources import SOURCES, mongo, postgresql
from tfpipe.stages.doctor.checks import Check, Look
from tfpipe.stages.starter.weights import cached, url_of

DATABASES = {"mongodb": mongo.check, "postgresql": postgresql.check}
TIMEOUT_S = 2.0
"""For a server to answer."""


def looks(configs: list[Config]) -> dict[str, Callable[[], Look]]:
    """Everything that these settings, each asked for or needed, name."""
    dataset = configs[0].dataset_config
    return {
        "settings": lambda: Check("settings", "ok", ", ".join(config.path.as_posix() for config in configs)),
        "source": partial(look_at_source, dataset),
        "files": partial(look_at_files, configs, dataset),
        **{f"weights of {name}": look for name, look in _weights(configs, dataset)},
    }


def look_at_source(dataset: Config) -> Check:
    """Whether its first row, or its server, is there."""
    settings = dataset.snapshot
    shown = redact(settings.source) if "://" in settings.source else settings.path or settings.source
    try:
        if settings.kind in DATABASES:
            DATABASES[settings.kind](settings, TIMEOUT_S)
            return Check("source", "ok", f"{shown} answers")
        if settings.kind in ("tfds", "herbarium"):
            made = "drawn here" if settings.kind == "herbarium" else "in TFDS's folder, or else downloaded"
            return Check("source", "ok", f"{shown}: {made}")
        row = next(SOURCES[settings.kind].iter_rows(settings, images_dir=Path(), seed=0), None)
    except EnvironmentProblemError as error:
        return Check("source", "fail", str(error), "pip install 'tfpipe[postgres]'")
    except TfpipeError as error:
        return Check("source", "fail", redact(str(error)), _mend(str(error)))
    if row is None:
        return Check("source", "fail", f"{shown}: no rows")
    return Check("source", "ok", f"{shown}; its first row is {row.id!r}, labelled {row.label!r}")


def _mend(problem: str) -> str:
    """The command for what a command can mend."""
    unset = re.search(r"\$\{(\w+)\} is not set", problem)
    return f"export {unset[1]}='…'" if unset else ""


def look_at_files(configs: list[Config], dataset: Config) -> list[Check]:
    """Those that settings name one by one; nothing is said of settings that name none."""
    named = {
        "snapshot.metadata": dataset.snapshot.metadata,
        "snapshot.label_map": dataset.snapshot.label_map,
        "audit.synonyms": dataset.audit.synonyms,
        "audit.tokenizer": dataset.audit.tokenizer,
    }
    for config in configs:
        named |= {f"teachers.{number}.path": teacher.path for number, teacher in enumerate(config.teachers)}
        named[f"model.tokenizer of {config.name}"] = config.model.tokenizer if config.model else None
    return [
        Check(key, "ok" if path.exists() else "fail", f"{path}{'' if path.exists() else ' is not there'}")
        for key, path in named.items()
        if path
    ]


def _weights(configs: list[Config], dataset: Config) -> Iterator[tuple[str, Callable[[], Look]]]:
    """Of every network that starts from some."""
    baseline = dataset.baseline
    if dataset.task == "image" and baseline.weights != "none":
        yield (
            "the baseline",
            partial(look_at_weights, "the baseline", baseline.weights, baseline.alpha, baseline.image_size),
        )
    for config in configs:
        model = config.model
        if model and (model.pretrained or model.weights != "none"):
            weights = "imagenet" if model.pretrained else model.weights
            alpha = model.alpha if "mobilenet" in model.name else None
            yield config.name, partial(look_at_weights, config.name, weights, alpha, config.data.image_size)


def look_at_weights(name: str, weights: str, alpha: float | None, image_size: int) -> Check:
    """A file or folder that is there, or ImageNet's, cached or to be had.

    Args:
        name: whose they are.
        weights: as the settings have it.
        alpha: of a MobileNetV2; None: of another network, whose downloads are not known here.
        image_size: in pixels.
    """
    title, path = f"weights of {name}", Path(weights)
    if path.exists():
        return Check(title, "ok", weights)
    if path.suffix in (".h5", ".keras") or weights.startswith((".", "/", "~")):
        return Check(title, "fail", f"{weights} is not there", f"ls '{path.parent}'")
    if weights != "imagenet" or alpha is None:
        return Check(title, "note", f"{weights}, no file here: a preset, downloaded at the first use")
    file = cached(alpha, image_size)
    if file.is_file():
        return Check(title, "ok", f"imagenet, in {file}")
    if answers(url_of(alpha, image_size), TIMEOUT_S):
        return Check(title, "ok", "imagenet, downloaded at the first use")
    fix = "tfpipe init --force --weights FILE"
    return Check(title, "fail", f"imagenet, not in {file}, and not to be downloaded from here", fix)
