"""Shares of a step: several machines do it together, in one folder."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from tfpipe.core import execution
from tfpipe.core.cluster import Share
from tfpipe.core.config import Config
from tfpipe.core.errors import MissingArtifactError
from tfpipe.core.states import is_current
from tfpipe.core.workspace import Workspace


def test_shares_that_start_at_one_moment_find_one_folder_and_set_the_old_one_aside_once(
    kitchen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kitchen.make()
    kitchen.settings = {"export": {"title": "Soup"}}
    together = threading.Barrier(4)

    def take_part(config: Config, workspace: Workspace, share: Share) -> dict[str, Any]:
        (workspace.step_dir(config, "cook") / f"part{share.number}").touch()
        together.wait(30)
        return {"share": share.number}

    monkeypatch.setitem(sys.modules, "tfpipe.stages.cook", SimpleNamespace(take_part=take_part))
    monkeypatch.setattr(execution, "native_silence", nullcontext)
    node = kitchen.node("cook")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: execution.take_part(node, Share(number, 4)), range(1, 5)))
    assert [metrics["share"] for metrics in found] == [1, 2, 3, 4]
    left = sorted(path.name for path in kitchen.folder("cook").iterdir())
    assert left == ["part1", "part2", "part3", "part4", "started.json"]
    assert (kitchen.folder(".cook.previous") / "state.json").is_file()
    assert not is_current(node)


def test_a_share_leaves_earlier_steps_to_others(kitchen: Any) -> None:
    with pytest.raises(MissingArtifactError, match=r"Run `tfpipe gather"):
        kitchen.make("peel", share=Share(1, 2))
