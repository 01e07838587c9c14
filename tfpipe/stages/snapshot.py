"""`snapshot`: the source's rows, as they are, in `raw.jsonl`."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from tfpipe.core.config import Config
from tfpipe.core.errors import DataError
from tfpipe.core.progress import track
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.rows import Row, read_label_map, write_rows
from tfpipe.data.sources import SOURCES


def run(config: Config, workspace: Workspace) -> Metrics:
    """Stream the rows to disk, labels mapped by `snapshot.label_map`."""
    settings = config.snapshot
    label_map = read_label_map(settings.label_map) if settings.label_map else {}
    labels: Counter[str] = Counter()
    regions: Counter[str] = Counter()

    def counted() -> Iterator[Row]:
        source = SOURCES[settings.source]
        rows = source.iter_rows(settings, images_dir=workspace.images_dir(config), seed=config.seed)
        total = settings.num_images if settings.source == "herbarium" else None
        for row in track(rows, f"snapshot {config.dataset}", total):
            accepted = replace(row, label=label_map.get(row.label, row.label))
            labels[accepted.label] += 1
            regions[accepted.region] += 1
            yield accepted

    num_rows = write_rows(counted(), workspace.raw_path(config))
    if len(labels) < 2:
        raise DataError(f"{config.path}: the source has {len(labels)} classes; a classifier needs at least two.")
    return {
        "num_rows": num_rows,
        "num_classes": len(labels),
        "per_class": dict(labels.most_common()),
        "per_region": dict(regions.most_common()),
    }
