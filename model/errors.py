"""What can go wrong while pictures are made; each class says whose fault it is.

All of them pickle, because they travel from a rank to the scheduler.
"""

from __future__ import annotations


class ModelError(Exception):
    """A model folder that is missing, incomplete or of a kind that is not known. The message says what was found."""


class InputError(ValueError):
    """A take's own input cannot be used: its image, its size, its number of frames. Trying again does not help."""


class NonFinite(ArithmeticError):
    """NaN or infinity came out of the model.

    Attributes:
        step: the sampling step, counted from 0; None when it was found after sampling.
        what: the values that were looked at, such as "latents" or "frames".
    """

    def __init__(self, step: int | None, what: str) -> None:
        super().__init__(step, what)
        self.step, self.what = step, what

    def __str__(self) -> str:
        where = "after sampling" if self.step is None else f"at step {self.step}"
        return f"{self.what} are not finite {where}"


class PeerFailed(RuntimeError):
    """Another rank of the group failed and this one left with it. The message holds that rank's error."""
