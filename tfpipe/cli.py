"""The command line: parse, call the steps, print. TensorFlow is imported by the steps that need it."""

import csv
import json
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from tfpipe import __version__
from tfpipe.core.cluster import Share
from tfpipe.core.errors import TfpipeError
from tfpipe.core.files import explain
from tfpipe.core.progress import say
from tfpipe.stages import RUN, STEPS

INTERRUPTED = 130


class _Share(click.ParamType):
    """`i/n`."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Share:
        """Refuses what is none, as wrong usage."""
        try:
            return value if isinstance(value, Share) else Share.parse(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


_runner = click.option("--runner", help="Where to run: `local`, or an Apache Beam runner such as DirectRunner.")
_check_only = click.option("--check-only", "fetch__check_only", is_flag=True, help="Look at every image, keep none.")
_check = click.option(
    *("--check", "splits_path"),
    type=click.Path(path_type=Path),
    is_eager=True,
    metavar="FILE",
    help="Run nothing; prove that a splits file (JSON Lines or CSV), made here or elsewhere, leaks nothing. Without "
    "--config by the file alone, with it also by what the audit knows of its ids.",
)
_against = click.option(
    *("--against", "others"),
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Settings of a model to compare with this one, on the same examples; may be given several times.",
)
_shard = click.option(
    *("--shard", "share"),
    type=_Share(),
    metavar="I/N",
    help="Write the i-th of n equal shares of the files, from 1/N to N/N, and leave the step open: n machines on one "
    "shared folder do it together. The last `tfpipe label`, without it, joins them.",
)
_compare = click.option(
    *("--check", "num_compared"),
    type=click.IntRange(min=1),
    metavar="N",
    help="Label nothing; ask the teachers about N random views again, and compare with what is stored.",
)
_to_npz = click.option(
    *("--to-npz", "npz_path"),
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the first view's labels as dense arrays too: `soft_probs` and `indices`, and of each teacher `logits`, "
    "`indices` and `confidences` (of several: beside FILE, with their names).",
)
SHORTHANDS = {
    "fetch": (_runner, _check_only),
    "audit": (_runner,),
    "pack": (_runner,),
    "split": (_check,),
    "evaluate": (_against,),
    "label": (_runner, _shard, _compare, _to_npz),
}
"""Options beside those that every step has; `--runner`, `--check-only` and `--against` stand for settings."""

MORE_EXAMPLES = {
    "evaluate": "tfpipe evaluate --config configs/teacher_regional.yaml --against configs/teacher_global.yaml"
}


class Group(click.Group):
    """Turns our errors into one sentence and an exit code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run; never a traceback for what a person can mend."""
        try:
            return super().main(*args, **kwargs | {"standalone_mode": False})
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(2)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except TfpipeError as error:
            say(f"error: {error}")
            sys.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            say("interrupted. The same command goes on where it stood.")
            sys.exit(INTERRUPTED)
        except Exception as error:
            told = explain(error)
            if told is None:
                raise
            say(f"error: {told}")
            sys.exit(1)


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From labelled data to an honest, verified classifier in the browser.\n\n"
    "\b\nExample:\n  tfpipe run --config configs/student.yaml",
)
@click.version_option(__version__)
def main() -> None:
    """Prepare the process for any step."""
    # Their chatter would bury ours; a person who wants it sets the variable, or python -W.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Not all of a GPU's memory at once: a step may have a process of its own, which wants some, too.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _command(name: str, summary: str) -> None:
    more = f"\n  {MORE_EXAMPLES[name]}" if name in MORE_EXAMPLES else ""
    example = f"tfpipe {name} --config configs/{_example(name)}.yaml"

    @main.command(name, help=f"{summary}\n\n\b\nExample:\n  {example}{more}")
    @click.option(
        *("--config", "path"),
        type=click.Path(path_type=Path),
        required=_check not in SHORTHANDS.get(name, ()),
        callback=_given,
        help="Settings file (YAML).",
    )
    @click.option("--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override one setting.")
    @click.option("--force", is_flag=True, help="Run the step even if it is up to date.")
    @click.option("--no-upstream", is_flag=True, help="Refuse if an earlier step is missing, instead of running it.")
    @click.option("--json", "as_json", is_flag=True, help="Print the step's metrics as one JSON object.")
    def command(
        path: Path, overrides: tuple[str, ...], force: bool, no_upstream: bool, as_json: bool, **shorthands: Any
    ) -> None:
        from tfpipe.stages.runner import run_step

        splits_path, others = shorthands.pop("splits_path", None), shorthands.pop("others", ())
        share, num_compared, npz_path = (shorthands.pop(key, None) for key in ("share", "num_compared", "npz_path"))
        if share and (force or num_compared or npz_path):
            raise click.UsageError(
                "--shard goes on with what others have begun; it excludes --force, --check, --to-npz."
            )
        if others:
            overrides += (f"evaluate.against={json.dumps([_beside(path, other) for other in others])}",)
        overrides += tuple(f"{key.replace('__', '.')}={value}" for key, value in shorthands.items() if value)
        if splits_path:
            metrics = _check_splits(splits_path, path, overrides)
        elif num_compared:
            metrics = _compare_labels(path, overrides, num_compared)
        else:
            metrics = run_step(name, path, overrides, force=force, no_upstream=no_upstream, share=share)
        if npz_path:
            _take_labels(path, overrides, npz_path)
        if as_json:
            click.echo(json.dumps(metrics, ensure_ascii=False))

    for option in SHORTHANDS.get(name, ()):
        command = option(command)


def _given(context: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    """`--config`, without which only a splits file can be checked."""
    if path is None and not context.params.get("splits_path"):
        raise click.MissingParameter(ctx=context, param=option)
    return path


def _beside(path: Path, other: Path) -> str:
    """Where another settings file lies, seen from one."""
    return Path(os.path.relpath(other, path.parent)).as_posix()


def _check_splits(splits_path: Path, path: Path | None, overrides: tuple[str, ...]) -> dict[str, Any]:
    from tfpipe.core.config import load_config
    from tfpipe.core.workspace import Workspace
    from tfpipe.stages.split import check

    return check(splits_path, load_config(path, overrides).dataset_config if path else None, Workspace())


def _compare_labels(path: Path, overrides: tuple[str, ...], count: int) -> dict[str, Any]:
    from tfpipe.core.config import load_config
    from tfpipe.core.workspace import Workspace
    from tfpipe.stages.label.compare import compare

    return compare(load_config(path, overrides), Workspace(), count)


def _take_labels(path: Path, overrides: tuple[str, ...], npz_path: Path) -> None:
    from tfpipe.core.config import load_config
    from tfpipe.core.workspace import Workspace
    from tfpipe.stages.label.taking import take

    take(load_config(path, overrides), Workspace(), npz_path)


def _example(name: str) -> str:
    return {"snapshot": "dataset", "split": "dataset", "pack": "dataset", "teach": "teacher_global"}.get(
        name, "student"
    )


for _step in (*STEPS.values(), RUN):
    _command(_step.name, _step.summary)


@main.command(
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
    from tfpipe.stages.predict import iter_answers, iter_csv, iter_given
    from tfpipe.stages.runner import run_step

    run_step("calibrate", path, overrides)
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


@main.command(
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
