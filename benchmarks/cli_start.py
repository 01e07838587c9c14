"""How long the command line takes to answer `--help`."""

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.table import Table

RUNS = 5
TFPIPE = str(Path(sys.executable).with_name("tfpipe"))
COMMANDS = {
    "import tensorflow": [sys.executable, "-c", "import tensorflow"],
    "python itself": [sys.executable, "-c", ""],
    "tfpipe --help": [TFPIPE, "--help"],
    "tfpipe distill --help": [TFPIPE, "distill", "--help"],
}


def measure() -> Table:
    """Best of five, warm."""
    seconds = {name: min(_seconds(command) for _ in range(RUNS)) for name, command in COMMANDS.items()}
    return Table("Command line", f"Wall-clock seconds, best of {RUNS}.", "s", seconds)


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start
