"""What a form does with files, wrong values and JSON; and what a page says of a model while it starts."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e import sources
from tests.e2e.conftest import Open, Visit
from tests.faults.yard import Yard

# Lets go of files over an element, or pastes them into it, as a browser would tell the page.
HAND_OVER = """([selector, kind, files]) => {
    const data = new DataTransfer();
    for (const [name, type, content] of files) {
        data.items.add(new File([Uint8Array.from(atob(content), (one) => one.charCodeAt(0))], name, { type }));
    }
    const how = { bubbles: true, cancelable: true };
    const event = kind === "paste" ? new ClipboardEvent(kind, { ...how, clipboardData: data })
        : new DragEvent(kind, { ...how, dataTransfer: data });
    document.querySelector(selector).dispatchEvent(event);
}"""


@pytest.fixture(scope="module")
def picture() -> bytes:
    made: dict[str, object] = {"zlib": zlib}
    exec(sources.PNG, made)
    content: bytes = made["png"]((200, 80, 40))  # type: ignore[operator]
    return content


def hand_over(page: Page, selector: str, kind: str, *files: tuple[str, bytes]) -> None:
    packed = [[name, "image/png", base64.b64encode(content).decode()] for name, content in files]
    page.evaluate(HAND_OVER, [selector, kind, packed])


def test_files_are_dropped_pasted_chosen_and_given_back(visit: Visit, picture: bytes, tmp_path: Path) -> None:
    page = visit.go("/yard/gallery?count=0")
    field = "[data-field=images]"
    hand_over(page, f"{field} [data-entries]", "drop", ("one.png", picture), ("two.png", picture))
    expect(page.locator(f"{field} [data-preview] img")).to_have_count(2)
    page.locator(f"{field} [data-add]").click()
    hand_over(page, f"{field} [data-entry]:last-child [data-address]", "paste", ("three.png", picture))
    page.locator(f"{field} [data-add]").click()
    (tmp_path / "four.png").write_bytes(picture)
    page.locator(f"{field} [data-entry]").last.locator("[data-file]").set_input_files(tmp_path / "four.png")
    expect(page.locator(f"{field} [data-progress]").last).to_contain_text("four.png, ")
    page.locator(f"{field} [data-entry]").first.get_by_role("button", name="Remove").click()
    expect(page.locator(f"{field} [data-preview] img")).to_have_count(3)
    page.keyboard.press("Control+Enter")
    visit.ended()
    expect(page.locator("[data-output] img")).to_have_count(3)
    # The page of it shows what went in by the names that the files had.
    page.goto(f"{visit.url}/p/{page.locator('[data-run]').get_attribute('data-run')}")
    names = page.locator("[aria-label=Input] img").evaluate_all("all => all.map((one) => one.alt)")
    assert sorted(names) == ["four.png", "three.png", "two.png"]


def test_a_file_beside_a_drop_zone_is_not_opened(visit: Visit, picture: bytes) -> None:
    page = visit.go("/yard/gallery?count=1")
    hand_over(page, "[data-field=count]", "drop", ("lost.png", picture))
    assert page.locator("[data-preview] img").count() == 0


def test_pictures_stand_there_as_they_come(visit: Visit) -> None:
    page = visit.go("/yard/gallery?count=6")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".now .state.running")).to_be_visible()
    expect(page.locator("[data-output] img").first).to_be_visible()
    assert page.locator("[data-output] img").count() < 6
    visit.ended()
    expect(page.locator("[data-output] img")).to_have_count(6)


def test_a_wrong_value_is_told_beside_its_field_whatever_starts_the_run(open_window: Open) -> None:
    visit = open_window(forgiving=True)
    page = visit.go("/yard/inputs?prompt=x")
    page.fill("[data-field=steps] .number", "999")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("[data-field=steps] [data-wrong]")).to_contain_text("50")
    page.fill("[data-field=steps] .number", "5")
    # Half a number, which the browser does not tell the page.
    page.locator("[data-field=seed] input").press_sequentially("-")
    page.locator("[data-field=seed] input").press("Home")
    page.locator("[data-field=seed] input").press_sequentially("e")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("[data-field=seed] [data-wrong]")).to_contain_text("no number")
    expect(page.locator("[data-result] [data-run]")).to_have_count(0)
    assert page.locator("[data-field=seed] input").get_attribute("aria-invalid") == "true"


def test_what_is_written_as_json_fills_the_form(visit: Visit) -> None:
    page = visit.go("/yard/inputs")
    page.get_by_role("tab", name="JSON").click()
    page.locator("[data-json]").fill(json.dumps({"prompt": "from JSON", "words": ["a", "b"], "loud": True}))
    page.get_by_role("tab", name="Form").click()
    expect(page.locator("[data-field=prompt] textarea")).to_have_value("from JSON")
    expect(page.locator("[data-field=words] textarea")).to_have_count(2)
    expect(page.locator("[data-field=loud] input")).to_be_checked()
    page.get_by_role("tab", name="JSON").click()
    page.locator("[data-json]").fill("{half")
    page.get_by_role("tab", name="Form").click()
    expect(page.locator("[data-problem]")).to_contain_text("not JSON")


def test_the_head_of_the_page_tells_what_the_model_does(visit: Visit, yard: Yard) -> None:
    yard.push("talks", sources.TALKS + "\n# made anew, so that nothing of it runs\n")
    page = visit.go("/yard/talks?tokens=30&pause=0.05")
    state = page.locator(".facts .state")
    expect(state).to_contain_text("asleep")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".now .words")).to_contain_text("starting the model")
    expect(state).to_have_text("starting")
    expect(state).to_have_text("running")
    visit.ended()
    expect(state).to_have_text("ready")
    start = page.locator(".bar .setup").get_attribute("width") or ""
    assert float(start.rstrip("%")) > 5, "the bar forgot how long the start took"


def test_a_model_that_cannot_start_says_why(visit: Visit) -> None:
    page = visit.run("broken")
    expect(page.locator(".failure .last-words")).to_contain_text("the weights are not what they should be")
    expect(page.locator("[data-logs]")).to_contain_text("in setup")


def test_a_filtered_list_is_live(visit: Visit, yard: Yard) -> None:
    def fail() -> None:
        body = {"input": {"kind": "fail"}}
        made = yard.http.post("/v1/models/yard/outputs/predictions", json=body, headers={"prefer": "wait"})
        assert made.json()["status"] == "failed"

    fail()
    page = visit.go("/predictions")
    page.get_by_label("State").select_option("failed")
    page.wait_for_url("**/predictions?status=failed")
    first = page.locator("tbody tr td[title]").first
    newest = first.get_attribute("title") or ""
    fail()
    expect(first).not_to_have_attribute("title", newest)
    expect(page.locator("tbody .state:not(.failed)")).to_have_count(0)
    page.get_by_label("Model", exact=True).fill("yard/hello-world")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_text("Nothing fits")).to_be_visible()
