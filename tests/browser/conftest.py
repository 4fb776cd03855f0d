"""One browser and one service for all browser tests; each test has a tab of its own, which must stay without fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from browser.stage import SETTINGS, WATCH, Tab, World, chromium, log_in, open_tab, prepare, session_of
from browser.tally import Tally
from factories import Service
from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    service = Service(data=tmp_path_factory.mktemp("console") / "data", settings=dict(SETTINGS)).start()
    ann, bob = service.user("ann", admin=True), service.user("bob")
    folder = tmp_path_factory.mktemp("prepared")
    scan = prepare(service, ann, folder, name="measurements", user="ann")
    service.wait_for(scan, timeout_seconds=60)
    sessions = {user: session_of(service.url, user) for user in ("ann", "bob")}
    yield World(service=service, ann=ann, bob=bob, scan=scan, folder=folder, sessions=sessions)
    blocked = service.blocked()
    service.cli("stop", check=False)
    assert not blocked, service.log()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def tally() -> Iterator[Tally]:
    made = Tally()
    yield made
    made.write()


@pytest.fixture
def enter(world: World, browser: Browser, tally: Tally) -> Iterator[Callable[..., Tab]]:
    """A maker of tabs: ``enter("ann", theme="dark", lang="zh", width=390)``; None = not logged in."""
    tabs: list[Tab] = []

    def make(user: str | None = "ann", *, width: int = 1280, height: int = 860, **remembered: str) -> Tab:
        context = browser.new_context(viewport={"width": width, "height": height}, locale="en-GB", accept_downloads=True)
        context.add_init_script(WATCH)
        context.set_default_timeout(15_000)
        if user is not None:
            log_in(context, world.service.url, user, world.sessions[user], **remembered)
        tabs.append(open_tab(context, world.service.url))
        tally.watch(tabs[-1], remembered.get("theme", "light"), remembered.get("lang", "en"))
        return tabs[-1]

    yield make
    for tab in tabs:
        tab.page.context.close()
        tally.closed(tab)
    for tab in tabs:
        tab.check()


@pytest.fixture
def tab(enter: Callable[..., Tab]) -> Tab:
    """A tab of ann's."""
    return enter()
