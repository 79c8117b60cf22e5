"""A server in front of an S3 server that fails a share of all requests, in every way that a real one does.

    with FlakyS3(port_of_the_real_one, chance=0.2, seed=7) as flaky:   # flaky.url is the endpoint for the client
        ...
        assert flaky.failed["503"] > 0                                  # the faults did happen

It speaks HTTP, where `faultproxy` speaks TCP: so it can answer in the server's place, and shorten an answer in good
order.
"""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

ANSWERS = {
    "500": (500, "InternalError"),
    "503": (503, "SlowDown"),
    "429": (429, "TooManyRequests"),
    "409": (409, "ConditionalRequestConflict"),
    "502": (502, "<html>not the S3 server"),
}
"""Faults that are answers, and the request has not been done."""
FAULTS = (*ANSWERS, "unsent", "lost", "cut", "short", "slow")
"""Besides: the connection ends before the request is passed on; after it, and the reply is lost; within the reply's
body; the reply has fewer bytes, and says so; it takes a while."""
SLOW_S = 0.5


class FlakyS3:
    """Requests fail with `chance`, each with one of `faults`, in an order that `seed` sets."""

    def __init__(self, port: int, *, chance: float, seed: int = 0, faults: Sequence[str] = FAULTS) -> None:
        self.chance, self.faults = chance, tuple(faults)
        self.requests = 0
        self.failed: Counter[str] = Counter()
        self._port, self._random, self._lock = port, random.Random(seed), threading.Lock()
        flaky = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                flaky._handle(self, body)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        for method in ("GET", "PUT", "HEAD", "POST", "DELETE"):
            setattr(Handler, f"do_{method}", Handler.do_any)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FlakyS3:
        threading.Thread(target=self._server.serve_forever, name="flakys3", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _fault(self, method: str) -> str | None:
        with self._lock:
            self.requests += 1
            if self._random.random() >= self.chance:
                return None
            fault = self._random.choice(self.faults)
            if fault in ("cut", "short") and method != "GET":
                fault = "lost"
            if fault == "409" and method != "PUT":
                fault = "503"
            self.failed[fault] += 1
            return fault

    def _handle(self, client: BaseHTTPRequestHandler, body: bytes) -> None:
        fault = self._fault(client.command)
        if fault == "unsent":
            client.close_connection = True
            return
        if fault in ANSWERS:
            status, code = ANSWERS[fault]
            told = f"<Error><Code>{code}</Code><Message>on purpose</Message></Error>".encode()
            self._answer(client, status, [("Content-Type", "application/xml")], told)
            return
        headers = {name: value for name, value in client.headers.items() if name.lower() != "expect"}
        real = http.client.HTTPConnection("127.0.0.1", self._port)
        try:
            real.request(client.command, client.path, body, headers)
            reply = real.getresponse()
            status, named, data = reply.status, reply.getheaders(), reply.read()
        finally:
            real.close()
        if fault == "slow":
            time.sleep(SLOW_S)
        if fault == "lost":
            client.close_connection = True
            return
        whole = len(data)
        if fault in ("cut", "short") and status < 300:
            data = data[: whole // 2]
        self._answer(client, status, named, data, whole if fault == "cut" else len(data))
        if fault == "cut":
            client.close_connection = True

    def _answer(
        self,
        client: BaseHTTPRequestHandler,
        status: int,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        length: int | None = None,
    ) -> None:
        client.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                client.send_header(name, value)
        told = len(body) if length is None else length
        if client.command == "HEAD":
            client.send_header("Content-Length", dict(headers).get("Content-Length", "0"))
        else:
            client.send_header("Content-Length", str(told))
        client.end_headers()
        if client.command != "HEAD":
            client.wfile.write(body)
