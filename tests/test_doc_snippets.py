"""Every block of code in README and docs/ is run, or held against the code: settings, commands, Python, JSON."""

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from doc_blocks import (
    INLINE,
    PAGES,
    ROOT,
    SHELLS,
    Block,
    blocks_of,
    commands_in,
    name_of,
    prose_of,
    run_script,
    write_shown_files,
)
from doc_calls import check_benchmark, check_call, parse_tfpipe
from PIL import Image
from pydantic import BaseModel, TypeAdapter

from tfpipe.cli import main
from tfpipe.core.config import Config, load_config
from tfpipe.core.criteria import check_criteria
from tfpipe.core.errors import CriterionError
from tfpipe.serving.questions import ANSWERS
from tfpipe.stages import STEPS

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
FILES = ("json", "tflite", "safetensors", "keras", "html", "md", "csv", "yaml", "png", "jsonl", "py", "npz")
"""Ends of names with a dot that are files', not settings'."""


def of_language(*languages: str) -> pytest.MarkDecorator:
    """Of manifests and scripts of a cluster tells tests/test_doc_cluster.py."""
    ours = [b for b in BLOCKS if b.language in languages and not b.title.startswith("docs/")]
    return pytest.mark.parametrize("block", ours, ids=str)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the settings that come along."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_blocks_are_of_kinds_that_are_tested() -> None:
    assert {block.language for block in BLOCKS} <= {*SHELLS, "yaml", "python", "json", "csv", "text", ""}
    assert len(BLOCKS) > 60


# Settings


@of_language("yaml")
def test_settings_load(block: Block, folder: Path) -> None:
    if block.title:
        write_shown_files(block.page, folder)
        load_config(folder / block.title).dataset_config  # noqa: B018
        return
    document = yaml.safe_load(block.text)
    config = Config(**{"name": "x", "path": Path("x.yaml")} | document)
    for step, bounds in config.criteria.items():
        assert step in STEPS
        for metric in bounds:
            # Not a number keeps no bound; a bound that cannot be read would be another error.
            one = config.model_copy(update={"criteria": {step: {metric: bounds[metric]}}})
            with pytest.raises(CriterionError):
                check_criteria(step, nested({**BUILT_IN_METRICS, metric: float("nan")}), one)


BUILT_IN_METRICS = {"failure_rate": 0.0, "num_lost_classes": 0}


def nested(metrics: dict[str, float]) -> dict[str, object]:
    """Names with dots → what is inside of what."""
    whole: dict[str, object] = {}
    for name, value in metrics.items():
        *parents, last = name.split(".")
        inner = whole
        for parent in parents:
            inner = inner.setdefault(parent, {})  # type: ignore[assignment]
        inner[last] = value
    return whole


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_settings_in_the_prose_exist_with_the_values_they_are_given(page: Path) -> None:
    for told in INLINE.findall(prose_of(page)):
        match = re.fullmatch(r"([a-z]\w*)\.([a-z_][\w.]*)(?:: (.+))?", told)
        if match and match[1] in Config.model_fields and match[2].rpartition(".")[2] not in FILES:
            annotation = annotation_of([match[1], *match[2].split(".")], told)
            if match[3]:
                TypeAdapter(annotation).validate_python(yaml.safe_load(match[3]))


def annotation_of(keys: list[str], told: str) -> object:
    model: type[BaseModel] = Config
    for number, key in enumerate(keys):
        assert key in model.model_fields, f"{told}: no setting {key}"
        annotation = model.model_fields[key].annotation
        if number < len(keys) - 1:
            candidates = [annotation, *getattr(annotation, "__args__", ())]
            model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return annotation


# Commands


@of_language(*SHELLS)
def test_commands_are_understood(block: Block, folder: Path) -> None:
    write_shown_files(block.page, folder)
    calls = run_script(commands_in(block), folder)
    assert calls
    for call in calls:
        check_call(call)


def test_a_command_that_is_wrong_is_seen(folder: Path) -> None:
    for wrong in (
        "tfpipe teach --config configs/none.yaml",
        "tfpipe teach --config configs/student.yaml",
        "tfpipe label --config configs/student.yaml --shards 1/4",
        "tfpipe teach --config configs/teacher_global.yaml --set training.epoch=3",
        "tfpipe learn --config configs/student.yaml",
        "make bread",
        "pip install 'tfpipe[serving]'",
        "curl localhost:8000/ask --json '{}'",
        "tflow",
    ):
        with pytest.raises(BaseException):  # noqa: B017
            for call in run_script(wrong, folder):
                check_call(call)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_the_prose_exist_with_their_options(page: Path) -> None:
    for told in INLINE.findall(prose_of(page)):
        if told.startswith("python -m benchmarks"):
            check_benchmark(told.split()[2])
        if told.startswith("tfpipe ") and "COMMAND" not in told:
            name, *rest = shlex.split(told)[1:]
            options = {name for option in main.commands[name].params for name in option.opts}
            assert {word for word in rest if word.startswith("--")} <= {*options, "--help"}, told
            if "--config" in rest:
                parse_tfpipe([name, *rest])


# What a document shows of the machine


@of_language("text", "")
def test_a_block_without_a_language_hides_no_command(block: Block) -> None:
    assert not re.search(r"^\s*(\$|tfpipe|make|pip|python) ", block.text, re.MULTILINE)


def test_the_numbers_of_the_demo_are_the_same_everywhere() -> None:
    told = [{line for line in b.text.splitlines() if ": done in " in line} for b in BLOCKS]
    readme = set().union(*(lines for b, lines in zip(BLOCKS, told, strict=True) if b.page == PAGES[0]))
    assert len(readme) > 10
    assert set().union(*told) == readme


@of_language("json")
def test_answers_are_as_the_server_gives_them(block: Block) -> None:
    assert ANSWERS.validate_json(block.text)


@of_language("csv")
def test_tables_have_the_columns_that_a_folder_may_have(block: Block) -> None:
    records = list(csv.DictReader(block.text.splitlines()))
    assert records
    assert set(records[0]) <= {"path", "region", "group", "id"}
    assert all(None not in record.values() for record in records)


# Truly run


@pytest.fixture
def really(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Commands run in this process, on one core: processes of their own would take longer to start than to work."""
    handler, variables = signal.getsignal(signal.SIGTERM), dict(os.environ)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    yield folder
    signal.signal(signal.SIGTERM, handler)
    os.environ.clear()
    os.environ.update(variables)


def run_shown(page: str, beginning: str, *more: str) -> None:
    """The commands of a page that begin so."""
    whole = "\n".join(commands_in(block) for block in blocks_of(ROOT / "docs" / page) if block.language in SHELLS)
    shown = [line for line in whole.splitlines() if line.startswith(beginning)]
    assert shown
    for line in shown:
        result = CliRunner().invoke(main, [*shlex.split(line, comments=True)[1:], *more])
        assert result.exit_code == 0, result.output


def run_python(page: str, folder: Path) -> None:
    for block in blocks_of(ROOT / "docs" / page):
        if block.language == "python":
            command = [sys.executable, "-c", block.text]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert done.stdout


def check_named_files(page: str, folder: Path, *beginnings: str) -> None:
    """What the prose says lies in a folder lies there."""
    named = [told for told in INLINE.findall(prose_of(ROOT / "docs" / page)) if told.startswith(beginnings)]
    assert len(named) >= 3
    assert [told for told in named if not (folder / told).exists()] == []


def draw_photos(folder: Path) -> None:
    """As the page shows them: three classes of a dozen."""
    generator = np.random.default_rng(0)
    for name in ("kestrel", "red_kite", "sparrowhawk"):
        (folder / name).mkdir(parents=True)
        for number in range(1, 13):
            pixels = generator.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).resize((128, 128)).save(folder / name / f"{number:04}.jpg")


def test_the_page_of_photos_does_what_it_says(really: Path) -> None:
    draw_photos(really / "photos")
    write_shown_files(ROOT / "docs/photos.md", really)
    run_shown("photos.md", "tfpipe split")
    check_named_files("photos.md", really, "data/birds/", "runs/birds-dataset/")
    rows = [json.loads(line) for line in (really / "data/birds/splits.jsonl").read_text().splitlines()]
    nest = {row["split"] for row in rows if row.get("group") == "nest 7"}
    assert len(nest) == 1
    run_python("photos.md", really)


def test_the_tutorial_does_what_it_says_of_the_data(really: Path) -> None:
    run_shown("tutorial.md", "tfpipe pack", "--set", "snapshot.num_images=60")
    check_named_files("tutorial.md", really, "data/herbarium/", "runs/dataset/")
    run_python("tutorial.md", really)


def test_the_page_of_texts_does_what_it_says_of_the_data(really: Path) -> None:
    emotions = ("joy", "sadness", "fear", "anger", "love", "surprise")
    lines = [f"{n},{n % 7},2025-01-01,i feel {emotions[n % 6]} on day {n},{emotions[n % 6]}," for n in range(90)]
    header = "id_entrada,id_usuario,fecha,texto_diario,emocion_principal,sentimiento_usuario"
    (really / "data").mkdir()
    (really / "data/entradas.csv").write_text("\n".join([header, *lines, ""]))
    run_shown("texts.md", "tfpipe baseline")
    assert (really / "runs/emotions_dataset/baseline/metrics.json").is_file()


def test_every_python_block_is_run() -> None:
    assert {b.page.name for b in BLOCKS if b.language == "python"} == {"photos.md", "tutorial.md"}
