"""Both languages, both themes, small screens, the keyboard."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from browser.stage import Tab, World
from browser.stage import submit as submit_as
from factories import wait_until

pytestmark = pytest.mark.needs("chromium")

CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
PARTS = ("log", "usage", "result", "children", "asked", "history")


def places(world: World, failed: int) -> list[str]:
    """An address of every page."""
    return [
        "tasks?from=2020-01-01",
        *(f"tasks/{world.scan}?tab={part}" for part in PARTS),
        f"tasks/{failed}",
        "submit?executor=transfer",
        "preparations",
        "preparations/measurements",
        "preparations/measurements?tab=pieces",
        "nowhere",
    ]


@pytest.fixture(scope="module")
def failed(world: World) -> int:
    task = submit_as(world.ann, "echo", {"lines": 5, "fail": "for the looks"}, user="ann")
    world.service.wait_for(task)
    return task


def settled(tab: Tab, place: str) -> None:
    tab.go(place)
    tab.page.locator("main h1, main h3").first.wait_for()
    wait_until(lambda: tab.page.locator(".loading").count() == 0, what=place)


@pytest.mark.parametrize(("theme", "lang"), [("light", "en"), ("dark", "zh")])
def test_every_page_can_be_read(world: World, enter: Callable[..., Tab], failed: int, theme: str, lang: str) -> None:
    """Contrast of WCAG AA, and no text that was not translated."""
    tab = enter("ann", theme=theme, lang=lang)
    for place in places(world, failed):
        settled(tab, place)
        assert tab.page.evaluate(CONTRAST) == [], f"{theme} {place}"
        shown = tab.page.locator("main").inner_text()
        keys = re.findall(
            r"\b(?:nav|col|state|view|level|task|tasks|tab|log|plot|result|prep|submit|form|history|asked)\.[a-z]+\b", shown
        )
        assert not keys, f"{place}: {keys}"
    tab.page.evaluate("document.querySelector('main h3').style.color = '#8888'")  # that the measure does see a bad one
    assert tab.page.evaluate(CONTRAST)
    assert tab.page.locator("html").get_attribute("lang") == {"en": "en", "zh": "zh-CN"}[lang]


def test_the_theme_follows_the_system_until_one_is_chosen(enter: Callable[..., Tab]) -> None:
    tab = enter("bob")
    page = tab.go("tasks")
    background = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="light")
    light = page.evaluate(background)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(background)
    assert light != dark
    page.get_by_role("button", name=re.compile("^Theme")).click()
    wait_until(lambda: page.evaluate(background) == light)
    page.reload()
    page.get_by_role("button", name="Theme: light").wait_for()
    assert page.evaluate(background) == light


def test_the_language_is_changed_without_loading_anew_and_stays(enter: Callable[..., Tab]) -> None:
    page = enter("bob").go("tasks")
    page.get_by_role("button", name="中文 / English").click()
    page.get_by_role("heading", name="任务", exact=True).wait_for()
    page.reload()
    page.get_by_role("heading", name="任务", exact=True).wait_for()


def test_no_page_is_wider_than_a_small_screen(world: World, enter: Callable[..., Tab], failed: int) -> None:
    tab = enter("ann", width=390, height=800)
    for place in places(world, failed):
        settled(tab, place)
        wide = tab.page.evaluate("document.getElementById('main').scrollWidth - document.getElementById('main').clientWidth")
        assert wide <= 0, place


def test_everything_is_reached_with_the_keyboard_alone(world: World, tab: Tab, failed: int) -> None:
    page = tab.go(f"tasks/{failed}")
    page.locator(".line.mark").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent").strip() == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("tab", name="Log").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("tab", name="Resources").get_attribute("aria-selected") == "true"
    page.go_back()
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, a, input, select, textarea')]"
        ".filter((e) => e.checkVisibility() && !(e.ariaLabel || e.textContent.trim() || e.labels?.length))"
        ".map((e) => e.outerHTML)"
    )
    assert unnamed == []
