"""A diary of made sentences, each emotion with words of its own, and settings to learn them from nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tfpipe.core.config import Config, load_config
from tfpipe.core.workspace import Workspace

EMOTIONS = ("joy", "sadness", "anger")
OWN = {"joy": "glad happy sunny merry", "sadness": "gloomy tearful lonely low", "anger": "furious cross bitter mad"}
OTHERS = "i feel so very today because the dog and my old friend came home in rain again now".split()  # noqa: SIM905

DATASET: dict[str, Any] = {
    "dataset": "diary",
    "task": "text",
    "snapshot": {
        "source": "csv",
        "path": "diary.csv",
        "fields": {"id": "nr", "text": "words", "label": "mood", "group": "author"},
    },
    "audit": {"tokenizer": "words"},
    "pack": {"classes": list(EMOTIONS)},
}
TEACHER: dict[str, Any] = {
    "data": {"config": "dataset.yaml", "max_length": 24, "augmentation": "none"},
    "model": {"name": "bert_tiny", "tokenizer": "words", "dropout_rate": 0.1},
    "training": {"num_train_epochs": 4, "per_device_train_batch_size": 16, "learning_rate": 2e-3, "logging_steps": 2,
                 "metric_for_best_model": "f1", "load_best_model_at_end": True},
    "calibrate": {"resamples": 50},
    "evaluate": {"resamples": 50},
}  # fmt: skip
STUDENT: dict[str, Any] = {
    **TEACHER,
    "data": TEACHER["data"] | {"augmentation": "moderate"},
    "teachers": [{"config": "teacher.yaml"}],
    "label": {"views": 2, "cutmix_alpha": 1.0},
    "model": TEACHER["model"] | {"num_layers": 1, "vocabulary_size": 30, "pooling": "mean"},
    "training": {"epochs": 6, "batch_size": 16, "learning_rate": 3e-3},
    "distillation": {"temperature": 1.0},
    "finetune": {"epochs": 1, "augmentation": "none"},
    "export": {"precision": "int8", "title": "How do I feel?"},
    "verify": {"num_images": 24, "backend_images": 4, "backends": ["wasm", "cpu"]},
}


def write_diary(folder: Path, count: int = 240) -> list[dict[str, str]]:
    """`diary.csv`, some of whose texts stand on several rows, and a tokenizer of its words."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        mood = EMOTIONS[number % 3]
        words = [*rng.choice(OTHERS, rng.integers(3, 16)), *rng.choice(OWN[mood].split(), 2)]
        rows.append({"nr": f"n{number}", "words": " ".join(words), "mood": mood, "author": f"a{number % 5}"})
    rows += [row | {"nr": f"again-{row['nr']}"} for row in rows[:30]]
    rows += [{"nr": "empty", "words": " ", "mood": "joy", "author": "a1"}]
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    (folder / "diary.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "words").mkdir()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *OTHERS, *" ".join(OWN.values()).split()]
    (folder / "words" / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    return rows


def make_workspace(folder: Path) -> Workspace:
    """Settings and sources, which lie where a command would be given."""
    write_diary(folder)
    for name, document in {"dataset": DATASET, "teacher": TEACHER, "again": TEACHER, "student": STUDENT}.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(document))
    return Workspace(folder)


def settings(workspace: Workspace, name: str, *overrides: str) -> Config:
    return load_config(workspace.root / f"{name}.yaml", overrides)
