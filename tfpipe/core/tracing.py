"""A manifest held against what lies on the disk now."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfpipe.core.environment import environment
from tfpipe.core.errors import CriterionError, DataError
from tfpipe.core.files import sha256_file, sha256_path
from tfpipe.core.plain_yaml import parse_yaml
from tfpipe.core.progress import say, track
from tfpipe.core.workspace import Workspace

Json = dict[str, Any]

MOST_TOLD = 20


def read_manifest(path: Path) -> Json:
    """A manifest, as `manifest.yaml` has it.

    Raises:
        DataError: when it is none.
    """
    try:
        document = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. Every run has a manifest at runs/<config>/manifest.yaml.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a manifest: {error}") from None
    if not _is_manifest(document):
        raise DataError(f"{path}: not a manifest: `configs` and `steps`, with each step's `outputs`, are missing.")
    found: Json = document
    return found


def check_manifest(path: Path, workspace: Workspace) -> Json:
    """Hash everything that the steps of a manifest wrote once more.

    Returns:
        `num_outputs`, and `num_changed`, which is 0.

    Raises:
        CriterionError: naming what is gone or has changed.
        DataError: when it is no manifest.
    """
    manifest = read_manifest(path)
    for line in other_environment(manifest):
        say(f"note: {line}")
    outputs = dict(_iter_outputs(manifest, workspace))
    changed = [
        told
        for output, (step, digest) in track(outputs.items(), f"check {path}", len(outputs))
        if (told := _told(output, step, digest))
    ]
    if changed:
        more = f"\nand {len(changed) - MOST_TOLD} more" if len(changed) > MOST_TOLD else ""
        raise CriterionError(
            f"{len(changed)} of {len(outputs)} files and folders that {path} names are not as it tells:\n"
            + "\n".join(changed[:MOST_TOLD])
            + more
        )
    say(f"{path}: all {len(outputs)} files and folders that it names are as it tells.")
    return {"num_outputs": len(outputs), "num_changed": 0}


def other_environment(manifest: Json) -> Iterator[str]:
    """A sentence for each difference of the environment that a manifest tells of from this one."""
    before = manifest.get("environment") or {}
    for name, now in environment().items():
        if name in before and before[name] != now:
            yield f"{name} was {before[name]}, and is {now} here."


def _iter_outputs(manifest: Json, workspace: Workspace) -> Iterator[tuple[Path, tuple[str, str]]]:
    """Path → step's title and sha256."""
    for config, steps in manifest["steps"].items():
        for step, ran in steps.items():
            for name, digest in ran["outputs"].items():
                yield Path(name), (f"{step} {config}", digest)
            yield workspace.root / "runs" / config / step / "metrics.json", (f"{step} {config}", ran["metrics_sha256"])


def _told(path: Path, step: str, digest: str) -> str | None:
    if not path.exists():
        return f"  {path}: gone (from `{step}`)"
    found = sha256_file(path) if path.is_file() else sha256_path(path)
    return f"  {path}: {found[:12]}…, was {digest[:12]}… (from `{step}`)" if found != digest else None


def _is_manifest(document: Any) -> bool:
    try:
        named = [isinstance(settings["path"], str) for settings in document["configs"].values()]
        return (
            any(named)
            and all(named)
            and all(
                isinstance(ran["outputs"], dict) and isinstance(ran["metrics_sha256"], str)
                for steps in document["steps"].values()
                for ran in steps.values()
            )
        )
    except (TypeError, KeyError, AttributeError):
        return False
