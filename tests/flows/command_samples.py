"""What tests of the command start from: a model of JSON files, catalogs, and a store that looks like a finished job."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flows.command import main
from flows.planned import Planned
from flows.verbs.plan import make_plan
from infra.settings import Settings
from infra.store import Store
from infra.store.commits import publish
from infra.store.jobs import put_plan, record_quarantine

JSON_KEYS = ["format", "job_id", "store", "state", "exit", "board", "takes", "rows", "gpu_s"]
TAKES_KEYS = ["total", "committed", "rendered", "cached", "quarantined", "pending"]
GPU_KEYS = ["rendered", "failed", "duplicate", "cached"]


@dataclass(frozen=True)
class Ran:
    """How a command ended in this process."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(capsys: Any, *words: object) -> Ran:
    """Runs a command line in this process: as the installed command does, without the second that a start takes."""
    capsys.readouterr()
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return Ran(int(code), out, err)


def json_model(folder: Path) -> Path:
    """A pipeline folder as a planner sees it: its JSON files, and weights that nobody reads."""
    parts = {
        "tokenizer": ["transformers", "T5TokenizerFast"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "vae": ["diffusers", "AutoencoderKLWan"],
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "transformer": ["diffusers", "WanTransformer3DModel"],
    }
    for name in parts:
        (folder / name).mkdir(parents=True, exist_ok=True)
    transformer = {
        "_class_name": "WanTransformer3DModel",
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "num_layers": 2,
        "ffn_dim": 64,
        "in_channels": 16,
        "patch_size": [1, 2, 2],
        "rope_max_seq_len": 1024,
    }
    defaults = {"width": 64, "height": 48, "frames": 17, "fps": 8, "steps": 4, "guidance_scale": 3.0, "min_size": 32}
    defaults |= {"max_size": 512, "max_frames": 81, "max_tokens": 20_000}
    files: dict[str, Mapping[str, Any]] = {
        "model_index.json": {"_class_name": "WanPipeline", "expand_timesteps": True, **parts},
        "transformer/config.json": transformer,
        "vae/config.json": {"z_dim": 16, "scale_factor_spatial": 8, "scale_factor_temporal": 4},
        "scheduler/scheduler_config.json": {"_class_name": "UniPCMultistepScheduler", "flow_shift": 3.0},
        "rushes.json": defaults,
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(b"weights")
    return folder


def write_catalog(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """A Parquet catalog of these rows."""
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
    return path


def shots(count: int, **columns: Any) -> list[dict[str, Any]]:
    """Good rows."""
    return [{"shot_id": f"s{i}", "prompt": f"shot number {i}", **columns} for i in range(count)]


def plan_into(out: Path, catalog: Path, model: Path, **options: Any) -> Planned:
    """A plan that stands in the store, as `render` leaves it when it starts."""
    planned = make_plan(str(catalog), str(out), Settings(), model=str(model), **options)
    planned.store.probe()
    put_plan(planned.store, planned.job_id, planned.plan.takes)
    return planned


def commit(
    planned: Planned, row: Mapping[str, Any], folder: Path, *, gpu_s: float = 2.0, film: bytes | None = None,
    **more: Any,
) -> str:  # fmt: skip
    """Commits a take with bytes in place of a film; returns the media's path. more: what else the commit holds."""
    local = folder / f"{row['shot_id']}-{row['take']}.bin"
    local.write_bytes(film or f"film of {row['spec_key']}".encode())
    media = {name: row[name] for name in ("width", "height", "frames", "fps")}
    names = ("spec_key", "picture_key", "show", "shot_id", "revision", "take", "seed")
    record = {name: row[name] for name in names} | {"media": media, "gang": 1, "layout": "", "attempt": 1}
    published = publish(planned.store, local=local, record=record | {"gpu_s": gpu_s, "epoch": 1} | more)
    return str(published.commit["media"]["path"])


def quarantine(store: Store, job_id: str, row: Mapping[str, Any], *, round: int = 1, **more: Any) -> None:
    """Gives a take up in a round."""
    record = {name: row[name] for name in ("show", "shot_id", "take", "spec_key")}
    fault = {
        "error_class": "input",
        "message": "no such file: cat.png",
        "gpu_s": 0.5,
        "attempt": 3,
        "replay": "rushes …",
    }
    record_quarantine(store, job_id, record | {"round": round} | fault | more)
