"""One small student, exported once for all tests here, and a site around it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from playwright.sync_api import Browser, Page, sync_playwright
from sites import CLASSES, SIZE, SPEC, TEMPERATURE, expected_probs, make_jpeg, make_site, serving, wait_until_ready

from tfpipe.core.errors import EnvironmentProblemError
from tfpipe.core.files import write_json
from tfpipe.core.inputs import ImageInput
from tfpipe.core.settings import ModelSettings
from tfpipe.data.views import centre_square, normalise
from tfpipe.exporters.browser import ARGUMENTS
from tfpipe.exporters.golden import make_golden
from tfpipe.exporters.graph_model import GraphModel, save_graph_model
from tfpipe.exporters.precisions import in_precisions
from tfpipe.exporters.saved_model import export_saved_model
from tfpipe.exporters.tfjs import convert
from tfpipe.models import build_model
from tfpipe.models.folding import fold_batch_norms
from tfpipe.quantization.grid import on_grid
from tfpipe.quantization.precisions import in_float16
from tfpipe.quantization.rounding import round_weights

METADATA = {"classes": ["Acer", "Bellis", "Crocus", "Digitalis", "Ähre"]}


@dataclass(frozen=True)
class Exported:
    """A network and the folders that it was exported to."""

    network: keras.Model
    folded: keras.Model
    """What was exported: the same without batch norms."""
    rounded: keras.Model
    """The folded one with its weights as int8 has them."""
    graph: GraphModel
    saved_model_dir: Path
    float32_dir: Path
    float16_dir: Path
    int8_dir: Path


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, images: np.ndarray) -> Exported:
    keras.utils.clear_session()
    keras.utils.set_random_seed(2)
    settings = ModelSettings(name="mobilenetv2", alpha=0.35)
    network = enlivened(
        build_model(
            settings,
            num_classes=len(CLASSES),
            model_input=ImageInput(SIZE),
            dropout=0.2,
            stochastic_depth=0.0,
            rematerialize=False,
            seed=2,
        )
    )
    folded = fold_batch_norms(network)
    rounded = round_weights(folded, images)
    folder = tmp_path_factory.mktemp("exported")
    export_saved_model(folded, folder / "saved_model")
    export_saved_model(rounded, folder / "rounded")
    graph = convert(folder / "saved_model")
    thumbnails = np.random.default_rng(3).integers(0, 256, (2, 32, 32, 3), np.uint8)
    networks = {"float32": network, "float16": in_float16(folded), "int8": rounded}
    for precision, model in in_precisions(graph, convert(folder / "rounded"), on_grid).items():
        save_graph_model(model, folder / precision, METADATA)
        golden = make_golden(networks[precision], thumbnails, SPEC, TEMPERATURE)
        write_json(golden, folder / precision / "golden.json")
    folders = (folder / name for name in ("saved_model", "float32", "float16", "int8"))
    return Exported(network, folded, rounded, graph, *folders)


def enlivened(network: keras.Model) -> keras.Model:
    """Weights as after training: fresh ones let the signal fade, and every image gets the same answer."""
    rng = np.random.default_rng(1)

    def fresh(variable: keras.Variable) -> np.ndarray:
        shape = variable.shape
        if len(shape) == 4:
            fan_in = np.prod(shape[:-1] if shape[-1] > 1 else shape[:2])
            return rng.normal(0, np.sqrt(2 / fan_in), shape)
        return variable.numpy() + (rng.uniform(0, 0.1, shape) if len(shape) == 1 else rng.normal(0, 0.05, shape))

    network.set_weights([fresh(variable) for variable in network.weights])
    return network


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (6, SIZE, SIZE, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    """With a camera that shows a drawing, and a host that is not this one by name."""
    camera = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    foreign = "--host-resolver-rules=MAP foreign.test 127.0.0.1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*ARGUMENTS, *camera, foreign])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site_dir(tmp_path_factory: pytest.TempPathFactory, exported: Exported) -> Path:
    try:
        return make_site(tmp_path_factory.mktemp("site"), exported.float32_dir)
    except EnvironmentProblemError as error:
        pytest.skip(f"TensorFlow.js cannot be had: {error}")


@pytest.fixture(scope="module")
def url(site_dir: Path) -> Iterator[str]:
    with serving(site_dir) as server:
        yield server.url


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """On a phone's screen."""
    context = browser.new_context(viewport={"width": 360, "height": 640}, service_workers="block")
    context.set_default_timeout(10_000)
    page = context.new_page()
    page.goto(url)
    yield wait_until_ready(page)
    context.close()


@pytest.fixture(scope="module")
def probs(exported: Exported) -> np.ndarray:
    """(num_classes,), of the site's one example, by the photo alone."""
    pixels = normalise(centre_square(tf.constant(make_jpeg()), SIZE, tf.zeros(2, tf.int32)), SPEC).numpy()
    return expected_probs(exported.network, pixels[None])[0]
