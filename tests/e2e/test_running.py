"""From the first visit to a result: inputs of every kind, waiting, streaming, failing, stopping."""

from __future__ import annotations

import json
import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.e2e import sources
from tests.e2e.conftest import NARROW, Open, Visit
from tests.faults.yard import Yard

WATCH = """() => {
    window.shifted = 0;
    window.longest = 0;
    const watch = (type, told) =>
        new PerformanceObserver((list) => list.getEntries().forEach(told)).observe({ type, buffered: true });
    watch("layout-shift", (one) => (window.shifted += one.hadRecentInput ? 0 : one.value));
    watch("longtask", (one) => (window.longest = Math.max(window.longest, one.duration)));
}"""


def output(page: Page) -> str:
    return page.locator("[data-output]").text_content() or ""


def test_a_first_visit_ends_with_a_result(open_window: Open, yard: Yard) -> None:
    stranger = open_window(signed=False)
    page = stranger.go("/")
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    page.goto(yard.http.post("/v1/login-links").json()["url"])
    page.wait_for_url(f"{yard.url}/")
    page.get_by_role("link", name="yard/talks").click()
    page.get_by_role("button", name="Run").click()
    stranger.ended()
    assert output(page).split() == ["token"] * 20
    assert "prediction-id=" in page.url
    page.reload()
    assert output(page).split() == ["token"] * 20


def test_a_run_is_counted_on_the_page_that_ran_it(visit: Visit, yard: Yard) -> None:
    before = yard.http.get("/v1/models/yard/hello-world").json()["run_count"]
    page = visit.run("hello-world", "text=you")
    expect(page.locator("main .facts[data-live]").first).to_contain_text(f"{before + 1} run")
    # This one is over before the page could follow it.
    page.keyboard.press("Control+Enter")
    expect(page.locator("main .facts[data-live]").first).to_contain_text(f"{before + 2} run")


def test_every_kind_of_input_reaches_the_model(visit: Visit, yard: Yard, tmp_path: Path) -> None:
    picture = tmp_path / "picture.bin"
    picture.write_bytes(b"\x89PNG1234")
    page = visit.go("/yard/inputs")
    page.fill("[data-field=prompt] textarea", "hello\nthere")
    page.fill("[data-field=steps] .number", "7")
    page.locator("[data-field=strength] input[type=range]").fill("0.75")
    page.fill("[data-field=seed] input", "99")
    page.check("[data-field=loud] input")
    page.get_by_text("bold", exact=True).click()
    page.select_option("[data-field=size] select", label="xl")
    page.locator("summary", has_text="More").click()
    page.set_input_files("[data-field=image] [data-file]", picture)
    uploaded = re.compile(re.escape(yard.url) + r"/v1/files/\w{26}")
    expect(page.locator("[data-field=image] [data-address]")).to_have_value(uploaded)
    for word in ("one", "two"):
        page.locator("[data-field=words] [data-add]").click()
        page.locator("[data-field=words] textarea").last.fill(word)
    page.locator("[data-field=numbers] [data-add]").click()
    page.locator("[data-field=numbers] input").last.fill("5")
    page.fill("[data-field=options] textarea", '{"a": [1, null]}')
    page.fill("[data-field=key] input", "abc123")
    page.fill("[data-field=note] textarea", "noted")
    assert page.locator(".field.changed").count() == 13
    page.keyboard.press("Control+Enter")
    visit.ended()
    assert "abc123" not in page.url
    made = yard.http.get("/v1/predictions").json()["results"][0]
    assert made["source"] == "web"
    assert made["output"] == {
        "prompt": "hello\nthere",
        "steps": 7,
        "strength": 0.75,
        "seed": 99,
        "loud": True,
        "style": "bold",
        "size": "xl",
        "image": b"\x89PNG1234".hex()[:16],
        "words": ["one", "two"],
        "numbers": [5],
        "options": {"a": [1, None]},
        "key": 6,
        "note": "noted",
    }


def test_an_error_stands_beside_its_field(open_window: Open) -> None:
    visit = open_window(forgiving=True)
    page = visit.go("/yard/inputs?steps=500")
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-field=steps] [data-wrong]")).to_contain_text("less than or equal to 50")
    expect(page.locator("[data-field=prompt] [data-wrong]")).to_contain_text("required")
    page.fill("[data-field=options] textarea", "{")
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-field=options] [data-wrong]")).to_contain_text("not JSON")


def test_changed_fields_show_it_and_go_back(visit: Visit) -> None:
    page = visit.go("/yard/inputs?steps=9&style=odd")
    names = page.locator(".field.changed").evaluate_all("all => all.map((one) => one.dataset.field)")
    assert names == ["steps", "style"]
    page.locator("[data-field=steps] [data-back]").click()
    expect(page.locator("[data-field=steps] .number")).to_have_value("4")
    page.wait_for_url("**/yard/inputs?style=odd")


def test_form_and_code_are_views_of_the_same_inputs(visit: Visit, yard: Yard) -> None:
    page = visit.go("/yard/outputs?text=a%22b%27c")
    words = {"Python": "replicate.Client(", "JavaScript": "new Replicate", "curl": "curl -s", "yard": "yard run"}
    for name, wanted in words.items():
        page.get_by_role("tab", name=name, exact=True).click()
        sample = page.locator("[data-sample]:visible")
        expect(sample).to_contain_text(wanted)
        expect(sample).to_contain_text("yard/outputs")
    page.get_by_role("tab", name="JSON").click()
    written = page.locator("[data-json]")
    assert json.loads(written.input_value()) == {"text": "a\"b'c"}
    written.fill('{"text": "edited", "count": 5}')
    page.get_by_role("tab", name="Form").click()
    expect(page.locator("[data-field=text] textarea")).to_have_value("edited")
    expect(page.locator("[data-field=count] input")).to_have_value("5")


def test_a_cold_start_is_explained_and_streams_without_moving_the_page(visit: Visit, yard: Yard) -> None:
    wait_until_asleep(yard)
    page = visit.go("/yard/talks?tokens=5000&pause=0.0002")
    page.evaluate(WATCH)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".now .words:has-text('starting the model')")
    page.wait_for_selector(".now .words:has-text('running')")
    visit.ended()
    assert output(page).split() == ["token"] * 5000
    assert page.evaluate("window.shifted") < 0.02
    assert page.evaluate("window.longest") < 200


def wait_until_asleep(yard: Yard) -> None:
    """A version that no instance has: the same code, pushed under another name."""
    yard.push("talks", sources.TALKS + "\n# again\n")


def test_a_cancel_by_key_and_by_button(visit: Visit, yard: Yard) -> None:
    page = visit.go("/yard/outputs?kind=slow&count=60")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".now .words:has-text('running')")
    page.keyboard.press("Escape")
    visit.ended()
    expect(page.locator(".now .state")).to_have_text("canceled")
    page.get_by_role("button", name="Run").click()
    page.wait_for_selector(".now .words:has-text('running')")
    page.locator("[data-cancel-button]").click()
    page.wait_for_selector(".now .state.stopped")


def test_a_failure_says_the_models_last_words_first(visit: Visit) -> None:
    page = visit.run("outputs", "kind=fail&text=no%20%3Cb%3Ememory%3C/b%3E")
    expect(page.locator(".failure .last-words")).to_have_text("ValueError: no <b>memory</b>")
    expect(page.locator("[data-logs]")).to_contain_text("Traceback")
    expect(page.locator("#result .failure")).to_contain_text("What to try")


def test_back_goes_to_the_run_before(visit: Visit) -> None:
    page = visit.run("outputs", "text=first")
    page.fill("[data-field=text] textarea", "second")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("[data-prose]:has-text('second'), .prose:has-text('second')")
    page.go_back()
    page.wait_for_selector(".prose:has-text('first')")
    expect(page.locator("[data-field=text] textarea")).to_have_value("first")


def test_a_narrow_page_runs_too(open_window: Open) -> None:
    visit = open_window(viewport=NARROW, has_touch=True)
    page = visit.go("/yard/talks?tokens=30")
    page.get_by_role("button", name="Run").click()
    visit.ended()
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]


def test_it_works_by_keyboard_alone(visit: Visit) -> None:
    page = visit.go("/")
    page.keyboard.press("/")
    page.keyboard.type("outputs")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?q=outputs")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "yard/outputs":
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/yard/outputs")
    assert page.evaluate("getComputedStyle(document.querySelector('[data-run-button]')).visibility") == "visible"
    page.keyboard.press("Control+Enter")
    visit.ended()
    assert "plain words" in output(page)


def test_pages_can_be_read_without_scripts(open_window: Open, yard: Yard) -> None:
    made = yard.http.post(
        "/v1/models/yard/outputs/predictions", json={"input": {"text": "for all"}}, headers={"prefer": "wait"}
    ).json()
    visit = open_window(java_script_enabled=False)
    page = visit.go(f"/p/{made['id']}")
    assert "for all" in output(page)
    for path in ("/", "/yard/outputs", "/yard/outputs/api", "/predictions", "/yard"):
        assert visit.go(path).locator("h1").count() == 1
