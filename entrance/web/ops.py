"""For those who run the service: is it up, may it be used, what does it do, what does it offer.

``/health`` and ``/ready`` are open and say nothing of the work. ``/metrics`` is for anybody with an account (Prometheus
sends a bearer token). ``/openapi.json`` lists the documents of the dialects.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from common.errors import NotLoggedIn
from common.task import State
from entrance.web.api import plain
from entrance.web.core import Core
from entrance.web.errors import NoRoute
from entrance.web.state import the_auth, the_core, the_web
from executors import registry

blueprint = Blueprint("ops", __name__)


class Numbers:
    """Reads the service's figures at the moment of the scrape."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def collect(self) -> Iterable[Metric]:
        core = self._core
        lag = core.hub_lag()
        yield GaugeMetricFamily("entrance_hub_lag_seconds", "How late the event loop last was, at worst.", value=lag.worst)
        late = HistogramMetricFamily("entrance_hub_late_seconds", "How late the event loop came at a wake every 10 ms.")
        late.add_metric([], lag.buckets(), lag.total)
        yield late
        counts = core.tasks.look.counts()
        by_state = GaugeMetricFamily("entrance_tasks", "Tasks by state.", labels=["state"])
        for state in State:
            by_state.add_metric([state.value], counts.get(state, 0))
        yield by_state
        queue = core.tasks.look.queue()
        yield GaugeMetricFamily("entrance_slots", "Work that may be done at the same time, in cores.", value=queue.slots)
        yield GaugeMetricFamily("entrance_slots_used", "Slots that are taken, in cores.", value=queue.slots_used)
        yield GaugeMetricFamily("entrance_online", "1 while new tasks are taken.", value=int(queue.online))
        able = GaugeMetricFamily("entrance_executor_ready", "0 while its tasks wait: none can be run.", labels=["executor"])
        for name in registry.names():
            able.add_metric([name], int(name not in queue.held))
        yield able
        stored, logged = not core.writer.trouble, not core.tasks.look.log_trouble
        yield GaugeMetricFamily(
            "entrance_database_writable", "0 from a failed write to the next that is stored.", value=stored
        )
        yield GaugeMetricFamily("entrance_logs_writable", "0 while lines of tasks wait for the disk.", value=logged)
        yield GaugeMetricFamily("entrance_groups", "Groups that have tasks.", value=len(queue.groups))
        yield CounterMetricFamily("entrance_log_lines", "Lines taken in from tasks.", value=core.tasks.look.log_lines)
        yield CounterMetricFamily("entrance_writer_commits", "Commits of the one writer.", value=core.writer.commits)
        yield CounterMetricFamily("entrance_writer_changes", "Changes in these commits.", value=core.writer.changes)


class Ops:
    """What the operators' endpoints answer from. ``documents`` make the OpenAPI documents, by their names."""

    def __init__(self, core: Core, documents: Mapping[str, Callable[[], bytes]]) -> None:
        self._core, self._documents = core, documents
        self._made: dict[str, bytes] = {}
        self._making = threading.Lock()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(Numbers(core))

    def metrics(self) -> bytes:
        """Return the figures in Prometheus' text form."""
        return generate_latest(self._registry)

    def names(self) -> list[str]:
        """Return the names of the documents."""
        return sorted(self._documents)

    def document(self, name: str) -> bytes | None:
        """Return an OpenAPI document as JSON; it is made when it is first asked for."""
        if name not in self._documents:
            return None
        with self._making:
            if name not in self._made:
                self._made[name] = self._core.offload(self._documents[name])
        return self._made[name]


@blueprint.get("/health")
def health() -> Response:
    """The process answers."""
    return plain({"status": "ok"})


@blueprint.get("/ready")
def ready() -> Response:
    """Tasks are taken, can be stored and can be run; else 503 and why not."""
    reasons = _reasons(the_core())
    return plain({"status": "not ready", "reasons": reasons}, 503) if reasons else plain({"status": "ready"})


def _reasons(core: Core) -> list[str]:
    """Return in words what the service cannot do now. Reads memory, and one row to see that the database answers."""
    queue, found = core.tasks.look.queue(), []
    try:
        with core.readers.read() as tx:
            tx.connection.execute("SELECT 1").fetchone()
    except sqlite3.Error as error:
        found.append(f"the database does not answer: {error}")
    if not queue.online:
        found.append("no new tasks are taken: the service was marked offline")
    for why in dict.fromkeys(queue.held.values()):
        names = ", ".join(sorted(name for name, its in queue.held.items() if its == why))
        found.append(f"tasks of {names} wait: {why}")
    if core.writer.trouble:
        found.append(f"the database cannot be written: {core.writer.trouble}")
    if core.tasks.look.log_trouble:
        found.append(f"the logs of tasks cannot be written: {core.tasks.look.log_trouble}")
    return found


@blueprint.get("/metrics")
def metrics() -> Response:
    """Figures for Prometheus."""
    if the_auth().credentials(request) is None:
        raise NotLoggedIn
    return Response(the_web().ops.metrics(), content_type=CONTENT_TYPE_PLAIN_0_0_4)


@blueprint.get("/openapi.json")
def documents() -> Response:
    """The OpenAPI documents that there are, by dialect."""
    return plain({"documents": {name: f"/openapi/{name}.json" for name in the_web().ops.names()}})


@blueprint.get("/openapi/<name>.json")
def document(name: str) -> Response:
    """The OpenAPI document of one dialect."""
    body = the_web().ops.document(name)
    if body is None:
        raise NoRoute
    return Response(body, mimetype="application/json")
