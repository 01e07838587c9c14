"""Commands for the first hour: `init`, `doctor`, `completion`; and that every command's help has an example."""

import json
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import tfpipe
from tfpipe.cli import main
from tfpipe.cli.completing import iter_names
from tfpipe.core.config import Config, load_config
from tfpipe.core.errors import ConfigError
from tfpipe.stages import doctor
from tfpipe.stages.doctor import Check

COMMAND = (sys.executable, "-c", "from tfpipe.cli import main; main(prog_name='tfpipe')")


@pytest.fixture(autouse=True)
def in_its_own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process_as_before: None) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def photos() -> Path:
    for label in ("rose", "tulip"):
        Path("photos", label).mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", (120, 120), (number * 40, 0, 0)).save(Path("photos", label, f"{number}.png"))
    return Path("photos")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="tfpipe")


# Help


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_has_an_example_that_its_own_parser_takes(name: str) -> None:
    command = main.commands[name]
    told = re.search(r"Examples?:\n((?:  .+\n)+)", run(name, "--help").stdout)
    assert told
    for line in told[1].splitlines():
        program, called, *arguments = shlex.split(line.partition(">")[0])
        assert (program, called) == ("tfpipe", name)
        context = click.Context(command, info_name=name, resilient_parsing=True)
        command.make_parser(context).parse_args(list(arguments))


# init


def test_init_says_what_it_found_wrote_and_what_to_type_next(photos: Path) -> None:
    result = run("init", "--source", "photos", "--weights", "none", "--name", "Garden")
    assert result.exit_code == 0, result.output
    assert "photos: 10 photos of 2 classes (rose 5, tulip 5)." in result.stdout
    assert "Written: configs/dataset.yaml, configs/teacher.yaml, configs/student.yaml" in result.stdout
    assert result.stdout.splitlines()[-1].split(":", 1)[1].strip() == "tfpipe run --config configs/student.yaml"
    assert load_config(Path("configs/dataset.yaml")).dataset == "garden"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ((), 2, "--source is missing"),
        (("--source", "mongodb://host/db"), 2, "--collection is missing"),
        (("--source", "csv"), 2, "--path is missing"),
        (("--source", "nowhere"), 1, "no such file or folder"),
        (("--source", "photos", "--task", "text"), 1, "a folder per class holds photos"),
        (("--source", "photos", "--region", "EU"), 1, "no row tells a region"),
    ],
)
def test_what_is_missing_or_wrong_is_a_sentence(photos: Path, arguments: tuple[str, ...], code: int, told: str) -> None:
    result = run("init", *arguments, *([] if "mongodb" in str(arguments) else ["--weights", "none"]))
    assert result.exit_code == code
    assert told in result.stderr
    assert "Traceback" not in result.output
    assert not Path("configs").exists()


def test_on_a_terminal_it_asks(photos: Path) -> None:
    terminal, end = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(Path(tfpipe.__file__).parents[1])}
    asked = subprocess.Popen(
        [*COMMAND, "init", "--weights", "none"], stdin=end, stdout=subprocess.PIPE, env=environment
    )
    # A source, and the suggested name.
    os.write(terminal, b"photos\n\n")
    output, _ = asked.communicate(timeout=30)
    os.close(end)
    os.close(terminal)
    assert asked.returncode == 0
    assert b"Next:    tfpipe run --config configs/student.yaml" in output
    assert load_config(Path("configs/dataset.yaml")).dataset == "photos"


# doctor


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("note", 0), ("fail", 1)])
def test_only_what_is_needed_and_missing_fails(state: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [Check("python", "ok", "3.11"), Check("gpu", state, "none", "pip install it")]  # type: ignore[arg-type]
    monkeypatch.setattr(doctor, "examine", lambda path, overrides: checks)
    result = run("doctor")
    assert result.exit_code == code
    assert result.stdout.splitlines() == [
        "✓ python: 3.11",
        f"{'✓·✗'['onf'.index(state[0])]} gpu: none",
        "    pip install it",
    ]
    as_json = run("doctor", "--json")
    assert as_json.exit_code == code
    assert json.loads(as_json.stdout)[1] == {"name": "gpu", "state": state, "found": "none", "fix": "pip install it"}


# completion


def completions(*words: str) -> list[str]:
    """What click's script for bash gets to hear."""
    variables = {"_TFPIPE_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    result = CliRunner().invoke(main, prog_name="tfpipe", env=variables)
    return [line.partition(",")[2] for line in result.stdout.splitlines()]


def test_commands_settings_files_and_names_of_settings_are_offered() -> None:
    for name in ("configs/a.yaml", "configs/two/b.yaml", "runs/a/config.yaml", "configs/c.json", ".git/d.yaml"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    assert completions("tfpipe", "do") == ["doctor"]
    assert completions("tfpipe", "run", "--config", "") == ["configs/a.yaml", "configs/two/b.yaml"]
    assert completions("tfpipe", "predict", "--config", "configs/t") == ["configs/two/b.yaml"]
    assert completions("tfpipe", "teach", "--set", "training.ep") == ["training.epochs="]


def test_every_name_of_a_setting_that_is_offered_is_one() -> None:
    Path("x.yaml").touch()
    names = list(iter_names(Config))
    assert {"seed", "model.name", "training.epochs", "distillation.loss_weights.cross_entropy"} <= set(names)
    assert "path" not in names
    for name in names:
        try:
            load_config(Path("x.yaml"), (f"{name}=[[]]",))
        except ConfigError as error:
            assert "unknown key" not in str(error), name


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
def test_bash_runs_the_script_and_leaves_no_blank_behind_an_equals_sign() -> None:
    Path("tfpipe").write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    Path("tfpipe").chmod(0o755)
    Path("completion.sh").write_text(run("completion", "bash").stdout)
    script = """
        compopt() { echo "compopt $1 $2"; }
        source ./completion.sh
        COMP_WORDS=(./tfpipe teach --set training.ep) COMP_CWORD=3
        _tfpipe_completion ./tfpipe
        echo "${COMPREPLY[@]}"
    """
    environment = os.environ | {"PYTHONPATH": str(Path(tfpipe.__file__).parents[1])}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines() == ["compopt -o nospace", "training.epochs="]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_their_script(shell: str) -> None:
    script = run("completion", shell).stdout
    assert f"_TFPIPE_COMPLETE={shell}_complete" in script
    assert run("completion", "tcsh").exit_code == 2
