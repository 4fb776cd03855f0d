"""Both languages of the console: nothing that it shows by itself is left in one of them only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

from executors import registry

SCRIPTS = files("entrance.console").joinpath("static", "js")
CHINESE = re.compile("[\u4e00-\u9fff]")
SAME = {"Piece CID", "CARs"}  # words that are the same in both


def spoken(schema: Mapping[str, Any]) -> Iterator[str]:
    """Titles and descriptions of parameters, those of nested ones included."""
    for inner in schema.get("properties", {}).values():
        yield from (inner[key] for key in ("title", "description") if inner.get(key))
        yield from spoken(inner)


def test_what_executors_say_of_themselves_is_there_in_chinese() -> None:
    text = SCRIPTS.joinpath("words-zh.js").read_text(encoding="utf-8")
    words = dict(re.findall(r'"((?:[^"\\]|\\.)+)": "((?:[^"\\]|\\.)+)"', text))
    wanted = set()
    for name in registry.names():
        executor = registry.get(name)
        wanted |= {executor.summary, *spoken(registry.json_schema(executor))}
    assert sorted(wanted - set(words)) == []
    assert sorted(set(words) - wanted) == []
    assert [english for english, chinese in words.items() if not CHINESE.search(chinese) and english not in SAME] == []


def test_every_text_has_both_languages_with_the_same_places_to_fill() -> None:
    text = SCRIPTS.joinpath("texts.js").read_text(encoding="utf-8")
    found = re.findall(r'"([\w.]+)": \["((?:[^"\\]|\\.)*)", "((?:[^"\\]|\\.)*)"\]', text)
    assert len(found) == len({key for key, _, _ in found}) > 150
    for key, english, chinese in found:
        assert english and chinese, key
        assert sorted(re.findall(r"\{\w+\}", english)) == sorted(re.findall(r"\{\w+\}", chinese)), key
