"""Inputs over HTTP: one GET, on a connection to an address that was looked at first."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import NoReturn
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from infra.input_errors import InputUnreadable, shown
from infra.store.errors import StoreUnavailable

_HOPS = 5
_CHUNK = 2**20
_SLOWEST = 16 * 2**10  # bytes per second
# Cloud metadata services that are not link-local: AWS over IPv6, Alibaba.
_METADATA = {ipaddress.ip_address("fd00:ec2::254"), ipaddress.ip_address("100.100.100.200")}


def read_http(uri: str, allowed: Callable[[str], str], *, max_bytes: int, timeout_s: float) -> Iterator[bytes]:
    """The body of a GET in pieces. `allowed` is asked about every hop and raises InputUnreadable.

    Redirects stay on the same scheme, host and port. Proxies of the environment are not used: the address that is
    checked is the address that is talked to. 4xx is InputUnreadable; 5xx, 429 and no answer are StoreUnavailable.
    """
    try:
        for _ in range(_HOPS):
            reply, connection = _get(allowed(uri), timeout_s)
            try:
                target = reply.getheader("Location")
                if reply.status in (301, 302, 303, 307, 308) and target:
                    uri = _next_hop(uri, target)
                    continue
                yield from _body(uri, reply, max_bytes, timeout_s)
                return
            finally:
                connection.close()
    except ssl.SSLCertVerificationError as error:
        raise InputUnreadable(f"{shown(uri)}: {error.verify_message}") from error
    except (http.client.InvalidURL, UnicodeError) as error:
        raise InputUnreadable(f"{shown(uri)}: not a URL: {error}") from error
    except (OSError, http.client.HTTPException) as error:
        raise StoreUnavailable(f"{shown(uri)}: {type(error).__name__}: {error}") from error
    raise InputUnreadable(f"{shown(uri)}: more than {_HOPS} redirects")


def _get(uri: str, timeout_s: float) -> tuple[http.client.HTTPResponse, http.client.HTTPConnection]:
    parts = urlsplit(uri)
    host = str(parts.hostname)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = _checked_address(host, port, uri)
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)  # host and port are for the Host header
    connection.sock = socket.create_connection((address, port), timeout_s)
    try:
        if parts.scheme == "https":
            connection.sock = ssl.create_default_context().wrap_socket(connection.sock, server_hostname=host)
        target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + (f"?{parts.query}" if parts.query else "")
        headers = {"Host": parts.netloc, "Accept-Encoding": "identity", "User-Agent": "rushes", "Connection": "close"}
        connection.request("GET", target, headers=headers)
        return connection.getresponse(), connection
    except BaseException:
        connection.close()
        raise


def _checked_address(host: str, port: int, uri: str) -> str:
    """An address of the host; refused when any of its addresses is link-local or otherwise no server's."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise
        raise InputUnreadable(f"{shown(uri)}: there is no host {host}") from error
    for text in found:
        address = ipaddress.ip_address(text.split("%", 1)[0])
        address = getattr(address, "ipv4_mapped", None) or address
        if address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA:
            raise InputUnreadable(f"{shown(uri)}: {host} is {text}, an address that inputs may not come from")
    return sorted(found, key=lambda text: (":" in text, text))[0]


def _next_hop(uri: str, target: str) -> str:
    here, there = urlsplit(uri), urlsplit(urljoin(uri, target))
    if _place(here) != _place(there):
        raise InputUnreadable(f"{shown(uri)} redirects to another host, {shown(there.geturl())}: not allowed")
    return there.geturl()


def _place(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port


def _body(uri: str, reply: http.client.HTTPResponse, max_bytes: int, timeout_s: float) -> Iterator[bytes]:
    if reply.status == 429 or reply.status >= 500:
        raise StoreUnavailable(f"{shown(uri)}: {reply.status} {reply.reason}")
    if reply.status != 200:
        raise InputUnreadable(f"{shown(uri)}: {reply.status} {reply.reason}")
    length = reply.getheader("Content-Length")
    if length is not None and length.isdigit() and int(length) > max_bytes:
        _too_large(uri, max_bytes)
    size, started = 0, time.monotonic()
    while chunk := reply.read1(_CHUNK):
        size += len(chunk)
        if size > max_bytes:
            _too_large(uri, max_bytes)
        if time.monotonic() - started > timeout_s + size / _SLOWEST:  # each piece may well be in time
            raise StoreUnavailable(f"{shown(uri)}: only {size} bytes in {time.monotonic() - started:.0f} s")
        yield chunk
    if length is not None and length.isdigit() and size != int(length):
        raise StoreUnavailable(f"{shown(uri)}: the answer broke off after {size} of {length} bytes")


def _too_large(uri: str, max_bytes: int) -> NoReturn:
    raise InputUnreadable(f"{shown(uri)}: more than {max_bytes} bytes, the limit (farm.input_bytes)")
