"""Facts of a model are read without torch, follow its files, and say clearly what is wrong with a folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fsspec
import pytest

from model.cache import FileDigests, localise
from model.errors import ModelError
from model.facts import PICTURE_VERSION, describe_sampler, read_facts, resolve

EVERY_TASK = ["t2v", "still", "i2v", "flf2v", "extend", "extend_back", "connect", "infill", "loop", "v2v", "edit"]
FROM_PICTURES = ["i2v", "flf2v", "extend", "extend_back", "connect", "infill", "edit"]
AUTOENCODER_21 = {"z_dim": 16, "scale_factor_spatial": 8, "scale_factor_temporal": 4}
AUTOENCODER_22 = {"z_dim": 48, "scale_factor_spatial": 16, "scale_factor_temporal": 4, "patch_size": 2}
UNIPC = {
    "_class_name": "UniPCMultistepScheduler",
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "flow_shift": 5.0,
    "solver_order": 2,
}


def write(folder: Path, transformer: dict[str, Any], autoencoder: dict[str, Any], **index: Any) -> Path:
    """A pipeline folder of JSON files alone, as a planner sees it."""
    two = index.get("boundary_ratio") is not None
    content = {
        "_class_name": "WanPipeline",
        "tokenizer": ["transformers", "T5TokenizerFast"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "vae": ["diffusers", "AutoencoderKLWan"],
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "transformer_2": ["diffusers", "WanTransformer3DModel"] if two else [None, None],
        **index,
    }
    (folder / "README.md").parent.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text("a page")
    (folder / "model_index.json").write_text(json.dumps(content))
    for name, value in content.items():
        if isinstance(value, list) and value[1]:
            (folder / name).mkdir(exist_ok=True)
    for name in ("transformer", "transformer_2") if two else ("transformer",):
        (folder / name / "config.json").write_text(json.dumps({"_class_name": "WanTransformer3DModel", **transformer}))
        (folder / name / "diffusion_pytorch_model.safetensors").write_bytes(b"weights of " + name.encode())
    (folder / "tokenizer" / "spiece.model").write_bytes(b"words")
    (folder / "text_encoder" / "model.safetensors").write_bytes(b"text")
    (folder / "vae" / "config.json").write_text(json.dumps(autoencoder))
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(UNIPC))
    return folder


def wan(heads: int, ffn: int, layers: int, channels: int = 16, **more: Any) -> dict[str, Any]:
    sizes = {"num_attention_heads": heads, "attention_head_dim": 128, "ffn_dim": ffn, "num_layers": layers}
    return {**sizes, "in_channels": channels, "patch_size": [1, 2, 2], "rope_max_seq_len": 1024, **more}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write(tmp_path / "small", wan(2, 64, 2), AUTOENCODER_21, expand_timesteps=True)


@pytest.mark.parametrize(
    ("transformer", "autoencoder", "index", "wanted"),
    [
        (
            wan(12, 8960, 30),
            AUTOENCODER_21,
            {},
            {"width": 832, "height": 480, "frames": 81, "fps": 16, "steps": 50, "guidance_scale": 5.0, "grid": 16,
             "tasks": EVERY_TASK, "model_width": 1536, "layers": 30, "ffn_dim": 8960},
        ),
        (
            wan(40, 13824, 40),
            AUTOENCODER_21,
            {"boundary_ratio": 0.875},
            {"width": 1280, "height": 720, "steps": 40, "guidance_scale": 4.0, "guidance_scale_2": 3.0, "layers": 40},
        ),
        (
            wan(40, 13824, 40, 36, image_dim=1280, added_kv_proj_dim=5120),
            AUTOENCODER_21,
            {},
            {"tasks": FROM_PICTURES, "steps": 40, "guidance_scale": 5.0},
        ),
        (
            wan(40, 13824, 40, 36),
            AUTOENCODER_21,
            {"boundary_ratio": 0.9},
            {"tasks": FROM_PICTURES, "guidance_scale": 3.5, "guidance_scale_2": 3.5},
        ),
        (
            wan(40, 13824, 40, 36, image_dim=1280, pos_embed_seq_len=514),
            AUTOENCODER_21,
            {},
            {"tasks": FROM_PICTURES, "steps": 50},
        ),
        (
            wan(24, 14336, 30, 48),
            AUTOENCODER_22,
            {"expand_timesteps": True},
            {"width": 1280, "height": 704, "frames": 121, "fps": 24, "grid": 32, "spatial_stride": 16,
             "tasks": EVERY_TASK},
        ),
    ],
    ids=["2.1 T2V-1.3B", "2.2 T2V-A14B", "2.1 I2V-14B", "2.2 I2V-A14B", "2.1 FLF2V-14B", "2.2 TI2V-5B"],
)  # fmt: skip
def test_official_checkpoints(
    tmp_path: Path, cache: Path, transformer: dict[str, Any], autoencoder: dict[str, Any],
    index: dict[str, Any], wanted: dict[str, Any],
) -> None:  # fmt: skip
    facts = read_facts(write(tmp_path / "wan", transformer, autoencoder, **index), cache=cache)
    assert {key: facts[key] for key in wanted} == wanted
    assert facts["precision"] == {"transformer": "bfloat16", "autoencoder": "float32", "text_encoder": "bfloat16"}
    assert facts["sampler"] == "UniPCMultistep shift=5 solver_order=2"
    assert facts["picture_version"] == PICTURE_VERSION
    assert facts["negative_prompt"] == ""
    for key in ("min_size", "max_size"):
        assert facts[key] % facts["grid"] == 0
    assert facts["max_frames"] % facts["frame_stride"] == 1


def test_own_defaults_come_first(small: Path, cache: Path) -> None:
    own = {"name": "tiny", "width": 64, "height": 96, "frames": 17, "fps": 8, "steps": 20, "guidance_scale": 3.0,
           "precision": {"autoencoder": "float32"}, "notes": "for tests"}  # fmt: skip
    (small / "rushes.json").write_text(json.dumps(own))
    facts = read_facts(small, cache=cache)
    assert (facts["name"], facts["width"], facts["height"], facts["frames"], facts["fps"]) == ("tiny", 64, 96, 17, 8)
    assert facts["precision"] == {"transformer": "float32", "autoencoder": "float32", "text_encoder": "float32"}
    assert "notes" not in facts
    assert json.loads(json.dumps(facts)) == facts, "facts travel as JSON"


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ({"widht": 64}, "unknown key 'widht'"),
        ({"width": "64"}, "width is '64', not a int"),
        ({"steps": True}, "steps is True"),
        ({"width": 65}, "multiple of 16"),
        ({"frames": 16}, "multiple of 4 plus one"),
        ({"fps": 0}, "fps is 0"),
        ({"frames": -3}, "frames is -3"),
        ({"fps": float("inf")}, "fps is inf"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan"),
        ({"precision": {"vae": "float32"}}, "'vae'"),
        ({"precision": {"transformer": "int8"}}, "'int8'"),
    ],
)
def test_own_defaults_are_checked(small: Path, cache: Path, own: dict[str, Any], says: str) -> None:
    (small / "rushes.json").write_text(json.dumps(own))
    with pytest.raises(ModelError, match=says):
        read_facts(small, cache=cache)


def test_no_torch_is_imported(small: Path, cache: Path) -> None:
    code = (
        "import sys, model; from model.facts import read_facts; from pathlib import Path\n"
        f"read_facts({str(small)!r}, cache=Path({str(cache)!r})); model.read_facts\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'numpy', 'PIL', 'fsspec', 'ray'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_digest_follows_every_byte_that_changes_pictures(small: Path, cache: Path) -> None:
    before = read_facts(small, cache=cache)["digest"]
    assert read_facts(small, cache=cache)["digest"] == before
    for path in ("README.md", "rushes.json", "transformer/.lock", "vae/notes.md"):
        (small / path).write_text("{}")
    assert read_facts(small, cache=cache)["digest"] == before, "pages and defaults do not change pictures"
    seen = {before}
    weights = small / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"R")
    seen.add(read_facts(small, cache=cache)["digest"])
    (small / "scheduler" / "scheduler_config.json").write_text(json.dumps({**UNIPC, "flow_shift": 6.0}))
    seen.add(read_facts(small, cache=cache)["digest"])
    (small / "tokenizer" / "tokenizer.json").write_text("{}")
    seen.add(read_facts(small, cache=cache)["digest"])
    os.replace(small / "tokenizer" / "tokenizer.json", small / "tokenizer" / "vocab.json")
    seen.add(read_facts(small, cache=cache)["digest"])
    assert len(seen) == 5
    copy = small.with_name("elsewhere")
    shutil.copytree(small, copy)
    assert read_facts(copy, cache=cache)["digest"] in seen, "the place does not matter"


def test_digests_are_remembered_and_a_damaged_memory_is_not_trusted(
    small: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = time.time_ns() - 10**10
    weights = small / "transformer" / "diffusion_pytorch_model.safetensors"
    os.utime(weights, ns=(old, old))
    before = read_facts(small, cache=cache)["digest"]
    memory = cache / "digests.json"
    known = json.loads(memory.read_text())
    assert known[str(weights)][0] == weights.stat().st_size
    # What the memory says is taken, so long as size and time agree ..
    known[str(weights)][2] = "0" * 64
    memory.write_text(json.dumps(known))
    assert read_facts(small, cache=cache)["digest"] != before
    os.utime(weights, ns=(old + 1, old + 1))
    assert read_facts(small, cache=cache)["digest"] == before, ".. and not when they do not"
    memory.write_text("{damaged")
    assert read_facts(small, cache=cache)["digest"] == before
    assert "not readable" in caplog.text
    memory.write_text(json.dumps({str(weights): 5, "x": [1, 2, 3]}))
    assert read_facts(small, cache=cache)["digest"] == before


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("x")
    os.utime(tmp_path / "file", (1, 1))
    digests = FileDigests(tmp_path / "file" / "digests.json")
    assert len(digests.sha256(tmp_path / "file")) == 64
    digests.save()
    assert "cannot be written" in caplog.text


def test_a_url_is_fetched_once_without_pickles(small: Path, cache: Path) -> None:
    fs = fsspec.filesystem("memory")
    root = f"/{small.parent.name}/model"
    fs.put(str(small), root, recursive=True)
    fs.pipe(f"{root}/transformer/pytorch_model.bin", b"pickle")
    url = f"memory:/{root}"
    facts = read_facts(url, cache=cache)
    assert facts["folder"] == url
    assert facts["digest"] == read_facts(small, cache=cache)["digest"]
    local = localise(url, cache=cache)
    assert not list(local.rglob("*.bin"))
    assert not list(local.rglob("*.md"))
    assert localise(url + "/", cache=cache) == local
    fs.pipe(f"{root}/transformer/diffusion_pytorch_model.safetensors", b"other weights!")
    assert localise(url, cache=cache) != local, "a changed file is a new state"
    assert sorted(path.name for path in (cache / "models").iterdir()) == sorted(
        {local.name, localise(url, cache=cache).name}
    )
    with pytest.raises(ModelError, match="not a pipeline folder"):
        read_facts("memory://nowhere/at/all", cache=cache)
    with pytest.raises(ModelError, match="cannot be listed"):
        read_facts("nosuchscheme://x/y", cache=cache)


def test_registry_names(small: Path, cache: Path) -> None:
    registry = {"tiny": str(small), "default": str(small)}
    assert read_facts("tiny", registry=registry, cache=cache)["name"] == "tiny"
    assert read_facts(registry=registry, cache=cache)["folder"] == str(small)
    with pytest.raises(ModelError, match="Known: default, tiny"):
        resolve("huge", registry)
    assert resolve(f"file://{small}") == str(small)


def spoil_index(folder: Path, **change: Any) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, **change}))


def test_folders_that_do_not_hold_a_pipeline(small: Path, cache: Path) -> None:
    with pytest.raises(ModelError, match="no model folder"):
        read_facts(small / "missing", cache=cache)
    with pytest.raises(ModelError, match=r"Found: config\.json"):
        read_facts(small / "transformer", cache=cache)
    spoil_index(small, transformer=["diffusers", "WanVACETransformer3DModel"])
    with pytest.raises(ModelError, match="WanVACETransformer3DModel"):
        read_facts(small, cache=cache)
    spoil_index(small, transformer=["diffusers", "WanTransformer3DModel"], vae=[None, None])
    with pytest.raises(ModelError, match="names no vae"):
        read_facts(small, cache=cache)
    spoil_index(small, vae=["diffusers", "AutoencoderKLWan"], boundary_ratio=0.9)
    with pytest.raises(ModelError, match="no transformer_2"):
        read_facts(small, cache=cache)
    spoil_index(small, boundary_ratio=None)
    (small / "vae" / "config.json").write_text("[]")
    with pytest.raises(ModelError, match="holds a list"):
        read_facts(small, cache=cache)
    (small / "model_index.json").write_text("{")
    with pytest.raises(ModelError, match="is not JSON"):
        read_facts(small, cache=cache)
    shutil.rmtree(small / "scheduler")


def test_sampler_in_words() -> None:
    assert describe_sampler({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3}) == "FlowMatchEuler shift=3"
    assert describe_sampler(UNIPC, flow_shift=8).startswith("UniPCMultistep shift=8 ")
