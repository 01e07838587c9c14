"""The service worker, by which the page works without a network, and shows all of one version."""

import base64
import hashlib
import json
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

from tfpipe.core.files import sha256_json

WORKER = "sw.js"
LATER = ("vendor/*webgl*", "vendor/*webgpu*")
"""Backends that few visits need: kept on the reader's device once they were asked for."""
NEVER = (WORKER, "model.tflite")
"""The page does not read them."""


def write_service_worker(folder: Path) -> str:
    """Put the site's files and their hashes before the code in `sw.js`.

    A file that the server changes on its way, as some minify HTML, has another
    hash: the page then works, but is not kept.

    Args:
        folder: the whole site, which is not to change any more.

    Returns:
        Its version, which any other byte in any file changes.
    """
    hashes = {
        path.relative_to(folder).as_posix(): _integrity(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != WORKER
    }
    worker = folder / WORKER
    code = worker.read_text(encoding="utf-8")
    version = sha256_json([hashes, code])[:16]
    later = {path: found for path, found in hashes.items() if _is_any(path, LATER)}
    files = {path: found for path, found in hashes.items() if not _is_any(path, (*LATER, *NEVER))}
    head = {"VERSION": version, "FILES": files, "LATER": later}
    worker.write_text(f'"use strict";\n\n{_constants(head)}\n{code}', encoding="utf-8")
    return version


def _is_any(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)


def _integrity(path: Path) -> str:
    """As `fetch` takes it (W3C, Subresource Integrity)."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _constants(values: Mapping[str, object]) -> str:
    return "".join(f"const {name} = {json.dumps(value, indent=2)};\n" for name, value in values.items())
