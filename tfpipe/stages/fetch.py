"""`fetch`: the images that the rows' URLs name are looked at and kept; every row ends with a reason."""

import time
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from uuid import uuid4

from tfpipe.core.config import Config
from tfpipe.core.files import atomic_open, read_json, write_json
from tfpipe.core.progress import track
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.data.download.addresses import Link, parse_link
from tfpipe.data.download.answers import Answer, Reason
from tfpipe.data.download.content import Terms
from tfpipe.data.download.journal import Journal
from tfpipe.data.download.pieces import Piece, fetch_links
from tfpipe.data.fetched import Fetched
from tfpipe.data.rows import Row, iter_rows
from tfpipe.data.workers import runner_of

WORST_HOSTS = 20


def run(config: Config, workspace: Workspace) -> Metrics:
    """Ask for what the rows name, then tell of each row what became of it."""
    links = _iter_links(workspace.raw_path(config))
    first = next(links, None)
    if first is None:
        return _tell(config, workspace, journal=None) | {"num_urls": 0, "num_hosts": 0, "num_bytes": 0}
    piece = _piece(config, workspace)
    start = time.monotonic()
    links = track(chain([first], links), f"{piece.title}: reading", None)
    num_asked = fetch_links(links, _run_id(config, workspace), piece, runner_of(config))
    seconds = time.monotonic() - start
    with Journal(piece.journal_path) as journal:
        num_urls, num_hosts = journal.count_urls()
        return _tell(config, workspace, journal) | {
            "num_urls": num_urls,
            "num_hosts": num_hosts,
            "num_bytes": journal.count_bytes(),
            "num_asked": num_asked,
            "seconds": round(seconds, 1),
            "urls_per_second": round(num_asked / seconds, 1),
            "per_host": {
                host: {"urls": urls, "failed": failed, "mostly": reason}
                for host, urls, failed, reason in journal.worst_hosts(WORST_HOSTS)
            },
        }


def _tell(config: Config, workspace: Workspace, journal: Journal | None) -> Metrics:
    """Write `fetch.jsonl`, and count."""
    reasons: Counter[Reason] = Counter()
    images_dir = workspace.images_dir(config)
    rows = track(iter_rows(workspace.raw_path(config)), f"{_title(config)}: writing", None)
    with atomic_open(workspace.fetched_path(config)) as file:
        for row in rows:
            fetched = _fetched(row, _answer(row, journal), images_dir)
            reasons[fetched.reason] += 1
            file.write(fetched.to_json() + "\n")
    num_rows = reasons.total()
    failed = num_rows - reasons[Reason.LOCAL] - reasons[Reason.OK]
    return {
        "num_rows": num_rows,
        "failure_rate": failed / num_rows if num_rows else 0.0,
        "per_reason": {reason.value: count for reason, count in reasons.most_common()},
    }


def _answer(row: Row, journal: Journal | None) -> Answer:
    if _is_local(row):
        return Answer(Reason.LOCAL)
    link = parse_link(row.url)
    if link is None or journal is None:
        return Answer(Reason.BAD_URL, detail="" if row.url else "none")
    answer = journal.settled(link.url)
    assert answer, f"{link.url} was not asked for"
    return answer


def _fetched(row: Row, answer: Answer, images_dir: Path) -> Fetched:
    return Fetched(
        id=row.id,
        reason=answer.reason,
        url=row.url,
        detail=answer.detail,
        status=answer.status,
        path=(images_dir / answer.path).as_posix() if answer.path else "",
        sha256=answer.sha256,
        bytes=answer.num_bytes,
    )


def _iter_links(raw_path: Path) -> Iterator[Link]:
    for row in iter_rows(raw_path):
        link = None if _is_local(row) else parse_link(row.url)
        if link:
            yield link


def _is_local(row: Row) -> bool:
    return bool(row.path or row.text)


def _piece(config: Config, workspace: Workspace) -> Piece:
    # Whole paths: another machine's worker may stand in another folder.
    images_dir = workspace.images_dir(config).resolve()
    terms = Terms(
        min_side=config.audit.min_side,
        max_pixels=config.fetch.max_pixels,
        reencode_side=config.fetch.reencode_side,
        images_dir=None if config.fetch.check_only else images_dir,
    )
    return Piece(workspace.journal_path(config), config.fetch, terms, title=_title(config))


def _title(config: Config) -> str:
    return f"fetch {config.dataset}"


def _run_id(config: Config, workspace: Workspace) -> str:
    """Stays as long as the step's folder does: until a run of these settings and inputs has finished."""
    path = workspace.step_dir(config, "fetch") / "run.json"
    if not path.is_file():
        write_json({"id": uuid4().hex}, path)
    run_id: str = read_json(path)["id"]
    return run_id
