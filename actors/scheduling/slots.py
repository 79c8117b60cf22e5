"""Deaths on slots: whose they are, and when a slot is given up. Pure."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple

Slot = Hashable


class Death(NamedTuple):
    """counts: the death counts against the take. retired: the slot has now been given up."""

    counts: bool
    retired: bool


@dataclass(slots=True)
class _Record:
    deaths: int = 0
    last_take: int | None = None
    retired: bool = False


class Slots:
    """The places where a job's gangs stand, one after another.

    A death counts against its take unless the death just before it on that slot, with no commit in between, was another
    take's: two different takes that die in a row speak against the slot. ``most`` deaths in a row retire it.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._records: dict[Slot, _Record] = {}

    def add(self, slot: Slot) -> None:
        self._records.setdefault(slot, _Record())

    def died(self, slot: Slot, take: int | None) -> Death:
        """Books one death; ``take`` is None where the gang held no take (it died idle, or while it was built)."""
        record = self._records.setdefault(slot, _Record())
        record.deaths += 1
        counts = take is not None and record.last_take in (None, take)
        if take is not None:
            record.last_take = take
        record.retired = record.retired or record.deaths >= self._most
        return Death(counts, record.retired)

    def committed(self, slot: Slot) -> None:
        """A take of this slot was committed: what went before is forgotten."""
        record = self._records.setdefault(slot, _Record())
        record.deaths, record.last_take = 0, None

    def retired(self, slot: Slot) -> bool:
        return slot in self._records and self._records[slot].retired

    def none_left(self) -> bool:
        """Every slot that was ever added is given up."""
        return bool(self._records) and all(record.retired for record in self._records.values())
