"""What to render: catalogs of shots, read, checked and planned. No torch, no Ray, no Prefect.

from catalogs import read, plan
plan(read("shots.parquet"), model_facts)
"""

from catalogs.errors import CatalogError
from catalogs.planning import Plan, plan
from catalogs.reading import Batch, read
from catalogs.refusal import Refusal

__all__ = ["Batch", "CatalogError", "Plan", "Refusal", "plan", "read"]
