"""Settings files that mean no good: one sentence, nothing runs, and no value gets past its section."""

import itertools
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from refusals import hostile, say_no

from tfpipe.core.config import Config

CONFIGS = Path(__file__).parents[2] / "configs"
SEEDS = [path.read_bytes() for path in sorted(CONFIGS.rglob("*.yaml"))]
PIECES = (
    *(
        "&a ",
        "*a",
        "<<: *a\n",
        "<<: [*a, *a]\n",
        "? ",
        "- ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\n",
        "\n  ",
        "|\n",
        ">-\n",
    ),
    *("model:\n", "  name: mobilenetv2\n", "seed: ", "teachers:\n", "data: ", "criteria: ", "snapshot:\n", "null", "~"),
    *("'", '"', "#", "%YAML 1.1\n", "---\n", "...\n", "\t", "\0", "\x85", "\u2028", "\ufeff", "\\ud800", '"\\ud800"'),
    *("!!python/object/apply:os.system [touch pwned]", "!!python/name:os.system ", "!!python/module:os ", "!<x> "),
    *("!!binary ", "!!set ", "!!omap ", "!!timestamp ", "!!int ", "!!float ", "!!bool ", "!!null ", "!!str ", "!x "),
    *(
        "2026-13-45",
        "2026-01-01T99:99:99Z",
        "0b_",
        "0x_",
        "1:99:99",
        "1_",
        ".nan",
        ".inf",
        "-.inf",
        "1e999",
        "9" * 4500,
    ),
)
JUNK: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        0,
        2**31,
        10**30,
        -(10**30),
        1e308,
        math.nan,
        math.inf,
        -math.inf,
        0.5,
        "",
        " ",
        "\0",
        "x" * 9999,
    ),
    *(
        "../../etc/passwd",
        "${HOME}",
        "a\nb",
        "\u202e",
        "1e-5",
        [],
        [[]],
        [None],
        {},
        {"x": 1},
        {1: 2},
        {None: {}},
        b"\xff",
    ),
    *([{"config": 1}], {"config": {}}, [1] * 5000, {"name": "n", "x": {"y": 1}}, "nan", "/dev/zero", "é" * 200),
)


def paths_of(section: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of the settings."""
    for name, field in section.model_fields.items():
        yield (*above, name)
        if isinstance(field.default, BaseModel):
            yield from paths_of(type(field.default), (*above, name))


KEYS = sorted({*paths_of(Config), *(("model", name) for name in ("name", "weights", "tokenizer", "alpha", "max_mb"))})


def no_to(text: str | bytes, folder: Path) -> str:
    """What the command line says to a settings file; it stops before the first step."""
    path = folder / "x.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    said = say_no("export", "--config", path, "--no-upstream")
    assert said is not None
    assert not list(folder.glob("pwned*"))
    return said


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("settings"))
        yield Path()


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=14).map("".join))
@hostile(150)
def test_no_yaml_is_more_than_a_sentence(folder: Path, text: str) -> None:
    no_to(text, folder)


@given(
    st.sampled_from(SEEDS), st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=3), st.integers(0, 9)), max_size=4)
)
@hostile(60)
def test_no_damage_to_a_file_is_more_than_a_sentence(
    folder: Path, seed: bytes, changes: list[tuple[float, bytes, int]]
) -> None:
    for place, put, cut in changes:
        at = int(place * len(seed))
        seed = seed[:at] + put + seed[at + cut :]
    no_to(seed, folder)


@given(st.sampled_from(KEYS), st.sampled_from(JUNK))
@hostile(150)
def test_no_value_at_any_key_is_more_than_a_sentence(folder: Path, key: tuple[str, ...], value: Any) -> None:
    document: dict[str, Any] = {"model": {"name": "mobilenetv2"}}
    section = document
    for name in key[:-1]:
        section = section.setdefault(name, {})
    section[key[-1]] = value
    no_to(yaml.safe_dump(document), folder)


@given(st.sampled_from(KEYS), st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join))
@hostile(100)
def test_no_override_is_more_than_a_sentence(folder: Path, key: tuple[str, ...], value: str) -> None:
    (folder / "x.yaml").write_text("model: {name: mobilenetv2}")
    said = say_no("export", "--config", "x.yaml", "--no-upstream", "--set", f"{'.'.join(key)}={value}")
    assert said is not None


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 9)}]}}\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BOMB + "seed: *i", "aliases written out"),
        (BOMB + "snapshot: {filter: {x: *i}}", "aliases written out"),
        (MERGES, "aliases written out"),
        ("seed: &a [*a]", "aliases written out"),
        ("snapshot: &a {filter: *a}", "aliases written out"),
        ("seed: " + "[" * 20_000, "levels deep"),
        ("seed: " + "[" * 60 + "]" * 60, "levels deep"),
        ("- " * 5000 + "x", "levels deep"),
        ("seed: 1\nseed: 2", "`seed` stands twice"),
        ("seed: 2026-13-45", "'2026-13-45' is no timestamp"),
        ("seed: !!python/object/apply:os.system ['touch pwned']", "could not determine a constructor"),
        ('export: {title: "\\ud800"}', "half of a pair"),
        ('snapshot: {source: jsonl, path: "a\\0b"}', "NUL"),
        ("seed: .inf", "finite number"),
        ("model: {name: mobilenetv2}\ntraining: {learning_rate: .nan}", "finite number"),
        (f"training: {{epochs: {10**30}}}", "less than 2147483648"),
        ("pack: {version: ١.٢.٣}", "should match pattern"),
        ("name: " + "x" * 300, "at most 100 characters"),
        ("seed: 1".encode("utf-16"), "not YAML"),
        (b"seed: \xff", "not YAML"),
    ],
    ids=itertools.count(),
)
def test_what_is_wrong_is_said_at_once(folder: Path, text: str | bytes, why: str) -> None:
    start = time.monotonic()
    assert why in no_to(text, folder)
    assert time.monotonic() - start < 5


def test_settings_that_lead_around_in_a_circle_check_no_splits(folder: Path) -> None:
    (folder / "round.yaml").write_text("data: {config: round.yaml}")
    (folder / "splits.csv").write_text("id,split,label\n1,train,x\n")
    assert "circle" in (say_no("split", "--check", "splits.csv", "--config", "round.yaml") or "")
