"""A real yard with models on it, and Debian's Chromium before it. What a page complains of fails its test.

The driver holds an event loop in this thread while it is open, so it is closed with the last test of this folder.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.e2e import sources
from tests.faults.yard import Yard

HOW_TO_HAVE_IT = "no Chromium was found: install it (Debian: apt-get install chromium)"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
EXAMPLES = Path(__file__).parents[2] / "examples"
WIDE = {"width": 1280, "height": 860}
NARROW = {"width": 390, "height": 800}
# Taking a picture, the test's own driver adds a style, which the page's policy forbids it.
_DRIVERS_OWN = "Applying inline style violates"


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """One browser for all."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip(HOW_TO_HAVE_IT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def yard(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """A running yard with the models of `sources`, and one that has no version."""
    yard = Yard(tmp_path_factory.mktemp("yard"), settings={"MODELYARD_FSYNC": "process"}).start()
    for name in ("inputs", "outputs", "talks", "gallery", "broken"):
        yard.push(name, getattr(sources, name.upper()))
    pushed = yard.command("push", "yard/hello-world", cwd=EXAMPLES / "hello-world")
    assert pushed.returncode == 0, pushed.stderr
    texts = {"description": "Takes every kind of input, and says what it was given.", "readme": sources.README}
    assert yard.http.patch("/v1/models/yard/inputs", json=texts).status_code == 200
    empty = {"owner": "yard", "name": "empty", "visibility": "public", "hardware": "cpu", "description": "Waits."}
    assert yard.http.post("/v1/models", json=empty).status_code == 201
    yield yard
    yard.end()


class Visit:
    """A browser window; `wrong` is what its pages complained of."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.wrong: list[str] = []
        self.page = context.new_page()
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: self.wrong.append(f"dialog: {dialog.message}"))
        self.page.on("console", self._said)

    def _said(self, message: Any) -> None:
        if message.type == "error" and _DRIVERS_OWN not in message.text:
            self.wrong.append(f"console: {message.text}")

    def go(self, path: str) -> Page:
        self.page.goto(self.url + path)
        return self.page

    def run(self, model: str, query: str = "", *, timeout: float = 60) -> Page:
        """Run a model with the inputs of a query, to its end."""
        page = self.go(f"/yard/{model}?{query}")
        page.keyboard.press("Control+Enter")
        self.ended(timeout)
        return page

    def ended(self, timeout: float = 60) -> None:
        """Until the page shows an end."""
        self.page.wait_for_selector(
            ":is(.now .state.done, .now .state.failed, .now .state.stopped)", timeout=timeout * 1000
        )
        self.page.wait_for_selector("[data-run]:not([data-stream])")


Open = Callable[..., Visit]


@pytest.fixture(scope="package")
def session(chromium: Browser, yard: Yard) -> Any:
    """The cookies of somebody who came through a link."""
    return signed_in(chromium, yard)


def signed_in(chromium: Browser, yard: Yard) -> Any:
    """Sign a new browser in, by a link; gives its cookies."""
    link = yard.http.post("/v1/login-links").json()["url"]
    context = chromium.new_context()
    page = context.new_page()
    page.goto(link)
    page.wait_for_url(f"{yard.url}/")
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def open_window(chromium: Browser, yard: Yard, session: Any) -> Iterator[Open]:
    """Opens windows; `signed=False` for a stranger's. `forgiving`: the test says itself what may be complained of."""
    made: list[tuple[Visit, bool]] = []

    def make(*, signed: bool = True, forgiving: bool = False, url: str | None = None, **options: Any) -> Visit:
        options.setdefault("viewport", WIDE)
        context = chromium.new_context(storage_state=session if signed else None, **options)
        context.set_default_timeout(30_000)
        made.append((Visit(context, url or yard.url), forgiving))
        return made[-1][0]

    yield make
    complaints = [said for visit, forgiving in made if not forgiving for said in visit.wrong]
    for visit, _ in made:
        visit.context.close()
    assert not complaints, complaints


@pytest.fixture
def visit(open_window: Open) -> Visit:
    """A window of somebody who signed in."""
    return open_window()


@pytest.fixture(scope="package")
def pictures() -> Path | None:
    """Where screenshots go: the folder that MODELYARD_SCREENSHOTS names, to be looked at. Else there are none."""
    told = os.environ.get("MODELYARD_SCREENSHOTS")
    if not told:
        return None
    folder = Path(told)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
