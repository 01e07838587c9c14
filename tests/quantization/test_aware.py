"""The twin in tf_keras against Keras 3, TF-MOT's fake quantization against the grid, and the training of both."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpipe.core.errors import ConfigError, MismatchError, TfpipeError
from tfpipe.quantization.grid import from_int8, on_grid, to_int8
from tfpipe.quantization.precisions import WITH_KERNEL, by_channel

layers = keras.layers
SIZE, CLASSES, BATCH, STEPS = 8, 3, 16, 6


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    """TF-MOT leaves a mark in it, which must not reach the processes that other tests start."""
    before = os.environ.copy()
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def modules() -> Any:
    from tfpipe.quantization import aware, fake, twin

    return type("Modules", (), {"aware": aware, "fake": fake, "twin": twin})


def build(*, dropout: float = 0.0) -> keras.Model:
    """All kinds of layers that a student has, but for those that are folded away."""
    keras.utils.set_random_seed(5)
    inputs = keras.Input((SIZE, SIZE, 3), name="images")
    hidden = layers.ZeroPadding2D(((0, 1), (0, 1)))(inputs)
    hidden = layers.Conv2D(8, 3, strides=2, name="stem", bias_initializer="random_normal")(hidden)
    hidden = layers.ReLU(6.0)(hidden)
    branch = layers.DepthwiseConv2D(3, padding="same", name="depthwise", bias_initializer="random_normal")(hidden)
    hidden = layers.Add()([hidden, layers.Conv2D(8, 1, use_bias=False, name="project")(branch)])
    pooled = layers.Dropout(dropout, seed=1)(layers.GlobalAveragePooling2D()(hidden))
    hidden = layers.Dense(6, use_bias=False, activation="relu", name="head_projection")(pooled)
    return keras.Model(inputs, layers.Dense(CLASSES, name="logits")(hidden), name="student")


def batches_from(epoch: int) -> tf.data.Dataset:
    """Images of one colour each, another batch in every step."""

    def make(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        seed = tf.stack([tf.cast(step, tf.int32), 3])
        labels = tf.random.stateless_uniform((BATCH,), seed, 0, CLASSES, tf.int32)
        noise = tf.random.stateless_normal((BATCH, SIZE, SIZE, 3), seed)
        return tf.one_hot(labels, CLASSES)[:, None, None] + noise, tf.one_hot(labels, CLASSES)

    return tf.data.Dataset.range(epoch * STEPS, 100 * STEPS).map(make)


def losses_of(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)


def validate(network: keras.Model) -> dict[str, float]:
    images, targets = next(iter(batches_from(99)))
    logits = network(images)
    right = tf.argmax(logits, -1) == tf.argmax(targets, -1)
    return {
        "val_top1": float(tf.reduce_mean(tf.cast(right, tf.float32))),
        "val_loss": float(tf.reduce_mean(losses_of(targets, logits))),
    }


def make_plan(modules: Any, folder: Path, epochs: int = 4) -> Any:
    return modules.aware.AwarePlan(
        title="train",
        epochs=epochs,
        steps_per_epoch=STEPS,
        learning_rate=0.02,
        save_best=False,
        state_path=folder / "aware.state",
    )


@pytest.fixture(scope="module")
def trained(modules: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A training from begin to end: network, progress, what was told of each epoch, and the network as it was."""
    told: list[dict[str, float]] = []
    plan, network = make_plan(modules, tmp_path_factory.mktemp("whole")), build(dropout=0.3)
    found, done = modules.aware.train_aware(network, losses_of, batches_from, validate, plan, told.append)
    return type("Trained", (), {"network": found, "done": done, "told": told, "student": network})


def test_the_twin_answers_as_the_network_dropout_or_not(modules: Any) -> None:
    network = build(dropout=0.5)
    twin = modules.twin.build_twin(network)
    modules.twin.check_twin(network, twin)
    images = np.random.default_rng(0).normal(size=(5, SIZE, SIZE, 3)).astype(np.float32)
    np.testing.assert_allclose(twin(images, training=True), network(images, training=False), atol=1e-6)


def test_a_twin_that_answers_differently_is_refused(modules: Any) -> None:
    network = build()
    twin = modules.twin.build_twin(network)
    twin.get_layer("stem").kernel.assign_add(0.01 * tf.ones_like(twin.get_layer("stem").kernel))
    with pytest.raises(MismatchError, match="student, carried over to tf_keras, answers differently, by 0"):
        modules.twin.check_twin(network, twin)


def test_a_layer_without_a_counterpart_is_told(modules: Any) -> None:
    inputs = keras.Input((SIZE, SIZE, 3))
    network = keras.Model(inputs, layers.LayerNormalization(name="norm")(inputs))
    with pytest.raises(ConfigError, match=r"norm is a LayerNormalization\. Set it to post_training"):
        modules.twin.build_twin(network)


def test_fake_quantization_is_the_grid_to_the_bit(modules: Any) -> None:
    """Of channels from tiny to huge, where float16 scales have fewer digits or none, and of one of zeros."""
    rng = np.random.default_rng(0)
    kernel = (rng.normal(size=(3, 3, 8, 512)) * np.geomspace(1e-6, 1e4, 512)).astype(np.float32)
    kernel[..., 5] = 0
    np.testing.assert_array_equal(modules.fake.to_grid(tf.constant(kernel)), from_int8(*to_int8(kernel)))


def test_gradients_pass_through_the_rounding(modules: Any) -> None:
    kernel = tf.Variable(tf.random.stateless_normal((4, 5), (1, 2)))
    factors = tf.random.stateless_normal((4, 5), (3, 4))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(factors * modules.fake.to_grid(kernel))
    np.testing.assert_array_equal(tape.gradient(loss, kernel), factors)


def test_what_is_trained_computes_as_what_is_exported(modules: Any) -> None:
    """But for biases, of which float16 leaves a little less."""
    network = build()
    twin = modules.twin.build_twin(network, modules.fake.with_fake_quantization)
    exported = keras.models.clone_model(network)
    modules.twin.carry_back(twin, exported)
    images = np.random.default_rng(1).normal(size=(4, SIZE, SIZE, 3)).astype(np.float32)
    found = exported(images).numpy()
    np.testing.assert_allclose(found, twin(images, training=True), atol=1e-4)
    assert np.abs(found - network(images)).max() > 1e-3


def test_training_learns_and_its_weights_lie_on_the_grid(trained: Any) -> None:
    assert [epoch["epoch"] for epoch in trained.told] == [1, 2, 3, 4]
    assert trained.told == trained.done.history
    assert trained.told[-1]["loss"] < 0.7 * trained.told[0]["loss"]
    assert validate(trained.network) == {name: trained.told[-1][name] for name in ("val_top1", "val_loss")}
    for layer in trained.network.layers:
        if isinstance(layer, WITH_KERNEL):
            on_grid(by_channel(layer, layer.kernel.numpy()))


def test_the_student_itself_is_left_as_it_was(trained: Any) -> None:
    for now, then in zip(trained.student.get_weights(), build().get_weights(), strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_killed_training_goes_on_after_its_last_epoch_and_ends_in_the_same_bits(
    modules: Any, trained: Any, tmp_path: Path
) -> None:
    plan = make_plan(modules, tmp_path)

    def killed(found: dict[str, float]) -> None:
        if found["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        modules.aware.train_aware(build(), losses_of, batches_from, validate, plan, killed)
    told: list[dict[str, float]] = []
    resumed, done = modules.aware.train_aware(build(), losses_of, batches_from, validate, plan, told.append)
    assert told == trained.told[2:]
    assert done == trained.done
    for now, then in zip(resumed.get_weights(), trained.network.get_weights(), strict=True):
        np.testing.assert_array_equal(now, then)


def zeros_of(network: keras.Model) -> dict[str, int]:
    return {
        layer.name: int((layer.kernel.numpy() == 0).sum()) for layer in network.layers if isinstance(layer, WITH_KERNEL)
    }


def test_pruning_leaves_the_share_of_zeros_and_goes_on_after_a_kill(modules: Any, tmp_path: Path) -> None:
    def train(folder: str, end_epoch: Any) -> Any:
        plan = replace(make_plan(modules, tmp_path / folder), sparsity=0.75)
        plan.state_path.parent.mkdir(exist_ok=True)
        return modules.aware.train_aware(build(), losses_of, batches_from, validate, plan, end_epoch)

    def killed(found: dict[str, float]) -> None:
        if found["epoch"] == 1:
            raise KeyboardInterrupt

    network, done = train("whole", lambda epoch: None)
    kernels = {layer.name: layer.kernel for layer in network.layers if isinstance(layer, WITH_KERNEL)}
    expected = {name: round(0.75 * int(np.prod(kernel.shape))) for name, kernel in kernels.items()}
    zeros = zeros_of(network)
    assert zeros.pop("depthwise") < expected.pop("depthwise")
    # The grid takes what is very small for 0, too.
    assert all(expected[name] <= zeros[name] <= expected[name] + 2 for name in zeros)
    assert done.history[-1]["loss"] < done.history[0]["loss"]
    with pytest.raises(KeyboardInterrupt):
        train("killed", killed)
    resumed, _ = train("killed", lambda epoch: None)
    for now, then in zip(resumed.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(now, then)


def test_the_best_epoch_is_one_that_is_pruned(modules: Any, tmp_path: Path) -> None:
    scores = iter([0.9, 0.5, 0.4])

    def scored(network: keras.Model) -> dict[str, float]:
        return {"val_top1": next(scores), "val_loss": 1.0}

    plan = replace(make_plan(modules, tmp_path, epochs=3), save_best=True, sparsity=0.5)
    network, done = modules.aware.train_aware(build(), losses_of, batches_from, scored, plan, lambda epoch: None)
    assert done.best_epoch == 2
    assert zeros_of(network)["project"] >= 32


def test_the_best_epoch_is_kept_where_that_is_asked_for(modules: Any, tmp_path: Path) -> None:
    scores = iter([0.5, 0.9, 0.9, 0.7])
    losses = iter([1.0, 0.6, 0.8, 0.5])
    kept = []

    def scored(network: keras.Model) -> dict[str, float]:
        kept.append(network.get_weights())
        return {"val_top1": next(scores), "val_loss": next(losses)}

    plan = replace(make_plan(modules, tmp_path), save_best=True)
    network, done = modules.aware.train_aware(build(), losses_of, batches_from, scored, plan, lambda epoch: None)
    assert done.best_epoch == 2
    for now, then in zip(network.get_weights(), kept[1], strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_killed_training_still_has_the_best_of_the_epochs_before(modules: Any, tmp_path: Path) -> None:
    scores = {1: 0.9, 2: 0.5, 3: 0.6, 4: 0.7}
    kept: list[list[np.ndarray]] = []

    def scored(network: keras.Model) -> dict[str, float]:
        kept.append(network.get_weights())
        return {"val_top1": scores[len(kept)], "val_loss": 1.0}

    def killed(found: dict[str, float]) -> None:
        if found["epoch"] == 2:
            raise KeyboardInterrupt

    plan = replace(make_plan(modules, tmp_path), save_best=True)
    with pytest.raises(KeyboardInterrupt):
        modules.aware.train_aware(build(), losses_of, batches_from, scored, plan, killed)
    network, done = modules.aware.train_aware(build(), losses_of, batches_from, scored, plan, lambda epoch: None)
    assert (done.best_epoch, len(kept)) == (1, 4)
    for now, then in zip(network.get_weights(), kept[0], strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_loss_that_is_no_number_ends_in_one_sentence(modules: Any, tmp_path: Path) -> None:
    def wrong(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        return losses_of(targets, logits) * np.nan

    with pytest.raises(TfpipeError, match=r"train: the loss is no finite number\. Lower quantize\.learning_rate\.$"):
        modules.aware.train_aware(
            build(), wrong, batches_from, validate, make_plan(modules, tmp_path), lambda epoch: None
        )
