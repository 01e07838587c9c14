"""Settings as a person would write them: a comment that tells what for, sections, and nothing that is so anyway."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tfpipe.core.config import Config
from tfpipe.stages.starter.naming import Place

Section = dict[str, Any]

ALWAYS = {"dataset", "task", "snapshot", "source"}
"""What a reader looks for first stands there even where it is the default."""


@dataclass(frozen=True)
class Document:
    """A file to write."""

    name: str
    command: str
    """The step that makes what the file describes."""
    purpose: str
    """A line that says what it is for."""
    remarks: tuple[str, ...] = ()
    """Further lines: what was found, how long it takes, what to change."""
    settings: Section | None = None
    """None: the remarks are the file."""


def render(document: Document, place: Place) -> str:
    """The file's text."""
    if document.settings is None:
        return "".join(f"{line}\n" for line in document.remarks)
    head = [
        f"# {document.purpose}",
        "#",
        f"#   tfpipe {document.command} --config {place.path(document.name)}",
        *(("#", *(f"# {line}" for line in document.remarks)) if document.remarks else ()),
    ]
    sections = _named(document, place) | _what_differs(document.settings)
    body = "".join(_section(key, value) for key, value in sections.items())
    return "\n".join(head) + "\n" + body.removeprefix("\n")


def _named(document: Document, place: Place) -> Section:
    return {"name": place.run_name(document.name)} if place.is_told else {}


def _section(key: str, value: Any) -> str:
    """A section after a blank line; a single setting on a line of its own."""
    text = yaml.dump({key: value}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return f"\n{text}" if isinstance(value, dict | list) else text


class _Dumper(yaml.SafeDumper):
    """Lists stand below their key, as in the other settings files."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _what_differs(settings: Section) -> Section:
    """The settings without those that are the defaults."""
    told = Config(path=Path("new.yaml"), name="new", **settings).model_dump(exclude_defaults=True)

    def keep(part: Section, told: Section) -> Section:
        kept: Section = {}
        for key, value in part.items():
            if isinstance(value, dict) and isinstance(told.get(key), dict):
                if inner := keep(value, told[key]):
                    kept[key] = inner
            elif key in told or key in ALWAYS:
                kept[key] = value
        return kept

    return keep(settings, told)
