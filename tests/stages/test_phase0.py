"""Phase 0 over real servers: a herbarium in MongoDB, its photos on hosts that misbehave, to a baseline.

Every planted fault is found and none is invented; processes killed at random moments change nothing.
TFPIPE_TEST_KILLS sets how many kills (3 by default).
"""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml
from database_servers import mongodb
from photo_server import HOSTS, PhotoServer, serving
from pymongo import MongoClient

from tfpipe.core.config import load_config
from tfpipe.core.files import read_json, sha256_file
from tfpipe.core.settings import SnapshotSettings
from tfpipe.core.workspace import Workspace
from tfpipe.data.duplicates import iter_near_duplicates
from tfpipe.data.facts import iter_facts
from tfpipe.data.fetched import iter_fetched
from tfpipe.data.rows import Row, iter_documents, iter_rows, read_label_map
from tfpipe.data.sources import herbarium
from tfpipe.data.workers import LOCAL
from tfpipe.stages.runner import run_step

NUM_IMAGES = 400
MISBEHAVING = {
    "status/404": "http_error",
    "status/500": "http_error",
    "loop/a": "redirects",
    "on/1": "redirects",
    "html": "not_a_photo",
    "empty": "broken",
    "short/1": "broken",
    "endless": "too_large",
    "bomb": "too_large",
    "animation": "not_a_photo",
    "reset": "unreachable",
}
"""What a host answers, and the reason that it should be given."""
SYNONYMS = Path(__file__).parents[2] / "configs" / "herbarium_synonyms.csv"
KILLS = int(os.environ.get("TFPIPE_TEST_KILLS", "3"))


@dataclass(frozen=True)
class World:
    """What runs while the tests do."""

    server: PhotoServer
    source: str
    rows: list[Row]
    truths: dict[str, list[dict[str, Any]]]
    """Of the ground-truth file, by kind of fault."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A herbarium, moved into a database and onto eight hosts."""
    drawn = tmp_path_factory.mktemp("herbarium")
    settings = SnapshotSettings(num_images=NUM_IMAGES)
    rows = list(herbarium.iter_rows(settings, images_dir=drawn / "images", seed=7))
    truths: dict[str, list[dict[str, Any]]] = {}
    for _, truth in iter_documents(drawn / herbarium.GROUND_TRUTH):
        truths.setdefault(truth["fault"], []).append(truth)
    with serving() as server, mongodb(tmp_path_factory.mktemp("mongodb")) as address, MongoClient(address) as client:
        client.plants.photos.insert_many(_documents(rows, server))
        yield World(server, f"{address}/plants", rows, truths)


def _documents(rows: list[Row], server: PhotoServer) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(rows):
        url = row.url
        if row.path:
            server.files[row.id] = Path(row.path).read_bytes()
            url = server.url(f"file/{row.id}", HOSTS[number % len(HOSTS)])
        yield {"_id": row.id, "latin_name": row.label, "region": row.region, "plant": row.group, "image_url": url}
    for number, answer in enumerate(MISBEHAVING):
        url = server.url(answer, HOSTS[number % len(HOSTS)])
        yield {"_id": f"zz/{answer}", "latin_name": rows[0].label, "region": "EU", "plant": answer, "image_url": url}


def settings_in(folder: Path, world: World, **changes: Any) -> Path:
    path = folder / "dataset.yaml"
    document = {
        "dataset": "plants",
        "snapshot": {"source": world.source, "collection": "photos", "fields": {"group": "plant"}},
        "fetch": {
            "allow_hosts": list(HOSTS),
            "per_host_rate": 1000,
            "retries": 1,
            "backoff_s": 0.05,
            "max_bytes": 200_000,
            "max_redirects": 3,
        },
        "audit": {"synonyms": str(SYNONYMS)},
        "baseline": {"alpha": 0.35, "image_size": 96},
    }
    path.write_text(yaml.safe_dump(document | changes))
    return path


@pytest.fixture(scope="module")
def finished(world: World, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The whole phase, in one go."""
    folder = tmp_path_factory.mktemp("whole")
    with chdir(folder):
        run_step("report", settings_in(folder, world))
    return Workspace(folder)


def config_of(workspace: Workspace) -> Any:
    return load_config(workspace.root / "dataset.yaml")


def test_every_url_ends_with_the_reason_that_is_true(world: World, finished: Workspace) -> None:
    reasons = {fetched.id: fetched.reason.value for fetched in iter_fetched(finished.fetched_path(config_of(finished)))}
    expected = dict.fromkeys((row.id for row in world.rows), "ok")
    expected |= {f"zz/{answer}": reason for answer, reason in MISBEHAVING.items()}
    for fault, reason in {"dead_url": "unreachable", "truncated": "broken", "tiny": "too_small"}.items():
        expected |= {truth["id"]: reason for truth in world.truths[fault]}
    assert reasons == expected


def test_the_duplicates_are_the_planted_ones(world: World, finished: Workspace) -> None:
    config = config_of(finished)
    by_content: dict[str, set[str]] = {}
    for facts in iter_facts(finished.facts_path(config)):
        if not facts.fault:
            by_content.setdefault(facts.sha256, set()).add(facts.id)
    assert {frozenset(ids) for ids in by_content.values() if len(ids) > 1} == pairs(world, "exact_duplicate")
    edges = {frozenset((edge.one, edge.other)) for edge in iter_near_duplicates(finished.near_duplicates_path(config))}
    assert edges == pairs(world, "near_duplicate")


def pairs(world: World, fault: str) -> set[frozenset[str]]:
    return {frozenset((truth["id"], truth["other_id"])) for truth in world.truths[fault]}


def test_synonyms_are_proposed_for_mapping(world: World, finished: Workspace) -> None:
    label_map = read_label_map(finished.step_dir(config_of(finished), "audit") / "label_map.csv")
    assert label_map == {truth["label"]: truth["true_label"] for truth in world.truths["synonym"]}


def test_wrong_labels_show_as_plants_with_two_names(world: World, finished: Workspace) -> None:
    groups = {row.id: row.group for row in world.rows}
    labels: dict[str, set[str]] = {}
    for row in world.rows:
        labels.setdefault(row.group, set()).add(row.label)
    visible = {groups[t["id"]] for t in world.truths["wrong_label"] if len(labels[groups[t["id"]]]) > 1}
    report = (finished.step_dir(config_of(finished), "audit") / "report.json").read_text()
    for group in visible:
        assert group in report


def test_nothing_that_belongs_together_is_on_two_sides(world: World, finished: Workspace) -> None:
    split = {row.id: row for row in iter_rows(finished.splits_path(config_of(finished)))}
    together = [
        frozenset(r.id for r in split.values() if r.group == group) for group in {r.group for r in split.values()}
    ]
    for ids in [*together, *pairs(world, "exact_duplicate"), *pairs(world, "near_duplicate")]:
        assert len({split[row_id].split for row_id in ids if row_id in split}) <= 1
    unusable = {t["id"] for fault in ("dead_url", "truncated", "tiny") for t in world.truths[fault]}
    assert split.keys() == {row.id for row in world.rows} - unusable


def test_the_chain_ends_with_records_and_a_baseline(world: World, finished: Workspace) -> None:
    config = config_of(finished)
    packed = read_json(finished.step_dir(config, "pack") / "metrics.json")
    split = read_json(finished.step_dir(config, "split") / "metrics.json")
    assert packed["num_examples"] == split["num_rows"]
    baseline = read_json(finished.step_dir(config, "baseline") / "metrics.json")
    # Random features are a low floor, but one.
    assert baseline["top1_accuracy"] > 1 / packed["num_classes"]


def test_kills_at_random_moments_change_nothing(world: World, finished: Workspace, tmp_path: Path) -> None:
    """Of what a process wrote before it was killed, nothing is asked for again."""
    draw = random.Random(11)
    kills = 0
    for folder in map(tmp_path.joinpath, map(str, count())):
        folder.mkdir()
        seen = len(world.server.log)
        here = split_with_kills(settings_in(folder, world), draw, most=KILLS - kills)
        for name in ("raw.jsonl", "fetch.jsonl", "facts.jsonl", "near_duplicates.jsonl", "splits.jsonl"):
            ours, theirs = (place.dataset_dir(config_of(finished)) / name for place in (finished, Workspace(folder)))
            assert ours.read_bytes() == theirs.read_bytes(), name
        answered = [e.path for e in world.server.log[seen:] if e.status == 200 and e.path.startswith("file/")]
        again = len(answered) - len(set(answered))
        # Only what was under way between the two processes when one was killed can come twice.
        assert again <= here * 64, f"{again} of {len(answered)} photos were asked for again after {here} kills"
        kills += here
        if kills == KILLS:
            return


def split_with_kills(path: Path, draw: random.Random, *, most: int) -> int:
    """Split in a process that is killed up to `most` times, at random moments; the kills it took."""
    command = [Path(sys.executable).with_name("tfpipe"), "split", "--config", path.name]
    for kills in range(most):
        process = subprocess.Popen(command, cwd=path.parent, stderr=subprocess.DEVNULL)
        try:
            assert process.wait(draw.uniform(0.4, 1.6)) == 0
            return kills
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    subprocess.run(command, cwd=path.parent, check=True, stderr=subprocess.DEVNULL)
    return most


def test_a_beam_runner_finds_the_same(world: World, finished: Workspace, tmp_path: Path) -> None:
    options = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    path = settings_in(tmp_path, world, runner="DirectRunner", runner_options=options)
    assert load_config(path).runner != LOCAL
    with chdir(tmp_path):
        run_step("pack", path)
    workspace = Workspace(tmp_path)
    config = config_of(finished)
    for name in ("fetch.jsonl", "facts.jsonl", "near_duplicates.jsonl", "splits.jsonl"):
        assert (workspace.dataset_dir(config) / name).read_bytes() == (finished.dataset_dir(config) / name).read_bytes()
    ours, theirs = (sorted(w.records_dir(config).iterdir()) for w in (workspace, finished))
    assert [(p.name, sha256_file(p)) for p in ours] == [(p.name, sha256_file(p)) for p in theirs]
    reports = [read_json(w.step_dir(config, "audit") / "report.json") for w in (workspace, finished)]
    assert reports[0] == reports[1]
