"""What is said of an input that cannot be had."""

from __future__ import annotations


class InputUnreadable(Exception):
    """The shot's fault: the input is missing, forbidden, too large, or in a place that is not allowed."""


def shown(uri: str) -> str:
    """A URI for messages: without query, where signed URLs keep their secrets, and not longer than 200 characters."""
    return uri.split("?", 1)[0].split("#", 1)[0][:200]
