"""`init`: starter settings for a source, sized by what a look at it finds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfpipe.core.config import load_config
from tfpipe.core.errors import ConfigError
from tfpipe.core.files import atomic_path
from tfpipe.core.steps import build_graph
from tfpipe.core.workspace import Workspace
from tfpipe.stages import LAST, STEPS
from tfpipe.stages.starter.images import image_documents
from tfpipe.stages.starter.looking import Found, look
from tfpipe.stages.starter.naming import Ask, Place, Wish, place_of
from tfpipe.stages.starter.texts import text_documents
from tfpipe.stages.starter.weights import choose_start, describe
from tfpipe.stages.starter.writing import Document, render

__all__ = ["Ask", "Starter", "Wish", "write_starter"]


@dataclass(frozen=True)
class Starter:
    """What `write_starter` found and wrote."""

    told: tuple[str, ...]
    """Sentences for the person."""
    paths: tuple[Path, ...]
    """In the order in which they need each other."""

    @property
    def next_command(self) -> str:
        """What to type now."""
        return f"tfpipe run --config {self.paths[-1].as_posix()}"


def write_starter(wish: Wish, folder: Path, ask: Ask, *, force: bool, can_download: Callable[[str], bool]) -> Starter:
    """Look at the source, ask what is not clear, and write the settings.

    Args:
        wish: what was said already.
        folder: where the files go.
        ask: answers what was not said.
        force: replace files that are there.
        can_download: whether a URL answers; asked where nobody said which weights to start from.

    Raises:
        ConfigError: when a file is there already, or what was said makes no sense.
        DataError: when the source cannot be read, or holds nothing to learn from.
    """
    _check_is_free(folder, ("dataset.yaml",), force=force)
    found = look(wish, ask)
    name = ask("--name", "A name for the data set", wish.name or found.name)
    place = place_of(folder, name)
    region = wish.region or _region(found, ask)
    if found.task == "image":
        # Drawn plants are nothing like ImageNet's photos.
        said = wish.weights or ("none" if found.snapshot["source"] == "herbarium" else "")
        start = choose_start(said, ask, can_download)
        documents = image_documents(found, place, region, start)
        told = found.told if said == "none" else (*found.told, describe(start))
    else:
        documents, why = text_documents(found, place, region, wish.weights, ask)
        told = (*found.told, *why)
    if place.dataset != name:
        told = (*told, f"The data set is called {place.dataset}: small letters, digits and underscores.")
    return Starter(told, _write(documents, place, force=force))


def _region(found: Found, ask: Ask) -> str:
    """Of a second teacher, where photos tell of more than one."""
    if found.task == "text" or len(found.per_region) < 2:
        return ""
    some = ", ".join(region for region, _ in found.per_region.most_common(10))
    return ask("--region", f"A region with a teacher of its own ({some}); empty for none", "")


def _write(documents: list[Document], place: Place, *, force: bool) -> tuple[Path, ...]:
    """All files, or none where one is there already."""
    _check_is_free(place.folder, [document.name for document in documents], force=force)
    paths = tuple(place.folder / document.name for document in documents)
    for document, path in zip(documents, paths, strict=True):
        with atomic_path(path) as sibling:
            sibling.write_text(render(document, place), encoding="utf-8")
    settings = [path for path in paths if path.suffix == ".yaml"]
    for path in settings:
        build_graph(STEPS, load_config(path), LAST, Workspace())
    return tuple(settings)


def _check_is_free(folder: Path, names: Sequence[str], *, force: bool) -> None:
    """Before anybody is asked anything, and again before anything is written."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; `tfpipe init` writes into a folder.")
    there = [(folder / name).as_posix() for name in names if (folder / name).exists()]
    if there and not force:
        other = (folder / "mine").as_posix()
        raise ConfigError(
            f"{' and '.join(there)} {'is' if len(there) == 1 else 'are'} there already. --force writes anew; another "
            f"folder, such as `tfpipe init {other}`, keeps both."
        )
