"""What a file of a model may hold before Keras opens it: layers that only compute, and nothing packed or linked.

Keras, in its safe mode, refuses code. What it still builds are its own layers, and a few of those read files, load
other formats or run what lies in them. No network of ours has one.
"""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

MEMBERS = frozenset({"config.json", "metadata.json", "model.weights.h5", "tfpipe.json"})
ROOTS = frozenset({"keras", "keras_hub", "tfpipe", "builtins"})
"""Packages whose classes a network may name."""
READS_OR_RUNS = frozenset(
    {
        *("Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"),
        *("StringLookup", "IntegerLookup", "TextVectorization", "Pipeline"),
    }
)
PARTS = ("Tokenizer", "Preprocessor", "Converter")
"""KerasHub's classes with such names read files, too."""
LARGEST_RATIO = 100
"""Of a dataset's bytes in memory to those of its file."""


def check_archive(path: Path) -> None:
    """Look into a `.keras` file.

    Raises:
        ValueError: when there is something in it that no model needs.
    """
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        for info in infos:
            if info.filename not in MEMBERS:
                raise ValueError(f"it holds {info.filename[:80]!r}, which belongs to no model")
            if info.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"its {info.filename} is packed, as Keras writes none")
        if len(infos) > len({info.filename for info in infos}):
            raise ValueError("it holds one name twice")
        check_config(json.loads(archive.read("config.json")))


def check_config(config: Any) -> None:
    """Look through the description of a network, at any depth.

    Raises:
        ValueError: naming a class that is none of ours.
    """
    for module, name in _iter_classes(config):
        if name in READS_OR_RUNS or name.endswith(PARTS):
            raise ValueError(f"it has a {name[:80]}, which can read files or run code")
        if module.partition(".")[0] not in ROOTS:
            raise ValueError(f"it has a {name[:80]} of {module[:80]!r}, which is no network's")


def check_weights(path: Path) -> None:
    """Look into a `.h5` file.

    Raises:
        ValueError: when it leads out of itself, or unpacks to much more than it is.
    """
    with h5py.File(path, "r") as file:
        largest = LARGEST_RATIO * path.stat().st_size
        for name, dataset in _iter_datasets(file):
            if dataset.external or dataset.is_virtual:
                raise ValueError(f"its {name[:80]} lies in another file")
            if dataset.nbytes > largest:
                raise ValueError(f"its {name[:80]} would take {dataset.nbytes:,} bytes")


def _iter_classes(config: Any) -> Iterator[tuple[str, str]]:
    """Module and name of each class that is named, also by the name it is registered under."""
    if isinstance(config, dict):
        if "class_name" in config:
            module, registered = config.get("module"), config.get("registered_name")
            yield str(module or "builtins"), str(config["class_name"])
            if registered:
                package, _, name = str(registered).rpartition(">")
                yield package or "builtins", name
        for part in config.values():
            yield from _iter_classes(part)
    elif isinstance(config, list):
        for part in config:
            yield from _iter_classes(part)


def _iter_datasets(group: h5py.Group) -> Iterator[tuple[str, h5py.Dataset]]:
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"its {name[:80]} is a link")
        part = group[name]
        if isinstance(part, h5py.Group):
            yield from _iter_datasets(part)
        else:
            yield f"{group.name}/{name}", part
