"""A page that is open while the yard is killed goes on when it is back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e import sources
from tests.e2e.conftest import Open, signed_in
from tests.faults.yard import Yard

NOTE = "[data-broken]"


@pytest.fixture(scope="module")
def mortal(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """A yard of these tests alone, to be killed."""
    yard = Yard(tmp_path_factory.mktemp("mortal")).start()
    yard.push("talks", sources.TALKS)
    yield yard
    yard.end()


@pytest.fixture(scope="module")
def its_session(chromium: Browser, mortal: Yard) -> Any:
    return signed_in(chromium, mortal)


@pytest.fixture
def open_there(open_window: Open, mortal: Yard, its_session: Any) -> Open:
    """Opens windows before that yard; that it was away is not held against them."""

    def make() -> Any:
        visit = open_window(signed=False, forgiving=True, url=mortal.url)
        visit.context.add_cookies(its_session["cookies"])
        return visit

    return make


def test_a_text_that_streams_goes_on_after_a_kill(open_there: Open, mortal: Yard) -> None:
    visit, list_of_models = open_there(), open_there()
    home = list_of_models.go("/")
    page = visit.go("/yard/talks?tokens=150&pause=0.05&lines=3")
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-prose]")).to_contain_text("token token token")
    expect(home.locator(".state.running")).to_be_visible()
    mortal.kill()
    expect(page.locator(NOTE)).to_be_visible()
    expect(home.locator(NOTE)).to_be_visible()
    mortal.start()
    visit.ended()
    assert (page.locator("[data-output]").text_content() or "").split() == ["token"] * 150
    assert (page.locator("[data-logs]").text_content() or "").count("of what it says beside") == 3
    expect(page.locator(".now .state")).to_have_text("succeeded")
    for each in (page, home):
        expect(each.locator(NOTE)).to_be_hidden()
    # The other page goes on too: it hears of what happens now.
    expect(home.locator(".state.done")).to_be_visible()
    assert not [said for said in visit.wrong if "ERR_" not in said]


def test_a_form_is_kept_while_the_yard_is_away(open_there: Open, mortal: Yard) -> None:
    visit = open_there()
    page = visit.go("/yard/talks")
    page.fill("[data-field=word] textarea", "kept ")
    page.fill("[data-field=tokens] input", "3")
    mortal.kill()
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-problem]")).to_contain_text("The yard does not answer")
    expect(page.get_by_role("button", name="Run")).to_be_visible()
    mortal.start()
    page.keyboard.press("Control+Enter")
    visit.ended()
    expect(page.locator("[data-output]")).to_have_text("kept kept kept ")


def test_a_run_that_ended_while_nobody_could_hear_it_is_shown_as_ended(open_there: Open, mortal: Yard) -> None:
    visit = open_there()
    page = visit.go("/yard/talks?tokens=40&pause=0.05")
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-prose]")).to_contain_text("token")
    made = mortal.http.get("/v1/predictions").json()["results"][0]["id"]
    visit.context.set_offline(True)
    mortal.finished(made)
    visit.context.set_offline(False)
    visit.ended()
    assert (page.locator("[data-output]").text_content() or "").split() == ["token"] * 40
    expect(page.get_by_role("button", name="Run")).to_be_visible()
    expect(page.locator(NOTE)).to_be_hidden()
