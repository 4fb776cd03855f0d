"""The page of one task."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest
from browser.stage import Tab, World
from browser.stage import submit as submit_as
from factories import LINKIS, wait_until
from playwright.sync_api import Page

pytestmark = pytest.mark.needs("chromium")


def submit(world: World, executor: str = "echo", **params: object) -> int:
    return submit_as(world.ann, executor, params, user="ann")


def lines(page: Page) -> list[str]:
    """The lines of the log that are on the page."""
    return page.locator(".log-box .line .text").all_inner_texts()


def test_a_running_log_follows_as_it_is_written(world: World, tab: Tab) -> None:
    task = submit(world, seconds=60, lines=600, steps=60)
    page = tab.go(f"tasks/{task}")
    page.get_by_role("button", name="Follow").wait_for()
    page.get_by_text("Live", exact=True).wait_for()
    page.get_by_text(re.compile(r"line \d+ of 600")).first.wait_for()
    first = lines(page)[-1]
    wait_until(lambda: lines(page)[-1] != first)
    box = page.locator(".log-box")
    wait_until(lambda: box.evaluate("(b) => b.scrollHeight - b.scrollTop - b.clientHeight < 60"))
    page.get_by_text("s left").wait_for()
    assert float(page.locator(".big").inner_text().split()[0]) < 100
    page.get_by_role("button", name="Kill").click()
    page.get_by_role("dialog").get_by_role("button", name="Kill (1)").click()
    page.get_by_role("dialog").get_by_text("1 done").wait_for()
    page.keyboard.press("Escape")
    page.locator(".head .badge", has_text="Cancelled").wait_for()
    page.get_by_text("Job is killed by user").first.wait_for()
    numbers = [int(n) for n in page.locator(".log-box .no").all_inner_texts()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_a_failed_task_opens_at_the_failure(world: World, tab: Tab, tmp_path: Path) -> None:
    task = submit(world, lines=3000, fail="the third tape is unreadable")
    world.service.wait_for(task)
    page = tab.go(f"tasks/{task}")
    page.get_by_role("alert").get_by_text("the third tape is unreadable").wait_for()
    marked = page.locator(".line.mark")
    marked.wait_for()
    assert "the third tape is unreadable" in marked.inner_text()
    inside = (
        "(l) => { const a = l.getBoundingClientRect(), b = l.closest('.log-box').getBoundingClientRect();"
        " return a.top >= b.top && a.bottom <= b.bottom }"
    )
    wait_until(lambda: marked.evaluate(inside))
    assert len(lines(page)) < 150, "only what is looked at is on the page"

    page.get_by_role("button", name="Errors").click()
    page.get_by_text(re.compile(r"found, 3,\d+ of 3,\d+ lines read")).wait_for()
    wait_until(lambda: 0 < len(lines(page)) < 10)
    assert all("ERROR" in line or "Traceback" in line or line.startswith(" ") for line in lines(page)), lines(page)
    page.get_by_role("button", name="All", exact=True).click()
    page.get_by_label("Find in the log").fill("line 1234 of")
    wait_until(lambda: len(lines(page)) == 1)
    assert "line 1234 of 3000" in lines(page)[0]

    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    saved = tmp_path / "log"
    download.value.save_as(saved)
    whole = world.ann.get(f"{LINKIS}/entrance/{task}/log", query={"size": 10_000, "distinctLevel": "false"}).data["log"]
    assert saved.read_text() == whole + "\n"


def test_a_log_of_a_hundred_thousand_lines_is_read_where_one_looks(world: World, tab: Tab) -> None:
    task = submit(world, lines=100_000)
    world.service.wait_for(task, timeout_seconds=60)
    page = tab.go(f"tasks/{task}")
    page.get_by_text(re.compile(r"^100,0\d\d lines$")).wait_for()
    page.get_by_text("completed with status Success").wait_for()
    box = page.locator(".log-box")
    box.evaluate("(b) => { b.scrollTop = b.scrollHeight / 2 }")
    page.get_by_text(re.compile(r"line 5\d{4} of 100000")).first.wait_for()
    assert len(lines(page)) < 150
    box.evaluate("(b) => { b.scrollTop = 0 }")
    page.get_by_text(f"task {task} log").wait_for()


def test_a_task_is_paused_resumed_and_reprioritised_from_its_page(world: World, tab: Tab) -> None:
    task = submit(world, seconds=600)
    world.service.wait_for(task, "Running")
    page = tab.go(f"tasks/{task}")
    page.get_by_role("button", name="Pause").click()
    page.locator(".head .badge", has_text="Paused").wait_for()  # as soon as it is asked to
    wait_until(lambda: world.ann.get(f"{LINKIS}/entrance/{task}/history").data["history"][-1]["state"] == "paused")
    page.get_by_role("button", name="Resume").click()
    page.locator(".head .badge", has_text="Running").wait_for()
    page.get_by_label("Priority").select_option("HIGH")
    wait_until(lambda: world.ann.get(f"{LINKIS}/entrance/{task}/status").data["priority"] == 200)
    page.get_by_role("tab", name="Attempts and history").click()
    page.get_by_role("cell", name="2", exact=True).first.wait_for()
    page.locator(".timeline").get_by_text("Paused").wait_for()
    assert page.locator(".timeline").get_by_text("by ann").count() >= 1
    world.ann.post(f"{LINKIS}/entrance/{task}/kill")


def test_an_ended_task_runs_again_from_its_page(world: World, tab: Tab) -> None:
    task = submit(world, fail="again, please")
    world.service.wait_for(task)
    page = tab.go(f"tasks/{task}")
    page.get_by_role("button", name="Run again").click()
    page.get_by_text("Submitted again as task").wait_for()
    wait_until(lambda: not page.url.endswith(f"/{task}"))
    page.get_by_role("tab", name="Parameters").click()
    page.locator("pre").get_by_text("again, please").wait_for()


def test_resources_are_plotted(world: World, tab: Tab) -> None:
    task = submit(world, seconds=600, memory="60MiB")
    page = tab.go(f"tasks/{task}?tab=usage")
    page.locator("canvas").nth(2).wait_for()
    assert page.locator("canvas").count() == 3
    memory = page.locator("figure", has_text="Memory").locator(".keys b")
    wait_until(lambda: memory.inner_text().endswith("MiB") and float(memory.inner_text().split()[0]) >= 60)
    painted = "(c) => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].some((v) => v > 0)"
    assert page.locator("canvas").first.evaluate(painted)
    world.ann.post(f"{LINKIS}/entrance/{task}/kill")


def test_a_result_table_is_read_and_saved(world: World, tab: Tab, tmp_path: Path) -> None:
    page = tab.go(f"tasks/{world.scan}?tab=result")
    page.get_by_role("columnheader", name="path").wait_for()
    assert page.get_by_role("cell", name=re.compile("measurement-")).count() == 12
    for kind in ("CSV", "Excel"):
        with page.expect_download() as download:
            page.get_by_role("link", name=kind).click()
        download.value.save_as(tmp_path / kind)
    assert download.value.suggested_filename == f"task-{world.scan}.xlsx"
    saved = (tmp_path / "CSV").read_text().splitlines()
    assert saved[0].startswith("path,size,") and len(saved) == 13
    with zipfile.ZipFile(tmp_path / "Excel") as workbook:
        assert workbook.read("xl/worksheets/sheet1.xml").count(b"<row>") == 13


def test_children_and_stages_of_a_scan_are_shown(world: World, tab: Tab) -> None:
    page = tab.go(f"tasks/{world.scan}")
    page.locator(".stages .bar").first.wait_for()
    page.get_by_role("tab", name="Children").click()
    page.get_by_role("cell", name="pack").first.wait_for()
    assert "tab=children" in page.url
    page.locator("#panel a.id").last.click()
    page.get_by_role("heading", name=re.compile(r"Task \d+ (pack|daggen)")).wait_for()


def test_a_child_leads_back_to_its_parent(world: World, tab: Tab) -> None:
    query = {"parentTaskID": world.scan, "isAdminView": "true"}
    child = world.ann.get(f"{LINKIS}/jobhistory/list", query=query).data["tasks"][0]["taskID"]
    page = tab.go(f"tasks/{child}")
    page.get_by_label("Where you are").get_by_role("link", name=f"Task {world.scan}").click()
    page.get_by_role("heading", name=f"Task {world.scan} scan").wait_for()
    page.locator("#panel a.id", has_text=str(child)).wait_for()


def test_a_task_that_is_not_there_is_said_to_be_so(tab: Tab) -> None:
    tab.allowed.append("404 (NOT FOUND)")
    page = tab.go("tasks/987654")
    page.get_by_text("There is no such task, or it is not yours").wait_for()
