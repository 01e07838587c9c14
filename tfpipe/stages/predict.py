"""`predict`: what a fitted model says of texts or photos that stand in no data set, calibrated."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tensorflow as tf

from tfpipe.core.config import Config
from tfpipe.core.errors import DataError
from tfpipe.core.files import explain, read_json
from tfpipe.core.inputs import ImageInput, TextInput
from tfpipe.core.workspace import Workspace
from tfpipe.data.photos import check_decodes, upright_jpeg
from tfpipe.data.rows import writable
from tfpipe.data.seen import build_finish, build_view
from tfpipe.data.tables import iter_records
from tfpipe.models.saving import load_model
from tfpipe.stages.evaluate.predictions import compiled
from tfpipe.training.outcomes import log_softmax
from tfpipe.training.reproducible import make_reproducible

BATCH = 64

Array = np.ndarray


@dataclass(frozen=True)
class Asked:
    """One text or photo."""

    name: str
    """What the answer is told with: the text, the photo's path, or a line of a file."""
    content: str | bytes
    """A text, or a photo's file."""
    row: Mapping[str, str]
    """The columns it came with."""


@dataclass(frozen=True)
class Answer:
    """What a model says of one of them."""

    asked: Asked
    probs: Mapping[str, float]
    """Class → calibrated probability, the likeliest first."""
    threshold: float | None
    """None where validation was too small to find one: then nothing is held back, as on the page."""

    @property
    def label(self) -> str:
        """The likeliest class."""
        return next(iter(self.probs))

    @property
    def confidence(self) -> float:
        """Its probability."""
        return self.probs[self.label]

    @property
    def is_conclusive(self) -> bool:
        """Whether it is as sure as `calibrate` asks for."""
        return self.threshold is None or self.confidence >= self.threshold

    def to_json(self) -> dict[str, Any]:
        """For a program."""
        return {
            "input": self.asked.name,
            "label": self.label,
            "confidence": self.confidence,
            "conclusive": self.is_conclusive,
            "probs": dict(self.probs),
        }

    def to_row(self) -> dict[str, str]:
        """For a spreadsheet: the columns that there were, and the answer's."""
        probs = {f"prob_{name}": f"{share:.6f}" for name, share in sorted(self.probs.items())}
        found = {"answer": self.label, "confidence": f"{self.confidence:.6f}", "conclusive": str(self.is_conclusive)}
        return {**self.asked.row, **found, **probs}

    def told(self) -> str:
        """For a person."""
        sure = f"{self.label} {self.confidence:.1%}"
        return f"{sure if self.is_conclusive else f'not conclusive ({sure})'}\t{self.asked.name}"


Predictor = Callable[[Sequence[Asked]], list[Answer]]


def iter_answers(asked: Iterable[Asked], config: Config, workspace: Workspace) -> Iterator[Answer]:
    """Answers in the order of the questions, a batch in memory at a time.

    Raises:
        DataError: when a text is empty, or a photo none.
    """
    make_reproducible(config.seed, deterministic=config.deterministic)
    predictor = load_predictor(config, workspace)
    waiting = iter(asked)
    while batch := list(islice(waiting, BATCH)):
        yield from predictor(batch)


def load_predictor(config: Config, workspace: Workspace) -> Predictor:
    """The fitted model with its calibration, as a function of a batch."""
    network, card = load_model(workspace.best_path(config))
    calibration = read_json(workspace.page_calibration_path(config))
    ask, finish = compiled(network), build_finish(card.model_input)
    read = _read_text if isinstance(card.model_input, TextInput) else _photo_reader(card.model_input)

    def predictor(batch: Sequence[Asked]) -> list[Answer]:
        logits = ask(finish(tf.stack([read(one) for one in batch]))).numpy()
        probs = np.exp(log_softmax(logits.astype(np.float64) / calibration["temperature"]))
        return [
            Answer(one, _ranked(card.classes, row), calibration["threshold"])
            for one, row in zip(batch, probs, strict=True)
        ]

    return predictor


def iter_given(inputs: Sequence[str], config: Config) -> Iterator[Asked]:
    """Texts or paths of photos from a command line; `-` stands for the lines of standard input.

    Raises:
        DataError: when a line is no text, or a photo cannot be read.
    """
    for given in inputs:
        if given != "-":
            yield _asked(given, given, {}, config)
            continue
        for number, line in enumerate(_iter_lines(sys.stdin.buffer), start=1):
            yield _asked(line, f"standard input, line {number}", {}, config)


def iter_csv(path: Path, column: str, config: Config) -> Iterator[Asked]:
    """The rows of a CSV file.

    Raises:
        DataError: when it has no such column, or a row has nothing in it.
    """
    try:
        for number, row in iter_records(path):
            if column not in row:
                raise DataError(f"{path}: no column {column!r}; there are: {', '.join(row)}. Name one with --column.")
            yield _asked(row[column], f"{path}:{number}", row, config)
    except OSError as error:
        raise DataError(explain(error) or str(error)) from None


def _asked(given: str, where: str, row: Mapping[str, str], config: Config) -> Asked:
    if config.dataset_config.task == "text":
        if not given.strip():
            raise DataError(f"{where if where != given else 'the text'}: empty; there is nothing to judge.")
        return Asked(given, writable(given), row)
    try:
        return Asked(given, Path(given).read_bytes(), row)
    except (OSError, ValueError) as error:  # ValueError: no path holds a NUL
        reason = getattr(error, "strerror", error)
        raise DataError(f"{given[:200]}: {reason}; expected a photo's path.") from None


def _iter_lines(stream: BinaryIO) -> Iterator[str]:
    for number, line in enumerate(stream, start=1):
        try:
            text = line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise DataError(f"standard input, line {number}: no text in UTF-8.") from None
        if "\0" in text:
            raise DataError(f"standard input, line {number}: binary, and no text.")
        yield text


def _read_text(asked: Asked) -> tf.Tensor:
    return tf.constant(asked.content)


def _photo_reader(image_input: ImageInput) -> Callable[[Asked], tf.Tensor]:
    """As evaluation sees photos."""
    make_view = build_view("none", image_input, 0)

    def read(asked: Asked) -> tf.Tensor:
        assert isinstance(asked.content, bytes)
        try:
            check_decodes(asked.content)
            jpeg = upright_jpeg(asked.content)
            return make_view(tf.constant(jpeg), tf.constant(""), tf.constant(0, tf.int64))
        except Exception:  # noqa: BLE001 - Pillow raises a dozen kinds for a broken file
            raise DataError(f"{asked.name}: not an image that can be read.") from None

    return read


def _ranked(classes: Sequence[str], probs: Array) -> dict[str, float]:
    return {classes[number]: float(probs[number]) for number in np.argsort(-probs, kind="stable")}
