"""Jobs: start and pause scans, packs and daggens; pack at once; the push API's finalize."""

from __future__ import annotations

from flask import Response

from entrance.dialects.singularity import wire
from entrance.dialects.singularity.blueprint import SingularityBlueprint, number, ref
from entrance.dialects.singularity.door import the_jobs, the_push
from entrance.web.dialect import the_caller
from entrance.web.state import the_core

blueprint = SingularityBlueprint("job", "Jobs")

_JOB, _JOBS = {200: "the job"}, {200: "the jobs that were changed"}
_SOURCE = "/preparation/<id>/source/<name>"


@blueprint.on(f"{_SOURCE}/start-scan", ("POST",), answers=_JOB)
def start_scan(id: str, name: str) -> Response:
    """List the source and pack what is new."""
    return _one("start", "scan", id, name)


@blueprint.on(f"{_SOURCE}/pause-scan", ("POST",), answers=_JOB)
def pause_scan(id: str, name: str) -> Response:
    """Stop listing; the next start goes on."""
    return _one("pause", "scan", id, name)


@blueprint.on(f"{_SOURCE}/start-daggen", ("POST",), answers=_JOB)
def start_daggen(id: str, name: str) -> Response:
    """Make the CAR of the source's directories."""
    return _one("start", "daggen", id, name)


@blueprint.on(f"{_SOURCE}/pause-daggen", ("POST",), answers=_JOB)
def pause_daggen(id: str, name: str) -> Response:
    """Stop making the CAR of the source's directories."""
    return _one("pause", "daggen", id, name)


def _one(verb: str, type: str, id: str, name: str) -> Response:
    act = the_jobs().start if verb == "start" else the_jobs().pause
    return wire.answer(wire.job(act(the_caller(), ref(id), ref(name), type), the_core().instance))


@blueprint.on(f"{_SOURCE}/start-pack/<job_id>", ("POST",), answers=_JOBS)
def start_pack(id: str, name: str, job_id: str) -> Response:
    """Pack one job, or with 0 all that can be; only the latter clears the texts of errors."""
    alone = number(job_id)
    jobs = the_jobs().start_packs(the_caller(), ref(id), ref(name), alone)
    return wire.answer([wire.job(job, the_core().instance, error_kept=alone != 0) for job in jobs])


@blueprint.on(f"{_SOURCE}/pause-pack/<job_id>", ("POST",), answers=_JOBS)
def pause_pack(id: str, name: str, job_id: str) -> Response:
    """Pause one pack, or with 0 all that can be."""
    jobs = the_jobs().pause_packs(the_caller(), ref(id), ref(name), number(job_id))
    return wire.answer([wire.job(job, the_core().instance) for job in jobs])


@blueprint.on("/job/<id>/pack", ("POST",), answers={200: "the Car"})
def pack(id: str) -> Response:
    """Pack a job and answer when its CAR is there."""
    return wire.answer(wire.car(the_jobs().pack(the_caller(), number(id))))


@blueprint.on(f"{_SOURCE}/finalize", ("POST",), answers={204: "all packs are ready"})
def finalize(id: str, name: str) -> Response:
    """Put what was pushed into packs, and let them be packed."""
    the_push().finalize(the_caller(), ref(id), ref(name))
    return wire.nothing()
