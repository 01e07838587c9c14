"""Settings: the plan's files mean what they say, and a wrong file is told what would be right."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tfpipe.core.config import Config, load_config
from tfpipe.core.errors import ConfigError

PLAN = Path(__file__).parent / "plan"
PLANTS = Path(__file__).parents[2] / "configs" / "plants"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str, name: str = "x.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


# The plan's three files


def test_the_plans_global_teacher_means_what_it_says() -> None:
    config = load_config(PLAN / "teacher_global.yaml")
    assert config.role == "teacher"
    assert config.name == "teacher_global"
    assert config.network.name == "vit_base_patch16_224"
    assert config.network.pretrained is True
    assert config.network.num_classes == 9000
    # PyYAML reads `1e-5` as text, because YAML 1.1 wants a dot in it.
    assert config.training.learning_rate == pytest.approx(0.00001, rel=1e-12)
    assert (config.training.batch_size, config.training.epochs, config.training.warmup_epochs) == (64, 15, 2)
    assert config.weight_decay == 0.01
    assert config.data.train_jsonl == Path("data/dataset_splits.jsonl")
    assert config.data.split_name == "train"
    assert config.data.augmentation == "aggressive"
    assert config.data.image_size == 224
    assert config.dropout == 0.2
    assert (config.regularization.mixup_alpha, config.regularization.cutmix_alpha) == (0.8, 0.8)
    assert config.callbacks.early_stopping is True
    assert config.early_stopping_patience == 3
    assert config.callbacks.save_best is True
    assert config.callbacks.checkpoint_dir == Path("checkpoints/teacher_global")


def test_the_plans_regional_teacher_means_what_it_says() -> None:
    config = load_config(PLAN / "teacher_regional.yaml")
    assert config.role == "teacher"
    assert config.network.name == "vit_base_patch16_224"
    assert config.network.pretrained is True
    assert config.network.num_classes == 9000
    assert config.training.learning_rate == pytest.approx(0.000005, rel=1e-12)
    assert (config.training.batch_size, config.training.epochs, config.training.warmup_epochs) == (32, 20, 2)
    assert config.data.train_jsonl == Path("data/dataset_eu_sw_train.jsonl")
    assert config.data.augmentation == "moderate"
    assert config.data.image_size == 224
    # This one has them under `regularization`, where the other has `training` and `callbacks`.
    assert config.dropout == 0.3
    assert config.weight_decay == 0.02
    assert config.early_stopping_patience == 5


def test_the_plans_student_means_what_it_says() -> None:
    config = load_config(PLAN / "student.yaml")
    assert config.role == "student"
    assert (config.network.name, config.network.alpha, config.network.num_classes) == ("mobilenetv2", 1.0, 9000)
    assert config.network.pretrained is False
    assert config.dropout == 0.2
    assert config.distillation.temperature == 3.0
    assert config.distillation.loss_weights.kl_divergence == 0.7
    assert config.distillation.loss_weights.cross_entropy == 0.3
    assert [t.path for t in config.teachers] == [
        Path("results/teacher_global_v1/best_model.pt"),
        Path("results/teacher_regional_eu_sw_v1/best_model.pt"),
    ]
    assert [t.weight for t in config.teachers] == [0.5, 0.5]
    assert [t.region_filter for t in config.teachers] == [None, "EU_SW"]
    assert config.training.learning_rate == pytest.approx(0.0001, rel=1e-12)
    assert (config.training.batch_size, config.training.epochs, config.training.warmup_epochs) == (128, 20, 1)
    assert config.training.optimizer == "adam"
    # "Epochs 10-20", plan 4.2; the file says nothing of them, so half is what it must mean.
    assert config.finetune_epochs == 10
    assert config.finetune.augmentation == "aggressive"
    assert config.early_stopping_patience is None
    assert config.weight_decay == 0.0


def test_a_plan_files_rows_become_a_data_set_named_after_them() -> None:
    dataset = load_config(PLAN / "teacher_global.yaml").dataset_config
    assert dataset.dataset == "dataset_splits"
    assert dataset.snapshot.source == "jsonl"
    assert dataset.snapshot.path == Path("data/dataset_splits.jsonl")


@pytest.mark.parametrize("name", ["teacher_global", "teacher_regional", "student"])
def test_the_configs_for_plants_have_the_plans_values(name: str) -> None:
    """Every one that is no place on a disk; they may say more than the plan."""
    places = {"data.train_jsonl", "data.split_name", "callbacks.checkpoint_dir"}
    plan, ours = (yaml.safe_load((folder / f"{name}.yaml").read_text()) for folder in (PLAN, PLANTS))
    teachers = [[t.get("weight"), t.get("region_filter")] for t in plan.pop("teachers", [])]
    assert teachers == [[t.get("weight"), t.get("region_filter")] for t in ours.pop("teachers", [])]
    for section, settings in plan.items():
        for key, value in settings.items():
            assert f"{section}.{key}" in places or ours[section][key] == value, f"{section}.{key}"


# What the values come to


@pytest.mark.parametrize(
    ("text", "epochs"),
    [
        ("training: {epochs: 7}", 3),
        ("training: {epochs: 8}\nfinetune: {epochs: 0}", 0),
        ("training: {epochs: 8}\nfinetune: {epochs: 3}", 3),
        ("training: {epochs: 8}\nfinetune: {epochs: 30}", 8),
    ],
)
def test_finetuning_takes_its_epochs_out_of_all(write: Write, text: str, epochs: int) -> None:
    assert load_config(write(text)).finetune_epochs == epochs


@pytest.mark.parametrize(
    ("text", "patience"),
    [
        ("", None),
        ("callbacks: {early_stopping: true}", 3),
        ("callbacks: {early_stopping: true, early_stopping_patience: 7}", 7),
        ("callbacks: {early_stopping_patience: 7}", 7),
        ("regularization: {early_stopping_patience: 4}", 4),
        ("callbacks: {early_stopping: false, early_stopping_patience: 7}", None),
    ],
)
def test_patience(write: Write, text: str, patience: int | None) -> None:
    assert load_config(write(text)).early_stopping_patience == patience


@pytest.mark.parametrize(
    ("text", "role"),
    [
        ("dataset: flowers", "dataset"),
        ("model: {name: mobilenetv2}", "teacher"),
        ("model: {name: mobilenetv2}\nteachers: [{config: t.yaml}]", "student"),
    ],
)
def test_role(write: Write, text: str, role: str) -> None:
    assert load_config(write(text)).role == role


def test_a_step_that_needs_a_model_says_so(write: Write) -> None:
    path = write("seed: 1")
    with pytest.raises(ConfigError, match=r"x\.yaml.*`model` section"):
        _ = load_config(path).network


@pytest.mark.parametrize(
    ("where", "name"),
    [
        ("configs/student.yaml", "student"),
        ("configs/flowers/student.yaml", "flowers-student"),
        ("configs/a/configs/b/x.yaml", "b-x"),
        ("elsewhere/student.yaml", "student"),
        ("configs.yaml", "configs"),
    ],
)
def test_names_come_from_paths(write: Write, where: str, name: str) -> None:
    assert load_config(write("", where)).name == name


def test_a_name_in_the_file_wins(write: Write) -> None:
    assert load_config(write("name: mine", "configs/x.yaml")).name == "mine"


def test_an_empty_file_is_all_defaults(write: Write) -> None:
    path = write("# nothing yet\n")
    assert load_config(path) == Config(path=path, name="x")


def test_other_files_are_found_beside_the_file_not_beside_the_caller(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("dataset: meadow", "configs/sets/meadow.yaml")
    write("model: {name: vit_micro_patch16_96}\ndata: {config: sets/meadow.yaml}", "configs/first.yaml")
    write("model: {name: m, start_from: first.yaml}\ndata: {config: sets/meadow.yaml}", "configs/second.yaml")
    path = write(
        "model: {name: mobilenetv2}\ndata: {config: sets/meadow.yaml}\n"
        "teachers: [{config: second.yaml}, {path: weights/t.keras}]",
        "configs/student.yaml",
    )
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    config = load_config(path)
    assert config.dataset_config.dataset == "meadow"
    assert config.dataset_config.name == "sets-meadow"
    teacher, file_teacher = config.teacher_configs
    assert teacher is not None
    assert teacher.name == "second"
    assert file_teacher is None
    assert teacher.start_config is not None
    assert teacher.start_config.network.name == "vit_micro_patch16_96"
    assert config.start_config is None


def test_without_a_data_file_the_settings_are_the_data_sets_own(write: Write) -> None:
    config = load_config(write("dataset: own"))
    assert config.dataset_config is config


# What is wrong is said, with what would be right


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("modle: {name: m}", "modle: unknown key. Did you mean `model`?"),
        ("training: {lerning_rate: 1}", "training.lerning_rate: unknown key. Did you mean `learning_rate`?"),
        (
            "model: {name: m}\nteachers: [{config: t.yaml, wieght: 1}]",
            "teachers.0.wieght: unknown key. Did you mean `weight`?",
        ),
        (
            "distillation: {loss_weights: {kl: 0.5, cross_entropi: 0.5}}",
            "distillation.loss_weights.cross_entropi: unknown key. Did you mean `cross_entropy`?",
        ),
        ("pack: {zzzz: 1}", "pack.zzzz: unknown key. Allowed: version, num_shards, classes."),
    ],
)
def test_an_unknown_key_is_told_the_nearest(write: Write, text: str, told: str) -> None:
    path = write(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert f"{path}: {told}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("training: {epochs: ten}", ["training.epochs", "found 'ten'", "integer"]),
        ("training: {epochs: 0}", ["training.epochs", "found 0", "greater than or equal to 1"]),
        ("training: {epochs: true}", ["training.epochs", "found True", "a number is needed"]),
        ("training: {clip_norm: yes}", ["training.clip_norm", "found True", "a number is needed"]),
        ("training: {epochs: 2.5}", ["training.epochs", "found 2.5", "integer"]),
        ("training: {learning_rate: -1e-5}", ["training.learning_rate", "found '-1e-5'", "greater than 0"]),
        ("training: {learning_rate: .nan}", ["training.learning_rate", "found nan"]),
        ("training: {optimizer: adma}", ["training.optimizer", "found 'adma'", "'adamw', 'adam' or 'sgd'"]),
        ("regularization: {dropout: 2}", ["regularization.dropout", "found 2", "less than or equal to 1"]),
        ("training: 3", ["training", "found 3"]),
        ("audit: {tokenizer: words}", ["audit.tokenizer", "`task` is image"]),
        ("dataset: ../up", ["dataset", "found '../up'"]),
        ("model: {alpha: 1.0}", ["model.name", "missing"]),
        ("snapshot: {source: folder}", ["snapshot", "needs `path`"]),
        ("split: {train: 0.9}", ["split", "must be 1"]),
        ("data: {config: a.yaml, train_jsonl: b.jsonl}", ["data", "exclude each other"]),
        ("model: {name: m}\nteachers: [{weight: 1}]", ["teachers.0", "`config` or `path`"]),
        ("model: {name: m}\nteachers: [{config: a, path: b}]", ["teachers.0", "`config` or `path`"]),
        ("teachers: [{config: t.yaml}]", ["need a `model`"]),
        ("model: {name: m, pretrained: true, weights: w.h5}", ["model", "drop one of the two"]),
        ("model: {name: m, pretrained: true, start_from: t.yaml}", ["model", "excludes"]),
        ("criteria: {evaluate: {top1_accuracy: 0.8}}", ["criteria.evaluate.top1_accuracy", "found 0.8", "string"]),
        ("training: {sampling: by_class}", ["training.sampling", "'square_root'"]),
        (
            "model: {name: m}\nteachers: [{path: t.keras}]\nfinetune: {epochs: 0}\ntraining: {class_weights: balanced}",
            ["act in fine-tuning"],
        ),
    ],
)
def test_a_wrong_value_names_file_key_and_what_was_found(write: Write, text: str, parts: list[str]) -> None:
    path = write(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    for part in parts:
        assert part in str(caught.value)


def test_every_mistake_is_told_at_once(write: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write("training: {epochs: ten}\nsead: 1\nmodel: {name: 3}"))
    told = str(caught.value).splitlines()
    assert len(told) == 3
    assert all(any(key in line for line in told) for key in ("training.epochs", "sead", "model.name"))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("training: {weight_decay: 0.1}\nregularization: {weight_decay: 0.2}", ("weight decay", "0.1", "0.2")),
        ("model: {name: m, dropout_rate: 0.1}\nregularization: {dropout: 0.3}", ("dropout", "0.1", "0.3")),
        (
            "callbacks: {early_stopping_patience: 3}\nregularization: {early_stopping_patience: 5}",
            ("early_stopping_patience", "3", "5"),
        ),
    ],
)
def test_two_sections_that_disagree_are_told(write: Write, text: str, values: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="given twice") as caught:
        load_config(write(text))
    for value in values:
        assert value in str(caught.value)


def test_two_sections_that_agree_are_taken(write: Write) -> None:
    config = load_config(write("training: {weight_decay: 0.1}\nregularization: {weight_decay: 0.1}"))
    assert config.weight_decay == 0.1


def test_zero_in_one_section_is_a_value_like_any_other(write: Write) -> None:
    text = "model: {name: m, dropout_rate: 0.0}\nregularization: {dropout: 0.3}"
    with pytest.raises(ConfigError, match="dropout is given twice"):
        load_config(write(text))


def test_a_missing_file_lists_those_that_are_there(write: Write, tmp_path: Path) -> None:
    write("", "student.yaml")
    write("", "teacher.yaml")
    write("", "notes.txt")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "studnet.yaml")
    told = str(caught.value)
    assert (tmp_path / "studnet.yaml").as_posix() in told
    assert (tmp_path / "student.yaml").as_posix() in told
    assert (tmp_path / "teacher.yaml").as_posix() in told
    assert "notes.txt" not in told


def test_a_missing_folder_says_that_nothing_is_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no YAML files"):
        load_config(tmp_path / "nowhere" / "x.yaml")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("training: {epochs: 3", "not YAML"),
        ("a: b: c", "not YAML"),
        ("- model\n- training", "found a list"),
        ("just words", "found a str"),
        ("seed: 1\ndata: {}\nseed: 2", "`seed` stands twice.*line 3"),
        ("training: {epochs: 3, epochs: 4}", "`epochs` stands twice"),
    ],
)
def test_what_is_no_settings_file_is_told_so(write: Write, text: str, told: str) -> None:
    path = write(text)
    with pytest.raises(ConfigError, match=told) as caught:
        load_config(path)
    assert str(path) in str(caught.value)


def test_bytes_that_are_no_text_are_told_so(write: Write) -> None:
    path = write("")
    path.write_bytes(b"title: caf\xe9\n")
    with pytest.raises(ConfigError, match="not YAML"):
        load_config(path)


def test_a_key_that_is_no_text_is_told_so(write: Write) -> None:
    # `yes`, `no` and `on` are truth values in YAML 1.1, and numbers are numbers.
    with pytest.raises(ConfigError, match="1"):
        load_config(write("1: 2"))


# Labels that are not stored, or not of views


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("label: {views: 2}\ndistillation: {feature_weight: 0.1}", "feature_weight needs .* set `label.views: live`"),
        ("label: {views: unaugmented, cutmix_alpha: 1}", "label: .*labels are of plain photos; drop `mixup_alpha`"),
        ("label: {views: live}\nteachers: [{path: soft.npz}]", "soft.npz holds answers and no network"),
        ("label: {views: live}\nteachers: [{path: t.keras, temperature: calibrated}]", "give live teachers a number"),
    ],
)
def test_what_kinds_of_labels_cannot_do_is_told_in_a_sentence(write: Write, settings: str, told: str) -> None:
    teachers = "" if "teachers" in settings else "teachers: [{path: t.keras}]\n"
    with pytest.raises(ConfigError, match=told) as caught:
        load_config(write(f"model: {{name: mobilenetv2}}\n{teachers}{settings}"))
    assert "\n" not in str(caught.value)
