"""`--set`: overrides win over the file, and a bad one is told what is wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tfpipe.core.config import load_config
from tfpipe.core.errors import ConfigError
from tfpipe.core.settings import LossWeights

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "x.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_overrides_win_over_the_file_and_leave_the_rest(write: Write) -> None:
    path = write("training: {epochs: 3, batch_size: 16}\nseed: 1")
    config = load_config(path, ("training.epochs=5", "seed=9"))
    assert (config.training.epochs, config.training.batch_size, config.seed) == (5, 16, 9)
    assert load_config(path).training.epochs == 3


def test_overrides_reach_sections_that_the_file_does_not_have(write: Write) -> None:
    config = load_config(write("seed: 1"), ("distillation.loss_weights.kl_divergence=0.25",))
    assert config.distillation.loss_weights.kl_divergence == 0.25
    assert config.distillation.loss_weights.cross_entropy == LossWeights().cross_entropy


def test_override_values_are_yaml(write: Write) -> None:
    overrides = ("training.learning_rate=1e-5", "data.region=null", "callbacks.early_stopping=true", "export.title=a=b")
    config = load_config(write("data: {region: EU}"), overrides)
    assert config.training.learning_rate == pytest.approx(0.00001, rel=1e-12)
    assert config.data.region is None
    assert config.callbacks.early_stopping is True
    assert config.export.title == "a=b"


def test_the_last_override_of_a_key_wins(write: Write) -> None:
    assert load_config(write(""), ("seed=1", "seed=2")).seed == 2


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("training.epochs", "expected key.path=value"),
        ("=3", "expected key.path=value"),
        ("", "expected key.path=value"),
        ("seed.deep=3", "`seed` is not a section"),
        ("training.epoch=3", "Did you mean `epochs`"),
        ("training.epochs=many", "found 'many'"),
        ("training.epochs=[", r"training\.epochs"),
        ("training.epochs=a: b: c", r"training\.epochs"),
    ],
)
def test_a_bad_override_is_told_what_is_wrong(write: Write, override: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_config(write("seed: 1"), (override,))


def test_a_section_left_empty_keeps_its_defaults(write: Write) -> None:
    # `training:` with its lines commented out.
    config = load_config(write("seed: 3\ntraining:\n"), ("training.epochs=4",))
    assert (config.seed, config.training.epochs, config.training.batch_size) == (3, 4, 64)


def test_settings_do_not_change_once_read(write: Write) -> None:
    config = load_config(write("seed: 1"))
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 2  # type: ignore[misc]


def test_overrides_of_the_data_set_reach_its_own_file_and_every_teacher(tmp_path: Path) -> None:
    (tmp_path / "dataset.yaml").write_text("dataset: plants")
    (tmp_path / "teacher.yaml").write_text("data: {config: dataset.yaml}\nmodel: {name: mobilenetv2}")
    student = tmp_path / "student.yaml"
    student.write_text("data: {config: dataset.yaml}\nmodel: {name: mobilenetv2}\nteachers: [{config: teacher.yaml}]")
    config = load_config(student, ("snapshot.source=tfds://tf_flowers", "model.alpha=0.5"))
    assert config.network.alpha == 0.5
    assert config.dataset_config.snapshot.source == "tfds://tf_flowers"
    (teacher,) = config.teacher_configs
    assert teacher is not None and teacher.network.alpha == 1.0
    assert teacher.dataset_config.snapshot.source == "tfds://tf_flowers"
