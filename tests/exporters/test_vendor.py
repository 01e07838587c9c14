"""TensorFlow.js from npm: which files come along, and what is said when npm cannot bring them."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest

from tfpipe.core.errors import EnvironmentProblemError
from tfpipe.exporters.site import WEB_DIR
from tfpipe.exporters.vendor import FILES, LOCK_DIR, copy_vendor


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    return cache


def fill_cache(cache: Path) -> None:
    """Stands for what npm brings, in the folder that belongs to this lock file."""
    lock_hash = hashlib.sha256((LOCK_DIR / "package-lock.json").read_bytes()).hexdigest()
    folder = cache / "tfpipe" / f"npm-{lock_hash[:12]}"
    for name in FILES:
        path = folder / "node_modules" / "@tensorflow" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"contents of {name}")


def test_the_files_of_the_packages_are_copied_side_by_side(empty_cache: Path, tmp_path: Path) -> None:
    fill_cache(empty_cache)
    copy_vendor(tmp_path / "vendor")
    copied = {path.name: path.read_text() for path in (tmp_path / "vendor").iterdir()}
    assert copied == {Path(name).name: f"contents of {name}" for name in FILES}


def test_the_page_loads_no_script_that_is_not_copied() -> None:
    scripts = "".join(path.read_text() for path in WEB_DIR.rglob("*.js"))
    wanted = set(re.findall(r'"vendor/(tf[^"]+)"', scripts))
    assert len(wanted) == 6
    assert wanted <= {Path(name).name for name in FILES}


def test_what_was_installed_once_needs_no_npm(
    empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_cache(empty_cache)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    copy_vendor(tmp_path / "vendor")
    assert len(list((tmp_path / "vendor").iterdir())) == len(FILES)


def test_without_npm_it_says_what_to_install(
    empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(EnvironmentProblemError, match=r"^npm is missing: .*Install Node\.js with npm\.$"):
        copy_vendor(tmp_path / "vendor")
    assert not [path for path in empty_cache.rglob("*") if path.is_file()], "half an installation stays behind"
    assert not (tmp_path / "vendor").exists()


def test_an_npm_that_fails_is_quoted(empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text("#!/bin/sh\necho 'npm error code ENETUNREACH' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}:/bin:/usr/bin")
    with pytest.raises(EnvironmentProblemError, match=r"npm could not install TensorFlow\.js: .*ENETUNREACH"):
        copy_vendor(tmp_path / "vendor")
    assert not [path for path in empty_cache.rglob("*") if path.is_file()], "half an installation stays behind"


def test_versions_are_pinned() -> None:
    """All of TensorFlow.js at one version, each package by its hash."""
    lock = json.loads((LOCK_DIR / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    ours = {name.split("/")[0] for name in FILES}
    assert len({packages[f"node_modules/@tensorflow/{name}"]["version"] for name in ours}) == 1


def test_npm_brings_the_files_that_are_named(tmp_path: Path) -> None:
    """From npm or the user's cache of it; the wasm files begin as WebAssembly does."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    try:
        copy_vendor(tmp_path / "vendor")
    except EnvironmentProblemError as error:
        pytest.skip(f"npm cannot reach its registry: {error}")
    for name in FILES:
        content = (tmp_path / "vendor" / Path(name).name).read_bytes()
        assert len(content) > 10_000
        assert content.startswith(b"\0asm") == name.endswith(".wasm")
