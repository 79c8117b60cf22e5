"""What our pages tell people to type: each line is read by the command's own parser. Nothing is run."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.main import get_command

from catalogs.samples import music_video
from flows.command import app
from infra.deliver.profiles import load_profiles

ROOT = Path(__file__).parents[2]
SAMPLES = [ROOT / "catalogs/samples" / name / "README.md" for name in ("trailer", "music_video")]
PAGES = [ROOT / "README.md", *SAMPLES]
OTHERS = sorted(
    page for part in ("actors", "catalogs", "flows", "infra", "model") for page in (ROOT / part).rglob("*.md")
    if page not in PAGES
)  # fmt: skip
PYTHON_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
INLINE = re.compile(r"`(rushes [^`]+)`")
SYNOPSIS = re.compile(r"[\[\]…|]|\.\.\.")
"""Of lines that tell a form, not a command."""


def lines_of(page: Path) -> Iterator[str]:
    """The lines of a page's code blocks, without their comments; fenced ones of Python left out."""
    text = page.read_text(encoding="utf-8")
    for language, block in PYTHON_FENCE.findall(text):
        if language != "python":
            yield from map(str.strip, block.splitlines())
    for line in PYTHON_FENCE.sub("", text).splitlines():
        if line.startswith("    "):
            yield line.strip()


def commands_of(page: Path) -> list[list[str]]:
    """The command lines of a page that begin with `rushes`, in words."""
    found = [line for line in lines_of(page) if line.startswith("rushes ")]
    return [shlex.split(line, comments=True)[1:] for line in found if not SYNOPSIS.search(line.partition("  #")[0])]


def inline_of(page: Path) -> Iterator[list[str]]:
    """Commands with arguments that stand in a page's text; of one that ends in … what stands before that."""
    for text in INLINE.findall(page.read_text(encoding="utf-8")):
        words = shlex.split(text.removesuffix(" …"))[1:]
        if len(words) > 1 and not SYNOPSIS.search(" ".join(words)):
            yield words


@cache
def verbs() -> dict[str, Any]:
    """The verbs as the command has them, by name."""
    group: Any = get_command(app)
    return dict(group.commands)


def parsed(words: list[str]) -> dict[str, Any]:
    """What the command's parser makes of a line, without running it. Raises click's usage errors."""
    verb = verbs()[words[0]]
    values: dict[str, Any] = verb.make_context(words[0], list(words[1:])).params
    return values


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_is_one(page: Path) -> None:
    found = [*commands_of(page), *inline_of(page)]
    assert len(found) >= 5, "no commands found: is the page still read as it is written?"
    known = load_profiles()
    for words in found:
        values = parsed(words)
        if words[0] == "deliver":
            assert set(values["profile"] or ()) <= set(known), words


@pytest.mark.parametrize("page", [page for page in OTHERS if commands_of(page)], ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_of_the_other_pages_name_verbs_and_options_that_there_are(page: Path) -> None:
    for words in commands_of(page):
        options = {name for option in verbs()[words[0]].params for name in (*option.opts, *option.secondary_opts)}
        given = {word.partition("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)}
        assert given <= options | {"--help"}, words


def test_what_else_the_pages_tell_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in PAGES:
        for line in lines_of(page):
            words = shlex.split(line, comments=True) if line.startswith(("make ", "python -m ")) else [""]
            assert words[0] != "make" or words[1] in targets, line
            assert words[0] != "python" or importlib.util.find_spec(words[2]) is not None, line


def test_the_music_video_names_shots_and_takes_that_it_has() -> None:
    rows = {row["shot_id"]: row for row in pq.read_table(Path(music_video.FOLDER) / "music_video.parquet").to_pylist()}
    named = [parsed(words) for words in commands_of(SAMPLES[1]) if words[0] == "select" and "--shot" in words]
    assert named and all(one["take"] <= rows[one["shot"]]["takes"] for one in named)


def test_a_line_that_is_no_command_is_found_out(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Text.\n\n    rushes cut ./mv --nmae film   # typo\n    rushes select STORE [--job ID]\n")
    (words,) = commands_of(page)
    with pytest.raises(Exception, match="--nmae"):
        parsed(words)
