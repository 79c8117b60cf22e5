"""Folders of weights: key names, dtypes, several files, URLs, and clear refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from model.errors import ModelError
from model.facts import DEFAULT_FOLDER
from model.state_dict_adapter import is_kept_fp32, naming_of, to_diffusers, to_original, to_ours
from model.transformer import Transformer, TransformerConfig
from model.transformer_files import CONFIG, WEIGHTS, WEIGHTS_INDEX

SMALL: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 36,
    "out_channels": 4,
    "text_dim": 16,
    "ffn_dim": 32,
    "num_layers": 2,
    "image_dim": 20,
    "added_kv_proj_dim": 24,
    "pos_embed_seq_len": 10,
}


@pytest.fixture
def model() -> Transformer:
    torch.manual_seed(0)
    return Transformer(TransformerConfig(**SMALL))


def same(a: Transformer, b: Transformer) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_keys_are_those_of_diffusers(model: Transformer) -> None:
    from diffusers import WanTransformer3DModel

    theirs = WanTransformer3DModel(**SMALL).state_dict()
    named = to_diffusers(model.state_dict())
    assert {key: value.shape for key, value in named.items()} == {key: value.shape for key, value in theirs.items()}
    back, unknown = to_ours(named)
    assert list(back) == list(model.state_dict())
    assert not unknown


def test_original_names_round_trip_and_agree_with_diffusers_converter(model: Transformer) -> None:
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    original = to_original(model.state_dict())
    assert naming_of(original) == "original"
    for prefix in ("", "model.", "model.diffusion_model."):
        back, unknown = to_ours({prefix + key: value for key, value in original.items()})
        assert not unknown
        assert list(back) == list(model.state_dict())
        assert all(back[key] is original[name] for key, name in zip(back, original, strict=True))
    converted = convert_wan_transformer_to_diffusers(dict(original))
    # its single-file converter leaves this one as it is; diffusers' convert script renames it
    converted["condition_embedder.image_embedder.pos_embed"] = converted.pop("img_emb.emb_pos")
    expected = to_diffusers(model.state_dict())
    assert converted.keys() == expected.keys()
    assert all(torch.equal(converted[key], expected[key]) for key in expected)


def test_diffusers_reads_what_we_write_and_we_read_it_back(tmp_path: Path, model: Transformer) -> None:
    from diffusers import WanTransformer3DModel

    model.save_pretrained(tmp_path / "transformer")
    theirs = WanTransformer3DModel.from_pretrained(tmp_path / "transformer").state_dict()
    assert all(torch.equal(theirs[key], value) for key, value in to_diffusers(model.state_dict()).items())
    for place in (tmp_path, tmp_path / "transformer", f"file://{tmp_path}", str(tmp_path)):
        assert same(Transformer.from_pretrained(place), model)
    assert sorted(path.name for path in (tmp_path / "transformer").iterdir()) == [CONFIG, WEIGHTS]


def test_dtypes(tmp_path: Path, model: Transformer) -> None:
    model.save_pretrained(tmp_path, dtype=torch.bfloat16)
    for name, value in Transformer.from_pretrained(tmp_path).state_dict().items():
        assert value.dtype == (torch.float32 if is_kept_fp32(name) else torch.bfloat16), name
    kept = {name for name in model.state_dict() if is_kept_fp32(name)}
    assert {"output_modulation", "blocks.0.modulation", "time_embedding.hidden.weight"} <= kept
    assert {"blocks.1.cross_attention_norm.bias", "image_embedding.norm_in.weight"} <= kept
    assert not {"blocks.0.self_attention.norm_q.weight", "time_embedding.modulations.weight", "output.weight"} & kept
    wide = Transformer.from_pretrained(tmp_path, dtype=torch.float32)
    assert {value.dtype for value in wide.state_dict().values()} == {torch.float32}
    low = {key: value.bfloat16() for key, value in load_file(tmp_path / WEIGHTS).items()}
    save_file(low, tmp_path / WEIGHTS)
    assert {value.dtype for value in Transformer.from_pretrained(tmp_path).state_dict().values()} == {torch.bfloat16}


def test_a_folder_kept_in_bf16_takes_inputs_of_any_float(tmp_path: Path, model: Transformer) -> None:
    model.save_pretrained(tmp_path, dtype=torch.bfloat16)
    kept, config = Transformer.from_pretrained(tmp_path), model.config
    given = (torch.randn(1, config.in_channels, 2, 4, 4), torch.tensor([500.0]), torch.randn(1, 512, config.text_dim))
    found = kept(*given)
    assert kept.dtype == found.dtype == torch.bfloat16
    assert torch.equal(found, kept(given[0].bfloat16(), given[1], given[2].bfloat16()))


def test_several_files_with_an_index(tmp_path: Path, model: Transformer) -> None:
    model.save_pretrained(tmp_path)
    state = load_file(tmp_path / WEIGHTS)
    (tmp_path / WEIGHTS).unlink()
    names = sorted(state)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, keys in shards.items():
        save_file({key: state[key] for key in keys}, tmp_path / file)
    index = {"metadata": {}, "weight_map": {key: file for file, keys in shards.items() for key in keys}}
    (tmp_path / WEIGHTS_INDEX).write_text(json.dumps(index))
    assert same(Transformer.from_pretrained(tmp_path), model)
    index["weight_map"][names[0]] = "../b.safetensors"
    (tmp_path / WEIGHTS_INDEX).write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"\.\./b\.safetensors"):
        Transformer.from_pretrained(tmp_path)


def test_wans_own_names_in_safetensors(tmp_path: Path, model: Transformer) -> None:
    model.save_pretrained(tmp_path)
    save_file(to_original(model.state_dict()), tmp_path / WEIGHTS)
    assert same(Transformer.from_pretrained(tmp_path), model)


def test_a_url_is_fetched_once_for_each_state(tmp_path: Path, model: Transformer) -> None:
    model.save_pretrained(tmp_path / "local")
    memory = fsspec.filesystem("memory")
    memory.makedirs("/films/wan/transformer", exist_ok=True)
    try:
        for name in (CONFIG, WEIGHTS):
            memory.pipe_file(f"/films/wan/transformer/{name}", (tmp_path / "local" / name).read_bytes())
        memory.pipe_file("/films/wan/transformer/weights.bin", b"pickle")
        for url in ("memory://films/wan", "memory://films/wan/transformer/"):
            assert same(Transformer.from_pretrained(url, cache=tmp_path / "cache"), model)
        kept = list((tmp_path / "cache").rglob("*.*"))
        assert {path.name for path in kept} == {CONFIG, WEIGHTS}
        before = [path.stat().st_mtime_ns for path in kept]
        Transformer.from_pretrained("memory://films/wan", cache=tmp_path / "cache")
        assert [path.stat().st_mtime_ns for path in kept] == before
    finally:
        memory.rm("/films", recursive=True)
    with pytest.raises(ModelError, match="memory://films/wan"):
        Transformer.from_pretrained("memory://films/wan", cache=tmp_path / "cache")


def test_refusals_say_what_was_found(tmp_path: Path, model: Transformer) -> None:
    with pytest.raises(ModelError, match="no transformer at"):
        Transformer.from_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    good = {key: value.clone() for key, value in load_file(tmp_path / WEIGHTS).items()}  # the file is written again

    def refused(state: dict, message: str) -> None:
        save_file(state, tmp_path / WEIGHTS)
        with pytest.raises(ModelError, match=message):
            Transformer.from_pretrained(tmp_path)

    refused({key: value for key, value in good.items() if key != "proj_out.bias"}, r"1 missing: proj_out\.bias")
    refused({**good, "stray.weight": torch.zeros(1)}, r"1 not known: stray\.weight")
    refused({**good, "blocks.7.norm2.bias": torch.zeros(24)}, r"1 not known: blocks\.7\.norm2\.bias")
    refused({**good, "proj_out.bias": torch.zeros(3)}, r"proj_out\.bias \(3,\) where the config makes it \(16,\)")
    save_file({**good, "blocks.0.attn2.norm_added_q.weight": torch.zeros(24)}, tmp_path / WEIGHTS)  # stray, harmless
    assert same(Transformer.from_pretrained(tmp_path), model)

    (tmp_path / WEIGHTS).write_bytes(b"\x10\0\0\0\0\0\0\0not a header")
    with pytest.raises(ModelError, match=f"{WEIGHTS} cannot be read"):
        Transformer.from_pretrained(tmp_path)
    (tmp_path / WEIGHTS).rename(tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pickled weights are never loaded.*\.bin"):
        Transformer.from_pretrained(tmp_path)
    for content, message in (('{"_class_name": "WanVACETransformer3DModel"}', "VACE"), ("[1]", "list"), ("{", "JSON")):
        (tmp_path / CONFIG).write_text(content)
        with pytest.raises(ModelError, match=message):
            Transformer.from_pretrained(tmp_path)


def test_the_model_that_ships_has_a_name_here_too() -> None:
    own, named = Transformer.from_pretrained(DEFAULT_FOLDER), Transformer.from_pretrained("default")
    assert torch.equal(own.patch_embedding.weight, named.patch_embedding.weight)
