"""`manifest.yaml`: what ran, from which hashes into which, with which versions and results."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from tfpipe.core.config import Config
from tfpipe.core.files import atomic_open, read_json

PACKAGES = (
    *("tfpipe", "tensorflow", "keras", "keras-hub", "keras-cv", "tensorflow-datasets", "tensorflowjs", "numpy"),
    *("tensorflow-model-optimization", "tf-keras"),
)


def write(run_dir: Path, config: Config) -> None:
    """Gather the states and metrics of all steps of a run into `manifest.yaml` and the settings into `config.yaml`."""
    document = {
        "config": config.path.as_posix(),
        "seed": config.seed,
        "steps": {path.parent.name: _step(path) for path in _current(_states(run_dir))},
    }
    _write_yaml(document, run_dir / "manifest.yaml")
    _write_yaml(config.model_dump(mode="json"), run_dir / "config.yaml")


def environment() -> dict[str, str]:
    """Versions of Python, the machine and the packages whose code shapes the results."""
    return {
        "python_version": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    } | {package: metadata.version(package) for package in PACKAGES}


def _states(run_dir: Path) -> list[Path]:
    return sorted(run_dir.glob("*/state.json"), key=lambda path: (read_json(path)["started"], path.parent.name))


def _current(state_paths: list[Path]) -> list[Path]:
    """Without steps made from what another step of the run has since replaced."""
    outputs = {name: digest for path in state_paths for name, digest in read_json(path)["outputs"].items()}

    def stands(path: Path) -> bool:
        return all(outputs.get(name, digest) == digest for name, digest in read_json(path)["inputs"].items())

    return [path for path in state_paths if stands(path)]


def _step(state_path: Path) -> dict[str, Any]:
    state = read_json(state_path)
    shown = ("started", "seconds", "version", "git_commit", "environment", "settings", "inputs", "outputs")
    return {name: state[name] for name in shown} | {"metrics": read_json(state_path.with_name("metrics.json"))}


def git_commit() -> str | None:
    """Of tfpipe's own source, marked if dirty; None where it is installed without its repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _write_yaml(document: Any, path: Path) -> None:
    with atomic_open(path) as file:
        yaml.safe_dump(document, file, sort_keys=False, allow_unicode=True)
