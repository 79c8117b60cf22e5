"""Settings: precedence, unknown keys, and the page that documents them."""

from __future__ import annotations

import logging
import pickle
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

import infra
from infra.settings import Settings, SettingsError, described, settings_table

SECRET = "never-show-this"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = "rushes.toml") -> Path:
    path = Path(name)
    path.write_text(text)
    return path


def test_defaults_need_nothing() -> None:
    assert Settings.load() == Settings()
    assert Settings().farm.lease_lapse_s == 30.0


def test_file_then_environment_then_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    write("[store]\nregion = 'file'\nendpoint_url = 'http://file:1'\nprofile = 'file'\n[farm]\ntake_deaths = 2\n")
    monkeypatch.setenv("RUSHES_STORE__ENDPOINT_URL", "http://environment:1")
    monkeypatch.setenv("RUSHES_STORE__REGION", "environment")
    monkeypatch.setenv("RUSHES_FARM__ALLOW", '["/data", "s3://in/"]')
    settings = Settings.load(store={"region": "flag", "profile": None}, farm={"gang": None, "layout": "ring=2"})
    assert (settings.store.profile, settings.store.endpoint_url, settings.store.region) == (
        "file",
        "http://environment:1",
        "flag",
    )
    assert (settings.farm.take_deaths, settings.farm.layout) == (2, "ring=2")
    assert settings.farm.allow == ["/data", "s3://in/"]


def test_a_file_by_name() -> None:
    write("[price]\ngpu_hour = 2.5\n", "other.toml")
    assert Settings.load().price.gpu_hour is None
    assert Settings.load("other.toml").price.gpu_hour == 2.5
    with pytest.raises(SettingsError, match=r"none\.toml"):
        Settings.load("none.toml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[store]\nendpont_url = 'x'\n", r"store\.endpont_url: no such setting \(from rushes\.toml\)"),
        ("[stores]\n", r"stores: no such setting"),
        ("gang = 2\n", r"gang: no such setting"),
        ("farm = 3\n", r"farm: a table of settings.*\(from rushes\.toml\)"),
        ("[farm]\nlayout = 'tp=2'\n", r"farm\.layout: .*cfg=2,ulysses=2,ring=2.*\(from rushes\.toml\)"),
        ("[farm]\nlayout = 'cfg=2'\ngang = 4\n", r"farm: .*a gang of 2, and gang is 4"),
        ("[farm]\nslot_deaths = 3\n", r"farm: .*slot_deaths must be above take_deaths"),
        ("[farm]\ngang = 0\n", r"farm\.gang: .*greater than or equal to 1 \(from rushes\.toml\)"),
        ("[media]\ncrf = 11\n", r"media\.crf"),
        ("[farm\n", "not TOML"),
        ("[store]\nconditional_put = 'never'\n", r"store\.conditional_put"),
    ],
)
def test_files_that_are_refused(text: str, says: str) -> None:
    write(text)
    with pytest.raises(SettingsError, match=says):
        Settings.load()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("RUSHES_GANG", "2", "no such setting: RUSHES_GANG"),
        ("RUSHES_FARM__GANGS", "2", r"farm\.gangs: no such setting \(from the environment\)"),
        ("RUSHES_FARM__GANG", "many", r"farm\.gang: .*\(from the environment\)"),
        ("RUSHES_FARM__ALLOW", "/data", r"RUSHES_FARM__ALLOW: .*is JSON"),
    ],
)
def test_environments_that_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=says):
        Settings.load()


def test_flags_that_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"farm\.gang: .*\(from flags\)"):
        Settings.load(farm={"gang": -1})
    with pytest.raises(SettingsError, match=r"nonsense: no such setting"):
        Settings.load(nonsense={"gang": 1})


def test_secrets_never_show(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("RUSHES_STORE__ACCESS_KEY_ID", "id-" + SECRET)
    monkeypatch.setenv("RUSHES_STORE__SECRET_ACCESS_KEY", SECRET)
    settings = Settings.load()
    assert settings.store.secret_access_key is not None
    assert settings.store.secret_access_key.get_secret_value() == SECRET
    shown = repr(settings) + str(settings) + settings.model_dump_json() + caplog.text
    write(f"[store]\nendpoint_url = 'http://user:{SECRET}@host'\nprofile = 3\nsession_token = 4\n")
    with pytest.raises(SettingsError) as refused:
        Settings.load()
    assert SECRET not in shown + str(refused.value)
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().farm.gang = 3


def test_every_setting_is_documented_and_the_page_is_current() -> None:
    page = (Path(infra.__file__).parent / "README.md").read_text()
    assert settings_table() in page, "infra/README.md: put the output of settings_table() there"
    for name, field in described():
        assert field.description, name
        assert re.search(rf"^\| {re.escape(name)} \|", page, re.MULTILINE)


def test_a_group_that_is_no_table_is_not_lost_below_one(monkeypatch: pytest.MonkeyPatch) -> None:
    write("farm = 3\n")
    monkeypatch.setenv("RUSHES_FARM__GANG", "2")
    with pytest.raises(SettingsError, match=r"farm: a table"):
        Settings.load(farm={"gang": 4})


def test_a_gang_or_a_layout_puts_aside_the_other_of_earlier_places(monkeypatch: pytest.MonkeyPatch) -> None:
    def farm(**flags: object) -> tuple[int | None, str | None]:
        found = Settings.load(farm={"gang": None, "layout": None} | flags).farm
        return found.gang, found.layout

    write("[farm]\ngang = 2\n")
    assert farm() == (2, None)
    assert farm(layout="cfg=2,ulysses=2") == (None, "cfg=2,ulysses=2")
    monkeypatch.setenv("RUSHES_FARM__LAYOUT", "ring=3")
    assert farm() == (None, "ring=3")
    assert farm(gang=4) == (4, None)
    with pytest.raises(SettingsError, match="a gang of 2"):
        farm(gang=4, layout="cfg=2")
