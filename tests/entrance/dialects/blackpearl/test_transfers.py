"""Transfers as jobs: direction, bucket and objects. The rows are made through the stores, beside a running service: what
lists and shows them asks the database alone, so that no executor is needed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from factories import Service
from transfer_rows import add_files, add_storage, add_transfer

SIZE = (1 << 53) + 1


@pytest.fixture(scope="module")
def pearl(tmp_path_factory: pytest.TempPathFactory, opened: Any) -> Iterator[Any]:
    """A service with one transfer each way, of alice."""
    service = Service(data=tmp_path_factory.mktemp("ways") / "data")
    pearl = opened(service)
    add_storage(service.data, "disk", "local", "/nowhere")
    add_storage(service.data, "store", "s3", "b1/prefix")
    pearl.out = add_transfer(service.data, source="disk", target="store", state="running", bytes_done=7, bytes_total=SIZE)
    pearl.into = add_transfer(service.data, source="store", target="disk", state="succeeded", bytes_done=3, bytes_total=10)
    pearl.within = add_transfer(service.data, source="disk", target="disk", state="queued")
    add_files(service.data, pearl.out.id, [("a/é & b", SIZE - 7, "pending", ""), ("a", 7, "succeeded", "")])
    yield pearl
    service.cli("stop", check=False)


def test_direction_and_bucket_of_each_way(pearl: Any) -> None:
    shown = {}
    for task in (pearl.out, pearl.into, pearl.within):
        root = pearl.client().get(f"/_rest_/job/{task.uuid}").xml
        shown[task.uuid] = (root.get("RequestType"), root.get("BucketName"), root.get("Name"), root.get("Status"))
    assert list(shown.values()) == [
        ("PUT", "b1", "PUT by alice", "IN_PROGRESS"),
        ("GET", "b1", "GET by alice", "COMPLETED"),
        ("PUT", "disk", "PUT by alice", "IN_PROGRESS"),
    ]


def test_sizes_are_exact_and_a_job_that_is_done_is_done_whole(pearl: Any) -> None:
    root = pearl.client().get(f"/_rest_/job/{pearl.out.uuid}").xml
    assert (root.get("OriginalSizeInBytes"), root.get("CompletedSizeInBytes")) == (str(SIZE), "7")
    root = pearl.client().get(f"/_rest_/job/{pearl.into.uuid}").xml
    assert (root.get("OriginalSizeInBytes"), root.get("CompletedSizeInBytes")) == ("10", "10")


def test_objects_are_the_files_with_all_that_an_sdk_reads(pearl: Any) -> None:
    root = pearl.client().get(f"/_rest_/job/{pearl.out.uuid}").xml
    (chunk,) = root.findall("Objects")
    assert (chunk.get("ChunkNumber"), len(chunk.get("ChunkId") or "")) == ("0", 36)
    node = root.find("Nodes/Node")
    assert node is not None
    assert chunk.get("NodeId") == node.get("Id")
    objects = [e.attrib for e in chunk]
    assert [(o["Name"], o["Length"], o["InCache"]) for o in objects] == [
        ("a", "7", "true"),
        ("a/é & b", str(SIZE - 7), "false"),
    ]
    wanted = {"Id", "InCache", "Latest", "Length", "Name", "Offset", "Version", "VersionId"}
    assert all(set(o) == wanted for o in objects)
    assert len({o["Id"] for o in objects} | {o["VersionId"] for o in objects}) == 4


def test_jobs_are_found_by_bucket_and_type(pearl: Any) -> None:
    def found(resource: str, **query: str) -> list[str | None]:
        return [e.findtext("Id") for e in pearl.client().get(f"/_rest_/{resource}", **query).xml]

    bucket = pearl.client().get(f"/_rest_/active_job/{pearl.out.uuid}").xml.findtext("BucketId") or ""
    assert found("active_job", bucket_id="b1") == found("active_job", bucket_id=bucket) == [pearl.out.uuid]
    assert found("active_job", bucket_id="disk") == [pearl.within.uuid]
    assert found("completed_job", request_type="get") == [pearl.into.uuid]
    assert found("completed_job", name="GET%") == [pearl.into.uuid]
    assert found("completed_job", request_type="put") == []
    assert json.dumps(found("active_job", request_type="put")).count("-") == 8
