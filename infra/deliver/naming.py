"""File names from a template over the fields of a take, a cut and a profile.

    Template("{show}_{shot_id}_{aspect}_{locale}_v{take:03}").name({"show": "ad", …})

Only names of fields and number formats: no attributes, no calls. What comes out is one safe name of a file, whatever
the fields hold.
"""

from __future__ import annotations

import hashlib
import re
import string
import unicodedata
from collections.abc import Collection, Mapping
from typing import Any, Final

from infra.deliver.errors import BadTemplate

TAKE: Final = "{show}_{shot_id}_{revision}_v{take:03}_{locale}"
CUT: Final = "{cut}_{locale}"
LONGEST: Final = 120
_FIELD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,127}")
_FORMAT: Final = re.compile(r"0?\d{0,2}d?")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


class Template:
    """A checked template. `fields`: the names that it uses."""

    def __init__(self, text: str) -> None:
        """BadTemplate for one that is malformed or uses more than plain fields."""
        self.text = text
        self._parts: list[tuple[str, str | None, str]] = []
        if not text or "/" in text or len(text) > 1000:
            raise BadTemplate(f"a template is one name of a file, not {text[:80]!r}")
        try:
            parsed = list(string.Formatter().parse(text))
        except ValueError as error:
            raise BadTemplate(f"template {text!r}: {error}") from error
        for literal, field, form, conversion in parsed:
            if field is not None and (not _FIELD.fullmatch(field) or conversion):
                raise BadTemplate(f"template {text!r}: {{{field}}} is no plain field")
            if field is not None and not _FORMAT.fullmatch(form or ""):
                raise BadTemplate(f"template {text!r}: the format {form!r} of {{{field}}} is none such as 03")
            self._parts.append((literal, field, form or ""))
        self.fields = frozenset(field for _, field, _ in self._parts if field is not None)

    def check(self, known: Collection[str]) -> None:
        """BadTemplate for a field that is not known."""
        if unknown := sorted(self.fields - set(known)):
            raise BadTemplate(
                f"template {self.text!r}: no field {', '.join(unknown)}; there are: {', '.join(sorted(known))}"
            )

    def name(self, values: Mapping[str, Any]) -> str:
        """The name, without a suffix. Fields without a value leave nothing behind, not even their separator."""
        made = []
        for literal, field, form in self._parts:
            made.append(literal)
            if field is not None:
                made.append(_shown(self.text, field, values.get(field), form))
        return safe("".join(made))


def safe(text: str) -> str:
    """One name of a file of letters, digits, '.', '_' and '-', at most 120 of them; a longer one ends in a digest."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    plain = _UNSAFE.sub("-", plain)
    plain = re.sub(r"\.{2,}", ".", re.sub(r"[_-]*_[_-]*", "_", re.sub(r"-{2,}", "-", plain))).strip("._-")
    if not plain:
        return f"x{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    if len(plain) > LONGEST:
        plain = f"{plain[: LONGEST - 9].rstrip('._-')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return plain


def aspect_of(width: int, height: int) -> str:
    """16x9, 9x16, 1x1, 4x5, … : the ratio that people call it by, else the size in lowest terms."""
    for across, down in ((16, 9), (9, 16), (1, 1), (4, 5), (5, 4), (4, 3), (3, 4), (21, 9), (2, 1), (3, 2), (2, 3)):
        if abs(width / height * down / across - 1) < 0.01:
            return f"{across}x{down}"
    from math import gcd

    common = gcd(width, height)
    return f"{width // common}x{height // common}"


def _shown(text: str, field: str, value: Any, form: str) -> str:
    if value is None:
        return ""
    if not form:
        return f"{value:g}" if isinstance(value, float) else str(value)
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise BadTemplate(f"template {text!r}: {{{field}:{form}}} wants a number, it is {str(value)[:40]!r}") from None
    return format(number, form)
