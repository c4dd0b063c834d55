"""Whatever is wrong with a settings file is told at once: file, key path, expected, got."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from config.load import FILE_BYTES_MAX, METERS_FOLDER, SettingsError, check, load, load_profiles
from config.meter_profile import MeterProfile
from config.model import Exact, Model
from config.settings.agent import AgentSettings
from config.settings.fleet import FleetSettings
from protocol.errors import EsteError
from tests.unit.config.documents import a_profile_document, an_agent_document, changed


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.yaml"


def told(file: Path, text: str | bytes, kind: type[Model] = FleetSettings) -> list[str]:
    """What `load` says is wrong with a file of this text, one sentence each."""
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(SettingsError) as caught:
        load(file, kind)
    assert isinstance(caught.value, EsteError)
    assert str(caught.value).splitlines() == [str(mistake) for mistake in caught.value.mistakes]
    return [re.sub(rf"^{re.escape(str(file))}(, line \d+, column \d+)?: ", "", str(m)) for m in caught.value.mistakes]


def test_a_file_is_read(file: Path) -> None:
    file.write_text("meters: 12\nhost: 0.0.0.0\n")
    assert load(file, FleetSettings) == FleetSettings(meters=12, host="0.0.0.0")


def test_a_mistake_tells_file_key_path_expected_and_got(file: Path) -> None:
    file.write_text("meters: three\n")
    with pytest.raises(SettingsError) as caught:
        load(file, FleetSettings)
    (mistake,) = caught.value.mistakes
    assert (mistake.place, mistake.key_path) == (str(file), "meters")
    assert (mistake.expected, mistake.got) == ("a valid integer", "'three'")
    assert str(caught.value) == f"{file}, line 1, column 1: meters: expected a valid integer, got 'three'"


def test_several_mistakes_are_told_at_once(file: Path) -> None:
    text = "meters: 3\nseed: -1\nfirst_port: http\nspeeed: 4\n"
    assert told(file, text) == [
        "meters: expected greater than or equal to 4, got 3",
        "seed: expected greater than or equal to 0, got -1",
        "first_port: expected a valid integer, got 'http'",
        "speeed: expected a known key (did you mean 'speed'?), got one that is unknown",
    ]


def test_a_mistake_deep_inside_tells_the_whole_way(file: Path) -> None:
    document = changed(an_agent_document(), "buses.0.meters.1.unit", 256)
    assert told(file, yaml.safe_dump(document), AgentSettings) == [
        "buses.0.meters.1.unit: expected less than or equal to 255, got 256"
    ]


def test_a_key_that_is_missing_is_told(file: Path) -> None:
    document = an_agent_document()
    del document["region"]
    assert told(file, yaml.safe_dump(document), AgentSettings) == ["region: expected a value, got nothing"]


@pytest.mark.parametrize(
    ("path", "guess"),
    [("regoin", "region"), ("broker.hst", "host"), ("batch", "batch"), ("buses.0.meters.0.profil", "profile")],
)
def test_a_key_that_is_misspelled_is_guessed(file: Path, path: str, guess: str) -> None:
    document = changed(an_agent_document(), path, {"readings_mx": 5} if path == "batch" else 1)
    expected = guess if path != "batch" else "readings_max"
    assert any(
        f"did you mean '{expected}'?" in mistake for mistake in told(file, yaml.safe_dump(document), AgentSettings)
    )


def test_a_key_that_resembles_none_is_not_guessed(file: Path) -> None:
    assert told(file, "zzz: 1\n") == ["zzz: expected a known key, got one that is unknown"]


def test_a_long_value_is_not_repeated_in_full(file: Path) -> None:
    (mistake,) = told(file, f"host: [{'x, ' * 500}]\n")
    assert len(mistake) < 150


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"expected a settings file, got no such file"):
        load(tmp_path / "missing.yaml", FleetSettings)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="expected a readable text file, got Is a directory"):
        load(tmp_path, FleetSettings)


@pytest.mark.parametrize(("text", "got"), [("", "nothing"), ("- a\n", "['a']"), ("hello\n", "'hello'")])
def test_a_file_of_anything_but_keys_is_told_in_plain_words(file: Path, text: str, got: str) -> None:
    assert told(file, text) == [f"expected keys and their values, such as `key: value`, got {got}"]


def test_a_file_without_end_is_not_read(file: Path) -> None:
    with file.open("wb") as sparse:
        sparse.truncate(FILE_BYTES_MAX + 1)
    with pytest.raises(SettingsError, match="at most"):
        load(file, FleetSettings)


# -- YAML without its surprises


def test_a_key_that_stands_twice_is_a_mistake(file: Path) -> None:
    twice = "expected each key once, got key 'meters' stands twice"
    assert told(file, "meters: 12\nseed: 1\nmeters: 13\n") == [twice]
    assert told(file, "host: {meters: 1, meters: 2}\n") == [twice]


@pytest.mark.parametrize(
    "text",
    [
        b"\xff\xfe",
        "\x00",
        "[" * 5000,
        "meters: [",
        "? [a]\n: 1",
        "? {a: 1}\n: 1",
        "a: 1\n---\nb: 2",
        "meters: !!python/object/apply:os.system [id]",
        "meters: !!int x",
        "meters: !!int ''",
        "meters: !!float x",
        "meters: !!bool x",
        "meters: !!timestamp x",
        "meters: !!binary x",
        "meters: " + "9" * 5000,
        "- 1",
        "",
        "just text",
    ],
    ids=lambda text: repr(text)[:30],
)
def test_what_is_no_settings_file_is_told_as_one_mistake_and_no_crash(file: Path, text: str | bytes) -> None:
    assert len(told(file, text)) == 1


class Scalars(Model):
    """One field of each kind that a plain scalar can be meant for."""

    number: int = 0
    word: str = ""
    truth: bool = False
    decimal: Exact = Decimal(0)


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("number: 0x1F", "number", 31),
        ("number: -12", "number", -12),
        ("word: no", "word", "no"),
        ("word: 12:30", "word", "12:30"),
        ("word: 0123", "word", "0123"),
        ("word: 2024-13-45", "word", "2024-13-45"),
        ("word: 1_000", "word", "1_000"),
        ("word: 'null'", "word", "null"),
        ("truth: true", "truth", True),
        ("decimal: 0.1", "decimal", Decimal("0.1")),
        ("decimal: 12345678901.123456789012", "decimal", Decimal("12345678901.123456789012")),
        ("decimal: 1e-3", "decimal", Decimal("0.001")),
        ("decimal: 5", "decimal", Decimal(5)),
        ("decimal: '0.10'", "decimal", Decimal("0.10")),
    ],
)
def test_a_plain_scalar_means_what_is_printed(file: Path, text: str, field: str, value: object) -> None:
    file.write_text(text)
    assert getattr(load(file, Scalars), field) == value


LOOK_ALIKES = {
    "number": ["010", "1_000", "1.0", "'1'", "true", "12:30", "0o7"],
    "word": ["5", "true", "null", "1.5", "~", "0x1F"],
    "truth": ["yes", "1", "on", "True", "'true'"],
    "decimal": [".5", ".inf", ".nan", "true", "1e20", "one", "1234567890123", "0.1234567890123", "1_0.5"],
}


@pytest.mark.parametrize("text", [f"{field}: {text}" for field, texts in LOOK_ALIKES.items() for text in texts])
def test_nothing_is_read_as_what_it_does_not_look_like(file: Path, text: str) -> None:
    assert len(told(file, text, Scalars)) == 1


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_file_is_read_or_told_as_mistakes(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(text)
    try:
        load(file, FleetSettings)
    except SettingsError as error:
        assert error.mistakes


# -- Paths


def test_relative_paths_are_meant_from_the_folder_of_the_file(file: Path) -> None:
    file.write_text(yaml.safe_dump(an_agent_document()))
    settings = load(file, AgentSettings)
    here = file.parent
    assert settings.data == here / "data"
    assert settings.key_file == here / "keys" / "gateway.pem"
    assert settings.broker.tls is not None
    assert settings.broker.tls.ca_file == here / "ca.pem"
    assert settings.profile_folders == (here / "meters",)


def test_absolute_paths_stay_as_they_are(file: Path) -> None:
    file.write_text(yaml.safe_dump(an_agent_document()))
    assert load(file, AgentSettings).aggregator_key_file == Path("/etc/este/aggregator.pem")


# -- Meter profiles


def test_the_profiles_that_come_with_este_are_right_and_named_after_their_files() -> None:
    assert set(load_profiles()) == {path.stem for path in METERS_FOLDER.glob("*.yaml")}


def test_of_the_profiles_that_come_with_este_only_those_asked_for_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that starts needs two of them, and not the time that fifty take."""
    read: list[str] = []

    def noting(path: Path) -> MeterProfile:
        read.append(path.stem)
        return load(path, MeterProfile)

    monkeypatch.setattr("config.load.load_profile", noting)
    monkeypatch.setattr("config.load._shipped_profile", noting)
    profiles = load_profiles()
    assert "abb_b23" in profiles
    assert len(profiles) >= 30
    assert read == []
    assert profiles["abb_b23"].id == "abb_b23"
    assert read == ["abb_b23"]


def test_a_folder_of_profiles_adds_and_replaces(tmp_path: Path) -> None:
    for name in ("acme_one", "abb_b23"):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(a_profile_document(id=name)))
    profiles = load_profiles((tmp_path,))
    assert profiles["acme_one"].manufacturer == profiles["abb_b23"].manufacturer == "Acme"
    assert load_profiles()["abb_b23"].manufacturer == "ABB"


def test_a_profile_must_be_named_after_its_file(tmp_path: Path) -> None:
    (tmp_path / "acme_two.yaml").write_text(yaml.safe_dump(a_profile_document()))
    with pytest.raises(SettingsError, match=r"id: expected the file's own name 'acme_two', got 'acme_one'"):
        load_profiles((tmp_path,))


def test_a_folder_of_profiles_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="expected a folder of meter profiles, got no such folder"):
        load_profiles((tmp_path / "nowhere",))


def test_a_document_can_be_checked_without_a_file() -> None:
    assert check({"meters": 12}, FleetSettings, "the demo") == FleetSettings(meters=12)
    with pytest.raises(SettingsError, match=r"^the demo: meters: "):
        check({"meters": 1}, FleetSettings, "the demo")
