"""The manifests and scripts of docs/cluster/: their commands would be understood, and they fit the server."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from doc_blocks import ROOT, blocks_of, run_script
from doc_calls import SERVER_PATHS, check_call, parse_tfpipe

from tfpipe.core.cluster import Share
from tfpipe.core.config import load_config
from tfpipe.core.settings import ServeSettings
from tfpipe.serving.app import build_app
from tfpipe.serving.batching import Model
from tfpipe.serving.drift import Answers, Drift
from tfpipe.serving.service import Service

CLUSTER = ROOT / "docs" / "cluster"
MANIFESTS = {path.name: list(yaml.safe_load_all(path.read_text())) for path in sorted(CLUSTER.glob("*.yaml"))}
DOCUMENTS = [document for documents in MANIFESTS.values() for document in documents]
WORKLOADS = [document for document in DOCUMENTS if document["kind"] in ("Job", "Deployment")]
SCRIPTS = sorted(CLUSTER.glob("*.sbatch"))


def of_workloads(function: Any) -> Any:
    return pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload["metadata"]["name"])(function)


def pod_of(workload: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = workload["spec"]["template"]["spec"]
    return pod


def container_of(workload: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod_of(workload)["containers"]
    return container


def of_kind(kind: str) -> dict[str, Any]:
    (document,) = (document for document in DOCUMENTS if document["kind"] == kind)
    return document


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def build_server() -> Any:
    def load() -> Model:
        raise NotImplementedError

    seen = Answers(np.array([0, 1]), np.array([0.6, 0.9]))
    drift = Drift(["a", "b"], seen, threshold=0.5, window=10)
    return build_app(Service(load, "text", ServeSettings(), drift), name="x", token="y")


def command_of(workload: dict[str, Any], folder: Path, **variables: str) -> list[str]:
    """What a container runs, with the shell's work done."""
    container = container_of(workload)
    command = [*container["command"], *container.get("args", [])]
    if command[0] != "sh":
        return [str(word) for word in command]
    assert command[1] == "-c"
    (call,) = run_script(command[2], folder, **variables)
    check_call(call)
    return [call.program, *call.arguments]


@of_workloads
def test_a_container_runs_a_command_that_is_understood(workload: dict[str, Any], folder: Path) -> None:
    command = command_of(workload, folder, JOB_COMPLETION_INDEX="0")
    assert command[0] == "tfpipe"
    name, values = parse_tfpipe(command[1:])
    path, overrides = values["path"], values["overrides"]
    assert isinstance(path, Path)
    assert isinstance(overrides, tuple)
    config = load_config(path, overrides)
    if config.serve.token_env:
        assert config.serve.token_env in [variable["name"] for variable in container_of(workload)["env"]]
    assert f"tfpipe-{name}" in workload["metadata"]["name"]


def test_the_pods_of_a_job_write_each_its_share(folder: Path) -> None:
    (job,) = (workload for workload in WORKLOADS if workload["spec"].get("completionMode") == "Indexed")
    count = job["spec"]["completions"]
    shares = []
    for index in range(count):
        command = command_of(job, folder, JOB_COMPLETION_INDEX=str(index))
        shares.append(parse_tfpipe(command[1:])[1]["share"])
    assert shares == [Share(number, count) for number in range(1, count + 1)]


def test_jobs_do_not_try_again_what_would_end_the_same() -> None:
    for job in WORKLOADS:
        if job["kind"] == "Job":
            (failing,) = (r for r in job["spec"]["podFailurePolicy"]["rules"] if r["action"] == "FailJob")
            assert failing["onExitCodes"] == {"operator": "In", "values": [2, 3]}
            # Kubernetes takes such a policy for pods alone that are never started again in their place.
            assert pod_of(job)["restartPolicy"] == "Never"


@of_workloads
def test_volumes_that_are_mounted_are_there(workload: dict[str, Any]) -> None:
    claim = of_kind("PersistentVolumeClaim")
    volumes = {volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in pod_of(workload)["volumes"]}
    assert set(volumes.values()) == {claim["metadata"]["name"]}
    assert [mount["name"] for mount in container_of(workload)["volumeMounts"]] == list(volumes)
    assert container_of(workload)["workingDir"] == container_of(workload)["volumeMounts"][0]["mountPath"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_probes_ask_what_the_server_answers() -> None:
    paths = build_server().openapi()["paths"]
    assert {*paths, "/openapi.json"} == set(SERVER_PATHS)
    container = container_of(of_kind("Deployment"))
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/ready",
        # A full queue must not end the process.
        "liveness": "/health",
        "readiness": "/ready",
    }
    for probe in probes.values():
        assert probe["path"] in paths
        assert "security" not in paths[probe["path"]]["get"]
        assert probe["port"] in [port["name"] for port in container["ports"]]


def test_the_service_finds_the_server(folder: Path) -> None:
    deployment, service = of_kind("Deployment"), of_kind("Service")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == labels == deployment["spec"]["selector"]["matchLabels"]
    (port,) = container_of(deployment)["ports"]
    values = parse_tfpipe(command_of(deployment, folder)[1:])[1]
    assert (values["host"], values["port"]) == ("0.0.0.0", port["containerPort"])
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]


def test_the_server_has_time_to_end() -> None:
    assert pod_of(of_kind("Deployment"))["terminationGracePeriodSeconds"] > 2 * ServeSettings().timeout_s


def test_the_page_of_serving_tells_every_status() -> None:
    table = re.findall(r"^\| ([\d, ]+) \|", (ROOT / "docs" / "serving.md").read_text(), re.MULTILINE)
    told = {status for statuses in table for status in statuses.split(", ")}
    assert told == set(build_server().openapi()["paths"]["/predict"]["post"]["responses"]) - {"200"}


# Slurm


@pytest.mark.parametrize(
    ("script", "settings", "expected"),
    [
        ("teach.sbatch", "configs/plants/teacher_global.yaml", ["teach"]),
        ("label.sbatch", "configs/plants/student.yaml", ["label", "--shard", "2/4"]),
    ],
)
def test_a_script_of_slurm_calls_what_is_understood(
    script: str, settings: str, expected: list[str], folder: Path
) -> None:
    array = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "4"}
    (call,) = run_script((CLUSTER / script).read_text(), folder, settings, **array)
    check_call(call)
    name, *more = expected
    assert [call.program, *call.arguments] == ["tfpipe", name, "--config", settings, *more]


def test_every_script_and_manifest_is_tested_and_shown() -> None:
    assert [path.name for path in SCRIPTS] == ["label.sbatch", "teach.sbatch"]
    assert len(WORKLOADS) == 3
    shown = {block.title for block in blocks_of(CLUSTER / "index.md") if block.title}
    assert shown == {f"docs/cluster/{path.name}" for path in CLUSTER.iterdir() if path.suffix != ".md"}
