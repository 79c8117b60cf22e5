"""Catalogs that cannot be used at all say what was found, where, and what to do."""

from __future__ import annotations

import os

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalogs import CatalogError, plan, read

CSV = b"shot_id,prompt\na,a red circle\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.parquet", b"", "0 bytes"),
        ("empty.csv", b"", "0 bytes"),
        ("empty.jsonl", b"", "0 bytes"),
        ("text.parquet", CSV, "not Parquet"),
        ("noise.parquet", os.urandom(512).replace(b"PAR1", b"...."), "not Parquet"),
        ("head.parquet", b"PAR1", "truncated"),
        ("hollow.parquet", b"PAR1" + b"\0" * 64 + b"PAR1", "Parquet"),
        ("noise", b"\0\1\2" * 100, "no known format"),
        ("noise.csv", b"\xff\xfe\x00\x01" * 40, "no column shot_id"),
        ("array.json", b'[{"shot_id": "a", "prompt": "b"}]', "one JSON array"),
        ("lines.jsonl", b"one\ntwo\n", "no line"),
        ("list.jsonl", b"[1, 2]\n", "no line"),
        ("keys.jsonl", b'{"id": "a", "prompt": "b"}\n', "no column shot_id"),
        ("no_prompt.csv", b"shot_id,Prompt\na,b\n", "no column prompt"),
        ("bars.csv", b"shot_id|prompt|seed\na|b|1\n", "separated by bars: write it with commas"),
        ("semicolons.csv", b'"shot_id";"prompt"\na;b\n', "separated by semicolons"),
        ("sheet.xlsx", b"PK\x03\x04\x14\x00\x06\x00", "zip archive, as spreadsheets are"),
        ("sheet.csv", b"PK\x03\x04\x14\x00\x06\x00", "zip archive, as spreadsheets are"),
        ("tabs.csv", b"prompt\tshot_id\na\tb\n", "separated by tabs"),
        ("twice.csv", b"shot_id,prompt,prompt\na,b,c\n", "twice"),
    ],
)
def test_a_file_that_is_no_catalog(name, content, message, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CatalogError, match=message) as error:
        read(path)
    assert name in str(error.value)


def test_a_truncated_parquet_file_at_every_length(write, facts):
    path = write(shot_id=[f"s{i}" for i in range(100)])
    whole = path.read_bytes()
    for size in range(0, len(whole) - 1, 97):
        path.write_bytes(whole[:size])
        with pytest.raises(CatalogError):
            plan(read(path), facts)


def test_a_parquet_file_with_changed_bytes_is_told_or_read(write, facts):
    path = write(shot_id=[f"s{i}" for i in range(100)])
    whole = path.read_bytes()
    told = 0
    for place in range(0, len(whole), 41):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            plan(read(path), facts)
        except CatalogError:
            told += 1
    assert told > 10


def test_missing_and_doubled_columns(tmp_path):
    path = tmp_path / "c.parquet"
    pq.write_table(pa.table({"shot_id": ["a"], "text": ["b"]}), path)
    with pytest.raises(CatalogError, match=r"no column prompt.*shot_id, text"):
        read(path)
    pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 3, names=["shot_id", "prompt", "prompt"]), path)
    with pytest.raises(CatalogError, match="twice"):
        read(path)


def test_places_without_a_catalog(tmp_path):
    with pytest.raises(CatalogError, match="there is no catalog at"):
        read(tmp_path / "nothing.parquet")
    with pytest.raises(CatalogError, match="is a folder"):
        read(tmp_path)
    with pytest.raises(CatalogError, match="there is no catalog at"):
        read("memory://nowhere/nothing.parquet")
    with pytest.raises(CatalogError, match="chain"):
        read("simplecache::file:///tmp/x.parquet")
    with pytest.raises(CatalogError, match="schemes"):
        read("gopher://host/x.parquet")
    with pytest.raises(CatalogError, match="password"):
        read("https://user:secret@example.com/x.parquet")
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    with pytest.raises(CatalogError, match="plain file"):
        read(fifo)


def test_a_file_url_with_percent_escapes(write, facts, tmp_path):
    path = tmp_path / "my shots" / "a.parquet"
    path.parent.mkdir()
    path.write_bytes(write(shot_id=["a"]).read_bytes())
    assert plan(read(path.as_uri()), facts).takes.num_rows == plan(read(path), facts).takes.num_rows > 0


def test_a_folder_in_an_object_store(tmp_path):
    fs = fsspec.filesystem("memory")
    fs.makedirs("/catalogs/inner", exist_ok=True)
    with pytest.raises(CatalogError, match="is a folder"):
        read("memory://catalogs/inner")


def test_a_file_that_may_not_be_read(write, monkeypatch):
    path = write(shot_id=["a"])

    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)  # root, as whom tests often run, may read any file
    with pytest.raises(CatalogError, match=r"cannot be read.*Permission denied"):
        read(path)


def test_a_server_that_does_not_answer_is_a_catalog_error():
    options = {
        "endpoint_url": "http://127.0.0.1:9",
        "key": "k",
        "secret": "s",
        "config_kwargs": {"retries": {"max_attempts": 0}},
    }
    with pytest.raises(CatalogError, match=r"s3://bucket/c\.parquet cannot be read"):
        read("s3://bucket/c.parquet", storage_options=options)


def test_a_url_is_copied_and_the_copy_is_removed(write, facts, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    fsspec.filesystem("memory").pipe("/shots/c.parquet", write(shot_id=["a", "b"]).read_bytes())
    batches = read("memory://shots/c.parquet")
    assert list(scratch.iterdir())
    assert plan(batches, facts).takes["shot_id"].to_pylist() == ["a", "b"]
    assert not list(scratch.iterdir())


def test_no_rows_are_a_legal_catalog(tmp_path, facts):
    path = tmp_path / "c.parquet"
    columns = {
        "shot_id": pa.array([], pa.string()),
        "prompt": pa.array([], pa.string()),
        "note": pa.array([], pa.int64()),
    }
    pq.write_table(pa.table(columns), path)
    planned = plan(read(path), facts)
    assert (planned.takes.num_rows, planned.rows_total, planned.cost.gpu_s) == (0, 0, 0.0)
    assert planned.takes.schema.field("note").type == pa.int64()
    (tmp_path / "c.csv").write_text("shot_id,prompt\n")
    assert plan(read(tmp_path / "c.csv"), facts).takes.num_rows == 0


def test_content_is_believed_more_than_a_suffix(write, facts):
    path = write(shot_id=["a"])
    for name in ("c.csv", "c.jsonl", "c", "c.dat"):
        other = path.with_name(name)
        other.write_bytes(path.read_bytes())
        assert plan(read(other), facts).takes["shot_id"].to_pylist() == ["a"]
    bare = path.with_name("bare")
    bare.write_bytes(CSV)
    assert plan(read(bare), facts).takes["shot_id"].to_pylist() == ["a"]
    bare.write_bytes(b'{"shot_id": "a", "prompt": "b"}\n')
    assert plan(read(bare), facts).takes["shot_id"].to_pylist() == ["a"]
