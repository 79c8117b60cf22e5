"""Where a row's inputs may lie: made absolute and normalised, inside the catalog's folder or below an allowed prefix.

A catalog may come from a stranger while the farm reads with its owner's rights, so a URI is refused unless it is known
to be harmless. That a file exists is not asked here: a missing one is the take's error later. What is fetched is
checked again then, against links and redirects made since.
"""

from __future__ import annotations

import ipaddress
import os
import posixpath
import re
import socket
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from catalogs.errors import CatalogError
from catalogs.refusal import shown_url

HTTP: Final = ("http", "https")
OBJECT_STORES: Final = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory")
SCHEMES: Final = ("file", *OBJECT_STORES, *HTTP)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

# Where clouds answer with credentials. Link-local addresses are refused as a whole; these lie outside that range.
_METADATA_HOSTS: Final = frozenset(
    {"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"}
)
_METADATA_ADDRESSES: Final = frozenset(
    ipaddress.ip_address(text) for text in ("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HOST = re.compile(r"[a-z0-9._-]+")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_MAX_LENGTH: Final = 2048


class UriError(ValueError):
    """A URI that is refused; the message says what would be legal."""


class Place(NamedTuple):
    """A normalised location. `root` is "file://" or scheme and host; `path` starts with "/" and has no "." or ".."."""

    root: str
    path: str

    def inside(self, folder: Place) -> bool:
        """Whether this is `folder` or lies below it, by whole path segments."""
        if self.root != folder.root:
            return False
        return folder.path == "/" or self.path == folder.path or self.path.startswith(folder.path + "/")

    def uri(self) -> str:
        """The location as a URI that reads back as this place; a key of an object store stands in it as it is."""
        path = self.path
        if self.root == "file://":
            path = path.replace("%", "%25").replace("#", "%23").replace("?", "%3F")
        elif self.root.startswith(("http://", "https://")):
            path = quote(path, safe="/:@!$&'()*+,;=~-._")
        return self.root + path


def folder_of(url: str | os.PathLike[str]) -> Place:
    """The folder of a catalog: what its relative URIs resolve in.

    Raises:
        CatalogError: a URL of a kind that has no folder.
    """
    try:
        place = given_place(os.fspath(url))
    except UriError as error:
        raise CatalogError(f"{shown_url(os.fspath(url))!r} cannot be a catalog: its URL must be {error}") from error
    return place._replace(path=posixpath.dirname(place.path))


def given_place(text: str) -> Place:
    """The place that the person at the command names: a URL, or a bare path of this machine.

    Raises:
        UriError: a URL of a kind that is refused.
    """
    if "://" in text or "::" in text:
        return place_of(text)
    return Place("file://", _normal(os.path.abspath(text)))


def allowed_place(prefix: str) -> Place:
    """The place that `--allow` names.

    Raises:
        CatalogError: it is none. An empty one, such as a variable of a shell that is not set, is not this folder.
    """
    try:
        if not prefix.strip():
            raise UriError("a folder or a URL, and it is empty")
        return given_place(prefix)
    except UriError as error:
        raise CatalogError(f"--allow {shown_url(prefix)!r} is no prefix for inputs: it must be {error}") from error


def place_of(uri: str) -> Place:
    """The normalised place of an absolute URI.

    Raises:
        UriError: a form that is refused wherever it points.
    """
    _check_text(uri)
    found = _SCHEME.match(uri)
    scheme = found.group(1).lower() if found else ""
    if not found or scheme not in SCHEMES:
        raise UriError(f"a URI with one of the schemes {', '.join(SCHEMES)}")
    rest = uri[found.end() :]
    if scheme == "file":
        return Place("file://", _decoded(_local_path(rest)))
    if not rest.startswith("//"):
        raise UriError(f"{scheme}://, then a host or bucket and a path")
    authority, _, tail = rest[2:].partition("/")
    if "@" in authority:
        raise UriError("a URL without user name or password; credentials belong in the settings")
    if scheme == "memory":
        return Place("memory://", _decoded("/" + rest[2:]))
    if scheme in HTTP:
        return Place(f"{scheme}://{_host(uri, scheme)}", _decoded("/" + tail))
    # Buckets keep their letters' case; what follows is the key, in which ? and # are letters like others.
    if not _BUCKET.fullmatch(authority):
        raise UriError(f"{scheme}://, then a bucket of letters, digits, . _ - and a path")
    return Place(f"{scheme}://{authority}", _decoded("/" + tail))


def _host(uri: str, scheme: str) -> str:
    """Host and port of an http URL, in one form for one server."""
    try:
        parts = urlsplit(uri)
        host, port = (parts.hostname or "").removesuffix("."), parts.port
    except ValueError as error:
        raise UriError("a well-formed URL") from error
    if parts.query or parts.fragment or "?" in uri or "#" in uri:
        raise UriError("a URL without ? and #")
    _check_host(host)
    bracketed = f"[{host}]" if ":" in host else host
    return bracketed if port in (None, _DEFAULT_PORTS[scheme]) else f"{bracketed}:{port}"


def _check_text(uri: str) -> None:
    if not uri or len(uri) > _MAX_LENGTH:
        raise UriError(f"1 to {_MAX_LENGTH} characters")
    if not uri.isprintable() or uri != uri.strip():
        raise UriError("text without control characters and without white space at its ends")
    if "\\" in uri:
        raise UriError("a path with / and without \\")
    if "::" in uri or "::" in unquote(uri):
        raise UriError("one URL, not a chain with ::")


def _local_path(rest: str) -> str:
    """The path of a file: URI, whose host may only be this machine."""
    if not rest.startswith("//"):
        path = rest
    else:
        host, slash, tail = rest[2:].partition("/")
        if host.lower() not in ("", "localhost"):
            raise UriError("file:/// and then a path; a file URI has no host")
        path = slash + tail
    if not path.startswith("/"):
        raise UriError("file:/// and then an absolute path")
    return path


def _decoded(path: str) -> str:
    """The path with percent escapes read once, normalised. What still looks escaped afterwards is refused."""
    return _normal(_unescaped(path))


def _unescaped(path: str) -> str:
    if not _ESCAPE.search(path):
        return path
    try:
        text = unquote(path, errors="strict")
    except UnicodeDecodeError as error:
        raise UriError("a path whose percent escapes are UTF-8") from error
    if _ESCAPE.search(text):
        raise UriError("a path with at most one layer of percent escapes")
    _check_text(text)
    return text


def _normal(path: str) -> str:
    # normpath keeps two leading slashes, as POSIX has it; one place must have one name.
    return posixpath.normpath("/" + path.lstrip("/"))


def _check_host(host: str) -> None:
    if ":" not in host and not _HOST.fullmatch(host):
        raise UriError("a host of ASCII letters, digits, . _ - (punycode for other letters)")
    if host in _METADATA_HOSTS:
        raise UriError("a host other than a cloud's metadata service")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            socket.inet_aton(host)
        except OSError:
            return
        # 2852039166, 0xA9FEA9FE, 0251.0376.0251.0376 and 169.254.43518 all name 169.254.169.254.
        raise UriError("a host name, or an IPv4 address as four decimal numbers") from None
    for form in _forms(address):
        if form.is_link_local or form in _METADATA_ADDRESSES:
            raise UriError("an address other than a link-local or metadata one")


def _forms(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> Iterable[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """The address and the IPv4 addresses wrapped in it."""
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        wrapped = [address.ipv4_mapped, address.sixtofour]
        if address in ipaddress.ip_network("64:ff9b::/96"):
            wrapped.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        yield from (form for form in wrapped if form is not None)


class Resolver:
    """Makes the URIs of one catalog absolute, or refuses them.

    Args:
        folder: the catalog's, as `folder_of` gives it.
        allow: prefixes below which other inputs may lie: paths of this machine or URLs.

    Raises:
        CatalogError: a prefix that is no place.
    """

    def __init__(self, folder: Place, allow: Sequence[str] = ()) -> None:
        self.folder = folder
        self.allowed = [allowed_place(prefix) for prefix in allow]
        self._real_folders: dict[str, str] = {}
        self._real_folder = self._real(self.folder)
        self._real_allowed = [self._real(place) for place in self.allowed]

    def resolve(self, uri: str) -> str:
        """The absolute, normalised URI; links are followed for the check and not in the answer.

        Raises:
            UriError: not inside the catalog's folder nor below an allowed prefix; the message says what is legal.
        """
        if self.folder.root == "file://" and len(uri) <= _MAX_LENGTH and _PLAIN.fullmatch(uri):
            place, relative = Place("file://", posixpath.join(self.folder.path, uri)), True
        else:
            place, relative = self._place(uri)
        if not self._legal(place, relative):
            raise UriError("a path inside the catalog's folder, or a URI below a prefix given with --allow")
        return place.uri()

    def _place(self, uri: str) -> tuple[Place, bool]:
        if _SCHEME.match(uri):
            return place_of(uri), False
        _check_text(uri)
        if uri.startswith("//"):
            raise UriError("a relative path, or a URI with its scheme")
        if uri.startswith("/"):
            return Place("file://", _decoded(uri)), False
        text = _unescaped(uri)
        if _SCHEME.match(text) or text.startswith("/"):
            raise UriError("a relative path that is one before its percent escapes are read, too")
        # Joined without normpath's leniency: "../" beyond the top of a bucket must not come back as its root.
        depth = 0
        for part in f"{self.folder.path}/{text}".split("/"):
            depth += 0 if part in ("", ".") else -1 if part == ".." else 1
            if depth < 0:
                raise UriError("a path inside the catalog's folder")
        return self.folder._replace(path=_normal(f"{self.folder.path}/{text}")), True

    def _legal(self, place: Place, relative: bool) -> bool:
        if not (relative and place.inside(self.folder)) and not any(place.inside(prefix) for prefix in self.allowed):
            return False
        if place.root != "file://":
            return True
        real = self._real(place)
        own = relative and real.inside(self._real_folder)
        return own or any(real.inside(prefix) for prefix in self._real_allowed)

    def _real(self, place: Place) -> Place:
        """The place with the links of this machine followed; other places have none."""
        if place.root != "file://":
            return place
        folder, name = posixpath.split(place.path)
        if folder not in self._real_folders:
            self._real_folders[folder] = os.path.realpath(folder)
        # One look at the last part: a million images mostly share a few folders.
        real = posixpath.join(self._real_folders[folder], name)
        return Place("file://", os.path.realpath(real) if os.path.islink(real) else real)
