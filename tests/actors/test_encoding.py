"""Chunks of a long film as tasks on a Ray cluster, joined to the same frames as an encode in one go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from actors.client import Connection
from actors.finish.encoding import encode_on_ray
from infra.deliver.make import make
from infra.media.errors import EncodeError
from tests.post.deliveries import AAC, grey_film, job_of, lumas, made_of, profile, tone


def test_chunks_from_a_cluster_join_to_the_same_film(farm: Connection, tmp_path: Path) -> None:
    film = grey_film(tmp_path / "take.mp4", frames=45, fps=23.976)
    whole = made_of(job_of(film, profile(), name="whole"), tmp_path)
    sound = tone(tmp_path / "a.wav")
    job = job_of(film, profile(audio=AAC), name="parts", workers=2, chunk_s=1.0, audio=sound)
    (tmp_path / "ray").mkdir()
    joined = make(job, tmp_path / "ray", chunks=encode_on_ray)
    assert joined.told["chunks"] == 2
    for field in ("frames", "fps", "constant_rate", "keys", "seconds"):
        assert joined.told["probe"][field] == whole.told["probe"][field]
    assert lumas(joined.files[0]) == pytest.approx(lumas(whole.files[0]), abs=1)


def test_a_chunk_that_cannot_be_encoded_is_told_as_ffmpeg_says_it(farm: Connection, tmp_path: Path) -> None:
    film = grey_film(tmp_path / "take.mp4")
    job = job_of(film, profile(), workers=2, chunk_s=1.0)
    video = job.profile.video
    assert video is not None
    wrong = job.profile.model_copy(
        update={"video": video.model_copy(update={"options": {"profile:v": "nonsense"}})}
    )  # fmt: skip
    with pytest.raises(EncodeError, match="nonsense"):
        encode_on_ray(replace(job, profile=wrong), [(0, 12), (12, 24)], tmp_path)
