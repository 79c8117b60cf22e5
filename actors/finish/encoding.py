"""Chunks of one long film, encoded on a Ray cluster: each is a task on whichever node has cores to spare.

    with connect(address):
        deliver(…, chunks=encode_on_ray)

The source goes to the nodes once, through Ray's object store; chunks come back encoded, so frames never travel.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray

from infra.deliver.encode import Chunks, encode_chunk
from infra.deliver.errors import DeliverError
from infra.deliver.work import Job
from infra.names import check_import_names

TRIES = 2
"""How often a chunk is given to another worker when its own has died."""
_remote: Any = ray.remote


def encode_on_ray(job: Job, parts: Chunks, folder: Path) -> list[Path]:
    """The chunks of a film in `folder`, in order. The process has joined a cluster before.

    Raises:
        EncodeError: as ffmpeg said on the node. DeliverError: a worker died again and again.
    """
    source = ray.put(job.source.path.read_bytes())
    task = _remote(num_cpus=1, max_retries=TRIES)(_encode)
    left = {task.remote(job, source, part): place for place, part in enumerate(parts)}
    made: dict[int, Path] = {}
    try:
        while left:
            ready, _ = ray.wait(list(left), num_returns=1)
            place = left.pop(ready[0])
            path = folder / f"chunk-{place:08d}.{job.profile.container}"
            path.write_bytes(ray.get(ready[0]))
            made[place] = path
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, Exception) else DeliverError(str(error)) from error
    except ray.exceptions.RayError as error:
        raise DeliverError(f"a worker was lost while it encoded: {error}") from error
    finally:
        for task_left in left:  # one has failed: nobody waits for the others
            ray.cancel(task_left, force=True)
    return [made[place] for place in range(len(parts))]


def _encode(job: Job, source: bytes, part: tuple[int, int]) -> bytes:
    """One chunk, on a node: the source is put on its disk for as long as the chunk takes."""
    check_import_names()
    folder = Path(tempfile.mkdtemp(prefix="rushes-encode-"))
    try:
        film = folder / f"source{job.source.path.suffix}"
        film.write_bytes(source)
        own = replace(job, source=replace(job.source, path=film, audio=None))
        return encode_chunk(own, part, folder).read_bytes()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
