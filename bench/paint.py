"""How heavy the first page is, and how soon it is painted on a quarter of a CPU.

Debian's Chromium, driven by Playwright. Two readers: one whose browser runs and has kept nothing of this site, as
developer tools measure a page with their cache disabled; and one with a new browser profile, for whom the browser
starts a process and finds its fonts first. Beside each, a page that is one word, which is what that browser takes
for itself.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import load
import targets
from processes import Server
from session import Session

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession, Page

SAMPLES_A_ROUND = 5
SLOWED = 4
CARDS = 24  # a full first page
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
FLOOR = b"<!doctype html><title>One word</title><p>hello"
# The symbol of the page comes after all else; the paint is told of when it has been.
_SETTLED_MS = 700
_TIMES = """() => ({
    byte: performance.getEntriesByType("navigation")[0].responseStart,
    paint: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? null,
})"""


def paint(session: Session) -> None:
    """The first page of a yard full of models, and the page of a model."""
    # Here, so that the other cases run where there is no browser to drive.
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    if program is None:
        raise load.MeasuringError("chromium is not here: apt-get install chromium")
    with _floor() as floor, targets.yard(session.scratch, name="yard paint") as server, sync_playwright() as playwright:
        model = targets.push(server, targets.HELLO_SYNC).model
        _fill(server)
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        cookies = _sign_in(browser, server)
        own = server.url
        pages = {"one word": floor, "first page": f"{own}/", "page of a model": f"{own}/{targets.OWNER}/{model.name}"}
        samples = [who for _ in range(session.rounds * SAMPLES_A_ROUND) for who in pages]
        for who in samples:
            session.figures.add("paint", who, **_visit(browser, cookies, pages[who]))
        with _reader(browser, cookies) as (page, _):
            # The first page of a site moves a tab to a process of that site.
            page.goto(floor)
            for who in samples:
                session.figures.add("paint", who, paint_ms=_painted(page, pages[who]))
        browser.close()
    for who in pages:
        values = {what: session.figures.get("paint", who, what) for what in session.figures.what("paint")}
        print(f"  paint    {who:18} " + "  ".join(f"{what}={value:.4g}" for what, value in values.items()), flush=True)


class _OneWord(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(FLOOR)))
        self.end_headers()
        self.wfile.write(FLOOR)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def _floor() -> Iterator[str]:
    """The address of a page that is one word."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _OneWord) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def _fill(server: Server) -> None:
    """Models enough for a full page, each with something to say."""
    connection = load.Connection(server.url)
    for number in range(CARDS - 1):
        body = {
            "owner": targets.OWNER,
            "name": f"model-{number}",
            "visibility": "private",
            "hardware": "cpu",
            "description": f"Number {number} of the models that make a first page as full as it can be.",
        }
        status, reply = connection.ask("POST", "/v1/models", body=body, headers=targets.authorization())
        if status != 201:
            raise load.MeasuringError(f"creating a model was answered {status}: {reply[:300]!r}")
    connection.close()


def _sign_in(browser: Browser, server: Server) -> Any:
    connection = load.Connection(server.url)
    status, reply = connection.ask("POST", "/v1/login-links", body={}, headers=targets.authorization())
    connection.close()
    if status != 201:
        raise load.MeasuringError(f"a link to sign in with was answered {status}: {reply[:300]!r}")
    context = browser.new_context()
    page = context.new_page()
    page.goto(json.loads(reply)["url"])
    page.wait_for_url(f"{server.url}/")
    state = context.storage_state()
    context.close()
    return state


@contextlib.contextmanager
def _reader(browser: Browser, cookies: Any) -> Iterator[tuple[Page, CDPSession]]:
    """A tab of a new profile, slowed, that keeps nothing."""
    context = browser.new_context(storage_state=cookies)
    page = context.new_page()
    wire = context.new_cdp_session(page)
    wire.send("Network.enable")
    wire.send("Network.setCacheDisabled", {"cacheDisabled": True})
    wire.send("Emulation.setCPUThrottlingRate", {"rate": SLOWED})
    yield page, wire
    context.close()


def _visit(browser: Browser, cookies: Any, url: str) -> dict[str, float]:
    kinds: dict[str, str] = {}
    sizes: dict[str, float] = {}
    with _reader(browser, cookies) as (page, wire):
        wire.on("Network.responseReceived", lambda event: kinds.update({event["requestId"]: event["type"]}))
        wire.on("Network.loadingFinished", lambda event: sizes.update({event["requestId"]: event["encodedDataLength"]}))
        painted = _painted(page, url)
    return {
        "kilobytes": sum(sizes.values()) / 1000,
        "script_kilobytes": sum(size for request, size in sizes.items() if kinds.get(request) == "Script") / 1000,
        "new_profile_paint_ms": painted,
    }


def _painted(page: Page, url: str) -> float:
    """Milliseconds from the first byte of a page to its first contentful paint."""
    page.goto(url, wait_until="load")
    page.wait_for_timeout(_SETTLED_MS)
    times = page.evaluate(_TIMES)
    if times["paint"] is None:
        raise load.MeasuringError(f"{url} was never painted")
    return float(times["paint"] - times["byte"])
