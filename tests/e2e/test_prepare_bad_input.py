"""What goes wrong around ``prepare`` is one clear sentence with the path, nothing is half-written, the next try works."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from factories import LINKIS, Service, wait_until
from trees import contents, make_tree, parts_left

SIZES = {"maxSize": 33_822_867_456, "pieceSize": 32 << 30, "minPieceSize": 1 << 20}  # what ``prepare`` asks for by default
WITHOUT_POWERS = [
    "setpriv",
    "--bounding-set",
    "-dac_override,-dac_read_search",
    "--inh-caps",
    "-dac_override,-dac_read_search",
]


def run(service: Service, source: Path, output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return service.cli("prepare", str(source), str(output), *options, check=False)


def prepared(service: Service, source: Path, output: Path, *options: str) -> Any:
    done = run(service, source, output, "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check_comes_back(service: Service, preparation: int, source: Path, back: Path) -> None:
    service.cli("extract", str(preparation), str(back))
    assert contents(back) == contents(source)


# ---- what is refused before anything is done


def test_a_missing_source_is_the_error_and_no_output_is_made(shared_service: Service, tmp_path: Path) -> None:
    done = run(shared_service, tmp_path / "nowhere", tmp_path / "output")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip() == f"entrance: {tmp_path / 'nowhere'}: there is no such folder"
    assert not (tmp_path / "output").exists()


def test_an_empty_source_is_one_clear_sentence(shared_service: Service, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source", {"only/folders/": None})
    done = run(shared_service, source, tmp_path / "output")
    assert done.returncode == 1
    assert done.stderr.strip() == f"entrance: {source} holds no files, so there is nothing to prepare"
    assert not (tmp_path / "output").exists()


def test_the_source_cannot_be_the_output(shared_service: Service, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source", {"a.txt": "x"})
    (tmp_path / "link").symlink_to(source)
    done = run(shared_service, source, tmp_path / "link")
    assert done.returncode == 1
    assert "the source itself cannot be the output" in done.stderr


def test_sizes_that_do_not_fit_are_refused(shared_service: Service, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source", {"a.txt": "x"})
    for options, sentence in (
        (["--max-size", "32GiB"], "maxSize needs to be reduced to leave space for padding"),
        (["--max-size", "100GiB"], "pieceSize cannot be larger than 64 GiB"),
        (["--max-size", "3MB", "--min-piece-size", "8MiB"], "minPieceSize cannot be larger than pieceSize"),
        (["--min-piece-size", "3MB"], "minPieceSize must be a power of two"),
        (["--max-size", "much"], "--max-size: 'much' is not a size such as 31.5GiB"),
    ):
        done = run(shared_service, source, tmp_path / "output", *options)
        assert (done.returncode, done.stderr.strip()) == (1, f"entrance: {sentence}")
    assert not (tmp_path / "output").exists()
    assert run(shared_service, source, tmp_path / "output", "--preset", "none").returncode == 2


def test_a_foreign_manifest_is_not_replaced(shared_service: Service, tmp_path: Path) -> None:
    source, output = make_tree(tmp_path / "source", {"a.txt": "x"}), make_tree(tmp_path / "output", {"manifest.csv": "mine"})
    done = run(shared_service, source, output)
    assert done.returncode == 1
    assert f"{output / 'manifest.csv'} is there already and is no manifest" in done.stderr
    assert contents(output).keys() == {"manifest.csv"}


# ---- what is left out, or left alone


def test_links_and_special_files_are_left_out_and_named(shared_service: Service, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source", {"a.txt": "x", "d/b.txt": "y"})
    (source / "link").symlink_to("a.txt")
    (source / "d" / "loop").symlink_to("..")
    (source / "dangling").symlink_to("/nowhere")
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind(str(source / "plug"))
        done = run(shared_service, source, tmp_path / "output", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["files"] == 2
    for name, kind in (
        ("link", "a symbolic link"),
        ("d/loop", "a symbolic link"),
        ("pipe", "a named pipe"),
        ("plug", "a socket"),
    ):
        assert f"{name}: left out: it is {kind}" in done.stderr


def test_an_output_inside_the_source_is_not_packed(shared_service: Service, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source", {"a.txt": "x"})
    output = source / "cars"
    first = prepared(shared_service, source, output)
    again = prepared(shared_service, source, output)
    assert (first["files"], again["files"]) == (1, 1)
    assert first["pieces"] == again["pieces"]


def test_foreign_files_in_the_output_stay(shared_service: Service, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source", {"a.txt": "x"})
    output = make_tree(tmp_path / "output", {"notes.txt": "mine", "other.car": "no car", "d/deep.txt": "mine too"})
    before = contents(output)
    prepared(shared_service, source, output)
    assert before.items() <= contents(output).items()


# ---- what fails, and then works


def test_an_unreadable_file_fails_with_its_path_and_the_next_try_works(make_service: Any, tmp_path: Path) -> None:
    service = make_service(SERVICE__PORT="0")
    if os.geteuid() == 0:
        service.program = [*WITHOUT_POWERS, *service.program]
    source = make_tree(tmp_path / "source", {"good.txt": "x", "d/secret.bin": "y"})
    (source / "d" / "secret.bin").chmod(0)
    try:
        done = run(service, source, tmp_path / "output", "--json")
    finally:
        (source / "d" / "secret.bin").chmod(0o644)
    assert (done.returncode, done.stdout) == (1, "")
    assert "d/secret.bin" in done.stderr
    assert "Permission denied" in done.stderr
    assert not [path for path in contents(tmp_path / "output") if path.endswith(".car") and not path.startswith(".")]
    told = prepared(service, source, tmp_path / "output")
    check_comes_back(service, told["preparation"], source, tmp_path / "back")


def test_an_unreadable_folder_is_left_out_and_named(make_service: Any, tmp_path: Path) -> None:
    service = make_service(SERVICE__PORT="0")
    if os.geteuid() == 0:
        service.program = [*WITHOUT_POWERS, *service.program]
    source = make_tree(tmp_path / "source", {"good.txt": "x", "locked/inside.txt": "y"})
    (source / "locked").chmod(0)
    try:
        done = run(service, source, tmp_path / "output", "--json")
    finally:
        (source / "locked").chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert "locked: the folder is left out: locked: Permission denied" in done.stderr


@pytest.mark.parametrize("what", ["changed", "shrunk", "gone"])
def test_a_file_that_changes_before_it_is_packed_fails_and_the_next_try_works(
    what: str, shared_service: Service, tmp_path: Path
) -> None:
    service = shared_service
    source = make_tree(tmp_path / "source", {"a.txt": "aaaa", "b.txt": "bbbb", "d/c.txt": "cccc"})
    output = make_tree(tmp_path / "output", {})
    service.cli("storage", "allow", str(tmp_path))
    scan = service.submit("scan", {"path": str(source), "output": str(output), **SIZES, "follow": []})
    assert service.wait_for(scan) == "Succeed"
    if what == "gone":
        (source / "b.txt").unlink()
    else:
        (source / "b.txt").write_text("longer than it was" if what == "changed" else "b")
    (preparation,) = [
        p for p in service.http.get("/api/preparation").json() if p["sourceStorages"][0]["path"] == str(source)
    ]
    which = {"preparation": preparation["id"], "source": preparation["sourceStorages"][0]["id"]}

    pack = service.submit("pack", which)

    assert service.wait_for(pack) == "Failed"
    task = service.http.get(f"{LINKIS}/jobhistory/{pack}/get").data["task"]
    assert "b.txt" in task["errDesc"]
    assert ("is not there" if what == "gone" else "file has been modified") in task["errDesc"]
    assert not [path for path in contents(output) if path.endswith(".car") and not path.startswith(".")]

    told = prepared(service, source, output)
    assert told["preparation"] == preparation["id"]
    check_comes_back(service, told["preparation"], source, tmp_path / "back")
    service.cli("verify", str(told["preparation"]))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]).returncode != 0:
        pytest.skip("only root can mount a small file system here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_fails_with_the_path_and_the_next_try_works(make_service: Any, tmp_path: Path, small_disk: Path) -> None:
    service = make_service(SERVICE__PORT="0", RETRY__MAX_RETRIES="0")
    source = make_tree(tmp_path / "source", {"a.bin": {"derivedBuffer": 2_000_000}})
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 << 20))
    output = small_disk / "output"
    done = run(service, source, output, "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert str(output) in done.stderr
    assert "No space left on device" in done.stderr
    assert not [path for path in contents(output) if path.endswith(".car") and not path.startswith(".")]
    ballast.unlink()
    shutil.rmtree(tmp_path / "back", ignore_errors=True)
    (source / "a.bin").write_bytes(bytes(500_000))
    told = prepared(service, source, output)
    check_comes_back(service, told["preparation"], source, tmp_path / "back")


# ---- CARs that are not what they were


@pytest.mark.parametrize("how", ["cut", "flipped", "gone"])
def test_a_spoiled_car_is_found_and_never_extracted(how: str, shared_service: Service, tmp_path: Path) -> None:
    service = shared_service
    source = make_tree(tmp_path / "source", {"a.bin": {"derivedBuffer": 1_500_000}, "b.txt": "small"})
    output = tmp_path / "output"
    told = prepared(service, source, output)
    name = str(told["preparation"])
    car = output / next(p["storagePath"] for p in told["pieces"] if p["pieceType"] == "data")
    data = bytearray(car.read_bytes())
    if how == "gone":
        car.unlink()
    else:
        if how == "cut":
            del data[1_200_000:]
        else:
            data[700_000] ^= 1
        car.write_bytes(data)

    found = service.cli("verify", name, check=False)
    assert found.returncode == 1
    assert car.name in found.stdout

    back = service.cli("extract", name, str(tmp_path / "back"), check=False)
    assert back.returncode == 1
    assert car.name in back.stderr
    assert not (tmp_path / "back" / "a.bin").exists()
    assert service.cli("verify", told["pieces"][0]["pieceCidV2"], check=False).returncode == 1


def test_nothing_is_left_under_a_temporary_name(make_service: Any, tmp_path: Path) -> None:
    service = make_service(SERVICE__PORT="0")
    source = make_tree(tmp_path / "source", {"a.txt": "x"})
    prepared(service, source, tmp_path / "output")
    wait_until(lambda: not parts_left(tmp_path / "output"), what="temporary files are gone")
