"""A phase at which a job stands still: at a gate of the suite's, or with a request that the proxy holds."""

from __future__ import annotations

import os

import psutil

from tests.chaos.gates import Gates
from tests.chaos.schedule import Network
from tests.servers.faultproxy import Hold


class Held:
    """A phase at which the job stands, or will stand, still."""

    def standing(self) -> str:
        """Who or what stands there now; empty when nobody does."""
        raise NotImplementedError

    def pids(self) -> list[int]:
        """Processes that stand there, where that is known."""
        return []

    def release(self, network: Network) -> None:
        """Let it go on."""
        raise NotImplementedError


class AtGate(Held):
    def __init__(self, gates: Gates, name: str) -> None:
        self._gates, self._name = gates, name
        gates.hold(name)

    def standing(self) -> str:
        pids = self.pids()
        return f"at gate {self._name}: {', '.join(map(str, pids))}" if pids else ""

    def pids(self) -> list[int]:
        return self._gates.standing(self._name)

    def release(self, network: Network) -> None:
        self._gates.release(self._name)


class OnWire(Held):
    def __init__(self, hold: Hold, match: str) -> None:
        self._hold, self._match = hold, match
        self._sender: list[int] = []

    def standing(self) -> str:
        if not self._hold.standing:
            return ""
        verb, _, path = self._match.partition(" ")
        return f"{self._hold.at} of {verb} {path.split('/', 3)[3]} of {', '.join(map(str, self.pids())) or 'nobody'}"

    def pids(self) -> list[int]:
        """Whoever sent the request, found by its port while it still had it."""
        if self._hold.held.is_set() and not self._sender:
            port = self._hold.client_port
            found = (one.pid for one in psutil.net_connections("tcp") if one.laddr and one.laddr.port == port)
            self._sender = [pid for pid in found if pid is not None and pid != os.getpid()]
        return self._sender

    def release(self, network: Network) -> None:
        self._hold.release(drop=network is Network.RESET)
