"""The tasks page: what it shows, what its address says, what can be done to many."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from browser.stage import Tab, World
from browser.stage import submit as submit_as
from factories import LINKIS, wait_until
from playwright.sync_api import Page, Route

pytestmark = pytest.mark.needs("chromium")


def rows(page: Page) -> list[str]:
    """The task numbers on the page, top to bottom."""
    return page.locator("table.tasks tbody a.id").all_inner_texts()


def several(world: World, creator: str, many: int, **params: object) -> list[int]:
    """Tasks of ann's that nobody else of these tests looks at: they have a creator of their own."""
    return [submit_as(world.ann, "echo", params, creator=creator, user="ann") for _ in range(many)]


def done(page: Page, text: str) -> None:
    page.get_by_role("dialog").get_by_text(text).wait_for()


def test_a_filter_goes_to_the_server_and_stays_in_the_address(world: World, tab: Tab) -> None:
    fine, bad = several(world, "FILTERED", 1), several(world, "FILTERED", 1, fail="the disk is on fire")
    for task in (*fine, *bad):
        world.service.wait_for(task)
    page = tab.go("tasks?creator=FILTERED")
    page.locator("a.id").nth(1).wait_for()
    assert rows(page) == [str(bad[0]), str(fine[0])]
    with page.expect_request(lambda r: "jobhistory/list" in r.url and "status=" in r.url) as asked:
        page.get_by_role("button", name="Failed").click()
    assert parse_qs(urlsplit(asked.value.url).query)["status"] == ["Failed,Timeout"]
    wait_until(lambda: rows(page) == [str(bad[0])])
    assert "status=Failed" in page.url and "creator=FILTERED" in page.url
    assert page.get_by_text("the disk is on fire").is_visible()
    page.reload()
    page.locator("a.id").first.wait_for()
    assert rows(page) == [str(bad[0])]
    page.go_back()
    wait_until(lambda: len(rows(page)) == 2)


def test_pages_come_from_the_server(world: World, tab: Tab) -> None:
    tasks = several(world, "PAGED", 27)
    page = tab.go("tasks?creator=PAGED&size=25")
    page.get_by_text("1–25 of 27").wait_for()
    assert page.get_by_label("Rows").input_value() == "25"
    page.get_by_role("button", name="Next page").click()
    page.get_by_text("26–27 of 27").wait_for()
    wait_until(lambda: rows(page) == [str(tasks[1]), str(tasks[0])])
    assert "page=2" in page.url


def test_a_task_of_somebody_else_appears_by_itself(world: World, tab: Tab) -> None:
    page = tab.go("tasks?creator=APPEARING")
    page.get_by_text("No task fits these filters").wait_for()
    page.get_by_text("Live", exact=True).wait_for()
    [task] = several(world, "APPEARING", 1)
    wait_until(lambda: rows(page) == [str(task)])


def test_many_tabs_share_one_stream_and_all_of_them_work(world: World, tab: Tab) -> None:
    """A browser opens six connections to a host; a stream for each tab would leave none for the eighth."""
    tab.go("tasks?creator=TABS")
    pages = [tab.page, *(tab.page.context.new_page() for _ in range(7))]
    for page in pages[1:]:
        page.goto(tab.page.url)
    [task] = several(world, "TABS", 1)
    for page in pages:
        page.get_by_text("Live", exact=True).wait_for()
        wait_until(lambda page=page: rows(page) == [str(task)])  # type: ignore[misc]


def test_without_a_stream_the_page_asks_again_and_again(world: World, tab: Tab) -> None:
    tab.page.add_init_script(
        "delete window.SharedWorker; window.EventSource = class {"
        " constructor() { setTimeout(() => this.onerror(), 10) } addEventListener() {} close() {} }"
    )
    page = tab.go("tasks?creator=POLLED")
    page.get_by_text("Polling", exact=True).wait_for()
    page.get_by_text("No task fits these filters").wait_for()
    [task] = several(world, "POLLED", 1, seconds=600, lines=6000)
    wait_until(lambda: rows(page) == [str(task)])
    page.locator("a.id").click()
    page.get_by_text(re.compile(r"line \d+ of 6000")).first.wait_for()
    first = page.locator(".log-box .text").last.inner_text()
    wait_until(lambda: page.locator(".log-box .text").last.inner_text() != first)
    world.ann.post(f"{LINKIS}/entrance/{task}/kill")


def test_what_cannot_be_run_is_told_with_its_reason(world: World, tab: Tab) -> None:
    def broken(route: Route) -> None:
        answer = route.fetch()
        told = answer.json()
        told["data"]["held"] = {"pack": "the fork server is broken", "scan": "the fork server is broken"}
        route.fulfill(response=answer, json=told)

    def waits(route: Route) -> None:
        answer = route.fetch()
        told = answer.json()
        task = told["data"]["task"] if "task" in told["data"] else told["data"]["tasks"][0]
        task["waitsBecause"] = "waits: the fork server is broken"
        route.fulfill(response=answer, json=told)

    (task,) = several(world, "HELD", 1)
    tab.page.route("**/service/queue", broken)
    tab.page.route("**/jobhistory/list?*creator=HELD*", waits)
    tab.page.route(f"**/jobhistory/{task}/get", waits)
    page = tab.go("tasks?creator=HELD")
    page.get_by_text("Tasks of pack, scan wait: the fork server is broken").wait_for()
    page.get_by_text("waits: the fork server is broken", exact=True).wait_for()
    page.locator("a.id").click()
    page.get_by_role("status").get_by_text("waits: the fork server is broken").wait_for()


def test_paused_tasks_are_a_view_of_their_own(world: World, tab: Tab) -> None:
    paused, running = several(world, "STOPPED", 2, seconds=600)
    world.ann.post(f"{LINKIS}/entrance/{paused}/pause")
    page = tab.go("tasks?creator=STOPPED")
    page.get_by_role("group", name="State").get_by_role("button", name="Paused").click()
    wait_until(lambda: rows(page) == [str(paused)])
    for task in (paused, running):
        world.ann.post(f"{LINKIS}/entrance/{task}/kill")


def test_the_slash_leads_to_the_search_and_the_search_goes_to_the_server(world: World, tab: Tab) -> None:
    [task] = several(world, "Findable", 1)
    several(world, "Other", 1)
    page = tab.go("tasks")
    page.locator("a.id").first.wait_for()
    page.keyboard.press("/")
    page.keyboard.type("findable")
    wait_until(lambda: rows(page) == [str(task)])
    assert "text=findable" in page.url


def test_a_selection_is_paused_resumed_and_killed_with_a_result_for_each(world: World, tab: Tab) -> None:
    tasks = several(world, "SELECTED", 3, seconds=600)
    page = tab.go("tasks?creator=SELECTED")
    for task in tasks[:2]:
        page.get_by_label(f"Select task {task}").check()
    bar = page.get_by_role("toolbar")
    assert bar.get_by_text("2 selected").is_visible()
    for action, asked, badge in (("Pause", "Pause 2 tasks?", "Paused"), ("Resume", "Let 2 tasks go on", "Running")):
        bar.get_by_role("button", name=action, exact=True).click()
        done(page, asked)
        page.get_by_role("dialog").get_by_role("button", name=f"{action} (2)").click()
        done(page, "2 done")
        page.get_by_role("dialog").get_by_role("button", name="Close").last.click()
        for task in tasks[:2]:
            page.locator("tr", has=page.get_by_role("link", name=str(task), exact=True)).get_by_text(badge).wait_for()
            page.get_by_label(f"Select task {task}").check()
    bar.get_by_role("button", name="Kill").click()
    done(page, "Kill 2 tasks?")
    page.get_by_role("dialog").get_by_role("button", name="Kill (2)").click()
    done(page, "2 done")
    assert [world.service.state(task) for task in tasks] == ["Cancelled", "Cancelled", "Running"]
    world.ann.post(f"{LINKIS}/entrance/{tasks[2]}/kill")


def test_what_the_filter_selects_is_counted_again_before_it_is_killed(world: World, tab: Tab) -> None:
    tab.allowed.append("409 (CONFLICT)")  # how the browser tells of the refusal
    tasks = several(world, "COUNTED", 26, seconds=600)
    page = tab.go("tasks?creator=COUNTED&size=25&status=Running,Scheduled,Inited")
    page.get_by_text("1–25 of 26").wait_for()
    page.get_by_label("Select this page").check()
    page.get_by_role("button", name="Select all 26 that fit the filters").click()
    page.get_by_role("toolbar").get_by_text("26 selected").wait_for()
    page.get_by_role("toolbar").get_by_role("button", name="Kill").click()
    done(page, "Kill 26 tasks?")
    more = several(world, "COUNTED", 1, seconds=600)
    page.get_by_role("dialog").get_by_role("button", name="Kill (26)").click()
    done(page, "27 tasks now, not 26")
    assert world.service.state(tasks[0]) in ("Running", "Scheduled")
    page.get_by_role("dialog").get_by_role("button", name="Try again").click()
    done(page, "Kill 27 tasks?")
    page.get_by_role("dialog").get_by_role("button", name="Kill (27)").click()
    done(page, "27 done")
    assert {world.service.state(task) for task in (*tasks, *more)} == {"Cancelled"}


def test_the_priority_of_many_is_changed_and_ended_ones_are_refused_by_name(world: World, tab: Tab) -> None:
    [live] = several(world, "RANKED", 1, seconds=600)
    [ended] = several(world, "RANKED", 1)
    world.service.wait_for(ended)
    page = tab.go("tasks?creator=RANKED")
    page.get_by_label("Select this page").check()
    page.get_by_role("toolbar").get_by_role("button", name="Priority").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Priority").select_option("URGENT")
    dialog.get_by_role("button", name="Priority (2)").click()
    done(page, "1 refused")
    assert dialog.locator("tr.refused").get_by_role("link", name=str(ended)).is_visible()
    assert dialog.locator("tr.refused td").last.inner_text()
    dialog.get_by_role("button", name="Close").last.click()
    page.locator("tr", has=page.get_by_role("link", name=str(live), exact=True)).get_by_text("Urgent").wait_for()
    assert world.ann.get(f"{LINKIS}/entrance/{live}/status").data["priority"] == 400
    world.ann.post(f"{LINKIS}/entrance/{live}/kill")


def test_ended_tasks_run_again_and_rows_have_buttons_of_their_own(world: World, tab: Tab) -> None:
    [task] = several(world, "AGAIN", 1, fail="once")
    world.service.wait_for(task)
    page = tab.go("tasks?creator=AGAIN")
    page.get_by_role("button", name=f"Run task {task} again").click()
    page.get_by_role("dialog").get_by_role("button", name="Run again (1)").click()
    done(page, "1 done")
    page.keyboard.press("Escape")
    wait_until(lambda: len(rows(page)) == 2)
    [again] = several(world, "AGAIN", 1, seconds=600)
    page.get_by_role("button", name=f"Pause task {again}").click()
    page.get_by_role("button", name=f"Resume task {again}").click()
    page.get_by_role("button", name=f"Kill task {again}").click()
    page.get_by_role("dialog").get_by_role("button", name="Kill (1)").click()
    done(page, "1 done")
    assert world.service.state(again) == "Cancelled"


def test_somebody_who_does_not_administer_sees_only_their_own(world: World, enter: Callable[..., Tab]) -> None:
    several(world, "SHARED", 1)
    mine = submit_as(world.bob, "echo", {}, creator="SHARED", user="bob")
    page = enter("bob").go("tasks?creator=SHARED")
    page.locator("a.id").first.wait_for()
    assert rows(page) == [str(mine)]
    assert not page.get_by_role("columnheader", name="User").is_visible()
    page.get_by_role("button", name=re.compile("More filters")).wait_for()
