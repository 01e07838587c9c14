"""Which pretrained MobileNetV2 teacher and student start from."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tfpipe.core.errors import ConfigError
from tfpipe.stages.starter.naming import Ask

FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_{size}_no_top.h5"
"""As keras.applications calls what it downloads."""
BASE_URL = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
OFFERED_SIZE = 224
NAMED = re.compile(r"mobilenet_?v2\D*?_?(\d\.\d+)_(\d{2,3})?.*\.(h5|keras)", re.IGNORECASE)
"""Files tell their width, and the size that they were trained on."""
TEACHER_ALPHA, STUDENT_ALPHA = 1.0, 0.35


@dataclass(frozen=True)
class Weights:
    """`model.weights` and `model.alpha` of one network."""

    weights: str
    alpha: float


@dataclass(frozen=True)
class Start:
    """Of both networks."""

    teacher: Weights
    student: Weights


QUESTION = "Pretrained weights: `imagenet` (a download), a file or folder of MobileNetV2's, or `none`"


def choose_start(said: str, ask: Ask, can_download: Callable[[str], bool]) -> Start | None:
    """What to start from; None: from scratch.

    Args:
        said: `none`, `imagenet`, a file, a folder of files, or nothing.
        ask: where nothing was said.
        can_download: whether a URL answers.

    Raises:
        ConfigError: when there is no such file, or none whose name tells its width.
    """
    said = said or ask("--weights", QUESTION, "imagenet" if _has_imagenet(can_download) else "none")
    if said == "none":
        return None
    if said == "imagenet":
        return Start(Weights(said, TEACHER_ALPHA), Weights(said, STUDENT_ALPHA))
    found = sorted(_iter_named(Path(said).expanduser()), key=lambda weights: weights.alpha)
    if not found:
        raise ConfigError(
            f"--weights {said}: no weights of MobileNetV2 there. It takes `imagenet`, `none`, or a file or folder of "
            "files such as mobilenet_v2_0.35_224_no_top.weights.h5, whose names tell the width."
        )
    return Start(found[-1], found[0])


def describe(start: Start | None) -> str:
    """A sentence for the person."""
    if start is None:
        return (
            "From scratch: without pretrained weights few photos teach little. `--force --weights imagenet` takes "
            "ImageNet's, where this machine may download them; a file or folder of MobileNetV2's will do, too."
        )
    names = sorted({start.teacher.weights, start.student.weights})
    return f"Teacher and student start from {' and '.join(names)}."


def cached(alpha: float, size: int) -> Path:
    """Where Keras keeps what it has downloaded."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    return home / "models" / FILE.format(alpha=alpha, size=size)


def url_of(alpha: float, size: int) -> str:
    """Where Keras downloads from."""
    return BASE_URL + FILE.format(alpha=alpha, size=size)


def _has_imagenet(can_download: Callable[[str], bool]) -> bool:
    alphas = (TEACHER_ALPHA, STUDENT_ALPHA)
    return all(cached(alpha, OFFERED_SIZE).is_file() for alpha in alphas) or can_download(
        url_of(STUDENT_ALPHA, OFFERED_SIZE)
    )


def _iter_named(path: Path) -> list[Weights]:
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
    matches = ((file, NAMED.search(file.name)) for file in files)
    return [Weights(file.as_posix(), float(match[1])) for file, match in matches if match]
