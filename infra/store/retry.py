"""The one layer of retries: botocore's and s3fs's own are off, so that time limits add up instead of multiplying."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from infra.store.errors import StoreUnavailable

_log = logging.getLogger(__name__)
T = TypeVar("T")


def retrying(call: Callable[[], T], retry_s: float) -> T:
    """Call until it succeeds, fails with something other than StoreUnavailable, or `retry_s` seconds have passed.

    Waits grow from 0.1 s to 5 s, with full jitter.
    """
    return Retrying(
        retry=retry_if_exception_type(StoreUnavailable),
        stop=stop_after_delay(retry_s),
        wait=wait_random_exponential(multiplier=0.1, max=5),
        before_sleep=_say,
        reraise=True,
    )(call)


def _say(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    pause = state.next_action.sleep if state.next_action else 0.0
    level = logging.INFO if state.attempt_number < 3 else logging.WARNING
    _log.log(level, "%s; attempt %d, again in %.1f s", error, state.attempt_number, pause)
