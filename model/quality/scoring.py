"""One score for a clip of any kind, to rank takes by: how well it obeys, as far as can be told, and how sound it is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.quality.asked import parse
from model.quality.general import measure, soundness
from model.quality.obedience import judge
from model.quality.reading import read, reduced

_DEGREE = 0.2  # of a measure's weight: passing counts, and how clearly decides among clips that all pass
_PART_ONLY = "edit"  # a task whose prompt tells of a part of the picture


def score(frames: NDArray[np.generic], prompt: str, *, task: str = "t2v", fps: float = 8.0) -> dict[str, Any]:
    """How good a take is, for ranking it among takes of the same shot.

    Args:
        frames: (frames, height, width, 3), uint8 or uint16; any number of frames and any size.
        prompt: as it was rendered. Only a prompt in the grammar of the model's small world is held against the clip.
        task: of the row. An edit's prompt tells of a part of the picture, and is not held against the whole.
        fps: of the film.

    Returns:
        `score`: 0..1. `measures`: each measure by name. Those of obedience are 0 or 1 (`obedience`, their mean, is not
        there where nothing could be held against the clip); the general ones are as `model.quality.general` has them,
        and `soundness` is 0..1. Never raises for a clip that is odd; ValueError for what is no clip.
    """
    clip = reduced(frames)
    found = measure(clip, fps)
    asked = None if task == _PART_ONLY else parse(prompt)
    sound = soundness(found, eventful=asked is not None and (bool(asked.changes) or asked.camera != "still"))
    measures: dict[str, float] = {name: round(float(value), 4) for name, value in vars(found).items()}
    measures["soundness"] = round(sound, 4)
    if asked is None or min(clip.shape[1:3]) < 16:
        return {"score": round(sound, 4), "measures": measures}
    verdicts = judge(read(clip), asked)
    if not verdicts:
        return {"score": round(sound, 4), "measures": measures}
    for name, verdict in verdicts.items():
        measures[name] = float(verdict.passed)
    obedience = float(np.mean([one.passed for one in verdicts.values()]))
    degree = float(np.mean([one.degree for one in verdicts.values()]))
    measures["obedience"] = round(obedience, 4)
    return {"score": round(sound * ((1 - _DEGREE) * obedience + _DEGREE * degree), 4), "measures": measures}
