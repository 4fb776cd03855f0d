"""Preparations: what is made of which folders, its jobs, its pieces."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from browser.stage import Tab, World

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


def test_others_see_none_of_it(enter: Callable[..., Tab]) -> None:
    tab = enter("bob")
    tab.allowed.append("404 (NOT FOUND)")
    page = tab.go("preparations")
    page.get_by_text("No preparations yet").wait_for()
    page = tab.go("preparations/measurements")
    page.get_by_text("There is no such preparation, or it is not yours").wait_for()
