"""The board's page: what it shows, and that nothing in a prompt or an error can get out of its place."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest

from flows.board import BoardTake, board_html
from flows.board.page import INLINE_POSTER_BYTES, MOST_TAKES

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "<!-- --><svg onload=alert(1)>",
    "a\x00b\u202ec \U0001f3ac",
]
SAFE_TAGS = {
    "html", "head", "meta", "title", "style", "body", "header", "div", "h1", "h2", "span", "time", "a", "dl", "dt",
    "dd", "svg", "rect", "button", "label", "input", "main", "p", "article", "video", "img", "small", "strong",
    "details", "summary", "code", "script", "ul", "li",
}  # fmt: skip


class Page(HTMLParser):
    """Every tag with its attributes, and the text outside of style and script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._inside: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("style", "script"):
            self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside is None:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def take(**changes: Any) -> BoardTake:
    values: dict[str, Any] = {
        "shot_id": "opening",
        "take": 1,
        "state": "committed",
        "revision": "0a1b2c3d",
        "prompt": "a red circle moves left",
        "seed": 42,
        "width": 64,
        "height": 48,
        "frames": 17,
        "fps": 8.0,
        "media": "shots/default/opening/0a1b2c3d.take-001.deadbeef.mp4",
        "poster": "posters/ab/abcdef.jpg",
        "gpu_s": 12.5,
    }
    return BoardTake(**{**values, **changes})


def test_film_and_poster_are_linked_from_the_job_folder() -> None:
    page = Page(board_html("job", [take()]))
    [video] = page.all("video")
    assert video["src"] == "../../shots/default/opening/0a1b2c3d.take-001.deadbeef.mp4"
    assert video["preload"] == "none" and "autoplay" not in video
    [image] = page.all("img")
    assert image["src"] == "../../posters/ab/abcdef.jpg"
    assert image["loading"] == "lazy"


def test_card_says_state_seed_size_cost() -> None:
    text = " ".join(Page(board_html("job", [take()], money=lambda s: f"{s / 100:.3f} EUR")).text)
    for word in (
        "opening",
        "take 1",
        "committed",
        "42",
        "64×48",
        "17 at 8 fps",
        "12.5",
        "0.125 EUR",
        "a red circle moves left",
    ):
        assert word in text, word


def test_quarantined_card_says_why_and_how_to_replay() -> None:
    row = take(
        state="quarantined", media=None, poster=None, error_class="input", message="no such file: cat.png", attempt=3,
        replay="rushes retry ./out --job demo", log="logs/default/opening/0a1b2c3d.take-001.demo.1.3.log",
    )  # fmt: skip
    page = Page(board_html("job", [row]))
    text = " ".join(page.text)
    assert "input" in text and "no such file: cat.png" in text and "rushes retry ./out --job demo" in text
    assert {"href": "../../logs/default/opening/0a1b2c3d.take-001.demo.1.3.log"} in page.all("a")
    assert not page.all("video")


def test_still_is_a_picture_not_a_film() -> None:
    page = Page(
        board_html("job", [take(task="still", media="shots/default/s/0a1b2c3d.take-001.deadbeef.png", frames=1)])
    )
    assert not page.all("video")
    [link] = [a for a in page.all("a") if a.get("class") == "play"]
    assert link["href"] == "../../shots/default/s/0a1b2c3d.take-001.deadbeef.png"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text: str) -> None:
    names = ("prompt", "error_class", "message", "replay", "shot_id", "show", "revision", "layout")
    page, clean = (
        Page(
            board_html(
                word,
                [take(state="quarantined", gang=2, **dict.fromkeys(names, word))],
                state=word,
                refused=[{"row": 1, "column": word, "value": word, "legal": word}],
                links=[(word, "https://example.org/" + word)],
            )
        )
        for word in (text, "word")
    )
    assert [name for name, _ in page.tags] == [name for name, _ in clean.tags]
    assert {name for name, _ in page.tags} <= SAFE_TAGS
    for name, attributes in page.tags:
        assert not [key for key in attributes if key.startswith("on")], (name, attributes)
    if "\x00" not in text:
        assert text in "".join(page.text)


@pytest.mark.parametrize(
    "href", ["javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "file:///etc/passwd", "vbscript:x"]
)
def test_links_that_could_run_or_leave_are_left_out(href: str) -> None:
    page = Page(board_html("job", [], links=[("bad", href), ("good", "https://example.org/x"), ("near", "trace.json")]))
    assert [a["href"] for a in page.all("a")] == ["https://example.org/x", "trace.json"]


@pytest.mark.parametrize("path", ["/etc/passwd", "../../../etc/passwd", "shots/../../x.mp4"])
def test_paths_out_of_the_store_get_no_link(path: str) -> None:
    page = Page(board_html("job", [take(media=path, poster=path, log=path)]))
    assert not page.all("video") and not page.all("img") and not page.all("a")


def test_a_path_is_never_a_scheme() -> None:
    page = Page(board_html("job", [take(media="javascript:alert(1)")]))
    assert page.all("video")[0]["src"] == "../../javascript%3Aalert%281%29"


def test_policy_names_exactly_the_style_and_script_on_the_page() -> None:
    html = board_html("job", [take()])
    [policy] = [m["content"] for m in Page(html).all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and policy.startswith("default-src 'none';")
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy
    for tag in ("style", "script"):
        [content] = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_nothing_is_asked_of_the_network() -> None:
    page = Page(board_html("job", [take(), take(take=2)]))
    for name, attributes in page.tags:
        for key in ("src", "href", "poster", "srcset", "action"):
            value = attributes.get(key)
            assert value is None or value.startswith(("../../", "data:image/jpeg;base64,")), (name, value)
    assert not page.all("link") and not page.all("iframe")


def test_small_poster_is_drawn_inline_and_a_large_one_linked() -> None:
    small = Page(board_html("job", [take(poster_jpeg=b"\xff\xd8small")]))
    assert small.all("img")[0]["src"] == "data:image/jpeg;base64," + base64.b64encode(b"\xff\xd8small").decode()
    large = Page(board_html("job", [take(poster_jpeg=b"x" * (INLINE_POSTER_BYTES + 1))]))
    assert large.all("img")[0]["src"] == "../../posters/ab/abcdef.jpg"


def test_totals_count_takes_that_are_not_drawn_and_keep_the_quarantined() -> None:
    takes = [take(take=i + 1, gpu_s=1.0) for i in range(MOST_TAKES)]
    takes += [take(shot_id="last", state="quarantined", error_class="nan", gpu_s=1.0)]
    page = Page(board_html("job", takes))
    assert len(page.all("article")) == MOST_TAKES
    assert "last.0a1b2c3d.take-001" in "".join(a["id"] or "" for a in page.all("article"))
    text = " ".join(page.text)
    assert f"{MOST_TAKES + 1:,}.0" in text and "1 more takes are not drawn here" in text


def test_state_filters_are_the_states_there_are() -> None:
    page = Page(board_html("job", [take(), take(take=2, state="pending", media=None)]))
    assert [b["data-filter"] for b in page.all("button")] == ["", "committed", "pending"]
    assert [a["data-state"] for a in page.all("article")] == ["committed", "pending"]


def test_a_job_without_takes_says_so() -> None:
    assert "This job has no takes." in " ".join(Page(board_html("job", [])).text)


def test_time_of_the_page_is_shown() -> None:
    html = board_html("job", [], made=datetime(2026, 3, 4, 5, 6, tzinfo=UTC))
    assert "2026-03-04 05:06 UTC" in html


def test_row_with_other_keys_becomes_a_card() -> None:
    row = {"shot_id": "a", "take": 2, "state": "pending", "spec_key": "00", "gpu_s": None, "prompt": "x"}
    assert BoardTake.from_row(row) == BoardTake(shot_id="a", take=2, state="pending", prompt="x")


def test_a_card_tells_what_a_take_has_to_do_with_others() -> None:
    kin = {
        "parent": "hero", "scene": "harbour", "camera": "pan left", "identity": "<b>ann</b>",
        "source_shot": "opening-1", "picture_of": "hero.de",
        "encoded_prompt": "a red circle moves left, the camera pans left",
    }  # fmt: skip
    html = board_html("job", [take(**kin), take(shot_id="plain", encoded_prompt="a red circle moves left")])
    first, second = html.split("<article")[1:]
    for words in ("variant of", "hero", "harbour", "pan left", "starts from", "opening-1", "picture of", "hero.de"):
        assert words in first
    assert "encoded: a red circle moves left, the camera pans left" in first
    assert "&lt;b&gt;ann" in first
    assert "encoded:" not in second
    assert "variant of" not in second
