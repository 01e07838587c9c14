"""`snapshot`: the source's rows, as they are, in `raw.jsonl`."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from tfpipe.core.config import Config
from tfpipe.core.errors import BrokenOffError, DataError
from tfpipe.core.progress import progress, say
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.partial import PartialRows
from tfpipe.data.rows import Row, read_label_map
from tfpipe.data.sources import SOURCES
from tfpipe.data.sources.documents import Batch


@dataclass
class Tally:
    """What has come so far."""

    wanted: set[str]
    """Fields that `snapshot.fields` names and no row has had yet."""
    labels: Counter[str] = field(default_factory=Counter)
    regions: Counter[str] = field(default_factory=Counter)
    empty: int = 0
    first_empty: str = ""

    def count(self, rows: Iterable[Row]) -> None:
        """Add some rows."""
        for row in rows:
            self.labels[row.label] += 1
            self.regions[row.region] += 1
            if self.wanted:
                self.wanted = {name for name in self.wanted if not getattr(row, name)}
            if not (row.url or row.path or row.text):
                self.empty += 1
                self.first_empty = self.first_empty or row.id


def run(config: Config, workspace: Workspace) -> Metrics:
    """Stream the rows to disk, labels mapped by `snapshot.label_map`; an interrupted run is gone on with."""
    tally = Tally(wanted={*config.snapshot.fields})
    with PartialRows(workspace.step_dir(config, "snapshot")) as partial:
        tally.count(partial.rows())
        try:
            for batch in _iter_batches(config, workspace, after=partial.end, done=tally.labels.total()):
                partial.append(batch.rows, batch.end)
                tally.count(batch.rows)
        except DataError as error:
            raise _with_comfort(error, tally.labels.total()) if partial.end else error from None
        _check(tally, config)
        partial.finish(workspace.raw_path(config))
    if tally.empty:
        say(
            f"  {tally.empty} of {tally.labels.total()} rows have neither `url` nor `path` nor `text`, "
            f"such as {tally.first_empty!r}; `split` will leave them out."
        )
    return {
        "num_rows": tally.labels.total(),
        "num_classes": len(tally.labels),
        "num_empty": tally.empty,
        "per_class": dict(tally.labels.most_common()),
        "per_region": dict(tally.regions.most_common()),
    }


def _check(tally: Tally, config: Config) -> None:
    if len(tally.labels) < 2:
        found = len(tally.labels)
        raise DataError(f"{config.path}: the source has {found} classes; a classifier needs at least two.")
    for name, own in config.snapshot.fields.items():
        if name in tally.wanted:
            raise DataError(f"{config.path}: snapshot.fields.{name}: nothing in the source has a `{own}`.")


def _iter_batches(config: Config, workspace: Workspace, *, after: str, done: int) -> Iterator[Batch]:
    """The source's batches, rows under their accepted labels."""
    settings = config.snapshot
    source = SOURCES[settings.kind]
    label_map = read_label_map(settings.label_map) if settings.label_map else {}
    batches = source.iter_batches(settings, images_dir=workspace.images_dir(config), seed=config.seed, after=after)
    total = source.count(settings)
    if done:
        say(f"  snapshot {config.dataset}: going on after {done} rows")
    with progress(f"snapshot {config.dataset}", total and max(total - done, 0)) as advance:
        for batch in batches:
            yield Batch([_accepted(row, label_map) for row in batch.rows], batch.end)
            advance(len(batch.rows))


def _with_comfort(error: DataError, num_rows: int) -> BrokenOffError:
    return BrokenOffError(f"{error} The {num_rows} rows before are kept: run it again, without --force, to go on.")


def _accepted(row: Row, label_map: dict[str, str]) -> Row:
    # A line each is what TFDS keeps of the classes.
    label = " ".join((label_map.get(row.label) or row.label).splitlines())
    return row if label == row.label else replace(row, label=label)
