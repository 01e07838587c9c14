"""`doctor`: whether this machine is ready, and for these settings; what is not, with the command that mends it."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from tfpipe.core.config import Config, load_config
from tfpipe.core.errors import TfpipeError
from tfpipe.core.secrets import redact
from tfpipe.core.steps import build_graph, in_order
from tfpipe.core.workspace import Workspace
from tfpipe.stages import LAST, STEPS
from tfpipe.stages.doctor import machine, project
from tfpipe.stages.doctor.checks import Check, Look

__all__ = ["Check", "examine"]

PATIENCE_S = 7.0
"""For everything together; what has not answered by then is told to be slow."""


def examine(path: Path | None, overrides: tuple[str, ...] = (), *, patience_s: float = PATIENCE_S) -> list[Check]:
    """Look at the machine, and with settings at what they need of it, everything side by side.

    Args:
        path: of a settings file, or None.
        overrides: `key.path=value` each.
        patience_s: for all of it.
    """
    deadline = time.monotonic() + patience_s
    configs, problem = _read(path, overrides)
    config = configs[0] if configs else None
    looks = {
        "python": machine.look_at_python,
        "packages": machine.look_at_packages,
        # Seconds of import: begun early, in a process of its own.
        "tensorflow": lambda: machine.look_at_tensorflow(deadline),
        "processor": machine.look_at_processor,
        "memory": machine.look_at_memory,
        "disk": machine.look_at_disk,
        **machine.of_page(config),
        **(project.looks(configs) if configs else {}),
    }
    found = _side_by_side(looks, deadline)
    return [*found, problem] if problem else found


def _read(path: Path | None, overrides: tuple[str, ...]) -> tuple[list[Config], Check | None]:
    """The settings and all that they name, those asked for first; or what is wrong with them."""
    if path is None:
        return [], None
    try:
        config = load_config(path, overrides)
        nodes = in_order(build_graph(STEPS, config, LAST, Workspace()))
        others = {node.config.path.resolve(): node.config for node in nodes}
    except TfpipeError as error:
        return [], Check("settings", "fail", str(error))
    others.pop(path.resolve(), None)
    return [config, *others.values()], None


def _side_by_side(looks: dict[str, Callable[[], Look]], deadline: float) -> list[Check]:
    """In the order of the looks; one that takes too long is left alone."""
    found: dict[str, list[Check]] = {}

    def take(name: str, look: Callable[[], Look]) -> None:
        try:
            looked = look()
        except Exception as error:  # noqa: BLE001 - whatever it is, the other looks are told, too
            looked = Check(name, "fail", f"could not be looked at: {redact(str(error)) or type(error).__name__}")
        found[name] = [looked] if isinstance(looked, Check) else looked

    # Daemons: the process may end while one still waits for a server.
    threads = [threading.Thread(name=name, target=take, args=(name, look), daemon=True) for name, look in looks.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [check for name in looks for check in found.get(name, [Check(name, "note", SLOW, "tfpipe doctor")])]


SLOW = "no answer in time; ask again when the machine has less to do"
