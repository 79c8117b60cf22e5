"""Pieces of Markdown, made from text that strangers wrote: everything is escaped."""

from __future__ import annotations

import base64
import re


def md(text: object) -> str:
    """Text from outside as Markdown and HTML both read it literally, on one line, also inside of a table.

    Backslashes, because Prefect's two pages disagree about entities by number (`&#124;`).
    """
    flat = " ".join(str(text).split())
    flat = re.sub(r"([\\`*_\[\]|~#$!])", r"\\\1", flat)
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def code(text: object) -> str:
    """Text from outside in type of equal width, for commands and paths that people copy."""
    flat = " ".join(str(text).split()).replace("`", "'")
    return f"`{flat}`" if flat else ""


def cell(text: object) -> str:
    """`code` inside of a table."""
    return code(text).replace("|", "\\|")


def picture(label: str, content: bytes, mime: str = "image/jpeg") -> str:
    """An inline picture."""
    return f"![{md(label)}](data:{mime};base64,{base64.b64encode(content).decode('ascii')})"


def link(label: str, url: str) -> str:
    """A link where the browser may follow it. A page from a server may not open files: those, and URLs that Markdown
    would misread, are shown to be copied.
    """
    if re.fullmatch(r"https?://[^\s()<>\"]+", url):
        return f"[{md(label)}]({url})"
    return f"{md(label)}: {code(url)}"


def shorten(text: str, length: int) -> str:
    """`text` on one line, cut to `length` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= length else flat[: length - 1] + "…"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.0f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
