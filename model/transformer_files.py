"""Reading and writing the transformer's folder in diffusers' layout: `config.json` beside safetensors files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.cache import fetched, is_remote, user_cache_dir
from model.dtypes import as_dtype
from model.errors import ModelError
from model.facts import resolve
from model.folder import read_json
from model.state_dict_adapter import is_kept_fp32, to_diffusers, to_ours
from model.transformer import Transformer
from model.transformer_config import TransformerConfig

CONFIG = "config.json"
SUBFOLDER = "transformer"
WEIGHTS = "diffusion_pytorch_model.safetensors"
WEIGHTS_INDEX = f"{WEIGHTS}.index.json"


class Place(NamedTuple):
    """Where a stored tensor lies."""

    path: Path
    key: str
    shape: tuple[int, ...]


def load(
    path_or_url: str | os.PathLike[str],
    *,
    dtype: torch.dtype | str | None = None,
    device: str | torch.device = "cpu",
    cache: Path | None = None,
) -> Transformer:
    """Reads `p/transformer`, or `p` itself; no `model_index.json` is needed. "default" is the model that ships.

    Weights come from safetensors files alone: one file, or several with an index. They may carry diffusers' key names
    or those of Wan's own release. An fsspec URL is fetched into the cache once for each state of its files.

    dtype None keeps each tensor as it is stored. Another one, by itself or by name, is given to all but the parts that
    diffusers keeps in fp32 (time embedding, modulation tables, whole-token norms). The model computes those parts in
    fp32 however they are held, so a bf16 folder gives diffusers' result with `torch_dtype=torch.bfloat16` either way.

    Raises:
        ModelError: no such folder, another class of model, damaged files, or keys missing, unknown or of a wrong shape.
    """
    folder = _local_folder(resolve(os.fspath(path_or_url)), cache)
    config = TransformerConfig.from_dict(read_json(folder / CONFIG))
    with torch.device("meta"):
        model = Transformer(config)
    places, unknown = to_ours(_places(folder))
    _check(folder, model.state_dict(), places, unknown)
    wanted = None if dtype is None else as_dtype(dtype)
    model.load_state_dict(_read(places, wanted, str(device)), assign=True)
    return model.eval()


def save(model: Transformer, folder: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> None:
    """Writes the folder; each file is written beside its place and swapped in, the weights first.

    Args:
        dtype: of the stored weights; the parts that diffusers keeps in fp32 stay fp32. None keeps the model's own.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {}
    for key, value in model.state_dict().items():
        value = value.detach().cpu()
        if dtype is not None:
            value = value.to(torch.float32 if is_kept_fp32(key) else dtype)
        state[key] = value.contiguous()
    partial = folder / f"{WEIGHTS}.partial"
    save_file(to_diffusers(state), partial, metadata={"format": "pt"})
    os.replace(partial, folder / WEIGHTS)
    partial = folder / f"{CONFIG}.partial"
    partial.write_text(json.dumps(model.config.to_dict(), indent=2) + "\n", encoding="utf-8")
    os.replace(partial, folder / CONFIG)


def _local_folder(location: str, cache: Path | None) -> Path:
    if is_remote(location):
        return _fetch(location, cache or user_cache_dir())
    for folder in (Path(location) / SUBFOLDER, Path(location)):
        if (folder / CONFIG).is_file():
            return folder
    raise ModelError(f"no transformer at {location}: found neither {SUBFOLDER}/{CONFIG} nor {CONFIG}")


def _fetch(url: str, cache: Path) -> Path:
    """The transformer's own files of a URL, on this disk. Their names, sizes and versions make the folder's name."""
    import fsspec

    try:
        fs, root = fsspec.core.url_to_fs(url)
        subfolder = f"{root.rstrip('/')}/{SUBFOLDER}"
        base = subfolder if fs.exists(f"{subfolder}/{CONFIG}") else root
        files = {
            PurePosixPath(info["name"]).name: info
            for info in fs.ls(base, detail=True)
            if info["type"] == "file" and info["name"].endswith((".json", ".safetensors"))
        }
    except Exception as error:  # each file system raises its own kinds
        raise ModelError(f"{url} cannot be listed: {type(error).__name__}: {error}") from error
    if CONFIG not in files:
        raise ModelError(f"no transformer at {url}: found neither {SUBFOLDER}/{CONFIG} nor {CONFIG}")
    return fetched(fs, url, {name: (info["name"], info) for name, info in files.items()}, cache / "transformers")


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS_INDEX).is_file():
        names = sorted(set(read_json(folder / WEIGHTS_INDEX).get("weight_map", {}).values()))
        strange = [name for name in names if not isinstance(name, str) or Path(name).name != name]
        if strange or not names:
            raise ModelError(f"{folder / WEIGHTS_INDEX}: weight_map names no files of this folder: {strange}")
        return [folder / name for name in names]
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    found = sorted(path.name for path in folder.iterdir() if path.name != CONFIG)
    raise ModelError(
        f"no weights in {folder}: wanted {WEIGHTS} or {WEIGHTS_INDEX} (pickled weights are never loaded), found {found}"
    )


def _places(folder: Path) -> dict[str, Place]:
    """Where each stored tensor lies, by its foreign key; reads the files' headers only."""
    places = {}
    for path in _weight_files(folder):
        with _opened(path, "cpu") as file:
            for key in file.keys():  # noqa: SIM118  not a dict
                places[key] = Place(path, key, tuple(file.get_slice(key).get_shape()))
    return places


def _read(places: Mapping[str, Place], dtype: torch.dtype | None, device: str) -> dict[str, Tensor]:
    """The tensors, cast one by one, so that two dtypes of the whole model are never held at once."""
    state = {}
    for path in sorted({place.path for place in places.values()}):
        with _opened(path, device) as file:
            for name, place in places.items():
                if place.path == path:
                    value = file.get_tensor(place.key)
                    if dtype is not None:
                        value = value.to(torch.float32 if is_kept_fp32(name) else dtype)
                    state[name] = value
    return state


@contextmanager
def _opened(path: Path, device: str) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt", device=device) as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error


def _check(folder: Path, wanted: Mapping[str, Tensor], stored: Mapping[str, Place], unknown: list[str]) -> None:
    """Refuses weights that are not exactly the model's, in the words of the files."""
    theirs = dict(zip(wanted, to_diffusers(dict.fromkeys(wanted)), strict=True))
    missing = [theirs[name] for name in wanted if name not in stored]
    unexpected = unknown + [place.key for name, place in stored.items() if name not in wanted]
    shapes = [
        f"{place.key} {place.shape} where the config makes it {tuple(wanted[name].shape)}"
        for name, place in stored.items()
        if name in wanted and place.shape != wanted[name].shape
    ]
    faults = [
        f"{len(keys)} {what}: {', '.join(keys[:5])}{', ..' if len(keys) > 5 else ''}"
        for what, keys in (("missing", missing), ("not known", unexpected), ("of a wrong shape", shapes))
        if keys
    ]
    if faults:
        raise ModelError(f"weights in {folder} do not fit its {CONFIG}: {'; '.join(faults)}")
