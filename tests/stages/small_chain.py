"""Settings of a whole chain that takes a minute."""

from pathlib import Path
from typing import Any

import yaml

SYNONYMS = Path(__file__).parents[2] / "configs" / "herbarium_synonyms.csv"

DATASET: dict[str, Any] = {
    "dataset": "herbarium",
    "snapshot": {"num_images": 260, "image_side": 40, "label_map": str(SYNONYMS)},
    "audit": {"min_side": 32},
    "split": {"train": 0.6, "validation": 0.2, "test": 0.2},
}
TEACHER: dict[str, Any] = {
    "data": {"config": "dataset.yaml", "image_size": 32},
    "model": {"name": "vit_micro_patch8_32"},
    "training": {"epochs": 2, "batch_size": 32},
    "regularization": {"mixup_alpha": 0.2, "cutmix_alpha": 1.0},
}
REGIONAL: dict[str, Any] = {
    "data": {"config": "dataset.yaml", "image_size": 32, "region": "EU_SW"},
    "model": {"name": "vit_micro_patch8_32", "start_from": "teacher.yaml"},
    "training": {"epochs": 1, "batch_size": 16},
}
STUDENT: dict[str, Any] = {
    "data": {"config": "dataset.yaml", "image_size": 32},
    "model": {"name": "mobilenetv2", "alpha": 0.35},
    "teachers": [{"config": "teacher.yaml"}, {"config": "regional.yaml", "region_filter": "EU_SW"}],
    "label": {"views": 2},
    "training": {"epochs": 3, "batch_size": 32},
    "finetune": {"epochs": 1},
    "export": {"num_examples": 2, "title": "<b>Herbarium</b>"},
    "verify": {"num_images": 16, "backend_images": 4, "backends": ["wasm", "cpu"]},
}


def write_configs(folder: Path) -> Path:
    folder.mkdir(parents=True)
    documents = {"dataset": DATASET, "teacher": TEACHER, "regional": REGIONAL, "student": STUDENT}
    for name, document in documents.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(document))
    return folder
