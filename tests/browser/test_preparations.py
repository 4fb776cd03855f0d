"""Preparations: what is made of which folders, its jobs, its pieces."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser.stage import Tab, World
from factories import LINKIS, wait_until

pytestmark = pytest.mark.needs("chromium")


def test_a_preparation_shows_its_jobs_and_its_pieces(world: World, tab: Tab) -> None:
    page = tab.go("preparations")
    page.get_by_role("link", name="measurements").click()
    page.get_by_role("heading", name="Preparation measurements").wait_for()
    jobs = page.locator("#panel tbody tr")
    jobs.first.wait_for()
    assert {row.split("\t")[1].strip() for row in jobs.all_inner_texts()} == {"scan", "pack", "daggen"}
    page.get_by_role("tab", name="Pieces").click()
    page.get_by_role("cell", name=re.compile("baga")).first.wait_for()
    manifest = [
        car["pieceCid"] for list_ in world.ann.get("/api/preparation/measurements/piece").json() for car in list_["pieces"]
    ]
    assert page.locator("#panel tbody tr").count() == len(manifest) > 3
    page.get_by_role("tab", name="Jobs").click()
    page.locator("#panel a.id").first.click()
    page.get_by_role("heading", name=re.compile(r"Task \d+")).wait_for()


def test_a_preparation_leads_to_a_form_that_knows_it(tab: Tab) -> None:
    page = tab.go("preparations/measurements")
    page.get_by_role("link", name="verify").click()
    page.get_by_role("heading", name="verify").wait_for()
    page.get_by_role("button", name="As JSON").click()
    assert json.loads(page.get_by_label("Parameters as JSON").input_value()) == {"preparation": "measurements"}


def test_jobs_are_started_and_paused_from_the_page_and_chosen_by_state(world: World, tab: Tab, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(3):
        with (source / f"{number}.raw").open("wb") as file:
            file.truncate(3 << 30)  # sparse: enough to be at it for a while
    world.service.cli("storage", "allow", str(source))
    singularity = world.ann
    singularity.post("/api/storage/local", {"name": "raw", "path": str(source)})
    singularity.post("/api/preparation", {"name": "steered", "sourceStorages": ["raw"], "maxSize": "3.5GiB"})

    page = tab.go("preparations/steered")
    page.get_by_role("cell", name="scan").wait_for(state="detached")
    singularity.post("/api/preparation/steered/source/raw/start-scan")
    rows = page.locator("#panel tbody tr")
    wait_until(lambda: rows.count() == 4, what="a scan and three packs")
    page.get_by_role("button", name="Pause all packs").click()
    wait_until(lambda: rows.filter(has_text="Paused").count() == 3)
    assert {j["state"] for j in jobs(world) if j["type"] == "pack"} == {"paused"}
    page.locator(".legend").get_by_role("button", name="Paused").click()
    wait_until(lambda: rows.count() == 3)
    assert "state=paused" in page.url
    first = min(j["id"] for j in jobs(world) if j["type"] == "pack")
    page.get_by_role("button", name=f"Start job {first}").click()
    wait_until(lambda: rows.count() == 2)
    page.reload()
    wait_until(lambda: rows.count() == 2)
    page.locator(".legend").get_by_role("button", name="Paused").click()
    page.get_by_role("button", name="Start all packs").click()
    page.get_by_text("Started: 2").wait_for()
    wait_until(lambda: "paused" not in {j["state"] for j in jobs(world)})
    page = tab.go("preparations")
    page.get_by_role("row", name=re.compile("steered")).get_by_text(re.compile(r"^\d / 4")).wait_for()
    assert page.get_by_role("row", name=re.compile("measurements")).locator(".standing").is_visible()
    for job in jobs(world):
        world.ann.post(f"{LINKIS}/entrance/{job['taskId']}/kill")


def jobs(world: World) -> list[dict[str, Any]]:
    (status,) = world.ann.get("/api/preparation/steered").json()
    found: list[dict[str, Any]] = status["jobs"]
    return found


def test_others_see_none_of_it(enter: Callable[..., Tab]) -> None:
    tab = enter("bob")
    tab.allowed.append("404 (NOT FOUND)")
    page = tab.go("preparations")
    page.get_by_text("No preparations yet").wait_for()
    page = tab.go("preparations/measurements")
    page.get_by_text("There is no such preparation, or it is not yours").wait_for()
