"""`split`: rows without a usable image are left out and counted; the rest is split without leaks."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from tfpipe.core.config import Config
from tfpipe.core.errors import DataError
from tfpipe.core.progress import track
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.checks import ImageCheck, check_image
from tfpipe.data.rows import Row, iter_rows, write_rows
from tfpipe.data.splitting import SPLITS, split_rows


def run(config: Config, workspace: Workspace) -> Metrics:
    """Check every image, then assign splits."""
    rows = list(iter_rows(workspace.raw_path(config)))
    _check_ids_are_unique(rows)
    checked = list(zip(rows, _check_images(rows, config), strict=True))
    kept = [(_with(row, sha256=check.sha256), check.sha256) for row, check in checked if not check.fault]
    if not kept:
        faults = Counter(check.fault for _, check in checked)
        raise DataError(f"{config.path}: none of {len(rows)} rows has a usable image ({_told(faults)}).")
    _check_no_class_is_gone(checked)
    kept_rows, content_hashes = zip(*kept, strict=True)
    split = split_rows(kept_rows, content_hashes, config.split, config.seed)
    excluded = [_with(row, fault=check.fault) for row, check in checked if check.fault]
    write_rows(split, workspace.splits_path(config))
    write_rows(excluded, workspace.excluded_path(config))
    sizes = Counter(row.split for row in split)
    return {
        "num_rows": len(split),
        "num_groups": len({row.group for row in split if row.group}),
        "per_split": {name: sizes[name] for name in SPLITS},
        "excluded": dict(Counter(check.fault for _, check in checked if check.fault).most_common()),
    }


def _check_images(rows: list[Row], config: Config) -> Iterator[ImageCheck]:
    # Pillow decodes and hashlib hashes without the interpreter's lock, so threads are enough.
    with ThreadPoolExecutor() as pool:
        checks = pool.map(partial(check_image, min_side=config.split.min_side), rows)
        yield from track(checks, f"split {config.dataset}: checking images", len(rows))


def _with(row: Row, **extra: str) -> Row:
    return replace(row, extra=row.extra | extra)


def _check_ids_are_unique(rows: list[Row]) -> None:
    row_id, count = Counter(row.id for row in rows).most_common(1)[0]
    if count > 1:
        raise DataError(f"id {row_id!r} stands on {count} rows: views and labels are keyed by it. Make ids unique.")


def _check_no_class_is_gone(checked: list[tuple[Row, ImageCheck]]) -> None:
    usable = {row.label for row, check in checked if not check.fault}
    for label in sorted({row.label for row, _ in checked} - usable):
        faults = Counter(check.fault for row, check in checked if row.label == label)
        raise DataError(
            f"class {label!r} has no usable image ({_told(faults)}). "
            "Mend its images, lower `split.min_side`, or drop the class."
        )


def _told(faults: Counter[str]) -> str:
    return ", ".join(f"{fault}: {count}" for fault, count in faults.most_common())
