"""The store over a network that breaks, and a server that says no. Each test asserts that its fault happened."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra.store import Store, open_store
from infra.store.conditional import create_or_read, replace_or_read
from infra.store.errors import Changed, ContentMismatch, Exists, OutcomeUnknown, StoreUnavailable
from tests.servers.faultproxy import FaultProxy, Rule
from tests.servers.seaweedfs import SeaweedFS


def impatient(store: Store) -> Store:
    return open_store(store.url, store.options.model_copy(update={"retry_s": 0, "timeout_s": 1}))


@pytest.mark.parametrize(
    "rule",
    [
        Rule(refuse=True, times=1),
        Rule(match=b"GET /", drop_reply=True, times=1),
        Rule(match=b"GET /", cut_down=700_000, times=1),
        Rule(match=b"GET /", hang=True, times=1),
    ],
    ids=["refused", "reply-lost", "cut-in-mid-body", "hangs"],
)
def test_reads_go_on_after_a_fault(
    s3_store: Store, proxied: Store, fault_proxy: FaultProxy, tmp_path: Path, rule: Rule
) -> None:
    data = bytes(range(256)) * 8000
    s3_store.write("film", data)
    quick = open_store(proxied.url, proxied.options.model_copy(update={"timeout_s": 1}))
    fault_proxy.rule = dataclasses.replace(rule)
    assert quick.read("film") == data
    assert fault_proxy.hits == 1
    if rule.match:
        fault_proxy.rule = dataclasses.replace(rule)
        quick.fetch("film", tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == data
        assert fault_proxy.hits == 2


def test_an_overwrite_cut_in_mid_body_leaves_the_old_object(
    s3_store: Store, proxied: Store, fault_proxy: FaultProxy
) -> None:
    s3_store.write("object", b"old")
    fault_proxy.rule = Rule(match=b"PUT /", cut_up=100_000)
    with pytest.raises(OutcomeUnknown):
        impatient(proxied).write("object", bytes(1_000_000))
    assert fault_proxy.hits >= 1
    assert s3_store.read("object") == b"old"


def test_a_lost_reply_to_create_is_recognised_as_our_own(
    s3_store: Store, proxied: Store, fault_proxy: FaultProxy
) -> None:
    fault_proxy.rule = Rule(match=b"PUT /", drop_reply=True, times=1)
    settled = create_or_read(proxied, "commits/a", b"ours, with a token")
    assert fault_proxy.hits == 1
    assert settled.ours
    assert s3_store.read_tagged("commits/a") == (b"ours, with a token", settled.tag)


def test_a_lost_reply_looks_like_another_writer_to_create_alone(proxied: Store, fault_proxy: FaultProxy) -> None:
    """Why nobody may take Exists for "another was first" without reading back."""
    fault_proxy.rule = Rule(match=b"PUT /", drop_reply=True, times=1)
    with pytest.raises(Exists):
        proxied.create("commits/a", b"ours")
    assert fault_proxy.hits == 1


def test_a_lost_reply_to_replace_is_recognised_as_our_own(
    s3_store: Store, proxied: Store, fault_proxy: FaultProxy
) -> None:
    tag = s3_store.create("lease", b"one")
    fault_proxy.rule = Rule(match=b"PUT /", drop_reply=True, times=1)
    settled = replace_or_read(proxied, "lease", b"two", tag)
    assert fault_proxy.hits == 1
    assert settled.ours
    assert s3_store.replace("lease", b"three", settled.tag)


def test_no_answer_at_all_is_an_unknown_outcome(s3_store: Store, proxied: Store, fault_proxy: FaultProxy) -> None:
    fault_proxy.rule = Rule(match=b"PUT /", drop_reply=True)
    with pytest.raises(OutcomeUnknown):
        impatient(proxied).create("commits/a", b"ours")
    assert fault_proxy.hits >= 1
    assert s3_store.read("commits/a") == b"ours", "it did happen"
    fault_proxy.rule = Rule(match=b"PUT /", hang=True)
    with pytest.raises(OutcomeUnknown):
        create_or_read(impatient(proxied), "commits/b", b"ours")
    assert s3_store.stat("commits/b") is None, "it did not"


def test_replace_with_unknown_outcome_says_so_while_the_old_stands(
    s3_store: Store, proxied: Store, fault_proxy: FaultProxy
) -> None:
    tag = s3_store.create("lease", b"one")
    fault_proxy.rule = Rule(match=b"PUT /", cut_up=10)
    with pytest.raises(OutcomeUnknown):
        replace_or_read(impatient(proxied), "lease", b"two", tag)
    assert fault_proxy.hits >= 1
    s3_store.delete("lease")
    with pytest.raises(Changed):
        replace_or_read(s3_store, "lease", b"two", tag)


def test_a_dead_server_costs_what_the_settings_say(s3_store: Store, proxied: Store, fault_proxy: FaultProxy) -> None:
    fault_proxy.rule = Rule(refuse=True)
    store = open_store(proxied.url, proxied.options.model_copy(update={"retry_s": 1.0}))
    started = time.monotonic()
    with pytest.raises(StoreUnavailable):
        store.stat("a")
    assert time.monotonic() - started < 8
    assert 2 <= fault_proxy.hits <= 20, "one layer of retries"


def test_parts_of_a_large_file_are_sent_again(
    s3_store: Store, proxied: Store, fault_proxy: FaultProxy, tmp_path: Path
) -> None:
    film = tmp_path / "film"
    film.write_bytes(bytes(range(256)) * (33 * 4096))
    for rule in (Rule(match=b"partNumber=2", cut_up=500_000, times=1), Rule(match=b"POST /", drop_reply=True, times=1)):
        fault_proxy.clear()
        fault_proxy.rule = rule
        proxied.write_file("shots/film", film)
        assert fault_proxy.hits == 1
        found = s3_store.stat("shots/film")
        assert found is not None
        assert found.size == film.stat().st_size


class Answers:
    """A server in front of the real one that answers some PUTs by itself: `plan` holds (status, code) in turn."""

    def __init__(self, s3: SeaweedFS) -> None:
        self.plan: list[tuple[int, str]] = []
        self.passed: Counter[str] = Counter()
        self.flip = False  # change a byte of what passes
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.command == "PUT" and front.plan:
                    status, code = front.plan.pop(0)
                    answer = f"<Error><Code>{code}</Code><Message>as planned</Message></Error>".encode()
                    return self.answer(status, [("Content-Type", "application/xml")], answer)
                front.passed[self.command] += 1
                headers = {k: v for k, v in self.headers.items() if k.lower() != "expect"}
                if front.flip and self.command == "PUT":
                    body = bytes([body[0] ^ 1]) + body[1:]
                real = http.client.HTTPConnection("127.0.0.1", s3.port)
                real.request(self.command, self.path, body, headers)
                reply = real.getresponse()
                self.answer(reply.status, reply.getheaders(), reply.read())
                real.close()

            def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                length = dict(headers).get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
                self.send_header("Content-Length", length)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        for method in ("GET", "PUT", "HEAD", "POST", "DELETE"):
            setattr(Handler, f"do_{method}", Handler.do_any)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def answers(s3: SeaweedFS) -> Iterator[Answers]:
    front = Answers(s3)
    yield front
    front.server.shutdown()
    front.server.server_close()


@pytest.fixture
def answered(s3_store: Store, answers: Answers) -> Store:
    return open_store(s3_store.url, s3_store.options.model_copy(update={"endpoint_url": answers.url}))


BUSY = [(409, "ConditionalRequestConflict"), (503, "SlowDown"), (500, "InternalError"), (429, "TooManyRequests")]


@pytest.mark.parametrize("answer", BUSY, ids=[code for _, code in BUSY])
def test_a_busy_server_is_asked_again(
    s3_store: Store, answered: Store, answers: Answers, answer: tuple[int, str]
) -> None:
    answers.plan = [answer] * 2
    tag = answered.create("commits/a", b"one")
    assert answers.plan == []
    assert answers.passed["PUT"] == 1
    answers.plan = [answer]
    answered.replace("commits/a", b"two", tag)
    assert s3_store.read("commits/a") == b"two"


def test_an_answer_in_html_from_a_proxy_is_a_passing_fault(s3_store: Store, answered: Store, answers: Answers) -> None:
    answers.plan = [(502, "<html>not the S3 server")]
    answered.write("a", b"x")
    assert answers.plan == []
    assert s3_store.read("a") == b"x"


def test_a_byte_changed_on_the_way_is_found(s3_store: Store, answered: Store, answers: Answers, film: Path) -> None:
    """By the server, which compares the checksum; the object is never made."""
    answers.flip = True
    store = impatient(answered)
    with pytest.raises(StoreUnavailable, match=r"BadDigest|Checksum"):
        store.write_file("shots/film", film)
    with pytest.raises(StoreUnavailable, match=r"BadDigest|Checksum"):
        store.create("commits/a", b"commit")
    assert list(s3_store.list()) == []


def test_what_arrived_is_compared_where_a_server_checks_nothing(s3_store: Store, film: Path) -> None:
    backend = s3_store._backend
    data = film.read_bytes()
    s3_store.write("shots/film", bytes([data[0] ^ 1]) + data[1:])
    sha256, md5 = hashlib.sha256(data).hexdigest(), hashlib.md5(data).hexdigest()
    confirm = backend._confirm
    with pytest.raises(ContentMismatch, match="other bytes"):
        confirm("shots/film", len(data), md5, sha256, True)
    with pytest.raises(ContentMismatch, match="bytes were sent"):
        confirm("shots/film", len(data) + 1, md5, sha256, True)
    with pytest.raises(ContentMismatch, match="not there"):
        confirm("shots/none", len(data), md5, sha256, True)
    s3_store.write("shots/film", data)
    confirm("shots/film", len(data), "an ETag that is no MD5", sha256, True)
