"""The five import names must be ours: a folder called `model` or `flows` beside a script would shadow them."""

from __future__ import annotations

import importlib.util
import json
import sys
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

NAMES = ("catalogs", "model", "infra", "actors", "flows")
DISTRIBUTION = "rushes"


class ShadowedPackage(ImportError):
    """An import name resolves to something other than the installed distribution (exit code 2)."""


def check_import_names() -> None:
    """Raise ShadowedPackage, naming the folder, unless all five names resolve to the installed distribution.

    Imports none of them. In a checkout that was never installed, the checkout itself is what counts.
    """
    home = _home()
    for name in NAMES:
        found = _found(name)
        expected = home / name
        if found is None:
            raise ShadowedPackage(f"the package {name} of rushes is missing from {home}: install rushes again")
        if found.resolve() != expected.resolve():
            raise ShadowedPackage(
                f"`import {name}` finds {found}, but rushes is installed in {expected}: "
                f"{found} shadows it. Start from another folder, rename that one, or take {found.parent} off PYTHONPATH"
            )


def _home() -> Path:
    """The folder that holds the five packages."""
    try:
        distribution = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return Path(__file__).parent.parent
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        return Path(unquote(urlsplit(origin["url"]).path))
    return Path(str(distribution.locate_file("")))


def _found(name: str) -> Path | None:
    """The folder (or file) that `import name` uses, or would use."""
    module = sys.modules.get(name)
    spec = module.__spec__ if module is not None else importlib.util.find_spec(name)
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(spec.origin) if spec.origin else None
