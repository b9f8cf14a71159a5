"""Much of everything: the page stays quick, and says what it left out."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.e2e.conftest import Visit
from tests.e2e.test_running import WATCH, output

# A page that stops for longer than this is felt; the machine that tests may be busy.
FELT_MS = 500
NODES = 8000


def watched(visit: Visit, model: str, query: str) -> None:
    page = visit.go(f"/yard/{model}?{query}")
    page.evaluate(WATCH)
    page.keyboard.press("Control+Enter")
    visit.ended(100)
    assert page.evaluate("window.longest") < FELT_MS
    assert page.evaluate("document.querySelectorAll('*').length") < NODES


def test_a_hundred_thousand_tokens(visit: Visit) -> None:
    watched(visit, "talks", "tokens=100000")
    assert len(output(visit.page)) < 210_000
    expect(visit.page.locator("[data-cut]")).to_contain_text("of 606,250 are shown")
    with visit.page.expect_download() as saved:
        visit.page.locator("[data-cut] a").click()
    assert saved.value.path().read_text().count("token") == 100_000


def test_a_million_lines_of_log(visit: Visit) -> None:
    watched(visit, "talks", "tokens=3&lines=1000000")
    page = visit.page
    assert "line 999999 " in (page.locator("[data-logs]").text_content() or "")
    assert len(page.locator("[data-logs]").text_content() or "") <= 200_000
    page.locator("[data-log-box] summary").click()
    expect(page.locator("[data-log-cut]")).to_be_visible()
    with page.expect_download() as saved:
        page.locator("[data-log-cut] a").click()
    assert saved.value.path().read_text().count("\n") >= 1_000_000


def test_ten_megabytes_of_json(visit: Visit) -> None:
    watched(visit, "outputs", "kind=big&count=100000")
    page = visit.page
    expect(page.locator("[data-output] .note")).to_contain_text("left out")
    assert len(page.content()) < 1_000_000
    with page.expect_download() as saved:
        page.locator("[data-output] .note a").click()
    assert saved.value.path().stat().st_size > 10_000_000


def test_five_hundred_pictures(visit: Visit) -> None:
    watched(visit, "outputs", "kind=png&count=500")
    page = visit.page
    assert page.locator("[data-output] img").count() == 60
    expect(page.locator("[data-output] .note")).to_contain_text("60 of 500")
    page.get_by_role("link", name="Show all").click()
    expect(page.locator("[data-output] img")).to_have_count(500)
    broken = "all => all.filter((one) => one.complete && !one.naturalWidth).length"
    assert page.locator("[data-output] img").evaluate_all(broken) == 0


def test_a_long_table(visit: Visit) -> None:
    watched(visit, "outputs", "kind=table&count=5000")
    expect(visit.page.locator("[data-output] tbody tr")).to_have_count(200)
    expect(visit.page.locator("[data-output] .note")).to_contain_text("200 of 5,000 rows")


def test_ten_megabytes_of_text(visit: Visit) -> None:
    watched(visit, "outputs", "kind=long&count=10000000")
    expect(visit.page.locator("[data-output] .note")).to_contain_text("of 10,000,000 are shown")
