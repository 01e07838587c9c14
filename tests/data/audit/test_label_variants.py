"""Label variants: what is one name is found, what is two is left, and the map that is proposed can be applied."""

import random
from pathlib import Path

import pytest
from garden import audited, photos, spoiled

from tfpipe.core.errors import DataError
from tfpipe.data.audit.names import difference, folded, split_author
from tfpipe.data.audit.output import write_report
from tfpipe.data.audit.variants import Variant, find_variants, one_edit_apart
from tfpipe.data.rows import read_label_map

ONE_NAME = [
    ("Bellis perennis", "bellis perennis", "letter case"),
    ("Bellis perennis", "BELLIS PERENNIS", "letter case"),
    ("Bellis perennis", "Bellis  perennis", "white space"),
    ("Bellis perennis", "Bellis\u00a0perennis ", "white space"),
    ("Bellis perennis", "Bellis_perennis", "underscores or hyphens"),
    ("Capsella bursa-pastoris", "Capsella bursa pastoris", "underscores or hyphens"),
    ("Bellis perennis", "Bellis perennis L.", "author name"),
    ("Heliastra alpina", "Heliastra alpina (L.) Hoppe", "author name"),
    ("Umbrantha globosa", "Umbrantha globosa Gouan", "author name"),
    ("Salix alba", "Salix alba L. ex Mill.", "author name"),
    ("Parus major", "Parus major Linnaeus, 1758", "author name"),
    ("Poa annua var. reptans", "Poa annua L. var. reptans Hausskn.", "author name"),
    ("Rosa canina subsp. alba", "Rosa canina ssp. alba", "author name"),
    ("Bellis perennis", "Bellis perennis Hoffm. & Bernh.", "author name"),
    ("Viola × alba", "Viola x alba", "hybrid sign"),
    ("Viola × alba", "Viola ×alba", "hybrid sign"),
    ("Viola × alba", "Viola alba", "hybrid sign"),
    ("× Cupressocyparis leylandii", "Cupressocyparis leylandii", "hybrid sign"),
    ("Isoetes lacustris", "Isoëtes lacustris", "accents"),
    ("Isoetes lacustris", "Isoe\u0308tes lacustris", "accents"),
    ("Bellis perennis", "bellis_perennis", "underscores or hyphens and letter case"),
    ("Viola × alba", "Viola x alba Besser", "hybrid sign and author name"),
    ("Bellis perennis", "bellis perennis L.", "author name and letter case"),
    ("Daisy", "daisy", "letter case"),
]

TWO_NAMES = [
    ("Bellis perennis", "Bellis annua"),
    ("Rosa canina", "Rosa canina subsp. corymbifera"),
    ("Rosa canina f. alba", "Rosa canina f. rubra"),
    ("Salix alba 'Tristis'", "Salix alba 'Vitellina'"),
    ("Aster amellus", "Aster amellus auct. non L."),
    ("Rosa alba sensu Mill.", "Rosa alba sensu Baker"),
    ("Rosa", "Rosa sp."),
    ("Rosa canina", "Rosa cf. canina"),
    ("Blue Jay Male", "Blue Jay Female"),
    ("blue jay male", "blue jay female"),
    ("New York City", "New York"),
    ("A", "a"),
    ("-1", "1"),
    ("class 11", "class 12"),
    ("Х-лучи", "лучи"),
    ("がく", "かく"),
    ("й", "и"),
]


@pytest.mark.parametrize(("label", "other", "kind"), ONE_NAME)
def test_one_name_written_in_two_ways_is_found_and_what_tells_them_apart(label: str, other: str, kind: str) -> None:
    assert find_variants({label: 5, other: 2}, {}, rare_below=3).sure == {other: Variant(label, kind)}
    assert difference(other, label) == difference(label, other) == kind


@pytest.mark.parametrize(("label", "other"), TWO_NAMES)
def test_two_names_are_left_in_peace(label: str, other: str) -> None:
    variants = find_variants({label: 5000, other: 2}, {}, rare_below=3)
    assert (variants.sure, variants.unsure) == ({}, {})


def test_the_more_frequent_name_is_proposed_and_among_equals_the_well_formed_one() -> None:
    assert find_variants({"bellis_perennis": 9, "Bellis perennis": 2}, {}, rare_below=1).sure == {
        "Bellis perennis": Variant("bellis_perennis", "underscores or hyphens and letter case")
    }
    names = ("bellis perennis", "BELLIS PERENNIS", "Bellis perennis", "Bellis perennis L.", "Bellis_perennis")
    proposed = find_variants(dict.fromkeys(names, 4), {}, rare_below=1).sure
    assert {variant.label for variant in proposed.values()} == {"Bellis perennis"}
    assert proposed.keys() == set(names) - {"Bellis perennis"}


def test_names_whose_authors_contradict_each_other_are_only_asked_about() -> None:
    sizes = {"Rosa alba L.": 30, "Rosa alba Linnaeus": 2, "rosa alba L.": 1, "Rosa alba Mill.": 8, "Rosa alba": 4}
    variants = find_variants(sizes, {}, rare_below=1)
    assert variants.sure == {"rosa alba L.": Variant("Rosa alba L.", "letter case")}
    assert {old: new.label for old, new in variants.unsure.items()} == dict.fromkeys(
        ("Rosa alba Linnaeus", "Rosa alba Mill.", "Rosa alba"), "Rosa alba L."
    )
    assert {new.kind for new in variants.unsure.values()} == {"another author"}


def test_one_author_may_be_abbreviated_or_stand_beside_another() -> None:
    for one, other in (("L.", "Linnaeus"), ("Mill.", "Miller"), ("L.", "(L.) Hoppe"), ("Hoffm. & Bernh.", "Hoffmann")):
        sizes = {f"Rosa alba {one}": 9, f"Rosa alba {other}": 2}
        assert find_variants(sizes, {}, rare_below=1).sure.keys() == {f"Rosa alba {other}"}


def test_a_synonym_table_is_followed_to_its_end_and_its_names_are_right() -> None:
    synonyms = {"Asteroma pratense": "Heliastra pratense", "Heliastra pratense": "Heliastra pratensis", "Old": "Old"}
    sizes = {"asteroma pratense L.": 50, "heliastra pratensis": 9, "Heliastra alpina": 9, "Old": 1}
    assert find_variants(sizes, synonyms, rare_below=1).sure == {
        # On no row yet, but the table says so.
        "asteroma pratense L.": Variant("Heliastra pratensis", "synonym table"),
        "heliastra pratensis": Variant("Heliastra pratensis", "letter case"),
    }


def test_a_synonym_table_may_tell_authors_apart() -> None:
    table = {"Rosa alba Mill.": "Rosa canina"}
    variants = find_variants({"Rosa alba Mill.": 2, "Rosa alba L.": 9, "Rosa canina": 5}, table, rare_below=1)
    assert variants.sure == {"Rosa alba Mill.": Variant("Rosa canina", "synonym table")}


def test_a_synonym_table_that_goes_in_a_circle_is_told() -> None:
    with pytest.raises(DataError, match=r"`audit\.synonyms` goes in a circle: Rosa a → Rosa b → Rosa a\."):
        find_variants({"Rosa a": 5, "Rosa b": 3}, {"Rosa a": "Rosa b", "Rosa b": "Rosa a"}, rare_below=1)


@pytest.mark.parametrize(
    ("typo", "size", "is_found"),
    [
        ("Anemosa silvatica", 2, True),
        ("Anemosa sylvatca", 2, True),
        ("Anemosa sylvaticaa", 2, True),
        ("Anemosa slyvatica", 2, True),
        ("anemosa_silvatica", 2, True),
        ("Anemosa silvatika", 2, False),
        # Too frequent, for itself or for its model.
        ("Anemosa silvatica", 20, False),
        ("Anemosa silvatica", 11, False),
    ],
)
def test_a_rare_name_one_letter_from_a_frequent_one_is_asked_about(typo: str, size: int, is_found: bool) -> None:
    variants = find_variants({"Anemosa sylvatica": 100, typo: size}, {}, rare_below=20)
    assert variants.sure == {}
    assert variants.unsure == ({typo: Variant("Anemosa sylvatica", "one letter")} if is_found else {})


def test_a_typo_of_a_typo_is_left_for_the_next_round() -> None:
    sizes = {"Anemosa sylvatica": 500, "Anemosa silvatica": 12, "Anemosa silvatic": 1}
    assert find_variants(sizes, {}, rare_below=20).unsure.keys() == {"Anemosa silvatica"}
    sizes = {"Anemosa sylvatica": 500, "Anemosa silvatica L.": 12, "Anemosa silvatica Mill.": 1}
    assert find_variants(sizes, {}, rare_below=20).unsure.keys() == {"Anemosa silvatica Mill."}


@pytest.mark.parametrize(("label", "other"), [("Rosa a", "Rosa b"), ("plot 2023 a", "plot 2024 a")])
def test_short_names_and_numbers_are_no_typos(label: str, other: str) -> None:
    assert find_variants({label: 1000, other: 1}, {}, rare_below=20).unsure == {}


def edits(one: str, other: str) -> int:
    """Optimal string alignment distance, by the textbook's table."""
    table = {(i, -1): i + 1 for i in range(-1, len(one))} | {(-1, j): j + 1 for j in range(-1, len(other))}
    for i in range(len(one)):
        for j in range(len(other)):
            cost = int(one[i] != other[j])
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + cost)
            if i and j and one[i] == other[j - 1] and one[i - 1] == other[j]:
                table[i, j] = min(table[i, j], table[i - 2, j - 2] + 1)
    return table[len(one) - 1, len(other) - 1]


def test_one_edit_is_what_the_textbook_calls_one() -> None:
    draw = random.Random(0)
    pairs = [["".join(draw.choices("ab", k=draw.randrange(6))) for _ in range(2)] for _ in range(4000)]
    assert {one_edit_apart(one, other) for one, other in pairs} == {True, False}
    for one, other in pairs:
        assert one_edit_apart(one, other) == (edits(one, other) == 1), (one, other)


def odd_labels(draw: random.Random, number: int) -> dict[str, int]:
    """Labels of few letters, so that many are variants of each other, and of what upsets CSV files."""
    parts = ["Rosa", "rosa", "ROSA", "alba", "albá", "Alba", "L.", "Mill.", "×", "x", "_", "-", " ", "  ", ",", '"']
    parts += ["\n", "\r", "=1", "<b>", "alba alba", "subsp.", "é", "'", ";"]
    labels = {"".join(draw.choices([*parts, " ", " "], k=draw.randrange(1, 8))) for _ in range(number)}
    return {label: draw.choice((1, 2, 30, 500)) for label in sorted(labels)}


@pytest.mark.parametrize("seed", range(15))
def test_no_name_that_is_proposed_is_itself_to_be_replaced(seed: int) -> None:
    sizes = odd_labels(random.Random(seed), 300)
    variants = find_variants(sizes, {"Rosa alba": "Rosa × alba"}, rare_below=20)
    assert len(variants.sure) > 10
    assert not {new.label for new in variants.sure.values()} & variants.sure.keys()
    assert not {new.label for new in variants.unsure.values()} & variants.unsure.keys()
    for label in sizes:
        once = variants.accepted(label)
        assert variants.accepted(once) == once
        # The sure map first, the unsure one after it, is the same as both at once.
        sure = variants.sure[label].label if label in variants.sure else label
        assert variants.accepted(sure) == once


@pytest.mark.parametrize("seed", range(15))
def test_a_proposed_map_is_read_by_snapshot_as_it_was_written(seed: int, tmp_path: Path) -> None:
    sizes = odd_labels(random.Random(seed), 60)
    pairs = [pair for label in sizes for pair in spoiled(photos(1), 0, label=label)]
    pairs = [spoiled([pair], 0, id=f"photo {number}")[0] for number, pair in enumerate(pairs)]
    report = audited(pairs)
    write_report(report, tmp_path, root=tmp_path, label_map={})
    variants = report.survey.variants
    assert read_label_map(tmp_path / "label_map.csv") == {old: new.label for old, new in variants.sure.items()}
    assert read_label_map(tmp_path / "label_map_unsure.csv") == {old: new.label for old, new in variants.unsure.items()}
    mapped = {label: variants.sure[label].label if label in variants.sure else label for label in sizes}
    again = audited([spoiled([pair], 0, label=mapped[pair[0].label])[0] for pair in pairs])
    assert again.metrics["num_label_variants"] == 0


def test_a_proposed_map_takes_the_place_of_the_one_that_was_applied(tmp_path: Path) -> None:
    report = audited(spoiled(photos(), 0, 3, label="bellis perennis"))
    applied = {"Gänseblümchen": "bellis perennis", "dog rose": "Rosa canina"}
    write_report(report, tmp_path, root=tmp_path, label_map=applied)
    assert read_label_map(tmp_path / "label_map.csv") == {
        "Gänseblümchen": "Bellis perennis",
        "dog rose": "Rosa canina",
        "bellis perennis": "Bellis perennis",
    }


@pytest.mark.parametrize("label", sorted({label for pair in (*ONE_NAME, *TWO_NAMES) for label in pair[:2]}))
def test_folding_twice_is_folding_once(label: str) -> None:
    assert folded(folded(label)) == folded(label)


def test_the_author_is_what_is_taken_away() -> None:
    assert split_author("Poa annua L. var. reptans Hausskn.") == ("Poa annua var. reptans", "L. Hausskn.")
    assert split_author("Salix alba L. f.") == ("Salix alba", "L. f.")
    assert split_author("Salix alba") == ("Salix alba", "")
