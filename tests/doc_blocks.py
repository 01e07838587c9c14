"""The documents' code blocks, and a shell in which every program but `tfpipe`'s own parsing is a stand-in."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(?P<language>\w*)(?P<options>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
INCLUDED = re.compile(r'^--8<-- "([^"]+)"$', re.MULTILINE)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
SHELLS = ("sh", "bash", "console")
PROGRAMS = (
    *("tfpipe", "make", "pip", "python", "curl", "kubectl", "sbatch", "tensorboard", "nvidia-smi", "unzip"),
    *("head", "base64", "openssl"),
)
"""What a block may call; whatever else it calls is not found, and the block fails."""
RECORD = """#!/bin/sh
number=1000
for before in "$CALLS"/*; do if [ -e "$before" ]; then number=$((number + 1)); fi; done
for word in "${0##*/}" "$TF_CONFIG" "$@"; do printf '%s\\0' "$word"; done > "$CALLS/$number-$$"
while read -r line; do :; done
"""
SRUN = """#!/bin/sh
while case "$1" in -*) true;; *) false;; esac; do shift; done
SLURM_PROCID=1 SLURM_STEP_NUM_TASKS=2 exec "$@"
"""


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: Path
    line: int
    language: str
    title: str
    """The file that it shows; empty: a piece."""
    text: str
    """With what it includes."""

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


@dataclass(frozen=True)
class Call:
    """A program that a script has called."""

    program: str
    arguments: list[str]
    tf_config: str = ""


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [_block(page, text, match) for match in FENCE.finditer(text)]


def prose_of(page: Path) -> str:
    """Without the blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def commands_in(block: Block) -> str:
    """Of a console block the lines after the prompt; all of a script."""
    if block.language != "console":
        return block.text
    return "\n".join(line[2:] for line in block.text.splitlines() if line.startswith("$ "))


def write_shown_files(page: Path, folder: Path) -> None:
    """What a page shows under a title is there for its commands."""
    for block in blocks_of(page):
        if block.title:
            (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.title).write_text(block.text, encoding="utf-8")


def run_script(script: str, folder: Path, *arguments: str, **variables: str) -> list[Call]:
    """Let bash run a script in a folder where each program only says how it was called."""
    programs, calls = folder / "bin", folder / "calls"
    programs.mkdir(exist_ok=True)
    for name in PROGRAMS:
        _write_program(programs / name, RECORD)
    _write_program(programs / "srun", SRUN)
    (folder / ".venv/bin").mkdir(parents=True, exist_ok=True)
    (folder / ".venv/bin/activate").touch()
    calls.mkdir(exist_ok=True)
    for old in calls.iterdir():
        old.unlink()
    variables = {"PATH": str(programs), "CALLS": str(calls), **variables}
    command = ["/bin/bash", "-euo", "pipefail", "-c", script, "script", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [_read_call(path) for path in sorted(calls.iterdir())]


def _block(page: Path, text: str, match: re.Match[str]) -> Block:
    title = re.search(r'title="([^"]+)"', match["options"])
    whole = INCLUDED.sub(lambda found: (ROOT / found[1]).read_text(encoding="utf-8").rstrip("\n"), match["text"])
    line = text.count("\n", 0, match.start()) + 1
    return Block(page, line, match["language"], title[1] if title else "", whole)


def _write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _read_call(path: Path) -> Call:
    program, tf_config, *arguments = path.read_text().split("\0")[:-1]
    return Call(program, arguments, tf_config)
