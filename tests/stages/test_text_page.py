"""A student of texts in a page: the same answers as in Python, and how it is to write there."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from diary import EMOTIONS, OWN, make_workspace, settings
from playwright.sync_api import Browser, Page
from tokenizers import Tokenizer

from tfpipe.core.config import Config, load_config
from tfpipe.core.errors import ConfigError
from tfpipe.core.files import read_json
from tfpipe.core.steps import build_graph
from tfpipe.core.workspace import Workspace
from tfpipe.exporters.browser import open_browser, open_page
from tfpipe.models.saving import load_card
from tfpipe.stages import STEPS
from tfpipe.stages.predict import iter_answers, iter_given
from tfpipe.stages.runner import run_step

SENTENCE = f"today i feel {OWN['joy']} because"
SHARES = "() => Array.from(document.querySelectorAll('#results .percent'), (cell) => cell.textContent)"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, chromium: Path) -> Iterator[Workspace]:
    """With a student that was verified."""
    workspace = make_workspace(tmp_path_factory.mktemp("diary"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace.root)
        run_step("verify", Path("student.yaml"))
        yield workspace


@pytest.fixture(scope="module")
def student(workspace: Workspace) -> Config:
    return settings(workspace, "student")


@pytest.fixture(scope="module")
def browser(workspace: Workspace, chromium: Path) -> Iterator[Browser]:
    """After the workspace's own, for a process has one at a time."""
    with open_browser(chromium) as browser:
        yield browser


@pytest.fixture
def page(workspace: Workspace, student: Config, browser: Browser) -> Iterator[Page]:
    with open_page(workspace.exported_dir(student), {}, browser) as page:
        yield page


def write(page: Page, text: str) -> dict[str, float]:
    """Fill the field, and wait for what stands beside each name."""
    page.locator("#text").fill(text)
    page.wait_for_function("() => !document.body.classList.contains('is-busy')")
    return shown(page)


def shown(page: Page) -> dict[str, float]:
    names = page.locator("#results .name").all_text_contents()
    shares = [float(share.strip("<> %")) / 100 for share in page.evaluate(SHARES)]
    return dict(zip(names, shares, strict=True))


def test_the_page_says_what_python_says(workspace: Workspace, student: Config, page: Page) -> None:
    metrics = read_json(workspace.step_dir(student, "verify") / "metrics.json")
    assert metrics["num_examples"] == 24
    for precision in ("float32", "float16", "int8", "page"):
        assert metrics[precision]["max_probability_difference"] < 1e-4
    assert metrics["backends"].keys() == {"wasm", "cpu"}
    (expected,) = iter_answers(iter_given([SENTENCE], student), student, workspace)
    found = write(page, SENTENCE)
    # The page's weights are int8's.
    assert found == pytest.approx(dict(expected.probs), abs=0.05)
    assert max(found, key=found.__getitem__) == "joy"


def test_the_student_learned_from_its_teachers_words(workspace: Workspace, student: Config) -> None:
    assert read_json(workspace.step_dir(student, "evaluate") / "metrics.json")["top1_accuracy"] > 0.6
    assert read_json(workspace.step_dir(student, "label") / "metrics.json")["views"] == 2


def test_names_stand_in_their_places_while_one_writes(page: Page) -> None:
    for mood in EMOTIONS:
        found = write(page, f"i feel {OWN[mood]}")
        assert list(found) == list(EMOTIONS)
        assert sum(found.values()) == pytest.approx(1, abs=0.002)
        assert page.locator("#results .is-first .name").text_content() == max(found, key=found.__getitem__)
    assert page.locator("#cut-note").is_hidden()
    write(page, "very happy " * 40)
    assert page.locator("#cut-note").is_visible()
    page.locator("#clear").click()
    assert page.locator("#results").is_hidden()
    assert page.locator("#cut-note").is_hidden()
    assert page.locator("#announcement").text_content() == ""
    assert page.locator("#waiting").text_content() == "The names will stand here, each with how likely it is."
    assert page.evaluate("() => document.activeElement.id") == "text"


def test_the_last_of_what_was_typed_quickly_is_answered(page: Page) -> None:
    calm = write(page, SENTENCE)
    page.locator("#clear").click()
    page.locator("#text").press_sequentially(SENTENCE, delay=0)
    page.wait_for_function("() => !document.body.classList.contains('is-busy')")
    assert shown(page) == calm
    before = page.evaluate("() => tfpipe.numTensors()")
    write(page, SENTENCE.upper())
    assert page.evaluate("() => tfpipe.numTensors()") == before


def test_nobodys_words_travel_with_the_page(workspace: Workspace, student: Config) -> None:
    site = workspace.exported_dir(student)
    written = "".join(
        path.read_text("utf-8") for path in [*site.rglob("*.json"), *site.rglob("*.html"), *site.rglob("*.js")]
    )
    rows = (workspace.dataset_dir(student) / "raw.jsonl").read_text().splitlines()
    texts = [json.loads(row).get("text", "").strip() for row in rows]
    assert len(texts) > 200
    assert not any(text in written for text in texts if text)
    tokenizer = Tokenizer.from_str(load_card(workspace.best_path(student)).model_input.tokenizer)  # type: ignore[union-attr]
    golden = {tuple(ids) for ids in read_json(site / "model" / "golden.json")["texts"]}
    assert golden.isdisjoint(tuple(tokenizer.encode(text).ids) for text in texts)
    assert not (site / "model.tflite").exists()
    assert read_json(site / "examples" / "index.json") == {"examples": []}


def test_the_student_is_as_small_as_its_settings_say(workspace: Workspace, student: Config) -> None:
    card = load_card(workspace.best_path(student))
    told = read_json(workspace.exported_dir(student) / "model" / "preprocessing.json")
    assert len(json.loads(told["tokenizer"])["model"]["vocab"]) == 30
    assert told["max_length"] == card.model_input.max_length == 24  # type: ignore[union-attr]
    sizes = read_json(workspace.step_dir(student, "export") / "metrics.json")["weight_bytes"]
    assert sizes["int8"] < 0.3 * sizes["float32"]
    with np.load(workspace.step_dir(student, "verify") / "differences.npz") as saved:
        assert saved["page"].shape == (24, 3)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("quantize.method=aware", "quantize.method: aware is for photos: TF-MOT knows no encoders of texts"),
        ("model.vocabulary_size=0", "model.vocabulary_size"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str, told: str
) -> None:
    make_workspace(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=told):
        run_step("quantize", Path("student.yaml"), (override,))
    assert not (tmp_path / "runs").exists()


def test_a_teacher_that_transformers_could_not_read_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    (tmp_path / "diary.yaml").write_text("task: text\nsnapshot: {source: csv, path: diary.csv}\n")
    path = tmp_path / "teacher.yaml"
    path.write_text("data: {config: diary.yaml}\nmodel: {name: bert_tiny, tokenizer: t, pooling: mean}\n")
    with pytest.raises(ConfigError, match=r"teacher\.yaml: model\.pooling: mean: .*`pooling: first`"):
        build_graph(STEPS, load_config(path), "export", Workspace(tmp_path))
    path.write_text(path.read_text().replace("mean", "first"))
    assert build_graph(STEPS, load_config(path), "export", Workspace(tmp_path)).needs
