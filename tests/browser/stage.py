"""What the browser tests and the pictures of the manual share: a browser, and a service with something to see."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from factories import LINKIS, PASSWORD, Http, Service
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage")
SETTINGS = {"SCHEDULER__SLOTS": "4"}

# A violation of the Content-Security-Policy shows as an error on the console, like a script that fails.
WATCH = """
addEventListener("securitypolicyviolation", (e) => console.error(`CSP: ${e.violatedDirective} ${e.blockedURI}`));
"""


@dataclass(frozen=True)
class World:
    """A running service and who uses it: ann administers, bob does not."""

    service: Service
    ann: Http
    bob: Http
    scan: int  # a scan with children, ended
    folder: Path
    sessions: Mapping[str, str]  # cookies


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Tab:
    """A page of the console and what went wrong on it; ``allowed``: parts of messages that a test expects."""

    page: Page
    url: str
    faults: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    def go(self, where: str = "") -> Page:
        """Show a page of the console by what stands behind "#/"."""
        self.page.goto(f"{self.url}/#/{where}")
        return self.page

    def check(self) -> None:
        """Fail when the console of the browser had errors, or a request left the origin."""
        left = [fault for fault in self.faults if not any(part in fault for part in self.allowed)]
        assert not left, left


def open_tab(context: BrowserContext, url: str) -> Tab:
    """A tab that notes errors, violations of the policy and requests that leave the origin."""
    tab = Tab(page=context.new_page(), url=url)
    tab.page.on("console", lambda m: tab.faults.append(m.text) if m.type in ("error", "warning") else None)
    tab.page.on("pageerror", lambda e: tab.faults.append(f"exception: {e}"))
    context.on("request", lambda r: tab.faults.append(f"outside: {r.url}") if _outside(r.url, url) else None)
    return tab


def _outside(address: str, url: str) -> bool:
    return not address.startswith((f"{url}/", f"blob:{url}/", "data:"))


def session_of(url: str, user: str) -> str:
    """Log in and return the session's cookie, as ``name=value``."""
    answer = Http(url).post(f"{LINKIS}/user/login", {"userName": user, "password": PASSWORD})
    assert answer.json()["status"] == 0, answer.text
    return answer.headers["set-cookie"].partition(";")[0]


def log_in(context: BrowserContext, url: str, user: str, session: str, **remembered: str) -> None:
    """Give the context a session of ``user``, as the login page would; ``remembered``: theme, lang."""
    name, _, value = session.partition("=")
    context.add_cookies([{"name": name, "value": value, "url": url}])
    kept = {"user": user, **remembered}
    context.add_init_script(
        "".join(f"try {{ localStorage.setItem('entrance.{k}', {json.dumps(v)}) }} catch {{}};" for k, v in kept.items())
    )


def submit(
    http: Http, executor: str, params: Mapping[str, Any], *, priority: int = 100, creator: str = "CONSOLE", user: str
) -> int:
    """Submit a task and return its number."""
    body = {
        "executionContent": {"code": json.dumps(dict(params)), "runType": executor},
        "params": {"configuration": {"runtime": {"wds.linkis.engine.runtime.priority": priority}}},
        "labels": {"engineType": executor, "userCreator": f"{user}-{creator}"},
    }
    return int(http.post(f"{LINKIS}/entrance/submit", body).data["taskID"])


def prepare(
    service: Service, http: Http, folder: Path, *, name: str, user: str, files: int = 12, size: int = 300_000
) -> int:
    """Scan a folder of made files into CARs and return the scan's task; its packs are its children."""
    source, output = folder / "source", folder / "cars"
    output.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        path = source / f"part-{number % 3}" / f"measurement-{number:03}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes((number + i) % 251 for i in range(1000)) * (size // 1000))
    service.cli("storage", "allow", str(folder))
    params = {
        "path": str(source),
        "output": str(output),
        "name": name,
        "maxSize": "900KiB",
        "pieceSize": "1MiB",
        "minPieceSize": "1MiB",
        "follow": ["pack", "daggen"],
    }
    return submit(http, "scan", params, user=user)
