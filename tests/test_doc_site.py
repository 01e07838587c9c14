"""The documentation as a site: made from the code where it can be, whole, and with nothing loaded from elsewhere."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from doc_blocks import INLINE, PAGES, ROOT, name_of, prose_of

from tfpipe.cli import main
from tfpipe.cli.group import INTERRUPTED
from tfpipe.core.config import Config
from tfpipe.core.criteria import BUILT_IN
from tfpipe.core.errors import CriterionError, TfpipeError
from tfpipe.stages import STEPS

README, DOCS = ROOT / "README.md", ROOT / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows_of(page: str, heading: str) -> dict[str, list[str]]:
    """First cell → the others, of the table below a heading."""
    chapter = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert chapter, heading
    lines = [line for line in chapter[1].splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {first.strip("`"): others for first, *others in cells}


# What is made from the code


def test_the_reference_has_every_setting_with_its_type_default_and_docstring(generate: ModuleType) -> None:
    page = generate.settings_page()
    assert rows_of(page, "calibrate")["sets"] == [
        "`none`, `marginal`, `class_conditional`",
        '`"none"`',
        "Conformal prediction sets: one quantile, or one for each class with enough validation photos.",
    ]
    assert rows_of(page, "calibrate")["max_ece"][:2] == ["number, ≥ 0, ≤ 1", "`0.1`"]
    assert rows_of(page, "training")["batch_size"][:2] == ["whole number, ≥ 1, < 2,147,483,648, or `auto`", "`64`"]
    assert rows_of(page, "training")["layer_decay"][0] == "number, > 0, ≤ 1"
    assert rows_of(page, "model")["name"][1] == "must be given"
    assert rows_of(page, "snapshot")["path"][:2] == ["path", "unset"]
    assert rows_of(page, "distillation.loss_weights")["kl_divergence"][1] == "`0.7`"
    for name, field in Config.model_fields.items():
        inner = generate._model_in(field.annotation)
        if inner:
            assert list(rows_of(page, name)) == list(inner.model_fields)
        else:
            assert name == "path" or name in rows_of(page, "Of the file itself")
    limits = re.findall(r"^\| `(\w+)` \| `([\w.]+)` \| (.+) \|$", page, re.MULTILINE)
    assert set(limits) == {(step, key, bound) for step, bounds in BUILT_IN.items() for key, bound in bounds.items()}


def test_every_setting_says_what_it_is(generate: ModuleType) -> None:
    page = generate.settings_page()
    sections = re.findall(r"^## ([a-z][\w.]*)$", page, re.MULTILINE)
    assert len(sections) >= 20
    silent = [f"{s}.{name}" for s in sections for name, cells in rows_of(page, s).items() if not cells[-1]]
    assert silent == []


def test_the_reference_has_the_help_of_every_command(generate: ModuleType) -> None:
    page = generate.commands_page()
    for name, command in main.commands.items():
        chapter = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert f"Usage: tfpipe {name}" in chapter
        assert "-h, --help" in chapter
        for option in command.params:
            assert max(option.opts, key=len) in chapter or option.param_type_name == "argument"
    assert "Runs again when one of these settings changes: `seed`, `split`." in page


def test_settings_files_and_results_are_shown_whole(generate: ModuleType) -> None:
    pages = generate.pages()
    for path in sorted((ROOT / "configs").rglob("*.yaml")):
        assert path.read_text().rstrip() in pages["reference/examples.md"]
    for path in sorted((ROOT / "benchmarks").glob("*.md")):
        assert pages[f"results/{path.stem.lower()}.md"] == path.read_text()
        assert f"]({path.stem.lower()}.md)" in pages["results/index.md"]


# What is written by hand


def test_readme_is_short_and_lists_every_step_in_order() -> None:
    readme = README.read_text()
    assert len(readme.splitlines()) <= 250
    assert list(rows_of(readme, "The steps")) == list(STEPS)


def test_the_page_of_steps_has_a_chapter_for_each_in_order() -> None:
    chapters = re.findall(r"^## (\w+)$", (DOCS / "steps.md").read_text(), re.MULTILINE)
    assert chapters[: len(STEPS)] == list(STEPS)


def test_readme_leads_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)", README.read_text())
    assert len(targets) > 10
    assert [target for target in targets if "://" not in target and not (ROOT / target).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_of_ours_that_the_prose_names_are_there(page: Path) -> None:
    named = [told for told in INLINE.findall(prose_of(page)) if re.match(r"(tfpipe|benchmarks|configs)/", told)]
    placeholders = ("<", "*", "configs/birds/", "configs/plants/label_map.csv")
    assert [told for told in named if not any(p in told for p in placeholders) and not (ROOT / told).exists()] == []


def test_the_tables_that_a_new_thing_goes_into_are_where_the_page_says() -> None:
    told = re.findall(r"`([A-Z]+)` in `([^`]+)`", (DOCS / "extending.md").read_text())
    assert len(told) >= 9
    assert [name for name, path in told if not re.search(rf"^{name}\b", (ROOT / path).read_text(), re.MULTILINE)] == []


def test_exit_codes_are_told_as_they_are() -> None:
    table = re.findall(r"^\| (\d+) \| ", (DOCS / "trouble.md").read_text(), re.MULTILINE)
    assert list(map(int, table)) == [0, TfpipeError.exit_code, 2, CriterionError.exit_code, INTERRUPTED]


# The site


def build(project: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """As `make docs` does it."""
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install '.[docs]'")
    recipe = re.search(r"^\t(\S+) \$\(BIN\)/(mkdocs .+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe
    variable, words = recipe[1].split("="), recipe[2].split()
    command = [sys.executable, "-m", *words, "--site-dir", str(site)]
    variables = os.environ | {variable[0]: variable[1]}
    return subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_links_that_lead_nowhere_fail(tmp_path: Path) -> None:
    for name in ("docs", "configs", "benchmarks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    with (tmp_path / "docs/index.md").open("a") as page:
        page.write("\n[a page](nowhere.md), [a heading](tutorial.md#nowhere)\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode == 1
    assert "'nowhere.md'" in done.stderr
    assert "'tutorial.md#nowhere'" in done.stderr


def test_every_page_is_in_the_site(site: Path) -> None:
    built = {path.relative_to(site).with_suffix(".md").as_posix() for path in site.rglob("*.html")}
    assert {page.relative_to(DOCS).as_posix() for page in PAGES if page != README} <= built
    assert {"reference/settings.md", "reference/commands.md", "results/index.md"} <= built
    assert not list(site.rglob("*.py"))


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        loading = re.findall(r"<(?:script|img|iframe|source|link)\b[^>]*>", path.read_text())
        loaded = [url for tag in loading for url in re.findall(r"(?:src|href)=\"?([^\" >]+)", tag)]
        assert loaded
        assert [url for url in loaded if url.startswith(("http:", "https:", "//"))] == []
    for path in site.rglob("*.css"):
        assert not re.search(r"@import|url\([\"']?(?:https?:)?//", path.read_text())
