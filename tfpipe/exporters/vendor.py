"""TensorFlow.js itself, from its npm packages, at the versions that `npm/package-lock.json` pins."""

import os
import shutil
import subprocess
from pathlib import Path

from tfpipe.core.errors import EnvironmentProblemError
from tfpipe.core.files import atomic_path, sha256_file
from tfpipe.core.progress import say

LOCK_DIR = Path(__file__).parent / "npm"
WASM = "tfjs-backend-wasm"
FILES = (
    "tfjs-core/dist/tf-core.min.js",
    "tfjs-converter/dist/tf-converter.min.js",
    "tfjs-backend-cpu/dist/tf-backend-cpu.min.js",
    "tfjs-backend-webgl/dist/tf-backend-webgl.min.js",
    "tfjs-backend-webgpu/dist/tf-backend-webgpu.min.js",
    f"{WASM}/dist/tf-backend-wasm.min.js",
    f"{WASM}/dist/tfjs-backend-wasm.wasm",
    f"{WASM}/dist/tfjs-backend-wasm-simd.wasm",
    f"{WASM}/dist/tfjs-backend-wasm-threaded-simd.wasm",
)


def copy_vendor(target: Path) -> None:
    """Copy the files that the page loads into `target`, installing the packages on first use."""
    packages = install_packages()
    target.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(packages / name, target / Path(name).name)


def install_packages() -> Path:
    """The packages' folder in the user's cache; npm is asked the first time alone.

    Raises:
        EnvironmentProblemError: when npm is missing or fails.
    """
    cache = cache_dir()
    if not cache.is_dir():
        say(f"installing TensorFlow.js from npm into {cache}")
        with atomic_path(cache) as folder:
            shutil.copytree(LOCK_DIR, folder)
            _npm_ci(folder)
    return cache / "node_modules" / "@tensorflow"


def cache_dir() -> Path:
    """Where the packages are, once they have been installed."""
    lock_hash = sha256_file(LOCK_DIR / "package-lock.json")[:12]
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tfpipe" / f"npm-{lock_hash}"


def _npm_ci(folder: Path) -> None:
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise EnvironmentProblemError(
            "npm is missing: the page carries TensorFlow.js from its npm packages. Install Node.js with npm."
        ) from None
    except subprocess.CalledProcessError as error:
        raise EnvironmentProblemError(f"npm could not install TensorFlow.js: {error.stderr.strip()[-300:]}") from None
