"""The command line: light, helpful, one sentence and an exit code where something is wrong."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tfpipe import __version__
from tfpipe.cli import main
from tfpipe.cli.steps import MORE_EXAMPLES
from tfpipe.core.cluster import Share
from tfpipe.core.errors import DataError
from tfpipe.core.files import read_json
from tfpipe.stages import STEPS, runner

COMMANDS = [*STEPS]


pytestmark = pytest.mark.usefixtures("process_as_before")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings of three rows, in a working folder of their own."""
    monkeypatch.chdir(tmp_path)
    rows = [{"id": str(number), "label": "ab"[number % 2], "path": f"{number}.jpg"} for number in range(3)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "x.yaml").write_text("dataset: d\nsnapshot: {source: jsonl, path: rows.jsonl}\n")
    return tmp_path / "x.yaml"


def tfpipe(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="tfpipe")


def stub(monkeypatch: pytest.MonkeyPatch, run: Callable[..., Any]) -> None:
    """Let the step `snapshot` do this instead."""
    monkeypatch.setitem(sys.modules, "tfpipe.stages.snapshot", SimpleNamespace(run=run))


def error_lines(result: Result) -> list[str]:
    assert "Traceback" not in result.output
    return [line for line in result.stderr.splitlines() if line.startswith("error:")]


# Help


def test_help_names_every_command_with_what_it_does() -> None:
    result = tfpipe("--help")
    assert result.exit_code == 0
    assert "Example:\n    tfpipe run --config configs/student.yaml" in result.stdout
    listed = {line.split()[0]: line for line in result.stdout.split("Commands:")[1].splitlines() if line.strip()}
    beside = {"run", "status", "clean", "predict", "serve", "init", "doctor", "completion"}
    assert set(listed) == {*COMMANDS, *beside}
    for step in STEPS.values():
        assert step.summary.split(",")[0][:30] in listed[step.name]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_has_an_example_that_names_settings_that_exist(name: str) -> None:
    result = tfpipe(name, "--help")
    assert result.exit_code == 0
    assert "Example:" in result.stdout
    examples = [line.split() for line in result.stdout.splitlines() if line.strip().startswith("tfpipe ")]
    assert len(examples) == 1 + (name in MORE_EXAMPLES)
    for program, command, *pairs in examples:
        assert (program, command, pairs[0]) == ("tfpipe", name, "--config")
        for option, path in zip(pairs[::2], pairs[1::2], strict=True):
            assert option in result.stdout
            assert (Path(__file__).parents[1] / path).is_file()
    for option in ("--config", "--set", "--force", "--no-upstream", "--json"):
        assert option in result.stdout


def test_without_a_command_the_help_is_shown_and_it_is_a_usage_error() -> None:
    result = tfpipe()
    assert result.exit_code == 2
    assert "Commands:" in result.output


def test_version() -> None:
    assert __version__ in tfpipe("--version").stdout


def test_the_command_line_knows_no_tensorflow() -> None:
    # Importing TensorFlow takes seconds, and `tfpipe --help` must not.
    script = "import sys, tfpipe.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "tfpipe.cli" in loaded
    heavy = {"tensorflow", "keras", "tensorflow_datasets", "keras_hub", "keras_cv", "PIL.Image", "pandas", "sklearn"}
    assert not loaded & heavy


def test_other_models_are_named_from_where_one_stands_and_kept_as_seen_from_the_settings(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, ...]] = []
    monkeypatch.setattr(runner, "run_step", lambda name, path, overrides, **options: seen.append(overrides))
    others = ("--against", "configs/b.yaml", "--against", "c.yaml")
    tfpipe("evaluate", "--config", "configs/a.yaml", *others, "--set", "seed=1")
    assert seen == [("seed=1", 'evaluate.against=["b.yaml", "../c.yaml"]')]


# What a person got wrong


def test_settings_that_are_not_there_are_one_line_and_exit_1(config: Path) -> None:
    result = tfpipe("snapshot", "--config", "y.yaml")
    assert result.exit_code == 1
    (line,) = error_lines(result)
    assert "y.yaml: no such settings file" in line
    assert "x.yaml" in line
    assert result.stdout == ""


def test_an_unknown_key_is_one_line_and_exit_1(config: Path) -> None:
    result = tfpipe("snapshot", "--config", config, "--set", "snapshot.sauce=jsonl")
    assert result.exit_code == 1
    (line,) = error_lines(result)
    assert "Did you mean `source`?" in line


@pytest.mark.parametrize("override", ["seed", "seed=[", "seed=a: b: c"])
def test_an_override_that_cannot_be_read_is_one_line_and_exit_1(config: Path, override: str) -> None:
    result = tfpipe("snapshot", "--config", config, "--set", override)
    assert result.exit_code == 1
    (line,) = error_lines(result)
    assert f"--set {override}" in line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["snapshot"], "Missing option '--config'"),
        (["snapshot", "--config"], "requires an argument"),
        (["snapshot", "--config", "x.yaml", "--fast"], "--fast"),
        (["snapshots", "--config", "x.yaml"], "No such command 'snapshots'"),
        (["snapshot", "--config", "x.yaml", "y.yaml"], "unexpected extra argument (y.yaml)"),
    ],
)
def test_a_wrong_usage_exits_2(arguments: list[str], told: str) -> None:
    result = tfpipe(*arguments)
    assert result.exit_code == 2
    assert told in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--shard", "0/2"], "expected i/n, such as 1/4"),
        (["--shard", "3/2"], "expected i/n, such as 1/4"),
        (["--shard", "half"], "expected i/n, such as 1/4"),
        (["--shard", "1/2", "--force"], "it excludes --force"),
        (["--check", "0"], "x>=1"),
    ],
)
def test_a_share_that_is_none_is_a_wrong_usage(config: Path, arguments: list[str], told: str) -> None:
    result = tfpipe("label", "--config", config, *arguments)
    assert result.exit_code == 2
    assert told in result.stderr


def test_a_share_reaches_the_step(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(runner, "run_step", lambda name, path, overrides, **options: seen.append(options["share"]))
    tfpipe("label", "--config", config, "--shard", "2/3")
    assert seen == [Share(2, 3)]
    assert list(Share(2, 3).part_of(range(8))) == [1, 4, 7]


@pytest.mark.parametrize(("step", "other"), [("teach", "tfpipe distill"), ("label", "tfpipe teach")])
def test_a_step_that_these_settings_are_not_for_says_whose_they_are(config: Path, step: str, other: str) -> None:
    result = tfpipe(step, "--config", config)
    assert result.exit_code == 1
    (line,) = error_lines(result)
    assert "holds a dataset's settings" in line
    assert other.split(maxsplit=1)[0] in line


def test_no_upstream_names_the_command_to_run(config: Path) -> None:
    result = tfpipe("split", "--config", config, "--no-upstream")
    assert result.exit_code == 1
    (line,) = error_lines(result)
    assert f"Run `tfpipe snapshot --config {config}` first" in line
    assert tfpipe("snapshot", "--config", config).exit_code == 0


# What a step may do


def test_a_step_that_fails_is_one_line_and_exit_1(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(config: Any, workspace: Any) -> dict[str, Any]:
        raise DataError("rows.jsonl:3: no label.")

    stub(monkeypatch, run)
    result = tfpipe("snapshot", "--config", config)
    assert result.exit_code == 1
    assert error_lines(result) == ["error: rows.jsonl:3: no label."]


def test_a_file_that_the_machine_refuses_is_one_line_and_exit_1(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(config: Any, workspace: Any) -> dict[str, Any]:
        raise PermissionError(13, "Permission denied", "/locked/x")

    stub(monkeypatch, run)
    result = tfpipe("snapshot", "--config", config)
    assert result.exit_code == 1
    assert error_lines(result) == ["error: /locked/x: Permission denied."]


def test_a_fault_of_our_own_is_not_hidden(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(config: Any, workspace: Any) -> dict[str, Any]:
        raise ZeroDivisionError

    stub(monkeypatch, run)
    assert isinstance(tfpipe("snapshot", "--config", config).exception, ZeroDivisionError)


def test_an_interruption_exits_130_and_says_how_to_go_on(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(config: Any, workspace: Any) -> dict[str, Any]:
        raise KeyboardInterrupt

    stub(monkeypatch, run)
    result = tfpipe("snapshot", "--config", config)
    assert result.exit_code == 130
    assert "interrupted. The same command goes on where it stood." in result.stderr
    assert "Traceback" not in result.output
    monkeypatch.undo()
    monkeypatch.chdir(config.parent)
    assert tfpipe("snapshot", "--config", config).exit_code == 0


def test_a_request_to_end_is_an_interruption(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Schedulers and `docker stop` send SIGTERM.
    def run(config: Any, workspace: Any) -> dict[str, Any]:
        signal.raise_signal(signal.SIGTERM)
        return {}

    stub(monkeypatch, run)
    result = tfpipe("snapshot", "--config", config)
    assert result.exit_code == 130
    assert not (config.parent / "runs" / "x" / "snapshot" / "state.json").exists()


def test_a_whole_run_can_be_planned_stopped_early_checked_and_told(config: Path) -> None:
    planned = tfpipe("run", "--config", config, "--until", "snapshot", "--dry-run")
    assert planned.exit_code == 0
    assert planned.stderr.splitlines() == ["never run: snapshot x"]
    assert not (config.parent / "runs" / "x" / "snapshot").exists()
    done = tfpipe("run", "--config", config, "--until", "snapshot", "--json")
    assert json.loads(done.stdout)["snapshot x"]["num_rows"] == 3
    manifest = config.parent / "runs" / "x" / "manifest.yaml"
    checked = tfpipe("report", "--check", manifest)
    assert checked.exit_code == 0
    (raw,) = (config.parent / "data").rglob("raw.jsonl")
    raw.write_text("{}")
    changed = tfpipe("report", "--check", manifest)
    assert changed.exit_code == 3
    assert "raw.jsonl" in changed.stderr
    assert "is not as it was written" in tfpipe("status").stdout
    (run,) = json.loads(tfpipe("status", "--json").stdout)
    assert run["name"] == "x"
    assert tfpipe("clean").stderr == "Nothing to free.\n"


@pytest.mark.parametrize(
    "options",
    [(), ("--config", "x.yaml", "--from-manifest", "m.yaml"), ("--from-manifest", "m.yaml", "--until", "pack")],
)
def test_a_run_needs_settings_or_a_manifest(options: tuple[str, ...]) -> None:
    assert tfpipe("run", *options).exit_code == 2


def test_a_missed_criterion_exits_3_and_names_it(config: Path) -> None:
    config.write_text(config.read_text() + 'criteria: {snapshot: {num_rows: ">= 1000"}}\n')
    for _ in ("run", "cached"):
        result = tfpipe("snapshot", "--config", config)
        assert result.exit_code == 3
        assert error_lines(result) == ["error: snapshot x: num_rows is 3, wanted >= 1000."]


# What is printed


def test_json_is_one_object_on_standard_output_and_nothing_else_is(config: Path) -> None:
    result = tfpipe("snapshot", "--config", config, "--json")
    assert result.exit_code == 0
    metrics = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    assert (metrics["num_rows"], metrics["per_class"]) == (3, {"a": 2, "b": 1})
    assert metrics == read_json(config.parent / "runs" / "x" / "snapshot" / "metrics.json")
    assert "snapshot x: done" in result.stderr
    # The cached step answers the same.
    assert json.loads(tfpipe("snapshot", "--config", config, "--json").stdout) == metrics


def test_without_json_standard_output_is_empty(config: Path) -> None:
    result = tfpipe("snapshot", "--config", config)
    assert result.stdout == ""
    assert result.stderr.splitlines()[0] == "never run: snapshot x"


def test_json_stays_json_when_a_metric_is_no_number(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(config: Any, workspace: Any) -> dict[str, Any]:
        (config.path.parent / "data" / "d").mkdir(parents=True)
        (config.path.parent / "data" / "d" / "raw.jsonl").touch()
        return {"loss": float("nan")}

    stub(monkeypatch, run)
    result = tfpipe("snapshot", "--config", config, "--json")

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is Python's own; no other reader of JSON takes it")

    json.loads(result.stdout, parse_constant=refuse)


def test_overrides_and_force_reach_the_step(config: Path) -> None:
    assert tfpipe("snapshot", "--config", config).exit_code == 0
    assert "up to date: snapshot x" in tfpipe("snapshot", "--config", config).stderr.splitlines()[0]
    assert "done in" in tfpipe("snapshot", "--config", config, "--force").stderr
    moved = tfpipe("snapshot", "--config", config, "--set", "dataset=e", "--set", "seed=7")
    assert moved.exit_code == 0
    assert (config.parent / "data" / "e" / "raw.jsonl").is_file()
    assert read_json(config.parent / "runs" / "x" / "snapshot" / "state.json")["settings"]["seed"] == 7


@pytest.mark.parametrize(("given", "expected"), [({}, "1"), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "0")])
def test_onednn_is_on_unless_a_person_says_otherwise(given: dict[str, str], expected: str) -> None:
    script = "import tfpipe, os; print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    paths = {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", script]
    told = subprocess.run(command, check=True, env=paths | given, stdout=subprocess.PIPE, text=True)
    assert told.stdout == f"{expected}\n"
