"""The settings group `quality`: what becomes a fault of a take, and what follows from it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Fault = Literal[
    "nan", "black", "blank", "frozen", "duplicates", "cadence", "flicker", "drift", "jump", "seam", "flashes",
    "levels", "banding", "obedience",
]  # fmt: skip
"""What may be wrong with a take, as `model.quality.verdicts` measures it."""


class QualitySettings(BaseModel):
    """What becomes a fault of a take, what follows from it, and how takes are ranked; see actors/README.md."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    retry: list[Fault] = Field(
        default=["black", "blank", "frozen", "duplicates", "cadence", "flicker", "seam", "flashes", "obedience"],
        description="faults that make a take's verdict retry: another seed may not have them",
    )
    escalate: list[Fault] = Field(
        default=["drift", "jump", "levels", "banding"],
        description="faults that make it escalate: people have to look",
    )
    scorer: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="module:function that ranks the takes of a shot; else by obedience, then by general quality",
    )
    ahead: int = Field(
        default=0, ge=0, description="takes of a shot with keep that may be at work beyond those it still needs"
    )
    nan_most: float = Field(default=0.0, ge=0, description="attempts that ended in NaN before this one")
    black_most: float = Field(default=0.25, ge=0, le=1, description="share of frames that are black")
    blank_most: float = Field(default=0.25, ge=0, le=1, description="share of frames of one colour")
    frozen_most: float = Field(default=0.9, ge=0, le=1, description="share of steps in which nothing moves")
    duplicates_most: float = Field(default=0.1, ge=0, le=1, description="share of steps that repeat a frame")
    cadence_most: float = Field(default=1.5, ge=1, description="frames for which a picture is held")
    flicker_most: float = Field(default=2.0, ge=0, description="Delta E by which the frame's colour jumps and returns")
    drift_most: float = Field(default=12.0, ge=0, description="Delta E from the first second to the last")
    jump_most: float = Field(default=8.0, ge=0, description="largest step over the 90th percentile of steps")
    seam_most: float = Field(default=2.0, ge=0, description="step where pieces meet over the usual step")
    flashes_most: float = Field(default=3.0, ge=0, description="flashes in any second, after ITU-R BT.1702")
    levels_most: float = Field(default=0.01, ge=0, le=1, description="share of pixels outside EBU R 103")
    banding_most: float = Field(default=5.0, ge=0, le=24, description="CAMBI, where it can be measured")
    obedience_least: float = Field(default=0.75, ge=0, le=1, description="share of what was asked that is there")

    def limits(self) -> dict[str, float]:
        """The limit of each measure."""
        bounds = {
            name.rpartition("_")[0]: name for name in type(self).model_fields if name.endswith(("_most", "_least"))
        }
        return {measure: float(getattr(self, name)) for measure, name in bounds.items()}
