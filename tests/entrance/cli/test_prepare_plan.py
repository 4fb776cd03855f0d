"""What ``prepare`` is asked to do, before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import BadInput
from entrance.cli.prepare_plan import check_source, count, make_plan, presets
from entrance.core.preparations import PRESETS

GIB = 1 << 30


def test_the_presets_of_the_file_are_those_of_the_scan() -> None:
    assert presets() == {
        name: {"max_size": sizes.max_size, "piece_size": sizes.piece_size, "min_piece_size": sizes.min_piece_size}
        for name, sizes in PRESETS.items()
    }


def test_sizes_come_from_the_defaults_a_preset_and_the_options(tmp_path: Path) -> None:
    def sizes(**options: str) -> tuple[int, int, int]:
        given = {"max_size": None, "min_piece_size": None, "preset": None, **options}
        plan = make_plan(str(tmp_path), str(tmp_path / "out"), **given)
        return plan.max_size, plan.piece_size, plan.min_piece_size

    assert sizes() == (33_822_867_456, 32 * GIB, 1 << 20)
    assert sizes(preset="porep-32") == sizes()
    assert sizes(preset="pdp") == (1008 << 20, GIB, 1 << 20)
    assert sizes(preset="pdp", min_piece_size="4MiB") == (1008 << 20, GIB, 4 << 20)
    assert sizes(preset="pdp", max_size="100MB") == (100_000_000, 128 << 20, 1 << 20)
    assert sizes(max_size="3MB", min_piece_size="128") == (3_000_000, 4 << 20, 128)


def test_folders_lose_their_links_and_dots(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (tmp_path / "link").symlink_to(source)
    plan = make_plan(str(tmp_path / "link" / ".." / "link"), str(tmp_path / "x" / ".." / "out"), **NO_SIZES)
    assert (plan.source, plan.output) == (source, tmp_path / "out")


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for source, output, words in (
        (tmp_path / "file", tmp_path / "out", "is no folder"),
        (tmp_path / "none", tmp_path / "out", "there is no such folder"),
        (tmp_path, tmp_path / "file", "is there and is no folder"),
        (tmp_path, tmp_path, "the source itself cannot be the output"),
    ):
        with pytest.raises(BadInput, match=words):
            make_plan(str(source), str(output), **NO_SIZES)


def test_a_source_without_files_says_what_is_there_instead(tmp_path: Path) -> None:
    (tmp_path / "source" / "d").mkdir(parents=True)
    (tmp_path / "source" / "link").symlink_to("d")
    plan = make_plan(str(tmp_path / "source"), str(tmp_path / "out"), **NO_SIZES)
    with pytest.raises(BadInput, match="holds no files, so there is nothing to prepare"):
        check_source(plan)


def test_a_count_leaves_out_what_a_scan_leaves_out(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("a", "d/b", "d/e/c", "out/old.car"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(bytes(600))
    (source / "link").symlink_to("a")
    plan = make_plan(str(source), str(source / "out"), max_size="1400", min_piece_size="128", preset=None)
    found = count(plan)
    assert (found.files, found.folders, found.bytes, found.left_out) == (3, 3, 1800, 1)
    assert found.cars == 2
    assert found.car_bytes == 2 * 59 + 3 * (600 + 39) + 3 * 39


NO_SIZES = {"max_size": None, "min_piece_size": None, "preset": None}
