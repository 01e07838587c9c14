"""`doctor`: what is missing is told, with what mends it, in time, and without a password."""

import importlib.metadata
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tfpipe.core.config import load_config
from tfpipe.data.download.reach import answers
from tfpipe.stages.doctor import Check, _side_by_side, examine, machine, project
from tfpipe.stages.starter.weights import cached

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def program(name: str, script: str, folder: str = "bin") -> Path:
    """A program of that name that does this."""
    path = Path(folder, name).absolute()
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def settings(**sections: Any) -> Path:
    """Of a data set, a teacher and a student, in three files."""
    dataset = {"snapshot": {"source": "herbarium"}} | sections
    Path("dataset.yaml").write_text(yaml.safe_dump(dataset))
    model = {"data": {"config": "dataset.yaml"}, "model": {"name": "mobilenetv2", "weights": "w.h5"}}
    Path("teacher.yaml").write_text(yaml.safe_dump(model))
    student = model | {"teachers": [{"config": "teacher.yaml"}], "model": {"name": "mobilenetv2"}}
    Path("student.yaml").write_text(yaml.safe_dump(student))
    return Path("student.yaml")


def looked(path: Path) -> dict[str, Check]:
    """What the settings name, without a look at the machine."""
    config = load_config(path)
    configs = [config, *(teacher for teacher in config.teacher_configs if teacher)]
    checks = _side_by_side(project.looks(configs), time.monotonic() + 20)
    return {check.name: check for check in checks}


# The machine


def test_this_machine_can_run_the_tests_and_tells_so_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # The import of TensorFlow, whose seconds these tests have paid already.
    python = program("python", "sleep 60 & wait")
    monkeypatch.setattr(sys, "executable", str(python))
    start = time.monotonic()
    checks = {check.name: check for check in examine(None, patience_s=3)}
    assert time.monotonic() - start < 4
    assert {"python", "packages", "tensorflow", "processor", "memory", "disk", "chromium", "npm", "gpu"} <= set(checks)
    assert checks["python"].state == checks["packages"].state == "ok"
    assert checks["packages"].details["click"] == importlib.metadata.version("click")
    assert checks["processor"].found.split()[0] == str(len(os.sched_getaffinity(0)))
    assert (checks["tensorflow"].state, checks["tensorflow"].fix) == ("note", "tfpipe doctor")


def test_packages_are_held_against_the_ranges_of_the_installed_distribution(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = workspace / "faketool-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(
        "Metadata-Version: 2.1\nName: faketool\nVersion: 1.0\nRequires-Python: >=3.99\nProvides-Extra: serve\n"
        "Requires-Dist: click<1\nRequires-Dist: no-such-package>=2\nRequires-Dist: pyyaml>=1\n"
        'Requires-Dist: other-package; extra == "serve"\nRequires-Dist: for-windows; sys_platform == "win32"\n'
    )
    monkeypatch.syspath_prepend(str(workspace))
    monkeypatch.setattr(machine, "DISTRIBUTION", "faketool")
    checks = machine.look_at_packages()
    assert isinstance(checks, list)
    packages, *extras = checks
    click = importlib.metadata.version("click")
    assert packages.state == "fail"
    assert packages.found == f"click {click} (wanted <1), no-such-package is missing (wanted >=2)"
    assert packages.fix == f"{sys.executable} -m pip install 'click<1' 'no-such-package>=2'"
    states = {check.name: check.state for check in extras}
    # An extra that is missing is nobody's fault.
    assert states["extra serve"] == "note"
    python = machine.look_at_python()
    assert python.state == "fail"
    assert ">=3.99" in python.found


def test_without_an_installed_distribution_the_fix_is_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "DISTRIBUTION", "no-such-package")
    for check in (machine.look_at_python(), machine.look_at_packages()):
        assert isinstance(check, Check)
        assert (check.state, check.fix.endswith("pip install --editable .")) == ("fail", True)


SEES = """echo '{"version": "2.19.0", "gpus": ["H100"]}'"""
SEES_NONE = """echo '{"version": "2.19.0", "gpus": []}'"""


@pytest.mark.parametrize(
    ("python", "card", "tensorflow", "gpu", "found"),
    [
        (SEES, "echo 'H100, 81559 MiB, 550'", "ok", "ok", "H100, 81559 MiB, 550; TensorFlow sees 1"),
        (SEES_NONE, "echo 'H100, 81559 MiB, 550'", "ok", "note", "does not see it"),
        (SEES_NONE, "exit 9", "ok", "note", "none; everything runs on the processor"),
        ("echo 'ImportError: no' >&2; exit 1", "exit 9", "fail", "note", "none"),
        ("kill -ILL $$", "exit 9", "fail", "note", "none"),
        ("sleep 60 & wait", "echo H100", "note", "note", "TensorFlow was not asked"),
    ],
)
def test_tensorflow_and_the_gpus_that_it_and_the_driver_see(
    python: str, card: str, tensorflow: str, gpu: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(program("python", python)))
    monkeypatch.setenv("PATH", f"{program('nvidia-smi', card).parent}:{os.environ['PATH']}")
    checks = machine.look_at_tensorflow(time.monotonic() + 1.5)
    assert [check.state for check in checks] == [tensorflow, gpu]
    assert found in checks[1].found
    if tensorflow == "fail":
        assert ("lacks instructions" in checks[0].found) == ("ILL" in python)
        assert "pip install --force-reinstall" in checks[0].fix
    if "does not see" in found:
        assert checks[1].fix.endswith("pip install 'tfpipe[gpu]'")


def test_what_a_page_needs_is_needed_by_students_alone(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(workspace))
    monkeypatch.setenv("XDG_CACHE_HOME", str(workspace))
    student = load_config(settings())
    for config, state in ((None, "fail"), (student, "fail"), (load_config(Path("teacher.yaml")), "note")):
        looks = machine.of_page(config)
        checks = [look() for look in looks.values()]
        assert [(check.state, check.fix) for check in checks if isinstance(check, Check)] == [
            (state, "sudo apt-get install chromium"),
            (state, "sudo apt-get install npm"),
        ]
    browser = program("chromium", "echo Chromium 999.0", ".")
    found = machine.of_page(None)["chromium"]()
    assert isinstance(found, Check)
    assert (found.state, found.found) == ("ok", f"Chromium 999.0 at {browser}")


def test_little_memory_and_a_full_disk_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    total = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    assert float(machine.look_at_memory().found.split()[0]) <= total + 0.1
    monkeypatch.setattr(machine, "LEAST_MEMORY", 2**60)
    monkeypatch.setattr(machine, "LEAST_DISK", 2**60)
    assert machine.look_at_memory().state == machine.look_at_disk().state == "fail"


def test_what_does_not_come_back_or_breaks_leaves_the_others_alone() -> None:
    hanging = threading.Event()
    start = time.monotonic()
    looks = {
        "a": lambda: Check("a", "ok", ""),
        "c": lambda: 1 / 0,
        "b": lambda: hanging.wait(30) and Check("b", "ok", ""),
    }
    checks = _side_by_side(looks, start + 0.3)  # type: ignore[arg-type]
    # Else the process could not end.
    assert [thread.daemon for thread in threading.enumerate() if thread.name == "b"] == [True]
    hanging.set()
    assert time.monotonic() - start < 2
    assert [(check.name, check.state) for check in checks] == [("a", "ok"), ("c", "fail"), ("b", "note")]
    assert "division by zero" in checks[1].found


# Settings


def test_settings_that_do_not_load_are_a_check_among_others() -> None:
    path = settings(snapshot={"sauce": "csv"})
    checks = examine(path, patience_s=0.1)
    assert (checks[-1].name, checks[-1].state) == ("settings", "fail")
    assert "dataset.yaml: snapshot.sauce: unknown key. Did you mean `source`?" in checks[-1].found
    assert examine(path, ("dataset.x=1",), patience_s=0.1)[-1].state == "fail"


def test_a_source_that_is_not_there_and_files_that_are_not_are_told() -> None:
    snapshot = {"source": "csv", "path": "rows.csv", "label_map": "map.csv"}
    checks = looked(settings(snapshot=snapshot))
    assert checks["source"].found == "rows.csv: no such file. `snapshot.path` needs a CSV file with a header."
    assert (checks["snapshot.label_map"].state, checks["weights of teacher"].state) == ("fail", "fail")
    assert "weights of student" not in checks
    Path("rows.csv").write_text("id,label\nx7,rose\n")
    for name in ("map.csv", "w.h5"):
        Path(name).touch()
    checks = looked(Path("student.yaml"))
    assert {check.state for check in checks.values()} == {"ok"}
    assert "'x7', labelled 'rose'" in checks["source"].found


@pytest.mark.parametrize(
    "address", ["mongodb://reader:{}@127.0.0.1:1/plants", "postgresql://reader:{}@127.0.0.1:1/plants"]
)
def test_a_database_that_does_not_answer_is_told_soon_and_without_its_password(address: str) -> None:
    snapshot = {"source": address.format(SECRET), "collection": "seen", "query": "seen"}
    start = time.monotonic()
    check = looked(settings(snapshot=snapshot))["source"]
    assert time.monotonic() - start < 5
    assert check.state == "fail"
    assert "127.0.0.1" in check.found
    assert SECRET not in json.dumps(check.to_json())


def test_a_variable_that_is_not_set_comes_with_the_command_that_sets_it() -> None:
    snapshot = {"source": "mongodb://reader:${NO_SUCH_PASSWORD}@127.0.0.1:1/plants", "collection": "seen"}
    check = looked(settings(snapshot=snapshot))["source"]
    assert (check.state, check.fix) == ("fail", "export NO_SUCH_PASSWORD='…'")


@pytest.fixture
def site() -> Iterator[str]:
    """Answers HEAD with the status that the path names."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(int(self.path[1:]))
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_url_answers_or_does_not(site: str) -> None:
    assert answers(f"{site}/200", 5)
    assert not answers(f"{site}/404", 5)
    assert not answers("http://127.0.0.1:1/200", 5)


@pytest.mark.parametrize("status", [200, 404])
def test_imagenets_weights_are_in_the_cache_or_to_be_had(
    site: str, status: int, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(workspace))
    monkeypatch.setattr(project, "url_of", lambda alpha, size: f"{site}/{status}")
    assert project.look_at_weights("student", "imagenet", 0.35, 224).state == ("ok" if status == 200 else "fail")
    file = cached(0.35, 224)
    file.parent.mkdir()
    file.touch()
    assert file.name == "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
    check = project.look_at_weights("student", "imagenet", 0.35, 224)
    assert (check.state, check.found) == ("ok", f"imagenet, in {file}")
