"""Group ``doors``: SenseCore's list of transfers."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable, Mapping
from itertools import combinations, count
from typing import Any

from factories import LINKIS, Http
from servers.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS

from prove import Environment, Miss, claim
from prove._sensecore_world import HUGE_BYTES, HUGE_FILES, PATH, SPACE, World, make_world, same

PUBLISHED_HOST = "https://aidmp.cn-sh-01.sensecoreapi.tech"
PUBLISHED = (  # as it is printed, two lines
    "curl 'https://aidmp.cn-sh-01.sensecoreapi.tech/aids/aidmp/data/v2/dataSpaces/"
    "6794a734-54e7-11ed-b7c4-76337673fb0d/task:list' \\\n"
    """--data-raw '{"page_no":1,"page_size":10,"transfer_type":2}'"""
)
KINDS: Mapping[str, tuple[type, ...]] = {  # of the recorded answer, and ``successed_*`` of the published table
    **dict.fromkeys(("id", "target_branch", "commit_id", "commit_msg", "creator_name", "source_path"), (str,)),
    **dict.fromkeys(("target_path", "err_msg", "create_time", "repo_id", "repo_display_name"), (str,)),
    **{f"{what}_file_{of}": (str,) for what in ("total", "succeed", "successed", "failed") for of in ("size", "count")},
    **dict.fromkeys(("task_type", "task_state", "transfer_type"), (int,)),
    "oss_config": (dict,),
    "files": (list,),
    "finish_time": (str, type(None)),
}
OSS: Mapping[str, type] = {
    **dict.fromkeys(("bucket_name", "oss_endpoint", "access_key", "secret_key"), str),
    **dict.fromkeys(("virtual_host_style", "disable_ssl", "insecure_skip_verify"), bool),
}


@claim(
    group="doors",
    name="sensecore",
    wanted="the published curl line exactly as printed, and the six checks of chapter 10 of the contract",
)
def sensecore(env: Environment, seed: int) -> str:
    """Real transfers between folders and an S3 server, in every state."""
    server = SeaweedFS(env.scratch / "seaweedfs")
    try:
        world = make_world(env, server.start())
        figures = [_check_published(world), _check_same(world), _check_filters(world), _check_counters(world)]
        figures += [_check_pages(world), _check_large(world)]
        _check_keys(world)
    finally:
        server.stop()
    return f"{len(figures)} of 6 checks: {'; '.join(figures)}"


# ---- the six checks -----------------------------------------------------------------------------------------------


def _check_published(world: World) -> str:
    """Host and scheme alone are others; then once more with a token, of somebody who has none of these transfers."""
    line = PUBLISHED.replace(PUBLISHED_HOST, world.service.url)
    found = _curl(line)
    wanted = world.newest(lambda word: world.types[word] == 2)
    same((world.words(found), found["total"]), (wanted[:10], len(wanted)), "the printed line")
    bob = world.service.user("bob")
    same(_curl(f"{line} -H {shlex.quote(f'Authorization: Bearer {bob.token}')}"), {"tasks": [], "total": 0}, "as bob")
    return f"the printed line answers {len(wanted)} of {len(world.uuids)} transfers, all downloads"


def _curl(line: str) -> dict[str, Any]:
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=False, timeout=60)
    if done.returncode:
        raise Miss(f"curl ended with {done.returncode}: {done.stderr.decode()[-300:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _check_same(world: World) -> str:
    bodies = ({}, b"", None, b"null", {"page_no": 0}, {"page_no": 1}, {"page_size": 10}, {"page_size": 0}, {"pageNo": "1"})
    answers = [world.listed(body) for body in bodies]
    for body, answer in zip(bodies, answers, strict=True):
        same(answer, answers[0], f"{body!r}")
    same(world.words(answers[0]), world.newest()[:10], "the first page")
    same(world.listed({"page_no": 2})["tasks"] != answers[0]["tasks"], True, "the second page is another")
    return f"{len(bodies)} bodies of one answer"


def _check_filters(world: World) -> str:
    """Every filter alone by what must come; any two together by what each alone has."""
    states, types = world.states, world.types
    made = {world.words({"tasks": [t]})[0]: t["create_time"] for t in world.listed({"page_size": 1000})["tasks"]}
    middle = made["some failed"]
    filters: list[tuple[dict[str, Any], Callable[[str], bool]]] = [
        ({"transfer_type": 0}, lambda w: True),
        ({"transfer_type": 1}, lambda w: types[w] == 1),
        ({"transfer_type": "TRANSFER_TYPE_DOWNLOAD"}, lambda w: types[w] == 2),
        ({"task_states": []}, lambda w: True),
        *[({"task_states": [n]}, lambda w, n=n: states[w] == n) for n in range(9)],
        ({"task_states": ["RUNNING", 4, 4]}, lambda w: states[w] in (1, 4)),
        ({"repo_id": "17"}, lambda w: w in ("out", "halted")),
        ({"repo_id": "1"}, lambda w: False),
        ({"repo_name_keyword": " weather-2023 100%_* "}, lambda w: w in ("out", "halted")),
        ({"repo_name_keyword": "GROSSE"}, lambda w: w == "in"),
        ({"repo_name_keyword": "%"}, lambda w: w in ("out", "halted")),
        ({"start_time": middle}, lambda w: made[w] >= middle),
        ({"end_time": middle}, lambda w: made[w] <= middle),
        ({"data_space_id": SPACE}, lambda w: True),
    ]
    alone = []
    for body, wanted in filters:
        found = world.listed({**body, "page_size": 1000})
        same((world.words(found), found["total"]), (world.newest(wanted), len(found["tasks"])), str(body))
        alone.append((body, set(world.words(found))))
    both = [(a, b) for a, b in combinations(alone, 2) if not set(a[0]) & set(b[0])]
    for (one, with_one), (other, with_other) in both:
        found = world.listed({**one, **other, "page_size": 1000})
        same(world.words(found), world.newest((with_one & with_other).__contains__), f"{one} and {other}")
    for bad in ({"task_states": [9]}, {"transfer_type": 3}, {"page_no": -1}, {"data_space_id": "x"}, {"start_time": "x"}):
        answer = Http(world.service.url).request("POST", PATH, bad)
        said = answer.json()
        same((answer.status, said["code"], said["message"].split(":")[0]), (400, 3, next(iter(bad))), str(bad))
    shown = sorted(set(states.values()))
    return f"{len(filters)} filters and {len(both)} pairs, states {shown}"


def _check_counters(world: World) -> str:
    for task in world.listed({"page_size": 1000})["tasks"]:
        (word,) = world.words({"tasks": [task]})
        same((task["task_state"], task["transfer_type"]), (world.states[word], world.types[word]), word)
        same(set(task), set(KINDS), f"{word}: keys")
        same([n for n, kinds in KINDS.items() if type(task[n]) not in kinds], [], f"{word}: kinds")
        same({n: type(v) for n, v in task["oss_config"].items()}, dict(OSS), f"{word}: oss_config")
        same((task["oss_config"]["access_key"], task["oss_config"]["secret_key"]), ("", ""), word)
        same(task["oss_config"]["bucket_name"] != "", "store" in _storages(world, word), f"{word}: bucket")
        same((task["finish_time"] is None), task["task_state"] in (0, 1), f"{word}: finish_time")
        for of in ("size", "count"):
            total, good, again, bad = (task[f"{what}_file_{of}"] for what in ("total", "succeed", "successed", "failed"))
            same(good, again, f"{word}: both spellings")
            same(all(n.isdigit() for n in (total, good, bad)), True, f"{word}: counters")
            same(int(total) == 0 or int(good) + int(bad) <= int(total), True, f"{word}: {good} + {bad} of {total}")
        if word == "some failed":
            same((task["failed_file_count"], task["total_file_count"]), ("1", "3"), word)
            same([(f["path"], f["state"]) for f in task["files"]], [("a", 2), ("b", 1), ("c", 1)], f"{word}: files")
    return "counters are texts, both spellings equal"


def _storages(world: World, word: str) -> set[str]:
    path = f"{LINKIS}/jobhistory/{world.numbers[word]}/get"
    params = json.loads(world.alice.get(path).data["task"]["executionCode"])
    return {params[side]["storage"] for side in ("from", "to")}


def _check_pages(world: World) -> str:
    for size in (1, 3, 10, 1000):
        seen: list[str] = []
        for number in count(1):
            found = world.listed({"page_no": number, "page_size": size})
            same(found["total"], len(world.uuids), f"total of pages of {size}")
            seen += world.words(found)
            if not found["tasks"]:
                break
        same(seen, world.newest(), f"pages of {size}")
    return "pages of 1, 3, 10, 1000 hold every task once"


def _check_large(world: World) -> str:
    (task,) = (t for t in world.listed({"page_size": 1000})["tasks"] if t["id"] == world.uuids["huge"])
    size = str(HUGE_BYTES * HUGE_FILES)
    assert int(size) > 1 << 53
    same((task["total_file_size"], task["succeed_file_size"], task["succeed_file_count"]), (size, size, "513"), "huge")
    return f"{size} bytes to the last digit"


def _check_keys(world: World) -> None:
    """The keys of the store are in no answer, no line of a log, no file of the data folder."""
    keys = (ACCESS_KEY.encode(), SECRET_KEY.encode())
    bodies = [Http(world.service.url).request("POST", PATH, {"page_size": 1000}).body]
    for word, number in world.numbers.items():
        bodies.append(world.alice.get(f"{LINKIS}/entrance/{number}/log?size=10000&distinctLevel=false").body)
        same(any(key in bodies[-1] for key in keys), False, f"a key in the log of {word}")
    same(any(key in bodies[0] for key in keys), False, "a key in the list")
    world.service.stop()
    for path in world.service.data.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            same(any(key in content for key in keys), False, f"a key in {path.name}")
