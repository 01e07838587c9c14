"""The page: one file, well formed, small, and safe whatever the data hold."""

import re
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from garden import audited, photos, spoiled, texts
from PIL import Image

from tfpipe.core.page.markup import VOID, Html, prose, tag
from tfpipe.core.page.thumbnails import LONG_SIDE, Album
from tfpipe.core.settings import AuditSettings, Task
from tfpipe.data.audit import page
from tfpipe.data.audit.page import build_page
from tfpipe.data.audit.page.chapters import CHAPTERS
from tfpipe.data.audit.page.gallery import HEADINGS
from tfpipe.data.audit.page.plots import Mark, Scale, density, histogram, long_tail
from tfpipe.data.audit.report import Pair
from tfpipe.data.audit.rules import RULES
from tfpipe.data.duplicates import NearDuplicate

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;"


class Outline(HTMLParser):
    """Tags, attributes and text of a page; a tag that is not closed in its turn is an error."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def save_photos(pairs: list[Pair], folder: Path) -> None:
    for number, (_, facts) in enumerate(pairs):
        noise = np.random.default_rng(number).integers(0, 256, (300, 400, 3), np.uint8)
        Image.fromarray(noise).save(folder / facts.path)


def evil_photos() -> list[Pair]:
    pairs = spoiled(photos(), 0, 1, 2, label=EVIL, region=EVIL, group=EVIL)
    pairs = spoiled(pairs, 0, id=EVIL, facts={"sha256": "the same", "format": EVIL, "mode": EVIL})
    pairs = spoiled(pairs, 1, facts={"fault": EVIL})
    return spoiled(pairs, 3, url=EVIL, facts={"sha256": "the same"})


@pytest.mark.parametrize("task", ["image", "text"])
def test_what_the_data_hold_is_text_on_the_page_and_never_markup(task: Task, tmp_path: Path) -> None:
    pairs = evil_photos() if task == "image" else spoiled(texts(), 0, 1, text=EVIL, label=EVIL, id=EVIL)
    if task == "text":
        pairs = spoiled(pairs, 0, 2, facts={"sha256": "the same"})
    report = audited(pairs, task=task)
    outline = Outline(build_page(report, tmp_path))
    assert "alert(1)" in outline.text
    assert EVIL in "".join(outline.words)
    names = {name for name, _ in outline.tags}
    assert not names & {"script", "link", "iframe", "object", "form"}
    assert not [key for _, attributes in outline.tags for key in attributes if key.startswith("on")]


def test_the_page_asks_for_nothing_from_anywhere(tmp_path: Path) -> None:
    pairs = spoiled(photos(), 0, 3, facts={"sha256": "the same"})
    save_photos(pairs, tmp_path)
    text = build_page(audited(pairs), tmp_path)
    outline = Outline(text)
    sources = [value for _, attributes in outline.tags for key, value in attributes.items() if key in ("src", "href")]
    assert sum((source or "").startswith("data:image/webp;base64,") for source in sources) == 2
    assert all(re.match(r"data:image/webp;base64,|#\w+$", source or "") for source in sources)
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_links_lead_to_sections_that_are_there(tmp_path: Path) -> None:
    pairs = spoiled(spoiled(photos(), 0, 1, facts={"sha256": "the same"}), 5, facts={"fault": "too_small"})
    outline = Outline(build_page(audited(pairs, [NearDuplicate("photo 6", "photo 9", 4)]), tmp_path))
    links = {attributes["href"] for name, attributes in outline.tags if name == "a"}
    sections = {f"#{attributes['id']}" for _, attributes in outline.tags if "id" in attributes}
    assert links == sections == {"#label_conflicts", "#exact_duplicates", "#near_duplicates", "#unusable"}


def test_sections_to_look_at_are_of_rules_that_there_are() -> None:
    assert CHAPTERS.keys() == HEADINGS.keys()
    for task, headings in HEADINGS.items():
        assert {rule for rule in headings if RULES[rule].task not in (None, task)} == set()


def test_the_page_tells_every_finding_with_its_number_and_metric(tmp_path: Path) -> None:
    report = audited(spoiled(photos(1500), *range(1200), region=""), settings=AuditSettings(head_from=700))
    text = Outline(build_page(report, tmp_path)).text
    for finding in report.findings:
        assert (finding.title in text) == (finding.found.count > 0)
        assert (f"num_{finding.rule}" in text) == (finding.found.count > 0)
    assert "1,200 rows without a region" in text
    assert "No errors, no warnings, 1 note." in text


def test_nine_thousand_classes_stay_small_and_readable(tmp_path: Path) -> None:
    pairs = [
        spoiled([pair], 0, label=f"Genus species{number % 9000:04d}")[0] for number, pair in enumerate(photos(12000))
    ]
    text = build_page(audited(pairs), tmp_path)
    assert len(text) < 200_000
    assert text.count("species") < 500


def test_of_many_examples_and_names_a_few_are_shown(tmp_path: Path) -> None:
    pairs = photos(400)
    for number in range(0, 400, 10):
        pairs = spoiled(pairs, *range(number, number + 10), facts={"sha256": f"twin {number}"})
    for number in range(200):
        pairs = spoiled(pairs, number, label=f"genus species{number}")
        pairs = spoiled(pairs, number + 200, label=f"Genus species{number}")
    outline = Outline(build_page(audited(pairs), tmp_path))
    # Conflicts, placeholders and exact duplicates: eight sheets of four photos each.
    assert sum(name == "figure" for name, _ in outline.tags) == 3 * 8 * 4
    assert sum(name == "tr" for name, _ in outline.tags) < 100
    assert "40 of 200 ready to be applied" in outline.text


def test_pictures_end_where_the_budget_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = photos(40)
    for number in range(0, 40, 2):
        pairs = spoiled(pairs, number, number + 1, facts={"sha256": f"twin {number}"})
    save_photos(pairs, tmp_path)
    whole = build_page(audited(pairs), tmp_path)
    monkeypatch.setattr(page, "ALBUM_BYTES", 30_000)
    bounded = build_page(audited(pairs), tmp_path)
    assert whole.count("<img") > bounded.count("<img") > 0
    assert whole.count("<img") == bounded.count("<img") + bounded.count("not shown")
    assert sum(len(b64decode(part)) for part in re.findall(r"base64,([\w+/=]+)", bounded)) < 30_000 + LONG_SIDE**2


def shown(album: Album, path: str) -> Image.Image:
    markup = album.picture(path, alt="a")
    return Image.open(BytesIO(b64decode(markup.split("base64,")[1].split('"')[0])))


def test_a_picture_is_small_upright_and_whole(tmp_path: Path) -> None:
    halves = np.zeros((300, 600, 3), np.uint8)
    halves[:, :300] = (250, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(halves).save(tmp_path / "a.jpg", exif=exif, quality=95)
    picture = shown(Album(tmp_path, max_bytes=10**6), "a.jpg")
    assert picture.size == (LONG_SIDE // 2, LONG_SIDE)
    assert picture.getpixel((60, 20))[0] > 200  # type: ignore[index]
    assert picture.getpixel((60, 220))[0] < 50  # type: ignore[index]


def test_of_a_picture_that_breaks_off_the_beginning_is_shown(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(100, 256, (200, 200, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg", quality=95)
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    pixels = np.asarray(shown(Album(tmp_path, max_bytes=10**6), "a.jpg").convert("L")).astype(float)
    assert pixels[:60].mean() > 120
    assert pixels[-60:].std() < 15


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\xff\xd8\xff\xe0", None])
def test_what_is_no_picture_is_an_empty_frame(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "a.jpg").write_bytes(content)
    album = Album(tmp_path, max_bytes=10**6)
    assert album.picture("a.jpg", alt="a") == tag("span", "no picture", class_="no-picture")
    assert album.picture("", alt="a") == tag("span", "no picture", class_="no-picture")


def test_markup_escapes_what_is_not_markup() -> None:
    assert tag("p", "a < b & c", class_="x") == '<p class="x">a &lt; b &amp; c</p>'
    assert tag("p", tag("b", "<"), ["&", Html("<br>")]) == "<p><b>&lt;</b>&amp;<br></p>"
    assert tag("img", src='"><script>', alt=None, hidden=True) == '<img src="&quot;&gt;&lt;script&gt;" hidden>'
    assert tag("rect", x=1 / 3, stroke_width=2) == '<rect x="0.333333" stroke-width="2"></rect>'
    assert prose("use `a < b` here") == "use <code>a &lt; b</code> here"


def test_a_scale_places_its_ends_and_its_round_values_inside() -> None:
    for low, high in ((0, 7), (0.5, 60.5), (0, 105.6), (40, 222), (0.8, 129_000), (3, 3_000_000), (96, 101)):
        for is_log in {False, low > 0}:
            scale = Scale(low, high, is_log)
            assert scale.place(low) == pytest.approx(0)
            assert scale.place(high) == pytest.approx(100)
            ticks = scale.ticks()
            assert ticks == sorted(set(ticks))
            assert len(ticks) <= 7
            assert all(0 <= scale.place(tick) <= 100 for tick in ticks)
    assert Scale(1, 100, is_log=True).place(10) == pytest.approx(50)
    assert Scale(0, 105.6).ticks() == [0, 50, 100]


def area(plot: Html) -> str:
    return next(str(attributes["d"]) for name, attributes in Outline(plot).tags if attributes.get("class") == "area")


def test_the_long_tail_has_a_step_for_each_size() -> None:
    plot = long_tail([10, 100, 10, 1], [Mark(20, "few")])
    steps = re.findall(r"V([\d.]+)H([\d.]+)", area(plot))
    assert [float(right) for _, right in steps] == [25, 75, 100]
    heights = [100 - float(top) for top, _ in steps]
    # On a logarithmic scale, equal ratios are equal distances.
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.02)
    assert heights[0] > heights[2] > 0
    assert Outline(plot).text.endswith("few classes, the largest first")


def test_marks_lie_inside_the_plot() -> None:
    for plot in (
        long_tail([3, 1], [Mark(500, "head")]),
        histogram(np.array([300, 310]), [Mark(100, "min")], title="px"),
    ):
        places = re.findall(r"(?:top|left):(-?[\d.]+)%", plot)
        assert places
        assert all(0 <= float(place) <= 100 for place in places)


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        ([7, 5, 9, 5], [2, 1, 1]),
        ([1], [1]),
        ([256] * 10, [10]),
        ([100, 200, 200, 90_000], [1, 2, 1]),
        (list(range(1, 121)), [3] * 40),
    ],
)
def test_a_histogram_counts_every_value(values: list[int], counts: list[int]) -> None:
    bars = re.findall(r"M([\d.]+) 100V([\d.]+)H([\d.]+)V100Z", area(histogram(np.array(values), [], title="words")))
    heights = np.array([100 - float(top) for _, top, _ in bars])
    np.testing.assert_allclose(heights / heights.max(), np.array(counts) / max(counts), atol=1e-3)
    assert all(float(left) < float(right) for left, _, right in bars)


def test_a_density_has_a_cell_for_each_size_and_the_commonest_is_the_darkest() -> None:
    plot = density(np.array([100, 100, 100, 2000]), np.array([100, 100, 100, 50]))
    cells = [attributes for name, attributes in Outline(plot).tags if name == "rect"]
    assert len(cells) == 2
    common, wide = sorted(cells, key=lambda cell: -float(cell["opacity"] or 0))
    assert float(common["opacity"] or 0) == 1
    assert float(wide["x"] or 0) > float(common["x"] or 0)
    assert float(wide["y"] or 0) > float(common["y"] or 0)
