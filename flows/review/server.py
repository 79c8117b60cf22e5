"""The review's server: a page over the store, and the few calls that it makes.

Nothing is served by path. A film or picture is asked for by job and spec_key, and looked up among that job's commits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from flows.review.bakeoff import compare
from flows.review.choosing import MOST_NOTE, MOST_WHO, decide
from flows.review.guard import Guard
from flows.review.pictures import Pictures
from flows.review.shots import JobTakes, ShotView, counts, version_of
from flows.verbs.failure import Failure
from infra.media.errors import MediaError
from infra.store import layout
from infra.store.claims import job_state
from infra.store.decisions import Conflict
from infra.store.errors import NotFound, StoreError
from infra.store.jobs import list_jobs

if TYPE_CHECKING:
    from infra.settings import Settings
    from infra.store import Store

log = logging.getLogger("rushes.review")

STATIC = Path(__file__).with_name("static")
PAGES = {"": "index.html", "bakeoff": "bakeoff.html"}
TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
LOOK_S = 1.0
"""The store is looked at this often at most, however many people look at the page."""
MOST_COMPARED = 8


class VerdictBody(BaseModel):
    """What the page sends."""

    model_config = ConfigDict(extra="forbid")

    spec_key: str = Field(pattern=r"^[0-9a-f]{64}$")
    verdict: Literal["approved", "rejected", "retake"] | None
    who: str = Field(min_length=1, max_length=MOST_WHO)
    note: str = Field(default="", max_length=MOST_NOTE)
    count: int = Field(default=1, ge=1, le=100)
    seen: int = Field(ge=0)


class Desk:
    """The jobs of a store as this server knows them."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store, self.settings = store, settings
        self.pictures = Pictures(store, scratch=settings.farm.scratch, scratch_bytes=settings.farm.scratch_bytes)
        self._jobs: dict[str, JobTakes] = {}
        self._looked: dict[str, tuple[float, list[ShotView]]] = {}
        self._facts: dict[str, Mapping[str, Any]] = {}
        self._lock = threading.Lock()

    def job(self, job_id: str) -> JobTakes:
        """A job by name. HTTPException 404 where there is none."""
        if not layout.NAME.fullmatch(job_id):
            raise HTTPException(404, "no such job")
        with self._lock:
            found = self._jobs.get(job_id)
        if found is None:
            if self.store.stat(layout.plan_path(job_id)) is None:
                raise HTTPException(404, f"{self.store.url} has no job {job_id}")
            with self._lock:
                found = self._jobs.setdefault(job_id, JobTakes(self.store, job_id))
        return found

    def shots(self, job: JobTakes, *, fresh: bool = False) -> list[ShotView]:
        """The shots of a job, at most a second old."""
        looked = self._looked.get(job.job_id)
        if fresh or looked is None or time.monotonic() - looked[0] > LOOK_S:
            looked = self._looked[job.job_id] = (time.monotonic(), job.refresh())
        return looked[1]

    def facts(self, job: JobTakes) -> Callable[[], Mapping[str, Any]]:
        """Tells of the job's model, read once."""
        from flows.retakes import facts_of

        def read() -> Mapping[str, Any]:
            if job.job_id not in self._facts:
                self._facts[job.job_id] = facts_of(self.store, job.job_id, self.settings)
            return self._facts[job.job_id]

        return read

    def media(self, job_id: str, spec_key: str) -> Mapping[str, Any]:
        """The film that a commit of this job names, whose path is one of a film. HTTPException 404 otherwise."""
        job = self.job(job_id)
        media = job.media(spec_key)
        if media is None:
            self.shots(job, fresh=True)
            media = job.media(spec_key)
        if media is None or layout.parse_media_path(str(media["path"])) is None:
            raise HTTPException(404, "no such take")
        return media


def make_app(
    store: Store, settings: Settings, *, first: list[str], who: str = "", token: str | None = None,
    hosts: frozenset[str] = frozenset({"127.0.0.1", "localhost", "[::1]"}),
) -> Guard:  # fmt: skip
    """The application, for uvicorn.

    Args:
        first: jobs to show when the page is opened: one for the board, several for a bake-off.
        who: the name to propose to a visitor.
        token, hosts: as `Guard` takes them.
    """
    desk = Desk(store, settings)

    @asynccontextmanager
    async def life(_: FastAPI) -> Any:
        yield
        desk.pictures.close()

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=life)
    _add_pages(app)
    _add_calls(app, desk, first, who)
    _add_pictures(app, desk)
    _add_errors(app)
    return Guard(app, token=token, hosts=hosts)


def _add_pages(app: FastAPI) -> None:
    @app.get("/{name}", include_in_schema=False)
    def page(name: str) -> Response:
        if name not in PAGES and name not in _assets():
            raise HTTPException(404, "no such page")
        data, kind = _assets()[PAGES.get(name, name)]
        return Response(data, media_type=kind, headers={"cache-control": "no-cache"})

    @app.get("/", include_in_schema=False)
    def index() -> Response:
        return page("")


def _add_calls(app: FastAPI, desk: Desk, first: list[str], who: str) -> None:
    @app.get("/api/start")
    def start() -> dict[str, Any]:
        return {"store": desk.store.url, "jobs": list_jobs(desk.store), "first": first, "who": who}

    @app.get("/api/jobs/{job_id}")
    def shots(job_id: str, have: str = "") -> Response:
        job = desk.job(job_id)
        found = desk.shots(job)
        told = {"job_id": job_id, "live": job_state(desk.store, job_id).live, "counts": counts(found)}
        told["shots"] = [shot.as_dict() for shot in found]
        version = version_of(told)
        headers = {"cache-control": "no-store"}
        if version == have:
            return Response(status_code=204, headers=headers)
        return JSONResponse({"version": version, **told}, headers=headers)

    @app.post("/api/jobs/{job_id}/verdicts")
    def verdict(job_id: str, body: VerdictBody) -> Response:
        job = desk.job(job_id)
        takes = {take.spec_key: take for shot in desk.shots(job, fresh=True) for take in shot.takes}
        take = takes.get(body.spec_key)
        if take is None:
            raise HTTPException(404, "this job has no such take")
        if take.commit is None and body.verdict in ("approved", "rejected"):
            raise HTTPException(409, f"the take is {take.state}: there is nothing to look at yet")
        try:
            done = decide(
                desk.store, job_id, take.name, body.verdict, who=body.who.strip(), note=body.note, count=body.count,
                seen=body.seen, facts=desk.facts(job),
            )  # fmt: skip
        except Conflict as error:
            return JSONResponse({"error": str(error), "shot": _shot(desk, job, take.name)}, 409)
        job.told(done.decision)
        return JSONResponse({"shot": _shot(desk, job, take.name), "queued": done.queued})

    @app.get("/api/bakeoff")
    def bakeoff(job: Annotated[list[str], Query(max_length=MOST_COMPARED)]) -> dict[str, Any]:
        return compare([desk.job(one) for one in dict.fromkeys(job)], desk.settings.price)


def _add_pictures(app: FastAPI, desk: Desk) -> None:
    kept = {"cache-control": "private, max-age=86400"}

    @app.get("/film/{job_id}/{spec_key}")
    def film(job_id: str, spec_key: str) -> Response:
        media = desk.media(job_id, spec_key)
        path = desk.pictures.film(media)
        kind = "image/png" if path.suffix == ".png" else "video/mp4"
        return FileResponse(path, media_type=kind, headers=kept)

    @app.get("/poster/{job_id}/{spec_key}")
    def poster(job_id: str, spec_key: str) -> Response:
        media = desk.media(job_id, spec_key)
        return FileResponse(desk.pictures.poster(spec_key, media), media_type="image/jpeg", headers=kept)

    @app.get("/sprite/{job_id}/{spec_key}")
    def sprite(job_id: str, spec_key: str) -> Response:
        media = desk.media(job_id, spec_key)
        return FileResponse(desk.pictures.sprite(media), media_type="image/jpeg", headers=kept)


def _add_errors(app: FastAPI) -> None:
    def answer(status: int) -> Callable[[Request, Exception], Response]:
        def told(_: Request, error: Exception) -> Response:
            return JSONResponse({"error": str(error)}, status)

        return told

    def known(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return JSONResponse({"error": error.detail}, error.status_code)

    app.add_exception_handler(HTTPException, known)
    app.add_exception_handler(Failure, answer(422))
    app.add_exception_handler(NotFound, answer(404))
    app.add_exception_handler(MediaError, answer(404))
    app.add_exception_handler(StoreError, answer(503))


def _shot(desk: Desk, job: JobTakes, take: Any) -> dict[str, Any] | None:
    shots = desk.shots(job, fresh=True)
    return next((s.as_dict() for s in shots if (s.show, s.shot_id) == (take.show, take.shot_id)), None)


@cache
def _assets() -> dict[str, tuple[bytes, str]]:
    """The page's own files, by name: nothing else is ever read from that folder."""
    files = [path for path in sorted(STATIC.iterdir()) if path.suffix in TYPES]
    return {path.name: (path.read_bytes(), TYPES[path.suffix]) for path in files}
