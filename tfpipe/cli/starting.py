"""Commands for the first hour: `init`, `doctor`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tfpipe.stages.doctor import Check

FIELDS = ("id", "label", "text", "image", "group", "region")
PROBE_SECONDS = 3.0
EXISTING = click.Path(path_type=Path)


def _columns(command: Any) -> Any:
    """An option for each field of a row that a source may call otherwise."""
    for field in reversed(FIELDS):
        name = f"--{field}-column"
        told = f"Column, or field of a document, with the {'photo: a path or a URL' if field == 'image' else field}."
        command = click.option(name, f"{field}_column", default="", metavar="NAME", help=told)(command)
    return command


@click.command(
    "init",
    help="Write starter settings for your data, sized by what is there.\n\n"
    "Looks at the source, asks what is not clear (on a terminal; else options tell it), and writes dataset.yaml, "
    "teacher.yaml and student.yaml into FOLDER, `configs` unless you name another.\n\n"
    "\b\nExample:\n"
    "  tfpipe init --source photos\n"
    "  tfpipe init configs/diary --source diary.csv --text-column entry --label-column mood\n"
    "  tfpipe init --source 'mongodb://reader:${MONGO_PASSWORD}@host/plants' --collection observations",
)
@click.argument("folder", type=click.Path(path_type=Path), default=Path("configs"))
@click.option(
    "--source",
    default="",
    help="A folder with a folder per class, a CSV or JSON Lines file, an address (mongodb://…, postgresql://…, "
    "tfds://…), or one of folder, jsonl, csv, mongodb, postgresql, tfds, herbarium.",
)
@click.option("--path", type=EXISTING, help="Of `--source folder`, `jsonl` or `csv`: where it is.")
@click.option("--task", type=click.Choice(("image", "text")), help="What is to be told apart.")
@click.option("--name", default="", help="Of the data set; unset, the source's.")
@_columns
@click.option("--metadata", type=EXISTING, help="Of a folder: a CSV with `path`, and `region` or `group`.")
@click.option("--collection", default="", help="Of MongoDB.")
@click.option("--query", default="", help="Of PostgreSQL: a table, or a SELECT.")
@click.option("--region", default="", help="A second teacher learns this region's photos.")
@click.option(
    "--weights",
    default="",
    help="To start from. Photos: `imagenet`, `none`, or a file or folder of MobileNetV2's. Texts: `none`, or a folder "
    "as transformers writes it. Unset, photos take imagenet's where they can be downloaded.",
)
@click.option("--force", is_flag=True, help="Replace files that are there.")
def init(folder: Path, force: bool, **said: Any) -> None:
    """Look, ask, write, and say what to type next."""
    from tfpipe.data.download.reach import answers
    from tfpipe.stages.starter import Wish, write_starter

    columns = {field: said.pop(f"{field}_column") for field in FIELDS}
    fields = {"path" if field == "image" else field: column for field, column in columns.items() if column}
    ask = _on_terminal if sys.stdin.isatty() else _elsewhere
    starter = write_starter(
        Wish(fields=fields, **said),  # type: ignore[arg-type]
        folder,
        ask,
        force=force,
        can_download=lambda url: answers(url, PROBE_SECONDS),
    )
    for sentence in starter.told:
        click.echo(sentence)
    click.echo(f"Written: {', '.join(path.as_posix() for path in starter.paths)}")
    click.echo(f"Ready?   {starter.next_command.replace('run', 'doctor', 1)}")
    click.echo(f"Next:    {starter.next_command}")


def _on_terminal(option: str, question: str, usual: str | None, choices: Sequence[str] = ()) -> str:
    kind = click.Choice(choices) if choices else str
    answer: str = click.prompt(question, default=usual, type=kind, show_default=bool(usual), err=True)
    return answer.strip()


def _elsewhere(option: str, question: str, usual: str | None, choices: Sequence[str] = ()) -> str:
    if usual is None:
        raise click.UsageError(f"{option} is missing, and there is no terminal to ask on. {question}.")
    return usual


MARKS = {"ok": "✓", "note": "·", "fail": "✗"}


@click.command(
    "doctor",
    help="Say whether this machine is ready, and how to mend what is not.\n\n"
    "Exits with 1 when something that is needed is missing.\n\n"
    "\b\nExample:\n"
    "  tfpipe doctor\n"
    "  tfpipe doctor --config configs/student.yaml",
)
@click.option(
    "--config", "path", type=EXISTING, help="Settings file (YAML), whose source and weights are looked at, too."
)
@click.option("--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override one setting.")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as one JSON array.")
def doctor(path: Path | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """Look at everything side by side, tell it in order."""
    from tfpipe.stages.doctor import examine

    checks = examine(path, overrides)
    if as_json:
        click.echo(json.dumps([check.to_json() for check in checks], ensure_ascii=False))
    else:
        for check in checks:
            click.echo(_line(check))
    if any(check.state == "fail" for check in checks):
        sys.exit(1)


def _line(check: "Check") -> str:
    fix = f"\n    {check.fix}" if check.fix else ""
    return f"{MARKS[check.state]} {check.name}: {check.found}{fix}"
