"""The thread that renews a lease, and what it reads or cannot read on its way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows.tenure import Tenure
from infra.settings import Settings
from infra.store import Store, layout, open_store
from infra.store.errors import Damaged, StoreRefused
from infra.store.lease import Lease, read_lease
from tests.flows.api import eventually

FARM = Settings.load(farm={"lease_renew_s": 0.2, "cancel_poll_s": 0.2}).farm


class Held:
    """A job's lease, kept by a tenure whose looks a test may break, with what came of it."""

    def __init__(self, store: Store) -> None:
        lease = Lease.acquire(store, "job")
        assert isinstance(lease, Lease)
        self.store, self.lost, self.stops = store, list[str](), list[str]()
        self.break_pause: BaseException | None = None
        self.look: Callable[[], str | None] = lambda: None
        self.tenure = Tenure(
            lease, FARM, on_lost=self.lost.append, look=lambda: self.look(), on_stop=self.stops.append,
            look_at_pause=self._pause,
        )  # fmt: skip

    def _pause(self) -> None:
        if self.break_pause is not None:
            raise self.break_pause

    def renewed(self) -> float:
        found = read_lease(self.store, "job")
        assert found is not None
        return found.renewed


@pytest.fixture
def held(tmp_path: Path) -> Held:
    return Held(open_store(tmp_path))


@contextmanager
def damaged(held: Held) -> Iterator[None]:
    """The lease is half a file for a while."""
    path = layout.lease_path("job")
    whole = held.store.read(path)
    held.store.write(path, b"{")
    yield
    held.store.write(path, whole)


@pytest.mark.parametrize("error", [OverflowError("1e999"), RecursionError("deep"), StoreRefused("a folder")])
def test_a_look_that_goes_wrong_costs_no_renewal_and_no_other_look(
    held: Held, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def look() -> str | None:
        raise error

    held.look, held.break_pause = look, error
    with held.tenure, caplog.at_level(logging.WARNING):
        eventually(lambda: "whether the job is to be cancelled" in caplog.text)
        before = held.renewed()
        eventually(lambda: held.renewed() > before)
        held.look = lambda: "rushes cancel"  # the look at pauses goes wrong still
        eventually(lambda: "rushes cancel" in held.stops)
    assert not held.lost


def test_a_lease_that_cannot_be_read_for_a_while_is_renewed_again(held: Held, caplog: pytest.LogCaptureFixture) -> None:
    with held.tenure, caplog.at_level(logging.WARNING):
        with damaged(held):
            eventually(lambda: "the lease could not be renewed" in caplog.text)
        before = held.renewed()
        eventually(lambda: held.renewed() > before)
    assert not held.lost


def test_a_job_ends_as_it_has_over_a_lease_that_cannot_be_read(held: Held) -> None:
    with held.tenure:
        held.store.write(layout.lease_path("job"), b"{")
        held.tenure.release("done", 0)
    assert not held.tenure.lost
    with pytest.raises(Damaged):
        read_lease(held.store, "job")


def test_another_owner_ends_the_tenure(held: Held) -> None:
    with held.tenure:
        held.store.delete(layout.lease_path("job"))
        eventually(lambda: held.lost)
    assert held.tenure.lost
