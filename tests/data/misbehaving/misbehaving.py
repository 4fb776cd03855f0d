"""Executors that misbehave, one way each."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time

from marshmallow import fields

from common.errors import ExecutorError, MayPass
from executors.base import Column, Stage
from executors.params import Params


class AnyParams(Params):
    """One free parameter."""

    value = fields.Raw(load_default=None, allow_none=True)


class Misbehaving:
    summary = "for tests"
    params = AnyParams
    columns = (Column(name="message"),)
    cores = 0.25


def descriptors():
    for name in os.listdir("/proc/self/fd"):
        try:
            yield os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the one that listed them
            continue


def sleeper(**how):
    return subprocess.Popen(["sleep", "86400"], **how)


class Stubborn(Misbehaving):
    """Never steps, ignores SIGTERM, and has children that hide: in their own session, without environment, without parent."""

    name = "stubborn"

    def run(self, ctx):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sleeper()
        sleeper(start_new_session=True)
        sleeper(start_new_session=True, env={})
        subprocess.run(["sh", "-c", "setsid sh -c 'setsid sleep 86400 & sleep 86400' & exit 0"], check=True)
        if os.fork() == 0:
            os.setsid()
            time.sleep(86400)
        ctx.log("up")
        ctx.step(0, 1, b"state")
        while True:
            sum(range(10_000))


class Busy(Misbehaving):
    """Steps once and then only computes."""

    name = "busy"

    def run(self, ctx):
        ctx.step(1, 10, b"one")
        print("computing", flush=True)
        while True:
            sum(range(10_000))


class Waiting(Misbehaving):
    """Steps until it is stopped; says how many cores it may use whenever that changes."""

    name = "waiting"

    def run(self, ctx):
        cores, done = 0, 0
        while True:
            if ctx.cores != cores:
                cores = ctx.cores
                ctx.log(f"cores {cores}")
            done += 1
            ctx.step(done, 1_000_000, str(done).encode())
            time.sleep(0.005)


class Dying(Misbehaving):
    """Ends its process: ``value`` is an exit status, or a signal when negative."""

    name = "dying"

    def run(self, ctx):
        ctx.log("about to die")
        ctx.step(1, 2, b"half")
        if ctx.params["value"] < 0:
            os.kill(os.getpid(), -ctx.params["value"])
        os._exit(ctx.params["value"])


class Leaving(Misbehaving):
    """Ends in order but leaves processes, one of which holds its standard output."""

    name = "leaving"

    def run(self, ctx):
        left = [sleeper(), sleeper(start_new_session=True), sleeper(start_new_session=True, env={})]
        print("printed before the end")
        return [[str(process.pid)] for process in left]


class Printing(Misbehaving):
    """Writes to its standard outputs instead of the log."""

    name = "printing"

    def run(self, ctx):
        for number in range(ctx.params["value"] or 0):
            print(f"printed {number}")
        sys.stdout.flush()
        os.write(1, b"one\ntwo \xff\xfe\tbytes\nun")
        os.write(1, b"ended")
        os.write(2, "wärning\n".encode())


class Verbose(Misbehaving):
    """Logs odd texts."""

    name = "verbose"

    def run(self, ctx):
        for text in ctx.params["value"]:
            ctx.log(text, "WARN")


class Asking(Misbehaving):
    """Sends each kind of request and returns the answers."""

    name = "asking"

    def run(self, ctx):
        ctx.own(["/out/a.part", "/out/b.part"])
        ctx.own(["bucket/prefix"], kind="prefix")
        first = ctx.ids("cars", 5)
        child = ctx.child("job-7", "pack", {"job": 7}, job=7)
        ctx.publish([("/out/a.part", "/out/a")], [("cars", ["id", "cid"], [(first, "bafy")])])
        try:
            ctx.ids("nothing", 1)
        except MayPass as error:
            ctx.log(f"may pass: {error}")
        except ExecutorError as error:
            ctx.log(f"refused: {error}")
        return [[json.dumps([first, child])]]


class Rowing(Misbehaving):
    """Hands over ``value`` rows, a checkpoint after each 1,000."""

    name = "rowing"

    def run(self, ctx):
        count, step = ctx.params["value"], 1_000
        for start in range(0, count, step):
            ctx.rows(
                "files", [(n, f"path {n}", b"x", None) for n in range(start, min(start + step, count))], ["a", "b", "c", "d"]
            )
            if ctx.task_id % 2:
                ctx.step(start, count, str(start).encode(), stages=[Stage(name="scan", done=start, total=count)])


class Hasty(Misbehaving):
    """Steps far more often than it should, from several threads."""

    name = "hasty"

    def run(self, ctx):
        def work(kind):
            for number in range(2_000):
                ctx.log(f"{kind} {number}")
                ctx.step(number, 2_000)

        threads = [threading.Thread(target=work, args=(kind,)) for kind in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ctx.step(2_000, 2_000, b"all", bytes_done=9, bytes_total=10, files_done=3, files_total=4)


class Greedy(Misbehaving):
    """Takes what it is told: ``memory``, ``files``, ``cpu`` or ``space``."""

    name = "greedy"

    def run(self, ctx):
        match ctx.params["value"]:
            case "memory":
                held = [bytearray(1 << 20) for _ in range(1 << 20)]
                del held
            case "files":
                ctx.log(str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
            case "cpu":
                while True:
                    sum(range(10_000))
            case "space":
                raise OSError(28, "No space left on device", "/mnt/x")
            case "rows":
                return [["row"]] * 10_001
            case "wide":
                return [["row", "column"]]
            case "exit":
                sys.exit(3)
        return None


class Buggy(Misbehaving):
    """Has a bug."""

    name = "buggy"

    def run(self, ctx):
        ctx.log("before")
        return {}["no such key"]


class Revealing(Misbehaving):
    """Tells what its process looks like."""

    name = "revealing"

    def run(self, ctx):
        child = subprocess.run(["env"], capture_output=True, text=True, check=True).stdout
        return [
            [
                json.dumps(
                    {
                        "environment": dict(os.environ),
                        "child": child,
                        "environ": open("/proc/self/environ").read(),
                        "cmdline": open("/proc/self/cmdline").read().split("\0"),
                        "nice": os.nice(0),
                        "oom": int(open("/proc/self/oom_score_adj").read()),
                        "group": os.getpgrp() == os.getpid(),
                        "descriptors": sorted(descriptors()),
                        "ignored": [
                            s.name
                            for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
                            if signal.getsignal(s) != signal.SIG_DFL
                        ],
                        "gevent": "gevent" in sys.modules,
                        "threads": threading.active_count(),
                        "random": __import__("random").random(),
                        "stdin": os.readlink("/proc/self/fd/0"),
                    }
                )
            ]
        ]
