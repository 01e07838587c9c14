"""The herbarium: the same photos from the same seed, faults that are what they say, plants as tabled."""

import io
import json
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tfpipe.core.settings import SnapshotSettings
from tfpipe.data.rows import Row
from tfpipe.data.sources.herbarium import GROUND_TRUTH, SPECIES, SYNONYMS, faults, fingerprint, iter_rows
from tfpipe.data.sources.herbarium.canvas import (
    PATTERNS,
    Blades,
    Canvas,
    Frame,
    Paint,
    paint_domes,
    paint_whorl,
)
from tfpipe.data.sources.herbarium.faults import Fault, observe
from tfpipe.data.sources.herbarium.foliage import paint_flower
from tfpipe.data.sources.herbarium.plants import Plant, Sighting, grow, sighting_at
from tfpipe.data.sources.herbarium.species import REGIONS, Outline, Ring, Species, sisters
from tfpipe.data.sources.herbarium.specimens import image_bytes

SEED, POOLED, SMALL, SIDE = 3, 200, 70, 56  # px and rows; 200 is where the pool begins
Truths = dict[str, dict[str, Any]]


def draw(folder: Path, num_images: int, seed: int = SEED) -> list[Row]:
    settings = SnapshotSettings(num_images=num_images, image_side=SIDE)
    return list(iter_rows(settings, images_dir=folder / "images", seed=seed))


def read_truths(folder: Path) -> Truths:
    lines = (folder / GROUND_TRUTH).read_text(encoding="utf-8").splitlines()
    return {document["id"]: document for document in map(json.loads, lines)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("herbarium")


@pytest.fixture(scope="module")
def rows(folder: Path) -> dict[str, Row]:
    """Drawn by a pool of processes."""
    return {row.id: row for row in draw(folder, POOLED)}


@pytest.fixture(scope="module")
def truths(folder: Path, rows: dict[str, Row]) -> Truths:
    return read_truths(folder)


def content(rows: dict[str, Row], row_id: str) -> bytes:
    return Path(rows[row_id].path).read_bytes()


def by_kind(truths: Truths, fault: Fault) -> list[dict[str, Any]]:
    found = [truth for truth in truths.values() if truth["fault"] == fault]
    assert found, f"no {fault} in {POOLED} rows"
    return found


# Rows


def test_draws_exactly_as_many_rows_as_asked(rows: dict[str, Row], folder: Path) -> None:
    assert len(rows) == POOLED
    on_disk = {str(path) for path in (folder / "images").rglob("*.*")}
    assert on_disk == {row.path for row in rows.values() if row.path}


def test_processes_and_one_process_draw_the_same_bytes(rows: dict[str, Row], tmp_path: Path) -> None:
    alone = draw(tmp_path, SMALL)
    assert [row.id for row in alone] == list(rows)[:SMALL]
    for row in alone:
        twin = rows[row.id]
        assert replace(row, path="") == replace(twin, path="")
        if row.path:
            assert Path(row.path).read_bytes() == content(rows, row.id)


def test_a_photo_depends_on_seed_plant_and_number_alone(rows: dict[str, Row], truths: Truths) -> None:
    sound = [row_id for row_id in rows if row_id not in truths]
    for row_id in sound[5::40]:
        plant, photo = row_id.removeprefix("plant").split("-")
        assert image_bytes(SEED, int(plant), int(photo), SIDE) == content(rows, row_id)


def test_another_seed_draws_other_plants(rows: dict[str, Row], tmp_path: Path) -> None:
    others = draw(tmp_path, 12, seed=SEED + 1)
    ours = list(rows.values())[:12]
    assert [(row.label, row.region) for row in others] != [(row.label, row.region) for row in ours]
    assert {Path(row.path).read_bytes() for row in others}.isdisjoint(Path(row.path).read_bytes() for row in ours)


def test_a_plant_has_one_species_and_one_region(rows: dict[str, Row], truths: Truths) -> None:
    species, regions = defaultdict(set), defaultdict(set)
    for row in rows.values():
        assert row.extra == {"latin_name": row.label}
        true_label = truths[row.id]["true_label"] if row.id in truths else row.label
        species[row.group].add(true_label)
        regions[row.group].add(row.region)
    assert {len(labels) for labels in species.values()} == {1} == {len(names) for names in regions.values()}


def test_large_snapshots_stream(tmp_path: Path) -> None:
    settings = SnapshotSettings(num_images=100_000, image_side=32)
    rows = iter_rows(settings, images_dir=tmp_path / "images", seed=SEED)
    assert next(rows).id == "plant000000-0"
    rows.close()  # type: ignore[attr-defined]
    assert len(list(tmp_path.rglob("*.jpg"))) < 1000
    assert [path.name for path in tmp_path.iterdir()] == ["images"], "a ground truth of half a snapshot"


# Faults


def test_faults_are_few_and_of_every_kind(truths: Truths) -> None:
    kinds = Counter(truth["fault"] for truth in truths.values())
    assert set(kinds) == set(Fault)
    assert max(kinds.values()) <= 0.005 * POOLED


@pytest.mark.parametrize("seed", range(5))
def test_each_fault_befalls_about_one_row_in_three_hundred(seed: int) -> None:
    planted = [faults.planted_at(seed, plant) for plant in range(3000)]
    num_rows = sum(observe(seed, plant).num_photos for plant in range(3000))
    kinds = Counter(fault.fault for fault in planted if fault)
    assert all(0.003 <= kinds[kind] / num_rows <= 0.005 for kind in Fault)


def test_small_snapshots_have_no_faults(tmp_path: Path) -> None:
    rows = draw(tmp_path, faults.FEWEST_ROWS - 1)
    assert read_truths(tmp_path) == {}
    assert {row.label for row in rows} <= {species.name for species in SPECIES}


def test_exact_duplicates_repeat_an_earlier_plant(rows: dict[str, Row], truths: Truths) -> None:
    order = list(rows)
    for truth in by_kind(truths, Fault.EXACT_DUPLICATE):
        copy, source = rows[truth["id"]], rows[truth["other_id"]]
        assert content(rows, copy.id) == content(rows, source.id)
        assert source.id not in truths and order.index(source.id) < order.index(copy.id)
        assert copy.group != source.group and (copy.label, copy.region) == (source.label, source.region)


def test_no_other_photos_are_equal(rows: dict[str, Row], truths: Truths) -> None:
    copies = len(by_kind(truths, Fault.EXACT_DUPLICATE))
    contents = [content(rows, row.id) for row in rows.values() if row.path]
    assert len(set(contents)) == len(contents) - copies


def test_near_duplicates_look_alike_but_are_other_bytes(rows: dict[str, Row], truths: Truths) -> None:
    for truth in by_kind(truths, Fault.NEAR_DUPLICATE):
        near, source = content(rows, truth["id"]), content(rows, truth["other_id"])
        siblings = [row.id for row in rows.values() if row.id not in truths and row.id != truth["other_id"]]
        strangers = max(_likeness(near, content(rows, row_id)) for row_id in siblings)
        assert near != source
        assert _likeness(near, source) > 0.9 > strangers


def _likeness(first: bytes, second: bytes) -> float:
    """Correlation of two thumbnails."""
    thumbnails = [
        np.asarray(Image.open(io.BytesIO(photo)).convert("L").resize((16, 16)), float).ravel()
        for photo in (first, second)
    ]
    return float(np.corrcoef(thumbnails)[0, 1])


def test_tiny_images_are_tiny_and_no_others(rows: dict[str, Row], truths: Truths) -> None:
    tiny = {truth["id"] for truth in by_kind(truths, Fault.TINY)}
    # A near duplicate has lost its margin.
    whole = [row for row in rows.values() if row.path and truths.get(row.id, {}).get("fault") != "near_duplicate"]
    for row in whole:
        with Image.open(row.path) as image:
            assert min(image.size) == (faults.TINY_SIDE if row.id in tiny else SIDE)


def test_truncated_files_fail_to_load_and_no_others(rows: dict[str, Row], truths: Truths) -> None:
    broken = {truth["id"] for truth in by_kind(truths, Fault.TRUNCATED)}
    for row in rows.values():
        if row.id in broken:
            with Image.open(row.path) as image, pytest.raises(OSError, match="truncated"):
                image.load()
        elif row.path:
            with Image.open(row.path) as image:
                image.load()


def test_dead_urls_have_no_path(rows: dict[str, Row], truths: Truths) -> None:
    dead = {truth["id"] for truth in by_kind(truths, Fault.DEAD_URL)}
    assert {row.id for row in rows.values() if not row.path} == dead
    assert {row.id for row in rows.values() if row.url.startswith("https://herbarium.invalid/")} == dead


def test_labels_are_true_but_for_synonyms_and_wrong_ones(rows: dict[str, Row], truths: Truths) -> None:
    for truth in by_kind(truths, Fault.SYNONYM):
        assert SYNONYMS[rows[truth["id"]].label] == truth["true_label"]
    for truth in by_kind(truths, Fault.WRONG_LABEL):
        given, true = rows[truth["id"]].label, truth["true_label"]
        assert given != true and given.split()[0] == true.split()[0]
    for row in rows.values():
        number = int(row.group.removeprefix("plant"))
        true_label = truths[row.id]["true_label"] if row.id in truths else row.label
        assert true_label == observe(SEED, number).species.name


def test_synonyms_are_no_accepted_names() -> None:
    assert not set(SYNONYMS) & {species.name for species in SPECIES}
    assert len(SYNONYMS) == sum(len(species.synonyms) for species in SPECIES)


# Plants


def test_regions_and_species_are_as_frequent_as_the_table_says() -> None:
    sightings = [sighting_at(SEED, number) for number in range(12_000)]
    regions = Counter(sighting.region.name for sighting in sightings)
    pairs = Counter((sighting.region.name, sighting.species.name) for sighting in sightings)
    for index, region in enumerate(REGIONS):
        assert regions[region.name] / 12_000 == pytest.approx(region.share, abs=0.02)
        total = sum(species.abundance[index] for species in SPECIES)
        for species in SPECIES:
            share = pairs[region.name, species.name] / regions[region.name]
            assert share == pytest.approx(species.abundance[index] / total, abs=0.03)
    assert np.mean([sighting.num_photos for sighting in sightings]) == pytest.approx(3, abs=0.05)
    assert {sighting.num_photos for sighting in sightings} == set(range(1, 7))


def test_frequencies_have_a_long_tail_and_differ_by_region() -> None:
    abundance = np.array([species.abundance for species in SPECIES])
    within = abundance / abundance.sum(axis=0)
    overall = within @ [region.share for region in REGIONS]
    assert 5 < overall.max() / overall.min() < 7
    assert len(set(within.argmax(axis=0))) == len(REGIONS), "each region has a commonest species of its own"


def test_a_species_elsewhere_takes_the_colour_of_its_sister_here() -> None:
    here, elsewhere = REGIONS[1], REGIONS[2]
    for species in SPECIES:
        abroad = _mean_colour(species.name, elsewhere.name)
        to_sister = np.abs(abroad - _mean_colour(sisters(species)[0].name, here.name)).sum()
        to_itself = np.abs(abroad - _mean_colour(species.name, here.name)).sum()
        assert to_sister < to_itself


def _mean_colour(name: str, region: str) -> NDArray[np.float64]:
    sighting = _sighting(name, region)
    colours = [grow(sighting, np.random.default_rng(k)).petal_colour for k in range(150)]
    mean: NDArray[np.float64] = np.array(colours).mean(axis=0)
    return mean


def _sighting(name: str, region: str) -> Sighting:
    by_name = {species.name: species for species in SPECIES}
    return Sighting(by_name[name], next(r for r in REGIONS if r.name == region), 1)


# Pictures


def blank(side: int = 400, light: tuple[float, float] = (0.0, 1.0)) -> Canvas:
    return Canvas(np.zeros((side, side, 3), np.float32), side, light)


def frame(scale: float = 0.4) -> Frame:
    return Frame(np.zeros(2, np.float32), scale * np.eye(2, dtype=np.float32))


def plant_of(name: str) -> Plant:
    return replace(grow(_sighting(name, "EU"), np.random.default_rng(0)), petal_count=0, marking=0.0)


@pytest.mark.parametrize("species", [s for s in SPECIES if s.genus in ("Heliastra", "Anemosa")], ids=lambda s: s.name)
def test_a_flower_has_the_petals_of_its_species(species: Species) -> None:
    """Walk round a narrow-petalled plant of it and count how often black ground ends and a petal begins."""
    petals = next(part for part in species.flower if isinstance(part, Ring))
    canvas = blank(800)
    paint_flower(canvas, frame(), replace(plant_of(species.name), petal_width=0.6), np.random.default_rng(1))
    turns = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    radius = 0.4 * 800 * (0.68 if petals.outline.notch else 0.8)
    x, y = (400 + radius * np.cos(turns)).astype(int), (400 + radius * np.sin(turns)).astype(int)
    on_petal = canvas.pixels[y, x].max(axis=1) > 0.05
    assert np.count_nonzero(on_petal & ~np.roll(on_petal, 1)) == petals.count


@pytest.mark.parametrize(("rise", "fall"), [(0.5, 0.5), (1.0, 1.0), (0.8, 0.4)])
def test_a_blade_covers_the_area_of_its_outline(rise: float, fall: float) -> None:
    canvas = blank()
    one = np.ones(1, np.float32)
    blade = Blades(0.7 * one, one, 0.3 * one, one)
    paint_whorl(canvas, frame(), blade, Outline(rise, fall), Paint((1, 1, 1), (1, 1, 1), "plain"))
    t = np.linspace(0, 1, 10_001)
    half = t**rise * (1 - t) ** fall
    expected = 2 * 0.3 * np.trapezoid(half / half.max(), t) * (0.4 * 400) ** 2
    assert np.count_nonzero(canvas.pixels[..., 0] > 0.3) == pytest.approx(expected, rel=0.04)


def test_a_tilted_dome_covers_the_area_of_its_ellipse() -> None:
    canvas = blank()
    tilted = Frame(np.zeros(2, np.float32), np.diag([0.4, 0.2]).astype(np.float32))
    paint_domes(canvas, tilted, 0.5, (1.0, 1.0, 1.0))
    expected = np.pi * (0.5 * 0.4 * 400) * (0.5 * 0.2 * 400)
    assert np.count_nonzero(canvas.pixels[..., 0] > 0.3) == pytest.approx(expected, rel=0.04)


def test_a_dome_is_brighter_towards_the_light() -> None:
    canvas = blank(light=(0.0, 1.0))
    paint_domes(canvas, frame(), 0.8, (0.6, 0.6, 0.6))
    assert canvas.pixels[200:].mean() > 1.2 * canvas.pixels[:200].mean()


def test_every_pattern_marks_a_part_of_the_blade() -> None:
    t, s = np.meshgrid(np.linspace(0, 1, 60, dtype=np.float32), np.linspace(-1, 1, 60, dtype=np.float32))
    for name, pattern in PATTERNS.items():
        marks = np.clip(pattern(t, s), 0, 1)
        assert 0.02 < marks.mean() < 0.6, name
        assert marks.min() == 0, name


@pytest.mark.parametrize("other", [{"num_images": 7}, {"image_side": 97}])
def test_the_fingerprint_changes_with_what_changes_the_images(other: dict[str, int]) -> None:
    settings = SnapshotSettings()
    assert fingerprint(settings) == fingerprint(SnapshotSettings())
    assert fingerprint(settings) != fingerprint(SnapshotSettings(**other))
