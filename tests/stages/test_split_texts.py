"""`split` of texts: what is said again, and what a split row by row lets through."""

import json
from pathlib import Path
from typing import Any

import pytest

from tfpipe.core.config import Config, load_config
from tfpipe.core.errors import CriterionError
from tfpipe.core.files import sha256_bytes
from tfpipe.core.workspace import Workspace
from tfpipe.data.facts import Facts
from tfpipe.data.rows import Row, write_rows
from tfpipe.stages import split


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(name: str = "splits") -> dict[str, dict[str, Any]]:
    documents = map(json.loads, Path(f"data/d/{name}.jsonl").read_text().splitlines())
    return {document["id"]: document for document in documents}


def lay_texts(*settings: str) -> tuple[dict[str, Any], Config]:
    """Thirty texts that three wrote each; of every tenth text one says that it is another mood."""
    rows = [
        Row(str(number), "joy" if number % 30 else "sadness", text=f"Day {number // 3}", group=f"a{number % 3}")
        for number in range(90)
    ]
    write_rows(rows, Path("data/d/raw.jsonl"))
    facts = [Facts(row.id, sha256=sha256_bytes(row.text.lower().encode()), num_chars=len(row.text)) for row in rows]
    Path("data/d/facts.jsonl").write_text("".join(of.to_json() + "\n" for of in facts))
    Path("data/d/near_duplicates.jsonl").touch()
    Path("x.yaml").write_text("dataset: d\ntask: text\n")
    config = load_config(Path("x.yaml"), settings)
    return split.run(config, Workspace()), config


def test_of_texts_with_one_label_the_first_row_stays(in_folder: None) -> None:
    metrics, _ = lay_texts("split={train: 0.6, validation: 0.2, test: 0.2}")
    assert metrics["excluded"] == {"repeated": 57}
    kept = [(row["text"], row["label"]) for row in read().values()]
    assert len(kept) == len(set(kept)) == 33
    both = {text for text, label in kept if label == "sadness"}
    assert len(both) == 3
    assert all(len({row["split"] for row in read().values() if row["text"] == text}) == 1 for text in both)
    assert {row["fault"] for row in read("excluded").values()} == {"repeated"}


def test_row_by_row_all_rows_stay_and_leak_and_it_is_told(in_folder: None, capsys: pytest.CaptureFixture[str]) -> None:
    metrics, leaky = lay_texts("split={unit: row}")
    assert metrics["num_clusters"] == metrics["num_rows"] == 90
    assert "split.unit is row" in capsys.readouterr().err
    by_text: dict[str, set[str]] = {}
    for row in read().values():
        by_text.setdefault(row["text"], set()).add(row["split"])
    assert max(map(len, by_text.values())) > 1
    with pytest.raises(CriterionError, match="leaks"):
        split.check(Path("data/d/splits.jsonl"), leaky, Workspace())
