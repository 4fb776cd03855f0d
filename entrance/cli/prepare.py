"""``prepare SRC OUT``: the main job in one command. A folder becomes CAR files with their piece CIDs and a manifest.

The command starts a service for the data folder when none runs and allows it the two folders; everything else goes through
the public API, so that whatever it does can be watched and steered from elsewhere, and goes on without it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import click

from common.clock import SystemClock
from common.errors import EntranceError, StartRefused
from entrance.cli import prepare_manifest as manifest
from entrance.cli.client import Client, part
from entrance.cli.frame import EXIT_CANCELLED, EXIT_FAILED, Env, note, print_line, print_table, size_text, with_env
from entrance.cli.prepare_plan import Count, Plan, check_source, count, make_output, make_plan
from entrance.cli.prepare_run import SHOWN_WARNINGS, Outcome, Run, follow
from entrance.cli.processes import find_service
from entrance.cli.service import begin_detached, start_detached
from entrance.cli.tasks import submit_task
from entrance.cli.watch import EXIT_STATUS

EXIT_INTERRUPTED = 130
UNFINISHED = ("ready", "processing", "paused", "created")


@click.command()
@click.argument("source", metavar="SRC", type=click.Path())
@click.argument("output", metavar="OUT", type=click.Path())
@click.option("--max-size", metavar="SIZE", help="Most that goes into one CAR (default: 31.5GiB).")
@click.option("--min-piece-size", metavar="SIZE", help="Smallest piece; smaller CARs are padded up to it (default: 1MiB).")
@click.option("--preset", type=click.Choice(["porep-32", "pdp"]), help="Sizes by name: conf/presets.toml.")
@click.option("--dry-run", is_flag=True, help="Only count: files, CARs, bytes, free space.")
@with_env
@click.pass_context
def prepare(
    context: click.Context,
    env: Env,
    source: str,
    output: str,
    max_size: str | None,
    min_piece_size: str | None,
    preset: str | None,
    dry_run: bool,
) -> None:
    """Turn the folder SRC into CAR files in OUT, with piece CIDs and a manifest.

    The same SRC, OUT and sizes again take in only what is new; an unfinished run is joined. Ctrl-C asks whether to leave it
    running, to pause or to kill it. Exit status: 0 done, 1 failed, 3 killed, 4 timed out.
    """
    plan = make_plan(source, output, max_size=max_size, min_piece_size=min_piece_size, preset=preset)
    if dry_run:
        _tell_count(env, plan, count(plan))
        return
    check_source(plan)
    make_output(plan)
    manifest.check(plan.output)
    if env.url is None:
        _serve(env)
        _allow(env, plan)
    client = env.client(patient=True)
    joined = _join(client, plan)
    run = joined or _submit(client, plan)
    try:
        follow(run, quiet=env.json)
        outcome = run.outcome()
        if joined is not None and outcome.status == "Succeed" and not _is_whole(client, plan):
            run = _submit(client, plan)  # what we joined was a part only
            follow(run, quiet=env.json)
            outcome = run.outcome()
    except KeyboardInterrupt:
        context.exit(_interrupted(run, plan))
    if outcome.status != "Succeed":
        note(f"entrance: task {outcome.task_id}: {outcome.reason or outcome.status}")
        note(f"entrance: `entrance logs {outcome.task_id}` has more; the same command again takes up what is done")
        context.exit(EXIT_STATUS.get(outcome.status, EXIT_FAILED))
    preparation = _preparation_of(client, plan, run)
    pieces = pieces_of(client, preparation)
    manifest.write(plan.output, pieces)
    _tell_end(env, client, plan, run, outcome, preparation, pieces)


# ---- the service --------------------------------------------------------------------------------------------------


def _serve(env: Env) -> None:
    """Start a service that stays, unless one runs: on the port of the settings, else on a free one."""
    folder = env.folder()
    if find_service(folder) is not None:
        return
    settings = env.settings()
    try:
        info = begin_detached(settings).wait(meanwhile=folder.import_ahead)
    except StartRefused as error:
        if find_service(folder) is not None:
            return  # somebody else started it meanwhile
        if "cannot listen" not in str(error):
            raise
        info = start_detached(replace(settings, service=replace(settings.service, port=0)))
    note(f"service started at {info.url} (data folder {folder.path}); it stays: `entrance stop` ends it")


def _allow(env: Env, plan: Plan) -> None:
    """Allow the two folders, for the preparation that is made next with them."""
    from common.db.accounts import Accounts
    from entrance.core.making import NEXT_PREPARATION

    with env.folder().write() as tx:
        for path in (plan.source, plan.output):
            Accounts(tx).allow(str(path), now=SystemClock().now(), preparation_id=NEXT_PREPARATION)


# ---- the run ------------------------------------------------------------------------------------------------------


def _join(client: Client, plan: Plan) -> Run | None:
    """Return the unfinished run of this plan, if there is one; a paused one goes on."""
    for preparation in reversed(client.singularity("GET", "/preparation")):
        if not plan.is_of(preparation):
            continue
        for job in _jobs(client, preparation["id"]):
            if job["type"] == "scan" and job.get("taskId") and job["state"] in UNFINISHED:
                run = Run(client, str(job["taskId"]))
                if job["state"] == "paused":
                    run.act("resume")
                note(f"joining the run that is under way (task {run.scan})")
                return run
    return None


def _submit(client: Client, plan: Plan) -> Run:
    """Submit the scan with what follows.

    When packs have failed before they are tried again, but after the scan: it takes in what has changed since, and that is
    what they then leave out. The directories come last.
    """

    def submit(executor: str, params: Mapping[str, Any]) -> str:
        return str(submit_task(client, executor, params)["taskID"])

    failed = _with_failed_packs(client, plan)
    if failed is None:
        return Run(client, submit("scan", plan.params()))
    which = {"preparation": failed["id"], "source": failed["sourceStorages"][0]["id"]}
    later = [lambda: submit("pack", which), lambda: submit("daggen", {**which, "wait": True})]
    return Run(client, submit("scan", {**plan.params(), "follow": ["pack"]}), later)


def _with_failed_packs(client: Client, plan: Plan) -> Mapping[str, Any] | None:
    """Return the preparation of this plan if packs of it ended without success, or never began."""
    for preparation in reversed(client.singularity("GET", "/preparation")):
        if plan.is_of(preparation):
            jobs = _jobs(client, preparation["id"])
            return (
                dict(preparation) if any(j["type"] == "pack" and j["state"] in ("error", "created") for j in jobs) else None
            )
    return None


def _is_whole(client: Client, plan: Plan) -> bool:
    """Whether all jobs of the preparation of this plan are complete."""
    return any(
        all(job["state"] == "complete" for job in _jobs(client, preparation["id"]))
        for preparation in client.singularity("GET", "/preparation")
        if plan.is_of(preparation)
    )


def _jobs(client: Client, preparation: int) -> list[Mapping[str, Any]]:
    return [job for source in client.singularity("GET", f"/preparation/{preparation}") or [] for job in source["jobs"]]


def _preparation_of(client: Client, plan: Plan, run: Run) -> int:
    """Return the id of the preparation that the run's scan has worked on."""
    for preparation in reversed(client.singularity("GET", "/preparation")):
        if plan.is_of(preparation) and any(str(job.get("taskId")) == run.scan for job in _jobs(client, preparation["id"])):
            return int(preparation["id"])
    raise EntranceError("the preparation has been removed meanwhile")


def pieces_of(client: Client, preparation: int | str) -> list[Mapping[str, Any]]:
    """Return the Car objects of a preparation (id or name): data by job, then DAG CARs."""
    lists = client.singularity("GET", f"/preparation/{part(preparation)}/piece")
    cars = [car for source in lists for car in source["pieces"]]
    return sorted(cars, key=lambda car: (car["pieceType"] == "dag", car.get("jobId") or 0, car["id"]))


def _interrupted(run: Run, plan: Plan) -> int:
    """Ask what is to become of the run; return the exit status."""
    choice = "l"
    if sys.stdin.isatty():
        try:
            choice = click.prompt(
                "\n[l]eave it running, [p]ause it or [k]ill it?",
                type=click.Choice(["l", "p", "k"]),
                default="l",
                show_choices=False,
                err=True,
            )
        except click.Abort:
            choice = "l"
    if choice == "k":
        run.act("kill")
        note(f"task {run.scan} killed; CARs that were finished stay in {plan.output}")
        return EXIT_CANCELLED
    if choice == "p":
        run.act("pause")
        note(f"task {run.scan} paused; the same command, or `entrance resume {run.scan}`, lets it go on")
    else:
        note(f"task {run.scan} goes on; the same command joins it")
    return EXIT_INTERRUPTED


# ---- what is told -------------------------------------------------------------------------------------------------


def _tell_end(
    env: Env,
    client: Client,
    plan: Plan,
    run: Run,
    outcome: Outcome,
    preparation: int,
    pieces: Sequence[Mapping[str, Any]],
) -> None:
    for number, line in enumerate(warnings := run.warnings()):
        if number == SHOWN_WARNINGS:
            note(f"entrance: {len(warnings) - number} more warnings: `entrance logs {run.scan}`")
            break
        note(f"entrance: {line}")
    if env.json:
        env.print_json(
            {
                "preparation": preparation,
                "pieces": pieces,
                "seconds": outcome.seconds,
                "bytes": outcome.bytes,
                "files": outcome.files,
            }
        )
        return
    print_pieces(pieces)
    print_line()
    print_line(f"{outcome.files} files, {size_text(outcome.bytes)}; manifest: {plan.output / manifest.CSV_NAME}")
    print_line(f"console: {client.url}/")


def print_pieces(pieces: Sequence[Mapping[str, Any]]) -> None:
    """Print the table of pieces."""
    rows = [
        (
            p["pieceCid"],
            size_text(p["pieceSize"]),
            size_text(p["fileSize"]),
            p["numOfFiles"] or "",
            p["pieceType"],
            p["rootCid"],
        )
        for p in pieces
    ]
    columns = ["PIECE CID", "PIECE", "CAR", "FILES", "TYPE", "ROOT CID"]
    print_table(columns, rows, right=["PIECE", "CAR", "FILES"])


def _tell_count(env: Env, plan: Plan, found: Count) -> None:
    if env.json:
        env.print_json(
            {
                "source": str(plan.source),
                "output": str(plan.output),
                "files": found.files,
                "folders": found.folders,
                "bytes": found.bytes,
                "cars": found.cars,
                "carBytes": found.car_bytes,
                "freeBytes": found.free_bytes,
                "leftOut": found.left_out,
            }
        )
        return
    print_line(f"{plan.source}: {found.files} files, {size_text(found.bytes)} in {found.folders} folders")
    if found.left_out:
        print_line(f"{found.left_out} entries are left out (links, special files, folders that cannot be read)")
    print_line(f"{found.cars} CARs with at most {size_text(found.car_bytes)} of data, and one for the folders")
    enough = "" if found.free_bytes > found.car_bytes else ": not enough"
    print_line(f"{plan.output}: {size_text(found.free_bytes)} free{enough}")
