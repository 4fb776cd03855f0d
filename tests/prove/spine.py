"""Group ``spine``: the service starts, takes tasks, runs them, keeps them."""

from __future__ import annotations

import time

from prove import Environment, Miss, claim


@claim(
    group="spine", name="fresh-clone", wanted="start-entrance.sh makes its environment, answers, and runs a task, in 300 s"
)
def fresh_clone(env: Environment, seed: int) -> str:
    """A stranger's first minutes: clone, start, submit, stop."""
    service = env.service()
    begin = time.monotonic()
    address = env.run(env.root / "bin" / "start-entrance.sh", "--data", service.data, "--port", "0").stdout.strip()
    started = time.monotonic() - begin
    if address != service.url:
        raise Miss(f"start-entrance.sh printed {address!r}, the service is at {service.url}")
    if not (service.data / "admin-password").is_file():
        raise Miss("the first start made no administrator")
    begin = time.monotonic()
    done = env.run(env.root / "bin" / "entrance", "submit", "--executor", "echo", "--wait", "--data", service.data)
    ran = time.monotonic() - begin
    task_id, exec_id = done.stdout.split()
    if not task_id.isdigit() or not exec_id.startswith("exec_id"):
        raise Miss(f"submit printed {done.stdout!r}")
    env.run(env.root / "bin" / "status-entrance.sh", "--data", service.data)
    env.run(env.root / "bin" / "stop-entrance.sh", "--data", service.data)
    stopped = env.run(env.root / "bin" / "status-entrance.sh", "--data", service.data, check=False)
    if stopped.returncode != 3:
        raise Miss(f"status after the stop ended with {stopped.returncode}")
    figure = f"answers after {started:.1f} s, first task submitted and done in {ran:.1f} s"
    if started + ran > 300:
        raise Miss(figure)
    return figure
