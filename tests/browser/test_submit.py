"""The submit page: a form for every executor, from its schema."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from browser.stage import Tab, World
from browser.stage import submit as submit_as
from factories import LINKIS, wait_until
from playwright.sync_api import Page

pytestmark = pytest.mark.needs("chromium")


def sent(world: World, page: Page) -> dict[str, Any]:
    """Press the button and return the task that was made."""
    page.get_by_role("button", name="Submit", exact=True).click()
    page.wait_for_url(re.compile(r"#/tasks/\d+"))
    task: dict[str, Any] = world.ann.get(f"{LINKIS}/jobhistory/{page.url.rpartition('/')[2]}/get").data["task"]
    return task


def test_every_executor_has_a_form_with_all_its_parameters(world: World, tab: Tab) -> None:
    page = tab.go("submit")
    executors = world.ann.get(f"{LINKIS}/executors").data["executors"]
    page.get_by_role("radio", name=re.compile("^echo")).wait_for()
    assert page.get_by_role("radiogroup").get_by_role("radio").count() == len(executors)
    for executor in executors:
        page.get_by_role("radio", name=re.compile(f"^{executor['name']}")).click()
        page.get_by_role("heading", name=executor["name"], exact=True).wait_for()
        for name, schema in executor["schema"]["properties"].items():
            form = page.locator("form .fields").first
            title = schema.get("title", name)
            field = form.get_by_label(title, exact=True).or_(form.get_by_role("group", name=title, exact=True))
            assert field.first.is_visible(), f"{executor['name']}: {name}"


def test_forms_speak_chinese_too(enter: Callable[..., Tab]) -> None:
    page = enter("ann", lang="zh").go("submit?executor=transfer")
    page.get_by_role("group", name="来源").get_by_label("存储").fill("here")
    assert page.get_by_text("比较两端的校验和。").is_visible()
    page.get_by_role("button", name="JSON 模式").click()
    assert json.loads(page.get_by_label("JSON 参数").input_value()) == {"from": {"storage": "here"}}


def test_a_form_becomes_a_task(world: World, tab: Tab) -> None:
    page = tab.go("submit?executor=echo")
    page.get_by_label("Lines").fill("3")
    page.get_by_label("Memory").fill("1MiB")
    page.get_by_text("Priority, limits, retries").click()
    page.get_by_label("Priority").select_option("LOW")
    task = sent(world, page)
    assert json.loads(task["executionCode"]) == {"lines": 3, "memory": "1MiB"}
    assert (task["priority"], task["requestApplicationName"]) == (50, "CONSOLE")


def test_what_is_wrong_is_said_at_its_field(world: World, tab: Tab) -> None:
    tab.allowed.append("400 (BAD REQUEST)")
    page = tab.go("submit?executor=echo")
    page.get_by_label("Lines").fill("many")
    page.get_by_label("Crash").fill("99")
    page.get_by_role("button", name="Submit", exact=True).click()
    page.get_by_role("alert").wait_for()
    for label in ("Lines", "Crash"):
        field = page.get_by_label(label)
        assert field.get_attribute("aria-invalid") == "true"
        hint = field.get_attribute("aria-describedby")
        assert page.locator(f"[id='{hint}'] .bad-text").inner_text().strip()


def test_nested_parameters_and_lists_arrive_as_they_should(tab: Tab) -> None:
    page = tab.go("submit?executor=transfer")
    page.get_by_role("group", name="From").get_by_label("Storage").fill("here")
    page.get_by_role("group", name="To", exact=True).get_by_label("Storage").fill("there")
    page.get_by_label("Include").fill("*.csv\n2026/**")
    page.get_by_label("Verify").uncheck()
    page.get_by_role("button", name="As JSON").click()
    shown = json.loads(page.get_by_label("Parameters as JSON").input_value())
    assert shown == {
        "from": {"storage": "here"},
        "to": {"storage": "there"},
        "include": ["*.csv", "2026/**"],
        "verify": False,
    }


def test_json_is_checked_as_it_is_typed_and_goes_back_into_the_form(world: World, tab: Tab) -> None:
    page = tab.go("submit?executor=echo")
    page.get_by_role("button", name="As JSON").click()
    text = page.get_by_label("Parameters as JSON")
    text.fill('{"lines": 2')
    assert page.get_by_role("button", name="Submit", exact=True).is_disabled()
    text.fill('{"lines": 2, "stubborn": false}')
    page.get_by_role("button", name="As JSON").click()
    wait_until(lambda: page.get_by_label("Lines").input_value() == "2")
    assert json.loads(sent(world, page)["executionCode"]) == {"lines": 2}


def test_a_task_is_changed_and_submitted_once_more(world: World, tab: Tab) -> None:
    task = submit_as(world.ann, "echo", {"fail": "too few lines", "lines": 1}, priority=200, user="ann")
    world.service.wait_for(task)
    page = tab.go(f"tasks/{task}")
    page.get_by_role("link", name="Change and submit").click()
    wait_until(lambda: page.get_by_label("Fail").input_value() == "too few lines")
    page.get_by_label("Fail").fill("")
    again = sent(world, page)
    assert json.loads(again["executionCode"]) == {"lines": 1}
    assert again["priority"] == 200
