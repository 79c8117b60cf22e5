"""Names of the farm's metrics. ``actors`` exports them through Ray; Prometheus sees them with ``ray_`` in front."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]


class Metric(NamedTuple):
    """One metric: its name without Ray's prefix, its kind, what it means, and the labels that it bears."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ("job",)


TAKES: Final = Metric("rushes_takes", "gauge", "takes by state", ("job", "state"))
GPU_SECONDS: Final = Metric("rushes_gpu_seconds", "gauge", "GPU seconds booked by column", ("job", "column"))
EVENTS: Final = Metric("rushes_events_total", "counter", "events of a job by kind", ("job", "kind"))
STAGE_SECONDS: Final = Metric("rushes_stage_seconds", "histogram", "seconds of a take in one stage", ("job", "stage"))
GANGS: Final = Metric("rushes_gangs", "gauge", "gangs that a job holds")
FINISHING_TAKES: Final = Metric("rushes_finishing_takes", "gauge", "takes being rendered or waiting to be finished")
FINISHING_BYTES: Final = Metric("rushes_finishing_bytes", "gauge", "bytes of frames that wait to be finished")

ALL: Final = (TAKES, GPU_SECONDS, EVENTS, STAGE_SECONDS, GANGS, FINISHING_TAKES, FINISHING_BYTES)
STAGE_BOUNDS: Final = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)
"""Upper bounds of the histogram's buckets, in seconds."""
