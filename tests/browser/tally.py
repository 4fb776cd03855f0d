"""What the browser tests have looked at, counted, for ``bin/prove console``: it asks with ``BROWSER_TALLY=FOLDER``."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from browser.stage import Tab


@dataclass
class Tally:
    """Pages by (theme, language) and how often each was shown; requests; what browsers complained of."""

    shown: dict[str, Counter[str]] = field(default_factory=dict)
    tabs: int = 0
    requests: int = 0
    expected: int = 0  # refusals that a test provokes, which browsers put on the console as errors
    faults: list[str] = field(default_factory=list)

    def watch(self, tab: Tab, theme: str, lang: str) -> None:
        """Count what happens in a tab from now on."""
        self.tabs += 1
        look = self.shown.setdefault(f"{theme} {lang}", Counter())
        tab.page.on("framenavigated", lambda frame: look.update([page_of(frame.url)]) if "#/" in frame.url else None)
        tab.page.context.on("request", lambda _: self._request())

    def closed(self, tab: Tab) -> None:
        """Take over what a tab has complained of."""
        left = [fault for fault in tab.faults if not any(part in fault for part in tab.allowed)]
        self.faults += left
        self.expected += len(tab.faults) - len(left)

    def write(self) -> None:
        """Write it into the folder that ``BROWSER_TALLY`` names, if it does: a file for each process that runs tests."""
        if folder := os.environ.get("BROWSER_TALLY"):
            told = {"shown": self.shown, "tabs": self.tabs, "requests": self.requests}
            path = Path(folder) / f"tally-{os.getpid()}.json"
            path.write_text(json.dumps({**told, "expected": self.expected, "faults": self.faults}))

    def _request(self) -> None:
        self.requests += 1


def page_of(url: str) -> str:
    """Return which page an address shows: its path without numbers and names, and its tab."""
    parts = urlsplit(urlsplit(url).fragment.removeprefix("/"))
    path = re.sub(r"/.+", "/one", parts.path)
    tab = parse_qs(parts.query).get("tab", [""])[0]
    return f"{path}?tab={tab}" if tab else path
