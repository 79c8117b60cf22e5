"""A TCP proxy that breaks connections on purpose, to stand between the store and an S3 server.

    with FaultProxy("127.0.0.1", 8333) as proxy:           # proxy.url is the endpoint for the client
        proxy.rule = Rule(match=b"PUT /bucket/key", drop_reply=True, times=1)
        ...
        assert proxy.hits == 1                              # the fault did happen

A rule picks a request: a fresh connection for `refuse`, else what a client sends, on new and kept connections.
A rule with a `Hold` stops its request at a chosen point until it is told to go on, for as long as the client waits;
`exchanges` lists what was asked and answered on the wire.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, NamedTuple

_CHUNK = 65536
_HOLD_POLL_S = 0.02


@dataclass
class Hold:
    """Stops one request: before anything of it reaches the server, half-way through its body, or before its reply.

    `held` is set as soon as it stands still, and `client_port` is then the port of whoever sent it. `release` lets it
    go on, or resets the connection.
    """

    at: Literal["request", "body", "reply"]
    client_port: int = 0
    held: threading.Event = field(default_factory=threading.Event)
    drop: bool = False
    _go: threading.Event = field(default_factory=threading.Event)

    @property
    def standing(self) -> bool:
        """Whether the request stands still now."""
        return self.held.is_set() and not self._go.is_set()

    def release(self, *, drop: bool = False) -> None:
        """Let the request, or its reply, through; `drop` resets the connection instead."""
        self.drop = drop
        self._go.set()

    async def wait(self, client: asyncio.StreamWriter) -> bool:
        """Stand still until released; whether the connection is to be reset."""
        self.client_port = int(client.get_extra_info("peername")[1])
        self.held.set()
        while not self._go.is_set():
            await asyncio.sleep(_HOLD_POLL_S)
        return self.drop


class Exchange(NamedTuple):
    """One request and the status of its answer, as the server gave it, whether or not the client ever saw it."""

    method: str
    path: str
    status: int


@dataclass
class Rule:
    """What to do to a request that holds `match`, at most `times` times. Byte counts are of that request."""

    refuse: bool = False  # reset the connection at once (`match` is not looked at)
    hang: bool = False  # swallow the request, answer nothing
    drop_reply: bool = False  # deliver the request, then reset instead of passing the reply on
    cut_up: int | None = None  # reset after this many bytes of the request
    cut_down: int | None = None  # reset after this many bytes of the reply
    delay: float = 0.0  # seconds before each piece of the reply
    hold: Hold | None = None  # stop the request; use such a rule for one request only
    match: bytes = b""
    times: int = 1_000_000_000


@dataclass
class _Connection:
    """The state of one client's connection: which rule holds for its current request, and the bytes seen since."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    rule: Rule | None = None
    up: int = 0
    down: int = 0
    recent: bytes = b""
    line: bytes = b""
    body_left: int | None = None
    replied: bool = False

    def next_request(self) -> None:
        """A kept-alive connection's next request is judged afresh."""
        self.rule, self.up, self.down, self.recent, self.replied = None, 0, 0, b"", False
        self.line, self.body_left = b"", None

    def reset(self) -> None:
        """RST to both sides: the client sees a reset, not a tidy end."""
        for writer in (self.client, self.server):
            if writer is not None:
                writer.transport.abort()


@dataclass
class FaultProxy:
    """A proxy in a thread of its own. Set `rule` at any time; None lets everything through."""

    host: str
    port: int
    rule: Rule | None = None
    hits: int = 0
    exchanges: list[Exchange] = field(default_factory=list, repr=False)
    listen_port: int = 0
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop, repr=False)
    _thread: threading.Thread | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listen_port}"

    def clear(self) -> None:
        """Forget the rule and the count."""
        self.rule, self.hits = None, 0

    def __enter__(self) -> FaultProxy:
        listening = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(listening,), name="faultproxy", daemon=True)
        self._thread.start()
        if not listening.wait(10):
            raise RuntimeError("the fault proxy did not start to listen")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        if self._thread is not None:
            self._thread.join(10)

    def _run(self, listening: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.listen_port))
        self.listen_port = server.sockets[0].getsockname()[1]
        listening.set()
        self._loop.run_forever()
        server.close()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    def _use(self, rule: Rule) -> Rule | None:
        """The rule, with one hit booked, or None when it is used up."""
        if rule.times <= 0:
            return None
        rule.times -= 1
        self.hits += 1
        return rule

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at = _Connection(writer)
        if self.rule is not None and self.rule.refuse and self._use(self.rule):
            at.reset()
            return
        try:
            server_reader, at.server = await asyncio.open_connection(self.host, self.port)
            await asyncio.gather(self._requests(at, reader), self._replies(at, server_reader))
        except OSError:
            at.reset()

    async def _requests(self, at: _Connection, reader: asyncio.StreamReader) -> None:
        assert at.server is not None
        while data := await reader.read(_CHUNK):
            self._choose(at, data)
            rule = at.rule
            if rule is not None and rule.hang:
                continue
            if rule is not None and rule.hold is not None and not rule.hold.held.is_set():
                before = _before_hold(at, rule.hold, data)
                if before is not None:
                    at.server.write(data[:before])
                    await at.server.drain()
                    data = data[before:]
                    if await rule.hold.wait(at.client):
                        at.reset()
                        return
            at.up += len(data)
            if rule is not None and rule.cut_up is not None and at.up > rule.cut_up:
                at.server.write(data[: max(0, rule.cut_up - (at.up - len(data)))])
                await at.server.drain()
                at.reset()
                return
            at.server.write(data)
            await at.server.drain()
        with contextlib.suppress(OSError):  # cut already
            at.server.close()

    def _choose(self, at: _Connection, data: bytes) -> None:
        """Put the current rule on this connection when its request matches, also across two pieces of data."""
        rule = self.rule
        if at.replied:
            at.next_request()
        at.line = at.line or data.split(b"\r\n", 1)[0]
        if rule is None or rule.refuse or at.rule is not None:
            return
        window = at.recent + data
        if rule.match in window and self._use(rule):
            at.rule, at.up, at.down = rule, 0, 0
        keep = len(rule.match) - 1
        at.recent = window[-keep:] if keep > 0 and at.rule is None else b""

    def _note(self, line: bytes, reply: bytes) -> None:
        words = line.decode("latin-1").split(" ")
        if len(words) == 3 and reply[9:12].isdigit():
            self.exchanges.append(Exchange(words[0], words[1], int(reply[9:12])))

    async def _replies(self, at: _Connection, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(_CHUNK):
            rule = at.rule
            if not at.replied and not data.startswith(b"HTTP/1.1 100"):
                self._note(at.line, data)
            if rule is not None and rule.delay:
                await asyncio.sleep(rule.delay)
            hold = _held_reply(rule, data)
            if hold is not None and await hold.wait(at.client):
                at.reset()
                return
            if rule is not None and rule.drop_reply and not data.startswith(b"HTTP/1.1 100"):
                at.reset()
                return
            at.replied = at.replied or not data.startswith(b"HTTP/1.1 100")
            at.down += len(data)
            if rule is not None and rule.cut_down is not None and at.down > rule.cut_down:
                at.client.write(data[: max(0, rule.cut_down - (at.down - len(data)))])
                await at.client.drain()
                at.reset()
                return
            at.client.write(data)
            await at.client.drain()
        with contextlib.suppress(OSError):  # cut already
            at.client.close()


def _before_hold(at: _Connection, hold: Hold, data: bytes) -> int | None:
    """How many bytes of this piece pass before a request stands still; None when it does not yet, in this piece."""
    if hold.at == "request":
        return 0
    if hold.at == "reply":
        return None
    if at.body_left is None:  # the head comes in one piece: it is written at once, and far smaller than that
        head, end, body = data.partition(b"\r\n\r\n")
        if not end:
            return None
        sizes = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        at.body_left = int(sizes[0].split(b":")[1]) // 2 if sizes else 0
        start = len(data) - len(body)
    else:
        body, start = data, 0
    if len(body) < max(1, at.body_left):
        at.body_left -= len(body)
        return None
    return start + at.body_left


def _held_reply(rule: Rule | None, data: bytes) -> Hold | None:
    """What stops this reply, if anything does; a leave to go on (100) is none."""
    hold = rule.hold if rule is not None else None
    if hold is None or hold.at != "reply" or hold.held.is_set() or data.startswith(b"HTTP/1.1 100"):
        return None
    return hold
