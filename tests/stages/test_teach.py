"""`teach` as processes of its own: killed and begun again, and over two workers.

TFPIPE_TEST_KILLS sets how many kills (1 by default); with more, a convolutional teacher is killed too.
"""

import csv
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tfpipe.core.files import read_json, sha256_file
from tfpipe.stages.runner import run_step

KILLS = int(os.environ.get("TFPIPE_TEST_KILLS", "1"))
KILLED = ("transformer", "convnet") if KILLS > 1 else ("transformer",)
EPOCHS = 2
KILLED_EPOCHS = max(EPOCHS, 2 * KILLS)
"""So many that there is something left to kill."""
DATASET: dict[str, Any] = {
    "dataset": "herbarium",
    "snapshot": {"num_images": 260, "image_side": 40},
    "audit": {"min_side": 32},
    "split": {"train": 0.6, "validation": 0.2, "test": 0.2},
}
TRANSFORMER: dict[str, Any] = {
    "data": {"config": "dataset.yaml", "image_size": 32},
    "model": {"name": "vit_micro_patch8_32", "dropout_rate": 0.1},
    "training": {
        **{"epochs": KILLED_EPOCHS, "batch_size": 16, "accumulation_steps": 2},
        **{"ema_decay": 0.9, "layer_decay": 0.8},
    },
    "regularization": {"mixup_alpha": 0.2, "cutmix_alpha": 1.0},
    "callbacks": {"checkpoint_minutes": 0.01},
}
CONVNET: dict[str, Any] = {
    "data": {"config": "dataset.yaml", "image_size": 32, "augmentation": "aggressive"},
    "model": {"name": "mobilenetv2", "alpha": 0.35, "dropout_rate": 0.2},
    "training": {
        **{"epochs": KILLED_EPOCHS, "batch_size": 16, "head_epochs": 1},
        **{"optimizer": "sgd", "clip_norm": 1.0},
    },
    "regularization": {"random_erasing": 0.25, "label_smoothing": 0.1},
    "callbacks": {"checkpoint_minutes": 0.01},
}
TOGETHER: dict[str, Any] = {
    "data": {"config": "dataset.yaml", "image_size": 32},
    "model": {"name": "vit_micro_patch8_32"},
    "training": {"epochs": EPOCHS, "batch_size": 16, "head_epochs": 1},
    "regularization": {"mixup_alpha": 0.2},
    "callbacks": {"checkpoint_minutes": 0.01},
}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with records, ready to teach."""
    folder = tmp_path_factory.mktemp("packed")
    documents = {"dataset": DATASET, "transformer": TRANSFORMER, "convnet": CONVNET, "together": TOGETHER}
    for name, document in documents.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(document))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_step("pack", Path("dataset.yaml"))
    return folder


def start(folder: Path, name: str, **environment: str) -> subprocess.Popen[str]:
    command = [Path(sys.executable).with_name("tfpipe"), "teach", "--config", f"{name}.yaml"]
    return subprocess.Popen(command, cwd=folder, env=os.environ | environment, stderr=subprocess.PIPE, text=True)


def teach(folder: Path, name: str) -> dict[str, Any]:
    process = start(folder, name)
    _, told = process.communicate()
    assert process.returncode == 0, told
    assert "XLA" not in told
    found: dict[str, Any] = read_json(folder / "runs" / name / "teach" / "metrics.json")
    return found


def history(folder: Path, name: str) -> list[dict[str, float]]:
    with (folder / "runs" / name / "teach" / "history.csv").open(newline="") as file:
        return [{k: float(v) for k, v in row.items() if k != "phase" and v} for row in csv.DictReader(file)]


@pytest.mark.parametrize("name", KILLED)
def test_kills_at_random_moments_change_nothing(packed: Path, tmp_path: Path, name: str) -> None:
    with chdir(shutil.copytree(packed, tmp_path / "undisturbed")):
        undisturbed = run_step("teach", Path(f"{name}.yaml"))
    folder = shutil.copytree(packed, tmp_path / "killed")
    step_dir = folder / "runs" / name / "teach"
    draw = random.Random(5)
    for _ in range(KILLS):
        process, before = start(folder, name), states(step_dir)
        while process.poll() is None and states(step_dir) == before:
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 0.5))
        assert process.poll() is None, "nothing was left to kill"
        process.kill()
        process.communicate()
    assert teach(folder, name) == undisturbed
    best = f"runs/{name}/teach/best.keras"
    assert sha256_file(folder / best) == sha256_file(tmp_path / "undisturbed" / best)
    assert history(folder, name) == history(tmp_path / "undisturbed", name)


def states(step_dir: Path) -> set[tuple[str, int]]:
    """The saved states, and when they were written."""
    return {(path.name, path.stat().st_mtime_ns) for path in step_dir.glob("*.state")}


def workers(folder: Path, name: str) -> list[subprocess.Popen[str]]:
    addresses = [f"localhost:{free_port()}" for _ in range(2)]
    return [
        start(
            folder,
            name,
            TF_CONFIG=json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": n}}),
        )
        for n in range(2)
    ]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port: int = found.getsockname()[1]
        return port


def test_two_workers_do_what_one_does_and_go_on_after_one_has_died(packed: Path, tmp_path: Path) -> None:
    """Losses agree but for the order in which float32 numbers are added, which training makes larger step by step."""
    alone = shutil.copytree(packed, tmp_path / "alone")
    with chdir(alone):
        run_step("teach", Path("together.yaml"))
    folder = shutil.copytree(packed, tmp_path / "together")
    state = folder / "runs" / "together" / "teach" / "teach.state"

    chief, other = workers(folder, "together")
    while chief.poll() is None and not state.is_file():
        time.sleep(0.05)
    other.kill()
    other.communicate()
    _, told = chief.communicate(timeout=120)
    assert chief.returncode == 1, told
    assert "another worker no longer answers" in told
    assert "Traceback" not in told

    again = workers(folder, "together")
    done = [process.communicate(timeout=300)[1] for process in again]
    assert [process.returncode for process in again] == [0, 0], done
    ours, theirs = history(folder, "together"), history(alone, "together")
    assert len(ours) == len(theirs) == EPOCHS + 1
    for one, two in zip(theirs, ours, strict=True):
        for what in ("loss", "val_loss"):
            np.testing.assert_allclose(two[what], one[what], rtol=2e-4, err_msg=f"{what} of epoch {one['epoch']}")


def test_a_deterministic_run_computes_one_operation_at_a_time(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow reads the variable when it starts; these tests' own process has it from the beginning."""
    monkeypatch.chdir(packed)
    monkeypatch.delenv("TF_NUM_INTEROP_THREADS")
    run_step("pack", Path("dataset.yaml"), ("deterministic=false",))
    assert "TF_NUM_INTEROP_THREADS" not in os.environ
    run_step("pack", Path("dataset.yaml"))
    assert os.environ["TF_NUM_INTEROP_THREADS"] == "1"
    monkeypatch.setenv("TF_NUM_INTEROP_THREADS", "2")
    run_step("pack", Path("dataset.yaml"))
    assert os.environ["TF_NUM_INTEROP_THREADS"] == "2"


def test_workers_are_for_training(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tfpipe.core.errors import ConfigError

    cluster = {"cluster": {"worker": ["localhost:1", "localhost:2"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    with pytest.raises(ConfigError, match="`evaluate` runs in one process, and this is one of 2 workers"):
        run_step("evaluate", packed / "transformer.yaml")
    monkeypatch.setenv("TF_CONFIG", "{}")
    with pytest.raises(ConfigError, match="TF_CONFIG: KeyError"):
        run_step("teach", packed / "transformer.yaml")
