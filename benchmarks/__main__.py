"""Speed, as ratios against a baseline in the same run: `make bench` → benchmarks/RESULTS.md."""

import os
import platform
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks import (
    cli_start,
    distillation_epoch,
    distillation_step,
    fetch_loopback,
    input_pipeline,
    label_store,
    large_export,
    mongo_snapshot,
    near_duplicates,
    network_speed,
    pack_records,
    split_rows,
    text_training,
    training_step,
)
from benchmarks.table import Table

RESULTS = Path(__file__).parent / "RESULTS.md"


def main() -> None:
    """Run every benchmark and write the results."""
    with TemporaryDirectory() as folder:
        tables: list[Table] = [
            cli_start.measure(),
            *mongo_snapshot.measure(Path(folder)),
            input_pipeline.measure(Path(folder)),
            *training_step.measure(Path(folder)),
            *network_speed.measure(),
            *label_store.measure(Path(folder) / "labels"),
            *distillation_epoch.measure(Path(folder)),
            *distillation_step.measure(),
            *large_export.measure(Path(folder) / "large"),
            *text_training.measure(Path(folder) / "texts"),
            fetch_loopback.measure(Path(folder)),
            fetch_loopback.measure_pace(Path(folder)),
            near_duplicates.measure_inspection(Path(folder) / "audit"),
            near_duplicates.measure(),
            split_rows.measure(Path(folder) / "split"),
            pack_records.measure(Path(folder) / "pack"),
        ]
    heading = (
        f"# Benchmarks\n\n`make bench`, {date.today().isoformat()}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}. "
        "Ratios are against the first line of each table, measured in the same run.\n"
    )
    RESULTS.write_text(heading + "".join(table.to_markdown() for table in tables), encoding="utf-8")
    print(RESULTS.read_text(encoding="utf-8"))


main()
