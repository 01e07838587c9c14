"""A photo model behind `serve`: the same answers as `predict`, and photos that are none do not reach anybody else's."""

import asyncio
import gc
from base64 import b64encode

import httpx2
import numpy as np
import pytest
from colours import COLOURS, MEANS, SIZES, make_workspace, photo, settings, write_teacher

from tfpipe.core.config import Config
from tfpipe.core.errors import DataError
from tfpipe.core.files import write_json
from tfpipe.core.workspace import Workspace
from tfpipe.serving.app import build_app
from tfpipe.serving.service import Service
from tfpipe.stages.predict import Asked, load_predictor
from tfpipe.stages.serve import load, load_drift, load_for_good, warm_up


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="module")
def teacher(workspace: Workspace) -> Config:
    """As `teach` and `calibrate` leave it."""
    config = settings(workspace, "teacher", "serve.max_delay_ms=200")
    write_teacher(workspace, config, np.array(MEANS) * 20)
    write_json({"temperature": 1.5, "threshold": 0.6}, workspace.page_calibration_path(config))
    found = {"predicted_labels": [0, 1, 1, 2, 2, 2], "calibrated_probs": [0.5, 0.6, 0.7, 0.8, 0.9, 0.95]}
    write_json(found, workspace.calibration_path(config))
    return config


def test_photos_are_answered_as_predict_answers_them(workspace: Workspace, teacher: Config) -> None:
    rng = np.random.default_rng(1)
    photos = {name: photo(rng, colour) for name, colour in COLOURS.items()}
    service = Service(lambda: load(teacher, workspace), "image", teacher.serve, load_drift(teacher, workspace))
    app = build_app(service, name="colours")

    async def ask() -> list[httpx2.Response]:
        transport = httpx2.ASGITransport(app=app)
        async with app.router.lifespan_context(app), httpx2.AsyncClient(transport=transport) as client:
            while service.why_not_ready:
                await asyncio.sleep(0.01)
            asked = [*photos.values(), photos["red"][:-500]]
            bodies = ({"inputs": [b64encode(content).decode()]} for content in asked)
            return await asyncio.gather(*(client.post("http://here/predict", json=body) for body in bodies))

    *right, cut = asyncio.run(ask())
    assert cut.status_code == 422
    predictor = load_predictor(teacher, workspace)
    expected = predictor([Asked(name, content, {}) for name, content in photos.items()])
    for response, wanted in zip(right, expected, strict=True):
        (found,) = response.json()
        assert found["label"] == wanted.label == wanted.asked.name
        assert found["probs"] == pytest.approx(dict(wanted.probs), abs=1e-6)
    text = service.metrics.to_text().decode()
    for name in SIZES:
        assert f'tfpipe_answers_total{{label="{name}"}} 1.0' in text
    assert f'tfpipe_validation_class_share{{label="red"}} {3 / 6}' in text


def test_a_photo_that_is_cut_short_is_told_in_a_sentence(workspace: Workspace, teacher: Config) -> None:
    whole = photo(np.random.default_rng(1), COLOURS["red"])
    predictor = load_predictor(teacher, workspace)
    with pytest.raises(DataError, match=r"^cut\.jpg: not an image that can be read\.$"):
        predictor([Asked("cut.jpg", whole[:-500], {})])


def test_the_drift_is_that_of_the_calibration(workspace: Workspace, teacher: Config) -> None:
    expected = load_drift(teacher, workspace).expected
    assert expected.shares == pytest.approx([1 / 6, 2 / 6, 3 / 6])
    assert expected.mean_confidence == pytest.approx(np.mean([0.5, 0.6, 0.7, 0.8, 0.9, 0.95]))
    assert expected.not_conclusive == pytest.approx(1 / 6)


def test_what_loading_left_is_never_looked_through_again(workspace: Workspace, teacher: Config) -> None:
    try:
        load_for_good(teacher, workspace)
        assert gc.get_freeze_count() > 10 * len(gc.get_objects())
    finally:
        gc.unfreeze()


def test_the_largest_batch_is_tried_before_a_client_asks(teacher: Config) -> None:
    sizes: list[int] = []
    warm_up(lambda contents: sizes.append(len(contents)), teacher)
    assert sizes == [1, teacher.serve.batch_size]
