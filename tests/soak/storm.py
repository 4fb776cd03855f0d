"""One run of the tormentor, from an empty data folder to the verdict."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from factories import Service
from servers import seaweedfs
from servers.proxy import Proxy
from servers.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS

from soak import clock, users
from soak.disk import SmallDisk
from soak.doors import SETTINGS, Doors
from soak.journal import Journal
from soak.judge import Judge, Verdict
from soak.steering import Steerer
from soak.torments import Means, Tormentor
from soak.users import Observer, Office
from soak.work import Places, Work

DISK_BYTES = 2 << 30
_FINISH_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much: the load ends after ``tasks`` or ``seconds``, whichever comes first."""

    tasks: int
    seconds: float
    pause_seconds: float = 0.7  # between torments
    storages: bool = True  # an S3 server, transfers, cut lines
    steer: bool = True


@dataclass(frozen=True, kw_only=True)
class Report:
    """What came of it."""

    figure: str
    submitted: int  # tasks, acknowledged or (very few) not known to be
    problems: list[str]
    stories: list[str]  # entries of the journal about the first faulty tasks
    left_out: list[str]  # torments that cannot be had on this machine


def run(folder: Path, service: Service, size: Size, seed: int) -> Report:
    """Torment ``service`` (not started yet; its data folder is placed in ``folder``). All that is made stays in there.

    Stopped and unmounted at the end; what was on the small disk is copied to ``folder/kept`` when there are problems.
    """
    disk = SmallDisk(folder / "disk", DISK_BYTES)
    service.data = disk.folder / "data"
    service.settings |= SETTINGS
    places = Places(
        trees=folder / "trees", exports=folder / "exports", out=disk.folder / "out", imports=disk.folder / "imports"
    )
    journal = Journal(folder / "journal.jsonl")
    server = _server(folder) if size.storages else None
    jumping = clock.JumpingClock(folder) if clock.compiler() else None
    left_out = [
        *([] if disk.mounted else ["full disks (mounting is not allowed here)"]),
        *([] if jumping else ["jumps of the clock (there is no C compiler)"]),
        *([] if server else ["cut lines to storages (no S3 server)"]),
    ]
    verdict = Verdict(wrong=["the run was not finished"])
    try:
        return _run(_Stage(folder, service, size, seed, disk, places, journal, server, jumping, verdict), left_out)
    finally:
        service.cli("stop", check=False)
        journal.close()
        if jumping:
            jumping.close()
        if server:
            server.stop()
        keep = folder / "kept" if verdict.problems else None
        disk.close(keep)


@dataclass
class _Stage:
    folder: Path
    service: Service
    size: Size
    seed: int
    disk: SmallDisk
    places: Places
    journal: Journal
    server: SeaweedFS | None
    jumping: clock.JumpingClock | None
    verdict: Verdict


def _run(on: _Stage, left_out: list[str]) -> Report:
    chance = random.Random(on.seed)
    on.places.make(chance)
    on.service.start()
    doors = Doors(on.service, chance.choice(["python", "java", "go"]))
    for path in (on.places.trees, on.places.exports, on.places.out, on.places.imports):
        on.service.cli("storage", "allow", str(path))
    line = _storages(on, doors)
    means = Means(disk=on.disk if on.disk.mounted else None, line=line, clock=on.jumping)
    begin = time.monotonic()
    end, calm = threading.Event(), threading.Event()
    work = Work(on.seed, on.places, storages=on.server is not None, name=f"soak-{on.folder}")
    office = Office(work, on.size.tasks)
    tormentor = Tormentor(on.service, on.journal, means, random.Random(on.seed + 1), calm, on.size.pause_seconds)
    observer = Observer(doors, office, on.journal, random.Random(on.seed + 2), end)
    steerer = Steerer(doors, on.journal, random.Random(on.seed + 3), end)
    people = users.start(doors, office, on.journal, on.seed)
    others = [tormentor, observer, *([steerer] if on.size.steer else [])]
    for thread in others:
        thread.start()
    for person in people:
        person.join(max(0.1, begin + on.size.seconds - time.monotonic()))
    office.enough.set()
    end.set()  # what has been accepted is tormented to its end, or nearly
    _wait_for_few(office, doors, begin + on.size.seconds)
    calm.set()
    for thread in (*people, *others):
        thread.join(120)
    tormentor.restore()
    loaded = time.monotonic() - begin
    return _judge(on, doors, tormentor, observer, loaded, left_out, office.handed_out)


def _wait_for_few(office: Office, doors: Doors, until: float) -> None:
    """Wait until the queue is nearly empty, under torments."""
    line = doors.line()
    while time.monotonic() < until:
        with suppress(Exception):  # the service is away for a moment
            if int(line.data("GET", "/service/queue")["waiting"]) < 5:
                break
        time.sleep(0.3)
    line.close()


def _judge(
    on: _Stage,
    doors: Doors,
    tormentor: Tormentor,
    observer: Observer,
    loaded: float,
    left_out: list[str],
    submitted: int,
) -> Report:
    judge = Judge(on.service, doors, on.journal, on.places, on.server, in_order=on.jumping is None)
    on.verdict.wrong.clear()
    judge.verdict = on.verdict
    judge.judge(_FINISH_SECONDS)
    on.verdict.wrong += on.journal.faults
    finished, judged, swept = judge.seconds[0], sum(judge.seconds[1:3]), judge.seconds[3]
    notes = on.verdict.notes
    counts = on.journal.counts
    torments = {name: counts[name] for name in tormentor._torments if counts[name]}
    steers = Counter({what.partition(" ")[0]: 0 for what in counts if " by " in what or what.endswith("of many")})
    for what, many in counts.items():
        if " by " in what or what.endswith("of many"):
            steers[what.partition(" ")[0]] += many
    figure = (
        f"{len(on.journal.tasks)} tasks acknowledged ({notes.get('rows')} in all, {_told(notes.get('ends', {}))}); "
        f"torments: {_told(torments)}; {tormentor.starts} restarts, slowest {tormentor.slowest_start:.2f} s; "
        f"steered: {_told(steers)}; calls without an answer {counts['calls without an answer']}; "
        f"{notes.get('preparations')} preparations with {notes.get('CARs')} CARs, {notes.get('verified')} verified, "
        f"{notes.get('transferred')} files transferred; compared {observer.compared} times meanwhile and "
        f"{notes.get('views compared')} rows at the end; losses {len(on.verdict.lost)}, doubles {len(on.verdict.doubled)}, "
        f"leftovers {len(on.verdict.left)}, wrong {len(on.verdict.wrong)}; {loaded:.0f} s of load, {finished:.0f} s to "
        f"the last end, {judged:.0f} s of judging, {swept:.0f} s until nothing was left; "
        f"service {notes.get('service MiB')} MiB, {notes.get('descriptors')} descriptors"
    )
    stories = [entry for task in on.verdict.faulty[:3] for entry in on.journal.story(task)]
    return Report(
        figure=figure,
        submitted=submitted,
        problems=on.verdict.problems,
        stories=stories,
        left_out=left_out,
    )


def _told(counts: Counter[str] | dict[str, int]) -> str:
    return ", ".join(f"{name} {many}" for name, many in sorted(counts.items()))


def _server(folder: Path) -> SeaweedFS | None:
    return SeaweedFS(folder / "seaweedfs").start() if seaweedfs.program() else None


def _storages(on: _Stage, doors: Doors) -> Proxy | None:
    """The storages of transfers, made through Singularity's API; the bucket's are behind a proxy."""
    if on.server is None:
        return None
    on.server.bucket("soak")
    given = on.server.storage("soak/given")
    for path in on.places.exports.rglob("*.bin"):
        given.put_bytes(str(path.relative_to(on.places.exports)), path.read_bytes())
    proxy = Proxy(on.server.endpoint)
    keys = {"accessKeyId": ACCESS_KEY, "secretAccessKey": SECRET_KEY}
    config = {**keys, "endpoint": proxy.url, "region": "us-east-1"}
    client = {"lowlevelRetries": 1, "timeout": 20_000_000_000}
    made = [
        ("local", {"name": "exports", "path": str(on.places.exports)}),
        ("local", {"name": "imports", "path": str(on.places.imports)}),
        ("s3/other", {"name": "bucket", "path": "soak/out", "config": config, "clientConfig": client}),
        ("s3/other", {"name": "given", "path": "soak/given", "config": config, "clientConfig": client}),
    ]
    for kind, body in made:
        answer = doors.singularity("POST", f"/storage/{kind}", body)
        assert answer.status == 200, answer.text
    return proxy
