"""`split`: rows that cannot be used are left out and counted; the rest is split without leaks."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import compress, islice, zip_longest
from pathlib import Path

import numpy as np

from tfpipe.core.config import Config
from tfpipe.core.errors import CriterionError, DataError, MissingArtifactError
from tfpipe.core.files import atomic_open
from tfpipe.core.progress import progress, say
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data import leaks
from tfpipe.data.assignment import NO_SPLIT, SPLITS, SplitNumbers
from tfpipe.data.clusters import join_keys, key_of
from tfpipe.data.duplicates import iter_near_duplicates
from tfpipe.data.facts import Facts, iter_facts
from tfpipe.data.ledger import BRIDGES_SPLITS, Ledger
from tfpipe.data.rows import Row, iter_documents, iter_rows
from tfpipe.data.splitting import LEFT_OUT, Columns, Split, gather, not_in_train, split_rows

SHOWN_ROWS = 1000
"""Between two looks at the progress."""

SHOWN_CLASSES = 10

REPEATED = "repeated"
"""The fault of a text that stands on an earlier row, with the same label."""

Faults = dict[str, Counter[str]]
"""Label → fault → rows."""


def run(config: Config, workspace: Workspace) -> Metrics:
    """Read the rows twice: once to decide, once to write."""
    faults: Faults = defaultdict(Counter)
    rows = _usable(_iter_audited(config, workspace, "reading"), faults)
    columns = gather(rows, _iter_near_duplicates(config, workspace))
    _check_rows(columns, faults, config, workspace)
    if config.split.unit == "row":
        say(f"warning: {config.path}: split.unit is row: what is repeated leaks, and scores will be too good.")
        columns = columns.unjoined()
    if (columns.given != NO_SPLIT).any():
        split, num_remembered = _given(columns, config, workspace), 0
        deque(_write(split.numbers, config, workspace), maxlen=0)
    else:
        ledger = Ledger(workspace.ledger_path(config), config.split, config.seed)
        remembered = ledger.read(columns.ids)
        split = split_rows(columns, config.split, seed=config.seed, remembered=remembered)
        num_remembered = int((remembered != NO_SPLIT).sum())
        is_new = remembered[split.numbers >= 0] == NO_SPLIT
        # Rows first: `compress` then goes on until the last of them, left out or not, is written.
        ledger.append(compress(_write(split.numbers, config, workspace), is_new.tolist()))
    return _metrics(columns, split, faults) | {"kept_from_ledger": num_remembered}


def check(path: Path, config: Config | None, workspace: Workspace) -> Metrics:
    """Prove that a splits file leaks nothing.

    Args:
        path: JSON Lines or CSV.
        config: of a data set that is audited: what is known of the file's ids counts then, too.
        workspace: where the data set lies.

    Raises:
        CriterionError: naming rows that stand in different splits and belong together.
    """
    fields = {str(field): name for field, name in config.snapshot.fields.items()} if config else {}
    claims = leaks.read_claims(path, fields)
    shared = leaks.shared_by_claims(claims, _known(config, workspace) if config else None)
    judged_by = {name: int((keys != 0).sum()) for name, keys in shared.items()}
    if not any(count for name, count in judged_by.items() if name != leaks.SAME_ID):
        raise DataError(
            f"{path}: nothing to judge by. Rows need `group`, `sha256`, `text` or `path`, or ids that the audit of "
            "`--config` knows."
        )
    found = leaks.find_leaks(shared, claims.splits)
    sizes = _sizes(claims.splits)
    if found:
        told = leaks.describe(found, claims.splits, (claim.id for claim in leaks.iter_claims(path, fields)))
        also = leaks.num_also_in_train(shared, claims.splits)
        rows = " and ".join(f"{also[name]:,} of {sizes[name]:,} {name} rows" for name in also if sizes[name])
        raise CriterionError(f"{path} leaks: {rows} belong with a row in train. {told}")
    say(f"{path}: nothing leaks by {', '.join(f'{name} ({n:,} rows)' for name, n in judged_by.items() if n)}.")
    return {"num_rows": len(claims.splits), "per_split": sizes, "judged_by": judged_by, "num_leaks": 0}


def _iter_audited(config: Config, workspace: Workspace, doing: str) -> Iterator[tuple[Row, Facts]]:
    """Every row with its facts; of texts with one label, all but the first are repeated.

    Raises:
        DataError: when the facts are those of other rows.
    """
    facts_path = workspace.facts_path(config)
    pairs = zip_longest(iter_rows(workspace.raw_path(config)), iter_facts(facts_path))
    repeats, marks_repeats = _Repeats(), config.task == "text" and config.split.unit == "cluster"
    with progress(f"split {config.dataset}: {doing}", None) as advance:
        for number, (row, facts) in enumerate(pairs, start=1):
            if row is None or facts is None or row.id != facts.id:
                raise DataError(f"{facts_path}:{number}: facts of other rows. Run `tfpipe audit --force` first.")
            yield row, repeats.mark(row, facts) if marks_repeats else facts
            if number % SHOWN_ROWS == 0:
                advance(SHOWN_ROWS)


class _Repeats:
    """Texts that were seen before with the same label: one thing to know, and one to be tested on."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, str]] = set()

    def mark(self, row: Row, facts: Facts) -> Facts:
        """The facts, with a fault if the text is repeated."""
        if facts.fault:
            return facts
        text = (facts.sha256, row.label)
        if text in self.seen:
            return replace(facts, fault=REPEATED)
        self.seen.add(text)
        return facts


def _usable(rows: Iterable[tuple[Row, Facts]], faults: Faults) -> Iterator[tuple[Row, Facts]]:
    """The rows without a fault; the others are counted."""
    for row, facts in rows:
        if facts.fault:
            faults[row.label][facts.fault] += 1
        else:
            yield row, facts


def _iter_near_duplicates(config: Config, workspace: Workspace) -> Iterator[tuple[str, str]]:
    return ((pair.one, pair.other) for pair in iter_near_duplicates(workspace.near_duplicates_path(config)))


def _known(config: Config, workspace: Workspace) -> leaks.Known:
    """What the audit knows of the usable rows; those that `split` left out since they join others join none here."""
    path = workspace.facts_path(config)
    if not path.is_file():
        raise MissingArtifactError(f"{path} is missing. Run `tfpipe audit --config {config.path}` or drop --config.")
    rows = _usable(_iter_audited(config, workspace, "reading"), defaultdict(Counter))
    columns = gather(rows, _iter_near_duplicates(config, workspace))
    excluded = workspace.excluded_path(config)
    left_out = iter_documents(excluded, containing=BRIDGES_SPLITS.encode()) if excluded.is_file() else ()
    bridges = np.array([key_of(str(row["id"])) for _, row in left_out], np.uint64)
    return leaks.Known(columns.ids, leaks.shared_by_rows(columns, np.isin(columns.ids, bridges)))


def _ids(config: Config, workspace: Workspace) -> Iterator[str]:
    """Of the usable rows, in order; for errors, since nothing keeps them."""
    return (row.id for row, facts in _iter_audited(config, workspace, "looking for names") if not facts.fault)


def _check_rows(columns: Columns, faults: Faults, config: Config, workspace: Workspace) -> None:
    if not len(columns.ids):
        raise DataError(f"{config.path}: none of the rows can be used ({_told(sum(faults.values(), Counter()))}).")
    keys, counts = np.unique(columns.ids, return_counts=True)
    repeated = np.flatnonzero(np.isin(columns.ids, keys[counts > 1]))
    if len(repeated):
        row_id = next(islice(_ids(config, workspace), int(repeated[0]), None))
        count = int((columns.ids == columns.ids[repeated[0]]).sum())
        raise DataError(f"id {row_id!r} stands on {count} rows: views and labels are keyed by it. Make ids unique.")


def _given(columns: Columns, config: Config, workspace: Workspace) -> Split:
    """The splits that the rows came with.

    Raises:
        DataError: when they are incomplete or leak, or a class has no row in train.
    """
    lacking = np.flatnonzero(columns.given == NO_SPLIT)
    if len(lacking):
        row_id = next(islice(_ids(config, workspace), int(lacking[0]), None))
        raise DataError(f"row {row_id}: no split, though others have one; allowed: {', '.join(SPLITS)}.")
    missing = not_in_train(columns.labels, columns.given)
    if len(missing):
        named = ", ".join(columns.classes[label] for label in missing[:SHOWN_CLASSES])
        raise DataError(
            f"no train row for {len(missing)} of {len(columns.classes)} classes: {named}. Every class needs one; mend "
            "the given splits, or give the class another label with `snapshot.label_map`."
        )
    shared = leaks.shared_by_rows(columns, np.zeros(len(columns.ids), np.bool_))
    found = leaks.find_leaks(shared, columns.given)
    if found:
        told = leaks.describe(found, columns.given, _ids(config, workspace))
        raise DataError(
            f"the given splits leak. Mend them, or drop the `split` field to have the rows split anew. {told}"
        )
    return Split(columns.given, int(join_keys(list(shared.values())).max()) + 1)


def _write(numbers: SplitNumbers, config: Config, workspace: Workspace) -> Iterator[tuple[str, str]]:
    """Write the rows that have a split, whose ids and splits are passed on, and the others with their faults.

    Args:
        numbers: of the usable rows.
        config: of the data set.
        workspace: where it lies.
    """
    dealt = iter(numbers.tolist())
    with (
        atomic_open(workspace.splits_path(config)) as kept,
        atomic_open(workspace.excluded_path(config)) as excluded,
    ):
        for row, facts in _iter_audited(config, workspace, "writing"):
            number = NO_SPLIT if facts.fault else next(dealt)
            if number < 0:
                fault = {"fault": facts.fault or LEFT_OUT[number]}
                excluded.write(replace(row, extra=row.extra | fault).to_json() + "\n")
            else:
                kept.write(_kept(row, facts, SPLITS[number]).to_json() + "\n")
                yield row.id, SPLITS[number]


def _kept(row: Row, facts: Facts, split: str) -> Row:
    """The row with its split, the place and hash of its image, and its label as the plan's scripts know it."""
    size = {"num_bytes": facts.num_bytes} if facts.num_bytes else {}
    extra = row.extra | {"latin_name": row.label, "sha256": facts.sha256} | size
    return replace(row, path=facts.path or row.path, split=split, extra=extra)


def _metrics(columns: Columns, split: Split, faults: Faults) -> Metrics:
    sizes = _sizes(split.numbers)
    for number, fault in LEFT_OUT.items():
        for label in columns.labels[split.numbers == number].tolist():
            faults[columns.classes[label]][fault] += 1
    kept = {columns.classes[label] for label in np.unique(columns.labels[split.numbers >= 0])}
    lost = {label: dict(faults[label]) for label in sorted(faults.keys() - kept)}
    if lost:
        some = "; ".join(f"{label} ({_told(Counter(lost[label]))})" for label in list(lost)[:SHOWN_CLASSES])
        say(f"  {len(lost)} classes have no usable row and are left out, such as {some}")
    return {
        "num_rows": sum(sizes.values()),
        "num_groups": len(np.unique(columns.groups[columns.groups != 0])),
        "num_clusters": split.num_clusters,
        "num_classes": len(kept),
        "num_lost_classes": len(lost),
        "per_split": sizes,
        "shares": {name: size / sum(sizes.values()) for name, size in sizes.items()},
        "excluded": dict(sum(faults.values(), Counter()).most_common()),
        "lost_classes": lost,
    }


def _sizes(splits: SplitNumbers) -> dict[str, int]:
    return {name: int((splits == number).sum()) for number, name in enumerate(SPLITS)}


def _told(faults: Counter[str]) -> str:
    return ", ".join(f"{fault}: {count}" for fault, count in faults.most_common())
