"""A working folder in which `fetch` asks the photo server."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from photo_server import HOSTS, PhotoServer

from tfpipe.core.workspace import Workspace
from tfpipe.stages.runner import run_step

Row = dict[str, Any]


@dataclass
class Place:
    """A working folder with one data set."""

    root: Path
    server: PhotoServer

    @property
    def config(self) -> Path:
        return self.root / "d.yaml"

    @property
    def journal(self) -> Path:
        return self.root / "data" / "d" / "fetch" / "journal.sqlite"

    def write(self, *urls: str | Row, failure_rate: str = "<= 1", **settings: object) -> None:
        """Rows with these URLs (a path without a host is the server's), and settings in which a test takes no time.

        A lone URL stands on two rows, since two classes are needed.
        """
        urls = urls * 2 if len(urls) == 1 else urls
        rows = [
            url if isinstance(url, dict) else {"url": url if ":" in url.partition("?")[0] else self.server.url(url)}
            for url in urls
        ]
        rows = [{"id": str(number), "label": "ab"[number % 2], **row} for number, row in enumerate(rows)]
        (self.root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        quick = {"allow_hosts": HOSTS, "backoff_s": 0.02, "per_host_rate": 1000, "breaker_pause_s": 0.1}
        document = {
            "snapshot": {"source": "jsonl", "path": str(self.root / "rows.jsonl")},
            "dataset": "d",
            "fetch": quick | settings,
            "criteria": {"fetch": {"failure_rate": failure_rate}},
        }
        self.config.write_text(json.dumps(document))

    def run(self, *, force: bool = False) -> dict[str, Any]:
        return run_step("fetch", self.config, workspace=Workspace(self.root), force=force)

    def lines(self) -> list[dict[str, Any]]:
        """Of `fetch.jsonl`, with paths below the root."""
        text = (self.root / "data" / "d" / "fetch.jsonl").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        paths = [
            {"path": Path(line["path"]).relative_to(self.root).as_posix()} if "path" in line else {} for line in lines
        ]
        return [line | path for line, path in zip(lines, paths, strict=True)]

    def told(self) -> list[tuple[str, str]]:
        return [(line["reason"], line.get("detail", "")) for line in self.lines()]

    def start(self) -> subprocess.Popen[str]:
        """The command, in a process of its own."""
        command = [sys.executable, "-c", "from tfpipe.cli import main; main()", "fetch", "--config", "d.yaml"]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        return subprocess.Popen(command, cwd=self.root, env=environment, stderr=subprocess.PIPE, text=True)
