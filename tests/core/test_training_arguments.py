"""Settings in the names of transformers' TrainingArguments, as the plan of the texts has them."""

import re
from pathlib import Path

import pytest

from tfpipe.core.config import Config, load_config
from tfpipe.core.errors import ConfigError


def load(folder: Path, text: str) -> Config:
    (folder / "x.yaml").write_text(text, encoding="utf-8")
    return load_config(folder / "x.yaml")


def test_the_names_of_training_arguments_are_ours_in_other_words(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "model: {name: roberta}\n"
        "training: {num_train_epochs: 3, per_device_train_batch_size: 16, learning_rate: 2e-5, weight_decay: 0.01,"
        " metric_for_best_model: f1, load_best_model_at_end: true, logging_steps: 50}\n",
    )
    assert config.training.epochs == 3
    assert config.training.per_device_train_batch_size == 16
    assert config.callbacks.best_metric == "f1"
    assert config.callbacks.save_best is True
    assert config.callbacks.logging_steps == 50


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("training: {num_train_epochs: 3, epochs: 4}", "training.num_train_epochs says what training.epochs says"),
        (
            "training: {load_best_model_at_end: false}\ncallbacks: {save_best: true}",
            "training.load_best_model_at_end says what callbacks.save_best says",
        ),
        ("training: {batch_size: 8, per_device_train_batch_size: 8}", "exclude each other"),
        ("training: {metric_for_best_model: bleu}", "callbacks.best_metric: found 'bleu'"),
    ],
)
def test_two_names_for_one_thing_are_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        load(tmp_path, text)
