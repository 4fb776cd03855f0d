"""entrance.core.access: the one policy."""

from __future__ import annotations

import pytest

from common.errors import Forbidden
from common.task import Task
from entrance.core.access import NotYours, check, check_admin, may
from entrance.core.model import Caller

TASK = Task(
    id=1, uuid="u", exec_id="e", user="alice", execute_user="carol", creator="IDE", executor="echo", run_type="", door=""
)


@pytest.mark.parametrize(
    ("caller", "allowed"),
    [
        (Caller(name="alice"), True),
        (Caller(name="carol"), True),
        (Caller(name="root", admin=True), True),
        (Caller(name="bob"), False),
        (Caller(name=""), False),
    ],
)
def test_a_task_is_for_its_submitter_its_execute_user_and_administrators(caller: Caller, allowed: bool) -> None:
    assert may(caller, TASK) is allowed


def test_a_refusal_names_the_owner_and_what_was_wanted() -> None:
    with pytest.raises(NotYours) as caught:
        check(Caller(name="bob"), TASK, "kill")
    assert (caught.value.owner, caught.value.verb, caught.value.http_status) == ("alice", "kill", 403)
    check(Caller(name="alice"), TASK, "kill")


def test_what_is_for_administrators_is_refused_to_others() -> None:
    check_admin(Caller(name="root", admin=True))
    with pytest.raises(Forbidden):
        check_admin(Caller(name="alice"))
