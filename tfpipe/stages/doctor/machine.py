"""The machine: Python, packages, processor, memory, disk, GPU, and what a page needs."""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tfpipe.core.config import Config
from tfpipe.core.errors import EnvironmentProblemError
from tfpipe.core.machine import processor, total_bytes
from tfpipe.stages.doctor.checks import Check, Look, State

DISTRIBUTION = "tfpipe"
SHOWN = ("tensorflow", "keras", "keras-hub", "tensorflowjs", "tensorflow-model-optimization")
EXTRAS = {"postgres": "PostgreSQL sources", "serve": "`tfpipe serve`", "beam": "`--runner`"}
"""What each is for; all are optional."""
GIB = 2**30
LEAST_MEMORY, GOOD_MEMORY = 2 * GIB, 6 * GIB
LEAST_DISK, GOOD_DISK = 1 * GIB, 10 * GIB
PROGRAM_SECONDS = 5.0
"""For a program to say its version."""

TENSORFLOW = """
import json, tensorflow as tf
gpus = tf.config.list_physical_devices("GPU")
names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
print(json.dumps({"version": tf.__version__, "gpus": names}))
"""


def look_at_python() -> Check:
    """Against what the installed tfpipe asks for."""
    found = f"{platform.python_version()} at {sys.executable}"
    try:
        wanted = str(metadata.metadata(DISTRIBUTION).json["requires_python"])
    except metadata.PackageNotFoundError:
        return Check("python", "fail", f"{found}; tfpipe is not installed there", _pip("--editable ."))
    if not SpecifierSet(wanted).contains(platform.python_version(), prereleases=True):
        return Check("python", "fail", f"{found}; wanted {wanted}", "python3.11 -m venv .venv")
    return Check("python", "ok", found)


def look_at_packages() -> Look:
    """Each against its range, and the extras."""
    try:
        requirements = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or ()]
    except metadata.PackageNotFoundError:
        return Check("packages", "fail", "tfpipe is not installed", _pip("--editable ."))
    needed = [requirement for requirement in requirements if _applies(requirement, "")]
    extras = [_look_at_extra(name, _of_extra(requirements, name)) for name in EXTRAS]
    return [_look_at_needed(needed), *extras]


def _look_at_needed(needed: Iterable[Requirement]) -> Check:
    versions = {requirement.name: _version(requirement.name) for requirement in needed}
    wrong = [requirement for requirement in needed if _is_wrong(requirement)]
    if wrong:
        told = ", ".join(
            f"{requirement.name} {versions[requirement.name] or 'is missing'} (wanted {requirement.specifier or 'any'})"
            for requirement in wrong
        )
        return Check("packages", "fail", told, _pip(*map(_quoted, wrong)), versions)
    shown = ", ".join(f"{name} {versions[name]}" for name in SHOWN if name in versions)
    return Check("packages", "ok", f"{len(versions)} as asked for: {shown}", details=versions)


def _look_at_extra(name: str, requirements: list[Requirement]) -> Check:
    versions = {requirement.name: _version(requirement.name) for requirement in requirements}
    if any(map(_is_wrong, requirements)):
        return Check(f"extra {name}", "note", f"not installed; for {EXTRAS[name]}", _pip(f"'tfpipe[{name}]'"), versions)
    told = ", ".join(f"{package} {version}" for package, version in versions.items())
    return Check(f"extra {name}", "ok", told, details=versions)


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _of_extra(requirements: list[Requirement], extra: str) -> list[Requirement]:
    return [requirement for requirement in requirements if requirement.marker and _applies(requirement, extra)]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _is_wrong(requirement: Requirement) -> bool:
    version = _version(requirement.name)
    return not version or not requirement.specifier.contains(version, prereleases=True)


def _quoted(requirement: Requirement) -> str:
    return f"'{requirement.name}{requirement.specifier}'"


def _pip(*arguments: str) -> str:
    return f"{sys.executable} -m pip install {' '.join(arguments)}"


def look_at_tensorflow(deadline: float) -> list[Check]:
    """Whether it can be imported, and which GPUs it sees beside those that the driver does.

    Args:
        deadline: of the monotonic clock.
    """
    cards = _nvidia_cards()
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    patience = max(0.1, deadline - time.monotonic() - 0.5)
    try:
        done = subprocess.run(
            [sys.executable, "-c", TENSORFLOW],
            check=False,
            env=environment,
            capture_output=True,
            text=True,
            timeout=patience,
        )
    except subprocess.TimeoutExpired:
        slow = f"importing it took more than {patience:.0f} s; ask again when the machine has less to do"
        return [Check("tensorflow", "note", slow, "tfpipe doctor"), _gpu(cards, None)]
    if done.returncode:
        why = "the processor lacks instructions that it uses" if done.returncode == -4 else _last_line(done.stderr)
        reinstall = _pip("--force-reinstall", "--no-deps", "tensorflow==" + (_version("tensorflow") or "2.19.*"))
        return [Check("tensorflow", "fail", f"cannot be imported: {why}", reinstall), _gpu(cards, None)]
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    return [Check("tensorflow", "ok", f"{answer['version']} imports"), _gpu(cards, answer["gpus"])]


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no word of why"])[-1]


def _nvidia_cards() -> list[str]:
    """As the driver tells of them; none where there is no driver."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    said = _said_by(query)
    return said.splitlines() if said else []


def _gpu(cards: list[str], seen: list[str] | None) -> Check:
    """A GPU is never needed."""
    if not cards and not seen:
        return Check("gpu", "note", "none; everything runs on the processor, large teachers slowly")
    told = "; ".join(cards) or ", ".join(seen or ())
    if seen:
        return Check("gpu", "ok", f"{told}; TensorFlow sees {len(seen)}")
    if seen is None:
        return Check("gpu", "note", f"{told}; TensorFlow was not asked")
    return Check("gpu", "note", f"{told}; TensorFlow does not see it", _pip("'tfpipe[gpu]'"))


def look_at_processor() -> Check:
    """Cores that this process may use."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Check("processor", "ok", f"{count} core{'s' if count > 1 else ''}, {processor() or platform.machine()}")


def look_at_memory() -> Check:
    """Of the machine, or of its container or job where that has less."""
    total = total_bytes()
    state: State = "fail" if total < LEAST_MEMORY else "note" if total < GOOD_MEMORY else "ok"
    less = "; smaller batches need less: `training.batch_size`, `training.accumulation_steps`"
    return Check("memory", state, f"{total / GIB:.1f} GiB{'' if state == 'ok' else less}")


def look_at_disk() -> Check:
    """Where `data`, `runs` and `exported` go."""
    here = Path.cwd()
    if not os.access(here, os.W_OK):
        return Check("disk", "fail", f"{here} cannot be written to", f"sudo chown -R $USER '{here}'")
    free = shutil.disk_usage(here).free
    state: State = "fail" if free < LEAST_DISK else "note" if free < GOOD_DISK else "ok"
    return Check("disk", state, f"{free / GIB:.1f} GiB free in {here}", "" if state == "ok" else f"du -sh '{here}'/*")


def of_page(config: Config | None) -> dict[str, Callable[[], Look]]:
    """What `export` and `verify` need, if these settings get that far."""
    is_needed = config is None or config.role == "student"
    chromium = config.verify.chromium if config else None
    return {"chromium": lambda: look_at_chromium(chromium, is_needed), "npm": lambda: look_at_npm(is_needed)}


def look_at_chromium(configured: Path | None, is_needed: bool) -> Check:
    """The browser that `verify` would take."""
    try:
        from tfpipe.exporters.browser import find_chromium

        path = find_chromium(configured)
    except (EnvironmentProblemError, ImportError) as error:
        return Check("chromium", _missing(is_needed), str(error), "sudo apt-get install chromium")
    return Check("chromium", "ok", f"{_said_by([str(path), '--version']) or 'says no version'} at {path}")


def look_at_npm(is_needed: bool) -> Check:
    """npm, or the packages that it has already brought."""
    from tfpipe.exporters.vendor import cache_dir

    cache, npm, node = cache_dir(), _said_by(["npm", "--version"]), _said_by(["node", "--version"])
    versions = f"npm {npm}, Node.js {node or 'missing'}"
    if cache.is_dir():
        return Check("npm", "ok", f"TensorFlow.js is in {cache}" + (f"; {versions}" if npm else ""))
    if npm:
        return Check("npm", "ok", f"{versions}; the first export downloads TensorFlow.js")
    return Check("npm", _missing(is_needed), "missing; it brings TensorFlow.js", "sudo apt-get install npm")


def _missing(is_needed: bool) -> State:
    return "fail" if is_needed else "note"


def _said_by(command: list[str]) -> str:
    """The program's first line; empty where it is missing, fails or takes too long."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PROGRAM_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
