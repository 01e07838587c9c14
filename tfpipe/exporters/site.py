"""The static site: the page, its model, and all that the model needs to be used rightly."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfpipe.core.files import atomic_path, sha256_json, write_json
from tfpipe.core.inputs import ModelInput
from tfpipe.core.settings import Task
from tfpipe.exporters.offline import write_service_worker
from tfpipe.exporters.vendor import copy_vendor

WEB_DIR = Path(__file__).parent / "web"
PAGES: dict[Task, str] = {"image": "photos", "text": "texts"}
"""Task → the folder, beside `common`, whose files make the page."""


@dataclass(frozen=True)
class Example:
    """A photo that the page offers for a try."""

    jpeg: bytes
    label: str


@dataclass(frozen=True)
class Site:
    """What goes into `exported/<config>/`."""

    task: Task
    title: str
    description: str
    classes: list[str]
    model_input: ModelInput
    tfjs_dir: Path
    """`model.json` and shards."""
    tflite_path: Path | None
    """The same for phones, where there is one."""
    calibration: dict[str, Any]
    """How to read the model's probabilities."""
    regions: dict[str, Any]
    """What the page asks about regions, as `training/regions.py` counts them."""
    examples: list[Example]
    model_card: str
    manifest_path: Path
    """What the export was made from."""


def build_site(site: Site, target: Path) -> None:
    """Write the site, whole or not at all."""
    with atomic_path(target) as folder:
        for part in ("common", PAGES[site.task]):
            _copy_folder(WEB_DIR / part, folder)
        copy_vendor(folder / "vendor")
        _copy_folder(site.tfjs_dir, folder / "model")
        classes = {"classes": site.classes, "sha256": sha256_json(site.classes)}
        write_json(classes, folder / "model" / "classes.json")
        write_json(site.model_input.to_json(), folder / "model" / "preprocessing.json")
        write_json({"title": site.title, "description": site.description}, folder / "model" / "page.json")
        write_json(site.calibration, folder / "model" / "calibration.json")
        _write_compact(site.regions, folder / "model" / "regions.json")
        if site.tflite_path:
            shutil.copyfile(site.tflite_path, folder / "model.tflite")
        _write_examples(site.examples, folder / "examples")
        shutil.copyfile(site.manifest_path, folder / "manifest.yaml")
        (folder / "model_card.md").write_text(site.model_card, encoding="utf-8")
        write_service_worker(folder)


def _copy_folder(source: Path, target: Path) -> None:
    """With the times of now: by an older one, a server would say that a browser's other file is still the same."""
    shutil.copytree(source, target, copy_function=shutil.copyfile, dirs_exist_ok=True)


def _write_compact(value: object, path: Path) -> None:
    """Without blanks: it may hold a number for each class and region."""
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


def _write_examples(examples: list[Example], folder: Path) -> None:
    folder.mkdir()
    for number, example in enumerate(examples):
        (folder / f"{number}.jpg").write_bytes(example.jpeg)
    index = [{"file": f"examples/{n}.jpg", "label": example.label} for n, example in enumerate(examples)]
    write_json({"examples": index}, folder / "index.json")
