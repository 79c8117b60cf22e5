"""Numbers as people read them."""

from __future__ import annotations

import getpass
import os
from datetime import UTC, datetime

from flows.report import JobReport
from infra.settings import PriceSettings


def seconds(value: float) -> str:
    """A duration: 0.4 s, 42 s, 3 min 20 s, 5 h 12 min, 3 d 4 h."""
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def money(gpu_s: float, price: PriceSettings) -> str | None:
    """What some GPU seconds cost, or None where no price is set."""
    if price.gpu_hour is None:
        return None
    amount = gpu_s / 3600 * price.gpu_hour
    return f"{amount:,.2f} {price.currency}" if amount >= 1 or amount == 0 else f"{amount:.2g} {price.currency}"


def size(count: int) -> str:
    """Bytes: 812 B, 1.4 MB."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def moment(when: datetime | None) -> str:
    """A time in UTC, to the second."""
    return "" if when is None else when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def plural(count: int, word: str) -> str:
    """1 take, 2 takes."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def summary(report: JobReport) -> str:
    """A job in a line: its state and counts."""
    takes = report.takes
    counts = f"{takes.committed:,} of {plural(takes.total, 'take')} committed"
    if takes.quarantined:
        counts += f", {takes.quarantined:,} quarantined"
    if takes.skipped:
        counts += f", {takes.skipped:,} not needed"
    return f"{report.job_id}: {report.state}; {counts}, {takes.pending:,} pending"


def login() -> str:
    """Who is logged in here."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return f"user {os.getuid()}"
