"""The codecs put together: whole preparations, against known answers and against the plain reference."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.content import car, chunker, cid, dagpb, directory, estimate, piece, profile, unixfs
from common.content.directory import Entry
from common.content.kernel import Kernel
from common.content.profile import Profile
from common.content.spool import BlockSpool
from common.content.unixfs import Block, Child, Subtree, leaf

Files = list[tuple[str, bytes]]


@dataclass
class Made:
    """What our codecs make of a preparation, in the terms of the reference."""

    ranges: list[tuple[int, int, int, str]]
    files: list[str]
    directories: dict[str, str]
    cars: list[tuple[bytes, str, str, int]]
    dag: tuple[bytes, str, str, int] | None


def prepare(files: Files, folders: list[str], rule: Profile, limit: int, minimum: int, hasher: Kernel, tmp: Path) -> Made:
    """Ranges, groups, CARs, directories and DAG CAR, by the public doors of common.content."""
    split = estimate.split_size(limit)
    ranges = [(n, part) for n, (_, data) in enumerate(files) for part in estimate.ranges(len(data), split)]
    texts: dict[int, str] = {}
    tops: dict[int, list[list[Subtree]]] = {}
    done: dict[int, Child] = {}
    attached: dict[str, list[Block]] = {}
    cars = []
    numbered = ((number, item[1].length) for number, item in enumerate(ranges))
    for members in estimate.group(numbered, limit):
        blocks: list[Block] = []
        for number in members:
            file, part = ranges[number]
            path, data = files[file]
            mine = [item for n, item in ranges if n == file]
            chunks = list(chunker.chunks(part.offset, part.length, rule.chunk_size))
            leaves = [
                Block(cid.of_raw(data[c.offset : c.offset + c.length]), data[c.offset : c.offset + c.length]) for c in chunks
            ]
            children = [leaf(block.cid, len(block.data)) for block in leaves]
            count = sum(chunker.chunk_count(item.length, rule.chunk_size) for item in mine)
            first = mine.index(part) * chunker.chunk_count(split, rule.chunk_size)
            if rule.tree == "ranges":
                nodes, root = unixfs.parents(children, rule)
                assert tuple(len(node.data) for node in nodes) == unixfs.node_lengths(part.length, rule)
                rest = [Subtree(0, mine.index(part), root)]
                count = len(mine)
            else:
                nodes, rest = unixfs.reduce_tree(unixfs.leaves_as_subtrees(first, children), count, rule)
            texts[number] = cid.to_text(rest[0].child.cid) if len(rest) == 1 else ""
            blocks += [*leaves, *nodes]
            tops.setdefault(file, []).append(rest)
            if len(tops[file]) == len(mine):
                joined = [subtree for part_tops in tops[file] for subtree in part_tops]
                nodes, rest = unixfs.reduce_tree(joined, count, rule)
                done[file] = rest[0].child
                attached.setdefault(folder_of(path), []).extend(nodes)
        cars.append(write_car(blocks[0].cid, blocks, minimum, hasher))

    made: dict[str, tuple[list[Block], directory.Directory]] = {}
    for folder in sorted(folders, key=lambda path: -len(path.split("/")) * bool(path)):
        entries = [Entry(name_of(p), done[n].cid, done[n].tsize) for n, (p, _) in enumerate(files) if folder_of(p) == folder]
        inner = [path for path in folders if path and folder_of(path) == folder and path in made]
        entries += [Entry(name_of(path), made[path][1].cid, made[path][1].tsize) for path in inner]
        if entries or rule.empty_directories:
            made[folder] = directory.build(entries, rule)
    dag_blocks: list[Block] = []
    for folder in folders:
        if folder in made:
            own = {block.cid for block in made[folder][0]}
            for group in (made[folder][0], [block for block in attached.get(folder, []) if block.cid not in own]):
                with BlockSpool(tmp) as spool:
                    for block in group:
                        spool.add(block)
                    dag_blocks += spool
    return Made(
        ranges=[(file, part.offset, part.length, texts[n]) for n, (file, part) in enumerate(ranges)],
        files=[cid.to_text(done[n].cid) for n in range(len(files))],
        directories={folder: cid.to_text(made[folder][1].cid) if folder in made else "" for folder in folders},
        cars=cars,
        dag=write_car(made[""][1].cid, dag_blocks, minimum, hasher) if dag_blocks else None,
    )


def write_car(root: bytes, blocks: list[Block], minimum: int, hasher: Kernel) -> tuple[bytes, str, str, int]:
    stream = io.BytesIO()
    writer = car.CarWriter(stream, root)
    for block in blocks:
        writer.write(block.cid, block.data)
    made = piece.commitment(stream.getvalue(), hasher, minimum)
    return stream.getvalue(), cid.to_text(made.cid_v1), cid.to_text(made.cid_v2), made.piece_size


def folder_of(path: str) -> str:
    return path.rpartition("/")[0]


def name_of(path: str) -> bytes:
    return path.rpartition("/")[2].encode()


def scan(tree: dict[str, Any], derived_buffer: Callable[[int], bytes]) -> tuple[Files, list[str]]:
    """The files and folders of a vector's tree in scan order: breadth first, a folder's entries by path bytes."""
    contents: dict[str, bytes | None] = {}
    for path, value in tree.items():
        if value is None:
            contents[path.rstrip("/")] = None
            continue
        data = value["text"].encode() if "text" in value else derived_buffer(value["derivedBuffer"])
        for name in [path % n for n in range(value["count"])] if "count" in value else [path]:
            contents[name] = data
    for path in list(contents):
        while path := folder_of(path):
            contents[path] = None
    files, folders = [], [""]
    below: dict[str, list[str]] = {}
    for path in sorted(contents, key=str.encode):
        below.setdefault(folder_of(path), []).append(path)
    for folder in folders:  # grows while it is walked
        for path in below.get(folder, []):
            data = contents[path]
            if data is None:
                folders.append(path)
            else:
                files.append((path, data))
    return files, folders


def e2e_cases(vectors: Callable[[str], Any]) -> Iterator[Any]:
    for name in ("derived_e2e", "extra_e2e"):
        yield from vectors(name)["cases"]


def test_known_preparations(
    vectors: Callable[[str], Any], derived_buffer: Callable[[int], bytes], hasher: Kernel, tmp_path: Path
) -> None:
    for case in e2e_cases(vectors):
        files, folders = scan(case["tree"], derived_buffer)
        made = prepare(files, folders, profile.SINGULARITY, case["maxSize"], case["minPieceSize"], hasher, tmp_path)
        check_files(case, files, made.files, made.ranges)
        assert made.directories == {row["path"]: row["cid"] for row in case["directories"]}
        assert len(made.cars) == len(case["cars"])
        for row, (data, piece_v1, _, size) in zip(case["cars"], made.cars, strict=True):
            check_car(row, data, piece_v1, size)
        assert made.dag is not None
        check_car(case["dagCar"], made.dag[0], made.dag[1], made.dag[3])


def test_the_reference_gives_the_known_preparations(
    vectors: Callable[[str], Any], derived_buffer: Callable[[int], bytes]
) -> None:
    for case in e2e_cases(vectors):
        files, folders = scan(case["tree"], derived_buffer)
        made = reference.prepare(files, folders, max_size=case["maxSize"], min_piece_size=case["minPieceSize"])
        check_files(case, files, made.files, [(r.file, r.offset, r.length, r.cid) for r in made.ranges])
        assert list(made.directories.items()) == [(row["path"], row["cid"]) for row in case["directories"]]
        assert len(made.cars) == len(case["cars"])
        for row, ours in zip(case["cars"], made.cars, strict=True):
            check_reference_car(row, ours)
            assert row["numOfFiles"] == ours.files
            if "..." not in row["fileRangeIds"]:
                assert [number - 1 for number in row["fileRangeIds"]] == ours.ranges
        assert made.dag is not None
        check_reference_car(case["dagCar"], made.dag)
        assert made.root_tsize == case["dagCar"]["rootCumulativeSize"]


def check_files(case: Any, files: Files, cids: list[str], ranges: list[tuple[int, int, int, str]]) -> None:
    if "files" not in case:
        return
    assert [path for path, _ in files] == [row["path"] for row in case["files"]]
    assert cids == [row["cid"] for row in case["files"]]
    wanted = [(row["fileId"] - 1, row["offset"], row["length"], row["cid"]) for row in case["fileRanges"]]
    assert ranges == wanted


def check_car(row: Any, data: bytes, piece_v1: str, size: int) -> None:
    assert (len(data), hashlib.sha256(data).hexdigest()) == (row["carBytes"], row["carSha256"])
    assert (piece_v1, size) == (row["pieceCid"], row["pieceSize"])
    reader = car.CarReader(io.BytesIO(data))
    assert cid.to_text(reader.roots[0]) == row["rootCid"]
    assert len(list(reader)) == row["blockCount"]


def check_reference_car(row: Any, ours: reference.Car) -> None:
    check_car(row, ours.data, ours.piece_cid, ours.piece_size)
    assert (ours.root, ours.blocks) == (row["rootCid"], row["blockCount"])
    for key, value in (("inline", ours.inline), ("exported", ours.exported)):
        if key in row:
            assert value == (row[key]["fileSize"], row[key]["minPieceSizePadding"])
    if "fileSize" in row:
        assert ours.exported[0] == row["fileSize"]


def test_singularitys_own_preparation_and_pack(vectors: Callable[[str], Any]) -> None:
    known = vectors("singularity")
    hello = known["preparation"][0]
    wanted = hello["expected"]["v1"]
    made = reference.prepare(
        [(path, text.encode()) for path, text in hello["tree"].items()],
        [""],
        max_size=3_000_000,
        min_piece_size=wanted["minPieceSize"],
    )
    assert made.dag is not None
    data = made.cars[0]
    assert (data.piece_cid, data.piece_size, data.inline[0], data.root) == (
        wanted["data"]["pieceCid"],
        wanted["data"]["pieceSize"],
        wanted["data"]["fileSize"],
        wanted["data"]["rootCid"],
    )
    assert (made.dag.piece_cid, made.dag.piece_size, made.dag.root) == (
        wanted["dag"]["pieceCid"],
        wanted["dag"]["pieceSize"],
        wanted["dag"]["rootCid"],
    )
    pack = known["pack"][0]
    made = reference.prepare([("test.txt", b"test")], [""], max_size=3_000_000, min_piece_size=1 << 20)
    row = pack["expected"]["v1"]
    assert (made.cars[0].piece_cid, made.cars[0].piece_size, made.cars[0].inline[0]) == (
        row["pieceCid"],
        row["pieceSize"],
        row["fileSize"],
    )
    # Up to 0.5.17 every piece was lifted to the size of the preparation: the same CAR, another minimum.
    old = pack["expected"]["v0_5"]
    made = reference.prepare([("test.txt", b"test")], [""], max_size=3_000_000, min_piece_size=old["pieceSize"])
    assert (made.cars[0].piece_cid, len(made.cars[0].data)) == (old["pieceCid"], old["fileSize"])


NAMES = st.sampled_from(["a", "b", "B", "a-b", "ż", "long name with spaces.bin"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
SIZES = st.integers(0, 400) | st.integers(3000, 9000)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(PATHS, SIZES, min_size=1, max_size=8),
    st.sampled_from([300, 1000, 5000, 20_000]),
    st.sampled_from([128, 1024, 1 << 20]),
    st.sampled_from([profile.SINGULARITY, profile.UNIXFS_V1_2025]),
)
def test_any_small_tree_is_prepared_as_the_reference_does(
    hasher: Kernel, tmp_path: Path, sizes: dict[str, int], limit: int, minimum: int, rule: Profile
) -> None:
    paths = [path for path in sizes if not any(other.startswith(path + "/") for other in sizes)]
    tree = {path: {"text": (path * 9000)[: sizes[path]]} for path in paths}
    files, folders = scan(tree, bytes)
    ours = prepare(files, folders, rule, limit, minimum, hasher, tmp_path)
    theirs = reference.prepare(files, folders, max_size=limit, min_piece_size=minimum, profile=rule.name)
    assert ours.ranges == [(r.file, r.offset, r.length, r.cid) for r in theirs.ranges]
    assert ours.files == theirs.files
    assert ours.directories == theirs.directories
    assert ours.cars == [(c.data, c.piece_cid, c.piece_cid_v2, c.piece_size) for c in theirs.cars]
    assert theirs.dag is not None
    assert ours.dag == (theirs.dag.data, theirs.dag.piece_cid, theirs.dag.piece_cid_v2, theirs.dag.piece_size)


def test_known_cars_of_files(vectors: Callable[[str], Any], content: Callable[..., bytes], hasher: Kernel) -> None:
    for row in vectors("pack")["files"]:
        data = content(row["rule"], row["size"], row.get("seed", ""))
        assert hashlib.sha256(data).hexdigest() == row["contentSha256"]
        if row["size"] > 6_000_000:
            continue
        for base, wanted, first_is_root in (
            (profile.UNIXFS_V1_2025, row["car"], False),
            (profile.SINGULARITY, row["singularityRule"]["car"], True),
        ):
            rule = replace(base, chunk_size=row["chunkSize"], links_per_node=row["maxLinks"])
            blocks = file_blocks(data, rule)
            check_pack_car(wanted, blocks[0 if first_is_root else -1].cid, blocks, hasher)
        if "carDeduplicated" in row:
            blocks = list(dict.fromkeys(file_blocks(data, profile.UNIXFS_V1_2025)))
            check_pack_car(row["carDeduplicated"], blocks[-1].cid, blocks, hasher)


def file_blocks(data: bytes, rule: Profile) -> list[Block]:
    parts = [data[c.offset : c.offset + c.length] for c in chunker.chunks(0, len(data), rule.chunk_size)]
    leaves = [Block(cid.of_raw(part), part) for part in parts]
    nodes, _ = unixfs.parents([leaf(block.cid, len(block.data)) for block in leaves], rule)
    return leaves + nodes


def check_pack_car(wanted: Any, root: bytes, blocks: list[Block], hasher: Kernel) -> None:
    data, piece_v1, piece_v2, size = write_car(root, blocks, 128, hasher)
    assert (len(blocks), len(data)) == (wanted["blocks"], wanted["bytes"])
    assert hashlib.sha256(data).hexdigest() == wanted["sha256"]
    assert (piece_v1, piece_v2, size) == (wanted["pieceCidV1"], wanted["pieceCidV2"], wanted["pieceSize"])


def test_known_trees_of_other_tools(vectors: Callable[[str], Any], content: Callable[..., bytes], hasher: Kernel) -> None:
    for row in vectors("pack")["trees"]:
        rule = replace(profile.UNIXFS_V1_2025, hamt_estimate="links", hamt_threshold=row["shardSplitThresholdBytes"])
        store: dict[bytes, bytes] = {}
        root = build_tree(tree_of(row, content), rule, store)
        assert cid.to_text(root.cid) == row["rootCid"], row["id"]
        blocks = list(in_link_order(root.cid, store))
        check_pack_car(row["car"], root.cid, blocks, hasher)
        if "carDeduplicated" in row:
            check_pack_car(row["carDeduplicated"], root.cid, list(dict.fromkeys(blocks)), hasher)


def tree_of(row: Any, content: Callable[..., bytes]) -> dict[str, Any]:
    """Nested dictionaries with bytes at the leaves."""
    tree: dict[str, Any] = {}
    for entry in expanded(row):
        *folders, name = entry["path"].split("/")
        level = tree
        for folder in folders:
            level = level.setdefault(folder, {})
        if entry.get("dir"):
            level.setdefault(name, {})
        elif "text" in entry:
            level[name] = entry["text"].encode()
        else:
            level[name] = content("sha256ctr", entry["size"], f"pack-vec/{row['id']}/{entry['path']}")
    return tree


def expanded(row: Any) -> Iterator[Any]:
    yield from row.get("entries", [])
    gen = row.get("gen")
    for n in range(gen["count"] if gen else 0):
        last = "lastname" in gen and n == gen["count"] - 1
        name = gen["lastname"] if last else formatted(gen["name"], n)
        yield {"path": name, "text": formatted(gen["text"], n)}


def formatted(pattern: str, n: int) -> str:
    return pattern % n if "%" in pattern else pattern


def build_tree(tree: dict[str, Any], rule: Profile, store: dict[bytes, bytes]) -> Child:
    entries = []
    for name, value in tree.items():
        if isinstance(value, dict):
            child = build_tree(value, rule, store)
        else:
            blocks = file_blocks(value, rule)
            store.update(blocks)
            leaves = [
                leaf(cid.of_raw(block.data), len(block.data)) for block in blocks if block.cid.startswith(cid.RAW_PREFIX)
            ]
            child = unixfs.parents(leaves, rule)[1]
        entries.append(Entry(name.encode(), child.cid, child.tsize))
    folder_blocks, made = directory.build(entries, rule)
    store.update(folder_blocks)
    return Child(made.cid, 0, made.tsize)


def in_link_order(name: bytes, store: dict[bytes, bytes]) -> Iterator[Block]:
    """Every block below and then the block itself; of a file the leaves first, then its nodes level by level."""
    block = Block(name, store[name])
    if name.startswith(cid.RAW_PREFIX):
        yield block
        return
    node = dagpb.decode_node(block.data)
    assert node.data is not None
    if unixfs.decode_data(node.data).kind == unixfs.FILE:
        levels = [[name]]
        while levels[-1][0].startswith(cid.DAG_PB_PREFIX):
            levels.append([link.cid for above in levels[-1] for link in dagpb.decode_node(store[above]).links])
        for level in reversed(levels):
            yield from (Block(one, store[one]) for one in level)
        return
    for link in node.links:
        yield from in_link_order(link.cid, store)
    yield block


def test_the_known_hamt_of_boxo_with_version_0_links(vectors: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the reference can be told to make CIDv0; it shares its HAMT with the tests above."""
    row = vectors("unixfs")["hamt"][3]
    original = reference.node_cid
    monkeypatch.setattr(reference, "node_cid", lambda block: original(block)[2:])
    empty = reference.directory([])[1]
    _, root, _ = reference.shard([(b"DIRNAME%d" % n, empty, 4) for n in range(200)], 0)
    assert cid.to_text(root) == row["cid"]
