"""What `evaluate` tells of texts alone: by their length, by who wrote them, and the surest mistakes."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import classification_report

from tfpipe.core.config import Config
from tfpipe.core.files import atomic_open
from tfpipe.core.steps import Metrics
from tfpipe.data.records import Records
from tfpipe.stages.evaluate.predictions import Predictions
from tfpipe.training.bootstrap import resample_means, share_interval

LENGTHS = (5, 10, 20, 40, 80)
"""Words up to which a text belongs to a bucket; longer ones are the last."""
MOST_AUTHORS = 20
"""That are named, those with most texts."""
MOST_MISTAKES = 50

Array = np.ndarray


def measure_texts(said: Predictions, records: Records, config: Config) -> Metrics:
    """Shares of right answers by length and author, and the mistakes that the model was surest of."""
    resamples, seed = config.evaluate.resamples, config.seed
    texts, groups = read_texts(records)
    words = np.array([len(text.split()) for text in texts])
    buckets = np.searchsorted(LENGTHS, words)
    names = [*(f"up to {limit} words" for limit in LENGTHS), f"more than {LENGTHS[-1]} words"]
    per_length = {name: buckets == number for number, name in enumerate(names) if (buckets == number).any()}
    authors, author_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    largest = [int(number) for number in np.argsort(-sizes, kind="stable")[:MOST_AUTHORS] if authors[number]]
    per_author = {str(authors[number]): author_of == number for number in largest}
    return {
        "per_length": _measure(said, per_length, resamples=resamples, seed=seed),
        "per_author": _measure(said, per_author, resamples=resamples, seed=seed),
        "num_authors": int((authors != "").sum()),
        "surest_mistakes": list(_iter_mistakes(said, texts)),
    }


def write_classification_report(said: Predictions, path: Path) -> None:
    """Precision, recall, F1 and size of each class, as scikit-learn prints them."""
    outcomes = said.outcomes
    report = classification_report(
        outcomes.labels,
        outcomes.answers,
        labels=range(len(said.classes)),
        target_names=said.classes,
        digits=4,
        zero_division=0.0,
    )
    with atomic_open(path) as file:
        file.write(report)


def read_texts(records: Records) -> tuple[list[str], Array]:
    """Texts and groups of all examples, in canonical order."""
    found = records.examples().map(lambda example: (example["text"], example["group"])).as_numpy_iterator()
    texts, groups = zip(*found, strict=True)
    return [text.decode() for text in texts], np.array([group.decode() for group in groups])


def _measure(said: Predictions, members: dict[str, Array], *, resamples: int, seed: int) -> dict[str, Any]:
    """Of each set of texts, how many there are and how many of them are named right, with the 95 % interval."""
    right = said.outcomes.right
    return {
        name: {
            "num_examples": int(inside.sum()),
            "top1_accuracy": float(right[inside].mean()),
            "interval": asdict(
                share_interval(resample_means(right[inside], resamples=resamples, seed=seed), int(inside.sum()))
            ),
        }
        for name, inside in members.items()
    }


def _iter_mistakes(said: Predictions, texts: list[str]) -> Iterator[dict[str, Any]]:
    outcomes = said.outcomes
    wrong = np.flatnonzero(~outcomes.right)
    for number in wrong[np.argsort(-outcomes.confidences[wrong], kind="stable")][:MOST_MISTAKES]:
        yield {
            "id": str(said.ids[number]),
            "label": said.classes[outcomes.labels[number]],
            "answer": said.classes[outcomes.answers[number]],
            "confidence": float(outcomes.confidences[number]),
            "text": texts[number],
        }
