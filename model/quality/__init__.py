"""Measures of pictures: what a clip shows, told without a learned model and without torch.

`score` ranks takes; `read` and `judge` say what a clip of the small world shows and whether that was asked for;
`model.quality.validate` says how far those are to be believed.
"""

from model.quality.asked import Asked, asked_of, parse
from model.quality.general import General, measure
from model.quality.identity import identity
from model.quality.obedience import CHECKS, judge
from model.quality.paths import Verdict
from model.quality.reading import Reading, read
from model.quality.scoring import score

__all__ = [
    "CHECKS", "Asked", "General", "Reading", "Verdict", "asked_of", "identity", "judge", "measure", "parse", "read",
    "score",
]  # fmt: skip
