"""`pack`: rows and their images become sharded records, and the class list is fixed."""

from pathlib import Path

from tfpipe.core.config import Config
from tfpipe.core.progress import progress
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.checks import upright_jpeg
from tfpipe.data.records import classes_sha256, write_records
from tfpipe.data.rows import Row, iter_rows


def run(config: Config, workspace: Workspace) -> Metrics:
    """Write `data/<dataset>/<version>` anew."""
    rows = list(iter_rows(workspace.splits_path(config)))
    classes = sorted({row.label for row in rows})
    directory = workspace.records_dir(config)
    with progress(f"pack {config.dataset}", len(rows)) as advance:

        def read_image(row: Row) -> bytes:
            advance()
            return upright_jpeg(Path(row.path).read_bytes())

        write_records(rows, directory, read_image=read_image, classes=classes, num_shards=config.pack.num_shards)
    return {
        "num_examples": len(rows),
        "num_classes": len(classes),
        "classes_sha256": classes_sha256(classes),
        "num_bytes": sum(file.stat().st_size for file in directory.iterdir()),
    }
