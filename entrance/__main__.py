"""``python -m entrance --data DIR``: the service as one process.

The one place that patches gevent and makes the launcher. It locks the folder, listens, and starts the fork servers; what
the service itself consists of is imported while they import theirs (``entrance.serving``). ``DIR/service.json`` is there
when it answers and goes at an orderly stop (SIGTERM, SIGINT). What prevents the start is one sentence on standard error,
exit status 1; a broken writer ends the service with status 70.
"""

import gc

from gevent import events, monkey

gc.disable()  # until the service answers: what is made before stays
events.notify_and_call_entry_points = events.notify  # else the metadata of all packages are read 25 times for plug-ins
monkey.patch_all()

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from common.config import Settings, load
from common.errors import EntranceError, StartRefused
from common.logging import set_up
from entrance.core.folder import Folder
from entrance.native import HubRuntime
from entrance.web.server import listen
from executors.launchers.local import LocalLauncher
from executors.launchers.split import SplitLauncher

SWITCH_SECONDS = 0.0001  # how long the writer thread waits for the interpreter (docs/adr/0002)
SMALL_EXECUTORS = ("echo", "sleep", "command")  # those that need no heavy library
WORK = (  # what the others import when they run; last what is made ready for them
    "common.db.database",
    "numpy",
    "executors.packing.work",
    "executors.exporting.work",
    "executors.extracting",
    "executors.packed",
    "executors.verifying",
    "executors.warm:warm_up",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="entrance", description="The task service.")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--conf", type=Path)
    options = parser.parse_args()
    set_up()
    try:
        settings = load(
            options.conf,
            overrides={
                "service.data": str(options.data) if options.data else None,
                "service.host": options.host,
                "service.port": options.port,
            },
        )
        _run(settings)
    except EntranceError as error:
        sys.stderr.write(f"entrance: {error}\n")
        return 1
    return 0


def _run(settings: Settings) -> None:
    sys.setswitchinterval(SWITCH_SECONDS)
    folder = Folder(settings.data_folder)
    (folder.path / "service.json").unlink(missing_ok=True)
    host, port = settings.service.host, settings.service.port
    try:
        listener = listen(host, port)
    except OSError as error:
        raise StartRefused(f"cannot listen on {host}:{port}: {error.strerror}") from error
    port = listener.getsockname()[1]
    settings = replace(settings, service=replace(settings.service, port=port))
    runtime = HubRuntime(settings.service.threads)
    launcher = _launcher(folder, runtime)
    try:
        from entrance.serving import serve

        serve(settings, folder, listener, launcher, runtime)
    except BaseException:
        launcher.close(0)
        raise


def _launcher(folder: Folder, runtime: HubRuntime) -> SplitLauncher:
    small = LocalLauncher(
        data=folder.path, instance=f"{folder.instance}-small", executors=SMALL_EXECUTORS, offload=runtime.offload
    )
    large = LocalLauncher(
        data=folder.path,
        instance=folder.instance,
        preload=WORK,
        awaited=False,  # it imports for a second, and the service answers meanwhile
        offload=runtime.offload,
    )
    small.warm_up()
    large.warm_up()
    return SplitLauncher(small, large, SMALL_EXECUTORS)


if __name__ == "__main__":
    sys.exit(main())
