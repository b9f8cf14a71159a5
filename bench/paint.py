"""How heavy the first page is, and how soon it is painted: in a browser that knows nothing yet, on a quarter of a CPU.

Debian's Chromium, driven by Playwright. Each sample is a new browser profile with the session's cookie alone.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import load
import targets
from processes import Server
from session import Session

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SAMPLES_A_ROUND = 5
SLOWED = 4
CARDS = 24  # a full first page
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
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
    with targets.yard(session.scratch, name="yard paint") as server, sync_playwright() as playwright:
        model = targets.push(server, targets.HELLO_SYNC).model
        _fill(server)
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        cookies = _sign_in(browser, server)
        pages = {"first page": "/", "page of a model": f"/{targets.OWNER}/{model.name}"}
        for _ in range(session.rounds * SAMPLES_A_ROUND):
            for who, path in pages.items():
                session.figures.add("paint", who, **_visit(browser, cookies, server.url + path))
        browser.close()
    for who in pages:
        values = {what: session.figures.get("paint", who, what) for what in session.figures.what("paint")}
        print(f"  paint    {who:18} " + "  ".join(f"{what}={value:.4g}" for what, value in values.items()), flush=True)


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


def _visit(browser: Browser, cookies: Any, url: str) -> dict[str, float]:
    context = browser.new_context(storage_state=cookies)
    page = context.new_page()
    wire = context.new_cdp_session(page)
    wire.send("Network.enable")
    wire.send("Emulation.setCPUThrottlingRate", {"rate": SLOWED})
    kinds: dict[str, str] = {}
    sizes: dict[str, float] = {}
    wire.on("Network.responseReceived", lambda event: kinds.update({event["requestId"]: event["type"]}))
    wire.on("Network.loadingFinished", lambda event: sizes.update({event["requestId"]: event["encodedDataLength"]}))
    page.goto(url, wait_until="load")
    # The symbol of the page comes after all else; the paint is told of when it has been.
    page.wait_for_timeout(700)
    times = page.evaluate(_TIMES)
    context.close()
    if times["paint"] is None:
        raise load.MeasuringError(f"{url} was never painted")
    return {
        "kilobytes": sum(sizes.values()) / 1000,
        "script_kilobytes": sum(size for request, size in sizes.items() if kinds.get(request) == "Script") / 1000,
        "paint_ms": times["paint"] - times["byte"],
    }
