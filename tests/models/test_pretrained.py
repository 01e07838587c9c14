"""Weights from elsewhere: positions resized as PIL resizes, files and folders of any image size, and clear refusals."""

import json
import re
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
from PIL import Image

from tfpipe.core.errors import ConfigError
from tfpipe.core.inputs import ImageInput
from tfpipe.core.settings import DataSettings, ModelSettings
from tfpipe.models import build_model, input_of
from tfpipe.models.pretrained import backbone_of, resize_positions
from tfpipe.models.saving import Card, save_model

NAME = "vit_micro_patch8_32"
SHAPE = {"patch_size": 8, "num_layers": 4, "num_heads": 4, "hidden_dim": 128, "mlp_dim": 512}
TOKENS = {"patch_size": 8, "num_layers": 1, "num_heads": 2, "hidden_dim": 32}


def build(name: str, weights: Path | str, image_size: int = 32, **options: Any) -> keras.Model:
    return build_model(
        ModelSettings(name=name, weights=str(weights)),
        num_classes=3,
        model_input=ImageInput(image_size),
        **{"dropout": 0.0, "stochastic_depth": 0.0, "rematerialize": False, "seed": 1} | options,
    )


def make_vit(image_size: int = 32, **options: Any) -> keras.Model:
    keras.utils.set_random_seed(image_size)
    return keras_hub.models.ViTBackbone(image_shape=(image_size, image_size, 3), **SHAPE | options)


def make_images(image_size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (2, image_size, image_size, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One backbone for 32 pixels, with a class token, in each way of keeping it."""
    folder = tmp_path_factory.mktemp("vit")
    backbone = make_vit()
    backbone.save_weights(folder / "backbone.weights.h5")
    backbone.save(folder / "backbone.keras")
    backbone.save_to_preset(str(folder / "preset"))
    whole = build(NAME, folder / "backbone.keras")
    save_model(whole, Card(NAME, ["a", "b", "c"], ImageInput(32), [1, 1, 1]), folder / "whole.keras")
    return {
        "weights": folder / "backbone.weights.h5",
        "keras": folder / "backbone.keras",
        "preset": folder / "preset",
        "whole": folder / "whole.keras",
    }


@pytest.mark.parametrize(("side", "new_side"), [(4, 7), (14, 24), (7, 4), (24, 14), (5, 5)])
@pytest.mark.parametrize("num_extra", [0, 1, 2])
def test_positions_are_resized_on_their_grid_as_pil_does_it(side: int, new_side: int, num_extra: int) -> None:
    """PIL's bicubic is the one with antialiasing that timm chose, too."""
    rng = np.random.default_rng(1)
    embeddings = rng.normal(size=(num_extra + side**2, 3)).astype(np.float32)
    found = resize_positions(embeddings, num_extra + new_side**2)
    np.testing.assert_array_equal(found[:num_extra], embeddings[:num_extra])
    for channel in range(3):
        grid = Image.fromarray(embeddings[num_extra:, channel].reshape(side, side))
        expected = np.asarray(grid.resize((new_side, new_side), Image.Resampling.BICUBIC))
        np.testing.assert_allclose(found[num_extra:, channel].reshape(new_side, new_side), expected, atol=1e-4)


def test_a_grid_keeps_its_orientation() -> None:
    """Position embeddings that count rows still count rows when the grid is larger."""
    rows, columns = np.mgrid[:4, :4]
    embeddings = np.stack([rows.ravel(), columns.ravel()], axis=-1).astype(np.float32)
    found = resize_positions(embeddings, 64).reshape(8, 8, 2)
    assert (np.diff(found[:, :, 0], axis=0) > -0.1).all()
    np.testing.assert_allclose(found[:, :, 0], found[:, :1, 0].repeat(8, axis=1), atol=1e-5)
    np.testing.assert_allclose(found[:, :, 1], found[:1, :, 1].repeat(8, axis=0), atol=1e-5)


@pytest.mark.parametrize("kind", ["weights", "keras", "preset", "whole"])
def test_every_way_of_keeping_a_backbone_gives_its_answers(vit: dict[str, Path], kind: str) -> None:
    """The class token, which it has, is what the head then sees."""
    network = build(NAME, vit[kind])
    expected = keras.saving.load_model(vit["keras"], compile=False)(make_images())
    np.testing.assert_allclose(backbone_of(network)(make_images()), expected, atol=1e-5)
    features = keras.Model(network.input, network.get_layer("pool").output)
    np.testing.assert_allclose(features(make_images()), expected[:, 0], atol=1e-5)


@pytest.mark.parametrize("kind", ["weights", "keras", "preset", "whole"])
def test_another_image_size_changes_the_positions_alone(vit: dict[str, Path], kind: str) -> None:
    backbone = backbone_of(build(NAME, vit[kind], image_size=48))
    published = keras.saving.load_model(vit["keras"], compile=False)
    assert backbone.output_shape == (None, 37, 128)
    for ours, theirs in zip(backbone.weights, published.weights, strict=True):
        if "position_embedding" in ours.path:
            np.testing.assert_array_equal(ours.numpy(), resize_positions(theirs.numpy(), 37))
        else:
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_what_acts_in_training_is_ours_not_the_files(tmp_path: Path) -> None:
    make_vit(dropout_rate=0.4).save_weights(tmp_path / "dropped.weights.h5")
    backbone = backbone_of(build(NAME, tmp_path / "dropped.weights.h5", dropout=0.2, stochastic_depth=0.1))
    assert (backbone.dropout_rate, backbone.stochastic_depth) == (0.0, 0.1)


def test_a_name_without_a_size_takes_the_weights(vit: dict[str, Path]) -> None:
    assert backbone_of(build("vit", vit["preset"])).num_layers == 4
    with pytest.raises(ConfigError, match=r"^model\.name: vit has the size of its weights; .* vit_base_patch16_224"):
        build("vit", "none")


@pytest.mark.parametrize(
    ("name", "make", "trained"),
    [
        ("deit", lambda **o: keras_hub.models.DeiTBackbone(**TOKENS, intermediate_dim=64, **o), "position_embedding"),
        (
            "dinov2",
            lambda **o: keras_hub.models.DINOV2Backbone(
                **TOKENS, intermediate_dim=64, position_embedding_shape=(32, 32), **o
            ),
            "interpolated_position_embeddings",
        ),
    ],
)
def test_other_transformers_are_resized_too_and_keep_what_they_learn(
    name: str, make: Any, trained: str, tmp_path: Path
) -> None:
    """KerasHub's DINOv2 would lose what was learned about positions, or forget it, on the way through a file."""
    make(image_shape=(32, 32, 3)).save_to_preset(str(tmp_path / "preset"))
    network = build(name, tmp_path / "preset", image_size=48)
    assert network.output_shape == (None, 3)
    (positions,) = (v for v in network.trainable_variables if v.path.rpartition("/")[2] == trained)
    assert positions.shape[1] == 36 + (2 if name == "deit" else 1)
    positions.assign_sub(0.3 * np.random.default_rng(0).uniform(size=positions.shape))
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras", compile=False)
    np.testing.assert_array_equal(again(make_images(48)), network(make_images(48)))


def test_only_what_has_a_gradient_is_trained(tmp_path: Path) -> None:
    keras_hub.models.DINOV2Backbone(**TOKENS, intermediate_dim=64, image_shape=(32, 32, 3)).save_to_preset(
        str(tmp_path)
    )
    assert "mask_token" not in {variable.name for variable in build("dinov2", tmp_path).trainable_variables}


@pytest.mark.parametrize(
    ("preprocessor", "mean", "scale"),
    [
        (
            {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.2, 0.4, 0.5]},
            (25.5, 51, 76.5),
            (51, 102, 127.5),
        ),
        (
            {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 127.5},
            (63.75,) * 3,
            (63.75,) * 3,
        ),
        ({"image_mean": [9, 9, 9], "image_std": [3, 3, 3], "do_rescale": False}, (9,) * 3, (3,) * 3),
        ({"image_mean": [9, 9, 9], "image_std": [3, 3, 3], "do_normalize": False}, (0,) * 3, (255,) * 3),
    ],
)
def test_a_folders_own_normalisation_is_used(
    preprocessor: dict[str, Any], mean: tuple[float, ...], scale: tuple[float, ...], tmp_path: Path
) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    spec = input_of(ModelSettings(name="vit", weights=str(tmp_path)), DataSettings(image_size=32))
    np.testing.assert_allclose(spec.mean, mean)
    np.testing.assert_allclose(spec.scale, scale)


def test_a_presets_own_normalisation_is_used(vit: dict[str, Path], tmp_path: Path) -> None:
    """KerasHub writes it as `value * scale + offset`."""
    converter = keras_hub.layers.ViTImageConverter(image_size=(32, 32), scale=[0.5, 0.25, 0.1], offset=[-1, -2, 0])
    make_vit().save_to_preset(str(tmp_path))
    converter.save_to_preset(str(tmp_path))
    spec = input_of(ModelSettings(name="vit", weights=str(tmp_path)), DataSettings(image_size=32))
    np.testing.assert_allclose(spec.mean, (2, 8, 0))
    np.testing.assert_allclose(spec.scale, (2, 4, 10))
    assert (
        input_of(ModelSettings(name="vit", weights=str(vit["preset"])), DataSettings(image_size=32)).mean
        == (127.5,) * 3
    )


def write_config(folder: Path, **config: Any) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (None, r"has no config\.json; expected a folder of Hugging Face or KerasHub\."),
        ({"model_type": "bert"}, r"holds a 'bert', which no converter knows; known are vit, deit, dinov2.*swin\."),
        ({"model_type": "vit"}, r"has no model\.safetensors; write it with transformers' `save_pretrained`"),
        ({"something": "else"}, r"does not fit vit \(Unrecognized format for config\.json"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_in_a_sentence(
    config: dict[str, Any] | None, told: str, tmp_path: Path
) -> None:
    if config:
        write_config(tmp_path, **config)
    with pytest.raises(ConfigError, match=rf"^model\.weights: {re.escape(str(tmp_path))} {told}"):
        build("vit", tmp_path)


def test_a_config_that_is_no_json_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"^model\.weights: .*config\.json is no JSON\.$"):
        build("vit", tmp_path)


def test_weights_of_another_kind_are_refused_in_a_sentence(vit: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match=r"^model\.weights: .*preset does not fit deit \(it holds a ViTBackbone\)\.$"):
        build("deit", vit["preset"])


@pytest.mark.parametrize("kind", ["keras", "preset"])
def test_weights_of_another_size_are_refused_with_the_size(vit: dict[str, Path], kind: str) -> None:
    told = r"^model\.weights: .* does not fit vit_tiny_patch8_32 \(num_layers is 4 there, 12 here\)\.$"
    with pytest.raises(ConfigError, match=told):
        build("vit_tiny_patch8_32", vit[kind])


def test_a_weight_that_does_not_fit_is_told_with_both_shapes(tmp_path: Path) -> None:
    other = keras.applications.MobileNet((32, 32, 3), alpha=0.5, include_top=False, weights=None)
    other.save(tmp_path / "other.keras")
    told = r"other\.keras does not fit mobilenet \(conv1/kernel is \(3, 3, 3, 16\) there, \(3, 3, 3, 32\) here\)\.$"
    with pytest.raises(ConfigError, match=told):
        build("mobilenet", tmp_path / "other.keras")


@pytest.mark.parametrize(
    ("name", "weights", "told"),
    [
        (
            NAME,
            "vit_base_patch16_224_imagnet",
            r"'vit_base_patch16_224_imagnet' is no file.* near are vit_base",
        ),
        (
            "vit_small_patch16_224",
            "imagenet",
            r"'imagenet' is no file, folder or preset .* vit_small_patch16_224; near",
        ),
        (
            "mobilenet",
            "mobilenet_v3_large_100_imagenet",
            r"mobilenet_v3_large_100_imagenet is no file; expected",
        ),
    ],
)
def test_weights_that_nobody_knows_are_refused_with_near_ones(name: str, weights: str, told: str) -> None:
    with pytest.raises(ConfigError, match=rf"^model\.weights: {told}"):
        build(name, weights)


@pytest.mark.parametrize("weights", ["imagenet", "vit_base_patch16_224_imagenet"])
def test_a_preset_that_cannot_be_had_is_told_in_a_sentence(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", refuse)
    monkeypatch.setattr(keras_hub.layers.ImageConverter, "from_preset", refuse)
    told = r"^model\.weights: the preset vit_base_patch16_224_imagenet cannot be had \(no route to host\)\. Connect"
    with pytest.raises(ConfigError, match=told):
        build("vit_base_patch16_224", weights)
    with pytest.raises(ConfigError, match=told):
        input_of(ModelSettings(name="vit_base_patch16_224", weights=weights), DataSettings(image_size=224))


@pytest.mark.parametrize(
    ("name", "image_size", "told"),
    [
        ("dinov2_small", 32, r"32 is no multiple of dinov2_small's patches of 14"),
        (
            "deit_tiny_distilled_patch16_224",
            40,
            r"40 is no multiple of deit_tiny_distilled_patch16_224's patches",
        ),
        ("swin_tiny_patch4_window7_224", 256, r"256 is no multiple of 224, as swin_tiny_patch4_window7_224's windows"),
        ("xception", 32, r"xception cannot be built for 32 pixels \(Input size must be at least 71x71"),
    ],
)
def test_an_image_size_that_cannot_be_is_refused_in_a_sentence(name: str, image_size: int, told: str) -> None:
    with pytest.raises(ConfigError, match=rf"^data\.image_size: {told}"):
        build(name, "none", image_size=image_size)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"stochastic_depth": 0.1}, r"^regularization\.stochastic_depth: mobilenetv2 has none"),
        ({"rematerialize": True}, r"^training\.rematerialize: mobilenetv2 has no such thing"),
    ],
)
def test_what_a_family_cannot_do_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        build("mobilenetv2", "none", **options)
