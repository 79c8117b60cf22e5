"""One kill: the job is brought to a phase and held there, the process is killed, and what was lost is made good."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.chaos.gates import Gates
from tests.chaos.holds import AtGate, Held, OnWire
from tests.chaos.schedule import Kind, Network, Phase, Strike
from tests.chaos.world import World
from tests.processes import descendants
from tests.servers.faultproxy import Hold, Rule

PATIENCE_S = 450.0
"""Seconds until a phase must have been reached, or a job gone on: many times what it takes on an idle machine.

On a busy one a gang may use up its 180 s of loading, and the next one most of its own."""
TICKET_S = 2.0
"""Seconds between tickets: how often a take may begin while the suite waits."""
_GONE_S = 10.0
_STEADY_S = 2.0
_POLL_S = 0.1
_FILES = {Phase.LOADING: "load", Phase.DENOISING: "denoise", Phase.DECODING: "decode", Phase.ENCODING: "encode"}
_HELD_AT: dict[Phase, tuple[str, Any]] = {
    Phase.UPLOAD: ("PUT /{bucket}/{prefix}/shots/", "body"),
    Phase.BEFORE_COMMIT: ("PUT /{bucket}/{prefix}/commits/", "request"),
    Phase.AFTER_COMMIT: ("PUT /{bucket}/{prefix}/commits/", "reply"),
    Phase.MANIFEST: ("PUT /{bucket}/{prefix}/jobs/{job}/manifest.parquet", "request"),
}
_REBUILT = (Phase.PLANNING, Phase.LOADING)
_OF_TAKES = tuple(phase for phase in Phase if phase not in (*_REBUILT, Phase.MANIFEST))


class Stuck(Exception):
    """A phase was not reached, or the job did not go on after a kill, for as long as `PATIENCE_S`."""


@dataclass
class Struck:
    """What one kill was, as it is written to the results. Seconds are of this machine at that time.

    Attributes:
        held: how it is known that the job stood at the phase: the pids at the gate, or the request on the wire.
        gone_s: from the signal until the process was gone.
        recovered_s: from the signal until a take was committed; None where the next kill came before that.
    """

    seed: int
    number: int
    job: int
    process: str
    phase: str
    network: str
    pid: int
    held: str
    gone_s: float
    recovered_s: float | None = None
    outcome: str = "recovered"


@dataclass
class JobUnderFire:
    """One job, killed at until its strikes are used up.

    Attributes:
        url: the store: a bucket and a prefix.
        exits: exit codes of processes of the flow that ended by themselves before the end.
    """

    world: World
    folder: Path
    gates: Gates
    seed: int
    job_id: str
    url: str
    rng: random.Random
    say: Callable[[str], None]
    exits: list[int] = field(default_factory=list)
    struck: list[Struck] = field(default_factory=list)
    _supplied: float = 0.0

    def run(self, strikes: list[Strike]) -> int:
        """All strikes, and then the job to its end. Returns its exit code. Raises Stuck."""
        hold = self._hold(strikes[0]) if strikes and strikes[0].phase in _REBUILT else None
        self.world.start_flow(self.folder)
        try:
            for strike, following in zip(strikes, [*strikes[1:], None], strict=True):
                hold = self._strike(strike, following, hold)
        finally:
            self.world.proxy.rule = None
            self.gates.open_all()
        return self._end()

    # One kill

    def _strike(self, strike: Strike, following: Strike | None, hold: Held | None) -> Held | None:
        """Kills. Returns the hold for the strike that follows, where that one needs what this one breaks."""
        if strike.phase not in _REBUILT:  # or a gang held at a gate would keep the finisher from being made
            self._wait(lambda: self.world.find(strike.kind), f"there is no {strike.kind} to kill")
        if hold is None:
            hold = self._hold(strike)
        self._wait(hold.standing, f"{strike.phase} was not reached", supply=strike.phase in _OF_TAKES)
        if strike.phase is Phase.PLANNING and strike.kind is Kind.DISPATCHER:
            hold = self._held_by_dispatcher(strike, hold)
        hold, victim, held = self._victim(strike, hold)
        commits, began = self._commits(), time.monotonic()
        _kill(victim, whole_session=strike.kind is Kind.PREFECT)
        gone_s = _gone(victim, began)
        record = Struck(
            self.seed, strike.number, strike.job, strike.kind, strike.phase, strike.network, victim.pid, held,
            round(gone_s, 3),
        )  # fmt: skip
        self.struck.append(record)
        hold.release(strike.network)
        # What is lost now is built again in a second at the earliest: it comes upon this.
        after = self._hold(following) if following is not None and following.phase in _REBUILT else None
        if after is None and strike.network in (Network.REPLY_LOST, Network.CUT):
            self._disturb(strike.network)
        if strike.kind is Kind.FLOW:
            assert self.world.flow is not None
            self.world.flow.wait()
            self.world.start_flow(self.folder)
        else:
            self.world.restart(strike.kind)
        if after is None:
            self._wait(lambda: self._commits() > commits, f"no commit after the kill of {strike.kind}")
            record.recovered_s = round(time.monotonic() - began, 1)
        self.say(told(asdict(record)))
        return after

    def _victim(self, strike: Strike, hold: Held) -> tuple[Held, psutil.Process, str]:
        """The hold, a living process of the kind (the one that stands there if one does), and who or what stands there.

        What was lost before may still be on its way down, and stand at a gate until then: looked at twice. Where no
        process of the kind is left, as when the finisher went with its node, the job goes on until there is one.
        """
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends:
            if strike.phase not in _REBUILT and not self.world.find(strike.kind):
                hold.release(Network.GOES_ON)
                self._wait(lambda: self.world.find(strike.kind), f"there is no {strike.kind} to kill")
                hold = self._hold(strike)
            found = self._wait(lambda: self.world.find(strike.kind), f"there is no {strike.kind} to kill")
            supply = strike.phase in _OF_TAKES
            stood = self._wait(hold.standing, f"{strike.phase} was left", supply=supply)
            if strike.phase is Phase.LOADING:
                time.sleep(_STEADY_S)
            pids = set(hold.pids())
            # An encoder at the gate is a finisher's child.
            at_gate = [one for one in found if pids & {one.pid, *(child.pid for child in descendants(one.pid))}]
            victim = self.rng.choice(sorted(at_gate or found, key=lambda process: process.pid))
            if hold.standing() == stood and _lives(victim):
                return hold, victim, stood
        raise Stuck(f"{strike}: no {strike.kind} lived while the job stood at the phase")

    def _held_by_dispatcher(self, strike: Strike, hold: Held) -> Held:
        """Others read the plan too: lets those go until a dispatcher is there, which reads it first of all."""
        ends = time.monotonic() + PATIENCE_S
        while not self.world.find(Kind.DISPATCHER):
            if time.monotonic() > ends:
                raise Stuck(f"{strike}: no dispatcher reads the plan")
            hold.release(Network.GOES_ON)
            hold = self._hold(strike)
            self._wait(hold.standing, "nobody reads the plan")
        return hold

    # Phases

    def _hold(self, strike: Strike) -> Held:
        """Makes whoever comes to the phase of a strike next stand still there."""
        phase = strike.phase
        if phase in _FILES:
            return AtGate(self.gates, _FILES[phase])
        bucket, prefix = self.world.s3.bucket, self.url.rpartition("/")[2]
        if phase is Phase.PLANNING:
            verb = "GET" if strike.kind is Kind.DISPATCHER else "PUT"
            path, at = verb + " /{bucket}/{prefix}/jobs/{job}/plan.parquet", "request"
        else:
            path, at = _HELD_AT[phase]
        hold = Hold(at)
        match = path.format(bucket=bucket, prefix=prefix, job=self.job_id)
        self.world.proxy.rule = Rule(match=match.encode(), hold=hold, times=1)
        return OnWire(hold, match)

    def _disturb(self, network: Network) -> None:
        """One more fault of the network, to a request soon after: a commit whose reply is lost, or a cut upload."""
        bucket, prefix = self.world.s3.bucket, self.url.rpartition("/")[2]
        if network is Network.REPLY_LOST:
            match = f"PUT /{bucket}/{prefix}/commits/".encode()
            self.world.proxy.rule = Rule(match=match, drop_reply=True, times=1)
        else:
            match = f"PUT /{bucket}/{prefix}/shots/".encode()
            self.world.proxy.rule = Rule(match=match, cut_up=1500, times=1)

    # Waiting

    def _commits(self) -> int:
        """Commits that the server has taken, as the proxy saw them."""
        prefix = f"/{self.world.s3.bucket}/{self.url.rpartition('/')[2]}/commits/"
        seen = self.world.proxy.exchanges
        return sum(one.method == "PUT" and one.path.startswith(prefix) and one.status == 200 for one in seen)

    def _wait(self, check: Callable[[], Any], otherwise: str, *, supply: bool = True) -> Any:
        """Waits until something holds; supplies the job with tickets meanwhile, and starts it again if it ends."""
        ends = time.monotonic() + PATIENCE_S
        while not (found := check()):
            if time.monotonic() > ends:
                raise Stuck(f"{otherwise} within {PATIENCE_S:.0f} s (job {self.job_id})")
            if supply:
                self._supply()
            self._revive()
            time.sleep(_POLL_S)
        return found

    def _supply(self) -> None:
        """One more ticket where none is left, but not so many that the job ends before it has been killed at."""
        if time.monotonic() - self._supplied > TICKET_S and not self.gates.tickets():
            self.gates.give_tickets(1)
            self._supplied = time.monotonic()

    def _revive(self) -> None:
        """The same command again, where the flow's process has ended by itself."""
        flow = self.world.flow
        assert flow is not None
        if flow.poll() is None:
            return
        self.exits.append(flow.returncode)
        if flow.returncode in (0, 1) or len(self.exits) > 3:
            raise Stuck(f"the job ended with {flow.returncode} while it was being killed at ({self.exits})")
        self.world.start_flow(self.folder)

    def _end(self) -> int:
        ends = time.monotonic() + 2 * PATIENCE_S
        flow = self.world.flow
        assert flow is not None
        while flow.poll() is None:
            if time.monotonic() > ends:
                raise Stuck(f"job {self.job_id} did not end within {2 * PATIENCE_S:.0f} s")
            time.sleep(_POLL_S)
            self.world.find_all()
        return flow.returncode


def told(line: dict[str, Any]) -> str:
    """A line of the results for people; what is empty is left out."""
    return " ".join(f"{name}={value}" for name, value in line.items() if value not in ("", [], None))


def _kill(victim: psutil.Process, *, whole_session: bool) -> None:
    """SIGKILL. Prefect's server is two processes in a session of their own, and goes as a whole."""
    if whole_session:
        os.killpg(victim.pid, signal.SIGKILL)
    else:
        os.kill(victim.pid, signal.SIGKILL)


def _lives(process: psutil.Process) -> bool:
    """Whether it runs; one that only waits to be reaped does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _gone(victim: psutil.Process, began: float) -> float:
    """Seconds until the process was gone. Raises Stuck where it stays."""
    while _lives(victim):
        if time.monotonic() - began > _GONE_S:
            raise Stuck(f"{victim} lives {_GONE_S:.0f} s after SIGKILL")
        time.sleep(0.005)
    return time.monotonic() - began
