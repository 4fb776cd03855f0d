"""Make the pictures of the manual, ``docs/images/``: a service with work in every state, each page in both themes.

PYTHONPATH=tests .venv/bin/python -m browser.pictures        # about a minute; needs chromium, looks best with fonts-inter
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from browser.stage import Tab, chromium, log_in, open_tab, prepare, session_of, submit
from factories import LINKIS, Http, Service, wait_until
from playwright.sync_api import Browser

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
MOST_BYTES = 300_000
SIZE = {"width": 1280, "height": 800}


def work(service: Service, ann: Http, folder: Path) -> dict[str, int]:
    """Fill the service with tasks and return those that pictures are taken of."""
    scan = prepare(service, ann, folder / "measurements", name="measurements-2026", user="ann", files=24)
    big = folder / "telescope"
    big.mkdir()
    for night in range(4):
        with (big / f"night-{night + 1}.fits").open("wb") as file:
            file.truncate(15 << 30)  # sparse: the bytes are zeros, the work is real
    service.cli("storage", "allow", str(big))
    service.wait_for(scan, timeout_seconds=120)
    for number in range(6):
        submit(ann, "echo", {"lines": 20, "seconds": 0.1}, creator=("NIGHTLY", "IDE", "CLI")[number % 3], user="ann")
    submit(ann, "sleep", {"seconds": 600}, creator="IDE", user="ann")
    paused = submit(ann, "sleep", {"seconds": 900, "steps": 300}, creator="IDE", user="ann")
    wait_until(lambda: ann.get(f"{LINKIS}/entrance/{paused}/progress").data["progress"] > 0.001)
    ann.post(f"{LINKIS}/entrance/{paused}/pause")
    killed = submit(ann, "sleep", {"seconds": 600}, creator="NIGHTLY", user="ann")
    service.wait_for(killed, "Running")
    ann.post(f"{LINKIS}/entrance/{killed}/kill")
    failed = submit(
        ann,
        "echo",
        {"lines": 400, "fail": "block 391 of tape 7 cannot be read: Input/output error"},
        creator="NIGHTLY",
        user="ann",
    )
    service.wait_for(failed)
    telescope = submit(ann, "scan", {"path": str(big), "name": "telescope", "follow": ["pack"]}, user="ann", priority=200)
    for level in (50, 100, 400):
        submit(ann, "sleep", {"seconds": 30}, creator="NIGHTLY", user="ann", priority=level)

    def packs() -> list[int]:
        rows = ann.get(f"{LINKIS}/jobhistory/list", query={"parentTaskID": telescope, "isAdminView": "true"}).data["tasks"]
        return [row["taskID"] for row in rows if row["status"] == "Running"]

    wait_until(packs, 60)
    pack = packs()[-1]
    wait_until(lambda: len(ann.get(f"{LINKIS}/entrance/{pack}/metrics").data["metrics"]) >= 12, 60)
    return {"scan": scan, "failed": failed, "pack": pack, "telescope": telescope, "paused": paused}


def take(browser: Browser, url: str, session: str, tasks: dict[str, int], theme: str) -> None:
    """One picture of each page."""
    pages = {
        "tasks": "tasks",
        "task": f"tasks/{tasks['pack']}?tab=usage",
        "task-log": f"tasks/{tasks['failed']}",
        "task-children": f"tasks/{tasks['telescope']}?tab=children",
        "task-result": f"tasks/{tasks['scan']}?tab=result",
        "task-history": f"tasks/{tasks['paused']}?tab=history",
        "submit": "submit?executor=scan",
        "preparations": "preparations",
        "preparation": "preparations/telescope",
        "preparation-pieces": "preparations/measurements-2026?tab=pieces",
    }
    context = browser.new_context(viewport=SIZE, locale="en-GB", color_scheme=theme)  # type: ignore[arg-type]
    tab = open_tab(context, url)
    tab.go("")
    tab.page.get_by_label("Password").wait_for()
    shoot(tab.page.screenshot(), f"login-{theme}")
    log_in(context, url, "ann", session)
    for name, place in pages.items():
        tab.page.goto("about:blank")
        tab.go(place)
        tab.page.locator("main h1").first.wait_for()
        wait_until(lambda: tab.page.locator(".loading").count() == 0)
        tab.page.wait_for_timeout(1500)
        shoot(tab.page.screenshot(), f"{name}-{theme}")
    several(tab, tasks, theme)
    if theme == "dark":
        log_in(context, url, "ann", session, lang="zh")
        tab.page.goto("about:blank")
        tab.go("tasks")
        tab.page.wait_for_timeout(1500)
        shoot(tab.page.screenshot(), "tasks-zh-dark")
    context.close()
    tab.check()


def several(tab: Tab, tasks: dict[str, int], theme: str) -> None:
    """An action on several tasks, and what became of each."""
    page = tab.go("tasks")
    for task in tasks.values():
        page.get_by_label(f"Select task {task}", exact=True).check()
    page.get_by_role("toolbar").get_by_role("button", name="Priority").click()
    page.get_by_role("dialog").get_by_role("button", name=f"Priority ({len(tasks)})").click()
    page.get_by_role("dialog").get_by_text("refused").wait_for()
    page.wait_for_timeout(500)
    shoot(page.screenshot(), f"tasks-action-{theme}")


def shoot(picture: bytes, name: str) -> None:
    assert len(picture) < MOST_BYTES, f"{name}: {len(picture)} bytes"
    (IMAGES / f"{name}.png").write_bytes(picture)
    print(f"{name}.png {len(picture) // 1000} kB")


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        service = Service(data=Path(folder) / "data", settings={"SCHEDULER__SLOTS": "4"}).start()
        try:
            ann = service.user("ann", admin=True)
            tasks = work(service, ann, Path(folder))
            session = session_of(service.url, "ann")
            with chromium() as browser:
                for theme in ("light", "dark"):
                    take(browser, service.url, session, tasks, theme)
        finally:
            service.cli("stop", check=False)


if __name__ == "__main__":
    main()
