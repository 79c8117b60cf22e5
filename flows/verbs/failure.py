"""How a verb ends early: an exit code, what was found, and what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flows.report import ExitCode

if TYPE_CHECKING:
    from infra.store import Store


class Failure(Exception):
    """Ends the command with an exit code, without a traceback.

    Attributes:
        exit_code: one of DESIGN's exit codes.
        hint: what the user can do, shown on a line of its own.
        refused, rows_total: refused rows, where a catalog was at fault, shown as a table; and how many rows it has.
    """

    def __init__(
        self,
        message: str,
        *,
        exit_code: ExitCode = ExitCode.REFUSED,
        hint: str | None = None,
        refused: Sequence[Any] = (),
        rows_total: int = 0,
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.hint = hint
        self.refused = refused
        self.rows_total = rows_total


@contextmanager
def half_done() -> Iterator[None]:
    """For what changes a store object by object: one that goes away meanwhile is a fault (4), not "nothing started"."""
    from infra.store.errors import StoreUnavailable

    try:
        yield
    except StoreUnavailable as error:
        hint = "What was done by then is done; the same command again goes on."
        raise Failure(str(error), exit_code=ExitCode.FAULT, hint=hint) from error


@contextmanager
def naming(store: Store) -> Iterator[None]:
    """Puts the store's URL in front of what goes wrong with it, where the message does not name it."""
    from infra.store.errors import StoreError

    try:
        yield
    except StoreError as error:
        if store.url in str(error):
            raise
        raise type(error)(f"{store.url}: {error}") from error


def explain(error: BaseException) -> Failure | None:
    """The failure that a known error of the layers below stands for; None for one that nobody expected.

    The classes are looked up here, when something has gone wrong, so that the command starts without their modules.
    """
    from catalogs import CatalogError
    from infra.names import ShadowedPackage
    from infra.settings import SettingsError
    from infra.store.errors import StoreError, StoreUnavailable, Superseded
    from model.errors import ModelError

    if isinstance(error, Failure):
        return error
    if isinstance(error, StoreUnavailable):
        return Failure(str(error), hint="Nothing was started. Run the same command again when the store answers.")
    if isinstance(error, Superseded):
        return Failure(
            str(error), exit_code=ExitCode.FAULT, hint="Another process took this job over; it goes on there."
        )
    if isinstance(error, CatalogError | StoreError | SettingsError | ShadowedPackage | ModelError) or _of_provenance(
        error
    ):
        return Failure(str(error))
    return _explain_machine(error) or _explain_farm(error)


def _of_provenance(error: BaseException) -> bool:
    """Whether it is one of signing or checking, which can only have come where that was loaded."""
    if "infra.provenance.errors" not in sys.modules:
        return False
    from infra.provenance.errors import ProvenanceError

    return isinstance(error, ProvenanceError)


def _explain_machine(error: BaseException) -> Failure | None:
    """As `explain`, for what this machine lacks, which can only have come where those modules were loaded."""
    if "infra.media.errors" in sys.modules:
        from infra.media.errors import FfmpegMissing

        if isinstance(error, FfmpegMissing):
            return Failure(str(error), hint="Set media.ffmpeg to an ffmpeg that runs, or leave it out for our own.")
    if "infra.scratch" in sys.modules:
        from infra.scratch import ScratchFull

        if isinstance(error, ScratchFull):
            hint = "Raise farm.scratch_bytes or leave it out; the same command again goes on with what is missing."
            return Failure(str(error.strerror), exit_code=ExitCode.FAULT, hint=hint)
    return None


def _explain_farm(error: BaseException) -> Failure | None:
    """As `explain`, for errors of the flow and of the farm, which can only have come where these were loaded."""
    from actors.errors import PlacementImpossible
    from flows.embedded import ServerError

    if isinstance(error, ServerError | PlacementImpossible):
        return Failure(str(error))
    if "ray" not in sys.modules:
        return None
    from actors.client import FarmGone
    from actors.pool import JobRefused

    if isinstance(error, JobRefused):
        return Failure(str(error))
    if isinstance(error, FarmGone):
        return Failure(
            str(error), exit_code=ExitCode.FAULT, hint="The same command again goes on with what is missing."
        )
    return None
