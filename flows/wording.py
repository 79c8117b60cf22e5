"""What the farm tells of takes, in the words that people read: counts, names, failures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows.job_view import Failure


def takes_of(status: Mapping[str, Any]) -> dict[str, int]:
    """Counts as people read them, from a dispatcher's: there committed and cached are apart, here cached takes are
    committed ones, as `rendered` + `cached` = `committed`.
    """
    counts = {name: int(value) for name, value in status.get("takes", {}).items()}
    rendered, cached = counts.get("committed", 0), counts.get("cached", 0)
    return {**counts, "committed": rendered + cached, "rendered": rendered, "cached": cached}


def take_name(entry: Mapping[str, Any]) -> str:
    """`show/shot_id take 2`, without the show where it is the default one."""
    show = entry.get("show") or "default"
    shot = str(entry.get("shot_id")) if show == "default" else f"{show}/{entry.get('shot_id')}"
    return f"{shot} take {entry.get('take', 1)}"


def running_line(entry: Mapping[str, Any]) -> str:
    """A take at work: its name, and how many of its steps are done."""
    steps = f" · step {entry.get('step', 0)} of {entry['steps']}" if entry.get("steps") else ""
    gang = f" · gang {entry['gang']}" if entry.get("gang") is not None else ""
    return f"{take_name(entry)}{steps}{gang}"


def failure_of(event: Mapping[str, Any]) -> Failure:
    """A quarantine, from the dispatcher's event or the record in the store."""
    return Failure(
        what=take_name(event),
        error=str(event.get("error_class") or "internal"),
        message=str(event.get("message") or ""),
        where=str(event.get("log") or ""),
        attempts=event.get("attempt"),
        gpu_s=event.get("gpu_s"),
        replay=str(event.get("replay") or ""),
    )


def refused_row(refusal: Any) -> Failure:
    """A refused row of the catalog (`catalogs.Refusal`)."""
    return Failure(
        what=f"row {refusal.row}",
        error="refused",
        message=f"{refusal.column} = {refusal.value}; legal: {refusal.legal}",
    )
