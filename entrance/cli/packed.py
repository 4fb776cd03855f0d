"""``pieces``, ``extract``, ``verify``: what can be done with CARs once they are there."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from common.clock import SystemClock
from common.errors import BadInput, NotFound
from entrance.cli import prepare_manifest as manifest
from entrance.cli.client import Client, part
from entrance.cli.frame import EXIT_FAILED, Env, note, print_line, size_text, with_env
from entrance.cli.prepare import pieces_of, print_pieces
from entrance.cli.tasks import submit_task
from entrance.cli.watch import EXIT_STATUS, wait_for

PREFIX = "prep:"
PIECE_CIDS = ("baga6ea4seaq", "bafkzcib")  # what the text of a piece CID begins with, v1 and v2
LOG_LINES = 10_000


@click.command()
@click.argument("preparation", metavar="PREP")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="Form of the list.",
)
@with_env
def pieces(env: Env, preparation: str, form: str) -> None:
    """List the pieces of the preparation PREP (name or id): data by job, then directories.

    csv has the columns of a manifest; json the Car objects of the API.
    """
    found = pieces_of(env.client(), preparation.removeprefix(PREFIX))
    if env.json or form == "json":
        env.print_json(found)
    elif form == "csv":
        writer = csv.DictWriter(sys.stdout, manifest.COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(manifest.row, found))
    else:
        print_pieces(found)


@click.command()
@click.argument("what", metavar="PREP[:PATH]")
@click.argument("directory", metavar="DIR", type=click.Path())
@with_env
@click.pass_context
def extract(context: click.Context, env: Env, what: str, directory: str) -> None:
    """Get files out of the CARs of a preparation into the folder DIR, every block checked against its CID.

    PATH is a file, or a folder whose contents come out; without it everything does. DIR is made when it is missing. Files
    that are there already with the same size and time are left as they are, so the same command takes up an earlier one.
    Exit status as `wait`.
    """
    client = env.client(patient=True)
    name, _, path = what.removeprefix(PREFIX).partition(":")
    preparation = _preparation(client, name)
    target = Path(directory).absolute()
    try:
        target.mkdir(parents=True, exist_ok=True)
        target = target.resolve(strict=True)
    except OSError as error:
        raise BadInput(f"{directory}: {error.strerror}") from error
    if env.url is None:
        _allow(env, target, int(preparation["id"]))
    told = submit_task(client, "extract", {"preparation": preparation["id"], "path": path.strip("/"), "to": str(target)})
    end = wait_for(client, [str(told["taskID"])])[0]
    numbers = client.linkis("GET", f"/entrance/{part(told['taskID'])}/progress")
    if env.json:
        keys = {"files": "filesDone", "bytes": "bytesDone"}
        env.print_json({**told, **end, **{ours: numbers.get(theirs) or 0 for ours, theirs in keys.items()}})
    elif end["status"] == "Succeed":
        print_line(f"{numbers['filesDone']} files, {size_text(numbers['bytesDone'])} in {target}, every block checked")
    context.exit(EXIT_STATUS[end["status"]])


@click.command()
@click.argument("what", metavar="PREP|PIECE_CID|STORAGE")
@click.argument("path", metavar="[PATH]", required=False)
@with_env
@click.pass_context
def verify(context: click.Context, env: Env, what: str, path: str | None) -> None:
    """Check CARs: every block against its CID, the structure, the piece CID. Prints a line for each fault.

    Of a preparation all its CARs, of a piece CID (v1 or v2) all CARs of it, or the file PATH of a storage. Exit status: 0
    all is as it should be, 1 there are faults.
    """
    client = env.client(patient=True)
    params: dict[str, Any]
    if path is not None:
        params = {"storage": what, "path": path}
    elif what.startswith(PIECE_CIDS):
        params = {"pieceCid": what}
    else:
        params = {"preparation": _preparation(client, what.removeprefix(PREFIX))["id"]}
    told = submit_task(client, "verify", params)
    end = wait_for(client, [str(told["taskID"])])[0]
    faults = _faults(client, str(told["taskID"])) if end["status"] == "Succeed" else []
    if env.json:
        env.print_json({**told, **end, "faults": faults})
    for fault in [] if env.json else faults:
        print_line(fault)
    if end["status"] != "Succeed":
        context.exit(EXIT_STATUS[end["status"]])
    if faults:
        note(f"entrance: {len(faults)} faults")
        context.exit(EXIT_FAILED)
    if not env.json:
        print_line("everything is as it should be")


def _preparation(client: Client, name: str) -> Mapping[str, Any]:
    """Return a preparation by name or id. Raises NotFound."""
    for found in client.singularity("GET", "/preparation"):
        if name in (found["name"], str(found["id"])):
            return dict(found)
    raise NotFound(f"there is no preparation {name}; `entrance ps -a --executor scan` lists what was prepared")


def _allow(env: Env, target: Path, preparation: int) -> None:
    """Allow the folder for this preparation only; we are the owner of the data folder."""
    from common.db.accounts import Accounts

    with env.folder().write() as tx:
        Accounts(tx).allow(str(target), now=SystemClock().now(), preparation_id=preparation)


def _faults(client: Client, task: str) -> list[str]:
    """Return what a verify has found, one text for each fault."""
    found: list[str] = []
    at = 0
    while True:
        told = client.linkis("GET", f"/entrance/{part(task)}/log", query={"fromLine": at, "size": LOG_LINES})
        found += [line.split(" ERROR ", 1)[-1] for line in told["log"][0].split("\n") if line.strip()]
        if told["fromLine"] == at:
            return found
        at = told["fromLine"]
