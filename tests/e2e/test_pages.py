"""Every page, in both themes and two widths: nothing that axe finds, nothing beside the screen, light on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import NARROW, WIDE, Open, Visit, signed_in
from tests.faults.yard import Yard

THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
NARROWEST = {"width": 360, "height": 740}
KINDS = {
    "text": {"text": "A text, as it is."},
    "number": {},
    "none": {},
    "json": {"text": "inside"},
    "table": {"text": "row ", "count": 6},
    "one png": {"count": 1},
    "png": {"count": 5},
    "wav": {"count": 1},
    "csv": {"count": 2, "text": "report"},
    "fail": {"text": "The mill has no water."},
}

Shown = dict[str, str]


# For this module alone: what runs here would keep the tests of others waiting.
@pytest.fixture(scope="module")
def shown(yard: Yard) -> Iterator[Shown]:
    """Ids of predictions by what they show: each kind of output, and each state."""
    made = {kind: create(yard, "outputs", {"kind": kind.split()[-1], **values}) for kind, values in KINDS.items()}
    made["story"] = create(yard, "talks", {"tokens": 400, "lines": 30})
    made["echo"] = create(yard, "inputs", {"prompt": "All of it", "words": ["one", "two"], "key": "hidden"})
    made["no start"] = create(yard, "broken", {})
    for prediction_id in made.values():
        yard.finished(prediction_id)
    running = [create(yard, "talks", {"tokens": 100_000, "pause": 0.05}) for _ in range(8)]
    yard.until(running[0], lambda found: len(found["output"] or ()) > 20)
    yard.http.post(f"/v1/predictions/{running[0]}/cancel")
    yard.until(running[1], lambda found: len(found["output"] or ()) > 20)
    yield {**made, "canceled": running[0], "running": running[1], "waiting": running[-1]}
    for prediction_id in running:
        yard.http.post(f"/v1/predictions/{prediction_id}/cancel")
        yard.finished(prediction_id)


def create(yard: Yard, model: str, values: dict[str, Any]) -> str:
    reply = yard.http.post(f"/v1/models/yard/{model}/predictions", json={"input": values})
    assert reply.status_code == 201, reply.text
    return str(reply.json()["id"])


def pages(shown: Shown) -> dict[str, str]:
    """All pages of somebody who has signed in, by name."""
    return {
        "home": "/",
        "search": "/search?q=every",
        "search-nothing": "/search?q=zebra",
        "model": "/yard/inputs",
        "model-without-a-version": "/yard/empty",
        "model-pictures": f"/yard/outputs?prediction-id={shown['png']}",
        "model-failed": f"/yard/outputs?prediction-id={shown['fail']}",
        "model-running": f"/yard/talks?prediction-id={shown['running']}",
        "model-api": "/yard/inputs/api",
        "model-examples": "/yard/outputs/examples",
        "model-versions": "/yard/inputs/versions",
        "model-readme": "/yard/inputs/readme",
        "predictions": "/predictions",
        "predictions-nothing-fits": "/predictions?status=aborted",
        **{f"prediction-{name.replace(' ', '-')}": f"/p/{prediction_id}" for name, prediction_id in shown.items()},
        "yard": "/yard",
        "nothing": "/yard/no-such-model",
        "login": "/login",
    }


def test_every_page_is_in_order(open_window: Open, shown: Shown, pictures: Path | None) -> None:
    visit = open_window(reduced_motion="reduce", forgiving=True)
    assert "\n".join(looked(visit, pages(shown), pictures)) == ""
    assert not [said for said in visit.wrong if "404" not in said]


def test_every_page_without_a_session_is_in_order(open_window: Open, pictures: Path | None) -> None:
    visit = open_window(signed=False, forgiving=True)
    paths = {"home": "/", "predictions": "/predictions", "login": "/login", "private": "/yard/outputs"}
    assert "\n".join(looked(visit, {f"stranger-{name}": path for name, path in paths.items()}, pictures)) == ""


@pytest.fixture(scope="package")
def empty_yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    yard = Yard(tmp_path_factory.mktemp("empty")).start()
    yield yard
    yard.end()


@pytest.fixture(scope="package")
def empty_session(chromium: Browser, empty_yard: Yard) -> Any:
    return signed_in(chromium, empty_yard)


def test_an_empty_yard_says_what_to_type(
    open_window: Open, empty_yard: Yard, empty_session: Any, pictures: Path | None
) -> None:
    visit = open_window(signed=False, url=empty_yard.url)
    visit.context.add_cookies(empty_session["cookies"])
    expect(visit.go("/").locator(".empty code").first).to_contain_text(f"yard login {empty_yard.url}")
    paths = {"home": "/", "predictions": "/predictions", "yard": "/yard"}
    assert "\n".join(looked(visit, {f"empty-{name}": path for name, path in paths.items()}, pictures)) == ""


def looked(visit: Visit, paths: dict[str, str], pictures: Path | None) -> list[str]:
    """Look at all pages, in each theme; gives what is wrong with them, in words."""
    wrong = []
    for name, path in paths.items():
        page = visit.go(path)
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)
            found = [*measured(page, pictures and pictures / f"{name}-{theme}"), *axe(page)]
            wrong += [f"{name}, {theme}: {one}" for one in found]
    return wrong


def measured(page: Page, picture: Path | None) -> list[str]:
    """What stands beside the screen, in each width; takes pictures, if they are wanted."""
    wrong = []
    for size in (WIDE, NARROW):
        page.set_viewport_size(size)  # type: ignore[arg-type]
        if picture is not None:
            page.screenshot(path=f"{picture}-{size['width']}.png", full_page=True)
        wrong += beside(page)
    page.set_viewport_size(NARROWEST)  # type: ignore[arg-type]
    wrong += beside(page)
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    return wrong


def axe(page: Page) -> list[str]:
    """What axe finds: rules with the first elements that break them."""
    return [
        f"{found['id']}: {found['help']}: " + "; ".join(node["html"][:200] for node in found["nodes"][:4])
        for found in Axe().run(page).response["violations"]
    ]


def beside(page: Page) -> list[str]:
    """What stands so far to the right that the whole page would have to be scrolled sideways."""
    found = page.evaluate(
        """() => document.documentElement.scrollWidth <= innerWidth ? [] :
           [...document.querySelectorAll("body *")].filter(one => one.getBoundingClientRect().right > innerWidth + 1)
           .slice(0, 3).map(one => `beside a screen of ${innerWidth}: ${one.outerHTML.slice(0, 120)}`)"""
    )
    return list(found)


def test_at_twice_the_size_nothing_is_beside_the_screen(open_window: Open, shown: Shown) -> None:
    # A window of 1280 pixels at 200 % is one of 640 with twice as many dots.
    visit = open_window(viewport={"width": 640, "height": 430}, device_scale_factor=2)
    for path in ("/", "/yard/inputs", f"/p/{shown['table']}", f"/p/{shown['echo']}", "/predictions", "/yard"):
        assert not beside(visit.go(path)), path
    page = visit.run("hello-world", "text=large")
    expect(page.locator("[data-output]")).to_have_text("hello large")


@pytest.mark.parametrize("path", ["/", "/yard/inputs"])
def test_a_first_page_is_light(open_window: Open, path: str) -> None:
    visit = open_window()
    wire = visit.context.new_cdp_session(visit.page)
    wire.send("Network.enable")
    kinds: dict[str, str] = {}
    sizes: dict[str, float] = {}
    wire.on("Network.responseReceived", lambda event: kinds.update({event["requestId"]: event["type"]}))
    wire.on("Network.loadingFinished", lambda event: sizes.update({event["requestId"]: event["encodedDataLength"]}))
    visit.page.goto(visit.url + path, wait_until="load")
    # Requests that had not ended at `load`, the symbol of the page for one.
    visit.page.wait_for_timeout(500)
    scripts = sum(size for request, size in sizes.items() if kinds.get(request) == "Script")
    assert 0 < scripts <= 40_000
    assert scripts < sum(sizes.values()) <= 100_000
