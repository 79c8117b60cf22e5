"""Arrow tables as Parquet bytes, and how two plans are compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from infra.store.errors import Damaged

if TYPE_CHECKING:
    import pyarrow as pa

# Computed from prices, sizes of shards and the state of the store at planning: they order nothing.
_NOT_ORDERED = {"cached", "cost_gpu_s", "tokens", "shard", "row"}
# Null where an input was out of reach when the plan was made.
_RESOLVED_LATER = {"spec_key", "picture_key", "revision"} | {
    f"{kind}_sha256" for kind in ("image", "last_image", "video", "mask")
}
_TAKE = ("show", "shot_id", "take")
TAKE_COLUMNS = ("show", "shot_id", "revision", "take", "spec_key")
"""Without these a table is no plan, and no addition to one."""
_TEXTS = ("show", "shot_id", "revision", "spec_key", "state", "media_path", "sha256", "error_class", "quality_verdict")
KINDS = dict.fromkeys(_TEXTS, "text") | {
    "cached": "flag", "take": "whole", "bytes": "whole", "attempt": "whole",
    "gpu_s": "number", "quality": "number", "quality_rank": "number", "quality_reasons": "texts",
}  # fmt: skip
"""What readers need of plans and manifests, and of which kind it is."""


def to_parquet(table: pa.Table, more: Mapping[str, str] | None = None) -> bytes:
    """The table as zstd Parquet, with `more` added to its metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if more:
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), **more})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def from_parquet(data: bytes, path: str) -> pa.Table:
    """The table. Damaged for bytes that are no Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # One thread: with its pool in use, pyarrow 26 aborts now and then when a short process ends.
        return pq.read_table(pa.BufferReader(data), use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise Damaged(f"{path}: {error}") from error


def metadata(data: bytes, path: str) -> dict[str, str]:
    """The metadata of a table in Parquet, without reading its columns. Damaged for bytes that are no Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.read_schema(pa.BufferReader(data)).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise Damaged(f"{path}: {error}") from error
    return {key.decode(): value.decode() for key, value in found.items() if key.startswith(b"rushes.")}


def lacking(table: pa.Table, columns: Iterable[str]) -> str | None:
    """What a table lacks of the columns that its reader needs, in words, or None."""
    for name in columns:
        if name not in table.column_names:
            return f"it has no column {name}"
        kind = table.schema.field(name).type
        if not _is_of(kind, KINDS[name]):
            return f"its column {name} is {kind}, not {KINDS[name]}"
    return None


def checked(table: pa.Table, columns: Iterable[str], path: str) -> pa.Table:
    """The table, which has these columns. Damaged where it has not."""
    if (reason := lacking(table, columns)) is not None:
        raise Damaged(f"{path}: {reason}: nothing that rushes wrote; restore it, or remove it")
    return table


def _is_of(kind: pa.DataType, wanted: str) -> bool:
    """Whether a column's type is one that such values come in; a column without any value is of each."""
    import pyarrow as pa

    found = kind.value_type if pa.types.is_dictionary(kind) else kind
    fits = {
        "text": (pa.types.is_string, pa.types.is_large_string),
        "whole": (pa.types.is_integer,),
        "number": (pa.types.is_floating, pa.types.is_integer),
        "texts": (pa.types.is_list,),
        "flag": (pa.types.is_boolean,),
    }
    return pa.types.is_null(found) or any(test(found) for test in fits[wanted])


def first_difference(standing: pa.Table, wanted: pa.Table) -> str | None:
    """What makes two plans order different work, in words, or None. Columnar: a million takes take seconds."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if standing.num_rows != wanted.num_rows:
        return f"{standing.num_rows} takes there, {wanted.num_rows} here"
    names = [name for name in wanted.column_names if name not in _NOT_ORDERED]
    odd = set(names) ^ {name for name in standing.column_names if name not in _NOT_ORDERED}
    for name in sorted(odd):
        table = wanted if name in wanted.column_names else standing
        if table[name].null_count < table.num_rows:  # one without a value orders nothing, as if it were not there
            return f"column {name} is in only one of them"
    names = [name for name in names if name not in odd]
    order = [(name, "ascending") for name in _TAKE if name in names]
    one, other = (table.select(names).sort_by(order) if order else table.select(names) for table in (standing, wanted))
    for name in names:
        left, right = _comparable(one[name]), _comparable(other[name])
        if left.null_count == right.null_count == len(left):  # no values, of whatever type they are not
            continue
        if left.type != right.type:
            try:
                right = right.cast(left.type)
            except pa.ArrowException:
                return f"column {name} is {left.type} there, {right.type} here"
        # NaN is not equal to itself; as a gap in somebody's column it orders the same work.
        both_null = pc.and_(left.is_null(nan_is_null=True), right.is_null(nan_is_null=True))
        same = pc.or_(pc.fill_null(pc.equal(left, right), name in _RESOLVED_LATER), both_null)
        if not pc.all(same, min_count=0).as_py():
            at = pc.index(same, False).as_py()
            where = "/".join(str(one[key][at]) for key in _TAKE if key in names)
            return f"{name} of {where}: {_short(left[at])} there, {_short(right[at])} here"
    return None


def _comparable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Lists, structs, maps, halves and extensions have no equality in Arrow: they are compared as text."""
    import pyarrow as pa

    odd = isinstance(column.type, pa.BaseExtensionType) or pa.types.is_float16(column.type)
    if odd or pa.types.is_nested(column.type):
        return pa.chunked_array([pa.array([None if v is None else repr(v) for v in column.to_pylist()], pa.string())])
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    return column


def _short(value: Any) -> str:
    text = repr(value.as_py())
    return text if len(text) <= 80 else f"{text[:77]}..."
