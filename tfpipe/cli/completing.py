"""What a shell offers on the tab key: the script it needs, settings files, and the names of settings."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class, get_completion_class

from tfpipe.core.config import Config
from tfpipe.core.settings import Section

VARIABLE = "_TFPIPE_COMPLETE"
"""Of the environment, by which click's script asks."""
DEPTH = 4
"""Folders below which no settings file is looked for."""
MADE_HERE = {"data", "runs", "exported", "node_modules"}

WHERE = {
    "bash": "~/.local/share/bash-completion/completions/tfpipe",
    "zsh": '"${fpath[1]}/_tfpipe"',
    "fish": "~/.config/fish/completions/tfpipe.fish",
}
"""Where each shell looks for scripts of its own accord."""


@add_completion_class
class Bash(BashComplete):
    """Click's, but for the blank after `training.epochs=`, where the value goes."""

    source_template = BashComplete.source_template.replace(
        "    return 0\n", '    [[ "${COMPREPLY[0]}" == *= ]] && compopt -o nospace\n\n    return 0\n', 1
    )


@click.command(
    "completion",
    help="Print a script for the tab key of bash, zsh or fish.\n\n"
    "It completes commands, options, settings files and names of settings.\n\n"
    "\b\nExample:\n" + "\n".join(f"  tfpipe completion {shell} > {where}" for shell, where in WHERE.items()),
)
@click.argument("shell", type=click.Choice((*WHERE,)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """The script, on standard output."""
    kind = get_completion_class(shell)
    assert kind
    click.echo(kind(context.find_root().command, {}, "tfpipe", VARIABLE).source())


class SettingsFile(click.Path):
    """A YAML file, completed from all that lie below the working folder."""

    name = "path"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Those that begin so; where there are none, any file."""
        found = [name for name in _iter_settings_files(incomplete) if name.startswith(incomplete)]
        return [CompletionItem(name) for name in found] or [CompletionItem(incomplete, type="file")]


class SettingName(click.ParamType):
    """`training.epochs=3`, whose name is completed."""

    name = "text"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Whole names; with `=`, the value is the person's own."""
        return [CompletionItem(f"{name}=") for name in iter_names(Config) if name.startswith(incomplete)]


def completed(command: click.Command) -> click.Command:
    """The command, whose `--config` and `--set` know what to offer."""
    for param in command.params:
        if "--config" in param.opts or "--against" in param.opts:
            param.type = SettingsFile(path_type=Path)
        elif "--set" in param.opts:
            param.type = SettingName()
    return command


def _iter_settings_files(incomplete: str) -> Iterator[str]:
    """Seen from the working folder, as they are typed."""
    folder, _, _ = incomplete.rpartition("/")
    begin = Path(folder or ("/" if incomplete.startswith("/") else "."))
    yield from (path.as_posix() for path in _iter_yaml(begin, DEPTH))


def _iter_yaml(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.suffix in (".yaml", ".yml"):
            yield entry
        elif depth > 1 and entry.name not in MADE_HERE and entry.is_dir():
            yield from _iter_yaml(entry, depth - 1)


def iter_names(section: type[Section], prefix: str = "") -> Iterator[str]:
    """Every setting below a section, with its dots; a list is one setting."""
    for name, field in section.model_fields.items():
        if prefix or name != "path":
            inner = _section_in(field.annotation)
            yield from iter_names(inner, f"{prefix}{name}.") if inner else [f"{prefix}{name}"]


def _section_in(annotation: Any) -> type[Section] | None:
    """Of `Section` and `Section | None`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    if get_args(annotation)[1:] == (type(None),):
        return _section_in(get_args(annotation)[0])
    return None
