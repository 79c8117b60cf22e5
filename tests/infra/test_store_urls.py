"""Which URLs are stores, and that no secret ever shows."""

from __future__ import annotations

import logging
import pickle
import traceback
from pathlib import Path

import pytest

from infra.store import Store, StoreOptions, for_workers, open_store
from infra.store.errors import StoreError, StoreRefused, StoreUnavailable
from tests.servers.seaweedfs import SeaweedFS

SECRET = "wJalrXUtnFEMI-never-show-this"


def test_a_host_that_is_not_there_is_an_unavailable_store() -> None:
    with pytest.raises(StoreUnavailable, match=r"ftp://host\.invalid/x"):
        open_store("ftp://host.invalid/x").probe()


def test_a_bare_path_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_store("out").url == f"file://{tmp_path}/out"
    assert open_store(tmp_path / "out") == open_store(f"file://{tmp_path}/out/") == open_store("./x/../out")
    assert open_store("s3a://bucket/a/b/").url == "s3://bucket/a/b"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "s3://",
        "s3://bucket/a/../b",
        "s3://bucket/a//b",
        "s3://bucket/a?versionId=1",
        "s3://bucket/a#b",
        "file://host/folder",
        "file:/folder",
        "file:folder",
        "zip::s3://bucket/a.zip",
        "simplecache::s3://bucket/a",
        f"s3://key:{SECRET}@bucket/a",
        f"https://user:{SECRET}@host/a",
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(StoreRefused) as refused:
        open_store(url)
    assert SECRET not in str(refused.value)


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(StoreRefused, match="gopher"):
        open_store("gopher://host/a").read("b")


def test_secrets_never_show(caplog: pytest.LogCaptureFixture, s3: SeaweedFS) -> None:
    """In repr, logs at the finest level, or any error, its causes included; but they do travel to workers."""
    caplog.set_level(logging.DEBUG)
    options = StoreOptions(
        endpoint_url=s3.endpoint,
        access_key_id=SECRET + "-id",
        secret_access_key=SECRET,
        session_token=SECRET,
        retry_s=0,
    )
    store = open_store(s3.bucket_url(), options)
    with pytest.raises(StoreRefused) as refused:
        store.read("a")
    with pytest.raises(StoreUnavailable) as unreachable:
        open_store(store.url, options.model_copy(update={"endpoint_url": "http://127.0.0.1:9"})).write("a", b"x")
    shown = [repr(store), str(store), repr(options), str(options), options.model_dump_json(), repr(vars(store))]
    shown += ["".join(traceback.format_exception(error.value)) for error in (refused, unreachable)]
    assert not any(SECRET in text for text in shown)
    assert caplog.records, "the log was looked at"
    assert SECRET not in caplog.text
    assert pickle.loads(pickle.dumps(store)).options.secret_access_key.get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"endpoint_url": f"http://user:{SECRET}@host"}, "user or password"),
        ({"endpoint_url": f"ftp://{SECRET}"}, "not an http"),
        ({"secret_access_key": SECRET}, "belong together"),
        ({"session_token": SECRET}, "needs access_key_id"),
        ({"keys": SECRET}, "Extra inputs"),
    ],
)
def test_options_that_are_refused_do_not_repeat_values(options: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        StoreOptions.model_validate(options)
    assert SECRET not in str(refused.value)


def test_errors_say_what_to_do(s3: SeaweedFS, s3_options: StoreOptions) -> None:
    wrong = s3_options.model_copy(
        update={"secret_access_key": StoreOptions(access_key_id="a", secret_access_key="b").access_key_id}
    )
    for url, options, says in (
        ("s3://no-such-bucket/a", s3_options, "make the bucket first"),
        (s3.bucket_url(), wrong, "check the keys"),
    ):
        with pytest.raises(StoreRefused, match=says):
            open_store(url, options).probe()
        with pytest.raises(StoreRefused, match=says):
            list(open_store(url, options).list())


def test_errors_survive_pickling() -> None:
    for kind in (StoreError, StoreRefused, StoreUnavailable):
        error = pickle.loads(pickle.dumps(kind("what, where, what to do")))
        assert (type(error), str(error)) == (kind, "what, where, what to do")


class TestTheUsualAwsPlaces:
    def test_environment(self, s3: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in s3.environment().items():
            monkeypatch.setenv(name, value)
        here = open_store(s3.bucket_url())
        here.write("a", b"x")
        carried = for_workers(here.url, here.options)
        for name in s3.environment():
            monkeypatch.delenv(name)
        assert carried.endpoint_url == s3.endpoint
        there = pickle.loads(pickle.dumps(Store(here.url, carried)))
        assert there.read("a") == b"x"

    def test_profile(self, s3: SeaweedFS, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        config = tmp_path / "config"
        config.write_text(
            f"[profile farm]\nregion = us-east-1\nendpoint_url = {s3.endpoint}\n"
            f"aws_access_key_id = {s3.key}\naws_secret_access_key = {s3.secret}\n"
            "request_checksum_calculation = when_required\n"
        )
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        here = open_store(s3.bucket_url(), StoreOptions(profile="farm"))
        here.write("a", b"x")
        carried = for_workers(here.url, here.options)
        monkeypatch.delenv("AWS_CONFIG_FILE")
        assert (carried.profile, carried.checksums) == (None, "when_required")
        assert Store(here.url, carried).read("a") == b"x"

    def test_settings_come_first(
        self, s3: SeaweedFS, s3_options: StoreOptions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "other")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other")
        carried = for_workers(s3.bucket_url(), s3_options)
        assert (carried.endpoint_url, carried.access_key_id) == (s3_options.endpoint_url, s3_options.access_key_id)

    def test_no_keys_at_all(self, s3: SeaweedFS, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        with pytest.raises(StoreRefused, match="no complete S3 keys"):
            open_store(s3.bucket_url(), StoreOptions(endpoint_url=s3.endpoint, retry_s=0)).read("a")

    def test_an_unknown_profile(self) -> None:
        with pytest.raises(ValueError, match=r"AWS settings: .*nobody"):
            for_workers("s3://bucket/a", StoreOptions(profile="nobody"))
        with pytest.raises(StoreRefused, match=r"AWS settings: .*nobody"):
            open_store("s3://bucket/a", StoreOptions(profile="nobody")).read("b")

    def test_folders_need_nothing(self) -> None:
        assert for_workers("/some/folder", StoreOptions()) == StoreOptions()
