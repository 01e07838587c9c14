"""Speed, as ratios against a baseline in the same run → benchmarks/RESULTS.md.

    python -m benchmarks                            # all of it, as `make bench` does
    python -m benchmarks split_rows training_step   # these, and the other tables stay

The file is written after each of them, so that what was measured stays measured.
"""

import argparse
import os
from collections.abc import Callable
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
from benchmarks.table import Table, read_sections

RESULTS = Path(__file__).with_name("RESULTS.md")
HEADING = """# Benchmarks

`make bench`; `python -m benchmarks <name>` for some of it. Ratios are against the first line of each table, measured
in the same run.
"""
BENCHMARKS: dict[str, Callable[[Path], list[Table]]] = {
    "cli_start": lambda folder: [cli_start.measure()],
    "mongo_snapshot": mongo_snapshot.measure,
    "input_pipeline": lambda folder: [input_pipeline.measure(folder)],
    "training_step": training_step.measure,
    "network_speed": lambda folder: network_speed.measure(),
    "label_store": label_store.measure,
    "distillation_epoch": distillation_epoch.measure,
    "distillation_step": lambda folder: distillation_step.measure(),
    "large_export": large_export.measure,
    "text_training": text_training.measure,
    "fetch_loopback": lambda folder: [fetch_loopback.measure(folder), fetch_loopback.measure_pace(folder)],
    "near_duplicates": lambda folder: [near_duplicates.measure_inspection(folder), near_duplicates.measure()],
    "split_rows": lambda folder: [split_rows.measure(folder)],
    "pack_records": lambda folder: [pack_records.measure(folder)],
}
"""Name → what measures in an empty folder, in the order of the results."""


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", choices=BENCHMARKS, default=list(BENCHMARKS), metavar="name", help=", ".join(BENCHMARKS)
    )
    for name in parser.parse_args().names:
        with TemporaryDirectory() as folder:
            tables = BENCHMARKS[name](Path(folder))
        sections = read_sections(RESULTS)
        for table in tables:
            sections[table.title] = table.to_markdown()
            print(sections[table.title], flush=True)
        RESULTS.write_text(HEADING + "".join(sections.values()), encoding="utf-8")


main()
