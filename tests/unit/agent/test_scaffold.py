"""The settings file that init writes explains every setting there is, with the default that is in force."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from agent import scaffold
from config import key_files
from config.load import SettingsError, load
from config.settings.agent import AgentSettings
from protocol.errors import OperatorError

TEXT = scaffold.settings_text(region="sunvale", gateway="gw-1", broker_host="broker.example", broker_port=8883)


def settings_of(kind: type[BaseModel]) -> set[str]:
    """Every key that may stand in an agent.yaml, at any depth."""
    keys = set(kind.model_fields)
    for field in kind.model_fields.values():
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, BaseModel):
                keys |= settings_of(part)
    return keys


def uncommented() -> str:
    """The text with every setting in force that it names."""
    lines = TEXT.splitlines()
    in_force = [re.sub(r"^(\s*)# (\s*[a-z0-9_]+:|\s*- )", r"\1\2", line) for line in lines]
    replaced = {"buses: []", "standing_orders: []", f"key_file: {scaffold.KEY_NAME}"}
    return "\n".join(line for line in in_force if line not in replaced)


@pytest.mark.parametrize("key", sorted(settings_of(AgentSettings)))
def test_every_setting_is_explained(key: str) -> None:
    assert re.search(rf"\b{key}:", TEXT)


def test_the_file_is_one_that_can_be_loaded(tmp_path: Path) -> None:
    scaffold.make(tmp_path / "gw", region="sunvale", gateway="gw-1", broker_host="broker.example", broker_port=8883)
    settings = load(tmp_path / "gw" / scaffold.SETTINGS_NAME, AgentSettings)
    assert (settings.region, settings.gateway, settings.broker.port) == ("sunvale", "gw-1", 8883)


def test_so_is_the_file_with_everything_in_it_that_is_commented_out(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(uncommented())
    settings = load(path, AgentSettings)
    assert settings.buses[0].devices[0].id == "heat_pump"
    assert settings.standing_orders[0].participant == "anna"
    assert settings.broker.tls is not None
    assert settings.pkcs11 is not None
    assert settings.home_assistant is not None
    assert settings.metrics is not None


@pytest.mark.parametrize(
    "key",
    [
        "poll_every_ms",
        "quantities",
        "resend_after_ms",
        "in_flight_max",
        "outbox_bytes_max",
        "at_bound",
        "clock_wait_max_ms",
        "statement_age_max_ms",
        "profile_folders",
    ],
)
def test_a_default_is_told_as_it_is(key: str) -> None:
    (told,) = re.findall(rf"^# {key}: (.*)$", TEXT, re.MULTILINE)
    value = yaml.safe_load(told)
    assert (tuple(value) if isinstance(value, list) else value) == AgentSettings.model_fields[key].default


def test_nested_defaults_are_too() -> None:
    batch = AgentSettings.model_fields["batch"].default
    assert f"readings_max: {batch.readings_max}\n" in TEXT
    assert f"age_max_ms: {batch.age_max_ms}\n" in TEXT


def test_a_gateway_gets_a_key_that_only_its_owner_can_read(tmp_path: Path) -> None:
    public = scaffold.make(tmp_path, region="sunvale", gateway="gw-1", broker_host="localhost", broker_port=1883)
    assert (tmp_path / scaffold.KEY_NAME).stat().st_mode & 0o777 == 0o600
    assert key_files.load(tmp_path / scaffold.KEY_NAME).public_key == public
    assert key_files.load_public(tmp_path / scaffold.PUBLIC_KEY_NAME) == public


@pytest.mark.parametrize("name", [scaffold.SETTINGS_NAME, scaffold.KEY_NAME, scaffold.PUBLIC_KEY_NAME])
def test_nothing_is_overwritten_and_nothing_is_half_made(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(OperatorError, match="nothing is ever overwritten"):
        scaffold.make(tmp_path, region="sunvale", gateway="gw-1", broker_host="localhost", broker_port=1883)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "precious"


@pytest.mark.parametrize(
    "wrong",
    [{"region": "sun vale"}, {"gateway": "aggregator"}, {"broker_host": "mqtt://x"}, {"broker_port": 0}],
    ids=["region", "gateway", "host", "port"],
)
def test_a_name_that_is_none_is_told_before_anything_is_written(tmp_path: Path, wrong: dict[str, object]) -> None:
    right = {"region": "sunvale", "gateway": "gw-1", "broker_host": "localhost", "broker_port": 1883}
    with pytest.raises(SettingsError):
        scaffold.make(tmp_path / "gw", **(right | wrong))  # type: ignore[arg-type]
    assert not (tmp_path / "gw").exists()
