"""Inputs: read from allowed places only, and the right one to blame when they cannot be read."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra.input_errors import InputUnreadable
from infra.inputs import digest_input, fetch_input
from infra.store import Store, open_store
from infra.store.errors import StoreUnavailable
from tests.servers.faultproxy import FaultProxy, Rule

DATA = bytes(range(256)) * 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An allowed folder with `first.png`, beside one that is not allowed, with `secret`."""
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (inside / "first.png").write_bytes(DATA)
    (outside / "secret").write_bytes(b"secret")
    return inside


class TestFiles:
    def test_what_is_allowed(self, folder: Path) -> None:
        for uri in (str(folder / "first.png"), f"file://{folder}/first.png", f"file://localhost{folder}/first.png"):
            assert fetch_input(uri, roots=[str(folder)]) == DATA
            assert digest_input(uri, roots=["s3://other/", f"file://{folder}/"]) == hashlib.sha256(DATA).hexdigest()
        (folder / "a b").write_bytes(b"x")
        assert fetch_input(f"file://{folder}/a%20b", roots=[str(folder)]) == b"x"

    @pytest.mark.parametrize(
        "uri",
        [
            "../out/secret",
            "{out}/secret",
            "file://{out}/secret",
            "link",
            "linked/secret",
            "{in}/../out/secret",
            "/etc/passwd",
        ],
    )
    def test_ways_out(self, folder: Path, uri: str) -> None:
        (folder / "link").symlink_to(folder.parent / "out" / "secret")
        (folder / "linked").symlink_to(folder.parent / "out")
        uri = uri.replace("{in}", str(folder)).replace("{out}", str(folder.parent / "out"))
        absolute = uri if "/" in uri[:8] and not uri.startswith(("..", "l")) else str(folder / uri)
        with pytest.raises(InputUnreadable, match="no allowed folder"):
            fetch_input(absolute, roots=[str(folder)])

    def test_a_link_inside_is_fine_and_a_linked_root_too(self, folder: Path) -> None:
        (folder / "alias").symlink_to(folder / "first.png")
        (folder.parent / "root").symlink_to(folder)
        assert fetch_input(str(folder / "alias"), roots=[str(folder.parent / "root")]) == DATA

    def test_a_neighbour_with_a_longer_name_is_not_inside(self, folder: Path) -> None:
        (folder.parent / "inner").mkdir()
        (folder.parent / "inner" / "x").write_bytes(b"x")
        with pytest.raises(InputUnreadable):
            fetch_input(str(folder.parent / "inner" / "x"), roots=[str(folder)])

    def test_no_root_allows_nothing(self, folder: Path) -> None:
        with pytest.raises(InputUnreadable):
            fetch_input(str(folder / "first.png"), roots=[])

    def test_what_is_no_file(self, folder: Path) -> None:
        os.mkfifo(folder / "pipe")
        for name in ("pipe", "."):
            with pytest.raises(InputUnreadable, match="not a regular file"):
                fetch_input(str(folder / name), roots=[str(folder)])
        for name in ("none", "first.png/below"):
            with pytest.raises(InputUnreadable):
                fetch_input(str(folder / name), roots=[str(folder)])
        with pytest.raises(InputUnreadable):
            fetch_input("/dev/zero", roots=["/dev"])

    def test_what_is_too_large(self, folder: Path) -> None:
        assert fetch_input(str(folder / "first.png"), roots=[str(folder)], max_bytes=len(DATA)) == DATA
        with pytest.raises(InputUnreadable, match="limit"):
            fetch_input(str(folder / "first.png"), roots=[str(folder)], max_bytes=len(DATA) - 1)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "simplecache::file:///etc/passwd",
        "zip://a::s3://b/c.zip",
        "data:image/png;base64,AAAA",
        "file://host/etc/passwd",
        "s3://allowed/../secret",
        "s3://allowed/in/%2e%2e/secret",
        "s3://allowed/in/%252e%252e/secret",
        "s3://allowed/inner/x",
        "s3://key:secret@allowed/in/x",
        "s3://elsewhere/in/x",
        "http://allowed/in/x",
        "https://allowed:444/in/x",
        "https://allowed.evil/in/x",
        "https://allowed@evil/in/x",
        "https://evil\\@allowed/in/x",
        "https://allowed/in/x\r\nHost: evil",
        "ftp://allowed/in/x",
        "https://allowed:port/in/x",
    ],
)
def test_uris_that_are_in_no_allowed_place(uri: str) -> None:
    with pytest.raises(InputUnreadable):
        fetch_input(uri, roots=["s3://allowed/in", "https://allowed/in/", "/nowhere"])


class Site:
    """A web server on loopback with a page for every way to misbehave."""

    def __init__(self) -> None:
        site = self
        self.asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_any(self) -> None:
                site.asked.append(self.path)
                name = self.path.split("?")[0].rsplit("/", 1)[-1]
                if name.isdigit():
                    self.answer(int(name), b"")
                elif name.startswith("to-"):
                    self.answer(302, b"", Location=site.targets[name])
                elif name == "short":
                    self.answer(200, DATA[:100], **{"Content-Length": "5000"})
                elif name == "endless":
                    self.answer(200, DATA * 10, **{"Content-Length": ""})
                else:
                    self.answer(200, DATA)

            def answer(self, status: int, body: bytes, **headers: str) -> None:
                self.send_response(status)
                for key, value in ({"Content-Length": str(len(body))} | headers).items():
                    if value:
                        self.send_header(key, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        for method in ("GET", "HEAD"):
            setattr(Handler, f"do_{method}", Handler.do_any)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.targets = {
            "to-good": "/in/picture.png",
            "to-out": "/out/secret",
            "to-self": "/in/to-self",
            "to-host": f"http://localhost:{self.server.server_port}/in/picture.png",
            "to-metadata": "http://169.254.169.254/latest/meta-data/",
            "to-file": "file:///etc/passwd",
            "to-up": "../out/secret",
        }
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def site() -> Iterator[Site]:
    found = Site()
    yield found
    found.server.shutdown()
    found.server.server_close()


class TestHttp:
    def test_what_is_allowed(self, site: Site) -> None:
        roots = [f"{site.url}/in"]
        assert fetch_input(f"{site.url}/in/picture.png?signature=abc", roots=roots) == DATA
        assert site.asked == ["/in/picture.png?signature=abc"]
        assert digest_input(f"{site.url}/in/to-good", roots=roots) == hashlib.sha256(DATA).hexdigest()
        assert fetch_input(f"{site.url}/in/ä b.png", roots=roots) == DATA
        assert site.asked[-1] == "/in/%C3%A4%20b.png"

    @pytest.mark.parametrize(
        "name", ["to-out", "to-self", "to-host", "to-metadata", "to-file", "to-up", "404", "403", "410"]
    )
    def test_the_shots_fault(self, site: Site, name: str) -> None:
        elsewhere = ["http://169.254.169.254/", site.targets["to-host"]]  # allowed, but not by way of a redirect
        with pytest.raises(InputUnreadable):
            fetch_input(f"{site.url}/in/{name}", roots=[f"{site.url}/in", *elsewhere])
        assert "/in/picture.png" not in site.asked
        assert not any(path.startswith("/out") for path in site.asked), "it was not even asked for"

    @pytest.mark.parametrize("name", ["500", "503", "429", "short"])
    def test_the_farms_fault(self, site: Site, name: str) -> None:
        with pytest.raises(StoreUnavailable):
            fetch_input(f"{site.url}/in/{name}", roots=[f"{site.url}/in"])

    def test_a_server_that_is_down_or_silent(self) -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/in/a"
            with pytest.raises(StoreUnavailable):
                fetch_input(url, roots=[url])
            silent.listen()
            with pytest.raises(StoreUnavailable, match="imed"):
                fetch_input(url, roots=[url], timeout_s=0.3)

    def test_what_is_too_large(self, site: Site) -> None:
        for name in ("picture.png", "endless"):
            with pytest.raises(InputUnreadable, match="limit"):
                fetch_input(f"{site.url}/in/{name}", roots=[site.url], max_bytes=len(DATA) - 1)

    @pytest.mark.parametrize(
        "host",
        [
            "169.254.169.254",
            "[fe80::1]",
            "[::ffff:169.254.169.254]",
            "[fd00:ec2::254]",
            "100.100.100.200",
            "0.0.0.0",
            "2852039166",
        ],
    )
    def test_addresses_inside_the_machine_room(self, host: str) -> None:
        """Allowed by name, and yet refused; 2852039166 is 169.254.169.254 written as one number."""
        with pytest.raises(InputUnreadable, match="may not come from"):
            fetch_input(f"http://{host}/latest/meta-data", roots=[f"http://{host}/"], timeout_s=1)

    def test_a_host_that_does_not_exist(self) -> None:
        with pytest.raises((InputUnreadable, StoreUnavailable), match=r"no-such-host\.invalid"):
            fetch_input("https://no-such-host.invalid/a", roots=["https://no-such-host.invalid/"], timeout_s=1)

    def test_what_a_signed_url_hides_is_not_told(self, site: Site) -> None:
        with pytest.raises(InputUnreadable) as told:
            fetch_input(f"{site.url}/in/404?X-Amz-Signature=hidden", roots=[site.url])
        assert "hidden" not in str(told.value)


class TestS3:
    def test_what_is_allowed(self, s3_store: Store) -> None:
        s3_store.write("in/first.png", DATA)
        uri, options = f"{s3_store.url}/in/first.png", s3_store.options
        roots = [f"{s3_store.url}/in/"]
        assert fetch_input(uri, roots=roots, storage_options=options) == DATA
        assert digest_input(uri, roots=roots, storage_options=options) == hashlib.sha256(DATA).hexdigest()
        as_mapping = options.model_dump() | {"access_key_id": "testkey", "secret_access_key": "testsecret0123456789"}
        assert fetch_input(uri, roots=roots, storage_options=as_mapping) == DATA

    def test_whose_fault(self, s3_store: Store, proxied: Store, fault_proxy: FaultProxy) -> None:
        s3_store.write("in/first.png", DATA)
        s3_store.write("out/secret", b"secret")
        roots = [f"{s3_store.url}/in/", "s3://no-such-bucket/"]
        for uri in (f"{s3_store.url}/out/secret", f"{s3_store.url}/in/none.png", "s3://no-such-bucket/a"):
            with pytest.raises(InputUnreadable):
                fetch_input(uri, roots=roots, storage_options=s3_store.options)
        with pytest.raises(InputUnreadable, match="limit"):
            fetch_input(f"{s3_store.url}/in/first.png", roots=roots, storage_options=s3_store.options, max_bytes=10)
        impatient = open_store(proxied.url, proxied.options.model_copy(update={"retry_s": 0}))
        fault_proxy.rule = Rule(refuse=True)
        with pytest.raises(StoreUnavailable):
            fetch_input(f"{s3_store.url}/in/first.png", roots=roots, storage_options=impatient.options)
        assert fault_proxy.hits >= 1
