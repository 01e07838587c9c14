"""What every entry of `MODELS` must do, and the sentences for settings that cannot work."""

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import erf, softmax
from sklearn.metrics import log_loss

from tfpipe.core.errors import ConfigError
from tfpipe.core.inputs import ImageInput, TextInput
from tfpipe.core.settings import DataSettings, ModelSettings
from tfpipe.models import MODELS, build_model, find_family, input_of
from tfpipe.models.applications import NAMES
from tfpipe.models.hub import NAMES as OTHER_NAMES
from tfpipe.models.saving import Card, load_model, save_model, weights_sha256

SIZE, CLASSES = 32, 5
STEPS = 40
SMALL: dict[str, dict[str, Any]] = {"mobilenetv2": {"alpha": 0.35}, "vit_micro_patch8_32": {}, "mobilenet": {}}
"""A cheap name per pattern of the table; a new entry needs one here, or below."""

DATA = DataSettings(image_size=SIZE, max_length=16)

models = keras_hub.models
SHAPE = {"image_shape": (SIZE, SIZE, 3)}
TOKENS = SHAPE | {"patch_size": 8, "num_layers": 1, "num_heads": 4, "hidden_dim": 64, "intermediate_dim": 128}
TINY: dict[str, Callable[[], keras.Model]] = {
    "dinov2": lambda: models.DINOV2Backbone(**TOKENS, position_embedding_shape=(SIZE, SIZE)),
    "dinov3": lambda: models.DINOV3Backbone(**TOKENS),
    "deit": lambda: models.DeiTBackbone(**TOKENS),
    "swin": lambda: models.SwinTransformerBackbone(
        **SHAPE, patch_size=4, embed_dim=32, depths=(2, 1), num_heads=(2, 4), window_size=4
    ),
    "keras_hub": lambda: models.ResNetBackbone(
        **SHAPE,
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
    ),
}
"""Names that have the size of their weights, and backbones to write these."""

TEXTS = ("roberta_tiny", "xlm_roberta_tiny", "bert_tiny", "distilbert_tiny")
"""Names that need a tokenizer."""
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{number}" for number in range(25))]

each_model = pytest.mark.parametrize("name", [*SMALL, *TINY, *TEXTS])


@pytest.fixture(scope="module", autouse=True)
def folders(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Presets in folders, as KerasHub writes them."""
    for name, make in TINY.items():
        folder = tmp_path_factory.mktemp(name)
        keras.utils.set_random_seed(0)
        make().save_to_preset(str(folder))
        SMALL[name] = {"weights": str(folder)}
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    SMALL.update({name: {"tokenizer": folder} for name in TEXTS})


def build(name: str, *, dropout: float = 0.0, seed: int = 3, image_size: int = SIZE, **settings: Any) -> keras.Model:
    """From a clean process, as every stage begins."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    return build_more(name, dropout=dropout, seed=seed, image_size=image_size, **settings)


def build_more(
    name: str, *, dropout: float = 0.0, seed: int = 3, image_size: int = SIZE, **settings: Any
) -> keras.Model:
    """Beside the models that there are."""
    model = ModelSettings(name=name, **SMALL.get(name, {}) | settings)
    return build_model(
        model,
        num_classes=CLASSES,
        model_input=input_of(model, DATA) if name in TEXTS else ImageInput(image_size),
        dropout=dropout,
        stochastic_depth=0.0,
        rematerialize=False,
        seed=seed,
    )


def enliven(network: keras.Model, seed: int = 1) -> keras.Model:
    """Weights as after training: fresh ones let a MobileNetV2's signals fade to 1e-11, and all logits look equal."""
    rng = np.random.default_rng(seed)

    def fresh(variable: keras.Variable) -> np.ndarray:
        if len(variable.shape) == 4:  # a convolution or the patches (He 2015, §2.2)
            fan_in = np.prod(variable.shape[:-1] if variable.shape[-1] > 1 else variable.shape[:2])
            return rng.normal(0, np.sqrt(2 / fan_in), variable.shape)
        if len(variable.shape) > 1:
            return variable.numpy() + rng.normal(0, 0.05, variable.shape)
        return variable.numpy() + rng.uniform(0, 0.1, variable.shape)

    network.set_weights([fresh(variable) for variable in network.weights])
    return network


@pytest.fixture(scope="module")
def networks() -> dict[str, keras.Model]:
    """For tests that only look."""
    return {name: enliven(build(name, dropout=0.3)) for name in (*SMALL, *TINY, *TEXTS)}


def make_card(name: str) -> Card:
    return Card(
        name,
        ["Acer", "Bellis", "Crocus", "Ähre", "Digitalis"],
        input_of(ModelSettings(name=name, **SMALL[name]), DATA),
        [3, 1, 4, 1, 0],
    )


def make_images(count: int = 3, name: str = "mobilenetv2") -> np.ndarray:
    """Noise as the network wants to see it, or random words between the marks of beginning and end."""
    spec = make_card(name).model_input
    if isinstance(spec, TextInput):
        ids = np.random.default_rng(0).integers(5, len(WORDS), (count, 12), np.int32)
        ids[:, 0], ids[:, 11] = WORDS.index("[CLS]"), WORDS.index("[SEP]")
        return ids
    pixels = np.random.default_rng(0).uniform(0, 255, (count, SIZE, SIZE, 3))
    return ((pixels - spec.mean) / spec.scale).astype(np.float32)


def test_every_pattern_has_an_example_here_and_for_the_error() -> None:
    examples = [family.example for family in MODELS.values()]
    for pattern in MODELS:
        assert any(re.fullmatch(pattern, name) for name in (*SMALL, *TINY, *TEXTS)), f"no example for {pattern}"
    for name in (*SMALL, *TINY, *TEXTS, *examples, *NAMES, *OTHER_NAMES):
        assert [bool(re.fullmatch(pattern, name)) for pattern in MODELS].count(True) == 1, name


@each_model
def test_answers_with_a_row_of_logits_per_image(name: str, networks: dict[str, keras.Model]) -> None:
    logits = networks[name](make_images(7, name), training=False).numpy()
    assert logits.shape == (7, CLASSES)
    assert logits.dtype == np.float32
    assert logits.min() < 0
    assert not np.allclose(logits.sum(axis=-1), 1, atol=1e-2)


@each_model
def test_answers_each_image_by_itself(name: str, networks: dict[str, keras.Model]) -> None:
    """In inference no image may change its neighbour's answer."""
    network, images = networks[name], make_images(4, name)
    together = network(images, training=False).numpy()
    alone = np.concatenate([network(image[None], training=False).numpy() for image in images])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)
    assert np.abs(np.diff(together, axis=0)).max() > 1e-2


@each_model
def test_dropout_acts_in_training_only(name: str, networks: dict[str, keras.Model]) -> None:
    """In inference, the same numbers as the network without dropout."""
    images = make_images(name=name)
    network, plain = networks[name], build_more(name, dropout=0.0)
    plain.set_weights(network.get_weights())
    np.testing.assert_allclose(network(images, training=False), plain(images, training=False), atol=1e-6)
    head = keras.Model(network.get_layer("pool").input, network.output)  # without batch norm, which also moves
    features = np.ones((3, *(side or 12 for side in head.input_shape[1:])), np.float32)
    dropped = [head(features, training=True).numpy() for _ in range(2)]
    assert np.abs(dropped[0] - dropped[1]).max() > 1e-3
    np.testing.assert_array_equal(head(features, training=False), head(features, training=False))


@each_model
def test_learns_eight_images_by_heart(name: str) -> None:
    """And knows them in inference too, once the averages of batch norm have had time to settle."""
    images, labels = tf.constant(make_images(8, name)), np.arange(8) % CLASSES
    network = enliven(build(name))
    variables = network.trainable_variables

    @tf.function
    def step(rate: tf.Tensor) -> tf.Tensor:
        """Each variable goes `rate` down its gradient: an Adam for the poor, traced in a third of the time."""
        with tf.GradientTape() as tape:
            logits = network(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        gradients = map(tf.convert_to_tensor, tape.gradient(loss, [v.value for v in variables]))
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.assign_sub(rate * gradient / (tf.norm(gradient) + 1e-6))
        return loss

    rates = np.concatenate([np.linspace(0.1, 0, STEPS), np.zeros(STEPS)]).astype(np.float32)
    losses = [float(step(tf.constant(rate))) for rate in rates]
    probs = softmax(network(images, training=False).numpy().astype(np.float64), axis=-1)
    assert losses[0] > 1
    assert log_loss(labels, probs, labels=np.arange(CLASSES)) < 0.1


@each_model
def test_a_saved_model_gives_equal_logits_and_its_card(
    name: str, networks: dict[str, keras.Model], tmp_path: Path
) -> None:
    network, images = networks[name], make_images(name=name)
    save_model(network, make_card(name), tmp_path / "best.keras")
    loaded, card = load_model(tmp_path / "best.keras")
    by_keras = keras.saving.load_model(tmp_path / "best.keras", compile=False, safe_mode=True)
    expected = network(images, training=False).numpy()
    assert np.ptp(expected) > 0.01
    np.testing.assert_array_equal(loaded(images, training=False), expected)
    np.testing.assert_array_equal(by_keras(images, training=False), expected)
    assert card == make_card(name)
    assert weights_sha256(loaded) == weights_sha256(network)
    assert [path.name for path in tmp_path.iterdir()] == ["best.keras"]


@pytest.mark.parametrize("name", ["vit_micro_patch8_32", "mobilenet", "dinov2"])
def test_equal_models_are_equal_bytes(name: str, tmp_path: Path) -> None:
    network = build(name, dropout=0.1)
    save_model(network, make_card(name), tmp_path / "first.keras")
    save_model(build(name, dropout=0.1), make_card(name), tmp_path / "rebuilt.keras")
    first, rebuilt = ((tmp_path / f"{each}.keras").read_bytes() for each in ("first", "rebuilt"))
    assert first == rebuilt


def test_the_time_does_not_show_in_a_file(networks: dict[str, keras.Model], tmp_path: Path) -> None:
    """Zip files tell times in steps of two seconds, and Keras writes the date."""
    network, card = networks["vit_micro_patch8_32"], make_card("vit_micro_patch8_32")
    save_model(network, card, tmp_path / "first.keras")
    time.sleep(2.1)
    save_model(network, card, tmp_path / "second.keras")
    assert (tmp_path / "second.keras").read_bytes() == (tmp_path / "first.keras").read_bytes()


@each_model
def test_unequal_models_are_unequal_bytes(name: str, networks: dict[str, keras.Model], tmp_path: Path) -> None:
    network, card = networks[name], make_card(name)
    save_model(network, card, tmp_path / "a.keras")
    save_model(network, replace(card, classes=list("abcde")), tmp_path / "b.keras")
    weights, before = network.get_weights(), weights_sha256(network)
    network.set_weights([*weights[:-1], weights[-1] + np.float32(1e-6)])
    save_model(network, card, tmp_path / "c.keras")
    assert weights_sha256(network) != before
    network.set_weights(weights)
    assert weights_sha256(network) == before
    assert len({(tmp_path / f"{letter}.keras").read_bytes() for letter in "abc"}) == 3


@pytest.mark.parametrize("name", ["mobilenetv2", "vit_micro_patch8_32"])
def test_a_file_of_backbone_weights_is_what_the_network_starts_from(name: str, tmp_path: Path) -> None:
    """All weights but the head's are then the file's, and so are the features under the head."""
    published = enliven(PUBLISHED[name]())
    published.save_weights(tmp_path / "backbone.weights.h5")
    found = backbone(build(name, weights=str(tmp_path / "backbone.weights.h5")))
    images = make_images()
    expected = published(images, training=False).numpy()
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found(images, training=False), expected, rtol=1e-4, atol=1e-4)
    for left, right in zip(found.get_weights(), published.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def published_mobilenet(alpha: float = 0.35) -> keras.Model:
    return keras.applications.MobileNetV2((SIZE, SIZE, 3), alpha=alpha, include_top=False, weights=None)


def published_vit(hidden_dim: int = 128) -> keras.Model:
    return keras_hub.models.ViTBackbone(
        image_shape=(SIZE, SIZE, 3),
        patch_size=8,
        num_layers=4,
        num_heads=4,
        hidden_dim=hidden_dim,
        mlp_dim=4 * hidden_dim,
        use_class_token=False,
    )


PUBLISHED = {"mobilenetv2": published_mobilenet, "vit_micro_patch8_32": published_vit}
"""Backbones as their libraries make them."""


def backbone(network: keras.Model) -> keras.Model:
    """All that stands below pooling, dropout and head."""
    return keras.Model(network.input, network.get_layer("pool").input)


@pytest.mark.parametrize(
    ("name", "other"),
    [("mobilenetv2", lambda: published_mobilenet(alpha=0.5)), ("vit_micro_patch8_32", lambda: published_vit(64))],
    ids=["mobilenetv2", "vit"],
)
def test_weights_of_another_shape_are_refused_in_a_sentence(
    name: str, other: Callable[[], keras.Model], tmp_path: Path
) -> None:
    path = tmp_path / "other.weights.h5"
    other().save_weights(path)
    with pytest.raises(ConfigError, match=rf"^model\.weights: {re.escape(str(path))} does not fit {name}.*\)\."):
        build(name, weights=str(path))


@pytest.mark.parametrize("name", ["mobilenetv2", "vit_micro_patch8_32", "mobilenet", "dinov2_small"])
@pytest.mark.parametrize("name_of_file", ["missing.weights.h5", "text.weights.h5", "weights.ckpt"])
def test_what_is_no_file_of_weights_is_refused_in_a_sentence(name: str, name_of_file: str, tmp_path: Path) -> None:
    path = tmp_path / name_of_file
    if not name_of_file.startswith("missing"):
        path.write_bytes(b"no weights at all")
    with pytest.raises(ConfigError, match=rf"^model\.weights: {re.escape(str(path))} (is no file|does not fit)"):
        build(name, weights=str(path))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("efficientnetb8", r"'efficientnetb8' is no model; near are efficientnetb7"),
        ("dinov2_smal", r"'dinov2_smal' is no model; near are dinov2_small"),
        ("zebra", r"'zebra' is no model; known are names like mobilenetv2, vit_base_patch16_224, efficientnet_b0"),
    ],
)
def test_a_name_that_no_family_knows_is_refused_with_names_that_are_known(name: str, told: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\.name: {told}"):
        find_family(name)


@pytest.mark.parametrize("name", ["my_mobilenetv2", "mobilenetv2_x", "vit_vast_patch14_224", "vit_base_patch16", ""])
def test_names_match_as_a_whole(name: str) -> None:
    with pytest.raises(ConfigError, match="is no model"):
        build_more(name)


def test_a_vit_wants_whole_patches() -> None:
    with pytest.raises(ConfigError, match=r"data\.image_size: 36 is no multiple of vit_micro_patch8_32's patches of 8"):
        build("vit_micro_patch8_32", image_size=36)


@pytest.mark.parametrize("name", ["mobilenetv2", "vit_micro_patch8_32"])
def test_sees_pixels_from_minus_one_to_one(name: str) -> None:
    spec = input_of(ModelSettings(name=name), DataSettings(image_size=SIZE))
    assert spec.size == SIZE
    np.testing.assert_allclose((np.array([0, 255]) - spec.mean[0]) / spec.scale[0], [-1, 1])


def test_vit_equals_the_paper_in_numpy() -> None:
    """Dosovitskiy 2020, eq. 1 to 4 but for the class token: patches, blocks with norms before, the mean of tokens."""
    network = build("vit_micro_patch8_32")
    rng = np.random.default_rng(6)
    network.set_weights([weight + rng.normal(0, 0.02, weight.shape) for weight in network.get_weights()])
    weights = {variable.path.removeprefix("vit_"): variable.numpy().astype(np.float64) for variable in network.weights}

    def norm(tokens: np.ndarray, name: str) -> np.ndarray:
        scaled = (tokens - tokens.mean(-1, keepdims=True)) / np.sqrt(tokens.var(-1, keepdims=True) + 1e-6)
        return scaled * weights[f"{name}/gamma"] + weights[f"{name}/beta"]

    def attend(tokens: np.ndarray, name: str) -> np.ndarray:
        query, key, value = (
            np.einsum("btd,dhe->bhte", tokens, weights[f"{name}/{part}/kernel"])
            + weights[f"{name}/{part}/bias"][:, None]
            for part in ("query", "key", "value")
        )
        scores = np.exp(query @ key.swapaxes(-1, -2) / np.sqrt(query.shape[-1]))
        mixed = scores / scores.sum(-1, keepdims=True) @ value
        out = f"{name}/attention_output"
        return np.einsum("bhte,hed->btd", mixed, weights[f"{out}/kernel"]) + weights[f"{out}/bias"]

    def think(tokens: np.ndarray, name: str) -> np.ndarray:
        hidden = tokens @ weights[f"{name}/dense_1/kernel"] + weights[f"{name}/dense_1/bias"]
        hidden = hidden * 0.5 * (1 + erf(hidden / np.sqrt(2)))
        return hidden @ weights[f"{name}/dense_2/kernel"] + weights[f"{name}/dense_2/bias"]

    images = make_images()
    patches = images.reshape(-1, 4, 8, 4, 8, 3).swapaxes(2, 3).reshape(-1, 16, 8 * 8 * 3)
    embedding = "patching_and_embedding/patch_embedding"
    tokens = patches @ weights[f"{embedding}/kernel"].reshape(-1, 128) + weights[f"{embedding}/bias"]
    tokens = tokens + weights["patching_and_embedding/position_embedding/embeddings"]
    for number in range(1, 5):
        block = f"encoder/transformer_block_{number}"
        tokens = tokens + attend(norm(tokens, f"{block}/ln_1"), f"{block}/mha")
        tokens = tokens + think(norm(tokens, f"{block}/ln_2"), f"{block}/mlp")
    features = norm(tokens, "encoder/ln").mean(axis=1)
    expected = features @ weights["logits/kernel"] + weights["logits/bias"]
    np.testing.assert_allclose(network(images, training=False), expected, atol=1e-4)
