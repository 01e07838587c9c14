"""The ledger: what was given is remembered, for the same settings, and never half written."""

from pathlib import Path

import pytest

from tfpipe.core.errors import DataError
from tfpipe.core.settings import SplitSettings
from tfpipe.data.assignment import SPLITS
from tfpipe.data.facts import Facts
from tfpipe.data.ledger import Ledger
from tfpipe.data.rows import Row
from tfpipe.data.splitting import gather

SHARES = SplitSettings()


def ledger(path: Path, seed: int = 1, settings: SplitSettings = SHARES) -> Ledger:
    return Ledger(path / "ledger.jsonl", settings, seed)


def read(of: Ledger, *ids: str) -> list[str]:
    columns = gather(((Row(id=i, label="x"), Facts(i)) for i in ids), [])
    return [(*SPLITS, "")[number] for number in of.read(columns.ids)]


def test_the_ledger_remembers_also_what_is_gone(tmp_path: Path) -> None:
    assert read(ledger(tmp_path), "a") == [""]
    ledger(tmp_path).append([("ä", "test"), ("b", "train")])
    ledger(tmp_path).append([("c", "validation")])
    assert read(ledger(tmp_path), "c", "new", "ä", "b") == ["validation", "", "test", "train"]
    assert read(ledger(tmp_path)) == []


def test_a_ledger_of_other_settings_is_not_used_and_begun_anew(tmp_path: Path) -> None:
    ledger(tmp_path).append([("a", "test")])
    others = [ledger(tmp_path, seed=2), ledger(tmp_path, settings=SplitSettings(train=0.7, validation=0.2, test=0.1))]
    for other in others:
        assert read(other, "a") == [""]
    others[1].append([("b", "train")])
    assert read(others[1], "a", "b") == ["", "train"]
    assert read(ledger(tmp_path), "a", "b") == ["", ""]


@pytest.mark.parametrize("line", ['{"id": "a", "split": "dev"}', '{"id": "a"}', "half a li"])
def test_a_ledger_that_was_tampered_with_is_told_by_its_line(tmp_path: Path, line: str) -> None:
    ledger(tmp_path).append([("a", "test")])
    with (tmp_path / "ledger.jsonl").open("a") as file:
        file.write(line)
    with pytest.raises(DataError, match=r"ledger\.jsonl:3: "):
        read(ledger(tmp_path), "a")


def test_rows_that_break_off_leave_the_ledger_as_it_was(tmp_path: Path) -> None:
    ledger(tmp_path).append([("a", "test")])
    before = (tmp_path / "ledger.jsonl").read_bytes()
    with pytest.raises(ZeroDivisionError):
        ledger(tmp_path).append((str(i), "train") for i in (1, 1 // 0))
    assert (tmp_path / "ledger.jsonl").read_bytes() == before
