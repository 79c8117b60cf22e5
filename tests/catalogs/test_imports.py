"""Reading and planning need nothing heavy."""

from __future__ import annotations

import subprocess
import sys

from catalogs.samples import DEMO


def test_catalogs_import_neither_torch_nor_ray_nor_prefect():
    code = f"""
import sys
from catalogs import Batch, CatalogError, Plan, Refusal, plan, read
from catalogs import keys, planning, uris
list(read({str(DEMO)!r}))
heavy = {{"torch", "ray", "prefect", "diffusers", "transformers", "pandas", "infra", "model", "actors", "flows"}}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
