"""What a Prefect server knows, read over its API as any other program would."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

T = TypeVar("T")


@dataclass(frozen=True)
class Prefect:
    """A server, by the URL of its API."""

    url: str

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """POST, and the answer as JSON."""
        answer = httpx.post(f"{self.url}/{path}", json=body or {}, timeout=30.0)
        answer.raise_for_status()
        return answer.json()

    def runs(self, store: str) -> list[dict[str, Any]]:
        """Flow runs of jobs of a store, the first one first."""
        found = self.ask("flow_runs/filter", {"sort": "START_TIME_ASC", "limit": 200})
        return [run for run in found if run["parameters"].get("store") == store]

    def task_runs(self, flow_run: dict[str, Any]) -> list[dict[str, Any]]:
        """Its task runs by name."""
        body = {"flow_runs": {"id": {"any_": [flow_run["id"]]}}, "sort": "NAME_ASC", "limit": 200}
        return list(self.ask("task_runs/filter", body))

    def artifacts(self, flow_run: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Its keyed artifacts."""
        body = {"artifacts": {"flow_run_id": {"any_": [flow_run["id"]]}}, "limit": 200}
        return {artifact["key"]: artifact for artifact in self.ask("artifacts/filter", body) if artifact["key"]}

    def logs(self, flow_run: dict[str, Any]) -> str:
        """Its log, one message per line."""
        body = {"logs": {"flow_run_id": {"any_": [flow_run["id"]]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
        return "\n".join(line["message"] for line in self.ask("logs/filter", body))

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """Events about a job."""
        body = {"filter": {"resource": {"id_prefix": [f"rushes.job.{job_id}"]}}, "limit": 50}
        return list(self.ask("events/filter", body)["events"])

    def deployment(self, name: str) -> dict[str, Any] | None:
        """A deployment by its name."""
        found = self.ask("deployments/filter", {"deployments": {"name": {"any_": [name]}}})
        return found[0] if found else None

    def cancel(self, flow_run: dict[str, Any]) -> None:
        """What the button on the run's page does."""
        self.ask(f"flow_runs/{flow_run['id']}/set_state", {"state": {"type": "CANCELLING"}, "force": False})


def table(artifact: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a table artifact."""
    data = artifact["data"]
    return list(json.loads(data) if isinstance(data, str) else data)


def eventually(look: Callable[[], T], within_s: float = 30.0) -> T:
    """What `look` gives as soon as that is true; AssertionError with the last answer otherwise."""
    end = time.monotonic() + within_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {within_s} s; the last answer was {found!r}")
        time.sleep(0.2)
