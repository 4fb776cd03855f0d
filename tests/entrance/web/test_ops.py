"""entrance.web.ops and the error desk: health, figures, documents, and errors outside all dialects."""

from __future__ import annotations

import pytest
from fake_service import FakeCore
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from entrance.core.model import Caller, Submission


def test_health_and_readiness_need_no_login(client: FlaskClient, core: FakeCore) -> None:
    assert client.get("/health").json == {"status": "ok"}
    assert client.get("/ready").json == {"status": "ready"}
    core.tasks.accept.set_online(False)
    assert client.get("/health").status_code == 200
    assert client.get("/ready").status_code == 503


def test_the_figures_are_prometheus_text(client: FlaskClient, core: FakeCore) -> None:
    core.tasks.accept.submit(Caller(name="alice"), Submission(executor="echo", params={}, creator="IDE", door="linkis"))
    response = client.get("/metrics", headers={"Authorization": f"Bearer {core.token('alice')}"})
    assert response.content_type == "text/plain; version=0.0.4; charset=utf-8"
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }
    assert found[("entrance_tasks", "queued")] == 1
    assert found[("entrance_slots",)] == 2
    assert found[("entrance_online",)] == 1
    assert ("entrance_hub_lag_seconds",) in found
    assert ("entrance_writer_commits_total",) in found


def test_every_route_of_a_dialect_is_in_its_document(app: Flask) -> None:
    client = app.test_client()
    documents = client.get("/openapi.json").json["documents"]
    assert documents["linkis"] == "/openapi/linkis.json"
    document = client.get(documents["linkis"]).json
    assert document["openapi"].startswith("3.")
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/api/rest_j/v1"):
            path = rule.rule.replace("<int:", "{").replace("<", "{").replace(">", "}")
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
                assert method.lower() in document["paths"][path], f"{method} {path}"
                assert document["paths"][path][method.lower()]["summary"], f"{method} {path} says what it does"


def test_an_unknown_document_is_not_found(client: FlaskClient) -> None:
    response = client.get("/openapi/nothing.json")
    assert (response.status_code, response.json["error"]) == (404, "no_route")


def test_outside_all_dialects_errors_are_plain_json(client: FlaskClient) -> None:
    response = client.get("/nothing")
    assert response.status_code == 404
    assert response.json == {"error": "no_route", "message": "There is nothing at this address."}
    response = client.post("/health")
    assert response.status_code == 405
    assert "GET" in response.headers["Allow"]


def test_a_bug_is_told_without_its_stack_and_with_a_reference(
    client: FlaskClient, core: FakeCore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("the secret inside")

    monkeypatch.setattr(core.tasks.look, "get", broken)
    response = client.get("/api/rest_j/v1/entrance/1/status", headers={"Authorization": f"Bearer {core.token('alice')}"})
    assert response.status_code == 500
    assert response.json["message"] == "operation failed, the reason: KeyError"
    assert "secret inside" not in response.text
    record = next(r for r in caplog.records if r.getMessage() == "request failed")
    assert record.entrance_fields["ref"] == response.json["data"]["ref"]
    assert record.exc_info is not None
