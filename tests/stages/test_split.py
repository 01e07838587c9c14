"""`split` as a step: what it reads and writes, what it remembers, and what `--check` proves of any file."""

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tfpipe.cli import main
from tfpipe.core.config import Config, load_config
from tfpipe.core.errors import DataError, MissingArtifactError
from tfpipe.core.files import sha256_bytes
from tfpipe.core.workspace import Workspace
from tfpipe.data.facts import Facts
from tfpipe.data.rows import Row, write_rows
from tfpipe.data.sources import jsonl
from tfpipe.stages import split

NUM_ROWS = 60


def make_rows(count: int = NUM_ROWS) -> list[Row]:
    """Two photos of each plant; every third plant grows in the south-west."""
    return [
        Row(
            id=f"{number}",
            label=f"Bellis {'perennis' if number % 4 < 2 else 'alba'}",
            region="EU_SW" if number // 2 % 3 == 0 else "EU",
            group=f"plant {number // 2}",
            url=f"https://example.org/{number}.jpg",
            extra={"altitude": number},
        )
        for number in range(count)
    ]


def facts_of(row: Row, fault: str = "") -> Facts:
    if fault:
        return Facts(row.id, fault)
    return Facts(row.id, path=f"images/{row.id}.jpg", sha256=sha256_bytes(row.id.encode()), num_bytes=100)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text("dataset: d\nseed: 5\n")
    return load_config(Path("x.yaml"))


def lay(
    rows: Sequence[Row], facts: Sequence[Facts] | None = None, near: Sequence[tuple[str, str]] = (), folder: str = "d"
) -> None:
    """What `snapshot` and `audit` leave, in the current folder."""
    write_rows(rows, Path(f"data/{folder}/raw.jsonl"))
    lines = [of.to_json() for of in facts or [facts_of(row) for row in rows]]
    Path(f"data/{folder}/facts.jsonl").write_text("".join(line + "\n" for line in lines))
    pairs = [{"one": one, "other": other, "distance": 3} for one, other in near]
    Path(f"data/{folder}/near_duplicates.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))


def read(name: str = "splits") -> dict[str, dict[str, Any]]:
    documents = map(json.loads, Path(f"data/d/{name}.jsonl").read_text().splitlines())
    return {document["id"]: document for document in documents}


def splits() -> dict[str, str]:
    return {row_id: row["split"] for row_id, row in read().items()}


# What is written


def test_rows_get_their_split_and_the_place_of_their_image_and_the_others_their_fault(config: Config) -> None:
    rows = make_rows()
    lay(rows, [facts_of(row, {"3": "timeout", "7": "too_small"}.get(row.id, "")) for row in rows])
    metrics = split.run(config, Workspace())
    kept, excluded = read(), read("excluded")
    assert kept.keys() | excluded.keys() == {row.id for row in rows}
    assert {row_id: row["fault"] for row_id, row in excluded.items()} == {"3": "timeout", "7": "too_small"}
    assert kept["10"] == {
        "id": "10",
        "label": "Bellis alba",
        "latin_name": "Bellis alba",
        "region": "EU",
        "group": "plant 5",
        "path": "images/10.jpg",
        "url": "https://example.org/10.jpg",
        "split": kept["10"]["split"],
        "altitude": 10,
        "sha256": sha256_bytes(b"10"),
        "num_bytes": 100,
    }
    counts = Counter(splits().values())
    assert metrics["per_split"] == dict(counts)
    assert metrics["shares"] == {name: count / 58 for name, count in counts.items()}
    assert metrics["excluded"] == {"timeout": 1, "too_small": 1}
    assert (metrics["num_rows"], metrics["num_groups"], metrics["num_clusters"]) == (58, 30, 30)
    assert (metrics["num_classes"], metrics["num_lost_classes"], metrics["kept_from_ledger"]) == (2, 0, 0)


def test_groups_contents_and_near_duplicates_of_the_audit_stay_together(config: Config) -> None:
    rows = [Row(id=str(number), label="x", group="p" if number < 2 else "") for number in range(50)]
    facts = [Facts(row.id, sha256="twin" if row.id in "1 2" else row.id) for row in rows]
    lay(rows, facts, near=[("2", "3"), ("3", "4")])
    metrics = split.run(config, Workspace())
    assert len({splits()[str(number)] for number in range(5)}) == 1
    assert metrics["num_clusters"] == 46


def test_texts_are_split_by_their_normalised_words(config: Config) -> None:
    rows = [Row(id=str(number), label="joy", text=f"Day {number // 3}") for number in range(90)]
    lay(rows, [Facts(row.id, sha256=sha256_bytes(row.text.lower().encode()), num_chars=len(row.text)) for row in rows])
    metrics = split.run(config, Workspace())
    assert metrics["num_clusters"] == 30
    assert all(len({splits()[str(3 * n + m)] for m in range(3)}) == 1 for n in range(30))
    assert read()["0"]["text"] == "Day 0"
    assert "path" not in read()["0"]


def test_the_plans_script_for_the_regional_subset_runs_on_it(config: Config, capsys: pytest.CaptureFixture) -> None:
    lay([replace(row, id=f"photo {row.id}") for row in make_rows()])
    split.run(config, Workspace())
    Path("data/d/splits.jsonl").rename("data/dataset_splits.jsonl")
    exec(PLAN)
    printed = capsys.readouterr().out
    rows = [json.loads(line) for line in Path("data/dataset_splits.jsonl").read_text().splitlines()]
    regional = [row for row in rows if row["region"] == "EU_SW" and row["split"] == "train"]
    assert regional
    assert f"Regional samples: {len(regional)}\nRegional species: 2\n" in printed
    written = [json.loads(line) for line in Path("data/dataset_eu_sw_train.jsonl").read_text().splitlines()]
    assert written == regional


PLAN = """
import pandas as pd

df = pd.read_json("./data/dataset_splits.jsonl", lines=True)

# Filtrar región SW Europa
regional_df = df[(df["region"] == "EU_SW") & (df["split"] == "train")]

print(f"Regional samples: {len(regional_df)}")
print(f"Regional species: {len(regional_df['latin_name'].unique())}")

# Guardar
regional_df.to_json("./data/dataset_eu_sw_train.jsonl", orient="records", lines=True)

# Stats
print(regional_df["latin_name"].value_counts().head(20))
"""


def test_a_teacher_reads_the_file_and_finds_the_images_where_they_lie(config: Config) -> None:
    lay(make_rows())
    split.run(config, Workspace())
    Path("images").mkdir()
    for row in read().values():
        Path(row["path"]).touch()
    Path("data/d/splits.jsonl").rename("data/dataset_splits.jsonl")
    Path("teacher.yaml").write_text(
        "data: {train_jsonl: data/dataset_splits.jsonl, split_name: train}\nmodel: {name: mobilenetv2}\n"
    )
    settings = load_config(Path("teacher.yaml")).dataset_config.snapshot
    rows = list(jsonl.iter_rows(settings, images_dir=Path(), seed=0))
    assert [row.path for row in rows] == [f"images/{number}.jpg" for number in range(NUM_ROWS)]
    assert {row.split for row in rows} == {"train", "validation", "test"}


# Growth


def test_rows_keep_their_splits_while_the_data_grow_and_shrink(config: Config) -> None:
    lay(make_rows(40))
    split.run(config, Workspace())
    first = splits()
    lay(random.Random(0).sample(make_rows(), NUM_ROWS))
    metrics = split.run(config, Workspace())
    assert metrics["kept_from_ledger"] == 40
    assert {row_id: splits()[row_id] for row_id in first} == first
    second = splits()
    lay(make_rows()[30:])
    split.run(config, Workspace())
    lay(make_rows(80))
    metrics = split.run(config, Workspace())
    assert metrics["kept_from_ledger"] == NUM_ROWS
    assert {row_id: splits()[row_id] for row_id in second} == second
    assert all(abs(metrics["shares"][name] - share) < 0.06 for name, share in (("train", 0.8), ("test", 0.1)))


def test_a_new_row_that_joins_two_splits_is_excluded_and_told(config: Config) -> None:
    lay(make_rows())
    split.run(config, Workspace())
    before = splits()
    one = next(row for row in make_rows() if before[row.id] == "train")
    other = next(row for row in make_rows() if before[row.id] == "test")
    rows = [*make_rows(), Row(id="new", label=one.label, group=one.group)]
    lay(rows, near=[("new", other.id)])
    metrics = split.run(config, Workspace())
    assert metrics["excluded"] == {"bridges_splits": 1}
    assert read("excluded")["new"]["fault"] == "bridges_splits"
    assert splits() == before
    # It is no leak then that the two old ones are near duplicates through it.
    assert split.check(Path("data/d/splits.jsonl"), config, Workspace())["num_leaks"] == 0


def test_other_shares_or_another_seed_begin_the_ledger_anew(config: Config) -> None:
    lay(make_rows())
    split.run(config, Workspace())
    other = load_config(Path("x.yaml"), ("split={train: 0.5, validation: 0.2, test: 0.3}",))
    metrics = split.run(other, Workspace())
    assert metrics["kept_from_ledger"] == 0
    assert metrics["per_split"]["test"] == 18
    assert split.run(other, Workspace())["kept_from_ledger"] == NUM_ROWS


def test_a_step_that_fails_writes_neither_splits_nor_ledger(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(make_rows(40))
    split.run(config, Workspace())
    before = {path.name: path.read_bytes() for path in Path("data/d").glob("[sel]*.jsonl")}
    assert set(before) == {"splits.jsonl", "excluded.jsonl", "ledger.jsonl"}
    lay(make_rows())
    written = split._kept

    def break_off(row: Row, facts: Facts, name: str) -> Row:
        if row.id == "50":
            raise DataError("broke off")
        return written(row, facts, name)

    monkeypatch.setattr(split, "_kept", break_off)
    with pytest.raises(DataError, match="broke off"):
        split.run(config, Workspace())
    assert {path.name: path.read_bytes() for path in Path("data/d").glob("[sel]*.jsonl")} == before


# What is wrong with the rows


def test_a_class_without_a_usable_row_is_left_out_counted_and_told(
    config: Config, capsys: pytest.CaptureFixture
) -> None:
    rows = [*make_rows(), Row(id="r1", label="Rosa"), Row(id="r2", label="Rosa")]
    faults = {"r1": "timeout", "r2": "unreadable", "0": "timeout"}
    lay(rows, [facts_of(row, faults.get(row.id, "")) for row in rows])
    metrics = split.run(config, Workspace())
    assert metrics["num_lost_classes"] == 1
    assert metrics["lost_classes"] == {"Rosa": {"timeout": 1, "unreadable": 1}}
    assert metrics["excluded"] == {"timeout": 2, "unreadable": 1}
    assert "1 classes have no usable row and are left out, such as Rosa (timeout: 1, unreadable: 1)" in (
        capsys.readouterr().err
    )


def test_rows_none_of_which_can_be_used_are_told_by_their_faults(config: Config) -> None:
    rows = make_rows(3)
    lay(rows, [facts_of(rows[0], "timeout"), *(facts_of(row, "unreadable") for row in rows[1:])])
    with pytest.raises(DataError, match=r"x\.yaml: none of the rows can be used \(unreadable: 2, timeout: 1\)"):
        split.run(config, Workspace())


def test_two_rows_of_one_id_are_told_by_their_id(config: Config) -> None:
    lay([*make_rows(), make_rows()[7]])
    with pytest.raises(DataError, match="id '7' stands on 2 rows"):
        split.run(config, Workspace())


@pytest.mark.parametrize("facts", [make_rows()[1:], make_rows()[:-1], make_rows(NUM_ROWS + 1)])
def test_facts_of_other_rows_are_refused(config: Config, facts: list[Row]) -> None:
    lay(make_rows(), [facts_of(row) for row in facts])
    with pytest.raises(DataError, match=r"facts\.jsonl:\d+: facts of other rows.*tfpipe audit --force"):
        split.run(config, Workspace())


# Splits that come with the rows


def with_splits(*given: str) -> list[Row]:
    return [replace(row, split=name) for row, name in zip(make_rows(len(given)), given, strict=True)]


def test_given_splits_are_kept_even_against_the_shares_and_no_ledger_is_written(config: Config) -> None:
    lay(with_splits("train", "train", "train", "train", "test", "test", "val", "val"))
    metrics = split.run(config, Workspace())
    assert list(splits().values()) == ["train"] * 4 + ["test"] * 2 + ["validation"] * 2
    assert (metrics["num_clusters"], metrics["kept_from_ledger"]) == (4, 0)
    assert not Path("data/d/ledger.jsonl").exists()


def test_rows_of_train_alone_are_kept_as_they_are(config: Config) -> None:
    lay(with_splits(*["train"] * 8))
    assert split.run(config, Workspace())["per_split"] == {"train": 8, "validation": 0, "test": 0}


def test_given_splits_that_leak_are_refused_by_the_pairs(config: Config) -> None:
    lay(with_splits("train", "test", "train", "train", "test", "test"), near=[("3", "4")])
    with pytest.raises(DataError, match=r"the given splits leak\. Mend them, or drop the `split` field") as caught:
        split.run(config, Workspace())
    assert str(caught.value).splitlines()[1:] == [
        "  0 (train) and 1 (test): same group",
        "  3 (train) and 4 (test): near duplicates",
    ]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("train", "train", ""), "row 2: no split, though others have one"),
        (("train", "train", "dev"), r"row 2: split 'dev'; allowed: train, validation, test \(`val` is accepted\)"),
        (("train", "train", "test"), "no train row for 1 of 2 classes: Bellis alba. Every class needs one"),
    ],
)
def test_given_splits_that_cannot_be_used_are_told(config: Config, given: tuple[str, ...], told: str) -> None:
    lay(with_splits(*given))
    with pytest.raises(DataError, match=told):
        split.run(config, Workspace())


# tfpipe split --check


def tfpipe(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def write_claims(path: str, *rows: dict[str, Any]) -> None:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_our_own_splits_hold_what_they_promise(config: Config) -> None:
    lay(make_rows(), near=[("1", "2"), ("2", "9")])
    split.run(config, Workspace())
    for more in ([], ["--config", "x.yaml"]):
        result = tfpipe("split", "--check", "data/d/splits.jsonl", "--json", *more)
        assert result.exit_code == 0
        assert json.loads(result.stdout)["num_leaks"] == 0
        assert json.loads(result.stdout)["judged_by"]["same group"] == NUM_ROWS


def test_a_leak_exits_3_and_names_the_pairs(config: Config) -> None:
    write_claims("s.jsonl", *({"id": n, "group": "p", "split": s} for n, s in enumerate(("train", "val", "test"))))
    result = tfpipe("split", "--check", "s.jsonl")
    assert result.exit_code == 3
    assert result.stderr.splitlines() == [
        "error: s.jsonl leaks: 1 of 1 validation rows and 1 of 1 test rows belong with a row in train. "
        "2 pairs of rows cross splits:",
        "  0 (train) and 1 (validation): same group",
        "  1 (validation) and 2 (test): same group",
    ]


def test_with_settings_the_audit_judges_too_whatever_the_order_of_options(config: Config) -> None:
    lay(make_rows(), near=[("0", "9")])
    write_claims("s.jsonl", {"id": "0", "split": "train"}, {"id": "9", "split": "test"})
    result = tfpipe("split", "--check", "s.jsonl")
    assert result.exit_code == 1
    assert "s.jsonl: nothing to judge by. Rows need `group`, `sha256`, `text` or `path`, or ids" in result.stderr
    for arguments in (("--check", "s.jsonl", "--config", "x.yaml"), ("--config", "x.yaml", "--check", "s.jsonl")):
        result = tfpipe("split", *arguments)
        assert result.exit_code == 3
        assert "  0 (train) and 9 (test): near duplicates" in result.stderr
    assert not Path("data/d/splits.jsonl").exists()


def test_the_settings_name_the_fields_of_the_file_too(config: Config) -> None:
    Path("text.yaml").write_text(
        "dataset: t\ntask: text\nsnapshot: {source: csv, path: e.csv, fields: {text: texto, id: entrada}}\n"
    )
    lay([Row(id="1", label="x")], folder="t")
    for header in ("entrada,texto,split", "id,text,split"):
        Path("e.csv").write_text(f"{header}\na,i feel,train\nb,I  feel,test\n")
        result = tfpipe("split", "--check", "e.csv", "--config", "text.yaml")
        assert result.exit_code == 3
        assert "  a (train) and b (test): same content" in result.stderr


@pytest.mark.parametrize(
    ("line", "told"), [('{"id": 1, "split": "dev"}', "s.jsonl:1: split 'dev'; allowed"), ("{", "s.jsonl:1: not JSON")]
)
def test_a_file_that_cannot_be_judged_exits_1(config: Config, line: str, told: str) -> None:
    Path("s.jsonl").write_text(line + "\n")
    result = tfpipe("split", "--check", "s.jsonl")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert told in line


def test_settings_that_were_not_audited_are_told(config: Config) -> None:
    write_claims("s.jsonl", {"id": 1, "split": "train"})
    with pytest.raises(MissingArtifactError, match=r"facts\.jsonl is missing. Run `tfpipe audit --config x\.yaml`"):
        split.check(Path("s.jsonl"), config, Workspace())


def test_without_settings_and_file_it_is_a_usage_error() -> None:
    result = tfpipe("split")
    assert result.exit_code == 2
    assert "Missing option '--config'" in result.stderr
