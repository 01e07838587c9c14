"""Whether a command that a document shows would be understood: by the real commands, options and settings files."""

import ast
import json
import re
import shutil
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path

import click
import pytest
from doc_blocks import ROOT, Call

from tfpipe.cli import main
from tfpipe.core.cluster import this_worker
from tfpipe.core.config import load_config
from tfpipe.core.settings import ServeSettings
from tfpipe.core.steps import build_graph
from tfpipe.core.workspace import Workspace
from tfpipe.serving.questions import build_question
from tfpipe.stages import LAST, STEPS

SERVER_PATHS = ("/health", "/ready", "/predict", "/metrics", "/openapi.json")


def check_call(call: Call) -> None:
    """Fail where it would not be understood; settings files are looked for below the working folder."""
    CHECKS.get(call.program, lambda call: None)(call)


def parse_tfpipe(arguments: list[str]) -> tuple[str, dict[str, object]]:
    """The command and its values, as click parses them."""
    outer = main.make_context("tfpipe", list(arguments), resilient_parsing=True)
    name, *rest = arguments
    assert name in main.commands, f"no command {name}"
    context = main.commands[name].make_context(name, rest, parent=outer)
    return name, context.params


def _tfpipe(call: Call) -> None:
    try:
        if call.arguments[0].startswith("-"):
            main.make_context("tfpipe", list(call.arguments))
            return
        name, values = parse_tfpipe(call.arguments)
    except click.exceptions.Exit as asked_for_help:
        assert asked_for_help.exit_code == 0
        return
    if name == "init":
        _write_starter(values["folder"])
    overrides, paths = values.get("overrides", ()), values.get("paths", ())
    assert isinstance(overrides, tuple)
    assert isinstance(paths, tuple)
    for path in (*paths, values.get("path")):
        if not isinstance(path, Path):
            continue
        config = load_config(path, overrides)
        _check_worker(name, call.tf_config)
        # Raises, where a step is asked of settings that it is not for.
        build_graph(STEPS, config, name if name in STEPS else LAST if name == "run" else "calibrate", Workspace())
    others = values.get("others", ())
    assert isinstance(others, tuple)
    for other in others:
        load_config(other)


def _write_starter(folder: object) -> None:
    """Settings such as `init` writes, for the commands that come after it."""
    assert isinstance(folder, Path)
    shutil.copytree(ROOT / "configs" / "flowers", folder, dirs_exist_ok=True)


def _check_worker(name: str, tf_config: str) -> None:
    if tf_config:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TF_CONFIG", tf_config)
            assert this_worker().num_workers > 1
        assert name in ("teach", "distill")


def _make(call: Call) -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(call.arguments) <= set(targets)


def _pip(call: Call) -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    for named in re.findall(r"(?:tfpipe|\.)\[(.+)\]", " ".join(call.arguments)):
        assert set(named.split(",")) <= set(setup["options.extras_require"])


def _python(call: Call) -> None:
    option, what = call.arguments[:2]
    if option == "-c":
        ast.parse(what)
    elif what.startswith("benchmarks"):
        check_benchmark(what)
    else:
        assert what == "http.server"


def check_benchmark(module: str) -> None:
    path = ROOT / module.replace(".", "/")
    assert path.is_dir() or path.with_suffix(".py").is_file(), f"no {module}"


def _curl(call: Call) -> None:
    (url,) = (argument for argument in call.arguments if "localhost:" in argument)
    assert "/" + url.partition("/")[2] in SERVER_PATHS
    body = call.arguments[call.arguments.index("--json") + 1]
    if body != "@-":
        build_question("text", ServeSettings()).model_validate(json.loads(body))


def _file_of_ours(call: Call) -> None:
    for argument in call.arguments:
        if argument.startswith("docs/"):
            assert (ROOT / argument).is_file(), f"no {argument}"


CHECKS: dict[str, Callable[[Call], None]] = {
    "tfpipe": _tfpipe,
    "make": _make,
    "pip": _pip,
    "python": _python,
    "curl": _curl,
    "kubectl": _file_of_ours,
    "sbatch": _file_of_ours,
}
