"""The servers that the other tests lean on: they answer, refuse strangers, break when told, and end with the tests."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
from pathlib import Path

import botocore.exceptions
import psutil
import pytest

from tests.servers.command import CliResult, RunCli
from tests.servers.faultproxy import FaultProxy, Rule
from tests.servers.seaweedfs import SeaweedFS


def test_s3_keeps_objects_and_conditions(s3: SeaweedFS) -> None:
    client = s3.client()
    client.put_object(Bucket=s3.bucket, Key="servers/a", Body=b"one", IfNoneMatch="*")
    with pytest.raises(botocore.exceptions.ClientError, match="PreconditionFailed"):
        client.put_object(Bucket=s3.bucket, Key="servers/a", Body=b"two", IfNoneMatch="*")
    assert client.get_object(Bucket=s3.bucket, Key="servers/a")["Body"].read() == b"one"


def test_s3_refuses_a_wrong_secret(s3: SeaweedFS) -> None:
    stranger = SeaweedFS(s3.folder, secret="wrong", port=s3.port)
    with pytest.raises(botocore.exceptions.ClientError, match=r"403|SignatureDoesNotMatch"):
        stranger.client().list_objects_v2(Bucket=s3.bucket)


def test_prefixes_differ(s3: SeaweedFS) -> None:
    assert s3.bucket_url() != s3.bucket_url()
    assert s3.bucket_url("x/y") == f"s3://{s3.bucket}/x/y"


def test_a_lost_reply_is_delivered_once(s3: SeaweedFS, fault_proxy: FaultProxy) -> None:
    fault_proxy.rule = Rule(match=b"PUT /" + s3.bucket.encode() + b"/servers/lost", drop_reply=True, times=1)
    client = s3.client(fault_proxy.url)
    with pytest.raises(botocore.exceptions.ClientError, match="PreconditionFailed"):  # the retry meets its own write
        client.put_object(Bucket=s3.bucket, Key="servers/lost", Body=b"x", IfNoneMatch="*")
    assert fault_proxy.hits == 1
    assert s3.client().get_object(Bucket=s3.bucket, Key="servers/lost")["Body"].read() == b"x"


def test_a_cut_upload_leaves_no_object(s3: SeaweedFS, fault_proxy: FaultProxy) -> None:
    fault_proxy.rule = Rule(match=b"PUT /", cut_up=50_000)
    with pytest.raises(botocore.exceptions.HTTPClientError):
        s3.client(fault_proxy.url).put_object(Bucket=s3.bucket, Key="servers/cut", Body=os.urandom(300_000))
    assert fault_proxy.hits >= 1
    assert s3.client().list_objects_v2(Bucket=s3.bucket, Prefix="servers/cut")["KeyCount"] == 0


def test_a_delay_holds_one_request_of_a_kept_connection(s3: SeaweedFS, fault_proxy: FaultProxy) -> None:
    client = s3.client(fault_proxy.url)
    client.list_objects_v2(Bucket=s3.bucket)
    fault_proxy.rule = Rule(match=b"GET /", delay=3.0, times=1)
    took = []
    for _ in range(2):
        start = time.monotonic()
        client.list_objects_v2(Bucket=s3.bucket)
        took.append(time.monotonic() - start)
    assert took[0] >= 3.0 > took[1]


def test_prefect_answers_with_its_own_port(prefect_server: str) -> None:
    with urllib.request.urlopen(prefect_server + "/health", timeout=10) as reply:
        assert json.load(reply) is True
    with urllib.request.urlopen(prefect_server.removesuffix("/api") + "/ui-settings", timeout=10) as reply:
        assert json.load(reply)["api_url"] == prefect_server


def test_servers_end_when_the_tests_are_killed(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from tests.servers import process
        child = process.start([sys.executable, "-c", "import time; time.sleep(300)"],
                              log=Path("log"), env={}, cwd=Path("."))
        print(child.pid, flush=True)
        time.sleep(300)
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert parent.stdout is not None
    with parent.stdout:
        child = psutil.Process(int(parent.stdout.readline()))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait(10)
    gone, left = psutil.wait_procs([child], timeout=10)
    assert not left
    assert gone


def test_command_runs_in_a_clean_environment(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUSHES_SOMETHING", "the developer's own")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the developer's own")
    env = run_cli.environment({"EXTRA": "1"})
    assert not {"RUSHES_SOMETHING", "AWS_SECRET_ACCESS_KEY"} & env.keys()
    assert env["EXTRA"] == "1"
    assert env["HOME"] != os.environ["HOME"]
    result = run_cli("--help", check=0)
    assert "render" in result.stdout
    with pytest.raises(AssertionError, match="wanted exit 0"):
        run_cli("no-such-verb", check=0)


def test_command_that_is_left_running_is_ended(run_cli: RunCli, tmp_path: Path) -> None:
    process = run_cli.start("--help")
    os.kill(process.pid, signal.SIGSTOP)  # stands for a command that hangs
    run_cli.end_all()
    assert process.returncode == -signal.SIGKILL


def test_output_that_is_no_json_is_shown() -> None:
    with pytest.raises(AssertionError, match="on stderr"):
        _ = CliResult(("plan",), 2, "Traceback", "on stderr").json
    assert CliResult((), 0, '{"exit": 0}', "").json == {"exit": 0}
