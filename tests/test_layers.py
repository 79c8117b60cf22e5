"""Importing a package stays light: what is heavy is imported where it is used. (Who imports whom: `make lint`.)"""

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "ray", "prefect", "diffusers", "transformers", "fastapi")


def loaded_by(statement: str) -> set[str]:
    """The heavy packages that a fresh interpreter holds after `statement`."""
    script = f"import json, sys\n{statement}\nprint(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "module", ["catalogs", "infra", "infra.media", "infra.store", "infra.settings", "model", "actors", "flows.command"]
)
def test_import_is_light(module: str) -> None:
    assert loaded_by(f"import {module}") == set()


def test_the_probe_sees_what_is_heavy() -> None:
    assert loaded_by("import fastapi") == {"fastapi"}
