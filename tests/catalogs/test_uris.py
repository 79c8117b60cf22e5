"""Inputs stay inside the catalog's folder and the allowed prefixes, however they are written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs import CatalogError, plan, read
from catalogs.sources import open_source
from catalogs.uris import Place, Resolver, UriError, folder_of, place_of

ALLOW = ["s3://bucket/refs", "https://example.com/images/", "/data/refs", "memory://inputs", "http://127.0.0.1:8333/b"]


@pytest.fixture
def resolver(tmp_path):
    return Resolver(folder_of(tmp_path / "catalog.parquet"), ALLOW)


@pytest.mark.parametrize(
    ("uri", "wanted"),
    [
        ("a.png", "{}/a.png"),
        ("images/a.png", "{}/images/a.png"),
        ("./images//a.png", "{}/images/a.png"),
        ("images/../a.png", "{}/a.png"),
        ("images/a%20b.png", "{}/images/a b.png"),
        ("images/50%.png", "{}/images/50%25.png"),
        ("images/a#1?.png", "{}/images/a%231%3F.png"),
        ("ümlaut.png", "{}/ümlaut.png"),
        ("...png", "{}/...png"),
        ("~/a.png", "{}/~/a.png"),
        ("s3://bucket/refs/a.png", "s3://bucket/refs/a.png"),
        ("S3://bucket/refs/x/../a.png", "s3://bucket/refs/a.png"),
        ("s3://bucket/refs", "s3://bucket/refs"),
        ("https://EXAMPLE.com:443/images/a%20b.png", "https://example.com/images/a%20b.png"),
        ("https://example.com./images/a.png", "https://example.com/images/a.png"),
        ("http://127.0.0.1:8333/b/a.png", "http://127.0.0.1:8333/b/a.png"),
        ("file:///data/refs/a.png", "file:///data/refs/a.png"),
        ("file://localhost/data/refs/a.png", "file:///data/refs/a.png"),
        ("file:/data/refs/a.png", "file:///data/refs/a.png"),
        ("/data/refs/a.png", "file:///data/refs/a.png"),
        ("//data/refs/a.png", None),
        ("memory://inputs/a.png", "memory:///inputs/a.png"),
    ],
)
def test_what_is_inside(uri, wanted, resolver, tmp_path):
    if wanted is None:
        with pytest.raises(UriError):
            resolver.resolve(uri)
    else:
        assert resolver.resolve(uri) == wanted.format(f"file://{tmp_path}")


OUTSIDE = [
    "../a.png",
    "images/../../a.png",
    "..",
    "images/%2e%2e/%2e%2e/etc/passwd",
    "%2e%2e/a.png",
    "..%2fa.png",
    "%252e%252e/a.png",
    "%2fetc/passwd",
    "file%3a///etc/passwd",
    "images\\..\\..\\a.png",
    "images%5c..%5ca.png",
    "a\0.png",
    "a%00.png",
    "a.png\n",
    " a.png",
    "",
    "x" * 3000,
    "/etc/passwd",
    "/data/refs/../secret",
    "/data/refs2/a.png",
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "file:/etc/passwd",
    "file:etc/passwd",
    "file://evil.example/data/refs/a.png",
    "file:///data/refs/../../etc/passwd",
    "local:///etc/passwd",
    "zip://a.png::https://example.com/images/a.zip",
    "simplecache::file:///etc/passwd",
    "a.png::file:///etc/passwd",
    "a.png%3A%3Afile:///etc/passwd",
    "s3://bucket/refs2/a.png",
    "s3://bucket/refs/../secret",
    "s3://bucket/refs/%2e%2e/secret",
    "s3://Bucket/refs/a.png",
    "s3://other/refs/a.png",
    "s3://key:secret@bucket/refs/a.png",
    "s3:bucket/refs/a.png",
    "https://example.com.evil.org/images/a.png",
    "https://example.com:8443/images/a.png",
    "https://example.com@evil.org/images/a.png",
    "https://user:pw@example.com/images/a.png",
    "https://example.com/images/../secret.png",
    "https://example.com/images/a.png?x=1",
    "https://example.com/images/a.png#x",
    "https://example.com\\@evil.org/images/a.png",
    "http://example.com/images/a.png",
    "https://ex%61mple.com/images/a.png",
    "https:///images/a.png",
    "https://example.com:port/images/a.png",
    "gopher://example.com/a",
    "data:image/png;base64,AAAA",
    "C:/images/a.png",
    "dask://x",
    "github://o:r@main/a.png",
]


@pytest.mark.parametrize("uri", OUTSIDE, ids=lambda uri: ascii(uri)[:50])
def test_what_is_outside(uri, resolver):
    with pytest.raises(UriError):
        resolver.resolve(uri)


METADATA = [
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.1.1/x",
    "http://2852039166/latest/",
    "http://0xA9FEA9FE/latest/",
    "http://0251.0376.0251.0376/latest/",
    "http://169.254.43518/latest/",
    "http://0xa9.254.0251.254/",
    "http://169.254.169.254./latest/",
    "http://[fd00:ec2:0:0:0:0:0:254]/latest/",
    "http://[fe80:0:0:0:0:0:0:1]/",
    "http://[0:0:0:0:0:ffff:a9fe:a9fe]/latest/",
    "http://[fd00:ec2::254]/latest/",
    "http://[64:ff9b:0:0:0:0:a9fe:a9fe]/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://METADATA.google.internal./computeMetadata/v1/",
    "http://100.100.100.200/latest/",
    "http://①⑥⑨.254.169.254/",
    "http://169。254。169。254/",
]


@pytest.mark.parametrize("uri", METADATA)
def test_no_prefix_opens_a_metadata_address(uri, tmp_path):
    with pytest.raises(UriError):
        Resolver(folder_of(tmp_path / "c.parquet"), ["/"]).resolve(uri)
    with pytest.raises(CatalogError):
        Resolver(folder_of(tmp_path / "c.parquet"), [uri])


def test_links_are_followed_before_they_are_trusted(tmp_path):
    folder, outside, shared = tmp_path / "cat", tmp_path / "private", tmp_path / "shared"
    for each in (folder, outside, shared):
        each.mkdir()
        (each / "a.png").write_bytes(b"x")
    (folder / "link.png").symlink_to(outside / "a.png")
    (folder / "dir").symlink_to(outside)
    (folder / "own.png").symlink_to(folder / "a.png")
    (folder / "shared").symlink_to(shared)
    resolver = Resolver(folder_of(folder / "c.parquet"), [str(shared)])
    assert resolver.resolve("own.png") == f"file://{folder}/own.png"
    assert resolver.resolve("shared/a.png") == f"file://{folder}/shared/a.png"
    assert resolver.resolve("../shared/a.png") == f"file://{shared}/a.png"
    assert resolver.resolve("missing.png") == f"file://{folder}/missing.png"
    for uri in ("link.png", "dir/a.png", "dir/missing.png", "./dir/a.png"):
        with pytest.raises(UriError):
            resolver.resolve(uri)


def test_a_catalog_behind_a_link_has_its_folder_where_it_is_named(tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "alias").symlink_to(real)
    resolver = Resolver(folder_of(tmp_path / "alias" / "c.parquet"))
    assert resolver.resolve("a.png") == f"file://{tmp_path}/alias/a.png"


@pytest.mark.parametrize(
    ("url", "uri", "wanted"),
    [
        ("s3://bucket/shows/c.parquet", "a.png", "s3://bucket/shows/a.png"),
        ("s3://bucket/c.parquet", "a.png", "s3://bucket/a.png"),
        ("s3://bucket/shows/c.parquet", "../a.png", None),
        ("s3://bucket/c.parquet", "../../other/a.png", None),
        ("https://example.com/x/c.csv", "a b.png", "https://example.com/x/a%20b.png"),
        ("memory://shows/c.parquet", "a.png", "memory:///shows/a.png"),
    ],
)
def test_relative_uris_in_an_object_store(url, uri, wanted):
    resolver = Resolver(folder_of(url))
    if wanted is None:
        with pytest.raises(UriError):
            resolver.resolve(uri)
    else:
        assert resolver.resolve(uri) == wanted


@pytest.mark.parametrize(
    "prefix", ["s3://key:secret@bucket/", "zip://x::s3://b", "http://169.254.169.254/", "ftp://x/"]
)
def test_a_prefix_that_cannot_be_allowed(prefix, tmp_path):
    with pytest.raises(CatalogError, match="--allow"):
        Resolver(folder_of(tmp_path / "c.parquet"), [prefix])


@settings(deadline=None)
@given(st.text(st.sampled_from("ab./%2eEfF5cC\\:~é 0"), max_size=24))
def test_whatever_is_written_a_relative_uri_stays_inside(text):
    folder = Path("/nowhere/catalogs")
    resolver = Resolver(folder_of(folder / "c.parquet"))
    try:
        place = place_of(resolver.resolve(text))
    except UriError:
        return
    assert place.inside(Place("file://", str(folder)))
    assert not {"..", "."} & set(place.path.split("/"))


def test_a_row_is_refused_by_its_uri_and_a_missing_file_is_not(write, facts, tmp_path):
    path = write(task=["i2v", "i2v", "t2v"], image_uri=["file:///etc/passwd", "images/none.png", None])
    planned = plan(read(path), facts)
    assert [(entry.row, entry.column, entry.value) for entry in planned.refused] == [
        (0, "image_uri", "file:///etc/passwd")
    ]
    assert planned.takes["image_uri"].to_pylist() == [f"file://{tmp_path}/images/none.png", None]
    assert plan(read(path, allow=["/etc"]), facts).refused == []


@pytest.mark.parametrize("prefix", ["", " "])
def test_an_empty_prefix_does_not_allow_the_folder_that_one_is_in(prefix, tmp_path):
    with pytest.raises(CatalogError, match="it is empty"):
        read(tmp_path / "c.parquet", allow=[prefix])


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2@127.0.0.1:9/c.parquet",
        "https://user:at@hunter2@127.0.0.1:9/c.parquet",
        "https://127.0.0.1:9/c.parquet?X-Amz-Signature=hunter2",
        "s3://user:hunter2@bucket/c.parquet",
    ],
)
def test_secrets_of_a_url_are_in_no_message(url, tmp_path):
    told = []
    for call in (lambda: open_source(url), lambda: read(url), lambda: read(tmp_path / "c.csv", allow=[url])):
        with pytest.raises(CatalogError) as refused:
            call()
        told.append(str(refused.value))
    assert all("hunter2" not in text for text in told), told
