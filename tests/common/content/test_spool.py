"""Blocks on disk, sorted by CID."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.content import cid
from common.content.faults import BadCid
from common.content.spool import BlockSpool
from common.content.unixfs import Block


def test_blocks_come_back_sorted_by_cid_and_each_once(tmp_path: Path) -> None:
    blocks = [Block(cid.of_raw(b"%d" % n), b"%d" % n) for n in range(500)]
    blocks += [Block(cid.of_dag_pb(b"%d" % n), b"%d" % n) for n in range(500)]
    with BlockSpool(tmp_path) as spool:
        for block in [*blocks, *blocks[::3]]:
            spool.add(block)
        assert len(spool) == 1334
        assert list(spool) == sorted(blocks)
        assert list(tmp_path.iterdir()) == []


def test_an_empty_spool_is_empty(tmp_path: Path) -> None:
    with BlockSpool(tmp_path) as spool:
        assert list(spool) == []


def test_cids_of_another_length_are_refused(tmp_path: Path) -> None:
    with BlockSpool(tmp_path) as spool, pytest.raises(BadCid):
        spool.add(Block(cid.of_dag_pb(b"")[2:], b""))
