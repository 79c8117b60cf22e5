"""What travels between the parts as plain data: a job, the shape of its gangs, and what a renderer is told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from actors.scheduling.policy import Policy
from infra.quality import QualitySettings
from infra.settings import FarmSettings, MediaSettings
from infra.store.options import StoreOptions

NAMESPACE = "rushes"
PIPELINE_RENDERER = "actors.gangs.renderer:PipelineRenderer"


@dataclass(frozen=True)
class JobSpec:
    """One catalog to be rendered into one store. Pickles; secrets show neither in ``repr`` nor in logs.

    Attributes:
        job_id, store_url, store_options: where plan, commits and all other objects of the job stand.
        model_folder, model_facts: the pipeline folder (path or URL) and what ``model.read_facts`` says of it.
        epoch, owner: the lease that the flow holds; both go into every commit. ``owner["token"]`` tells owners apart.
        round: quarantines of this round count as done, older ones are tried again.
        gang, layout: ranks that render one take together, and how they share it; the renderer chooses by default.
        gangs_max: gangs at once; as many as fit by default.
        roots: folders and URL prefixes that inputs may come from.
        limits, media, quality: the settings groups ``farm``, ``media`` and ``quality``, as mappings.
        precision: computing precision by part of the model; the facts' own by default.
        budget_gpu_s: cap on the GPU seconds of the whole job.
        renderer: ``module:Class`` of the renderer that every rank makes (see ``actors.gangs.rendering.Renderer``), with
            renderer_options handed to it.
    """

    job_id: str
    store_url: str
    model_folder: str
    model_facts: Mapping[str, Any]
    epoch: int
    owner: Mapping[str, Any]
    round: int = 1
    gang: int = 1
    layout: str | None = None
    gangs_max: int | None = None
    roots: tuple[str, ...] = ()
    limits: Mapping[str, Any] = field(default_factory=dict)
    media: Mapping[str, Any] = field(default_factory=dict)
    quality: Mapping[str, Any] = field(default_factory=dict)
    precision: Mapping[str, str] | None = None
    store_options: StoreOptions | None = None
    budget_gpu_s: float | None = None
    renderer: str = PIPELINE_RENDERER
    renderer_options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def farm(self) -> FarmSettings:
        """The limits, checked. Raises pydantic's ValidationError."""
        return FarmSettings.model_validate(dict(self.limits))

    @cached_property
    def film(self) -> MediaSettings:
        """How films and posters are encoded."""
        return MediaSettings.model_validate(dict(self.media))

    @cached_property
    def judging(self) -> QualitySettings:
        """What becomes a fault of a take, and how takes are ranked."""
        return QualitySettings.model_validate(dict(self.quality))

    def policy(self) -> Policy:
        """The scheduler's bounds; raises ValueError where they contradict each other."""
        farm = self.farm
        return Policy(
            tries=farm.take_attempts,
            take_deaths=farm.take_deaths,
            slot_deaths=farm.slot_deaths,
            farm_faults=farm.breaker_faults,
            budget_gpu_s=self.budget_gpu_s,
            straggler_factor=farm.straggler_factor,
            straggler_s=farm.straggler_s,
            keep_ahead=self.judging.ahead,
        )


@dataclass(frozen=True, slots=True)
class GangShape:
    """What makes two gangs interchangeable. A warm gang serves any job that asks for its shape."""

    size: int
    resources: tuple[tuple[str, float], ...]
    threads: int
    renderer: str
    setup: str

    @property
    def bundle(self) -> dict[str, float]:
        """What one rank reserves."""
        return dict(self.resources)

    @property
    def on_gpu(self) -> bool:
        return self.bundle.get("GPU", 0) > 0


@dataclass(frozen=True, slots=True)
class RenderSetup:
    """What a renderer is made with, the same on every rank but for ``rank``. Holds no torch objects."""

    rank: int
    size: int
    device: str
    threads: int
    model_folder: str
    layout: str | None
    precision: Mapping[str, str]
    collective_timeout_s: float
    options: Mapping[str, Any]


def setup_of(spec: JobSpec) -> str:
    """The part of a job that a renderer is made from, as canonical JSON: equal text, interchangeable gangs."""
    facts = spec.model_facts
    return json.dumps(
        {
            "model_folder": spec.model_folder,
            "digest": facts.get("digest"),
            "precision": dict(spec.precision or facts.get("precision") or {}),
            "layout": spec.layout,
            "collective_timeout_s": spec.farm.collective_timeout_s,
            "options": dict(spec.renderer_options),
        },
        sort_keys=True,
    )


def render_setup(shape: GangShape, rank: int) -> RenderSetup:
    """What rank number ``rank`` of a gang of this shape is made with."""
    parts = json.loads(shape.setup)
    return RenderSetup(
        rank=rank,
        size=shape.size,
        device="cuda" if shape.on_gpu else "cpu",
        threads=shape.threads,
        model_folder=parts["model_folder"],
        layout=parts["layout"],
        precision=parts["precision"],
        collective_timeout_s=parts["collective_timeout_s"],
        options=parts["options"],
    )


@dataclass(frozen=True, slots=True)
class InputRules:
    """Where inputs may come from. Travels with each take, because jobs with other rules share a warm gang.

    store_url: where films that other shots depend on stand.
    """

    roots: tuple[str, ...] = ()
    max_bytes: int = 512 * 2**20
    timeout_s: float = 30.0
    options: StoreOptions | None = None
    store_url: str | None = None

    @classmethod
    def of(cls, spec: JobSpec) -> InputRules:
        """The rules of a job; inputs on S3 are read with the store's own credentials."""
        return cls(spec.roots, spec.farm.input_bytes, spec.farm.input_timeout_s, spec.store_options, spec.store_url)
