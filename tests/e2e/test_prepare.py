"""``entrance prepare`` and what comes after it, through the whole running service, byte for byte."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import pty
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from factories import LINKIS, Http, Service, wait_until
from trees import contents, derived, make_tree, parts_left, vectors, whole_preparations

COLUMNS = "piece_cid,piece_cid_v2,piece_size,car_size,root_cid,path"


def prepare(service: Service, source: Path, output: Path, *options: str, check: bool = True) -> Any:
    """Run the command and return the object that it prints; None when it failed."""
    done = service.cli("prepare", str(source), str(output), "--json", *options, check=check)
    return json.loads(done.stdout) if done.stdout else None


def sizes_of(case: Mapping[str, Any]) -> list[str]:
    return ["--max-size", str(case["maxSize"]), "--min-piece-size", str(case["minPieceSize"])]


def api(http: Http, path: str) -> Any:
    answer = http.get(f"/api{path}")
    assert answer.status == 200, answer.text
    return answer.json()


def source_name(http: Http, preparation: int) -> str:
    (view,) = [p for p in api(http, "/preparation") if p["id"] == preparation]
    (storage,) = view["sourceStorages"]
    return str(storage["name"])


@pytest.mark.parametrize("case", whole_preparations(), ids=lambda case: case["name"].replace(" ", "-"))
def test_each_known_tree_gives_the_known_bytes_and_comes_back(
    case: Mapping[str, Any], shared_service: Service, tmp_path: Path
) -> None:
    source, output = make_tree(tmp_path / "source", case["tree"]), tmp_path / "output"

    told = prepare(shared_service, source, output, *sizes_of(case))

    data = [p for p in told["pieces"] if p["pieceType"] == "data"]
    (dag,) = [p for p in told["pieces"] if p["pieceType"] == "dag"]
    assert len(data) == len(case["cars"])
    for piece, wanted in zip([*data, dag], [*case["cars"], case["dagCar"]], strict=True):
        assert {key: piece[key] for key in ("pieceCid", "pieceSize", "rootCid")} == {
            key: wanted[key] for key in ("pieceCid", "pieceSize", "rootCid")
        }
        exported = wanted.get("exported", {"fileSize": wanted.get("fileSize"), "minPieceSizePadding": 0})
        assert {key: piece[key] for key in exported} == exported
        car = (output / piece["storagePath"]).read_bytes()
        assert len(car) == exported["fileSize"]
        assert hashlib.sha256(car[: wanted["carBytes"]]).hexdigest() == wanted["carSha256"]
        assert not car[wanted["carBytes"] :].strip(b"\0")
        assert piece["storagePath"] == f"{wanted['pieceCid']}.car"
    assert [p["numOfFiles"] for p in data] == [c["numOfFiles"] for c in case["cars"]]
    check_directories(case, shared_service.http, told["preparation"])
    if "files" in case:
        assert told["files"] == len(case["files"])
        assert told["bytes"] == sum(f["size"] for f in case["files"])

    name = str(told["preparation"])
    shared_service.cli("verify", name)
    shared_service.cli("extract", name, str(tmp_path / "back"))
    assert contents(tmp_path / "back") == contents(source)


def check_directories(case: Mapping[str, Any], http: Http, preparation: int) -> None:
    name = source_name(http, preparation)
    files = {row["path"]: row["cid"] for row in case.get("files", ())}
    for row in case["directories"]:
        path = row["path"].replace("/", "%2F") or "%2F"
        found = api(http, f"/preparation/{preparation}/source/{name}/explore/{path}")
        assert found["cid"] == row["cid"], row["path"]
        for entry in found["subEntries"] or []:
            if not entry["isDir"] and files:
                assert entry["cid"] == files[entry["path"]]


def test_the_public_preparation_has_the_public_piece_cids(shared_service: Service, tmp_path: Path) -> None:
    hello = vectors("singularity")["preparation"][0]
    source = make_tree(tmp_path / "source", hello["tree"])
    told = prepare(shared_service, source, tmp_path / "output", "--max-size", hello["maxSize"])
    wanted = hello["expected"]["v1"]
    assert [p["pieceCid"] for p in told["pieces"]] == [wanted["data"]["pieceCid"], wanted["dag"]["pieceCid"]]


def test_the_manifest_is_written_and_the_table_printed(shared_service: Service, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source", {"a.txt": "hello world", "b/c.txt": "more"})
    output = tmp_path / "new" / "output"

    done = shared_service.cli("prepare", str(source), str(output))

    text = (output / "manifest.csv").read_text()
    assert text.splitlines()[0] == COLUMNS
    rows = list(csv.DictReader(text.splitlines()))
    as_json = json.loads((output / "manifest.json").read_text())
    assert [{k: str(v) for k, v in row.items()} for row in as_json] == rows
    for row in rows:
        assert (output / row["path"]).stat().st_size == int(row["car_size"])
        assert row["piece_cid"] in done.stdout
        assert row["piece_cid_v2"].startswith("bafkzcib")
    assert shared_service.url in done.stdout
    listed = shared_service.cli("pieces", "source", "--format", "csv", check=False).stdout
    assert listed.splitlines()[0] == COLUMNS


def test_json_is_one_object_and_nothing_else(shared_service: Service, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source", {"a.txt": "x", "b.txt": "yy"})
    done = shared_service.cli("prepare", str(source), str(tmp_path / "output"), "--json")
    assert done.stdout.count("\n") == 1
    told = json.loads(done.stdout)
    assert set(told) == {"preparation", "pieces", "seconds", "bytes", "files"}
    assert (told["bytes"], told["files"]) == (3, 2)
    assert set(told["seconds"]) == {"scan", "pack", "daggen"}
    assert all(0 <= value < 60 for value in told["seconds"].values())
    assert all("pieceCidV2" in piece and piece["preparationId"] == told["preparation"] for piece in told["pieces"])


def test_a_second_run_takes_in_only_what_is_new(shared_service: Service, tmp_path: Path) -> None:
    source, output = make_tree(tmp_path / "source", {"a.txt": "hello", "d/b.txt": "world"}), tmp_path / "output"
    first = prepare(shared_service, source, output)
    before = contents(output)

    same = prepare(shared_service, source, output)
    assert same["preparation"] == first["preparation"]
    assert same["pieces"] == first["pieces"]
    assert (same["files"], same["bytes"]) == (2, 10)
    assert {k: v for k, v in contents(output).items() if ".part" not in k} == {
        k: v for k, v in before.items() if ".part" not in k
    }

    make_tree(source, {"d/c.txt": "new"})
    more = prepare(shared_service, source, output)
    assert more["preparation"] == first["preparation"]
    assert [p["id"] for p in more["pieces"] if p in first["pieces"]] == [p["id"] for p in first["pieces"]]
    fresh = [p for p in more["pieces"] if p not in first["pieces"]]
    assert sorted((p["pieceType"], p["numOfFiles"]) for p in fresh) == [("dag", 0), ("data", 1)]
    assert len((output / "manifest.csv").read_text().splitlines()) == 5
    shared_service.cli("extract", str(first["preparation"]), str(tmp_path / "back"))
    assert contents(tmp_path / "back") == contents(source)


def test_other_sizes_are_another_preparation(shared_service: Service, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source", {"a.bin": {"derivedBuffer": 3_000_000}})
    small = prepare(shared_service, source, tmp_path / "small", "--max-size", "1.5MB")
    large = prepare(shared_service, source, tmp_path / "small", "--max-size", "8MB")
    assert small["preparation"] != large["preparation"]
    assert len(small["pieces"]) > len(large["pieces"])


def test_a_dry_run_counts_and_makes_nothing(tmp_path: Path, make_service: Any) -> None:
    service = make_service()
    source = make_tree(tmp_path / "source", {"a.bin": {"derivedBuffer": 2_500_000}, "b.bin": {"derivedBuffer": 900_000}})
    done = service.cli("prepare", str(source), str(tmp_path / "output"), "--dry-run", "--max-size", "2MB", "--json")
    told = json.loads(done.stdout)
    assert (told["files"], told["bytes"], told["cars"]) == (2, 3_400_000, 2)
    assert told["freeBytes"] > 0
    assert told["carBytes"] >= 3_400_000
    assert not (tmp_path / "output").exists()
    assert not service.processes()


def test_prepare_starts_a_service_that_stays_and_allows_the_two_folders_alone(tmp_path: Path, make_service: Any) -> None:
    service = make_service(SERVICE__PORT="0")
    source = make_tree(tmp_path / "source", {"a.txt": "x"})
    told = prepare(service, source, tmp_path / "output")
    assert service.processes()
    roots = json.loads(service.cli("storage", "allow", "--list", "--json").stdout)
    assert roots == [
        {"path": str(path.resolve()), "preparation": told["preparation"]} for path in (tmp_path / "output", source)
    ]
    other = service.user("other")
    body = {
        "executionContent": {"code": json.dumps({"path": str(source)}), "runType": "scan"},
        "labels": {"engineType": "scan"},
    }
    answer = other.post("/api/rest_j/v1/entrance/submit", body)
    assert "not allowed" in answer.text or "allowed here" in answer.text


def test_a_run_under_way_is_joined(make_service: Any, tmp_path: Path) -> None:
    service = make_service(SCHEDULER__SLOTS="1").start()
    source = make_tree(tmp_path / "source", {f"f{n}.bin": {"derivedBuffer": 1_000_000 + n} for n in range(8)})
    blocker = service.submit("sleep", {"seconds": 60})
    others = [service.submit("sleep", {"seconds": 60}) for _ in range(3)]
    service.wait_for(blocker, "Running")
    command = [*service.program, "prepare", str(source), str(tmp_path / "output"), "--json", "--data", str(service.data)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)]

    def scans() -> list[Any]:
        data = service.http.get(f"{LINKIS}/jobhistory/list", query={"executeApplicationName": "scan"}).data
        return list(data["tasks"])

    wait_until(scans, what="the scan is submitted")
    runs.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    wait_until(lambda: "joining" in (runs[1].stderr.readline() if runs[1].stderr else ""), what="the second run joins")
    for task in (blocker, *others):
        service.http.get(f"{LINKIS}/entrance/{task}/kill")
    told = [json.loads(run.communicate(timeout=60)[0]) for run in runs]
    assert told[0]["pieces"] == told[1]["pieces"]
    assert len(scans()) == 1


def test_prepare_outlasts_a_service_that_dies_and_comes_back(make_service: Any, tmp_path: Path) -> None:
    service = make_service(SCHEDULER__SLOTS="1").start()
    source = make_tree(tmp_path / "source", {f"f{n}.bin": {"derivedBuffer": 8_000_000 + n} for n in range(6)})
    command = [*service.program, "prepare", str(source), str(tmp_path / "output"), "--json", "--data", str(service.data)]
    run = subprocess.Popen(
        [*command, "--max-size", "9MB"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=service.environment
    )
    wait_until(lambda: list((tmp_path / "output").glob("*.car")), 30, what="the first CAR is there")
    service.kill()
    service.start()
    out, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    calm = prepare(service, source, tmp_path / "calm", "--max-size", "9MB")
    assert [p["pieceCid"] for p in json.loads(out)["pieces"]] == [p["pieceCid"] for p in calm["pieces"]]


def test_an_interrupted_command_without_a_terminal_leaves_the_run_alone(make_service: Any, tmp_path: Path) -> None:
    service = make_service(SCHEDULER__SLOTS="1").start()
    blocker = [service.submit("sleep", {"seconds": 60}) for _ in range(4)]
    source = make_tree(tmp_path / "source", {"a.txt": "x"})
    command = [*service.program, "prepare", str(source), str(tmp_path / "output"), "--data", str(service.data)]
    run = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    history = f"{LINKIS}/jobhistory/list"
    (scan,) = wait_until(lambda: service.http.get(history, query={"executeApplicationName": "scan"}).data["tasks"])
    run.send_signal(signal.SIGINT)
    assert run.wait(10) == 130
    assert "goes on; the same command joins it" in (run.stderr.read() if run.stderr else "")
    for task in blocker:
        service.http.get(f"{LINKIS}/entrance/{task}/kill")
    assert service.wait_for(scan["taskID"]) == "Succeed"


@pytest.mark.parametrize(("key", "status", "word"), [("p", 130, "paused"), ("k", 3, "killed"), ("l", 130, "goes on")])
def test_ctrl_c_at_a_terminal_asks_what_to_do(key: str, status: int, word: str, make_service: Any, tmp_path: Path) -> None:
    service = make_service(SCHEDULER__SLOTS="1").start()
    for _ in range(4):
        service.submit("sleep", {"seconds": 60})
    source = make_tree(tmp_path / "source", {"a.txt": "x"})
    command = [*service.program, "prepare", str(source), str(tmp_path / "output"), "--data", str(service.data)]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(command[0], command)
    history = f"{LINKIS}/jobhistory/list"
    (scan,) = wait_until(lambda: service.http.get(history, query={"executeApplicationName": "scan"}).data["tasks"])
    said = read_until(terminal, "scan")
    os.write(terminal, b"\x03")
    said += read_until(terminal, "ill it?")
    os.write(terminal, key.encode() + b"\n")
    said += read_until(terminal, "")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status
    assert word in said
    shown = service.http.get(f"{LINKIS}/entrance/{scan['taskID']}/status").data
    assert (shown["paused"], shown["status"] == "Cancelled") == (key == "p", key == "k")


def read_until(terminal: int, text: str) -> str:
    """Read from a terminal until a text has come; "" is its end."""
    said = ""
    while not text or text not in said:
        try:
            data = os.read(terminal, 4096)
        except OSError:
            break
        if not data:
            break
        said += data.decode(errors="replace")
    return said


def test_extract_gets_out_a_folder_a_file_and_goes_on_where_it_was(shared_service: Service, tmp_path: Path) -> None:
    tree = {"a/b/one.txt": "1", "a/b/two.bin": {"derivedBuffer": 3_000_001}, "a/c.txt": "c", "top.txt": "t", "empty/": None}
    source = make_tree(tmp_path / "source", tree)
    name = str(prepare(shared_service, source, tmp_path / "output", "--max-size", "2MB")["preparation"])

    shared_service.cli("extract", f"{name}:a/b", str(tmp_path / "folder"))
    assert contents(tmp_path / "folder") == contents(source / "a" / "b")
    shared_service.cli("extract", f"prep:{name}:a/b/two.bin", str(tmp_path / "file"))
    assert (tmp_path / "file" / "two.bin").read_bytes() == derived(3_000_001)

    back = tmp_path / "back"
    shared_service.cli("extract", name, str(back))
    assert contents(back) == contents(source)
    assert (back / "top.txt").stat().st_mtime_ns == (source / "top.txt").stat().st_mtime_ns
    (back / "a" / "c.txt").write_text("spoiled")
    untouched = (back / "top.txt").stat().st_ino
    shared_service.cli("extract", name, str(back))
    assert contents(back) == contents(source)
    assert (back / "top.txt").stat().st_ino == untouched
    assert not parts_left(back)
    missing = shared_service.cli("extract", f"{name}:no/such", str(back), check=False)
    assert missing.returncode == 1
    assert "no/such is not there, or not packed" in missing.stderr


@pytest.mark.parametrize("how", ["paused", "killed"])
def test_an_interrupted_extract_goes_on_and_leaves_nothing_behind(how: str, make_service: Any, tmp_path: Path) -> None:
    service = make_service().start()
    source = make_tree(tmp_path / "source", {"small/f%03d": {"derivedBuffer": 1000, "count": 300}})
    with (source / "large.bin").open("wb") as file:
        file.truncate(300_000_000)
        file.seek(150_000_000)
        file.write(b"in the middle")
    told = prepare(service, source, tmp_path / "output")
    back = tmp_path / "back"
    back.mkdir()
    service.cli("storage", "allow", str(tmp_path))
    task = service.submit("extract", {"preparation": told["preparation"], "to": str(back)})

    def begun() -> bool:
        return int(service.http.get(f"{LINKIS}/entrance/{task}/progress").data["bytesDone"]) > 60_000_000

    wait_until(begun, 30, what="a part of the large file is out")
    assert not (back / "large.bin").exists()
    if how == "paused":
        service.cli("pause", str(task))
        wait_until(lambda: service.http.get(f"{LINKIS}/entrance/{task}/status").data["paused"])
        service.cli("resume", str(task))
    else:
        service.kill()
        service.start()
    assert service.wait_for(task, timeout_seconds=60) == "Succeed"
    assert contents(back) == contents(source)
    assert "every block checked" in service.cli("logs", str(task)).stdout
    assert len(service.http.get(f"{LINKIS}/entrance/{task}/attempts").data["attempts"]) == 2
    wait_until(lambda: not parts_left(back), what="temporary files are gone")


def test_names_that_are_not_utf8_come_back_as_they_were(shared_service: Service, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    for name in (b"plain", b"caf\xe9", b"\xff\xfe\n"):
        with open(bytes(source / "d") + b"/" + name, "wb") as file:
            file.write(name)
    done = shared_service.cli("prepare", str(source), str(tmp_path / "output"), "--json")
    assert "not UTF-8" in done.stderr
    name = str(json.loads(done.stdout)["preparation"])
    shared_service.cli("extract", name, str(tmp_path / "back"))
    assert contents(tmp_path / "back") == contents(source)
