"""Seeds, revisions and keys: the names under which takes are found again, for one take and for a million.

All are SHA-256 over canonical JSON in UTF-8: one object, keys sorted, no white space, text unescaped but for what JSON
asks for (`"`, `\\` and control characters, as Python's json writes them). A field that is null is left out, so that a
field added later leaves old keys alone. Numbers with a fraction are rounded to 32 bits, as a model computes with them,
and written as the shortest decimal that reads back the same ("3.3", "8.0"); so a catalog in CSV, in float and in
double has the same keys.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalogs.digests import digest_texts
from catalogs.tasks import INFILLS, STRENGTHS

# Field -> how its value is written. Columns that change the picture, seed apart; a still has no fps.
REVISION_FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "task": "text",
        "prompt": "text",
        "negative_prompt": "text",
        "width": "int",
        "height": "int",
        "frames": "int",
        "fps": "float",
        "steps": "int",
        "guidance_scale": "float",
        "image_uri": "text",
        "last_image_uri": "text",
        "video_uri": "text",
        "mask_uri": "text",
        "depends_on": "text",
        "strength": "float",
        "keep_frames": "text",
        "long_method": "text",
        "lora": "json",
        "upscale": "float",
        "draft": "text",
    }
)
SPEC_FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "show": "text",
        "shot_id": "text",
        "revision": "text",
        "take": "int",
        "seed": "int",
        "task": "text",
        "prompt": "text",
        "negative_prompt": "text",
        "width": "int",
        "height": "int",
        "frames": "int",
        "fps": "float",
        "render_width": "int",
        "render_height": "int",
        "render_frames": "int",
        "steps": "int",
        "guidance_scale": "float",
        "guidance_scale_2": "float",
        "long_method": "text",
        "window_frames": "int",
        "upscaler": "text",
        "sampler": "text",
        "step_skip": "json",
        "image_sha256": "text",
        "last_image_sha256": "text",
        "video_sha256": "text",
        "mask_sha256": "text",
        "source": "text",
        "lora": "json",
        "model": "text",
        "precision": "json",
        "picture_version": "int",
    }
)
CHANGES_ONLY: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"strength": tuple(STRENGTHS), "keep_frames": INFILLS}
)
"""Fields that change the picture of some tasks only, and enter the revision of those alone."""
NOT_IN_PICTURE: Final = frozenset({"show", "shot_id", "take"})
_REQUIRED: Final = frozenset(
    {"revision", "seed", "task", "prompt", "width", "height", "frames", "render_width", "render_height"}
    | {"render_frames", "steps", "guidance_scale", "sampler", "model", "precision", "picture_version"}
)
REVISION_DIGITS: Final = 8


# --- one take -------------------------------------------------------------------------------------------------------
def seed_of(show: str, shot_id: str) -> int:
    """The seed of a shot that names none: the first 4 bytes, big-endian and unsigned, of SHA-256("show/shot_id")."""
    return int.from_bytes(sha256(f"{show}/{shot_id}".encode()).digest()[:4], "big")


def revision(fields: Mapping[str, Any]) -> str:
    """8 hexadecimal digits over the columns of a shot that change its picture, seed apart.

    Args:
        fields: values of REVISION_FIELDS with the defaults filled in, as a plan's row has them; others are ignored.
            A URI inside the catalog's folder is given relative to it.
    """
    values = {name: fields.get(name) for name in REVISION_FIELDS}
    if values["task"] == "still":
        values["fps"] = None
    values |= {name: None for name, tasks in CHANGES_ONLY.items() if values["task"] not in tasks}
    return _hash(values, REVISION_FIELDS)[:REVISION_DIGITS]


def model_fields(model_facts: Mapping[str, Any], precision: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The fields of a key that a model gives: sampler, digest, precision, picture version."""
    return {
        "sampler": model_facts["sampler"],
        "step_skip": model_facts.get("step_skip"),
        "guidance_scale_2": model_facts.get("guidance_scale_2"),
        "model": model_facts["digest"],
        "precision": dict(precision if precision is not None else model_facts["precision"]),
        "picture_version": model_facts["picture_version"],
    }


def spec_fields(
    take: Mapping[str, Any],
    model_facts: Mapping[str, Any],
    *,
    precision: Mapping[str, str] | None = None,
    **inputs: str,
) -> dict[str, Any]:
    """The fields of one take's keys, for a key that the plan left open because an input could not be read.

    Args:
        take: a row of the plan.
        model_facts: the facts that the plan was made with.
        precision: as the plan fixed it; the model's own otherwise.
        inputs: digests found since: `image_sha256="…"`; `source`, the spec_key of the take that this one starts from.
    """
    unknown = set(inputs) - set(SPEC_FIELDS)
    if unknown:
        raise ValueError(f"no such input of a key: {', '.join(sorted(unknown))}")
    fields = {name: take.get(name) for name in SPEC_FIELDS} | model_fields(model_facts, precision) | inputs
    fields["prompt"] = take.get("encoded_prompt") or fields["prompt"]
    if fields["task"] == "still":
        fields["fps"] = None
    return fields


def spec_key(fields: Mapping[str, Any]) -> str:
    """The key of a take: 64 hexadecimal digits over SPEC_FIELDS.

    Raises:
        ValueError: a field that no key has, or one that every key needs and that is missing or null.
    """
    _check(fields, _REQUIRED | NOT_IN_PICTURE)
    return _hash(fields, SPEC_FIELDS)


def picture_key(fields: Mapping[str, Any]) -> str:
    """The key without show, shot_id and take: equal for two takes that come out as the same picture.

    Raises:
        ValueError: as `spec_key`.
    """
    _check(fields, _REQUIRED)
    return _hash({name: value for name, value in fields.items() if name not in NOT_IN_PICTURE}, SPEC_FIELDS)


def canonical(fields: Mapping[str, Any], kinds: Mapping[str, str]) -> bytes:
    """The canonical JSON of an object, as this module's head describes it."""
    given = sorted((name, value) for name, value in fields.items() if value is not None)
    return ("{" + ",".join(f'"{name}":{_written(value, kinds[name])}' for name, value in given) + "}").encode()


def _check(fields: Mapping[str, Any], required: frozenset[str]) -> None:
    unknown = set(fields) - set(SPEC_FIELDS)
    missing = {name for name in required if fields.get(name) is None}
    if unknown or missing:
        raise ValueError(f"not the fields of a key: unknown {sorted(unknown)}, missing {sorted(missing)}")


def _hash(fields: Mapping[str, Any], kinds: Mapping[str, str]) -> str:
    return sha256(canonical(fields, kinds)).hexdigest()


def _written(value: Any, kind: str) -> str:
    match kind:
        case "text":
            return json.dumps(str(value), ensure_ascii=False)
        case "int":
            return str(int(value))
        case "float":
            return float_text(value)
        case _:
            return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def float_text(value: float) -> str:
    """A number rounded to 32 bits, as the shortest decimal that reads back the same: 3.3, 8.0, 0.0001."""
    # Adding zero turns -0.0 into 0.0, which is the same number and must not be another key.
    return np.format_float_positional(np.float32(value) + np.float32(0), unique=True, trim="0")


# --- a million ------------------------------------------------------------------------------------------------------
def identities(show: pa.Array, shot_id: pa.Array) -> np.ndarray:
    """SHA-256("show/shot_id") of each shot, (n, 32) uint8."""
    return digest_texts(pc.binary_join_element_wise(show, shot_id, "/"))


def documents(columns: Mapping[str, pa.Array], constants: Mapping[str, Any], kinds: Mapping[str, str]) -> pa.Array:
    """The canonical JSON of each row, (n,) texts: `canonical` for whole columns.

    Args:
        columns: fields that differ from row to row, each (n,); a null is left out of its row. No row is all null.
        constants: fields that are the same in every row.
        kinds: how each field is written.
    """
    if both := set(columns) & set(constants):
        raise ValueError(f"a field is either a column or a constant: {', '.join(sorted(both))}")
    pieces: list[pa.Array | str] = []
    # A column of one value, as most are in most catalogs, is written once.
    constants = dict(constants) | {name: column[0].as_py() for name, column in columns.items() if _constant(column)}
    for name in sorted(set(columns) | {name for name, value in constants.items() if value is not None}):
        if name in constants:
            pieces.append(f',"{name}":{_written(constants[name], kinds[name])}')
        elif columns[name].null_count < len(columns[name]):
            pieces += _piece(name, columns[name], kinds[name])
    pieces = _merged([*pieces, "}"])
    count = len(next(iter(columns.values())))
    if len(pieces) == 1:
        return pa.array(["{" + str(pieces[0])[1:]] * count, pa.large_string()).cast(pa.large_binary())
    joined = pc.binary_join_element_wise(*pieces, "", null_handling="replace", null_replacement="")
    joined = joined.cast(pa.large_binary())
    # Every row starts with the comma of its first field, whichever that is: it becomes the opening bracket.
    _, offsets, data = joined.buffers()
    text = np.frombuffer(data, np.uint8).copy()
    text[np.frombuffer(offsets, np.int64)[joined.offset : joined.offset + count]] = ord("{")
    buffers = [None, offsets, pa.py_buffer(text)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), count, buffers, offset=joined.offset)


def _constant(column: pa.Array) -> bool:
    return len(column) > 1 and not column.null_count and pc.all(pc.equal(column, column[0])).as_py()


def _merged(pieces: list[pa.Array | str]) -> list[pa.Array | str]:
    """Neighbouring constant pieces as one."""
    merged: list[pa.Array | str] = []
    for piece in pieces:
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


def _piece(name: str, column: pa.Array, kind: str) -> list[pa.Array | str]:
    before, after = f',"{name}":', ""
    if kind == "text":
        before, after, written = before + '"', '"', _escaped(column)
    elif kind == "int":
        written = column.cast(pa.string())
    elif kind == "float":
        encoded = column.dictionary_encode()
        texts = [None if value is None else float_text(value) for value in encoded.dictionary.to_pylist()]
        written = pa.array(texts, pa.string()).take(encoded.indices)
    else:
        raise ValueError(f"the field {name!r} is not written by column")
    if written.null_count:
        return [pc.binary_join_element_wise(before, written, after, "")]
    return [before, written, after]


def _escaped(column: pa.Array) -> pa.Array:
    """Texts as JSON writes them between its quotes."""
    if not _may_need_escapes(column):
        return column
    special = pc.match_substring_regex(column, r'[\x00-\x1f"\\]').fill_null(False)
    escaped = [json.dumps(text, ensure_ascii=False)[1:-1] for text in column.filter(special).to_pylist()]
    return pc.replace_with_mask(column, special, pa.array(escaped, pa.string()))


def _may_need_escapes(column: pa.Array) -> bool:
    """Whether a byte of the column is a quote, a backslash or a control character: far quicker than by pattern."""
    _, offsets, data = column.buffers()
    if data is None:
        return False
    ends = np.frombuffer(offsets, np.int32)
    text = np.frombuffer(data, np.uint8)[ends[column.offset] : ends[column.offset + len(column)]]
    return bool(((text < 0x20) | (text == ord('"')) | (text == ord("\\"))).any())
