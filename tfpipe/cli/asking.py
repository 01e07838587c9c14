"""Commands that ask a trained model: `predict` and `serve`."""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from tfpipe.core.progress import native_silence


@click.command(
    "predict",
    help="Say what texts or photos are, calibrated, or that it is not conclusive.\n\n"
    "INPUTS are texts, or paths of photos; `-` reads them from standard input, one a line.\n\n"
    "\b\nExample:\n"
    '  tfpipe predict --config configs/emotions_teacher.yaml "i feel blessed to be here"\n'
    "  tfpipe predict --config configs/student.yaml photo.jpg --json\n"
    "  tfpipe predict --config configs/emotions_teacher.yaml --csv diary.csv --column texto_diario > answers.csv",
)
@click.option("--config", "path", type=click.Path(path_type=Path), required=True, help="Settings file (YAML).")
@click.option("--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override one setting.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line, with all probabilities.")
@click.option(
    *("--csv", "csv_path"),
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Read the rows of a CSV file; print CSV, their columns and the answers'.",
)
@click.option("--column", default="text", show_default=True, help="Of the CSV file: texts, or paths of photos.")
@click.argument("inputs", nargs=-1)
def predict(
    path: Path, overrides: tuple[str, ...], as_json: bool, csv_path: Path | None, column: str, inputs: tuple[str, ...]
) -> None:
    """Train what is missing, then answer, batch by batch."""
    if bool(csv_path) == bool(inputs):
        raise click.UsageError("Give either INPUTS or --csv.")
    from tfpipe.core.config import load_config
    from tfpipe.core.workspace import Workspace
    from tfpipe.stages.runner import run_step

    run_step("calibrate", path, overrides)
    with native_silence():
        from tfpipe.stages.predict import iter_answers, iter_csv, iter_given
    config = load_config(path, overrides)
    asked = iter_csv(csv_path, column, config) if csv_path else iter_given(inputs, config)
    answers = iter_answers(asked, config, Workspace())
    if as_json:
        for answer in answers:
            click.echo(json.dumps(answer.to_json(), ensure_ascii=False))
    elif csv_path:
        _print_csv(answer.to_row() for answer in answers)
    else:
        for answer in answers:
            click.echo(answer.told())


def _print_csv(rows: Iterator[dict[str, str]]) -> None:
    writer = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(sys.stdout, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)


@click.command(
    "serve",
    help="Answer over HTTP, calibrated, until told to end.\n\n"
    "\b\nExample:\n"
    "  tfpipe serve --config configs/emotions_teacher.yaml --port 8000\n"
    "  tfpipe serve --config configs/student.yaml --host 0.0.0.0 --set serve.batch_size=8",
)
@click.option("--config", "path", type=click.Path(path_type=Path), required=True, help="Settings file (YAML).")
@click.option("--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override one setting.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to answer at; 0.0.0.0 stands for all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
def serve(path: Path, overrides: tuple[str, ...], host: str, port: int) -> None:
    """Train what is missing, then answer."""
    from tfpipe.stages import serve as stage

    stage.serve(path, overrides, host, port)
