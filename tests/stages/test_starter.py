"""`init`: what it finds in a source, and settings that load and say nothing that is so anyway."""

import ast
import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

import tfpipe
from tfpipe.core.config import Config, load_config
from tfpipe.core.errors import ConfigError, DataError
from tfpipe.core.files import read_json
from tfpipe.core.secrets import expand
from tfpipe.stages.runner import run_step
from tfpipe.stages.starter import Starter, Wish, write_starter
from tfpipe.stages.starter.images import recipe_for
from tfpipe.stages.starter.naming import slug
from tfpipe.stages.starter.texts import KINDS

SECRET = "p@ss/w:rd"


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def draw(folder: str, sizes: dict[str, int], side: int = 120) -> None:
    """Photos in a folder per class, no two alike."""
    for label, count in sizes.items():
        Path(folder, label).mkdir(parents=True)
        for number in range(count):
            noise = Image.effect_noise((16, 16), 90 + number).resize((side, side))
            noise.convert("RGB").save(Path(folder, label, f"{number}.jpg"))


def init(folder: str = "configs", *, force: bool = False, online: bool = False, **said: Any) -> Starter:
    """As where nobody can be asked."""

    def ask(option: str, question: str, usual: str | None, choices: Sequence[str] = ()) -> str:
        if usual is None:
            raise LookupError(option)
        return usual

    return write_starter(Wish(**said), Path(folder), ask, force=force, can_download=lambda url: online)


def told(starter: Starter) -> str:
    return " ".join(starter.told)


def leaves(document: dict[str, Any], *above: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in document.items():
        if isinstance(value, dict):
            yield from leaves(value, *above, key)
        else:
            yield (*above, key), value


def write_csv(path: str, rows: list[dict[str, str]], delimiter: str = ",") -> None:
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


# What is written


@pytest.mark.parametrize("online", [False, True])
def test_files_load_open_with_their_command_and_repeat_no_default(online: bool) -> None:
    draw("photos", {"a": 10, "b": 10})
    starter = init(source="photos", online=online)
    assert [path.name for path in starter.paths] == ["dataset.yaml", "teacher.yaml", "student.yaml"]
    defaults = Config(path=Path("x"), name="x").model_dump()
    for path, role in zip(starter.paths, ("dataset", "teacher", "student"), strict=True):
        text = path.read_text()
        assert load_config(path).role == role
        assert re.match(rf"# .+\n#\n#   tfpipe \w+ --config {path}\n", text)
        for keys, value in leaves(yaml.safe_load(text)):
            default: Any = defaults
            for key in keys:
                default = default.get(key) if isinstance(default, dict) else None
            assert value != default or keys == ("snapshot", "source"), keys
    assert starter.next_command == "tfpipe run --config configs/student.yaml"
    weights = load_config(Path("configs/student.yaml")).network.weights
    assert (weights, "From scratch" in told(starter)) == (("imagenet", False) if online else ("none", True))


def test_the_data_steps_run_on_what_it_writes_a_class_of_one_photo_included() -> None:
    draw("photos", {"many": 30, "some": 12, "one": 1}, side=64)
    starter = init(source="photos")
    assert "Of one there are less than 3" in told(starter)
    split = run_step("split", starter.paths[-1])
    assert (split["num_classes"], split["num_rows"]) == (3, 43)
    # 64 pixels are fewer than `audit` usually wants: it would have left nothing.
    assert min(split["per_split"].values()) >= 7
    assert read_json(Path("runs/dataset/snapshot/metrics.json"))["per_class"] == {"many": 30, "one": 1, "some": 12}


@pytest.mark.parametrize("pretrained", [True, False])
@pytest.mark.parametrize("count", [6, 60, 300, 1500, 9000, 200_000, None])
def test_sizes_fit_how_much_there_is(count: int | None, pretrained: bool) -> None:
    recipe = recipe_for(count, pretrained=pretrained)
    train = int((count or 5000) * recipe.shares[0])
    # With fewer than a batch there is no step, and with few steps batch norms know little.
    assert recipe.batch_size <= train / 2 or train < 2
    assert recipe.batch_size == 64 or recipe.batch_size >= train / 100
    assert sum(recipe.shares) == pytest.approx(1)
    assert 1 <= recipe.finetune_epochs < recipe.student_epochs
    if count and count <= 9000:
        assert recipe.minutes <= 40
    more = recipe_for(2 * (count or 5000), pretrained=pretrained)
    assert more.teacher_epochs <= recipe.teacher_epochs
    assert more.minutes >= recipe.minutes or more.image_size < recipe.image_size or more.views < recipe.views


def test_nothing_is_overwritten_unless_asked_to() -> None:
    draw("photos", {"a": 4, "b": 4})
    Path("configs").mkdir()
    Path("configs/teacher.yaml").write_text("mine")
    with pytest.raises(ConfigError, match=r"configs/teacher\.yaml is there already\. --force"):
        init(source="photos")
    assert [path.name for path in Path("configs").iterdir()] == ["teacher.yaml"]
    assert Path("configs/teacher.yaml").read_text() == "mine"
    init(source="photos", force=True)
    assert load_config(Path("configs/teacher.yaml")).role == "teacher"


def test_two_folders_never_share_a_run() -> None:
    draw("photos", {"a": 4, "b": 4})
    folders = ("configs", "configs/two", "mine", "other place")
    names = [load_config(path).name for folder in folders for path in init(folder, source="photos").paths]
    assert len(set(names)) == 12
    assert "two-student" in names
    assert "mine-student" in names
    assert (load_config(Path("mine/student.yaml")).dataset_config.name) == "mine-dataset"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Flores del Sur", "flores_del_sur"), ("Añil-2", "anil_2"), ("2024", "data_2024"), ("花", "data")],
)
def test_names_become_what_a_data_set_may_be_called(name: str, expected: str) -> None:
    assert slug(name) == expected
    assert Config(path=Path("x"), name="x", dataset=expected).dataset == expected


# Regions and weights


def test_a_region_gets_a_teacher_of_its_own() -> None:
    draw("photos", {"a": 6, "b": 6})
    rows = [{"path": f"{c}/{n}.jpg", "region": "EU_SW" if n < 2 else "US"} for c in "ab" for n in range(6)]
    write_csv("meta.csv", rows)
    with pytest.raises(ConfigError, match=r"--region EU_WS: .* EU_SW, US\. Did you mean EU_SW"):
        init(source="photos", metadata=Path("meta.csv"), region="EU_WS")
    starter = init(source="photos", metadata=Path("meta.csv"), region="EU_SW")
    student, regional = load_config(starter.paths[-1]), load_config(Path("configs/teacher_regional.yaml"))
    assert [teacher.region_filter for teacher in student.teachers] == [None, "EU_SW"]
    assert regional.data.region == "EU_SW"
    assert regional.start_config
    assert regional.start_config.path == Path("configs/teacher_global.yaml")
    # Of four photos, two or three are for training: a batch must not ask for more.
    assert regional.training.batch_size == 1
    with pytest.raises(ConfigError, match="no row tells a region"):
        init("other", source="photos", region="EU_SW")


def test_files_of_weights_go_to_the_network_of_their_width() -> None:
    draw("photos", {"a": 4, "b": 4})
    Path("weights").mkdir()
    for name in ("mobilenet_v2_0.35_224_no_top.weights.h5", "mobilenet_v2_1.0_224_no_top.weights.h5", "x.h5"):
        Path("weights", name).touch()
    init(source="photos", weights="weights")
    for name, alpha in (("student", 0.35), ("teacher", 1.0)):
        model = load_config(Path(f"configs/{name}.yaml")).network
        assert (model.alpha, model.weights) == (alpha, f"weights/mobilenet_v2_{alpha}_224_no_top.weights.h5")
    with pytest.raises(ConfigError, match="no weights of MobileNetV2 there"):
        init("other", source="photos", weights="photos")


# Sources that nothing can be learned from


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({}, "0 photos, but no folder per class"),
        ({"a": 5}, "one class only"),
        ({"a": 2, "b": 2}, "no class has 3 photos"),
        ({"train": 5, "val": 5}, "train, val are splits, not classes"),
        ({"a": 5, "b": 0}, "class without images"),
    ],
)
def test_a_folder_that_teaches_nothing_is_refused_in_a_sentence(sizes: dict[str, int], message: str) -> None:
    Path("photos").mkdir()
    draw("photos", sizes)
    with pytest.raises(DataError, match=message) as caught:
        init(source="photos")
    assert "\n" not in str(caught.value)
    assert not Path("configs").exists()


@pytest.mark.parametrize("source", ["nowhere", "http://example.org/x", "table.xlsx"])
def test_what_is_no_source_is_told_with_those_there_are(source: str) -> None:
    Path("table.xlsx").touch()
    with pytest.raises(ConfigError, match=r"folder, a \.csv or \.jsonl file, `herbarium`, or an address"):
        init(source=source)


def test_without_a_source_the_option_is_named() -> None:
    with pytest.raises(LookupError, match="--source"):
        init()


# Tables


DIARY = [
    {"nr": str(n), "wer": str(n % 5), "texto_diario": f"today number {n} was a day", "mood": ["good", "bad"][n % 2]}
    for n in range(40)
]


def test_columns_are_found_by_name_and_by_what_stands_in_them() -> None:
    rows = [{key.replace("mood", "emocion_principal"): value for key, value in row.items()} for row in DIARY]
    write_csv("diary.csv", rows, delimiter=";")
    starter = init(source="diary.csv")
    assert [path.name for path in starter.paths] == ["dataset.yaml"]
    assert "--weights FOLDER" in told(starter)
    metrics = run_step("snapshot", starter.paths[0])
    assert metrics["per_class"] == dict(Counter(row["emocion_principal"] for row in rows))
    raw = [json.loads(line) for line in Path("data/diary/raw.jsonl").read_text().splitlines()]
    assert [(row["id"], row["text"]) for row in raw] == [(row["nr"], row["texto_diario"]) for row in rows]


def test_a_label_that_several_columns_could_be_is_asked_for() -> None:
    write_csv("diary.csv", DIARY)
    with pytest.raises(LookupError, match="--label-column"):
        init(source="diary.csv")
    init(source="diary.csv", fields={"label": "mood"})
    assert load_config(Path("configs/dataset.yaml")).snapshot.fields["label"] == "mood"


def test_a_column_that_is_not_there_is_told_with_the_nearest() -> None:
    write_csv("diary.csv", DIARY)
    with pytest.raises(ConfigError, match=r"no column 'moot' \(--label-column\); did you mean 'mood'\?"):
        init(source="diary.csv", fields={"label": "moot"})


def test_a_table_without_an_id_is_refused() -> None:
    write_csv("diary.csv", [{"text": f"a day like {n // 2}", "label": "ab"[n % 2]} for n in range(20)])
    with pytest.raises(DataError, match="Add a column `id`"):
        init(source="diary.csv")


def test_links_to_photos_are_fetched_and_paths_are_looked_at() -> None:
    rows = [{"label": "ab"[n % 2], "image_url": f"https://example.org/{n}.jpg"} for n in range(20)]
    Path("links.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    init(source="links.jsonl")
    snapshot = load_config(Path("configs/dataset.yaml")).snapshot
    assert snapshot.fields == {"url": "image_url", "id": "image_url"}
    assert load_config(Path("configs/dataset.yaml")).task == "image"
    paths = [{"label": row["label"], "file": f"{n}.jpg"} for n, row in enumerate(rows)]
    Path("paths.jsonl").write_text("".join(json.dumps(row) + "\n" for row in paths))
    with pytest.raises(DataError, match=r"0\.jpg is not there"):
        init("other", source="paths.jsonl")


# Databases


def test_a_password_is_written_nowhere_and_the_address_still_leads_there(monkeypatch: pytest.MonkeyPatch) -> None:
    address = "mongodb+srv://reader:{}@host.example/plants?tls=true"
    starter = init(source=address.format(SECRET), collection="seen", fields={"label": "latin_name", "path": "photo"})
    written = "".join(path.read_text() for path in starter.paths)
    assert not re.search("p@ss|w:rd", written + told(starter))
    assert "export MONGO_PASSWORD=" in told(starter)
    snapshot = load_config(starter.paths[0]).snapshot
    assert snapshot.fields == {"label": "latin_name", "url": "photo"}
    monkeypatch.setenv("MONGO_PASSWORD", SECRET)
    assert expand(snapshot.source) == address.format("p%40ss%2Fw%3Ard")


def test_a_database_needs_to_know_what_to_read() -> None:
    with pytest.raises(LookupError, match="--collection"):
        init(source="mongodb://host/plants")
    with pytest.raises(LookupError, match="--query"):
        init(source="postgresql://host/plants")
    init(source="postgresql://reader@host/plants", query="seen", task="text")
    assert load_config(Path("configs/dataset.yaml")).snapshot.source == "postgresql://reader@host/plants"


def test_the_herbarium_brings_its_synonyms() -> None:
    starter = init("mine", source="herbarium")
    snapshot = load_config(starter.paths[0]).snapshot
    assert snapshot.label_map == Path("mine/synonyms.csv")
    assert snapshot.label_map.read_text().splitlines()[0] == "synonym,label"


# Texts


def encoder(folder: str, model_type: str | None, *files: str) -> str:
    Path(folder).mkdir()
    if model_type:
        Path(folder, "config.json").write_text(json.dumps({"model_type": model_type}))
        Path(folder, "model.safetensors").touch()
    for name in files:
        Path(folder, name).write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("model_type", "files", "expected"),
    [
        ("bert", ("vocab.txt",), {"teacher": "bert", "student": "bert"}),
        ("xlm-roberta", ("sentencepiece.bpe.model",), {"teacher": "xlm_roberta"}),
        (None, ("vocab.txt",), {"teacher": "bert_mini", "student": "bert_tiny"}),
        (None, ("vocab.json", "merges.txt"), {"teacher": "roberta_mini"}),
    ],
)
def test_texts_get_the_networks_that_a_folder_is_good_for(
    model_type: str | None, files: tuple[str, ...], expected: dict[str, str]
) -> None:
    write_csv("diary.csv", DIARY)
    folder = encoder("encoder", model_type, *files)
    starter = init(source="diary.csv", fields={"label": "mood"}, weights=folder)
    written = {path.stem: load_config(path) for path in starter.paths[1:]}
    assert {stem: config.network.name for stem, config in written.items()} == expected
    for config in written.values():
        named = config.network.weights if model_type else str(config.network.tokenizer)
        assert named == folder
        # Seven words each.
        assert config.data.max_length == 32


@pytest.mark.parametrize(
    ("model_type", "files", "message"),
    [
        ("deberta", ("vocab.txt",), "it holds 'deberta'"),
        ("bert", (), "no tokenizer: expected"),
        ("bert", ("tokenizer.json",), "tokenizer.json: no tokenizer"),
    ],
)
def test_a_folder_that_is_none_is_told(model_type: str, files: tuple[str, ...], message: str) -> None:
    write_csv("diary.csv", DIARY)
    with pytest.raises(ConfigError, match=message):
        init(source="diary.csv", fields={"label": "mood"}, weights=encoder("encoder", model_type, *files))


def test_the_kinds_of_encoders_are_those_that_are_read() -> None:
    # Read, not imported: that takes TensorFlow.
    source = ast.parse((Path(tfpipe.__file__).parent / "models" / "text_folder.py").read_text())
    tables = [
        node.value for node in source.body if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "DIALECTS"
    ]
    assert isinstance(tables[0], ast.Dict)
    assert {ast.literal_eval(key) for key in tables[0].keys if key} == set(KINDS)
