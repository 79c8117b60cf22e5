"""The cut as a table for spreadsheets: a row per part, with timecodes and the address of its source."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from infra.cut.frames import rate_text, timecode
from infra.cut.timeline import Card, Placed, Take, Timeline

COLUMNS = (
    "part", "kind", "name", "show", "shot_id", "take", "revision", "spec_key", "source_uri", "source_fps",
    "source_in", "source_out", "source_tc_in", "source_tc_out", "fps", "record_in", "record_out", "record_tc_in",
    "record_tc_out", "frames", "speed", "transition", "transition_frames", "handle_head", "handle_tail", "text",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write(timeline: Timeline, uri_of: Mapping[str, str]) -> str:
    """The table as CSV. `uri_of` gives the address of each take's film by its path in the store.

    Timecodes are as in the EDL, frames half-open. A text that a spreadsheet would compute gets an apostrophe.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for placed in timeline.placed():
        writer.writerow({name: _safe(value) for name, value in _row(placed, timeline, uri_of).items()})
    return out.getvalue()


def _row(placed: Placed, timeline: Timeline, uri_of: Mapping[str, str]) -> dict[str, Any]:
    part, fps = placed.part, timeline.fps
    row: dict[str, Any] = {
        "part": placed.number + 1,
        "kind": part.kind,
        "name": part.name,
        "fps": rate_text(fps),
        "record_in": placed.record_in,
        "record_out": placed.record_out,
        "record_tc_in": timecode(placed.record_in, fps, start=timeline.start),
        "record_tc_out": timecode(placed.record_out, fps, start=timeline.start),
        "frames": part.frames,
        "speed": str(part.speed),
        "transition": "dissolve" if part.overlap else "cut",
        "transition_frames": part.overlap,
    }
    content = part.content
    if isinstance(content, Card):
        row["text"] = content.text
    if isinstance(content, Take):
        own, out = content.fps or fps, part.source_out(fps)
        row |= {name: getattr(content, name) for name in ("show", "shot_id", "take", "revision", "spec_key")}
        row |= {
            "source_uri": uri_of[content.media],
            "source_fps": rate_text(own),
            "source_in": part.source_in,
            "source_out": out,
            "source_tc_in": timecode(part.source_in, own),
            "source_tc_out": timecode(out, own),
            "handle_head": part.source_in,
            "handle_tail": content.frames - out,
        }
    return row


def _safe(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
