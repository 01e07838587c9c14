"""Passwords in addresses: used, never shown."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tfpipe.core.config import load_config
from tfpipe.core.errors import ConfigError
from tfpipe.core.secrets import expand, redact


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("mongodb://reader:s3cret@db.example:27017/plants", "mongodb://reader:***@db.example:27017/plants"),
        ("mongodb://reader:p@ss:w@rd@db.example/plants", "mongodb://reader:***@db.example/plants"),
        ("mongodb+srv://db.example/plants", "mongodb+srv://db.example/plants"),
        ("mongodb://reader:${PASSWORD}@db/plants", "mongodb://reader:${PASSWORD}@db/plants"),
        ("could not reach postgresql://me:x@h/db: refused", "could not reach postgresql://me:***@h/db: refused"),
        ("mongodb://reader:s3/cr?et@db.example/plants", "mongodb://reader:***@db.example/plants"),
        ("postgresql+psycopg://me:s3 cret@h/db", "postgresql+psycopg://me:***@h/db"),
        ("postgresql://h/db?user=me&password=s3cret&x=1", "postgresql://h/db?user=me&password=***&x=1"),
        ("mongodb://reader:${PASSWORD}x@db/plants", "mongodb://reader:***@db/plants"),
        ("https://photos.example:8080/a@b.jpg", "https://photos.example:8080/a@b.jpg"),
    ],
)
def test_the_password_alone_is_hidden(address: str, shown: str) -> None:
    assert redact(address) == shown


def test_variables_are_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTS_PASSWORD", "s3cret")
    assert expand("mongodb://reader:${PLANTS_PASSWORD}@db/plants") == "mongodb://reader:s3cret@db/plants"


def test_a_password_from_the_environment_may_hold_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTS_PASSWORD", "p@ss:w/rd %41?")
    monkeypatch.setenv("PLANTS_HOST", "db:27017")
    address = expand("mongodb://reader:${PLANTS_PASSWORD}@${PLANTS_HOST}/plants")
    parts = urlsplit(address)
    assert unquote(parts.password or "") == "p@ss:w/rd %41?"
    assert (parts.username, parts.hostname, parts.port, parts.path) == ("reader", "db", 27017, "/plants")


@pytest.mark.parametrize("password", ["p@ss", "p/ss", "p:ss", "p ss", "p?ss", "p#ss"])
def test_a_password_that_would_be_taken_for_something_else_is_refused_and_not_shown(password: str) -> None:
    with pytest.raises(ConfigError, match="percent-encoded") as raised:
        expand(f"mongodb://reader:{password}@db/plants")
    assert "ss@" not in str(raised.value)


def test_a_missing_variable_is_named_and_the_password_is_not() -> None:
    with pytest.raises(ConfigError, match="NO_SUCH_VARIABLE") as raised:
        expand("mongodb://a:s3cret@${NO_SUCH_VARIABLE}/plants")
    assert "s3cret" not in str(raised.value)


def test_settings_show_no_password(tmp_path: Path) -> None:
    path = tmp_path / "dataset.yaml"
    path.write_text("snapshot: {source: 'mongodb://a:s3cret@db/plants', collection: photos}")
    config = load_config(path)
    assert config.snapshot.source == "mongodb://a:s3cret@db/plants"
    assert "s3cret" not in str(config.model_dump(mode="json"))


def test_a_wrong_address_is_told_without_its_password(tmp_path: Path) -> None:
    path = tmp_path / "dataset.yaml"
    path.write_text("snapshot: {source: 'mysql://a:s3cret@db/plants'}")
    with pytest.raises(ConfigError, match="mongodb://") as raised:
        load_config(path)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    "text", ["snapshot: {source: mongodb://a:s3cret@db/plants, x: [", "a: b\nsnapshot: source: mongodb://a:s3cret@db/p"]
)
def test_a_file_that_is_no_yaml_is_told_without_the_password(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.yaml").write_text(text)
    with pytest.raises(ConfigError, match="not YAML") as raised:
        load_config(tmp_path / "dataset.yaml")
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    "override", ["seed.x=mongodb://a:s3cret@db/p", "seed=mongodb://a:s3cret@db/p: [", "mongodb://a:s3cret@db"]
)
def test_an_override_that_cannot_be_read_is_told_without_the_password(tmp_path: Path, override: str) -> None:
    (tmp_path / "dataset.yaml").write_text("seed: 1")
    with pytest.raises(ConfigError) as raised:
        load_config(tmp_path / "dataset.yaml", (override,))
    assert "s3cret" not in str(raised.value)
