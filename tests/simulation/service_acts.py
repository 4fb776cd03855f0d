"""What may happen to the simulated service: what clients ask, what processes do, what breaks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from simulation.fibers import Fiber
from simulation.machines import Process
from simulation.rules import Broken, hold
from simulation.service_lives import ServiceLives

from common.errors import EntranceError, StartRefused
from entrance.core.folder import Folder
from entrance.core.lifecycle import Core
from entrance.core.model import Caller, Submission
from executors.launchers.base import End, Ending

_USERS = ("ann", "bob", "cy")


class ServiceActs(ServiceLives):
    """Lets one thing after another happen."""

    def step(self) -> None:
        self.step_number += 1
        drawn = self.random.random()
        if drawn < 0.72 and self.kernel.ready:
            self.turn()
        elif drawn < 0.80 or not self.act():
            self.pass_time()

    def act(self) -> bool:
        """One thing from outside; False: nothing was to be done."""
        weights: tuple[tuple[float, Callable[[], object]], ...] = (
            (24.0, self.live_on),
            (6.0, self.submit),
            (3.0, self.steer),
            (2.0, self.look),
            (0.4, self.steer_many),
            (0.12, self.kill_service),
            (0.06, self.stop_service),
            (0.10, self.second_service),
            (0.15, self.jump),
            (0.06, self.fill_disk),
            (0.4, self.free_disk),
            (0.10, self.lose_fork_server),
            (0.6, self.new_fork_server),
            (0.02, self.mark_offline),
            (0.8, self.mark_online),
            (0.3, self.sweep),
        )
        action = self.random.choices([a for _, a in weights], [w for w, _ in weights])[0]
        return action() is not False

    def request(self, name: str, work: Callable[[Core], object]) -> bool:
        """A client asks; errors that a client may be told are answers."""
        core = self.core
        if core is None or not self.up or len(self.requests) > 12:
            return False
        box: list[Fiber] = []

        def ask() -> None:
            try:
                work(core)
                self.seen[name] += 1
            except EntranceError as error:
                self.seen[f"{name}: {type(error).__name__}"] += 1
            self.requests.pop(box[0], None)

        self.note(name)
        box.append(self.kernel.spawn(self.life, name, ask))
        self.requests[box[0]] = (name, self.kernel.steady)
        return True

    def some_task(self) -> int:
        last = max(self.accepted, default=0)
        return max(1, last - int(self.random.random() * min(last, 25)))

    def submit(self) -> bool:
        choose, chance = self.random.choice, self.random.random
        if self.unfinished() > 40:
            return False
        key = f"k{choose(range(2000))}" if chance() < 0.3 else ""
        user = choose(_USERS)
        wanted = Submission(
            executor=choose(("echo", "sleep")),
            params={},
            creator=choose(("IDE", "CLI")),
            door="linkis",
            priority=choose((0, 50, 100, 100, 200, 400)),
            running_timeout_s=choose((None, None, None, 20)),
            queuing_timeout_s=choose((None, None, None, 60)),
            max_retries=choose((0, 1, 3)),
            retry_delay_ms=choose((None, 0, 1000)),
            job_id=choose((None, None, 1, 2, 3)),
            idempotency_key=key,
            wait_for_ready=chance() < 0.1,
        )

        def work(core: Core) -> None:
            task = core.tasks.accept.submit(Caller(name=user), wanted)
            if key:
                before = [i for i, known in self.accepted.items() if known == f"{user} {key}"]
                hold(before in ([], [task.id]), f"the key {key} of {user} gave the tasks {before} and {task.id}")
            self.accepted.setdefault(task.id, f"{user} {key}")

        return self.request("submit", work)

    def steer(self) -> bool:
        task, verb = (
            self.some_task(),
            self.random.choice(("kill", "pause", "pause", "resume", "resume", "ready", "priority")),
        )
        root = Caller(name="root", admin=True)

        def work(core: Core) -> None:
            if verb == "ready":
                core.tasks.steer.make_ready(task)
            elif verb == "priority":
                core.tasks.steer.set_priority(root, task, self.random.choice((0, 100, 400)))
            elif verb == "kill":
                since = self.kernel.steady
                self.tell(core.tasks.steer.kill(root, task))
                alive = [p.key for p in self.machine.processes if p.key.task_id == task]
                hold(not alive or self.kernel.steady >= since + 2, f"the kill of {task} is answered, and {alive} live")
                hold(core.tasks.look.get(root, task).state.final, f"task {task} lives after its kill was answered")
            else:
                getattr(core.tasks.steer, verb)(root, task)

        return self.request(verb, work)

    def steer_many(self) -> bool:
        tasks = sorted({self.some_task() for _ in range(8)})
        verb = self.random.choice(("kill", "pause", "resume", "resume"))

        def work(core: Core) -> None:
            count, items = core.tasks.steer.act(Caller(name="root", admin=True), verb, tasks)
            hold(count == len(items) == len(tasks), f"{len(tasks)} tasks, {len(items)} results")

        return self.request(f"{verb} many", work)

    def look(self) -> bool:
        task = self.some_task()
        root = Caller(name="root", admin=True)

        def work(core: Core) -> None:
            self.tell(core.tasks.look.get(root, task))
            core.tasks.look.progress(root, task)
            core.tasks.look.log(root, task, 0, 100)

        return self.request("look", work)

    def tell(self, task: Any) -> None:
        """Somebody was told this state: a final one stays."""
        told = self.final.get(task.id)
        hold(told in (None, task.state.value), f"task {task.id} was {told} and is {task.state.value}")
        if task.state.final:
            self.final[task.id] = task.state.value

    def live_on(self) -> bool:
        """One process does something."""
        if not self.machine.processes:
            return False
        process = self.random.choice(self.machine.processes)
        chance = self.random.random
        if not process.alive or process.box.qsize() > 6:
            return False
        if process.dying:
            process.end(End(ending=Ending.STOPPED))
        elif chance() < 0.01:
            process.end(End(ending=Ending.DIED, reason="killed by signal 9", may_pass=True))
        elif process.waits:
            return False
        elif process.asked or process.fault is not None:
            if chance() < 0.5:
                process.end(End(ending=Ending.STOPPED))
        elif chance() < 0.4:
            process.say(1 + int(chance() * 3))
        elif process.done < process.units:
            with suppress(OSError):
                process.work(1 + int(chance() * 2), step=chance() < 0.6 or process.slices > 5, twice=chance() < 0.1)
        elif chance() < 0.15 and process.key.task_id % 5 == 0:
            process.ask("child", f"c{int(chance() * 3)}")
        elif not process.published and process.key.task_id % 3 == 0:
            self.publish(process)
        elif chance() < 0.1:
            process.end(End(ending=Ending.FAILED, reason="no answer", may_pass=chance() < 0.7))
        elif chance() < 0.5:
            process.say(1)
            self.complete[process.key.task_id] = (process.key.number, process.lines)
            process.end(End(ending=Ending.SUCCEEDED))
        else:
            process.step()
        return True

    def publish(self, process: Process) -> None:
        key = process.key
        temporary, final = self.folder / "out" / f".{key}.part", self.folder / "out" / f"{key.task_id}.out"
        if not process.owns:
            process.ask("own", [str(temporary)])
        else:
            temporary.write_text(str(key))
            process.ask("publish", [(str(temporary), str(final))])

    def kill_service(self) -> None:
        self.life.dead, self.dies_at = True, "by kill -9"
        self.note("kill -9")
        self.bury()
        self.seen["kill -9"] += 1
        if self.random.random() < 0.5:  # orphans work on for a while, and nobody hears them
            for _ in range(5):
                self.live_on()
        self.come_up()

    def stop_service(self) -> bool:
        core = self.core
        if core is None or not self.up or self.stopping:
            return False
        self.stopping = True
        self.note("orderly stop")

        def stop() -> None:
            core.stop()
            self.core = None

        self.kernel.spawn(self.life, "stop", stop)
        return True

    def second_service(self) -> bool:
        if self.lock is None:
            return False
        try:
            Folder(self.folder).release()
        except StartRefused:
            self.seen["second service"] += 1
            return True
        raise Broken("two services on one data folder")

    def jump(self) -> None:
        self.clock.offset += self.random.choice((3_600_000, 5_000, -5_000, -3_600_000))
        self.note("the clock is set")

    def fill_disk(self) -> None:
        self.machine.full = True
        self.note("the disk is full")

    def free_disk(self) -> bool:
        full, self.machine.full = self.machine.full, False
        return full

    def lose_fork_server(self) -> None:
        """It takes its processes with it."""
        self.machine.fork_server = False
        self.note("the fork server ends")
        for process in list(self.machine.processes):
            process.end(End(ending=Ending.LOST, reason="The fork server ended"))

    def new_fork_server(self) -> bool:
        was, self.machine.fork_server = self.machine.fork_server, True
        return not was

    def mark_offline(self) -> bool:
        return self.request("offline", lambda core: core.tasks.accept.set_online(False))

    def mark_online(self) -> bool:
        return self.request("online", lambda core: core.tasks.accept.set_online(True))

    def sweep(self) -> bool:
        return self.request("sweep", lambda core: core.janitor.sweep(core._running))
