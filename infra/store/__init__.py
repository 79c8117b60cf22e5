"""The take store: films, commits, jobs and leases on any fsspec URL. See README.md for what it guarantees."""

from infra.store.options import StoreOptions, for_workers
from infra.store.store import Store, open_store
from infra.store.types import Digest, Stat, StoreProbe

__all__ = ["Digest", "Stat", "Store", "StoreOptions", "StoreProbe", "for_workers", "open_store"]
