"""Where results come from: the source's commit, Python, the machine, the packages."""

import platform
import shutil
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

from tfpipe.core.machine import processor

PACKAGES = (
    *("tfpipe", "tensorflow", "keras", "keras-hub", "keras-cv", "tensorflow-datasets", "tensorflowjs", "numpy"),
    *("tensorflow-model-optimization", "tf-keras"),
)


@cache
def environment() -> dict[str, str | None]:
    """Versions of Python, the machine and the packages whose code shapes the results."""
    return {
        "python_version": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "gpu": _gpu(),
    } | {package: metadata.version(package) for package in PACKAGES}


@cache
def git_commit() -> str | None:
    """Of tfpipe's own source, `-dirty` behind it if changed; None where it is installed without its repository."""
    # Installed into a virtual environment, this file may lie inside a repository that is not ours.
    if _told_by(["git", "ls-files", "--error-unmatch", Path(__file__).name]) is None:
        return None
    return _told_by(["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"])


def _gpu() -> str | None:
    """Names of this machine's GPUs, as NVIDIA's driver tells them."""
    if not shutil.which("nvidia-smi"):
        return None
    told = _told_by(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"])
    return ", ".join(told.splitlines()) if told else None


def _told_by(command: list[str]) -> str | None:
    try:
        return subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
