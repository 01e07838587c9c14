"""`run --from-manifest`: the same settings again, and every hash compared."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import yaml

from tfpipe.core.environment import git_commit
from tfpipe.core.errors import CriterionError, DataError
from tfpipe.core.files import atomic_open, sha256_json
from tfpipe.core.progress import say
from tfpipe.core.states import read_state
from tfpipe.core.steps import Metrics, Node
from tfpipe.core.tracing import MOST_TOLD, other_environment, read_manifest
from tfpipe.core.workspace import Workspace
from tfpipe.stages.runner import run_all, whole_graph

Json = dict[str, Any]


def rerun(
    manifest_path: Path, *, workspace: Workspace | None = None, force: bool = False, dry_run: bool = False
) -> Metrics:
    """Run what a manifest tells of with the settings that it holds, whatever has become of their files.

    Steps that measure this machine (how fast a browser answers) are run, and not compared.

    Raises:
        CriterionError: naming what came out otherwise.
        DataError: when it is no manifest, or one without its settings.
    """
    manifest, workspace = read_manifest(manifest_path), workspace or Workspace()
    # They stay, so that the rerun has settings that a person can look at, and `status` finds.
    folder = workspace.root / "runs" / ".settings" / sha256_json(manifest["configs"])[:12]
    path = _write_settings(manifest, manifest_path, folder)
    metrics = run_all([path], workspace=workspace, force=force, dry_run=dry_run)
    if not dry_run:
        _compare(manifest, manifest_path, whole_graph([path], workspace))
    return metrics


def _write_settings(manifest: Json, manifest_path: Path, folder: Path) -> Path:
    """Files that name each other as those did from which they were read; returns the run's own."""
    settings = {
        Path(each["path"]).resolve(): {key: value for key, value in each.items() if key != "path"}
        for each in manifest["configs"].values()
        # Rows that `data.train_jsonl` names stand for settings of their own.
        if PurePath(each["path"]).suffix in (".yaml", ".yml")
    }
    own = Path(str(manifest.get("config"))).resolve()
    if own not in settings:
        raise DataError(f"{manifest_path}: `configs` does not have the settings of the file that `config` names.")
    # Below one folder, wherever they lay.
    root = os.path.commonpath([path.parent for path in settings])
    for path, document in settings.items():
        target = folder / path.relative_to(root)
        with atomic_open(target) as file:
            yaml.safe_dump(document, file, allow_unicode=True)
    return folder / own.relative_to(root)


def _compare(manifest: Json, manifest_path: Path, nodes: list[Node]) -> None:
    compared, different = 0, []
    for node, name, digest in _iter_recorded(manifest, nodes):
        state = read_state(node)
        found = state["outputs"].get(name) if state else None
        compared += 1
        if found != digest:
            different.append(f"  {name}: {f'{found[:12]}…' if found else 'gone'}, was {digest[:12]}… ({node.title})")
    if different:
        more = f"\nand {len(different) - MOST_TOLD} more" if len(different) > MOST_TOLD else ""
        raise CriterionError(
            f"{len(different)} of {compared} files and folders came out otherwise than {manifest_path} tells:\n"
            + "\n".join(different[:MOST_TOLD])
            + more
            + "".join(f"\n{line}" for line in other_environment(manifest))
            + _told_commit(manifest)
        )
    say(f"All {compared} files and folders came out as {manifest_path} tells.")


def _told_commit(manifest: Json) -> str:
    """Exports name the commit that made them."""
    here, there = git_commit(), manifest.get("git_commit")
    if there and manifest.get("git_dirty"):
        there += "-dirty"
    if not here or not there or here == there:
        return ""
    return f"\nIt was made at commit {there}, and this is {here}; exports name it."


def _iter_recorded(manifest: Json, nodes: list[Node]) -> Iterator[tuple[Node, str, str]]:
    for node in nodes:
        recorded = manifest["steps"].get(node.config.name, {}).get(node.step.name)
        if recorded and not node.step.measures:
            for name, digest in recorded["outputs"].items():
                yield node, name, digest
