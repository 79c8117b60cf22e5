"""What goes wrong with a catalog as a whole; what is wrong with one row is a `Refusal`."""

from __future__ import annotations


class CatalogError(Exception):
    """A catalog that cannot be used at all. The message says what was found, where, and what to do."""
