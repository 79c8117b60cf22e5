"""A catalog in a real object store."""

from __future__ import annotations

import pytest

from catalogs import CatalogError, plan, read


def test_a_catalog_on_s3(s3, write, facts):
    options = {"endpoint_url": s3.endpoint, "key": s3.key, "secret": s3.secret}
    folder = s3.bucket_url("catalogs/inner")
    path = write(shot_id=["a", "b", "c"], task=["i2v", "i2v", None], image_uri=["images/a.png", "../../../x.png", None])
    key = folder.removeprefix(f"s3://{s3.bucket}/")
    s3.client().put_object(Bucket=s3.bucket, Key=f"{key}/c.parquet", Body=path.read_bytes())
    planned = plan(read(f"{folder}/c.parquet", storage_options=options), facts)
    assert planned.takes["shot_id"].to_pylist() == ["a", "c"]
    assert planned.takes["image_uri"].to_pylist() == [f"{folder}/images/a.png", None]
    assert [(entry.row, entry.column) for entry in planned.refused] == [(1, "image_uri")]
    with pytest.raises(CatalogError, match="there is no catalog at"):
        read(f"{folder}/none.parquet", storage_options=options)
    with pytest.raises(CatalogError, match="is a folder"):
        read(folder, storage_options=options)
    with pytest.raises(CatalogError, match="cannot be read") as error:
        read(f"{folder}/c.parquet", storage_options=options | {"secret": "wrong-secret"})
    assert "wrong-secret" not in str(error.value)
