"""`snapshot` of a real server: killed, cut off and out of disk, and in the end as if nothing had been."""

import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from database_servers import MongoDB, Proxy

from tfpipe.core.errors import BrokenOffError, DataError
from tfpipe.core.workspace import Workspace
from tfpipe.data import partial
from tfpipe.data.sources import mongo as source
from tfpipe.stages.runner import run_step

TFPIPE = Path(sys.executable).with_name("tfpipe")
NUM_DOCUMENTS = 30_000
KILLS = 4


def plants(number: int) -> list[dict[str, Any]]:
    return [
        {"_id": f"{i:06d}", "latin_name": f"Species {i % 7}", "image_url": f"http://x/{i}.jpg", "note": "n" * (i % 90)}
        for i in range(number)
    ]


def configured(folder: Path, address: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "photos.yaml"
    path.write_text(yaml.safe_dump({"dataset": "photos", "snapshot": {"source": address, "collection": "plants"}}))
    return path


def snapshot(folder: Path, **options: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [TFPIPE, "snapshot", "--config", "photos.yaml"],
        cwd=folder,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        **options,
    )


def raw(folder: Path) -> bytes:
    return (folder / "data" / "photos" / "raw.jsonl").read_bytes()


@pytest.fixture
def undisturbed(mongo: MongoDB, tmp_path: Path) -> bytes:
    """What a snapshot writes that nothing interrupts."""
    mongo.fill(*plants(NUM_DOCUMENTS))
    configured(tmp_path / "undisturbed", mongo.address)
    process = snapshot(tmp_path / "undisturbed")
    _, told = process.communicate()
    assert process.returncode == 0, told
    return raw(tmp_path / "undisturbed")


def test_killed_again_and_again_it_writes_the_same(mongo: MongoDB, tmp_path: Path, undisturbed: bytes) -> None:
    folder = tmp_path / "killed"
    configured(folder, mongo.address)
    growing = folder / "runs" / "photos" / "snapshot" / "partial.jsonl"
    gone_on_after = []
    for size in sorted(random.randrange(len(undisturbed)) for _ in range(KILLS)):
        process = snapshot(folder)
        while process.poll() is None and not (growing.is_file() and growing.stat().st_size > size):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        _, told = process.communicate()
        gone_on_after += re.findall(r"going on after (\d+) rows", told)
    process = snapshot(folder)
    _, told = process.communicate()
    assert process.returncode == 0, told
    gone_on_after += re.findall(r"going on after (\d+) rows", told)
    assert raw(folder) == undisturbed
    assert gone_on_after == sorted(gone_on_after, key=int)
    assert gone_on_after
    assert sorted(path.name for path in growing.parent.iterdir()) == ["metrics.json", "started.json", "state.json"]


def test_a_full_disk_loses_nothing(mongo: MongoDB, tmp_path: Path, undisturbed: bytes) -> None:
    folder = tmp_path / "full"
    configured(folder, mongo.address)
    limit = len(undisturbed) // 2
    process = snapshot(folder, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    _, told = process.communicate()
    assert process.returncode == 1
    assert "Traceback" not in told
    assert "File too large" in told.splitlines()[-1]
    process = snapshot(folder)
    _, told = process.communicate()
    assert process.returncode == 0, told
    assert re.search(r"going on after \d+ rows", told)
    assert raw(folder) == undisturbed


def test_a_server_that_goes_and_comes_back_later_loses_nothing(
    mongo: MongoDB, proxy_to: Callable[..., Proxy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "PAUSES_S", (0.01,))
    monkeypatch.setattr(partial, "CHECKPOINT_ROWS", 1_000_000)
    mongo.fill(*plants(5000))
    undisturbed, broken = proxy_to(mongo), proxy_to(mongo, cut_after=300_000, stay_down=True)
    run_step("snapshot", configured(tmp_path / "a", mongo.through(undisturbed)), workspace=Workspace(tmp_path / "a"))
    # What a finished run of other settings left must not push out what this one has done.
    path = configured(tmp_path / "b", mongo.address)
    run_step("snapshot", path, workspace=Workspace(tmp_path / "b"))
    configured(tmp_path / "b", f"{mongo.through(broken)}&serverSelectionTimeoutMS=200")
    with pytest.raises(BrokenOffError, match=r"connection was lost.*The \d+ rows before are kept: run it again"):
        run_step("snapshot", path, workspace=Workspace(tmp_path / "b"), force=True)
    with pytest.raises(BrokenOffError, match=r"no server answers.*The \d+ rows before are kept"):
        run_step("snapshot", path, workspace=Workspace(tmp_path / "b"))
    broken.down, before = False, broken.num_bytes
    metrics = run_step("snapshot", path, workspace=Workspace(tmp_path / "b"))
    assert raw(tmp_path / "b") == raw(tmp_path / "a")
    assert metrics["per_class"] == {f"Species {i}": len(range(i, 5000, 7)) for i in range(7)}
    # The second time, only what was missing came.
    assert broken.num_bytes - before < 0.8 * undisturbed.num_bytes


def test_a_document_that_is_mended_is_gone_on_from(
    mongo: MongoDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "BATCH_DOCUMENTS", 10)
    mongo.fill(*plants(100))
    mongo.database.plants.update_one({"_id": "000057"}, {"$set": {"latin_name": ["Rosa", "Bellis"]}})
    path = configured(tmp_path, mongo.address)
    with pytest.raises(DataError, match=r"document 000057: `latin_name` is a list.*The 50 rows before are kept"):
        run_step("snapshot", path, workspace=Workspace(tmp_path))
    mongo.database.plants.update_one({"_id": "000057"}, {"$set": {"latin_name": "Rosa"}})
    # Nobody reads this one again.
    mongo.database.plants.update_one({"_id": "000003"}, {"$set": {"latin_name": ["Rosa"]}})
    metrics = run_step("snapshot", path, workspace=Workspace(tmp_path))
    assert metrics["num_rows"] == 100
    assert metrics["per_class"]["Rosa"] == 1


def test_documents_without_an_image_are_rows_and_are_told(
    mongo: MongoDB, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = plants(10)
    del documents[3]["image_url"], documents[5]["image_url"]
    mongo.fill(*documents)
    metrics = run_step("snapshot", configured(tmp_path, mongo.address), workspace=Workspace(tmp_path))
    assert (metrics["num_rows"], metrics["num_empty"]) == (10, 2)
    assert "2 of 10 rows have neither `url` nor `path` nor `text`, such as '000003'" in capsys.readouterr().err


def test_the_password_is_nowhere(guarded: str, password: str, tmp_path: Path) -> None:
    secrets = (password, "s3cret", "s3cret%2F%40%3Aword")
    in_the_file = f"mongodb://reader:{secrets[2]}@{guarded}/plants"
    in_the_environment = f"mongodb://reader:${{MONGO_PASSWORD}}@{guarded}/plants"
    wrong = f"mongodb://reader:wr0ng{secrets[2]}@{guarded}/plants"
    for number, address in enumerate((in_the_file, in_the_environment, wrong)):
        folder = tmp_path / str(number)
        path = configured(folder, address)
        process = snapshot(folder, env=os.environ | {"MONGO_PASSWORD": password})
        _, told = process.communicate()
        assert process.returncode == (1 if address == wrong else 0), told
        written = [file.read_text() for file in folder.rglob("*") if file.is_file() and file != path]
        assert len(written) > 5 or address == wrong
        for text in [told, *written]:
            assert not any(secret in text for secret in secrets)
    assert "wrong user or password" in told
