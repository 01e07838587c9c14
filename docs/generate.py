"""Pages that say what the code says: settings from pydantic, commands from click, files and results as they are.

Nothing of it is kept: it is made anew whenever the documentation is built.
"""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
from pydantic import BaseModel

from tfpipe.cli import main
from tfpipe.core.config import DATASET_KEYS, Config
from tfpipe.core.criteria import BUILT_IN
from tfpipe.stages import STEPS

ROOT = Path(__file__).parents[1]
HELP_WIDTH = 100
INNER = ("path",)
"""Fields of `Config` that no file may hold."""
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def settings_page() -> str:
    """Every setting with its type, default and docstring."""
    schema = Config.model_json_schema(mode="validation")
    own, sections = _own_and_sections()
    parts = [
        "# Settings, all of them\n",
        "Made from the code when this page was built. A settings file is YAML; every key may be left out but "
        "`model.name`. How files name each other, and what to choose, is told in [Settings](../settings.md).\n",
        "## Of the file itself\n",
        _table(Config, own, schema),
    ]
    for name, model in sections:
        parts += [f"## {name}\n", _about(name, model), _table(model, list(model.model_fields), schema)]
    return "\n".join([*parts, _limits()])


def commands_page() -> str:
    """Every command's help, and of a step what it reads and writes."""
    parts = [
        "# Commands, all of them\n",
        "Made from the code when this page was built: what `tfpipe COMMAND --help` prints, and of each step which "
        "settings it depends on. A step whose settings and inputs are as they were is left alone.\n",
    ]
    width = {"terminal_width": HELP_WIDTH, "max_content_width": HELP_WIDTH}
    context = click.Context(main, info_name="tfpipe", **width, **main.context_settings)
    parts += [f"```text\n{main.get_help(context)}\n```\n"]
    for name, command in main.commands.items():
        inner = click.Context(command, info_name=name, parent=context)
        parts += [f"## {name}\n", f"```text\n{command.get_help(inner)}\n```\n"]
        if name in STEPS:
            depends = ", ".join(f"`{section}`" for section in dict.fromkeys(STEPS[name].sections))
            parts += [f"Runs again when one of these settings changes: {depends}.\n"]
    return "\n".join(parts)


def examples_page() -> str:
    """The settings files that come with the project, whole."""
    parts = [
        "# The settings files that come along\n",
        "As they stand in `configs/`. Each opens with what it is for, its command, the machine, and what to expect.\n",
    ]
    for path in sorted((ROOT / "configs").rglob("*.yaml")):
        name = path.relative_to(ROOT).as_posix()
        parts += [f"## {name}\n", f"```yaml\n{path.read_text(encoding='utf-8').rstrip()}\n```\n"]
    return "\n".join(parts)


def result_pages() -> dict[str, str]:
    """Path in the documentation → what a benchmark has written, with a page that lists them first."""
    found = {
        f"results/{path.stem.lower()}.md": path.read_text(encoding="utf-8")
        for path in sorted((ROOT / "benchmarks").glob("*.md"))
    }
    listed = (f"- [{text.splitlines()[0].removeprefix('# ')}]({Path(path).name})" for path, text in found.items())
    return {"results/index.md": "\n".join([RESULTS_OPENING, *listed, ""]), **found}


RESULTS_OPENING = """# Results

What the benchmarks wrote, as it stands in `benchmarks/`. Each page says how it was measured, and on what. All of it
ran on two cores without a GPU. `make bench` and `python -m benchmarks.recipe` (`texts`, `serving`…) do it again.
"""


def pages() -> dict[str, str]:
    """Path in the documentation → Markdown."""
    return {
        "reference/settings.md": settings_page(),
        "reference/commands.md": commands_page(),
        "reference/examples.md": examples_page(),
        **result_pages(),
    }


def docstrings(model: type[BaseModel]) -> dict[str, str]:
    """What stands below each attribute of a class."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(definition, ast.ClassDef)
    told = {}
    for line, after in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(after, ast.Expr):
            told[line.target.id] = inspect.cleandoc(ast.literal_eval(after.value))
    return told


def _own_and_sections() -> tuple[list[str], list[tuple[str, type[BaseModel]]]]:
    """The file's own keys, and its sections, with those inside of them, under the names that a person writes."""
    own: list[str] = []
    sections: list[tuple[str, type[BaseModel]]] = []
    for name, field in Config.model_fields.items():
        model = _model_in(field.annotation)
        if name in INNER:
            continue
        if model is None:
            own.append(name)
        else:
            sections += _with_inner(name, model)
    return own, sections


def _with_inner(name: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield name, model
    for inner_name, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        if inner:
            yield from _with_inner(f"{name}.{inner_name}", inner)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part))), None)


def _about(name: str, model: type[BaseModel]) -> str:
    where = " It belongs into the data set's file, where there is one." if name in DATASET_KEYS else ""
    listed = " A list: one entry for each." if name == "teachers" else ""
    return f"{inspect.getdoc(model)}{listed}{where}\n"


def _table(model: type[BaseModel], names: list[str], schema: dict[str, Any]) -> str:
    of_model = schema if model is Config else schema["$defs"][model.__name__]
    told, required = docstrings(model), of_model.get("required", [])
    lines = ["| setting | value | default | |", "|---|---|---|---|"]
    for name in names:
        field = of_model["properties"][name]
        default = REQUIRED.get((model, name), "must be given") if name in required else _default(field)
        cells = (f"`{name}`", kind_of(field, schema["$defs"]), default, told.get(name, ""))
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    return "\n".join(lines) + "\n"


REQUIRED: dict[tuple[type[BaseModel], str], str] = {(Config, "name"): "from the file's path"}
"""What is needed, and found where no file gives it."""


def _default(field: dict[str, Any]) -> str:
    if "default" not in field or field["default"] is None:
        return "unset"
    if isinstance(field["default"], dict) and field["default"]:
        return "as below"
    return f"`{json.dumps(field['default'], ensure_ascii=False)}`"


def kind_of(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    """A JSON schema in a few words: its type, what is allowed, its bounds."""
    if "$ref" in field:
        return "settings of their own"
    if "anyOf" in field:
        return ", or ".join(kind_of(one, definitions) for one in field["anyOf"] if one.get("type") != "null")
    if allowed := field.get("enum", [field["const"]] if "const" in field else []):
        return ", ".join(f"`{value}`" for value in allowed)
    if field["type"] == "array":
        return f"list of: {kind_of(field['items'], definitions)}"
    return _kind_of_names(field) if field["type"] == "object" else _kind_of_one(field)


def _kind_of_names(field: dict[str, Any]) -> str:
    allowed = ", ".join(f"`{name}`" for name in field.get("propertyNames", {}).get("enum", ()))
    return f"{allowed or 'names'}, each with its value"


def _kind_of_one(field: dict[str, Any]) -> str:
    if field.get("format") == "path":
        return "path"
    bounds = [f"{sign} {field[key]:,}" for key, sign in BOUNDS.items() if key in field]
    pattern = [f"like `{field['pattern']}`"] if "pattern" in field else []
    return ", ".join([KINDS[field["type"]], *bounds, *pattern])


KINDS = {"string": "text", "boolean": "`true`, `false`", "integer": "whole number", "number": "number"}


def _limits() -> str:
    lines = [
        "## Limits that always hold\n",
        "`criteria` adds limits of your own, and may replace these. A step that misses one exits with 3.\n",
        "| step | what it measured | must be |",
        "|---|---|---|",
    ]
    lines += [f"| `{step}` | `{key}` | {bound} |" for step, bounds in BUILT_IN.items() for key, bound in bounds.items()]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """In a Markdown table a cell is one line, and a bar ends it."""
    return text.replace("|", "\\|").replace("\n\n", "<br>").replace("\n", " ")
