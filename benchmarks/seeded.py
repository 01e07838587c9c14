"""A folder of settings once for each seed: everything is drawn, split and trained anew."""

from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]


def seeded_copies(folder: Path, seed: int) -> list[Path]:
    """Copies of a folder's settings with another seed, and names of their own.

    They lie in `runs/quality/configs/`, the same for all benchmarks, which therefore train nothing twice.
    """
    target = Path("runs") / "quality" / "configs" / f"{folder.name}-seed{seed}"
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    for path in sorted(folder.glob("*.yaml")):
        document = yaml.safe_load(path.read_text(encoding="utf-8")) | {"seed": seed}
        if "dataset" in document:
            document["dataset"] += f"_seed{seed}"
        paths.append(target / path.name)
        paths[-1].write_text(yaml.safe_dump(document), encoding="utf-8")
    return paths


def variant(path: Path, name: str, changes: Document) -> Path:
    """Another copy beside `path`, with some settings of some sections changed."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    for section, settings in changes.items():
        document[section] = document.get(section, {}) | settings
    changed = path.with_name(f"{path.stem}-{name}.yaml")
    changed.write_text(yaml.safe_dump(document), encoding="utf-8")
    return changed
