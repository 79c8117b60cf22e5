"""The board in a real browser: it works from a disk, plays films, filters, asks nothing of the network."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.board import BoardTake, board_html
from infra.media import encode_film, poster

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH (apt-get install chromium)")

JOB = "nightly-0123456789ab"
HOSTILE = '<img src=x onerror="document.title=\'broken\'"><script>document.title="broken"</script>'


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store's folders with one film and one poster."""
    root = tmp_path_factory.mktemp("store")
    frames = np.zeros((12, 96, 128, 3), np.uint8)
    for index in range(12):
        frames[index, 30:60, 8 * index : 8 * index + 30] = (230, 60, 60)
    for folder in ("shots", "posters", f"jobs/{JOB}"):
        (root / folder).mkdir(parents=True)
    encode_film(frames, root / "shots/film.mp4", fps=12)
    (root / "posters/film.jpg").write_bytes(poster(frames))
    return root


def take(number: int, **changes: Any) -> BoardTake:
    values: dict[str, Any] = {
        "shot_id": f"shot-{number:04d}",
        "take": 1,
        "state": "committed",
        "prompt": f"a red circle moves left, number {number}",
        "seed": number,
        "width": 128,
        "height": 96,
        "frames": 12,
        "fps": 12.0,
        "media": "shots/film.mp4",
        "poster": "posters/film.jpg",
        "gpu_s": 1.5,
    }
    return BoardTake(**{**values, **changes})


class Opened:
    """A board opened in the browser, with what it asked for and complained of."""

    def __init__(self, browser: Any, store: Path, takes: list[BoardTake], **options: Any) -> None:
        path = store / "jobs" / JOB / "board.html"
        path.write_text(board_html(JOB, takes, **options), encoding="utf-8")
        self.page = browser.new_page(viewport={"width": 1280, "height": 800})
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(path.as_uri())

    def wait_until(self, expression: str, seconds: float = 15.0) -> None:
        """Polls from outside: the page's policy allows no evaluation within."""
        deadline = time.monotonic() + seconds
        while not self.page.evaluate(expression):
            assert time.monotonic() < deadline, expression
            self.page.wait_for_timeout(50)

    def shown(self) -> list[str]:
        """Shots of the cards that are shown. innerText would be empty for a card that is not painted yet
        (content-visibility), so textContent."""
        found: list[str] = self.page.eval_on_selector_all(
            "article:not([hidden]) h2", "all => all.map(h => h.textContent)"
        )
        return [text.split()[0] for text in found]


def test_film_plays_when_its_poster_is_clicked(browser: Any, store: Path) -> None:
    opened = Opened(browser, store, [take(0), take(1)])
    assert not any(url.endswith(".mp4") for url in opened.requests), "films load when they are asked for"
    opened.page.locator("a.play").first.click()
    opened.wait_until("document.querySelector('video').currentTime > 0.2")
    assert opened.page.evaluate("document.querySelector('video').videoWidth") == 128
    assert opened.page.evaluate("document.querySelector('.picture img').naturalWidth") > 0
    assert opened.complaints == []
    assert all(url.startswith("file:///") for url in opened.requests)
    opened.page.close()


def test_missing_film_is_told(browser: Any, store: Path) -> None:
    opened = Opened(browser, store, [take(0, media="shots/gone.mp4")])
    opened.page.locator("a.play").click()
    opened.page.wait_for_selector(".play[title*='could not be loaded']", timeout=15_000)
    opened.page.close()


def test_states_and_words_filter(browser: Any, store: Path) -> None:
    failed = {"state": "quarantined", "media": None, "poster": None, "error_class": "nan", "message": "NaN in step 4"}
    opened = Opened(browser, store, [take(0), take(1, **failed), take(2), take(3, state="pending", media=None)])
    page = opened.page
    page.get_by_role("button", name="Quarantined 1").click()
    assert opened.shown() == ["shot-0001"]
    page.get_by_role("button", name="All 4").click()
    page.keyboard.press("/")
    page.keyboard.type("nan step")
    assert opened.shown() == ["shot-0001"] and page.inner_text("#shown") == "1 of 4 shown"
    page.fill("#search", "shot-0002")
    assert opened.shown() == ["shot-0002"]
    page.fill("#search", "nothing like that")
    assert opened.shown() == [] and page.is_visible("#empty")
    page.keyboard.press("Escape")
    assert len(opened.shown()) == 4
    assert opened.complaints == []
    page.close()


def test_hostile_prompt_is_shown_and_does_nothing(browser: Any, store: Path) -> None:
    opened = Opened(browser, store, [take(0, prompt=HOSTILE, error_class="input", message=HOSTILE, replay=HOSTILE)])
    opened.page.wait_for_timeout(300)
    assert opened.page.title() == f"{JOB} · rushes"
    assert opened.page.inner_text(".prompt") == HOSTILE
    assert opened.complaints == []
    opened.page.close()


def test_script_that_got_in_would_not_run(browser: Any, store: Path) -> None:
    path = store / "jobs" / JOB / "broken.html"
    path.write_text(board_html(JOB, [take(0)]).replace("</main>", "<script>document.title='broken'</script></main>"))
    page = browser.new_page()
    page.goto(path.as_uri())
    assert page.title() == f"{JOB} · rushes"
    page.close()


def test_a_thousand_takes_open_and_filter_at_once(browser: Any, store: Path) -> None:
    takes = [take(number, state="committed" if number % 9 else "pending") for number in range(1000)]
    began = time.monotonic()
    opened = Opened(browser, store, takes)
    loaded = time.monotonic() - began
    spent = opened.page.evaluate(
        "() => { const began = performance.now(); const search = document.getElementById('search');"
        " search.value = 'shot-077'; search.dispatchEvent(new Event('input'));"
        " document.body.offsetHeight; return performance.now() - began; }"
    )
    assert len(opened.shown()) == 10
    assert spent < 1000, f"{spent:.0f} ms"  # 30 ms on a machine that does nothing else
    assert loaded < 15, f"{loaded:.1f} s"
    opened.page.close()


def test_it_is_read_on_a_telephone(browser: Any, store: Path) -> None:
    opened = Opened(browser, store, [take(0, shot_id="x" * 128, prompt="y" * 4000)])
    opened.page.set_viewport_size({"width": 360, "height": 740})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 360
    opened.page.close()


def test_controls_have_names_and_the_order_is_that_of_the_page(browser: Any, store: Path) -> None:
    opened = Opened(browser, store, [take(0)])
    page = opened.page
    assert page.get_by_role("searchbox", name="Search shots, prompts and errors").count() == 1
    assert page.get_by_role("link", name="Play shot-0000, take 1").count() == 1
    assert page.get_by_role("heading", level=1).inner_text() == JOB
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "All 1"
    page.close()
