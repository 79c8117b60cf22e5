"""A job's metrics, exported through Ray's own agent; the names are those of ``infra.metrics``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

from infra import metrics as names


class FarmMetrics:
    """Metrics of one job, made in its dispatcher."""

    def __init__(self, job_id: str) -> None:
        self._job = job_id
        self._made: dict[str, Any] = {metric.name: _make(metric) for metric in names.ALL}

    def event(self, kind: str) -> None:
        self._made[names.EVENTS.name].inc(1, {"job": self._job, "kind": kind})

    def stage(self, stage: str, seconds: float) -> None:
        self._made[names.STAGE_SECONDS.name].observe(seconds, {"job": self._job, "stage": stage})

    def gauges(
        self,
        takes: Mapping[str, int],
        gpu_s: Mapping[str, float],
        gangs: int,
        finishing_takes: int,
        finishing_bytes: int,
    ) -> None:
        """Sets all gauges."""
        for state, count in takes.items():
            self._set(names.TAKES, count, state=state)
        for column, seconds in gpu_s.items():
            self._set(names.GPU_SECONDS, seconds, column=column)
        self._set(names.GANGS, gangs)
        self._set(names.FINISHING_TAKES, finishing_takes)
        self._set(names.FINISHING_BYTES, finishing_bytes)

    def _set(self, metric: names.Metric, value: float, **labels: str) -> None:
        self._made[metric.name].set(value, {"job": self._job, **labels})


def _make(metric: names.Metric) -> Any:
    if metric.kind == "histogram":
        return Histogram(metric.name, metric.meaning, boundaries=list(names.STAGE_BOUNDS), tag_keys=metric.labels)
    return (Counter if metric.kind == "counter" else Gauge)(metric.name, metric.meaning, tag_keys=metric.labels)
