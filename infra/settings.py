"""Typed settings: one file (`rushes.toml`) < environment (`RUSHES_STORE__ENDPOINT_URL`, …) < flags.

Unknown keys are errors, wherever they stand. `infra/README.md` holds the table that `settings_table` prints.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from infra.provenance_settings import ProvenanceSettings
from infra.quality import QualitySettings
from infra.settings_places import SettingsError, check_groups, given, layout_size, merge
from infra.store.options import StoreOptions

__all__ = ["FILE", "PREFIX", "Settings", "SettingsError", "described", "settings_table"]

PREFIX = "RUSHES_"
FILE = "rushes.toml"


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class MediaSettings(_Group):
    """Films and posters."""

    crf: int = Field(default=10, ge=0, le=10, description="x264 quality of a take; lower is better and larger")
    preset: str = Field(default="medium", description="x264 preset")
    ffmpeg: Path | None = Field(default=None, description="ffmpeg program; else the one that comes with imageio-ffmpeg")
    timeout_s: float = Field(default=600.0, gt=0, description="seconds after which one ffmpeg run is ended")
    poster_px: int = Field(default=256, ge=16, le=1024, description="longest side of a poster in pixels")
    refuse: list[Literal["black", "flat", "frozen"]] = Field(
        default=["black", "flat", "frozen"],
        description="looks that a whole film must not have, unless its prompt or its inputs may have asked for them",
    )
    upscale: str = Field(
        default="lanczos",
        pattern=r"^lanczos$|^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="what brings films of rows with `upscale` to their size: lanczos, or module:function; "
        "see catalogs/DRAFTS.md",
    )
    black_level: float = Field(
        default=16.0, ge=0, le=255, description="grey level (0 to 255) that nothing in a black film exceeds"
    )
    flat_range: float = Field(
        default=2.0, ge=0, le=255, description="grey levels by which values in a frame of a flat film differ at most"
    )
    frozen_range: float = Field(
        default=1.0, ge=0, le=255, description="grey levels by which a frozen film ever differs from its first frame"
    )


class FarmSettings(_Group):
    """Gangs, retries, queues and time limits."""

    gang: int | None = Field(default=None, ge=1, description="ranks per gang; else chosen per take")
    layout: str | None = Field(
        default=None, description="parallel layout, such as cfg=2,ulysses=2; else chosen per take"
    )
    gangs_max: int | None = Field(default=None, ge=1, description="gangs at once; else as many as fit")
    cpus_per_rank: float = Field(default=0.5, gt=0, description="CPU cores that a rank reserves where there is no GPU")
    gpus_per_rank: float | None = Field(
        default=None, ge=0, description="GPUs that a rank reserves; else 1 where there are any"
    )
    shard_takes: int | None = Field(
        default=None, ge=1, le=512, description="takes per shard; else by the size of the job"
    )
    allow: list[str] = Field(default_factory=list, description="folders and URL prefixes that inputs may come from")
    input_bytes: int = Field(default=512 * 2**20, ge=1, description="largest input in bytes")
    input_timeout_s: float = Field(
        default=30.0, gt=0, description="seconds without an answer before an input is given up"
    )
    take_deaths: int = Field(default=3, ge=1, description="deaths after which a take is quarantined")
    slot_deaths: int = Field(default=4, ge=1, description="deaths in a row after which a gang's slot is retired")
    take_attempts: int = Field(default=3, ge=1, description="attempts of a take that fails by its own fault")
    breaker_faults: int = Field(
        default=20, ge=1, description="faults of the farm in a row, without a commit, that stop the job"
    )
    finishing_takes: int = Field(default=2, ge=1, description="takes per gang that wait for encoding and upload")
    finishing_bytes: int = Field(default=2 * 2**30, ge=1, description="bytes of frames per gang that wait with them")
    step_timeout_s: float = Field(
        default=300.0, gt=0, description="seconds without a step before a gang counts as lost"
    )
    load_timeout_s: float = Field(default=600.0, gt=0, description="seconds that a gang may take to load a model")
    collective_timeout_s: float = Field(default=30.0, gt=0, description="time limit of one collective operation")
    heartbeat_s: float = Field(default=3.0, gt=0, description="seconds between heartbeats of a job's owner to the pool")
    heartbeat_lapse_s: float = Field(
        default=15.0, gt=0, description="seconds without one after which a job's gangs end"
    )
    lease_renew_s: float = Field(
        default=8.0, gt=0, description="seconds between renewals of a job's lease in the store"
    )
    lease_lapse_s: float = Field(
        default=30.0, gt=0, description="seconds without one after which a job may be taken over"
    )
    cancel_poll_s: float = Field(default=5.0, gt=0, description="seconds between looks at the run's own state")
    stop_s: float = Field(
        default=15.0, gt=0, description="seconds within which gangs and finishers are gone after a stop"
    )
    grace_s: float = Field(
        default=6.0, ge=0, description="seconds of these that takes at work have to be rendered, where they can"
    )
    drain_s: float = Field(
        default=60.0, ge=0, description="seconds that takes at work have to be rendered when a job is paused"
    )
    straggler_factor: float = Field(
        default=3.0, gt=1, description="times its estimate after which a take gets a copy on an idle gang"
    )
    straggler_s: float = Field(default=30.0, gt=0, description="seconds that it has to run before, at least")
    moderation: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="module:function that is asked about every prompt and every film before it is kept; "
        "see actors/README.md",
    )
    scratch: Path | None = Field(
        default=None, description="folder of a node for films on their way; else the system's for temporary files"
    )
    scratch_bytes: int | None = Field(
        default=None,
        ge=1,
        description="bytes that all jobs on a node may hold there together; else what the disk holds",
    )

    @field_validator("layout")
    @classmethod
    def _known_layout(cls, layout: str | None) -> str | None:
        if layout is not None:
            layout_size(layout)
        return layout

    @model_validator(mode="after")
    def _fits_together(self) -> FarmSettings:
        if self.slot_deaths <= self.take_deaths:
            raise ValueError("slot_deaths must be above take_deaths, or one bad take retires a good slot")
        if self.layout is not None and self.gang is not None and self.gang != layout_size(self.layout):
            raise ValueError(f"layout {self.layout} is a gang of {layout_size(self.layout)}, and gang is {self.gang}")
        return self


class DraftSettings(_Group):
    """Drafts: takes to choose from, small and in few steps."""

    scale: float = Field(default=0.5, gt=0, le=1, description="width and height of a draft, as a share of the final's")
    steps: int = Field(default=8, ge=1, le=1000, description="denoising steps of a draft, at most")


class DeliverSettings(_Group):
    """Deliverables."""

    profiles: Path | None = Field(
        default=None, description="file with more delivery profiles; see infra/deliver/README.md"
    )
    template: str | None = Field(default=None, min_length=1, description="names of deliverables; else by show and shot")
    font: Path | None = Field(
        default=None, description="font file for captions, slates and burn-ins; else Noto Sans: Latin, Greek, Cyrillic"
    )
    workers: int | None = Field(
        default=None, ge=1, le=1024, description="processes that encode chunks of a long film at once; else one a core"
    )
    chunk_s: float = Field(default=60.0, gt=0, description="seconds of film in a chunk")


class PrefectSettings(_Group):
    """The view and the control."""

    api_url: str | None = Field(
        default=None, description="Prefect API; else PREFECT_API_URL, a running dashboard, or an embedded server"
    )
    ui_url: str | None = Field(default=None, description="address at which people reach the Prefect pages, for links")
    progress_s: float = Field(default=5.0, gt=0, description="seconds between updates of a run's artifacts")
    host: str = Field(default="127.0.0.1", description="address that `rushes dashboard` listens on")
    port: int = Field(default=4200, ge=1, le=65535, description="port that `rushes dashboard` listens on")


class RaySettings(_Group):
    """The muscle."""

    address: str | None = Field(
        default=None, description="cluster to join (auto, or host:port); else one on this machine"
    )
    auth: Literal["token", "disabled"] = Field(default="token", description="Ray's own authentication")
    num_cpus: float | None = Field(default=None, gt=0, description="cores of a cluster started here; else all")
    num_gpus: float | None = Field(default=None, ge=0, description="GPUs of a cluster started here; else all")
    object_store_bytes: int | None = Field(
        default=None, ge=75 * 2**20, description="object store of a cluster started here"
    )


class PriceSettings(_Group):
    """What a GPU second costs, for estimates."""

    gpu_hour: float | None = Field(
        default=None, ge=0, description="price of one GPU for one hour; else no money is estimated"
    )
    currency: str = Field(default="USD", description="name of the currency")


class Settings(BaseSettings):
    """All settings. `Settings()` holds the defaults alone; `Settings.load` reads file, environment and flags."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    store: StoreOptions = Field(default_factory=StoreOptions, description="how the store is reached")
    media: MediaSettings = Field(default_factory=MediaSettings, description="films and posters")
    quality: QualitySettings = Field(default_factory=QualitySettings, description="verdicts on takes")
    farm: FarmSettings = Field(default_factory=FarmSettings, description="gangs, retries, queues and time limits")
    draft: DraftSettings = Field(default_factory=DraftSettings, description="takes to choose from")
    deliver: DeliverSettings = Field(default_factory=DeliverSettings, description="deliverables")
    prefect: PrefectSettings = Field(default_factory=PrefectSettings, description="the view and the control")
    ray: RaySettings = Field(default_factory=RaySettings, description="the cluster")
    price: PriceSettings = Field(default_factory=PriceSettings, description="money")
    provenance: ProvenanceSettings = Field(
        default_factory=ProvenanceSettings, description="manifests, sidecars, watermarks"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)  # `load` merges the places itself, so that errors can name them

    @classmethod
    def load(cls, path: str | Path | None = None, **flags: Any) -> Settings:
        """Settings from `path` (else ./rushes.toml where it exists), the environment, and flags by group.

        `Settings.load(store={"endpoint_url": url}, farm={"gang": None})`: a flag that is None was not given.
        Raises SettingsError for a missing or unreadable file, an unknown key or a value that is not legal.
        """
        layers = {
            str(path or FILE): _read_file(path),
            "the environment": cls._read_environment(),
            "flags": given(flags),
        }
        merged: dict[str, Any] = {}
        for place, values in layers.items():
            check_groups(values, cls.model_fields, place)
            merged = merge(merged, values)
        try:
            return cls(**merged)
        except ValidationError as error:
            raise SettingsError(_explain(error, layers)) from None  # the cause could show values

    @classmethod
    def _read_environment(cls) -> dict[str, Any]:
        known = tuple(f"{PREFIX}{group.upper()}__" for group in cls.model_fields)
        unknown = sorted(
            name for name in os.environ if name.upper().startswith(PREFIX) and not name.upper().startswith(known)
        )
        if unknown:
            raise SettingsError(f"no such setting: {', '.join(unknown)} (from the environment); see infra/README.md")
        try:
            return EnvSettingsSource(cls)()
        except Exception as error:  # pydantic-settings wraps a JSON error, whose text holds the value
            names = ", ".join(_not_json()) or type(error).__name__
            raise SettingsError(f'{names}: a list in the environment is JSON, such as ["a"]') from None


def _read_file(path: str | Path | None) -> dict[str, Any]:
    file = Path(path or FILE)
    if path is None and not file.is_file():
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{file}: {error.strerror or 'cannot be read'}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: not TOML: {error}") from None


def _not_json() -> list[str]:
    """Names of lists and tables in the environment whose text is no JSON."""
    found = []
    for name, leaf in described():
        variable = f"{PREFIX}{name.replace('.', '__')}".upper()
        text = next((value for key, value in os.environ.items() if key.upper() == variable), None)
        if text is not None and get_origin(leaf.annotation) in (list, dict):
            try:
                json.loads(text)
            except ValueError:
                found.append(variable)
    return found


def _explain(error: ValidationError, layers: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for fault in error.errors(include_input=False, include_url=False, include_context=False):
        keys = [str(part) for part in fault["loc"]]
        places = [place for place, values in layers.items() if _holds(values, keys)]
        what = "no such setting" if fault["type"] == "extra_forbidden" else fault["msg"]
        lines.append(f"{'.'.join(keys)}: {what}" + (f" (from {places[-1]})" if places else ""))
    return "; ".join(lines)


def _holds(values: Any, keys: list[str]) -> bool:
    for key in keys[:2]:
        if not isinstance(values, Mapping) or key not in values:
            return False
        values = values[key]
    return True


def described() -> Iterator[tuple[str, FieldInfo]]:
    """Each setting as ("group.key", field), in the order of the groups."""
    for group, field in Settings.model_fields.items():
        model = field.annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise TypeError(f"settings group {group} is not a model")
        for key, leaf in model.model_fields.items():
            yield f"{group}.{key}", leaf


def settings_table() -> str:
    """The table of infra/README.md: key, environment, type, default and meaning of every setting."""
    lines = ["| key | environment | type | default | meaning |", "|---|---|---|---|---|"]
    for name, leaf in described():
        group, key = name.split(".")
        variable = f"{PREFIX}{group}__{key}".upper()
        default = _shown(leaf.get_default(call_default_factory=True, validated_data={}))
        lines.append(f"| {name} | `{variable}` | {_type_name(leaf.annotation)} | {default} | {leaf.description} |")
    return "\n".join(lines) + "\n"


def _shown(default: Any) -> str:
    if default is None or default in ([], {}):
        return "–"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _type_name(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(str(value) for value in get_args(annotation))
    if annotation is SecretStr:
        return "secret"
    if isinstance(annotation, type) and not get_args(annotation):
        return {"str": "text", "Path": "path"}.get(annotation.__name__, annotation.__name__)
    parts = [part for part in get_args(annotation) if part is not type(None)]
    if get_origin(annotation) is list:
        return "list (JSON in the environment)"
    if get_origin(annotation) is dict:
        return "table"
    return ", ".join(_type_name(part) for part in parts)
