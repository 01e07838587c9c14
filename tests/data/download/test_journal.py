"""The journal: what is asked for in which run, and what outlives what."""

import sqlite3
from itertools import chain
from pathlib import Path

import pytest

from tfpipe.core.errors import DataError, EnvironmentProblemError
from tfpipe.data.download.addresses import Link
from tfpipe.data.download.answers import Answer, Reason
from tfpipe.data.download.content import Terms
from tfpipe.data.download.journal import Journal

LOOK = Terms(min_side=100, max_pixels=10**8, reencode_side=None, images_dir=None)
GONE = Answer(Reason.HTTP_ERROR, status=404)
SEEN = Answer(Reason.OK, status=200, sha256="ab", num_bytes=3, short_side=200, etag='"1"')


def link(number: int, host: str = "h.org") -> Link:
    return Link(f"http://{host}/{number}", host)


LINKS = [link(number) for number in range(6)]


def due(journal: Journal) -> list[str]:
    return [link.url for host, _ in journal.due_hosts() for link in journal.iter_due(host)]


def begin(journal: Journal, run: str, links: list[Link], terms: Terms = LOOK, *, recheck: bool = False) -> None:
    journal.begin(run, links, terms, recheck=recheck)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of one run: 0 gave an image, 1 is gone, the others were not asked for."""
    path = tmp_path / "fetch" / "journal.sqlite"
    with Journal(path) as journal:
        begin(journal, "first", LINKS)
        journal.settle(LINKS[0], SEEN)
        journal.settle(LINKS[1], GONE)
    return path


def test_a_url_on_many_rows_is_due_once_and_in_the_rows_order(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite") as journal:
        begin(journal, "run", [link(3), link(1), link(3), link(2, "g.org"), link(1)])
        assert journal.due_hosts() == [("h.org", 2), ("g.org", 1)]
        assert due(journal) == [link(3).url, link(1).url, link(2, "g.org").url]
        assert journal.count_urls() == (3, 2)


def test_more_urls_than_a_page_come_in_order_though_they_are_settled_meanwhile(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite") as journal:
        links = [link(number) for number in range(1000)]
        begin(journal, "run", links)
        came = []
        for each in journal.iter_due("h.org"):
            journal.settle(each, GONE)
            came.append(each)
        assert came == links
        assert journal.due_hosts() == []


def test_the_same_run_goes_on_where_it_stood(path: Path) -> None:
    with Journal(path) as journal:
        begin(journal, "first", [])
        assert due(journal) == [each.url for each in LINKS[2:]]
        assert journal.settled(LINKS[0].url) == SEEN
        assert journal.settled(LINKS[1].url) == GONE
        assert journal.settled(LINKS[2].url) is None


def test_a_new_run_asks_again_for_what_failed_and_only_for_what_rows_still_name(path: Path) -> None:
    with Journal(path) as journal:
        begin(journal, "second", [LINKS[5], LINKS[1], LINKS[0]])
        assert due(journal) == [LINKS[1].url, LINKS[5].url]
        assert journal.settled(LINKS[0].url) == SEEN
        assert journal.known(LINKS[1].url) == GONE
        assert journal.count_urls() == (3, 1)


def test_a_recheck_asks_again_for_everything_and_forgets_nothing(path: Path) -> None:
    with Journal(path) as journal:
        begin(journal, "second", LINKS, recheck=True)
        assert len(due(journal)) == 6
        assert journal.known(LINKS[0].url) == SEEN
        journal.settle(LINKS[0], SEEN)
    with Journal(path) as journal:
        begin(journal, "second", LINKS, recheck=True)
        assert len(due(journal)) == 5


def test_an_image_that_no_longer_meets_the_terms_is_asked_for_again(path: Path) -> None:
    with Journal(path) as journal:
        begin(journal, "second", LINKS, Terms(201, 10**8, None, None))
        assert LINKS[0].url in due(journal)


def test_where_only_redirects_led_is_remembered_but_not_asked_for(path: Path) -> None:
    target = link(77)
    with Journal(path) as journal:
        journal.settle(target, GONE)
        assert journal.settled(target.url) == GONE
        begin(journal, "second", LINKS)
        assert target.url not in due(journal)
        assert journal.settled(target.url) is None
        begin(journal, "third", [target])
        assert due(journal) == [target.url]


def test_a_run_that_is_interrupted_while_it_reads_the_rows_has_not_begun(path: Path) -> None:
    def links() -> list[Link]:
        yield link(99)
        raise KeyboardInterrupt

    with Journal(path) as journal:
        with pytest.raises(KeyboardInterrupt):
            journal.begin("second", links(), LOOK, recheck=False)
        begin(journal, "first", [])
        assert due(journal) == [each.url for each in LINKS[2:]]


def test_what_is_counted(path: Path) -> None:
    with Journal(path) as journal:
        begin(journal, "second", [*LINKS, link(0, "g.org"), link(1, "g.org"), link(0, "f.org")])
        for each in LINKS[:3]:
            journal.settle(each, GONE)
        journal.settle(LINKS[3], Answer(Reason.TIMEOUT))
        for each in (*LINKS[4:], link(0, "f.org")):
            journal.settle(each, SEEN)
        journal.settle(link(0, "g.org"), Answer(Reason.OK, sha256="cd", num_bytes=10))
        journal.settle(link(1, "g.org"), Answer(Reason.BROKEN))
        assert journal.worst_hosts(9) == [("h.org", 6, 4, "http_error"), ("g.org", 2, 1, "broken")]
        assert journal.worst_hosts(1) == [("h.org", 6, 4, "http_error")]
        assert journal.count_bytes() == 3 + 10, "each image once"


def test_shares_hold_each_host_once_and_bring_back_what_they_settled(path: Path, tmp_path: Path) -> None:
    hosts = [f"h{number}.org" for number in range(30)]
    links = [link(number, host) for host in hosts for number in range(2)]
    target = link(5, "elsewhere.org")
    with Journal(path) as journal:
        begin(journal, "second", links)
        for number in range(4):
            journal.hand_out(tmp_path / f"{number}.sqlite", share=number, shares=4)
    found = []
    for number in range(4):
        with Journal(tmp_path / f"{number}.sqlite") as share:
            found.append([host for host, count in share.due_hosts() if count == 2])
            for host in found[-1]:
                for each in share.iter_due(host):
                    share.settle(each, GONE if number else SEEN)
            share.settle(target, SEEN)
    assert sorted(chain(*found)) == sorted(hosts)
    assert all(found)
    with Journal(path) as journal:
        for number in range(4):
            journal.take_back(tmp_path / f"{number}.sqlite")
        assert due(journal) == []
        assert journal.settled(target.url) == SEEN
        assert {journal.settled(each.url) for each in links if each.host in found[0]} == {SEEN}
        assert {journal.settled(each.url) for each in links if each.host in found[1]} == {GONE}
        assert journal.count_urls() == (60, 30)


def test_one_process_at_a_time(path: Path) -> None:
    with Journal(path), pytest.raises(EnvironmentProblemError, match=r"journal\.sqlite is in use: another"):
        Journal(path)


def test_a_damaged_journal_is_told_in_a_sentence(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 40)
    with pytest.raises(DataError, match=r"journal\.sqlite is damaged .* Remove it"):
        Journal(path)


def test_a_full_disk_is_told_in_a_sentence(path: Path) -> None:
    with Journal(path) as journal:
        pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
        journal._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(EnvironmentProblemError, match=r"disk is full.*run the same command again"):
            for number in range(10000):
                journal.settle(link(number), SEEN)
    with Journal(path) as journal:
        assert journal.settled(LINKS[0].url) == SEEN


def test_answers_are_committed_one_by_one(path: Path) -> None:
    """As another process would find them after a kill: in a copy of the files, with nothing closed."""
    with Journal(path) as journal:
        journal.settle(LINKS[2], GONE)
        copy = path.with_name("copy.sqlite")
        for suffix in ("", "-wal"):
            copy.with_name(copy.name + suffix).write_bytes(path.with_name(path.name + suffix).read_bytes())
        db = sqlite3.connect(copy)
        assert db.execute("SELECT status FROM urls WHERE url = ? AND NOT due", (LINKS[2].url,)).fetchall() == [(404,)]
        db.close()
