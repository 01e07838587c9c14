"""A folder per class, each full of photos; an optional CSV beside them tells region and group."""

import os
from collections.abc import Iterator
from pathlib import Path

from tfpipe.core.errors import DataError
from tfpipe.core.files import sha256_file, sha256_json
from tfpipe.core.settings import SnapshotSettings
from tfpipe.data.rows import Row, writable
from tfpipe.data.tables import iter_records

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
SPLIT_NAMES = {"train", "training", "val", "valid", "validation", "test", "testing"}


def iter_rows(settings: SnapshotSettings, *, images_dir: Path, seed: int) -> Iterator[Row]:
    """One row per image file; the folder's name is the label, its relative path the id.

    Raises:
        DataError: when the folder is missing, has no classes but splits or nothing, or a class has no images.
    """
    root = _root(settings)
    metadata = _read_metadata(settings.metadata, root) if settings.metadata else {}
    for class_dir in _class_dirs(root):
        images = list(_images_in(class_dir))
        if not images:
            raise DataError(f"{class_dir}: class without images. Add some, or remove the folder.")
        for path in images:
            name = path.relative_to(root).as_posix()
            if name != writable(name):
                raise DataError(f"{os.fsencode(path)!r}: its name is no UTF-8. Rename it.")
            known = metadata.get(name, {})
            yield Row(
                id=known.get("id") or name,
                label=class_dir.name.strip(),
                region=known.get("region", ""),
                group=known.get("group", ""),
                path=path.as_posix(),
                extra={"latin_name": class_dir.name},
            )


def fingerprint(settings: SnapshotSettings) -> str:
    """Changes when a file comes, goes, or changes its size or time."""
    root = _root(settings)
    files = [p for class_dir in _class_dirs(root) for p in _images_in(class_dir)]
    stats = [(p.relative_to(root).as_posix(), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return sha256_json([stats, settings.metadata and sha256_file(settings.metadata)])


def _root(settings: SnapshotSettings) -> Path:
    root = settings.path
    if root is None or not root.is_dir():
        raise DataError(f"{root}: no such folder. `snapshot.path` needs a folder with one subfolder per class.")
    return root


def _class_dirs(root: Path) -> list[Path]:
    class_dirs = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not class_dirs:
        raise DataError(f"{root}: no subfolders. `source: folder` needs one subfolder of images per class.")
    if {p.name.lower() for p in class_dirs} <= SPLIT_NAMES:
        raise DataError(
            f"{root}: its folders {', '.join(p.name for p in class_dirs)} are splits, not classes. tfpipe splits by "
            "itself, without leaks: move the photos into one folder per class."
        )
    return class_dirs


def _images_in(class_dir: Path) -> Iterator[Path]:
    yield from sorted(p for p in class_dir.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())


def _read_metadata(path: Path, root: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        raise DataError(f"{path}: no such file (`snapshot.metadata`).")
    rows = {record["path"]: record for _, record in iter_records(path, needed=("path",))}
    for name in rows:
        if not (root / name).is_file():
            raise DataError(
                f"{path}: no image {name} in {root}; `path` is relative to that folder, with forward slashes."
            )
    return rows
