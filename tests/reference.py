"""A plain, slow, second implementation of the preparation rules, to hold the product against.

Written from section 5 to 7 of the Singularity contract alone: it imports nothing of ours, works on whole values in memory
and prefers the shortest way to say a rule. Input is what a scan has found, in its order; the order itself is not its
business. ``prepare`` returns every CAR, piece and CID that must come out.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field

CHUNK = 1 << 20
WIDTH = 1024
HAMT_LIMIT = 262_144
MASK64 = (1 << 64) - 1


# ---- bytes


def uvarint(n: int) -> bytes:
    out = []
    while n >= 128:
        out.append(n % 128 + 128)
        n //= 128
    return bytes([*out, n])


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def raw_cid(data: bytes) -> bytes:
    return b"\x01\x55\x12\x20" + sha(data)


def node_cid(block: bytes) -> bytes:
    return b"\x01\x70\x12\x20" + sha(block)


def text(cid: bytes) -> str:
    """Base32, lower case, no padding, with the multibase letter; nothing for no CID."""
    if not cid:
        return ""
    bits = "".join(f"{byte:08b}" for byte in cid)
    bits += "0" * (-len(bits) % 5)
    return "b" + "".join("abcdefghijklmnopqrstuvwxyz234567"[int(bits[i : i + 5], 2)] for i in range(0, len(bits), 5))


def car_header(root: bytes) -> bytes:
    body = b"\xa2\x65roots\x81\xd8\x2a\x58\x25\x00" + root + b"\x67version\x01"
    return uvarint(len(body)) + body


def car(root: bytes, blocks: list[tuple[bytes, bytes]]) -> bytes:
    sections = [uvarint(len(cid) + len(data)) + cid + data for cid, data in blocks]
    return car_header(root) + b"".join(sections)


# ---- dag-pb and UnixFS


def pb_link(cid: bytes, name: bytes, tsize: int) -> bytes:
    body = b"\x0a" + uvarint(len(cid)) + cid + b"\x12" + uvarint(len(name)) + name + b"\x18" + uvarint(tsize)
    return b"\x12" + uvarint(len(body)) + body


def pb_node(links: list[tuple[bytes, bytes, int]], data: bytes) -> bytes:
    return b"".join(pb_link(*link) for link in links) + b"\x0a" + uvarint(len(data)) + data


def file_node(
    children: list[tuple[bytes, int, int]], cumulative: bool
) -> tuple[tuple[bytes, bytes], tuple[bytes, int, int]]:
    """children: (cid, bytes of the file, Tsize). Returns the block, and what the node is as a child."""
    size = sum(child[1] for child in children)
    data = b"\x08\x02\x18" + uvarint(size) + b"".join(b"\x20" + uvarint(child[1]) for child in children)
    block = pb_node([(child[0], b"", child[2]) for child in children], data)
    tsize = len(block) + sum(child[2] for child in children) if cumulative else size
    cid = node_cid(block)
    return (cid, block), (cid, size, tsize)


def file_tree(children: list[tuple[bytes, int, int]], cumulative: bool, width: int = WIDTH):
    """All nodes above the children, lowest level first, and the root as a child."""
    nodes = []
    while len(children) > 1:
        above = []
        for i in range(0, len(children), width):
            block, child = file_node(children[i : i + width], cumulative)
            nodes.append(block)
            above.append(child)
        children = above
    return nodes, children[0]


def murmur3_h1(data: bytes) -> bytes:
    def rotl(x: int, r: int) -> int:
        return (x << r | x >> (64 - r)) & MASK64

    def fmix(k: int) -> int:
        for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
            k = (k ^ k >> 33) * factor & MASK64
        return k ^ k >> 33

    c1, c2 = 0x87C37B91114253D5, 0x4CF5AD432745937F
    h1 = h2 = 0
    body = len(data) // 16 * 16
    for i in range(0, body, 16):
        k1, k2 = struct.unpack_from("<QQ", data, i)
        h1 ^= rotl(k1 * c1 & MASK64, 31) * c2 & MASK64
        h1 = ((rotl(h1, 27) + h2) * 5 + 0x52DCE729) & MASK64
        h2 ^= rotl(k2 * c2 & MASK64, 33) * c1 & MASK64
        h2 = ((rotl(h2, 31) + h1) * 5 + 0x38495AB5) & MASK64
    k1, k2 = struct.unpack("<QQ", data[body:].ljust(16, b"\0"))
    h1 ^= rotl(k1 * c1 & MASK64, 31) * c2 & MASK64
    h2 ^= rotl(k2 * c2 & MASK64, 33) * c1 & MASK64
    h1 ^= len(data)
    h2 ^= len(data)
    h1 = (h1 + h2) & MASK64
    h2 = (h2 + h1) & MASK64
    return struct.pack(">Q", (fmix(h1) + fmix(h2)) & MASK64)


def shard(entries: list[tuple[bytes, bytes, int]], depth: int) -> tuple[list[tuple[bytes, bytes]], bytes, int]:
    """entries: (name, cid, Tsize). Returns all blocks (own node last), own CID, own Tsize."""
    if depth == 8:
        raise ValueError("hash exhausted")
    slots: dict[int, list[tuple[bytes, bytes, int]]] = {}
    for entry in entries:
        slots.setdefault(murmur3_h1(entry[0])[depth], []).append(entry)
    blocks, links, bits = [], [], 0
    for slot in sorted(slots):
        bits |= 1 << slot
        label = f"{slot:02X}".encode()
        if len(slots[slot]) == 1:
            name, cid, tsize = slots[slot][0]
            links.append((cid, label + name, tsize))
        else:
            below, cid, tsize = shard(slots[slot], depth + 1)
            blocks += below
            links.append((cid, label, tsize))
    bitfield = bits.to_bytes(32, "big").lstrip(b"\0")
    block = pb_node(links, b"\x08\x05\x12" + uvarint(len(bitfield)) + bitfield + b"\x28\x22\x30\x80\x02")
    cid = node_cid(block)
    return [*blocks, (cid, block)], cid, len(block) + sum(link[2] for link in links)


def directory(entries: list[tuple[bytes, bytes, int]], kubo: bool = False) -> tuple[list[tuple[bytes, bytes]], bytes, int]:
    """entries: (name, cid, Tsize). ``kubo``: shard when the flat node is over the limit, else at >= of names and CIDs."""
    entries = sorted(entries)
    flat = pb_node([(cid, name, tsize) for name, cid, tsize in entries], b"\x08\x01")
    if kubo:
        sharded = len(flat) > HAMT_LIMIT
    else:
        sharded = sum(len(name) + len(cid) for name, cid, _ in entries) >= HAMT_LIMIT
    if sharded:
        return shard(entries, 0)
    cid = node_cid(flat)
    return [(cid, flat)], cid, len(flat) + sum(entry[2] for entry in entries)


# ---- pieces


def parent(left: bytes, right: bytes) -> bytes:
    digest = sha(left + right)
    return digest[:31] + bytes([digest[31] & 0x3F])


ZERO = [bytes(32)]
while len(ZERO) < 40:
    ZERO.append(parent(ZERO[-1], ZERO[-1]))


def commp(payload: bytes) -> tuple[bytes, int]:
    """Root and padded size of the smallest piece."""
    if len(payload) < 65:
        raise ValueError("too small")
    payload += bytes(-len(payload) % 127)
    row = []
    for i in range(0, len(payload), 127):
        quad = int.from_bytes(payload[i : i + 127], "little")
        row += [(quad >> 254 * k & (1 << 254) - 1).to_bytes(32, "little") for k in range(4)]
    height = 0
    while len(row) > 1:
        if len(row) % 2:
            row.append(ZERO[height])
        row = [parent(row[i], row[i + 1]) for i in range(0, len(row), 2)]
        height += 1
    return row[0], 32 << height


def lift(root: bytes, size: int, wanted: int) -> bytes:
    while size < wanted:
        root = parent(root, ZERO[(size // 32).bit_length() - 1])
        size *= 2
    return root


def piece_cid_v1(root: bytes) -> str:
    return text(bytes.fromhex("0181e203922020") + root)


def piece_cid_v2(root: bytes, piece_size: int, payload: int) -> str:
    digest = uvarint(piece_size // 128 * 127 - payload) + bytes([(piece_size // 32).bit_length() - 1]) + root
    return text(b"\x01\x55\x91\x20" + uvarint(len(digest)) + digest)


def next_power_of_two(n: int) -> int:
    power = 1
    while power < n:
        power *= 2
    return power


# ---- preparation


@dataclass
class Car:
    data: bytes
    blocks: int
    root: str
    piece_cid: str
    piece_cid_v2: str
    piece_size: int
    inline: tuple[int, int]
    """(fileSize, minPieceSizePadding) without an output storage."""
    exported: tuple[int, int]
    """The same with one."""
    ranges: list[int] = field(default_factory=list)
    """Positions in ``Preparation.ranges``."""
    files: int = 0
    """Files completed by this CAR."""


@dataclass
class Range:
    file: int
    offset: int
    length: int
    cid: str


@dataclass
class Preparation:
    ranges: list[Range]
    files: list[str]
    directories: dict[str, str]
    cars: list[Car]
    dag: Car | None
    root_tsize: int


def make_car(root: bytes, blocks: list[tuple[bytes, bytes]], minimum: int, small: bool) -> Car:
    """``small``: whether zeros may be appended to an exported file."""
    data = car(root, blocks)
    commitment, natural = commp(data)
    size = max(natural, minimum)
    commitment = lift(commitment, natural, size)
    padded = size // 128 * 127 if size > next_power_of_two(len(data)) else len(data)
    return Car(
        data=data,
        blocks=len(blocks),
        root=text(root),
        piece_cid=piece_cid_v1(commitment),
        piece_cid_v2=piece_cid_v2(commitment, size, len(data)),
        piece_size=size,
        inline=(padded, padded - len(data)),
        exported=(padded if small else len(data), 0),
    )


def split_size(max_size: int) -> int:
    return min(next_power_of_two(max_size) // 4, 1 << 30)


def cost(length: int) -> int:
    if length == 0:
        return 37
    blocks = (length + CHUNK - 1) // CHUNK
    return length + 39 * blocks + (52 * blocks + 44 if blocks > 1 else 0)


def prepare(
    files: list[tuple[str, bytes]],
    directories: list[str],
    *,
    max_size: int,
    min_piece_size: int,
    profile: str = "singularity",
) -> Preparation:
    """Prepare files (path, content) in scan order; ``directories`` are all folders in order of id, ``""`` first."""
    whole_tree = {"singularity": False, "unixfs-v1-2025": True}[profile]
    split = split_size(max_size)
    ranges = []
    for number, (_, content) in enumerate(files):
        offsets = range(0, max(len(content), 1), split)
        ranges += [Range(number, offset, min(split, len(content) - offset), "") for offset in offsets]

    groups: list[list[int]] = [[]]
    estimate = 59
    for number, part in enumerate(ranges):
        if groups[-1] and estimate + cost(part.length) > max_size:
            groups.append([])
            estimate = 59
        groups[-1].append(number)
        estimate += cost(part.length)

    file_cids: dict[int, tuple[bytes, int]] = {}  # CID and Tsize
    attached: dict[str, list[tuple[bytes, bytes]]] = {}
    tops: dict[int, list] = {}
    cars = []
    for group in filter(None, groups):
        blocks: list[tuple[bytes, bytes]] = []
        completed = 0
        for number in group:
            part = ranges[number]
            path, content = files[part.file]
            piece = content[part.offset : part.offset + part.length]
            chunks = [piece[i : i + CHUNK] for i in range(0, max(len(piece), 1), CHUNK)]
            leaves = [(raw_cid(chunk), len(chunk), len(chunk)) for chunk in chunks]
            blocks += [(leaf[0], chunk) for leaf, chunk in zip(leaves, chunks, strict=True)]
            mine = [n for n, other in enumerate(ranges) if other.file == part.file]
            if whole_tree:
                per_range = max(1, -(-split // CHUNK))
                last = len(content) - (len(mine) - 1) * split
                count = (len(mine) - 1) * per_range + max(1, -(-last // CHUNK))
                first = mine.index(number) * per_range
                nodes, rest = whole_file_nodes([(0, first + i, leaf) for i, leaf in enumerate(leaves)], count)
                blocks += nodes
                tops[number] = rest
                part.cid = text(rest[0][2][0]) if len(rest) == 1 else ""
            else:
                nodes, root = file_tree(leaves, cumulative=False)
                blocks += nodes
                tops[number] = [(root[0], part.length, part.length)]
                part.cid = text(root[0])
            if all(n in tops for n in mine):
                joined = [top for n in mine for top in tops[n]]
                if whole_tree:
                    nodes, rest = whole_file_nodes(joined, count)
                    file_cids[part.file] = (rest[0][2][0], rest[0][2][2])
                else:
                    nodes, root = file_tree(joined, cumulative=False)
                    file_cids[part.file] = (root[0], len(content))
                attached.setdefault(folder_of(path), []).extend(nodes)
                completed += 1
        total = sum(ranges[number].length for number in group)
        made = make_car(blocks[0][0], blocks, min_piece_size, small=total < min_piece_size // 2)
        made.ranges, made.files = group, completed
        cars.append(made)

    built: dict[str, tuple[list[tuple[bytes, bytes]], bytes, int]] = {}
    for folder in sorted(directories, key=lambda path: -(path.count("/") + bool(path))):
        entries = [
            (path.rsplit("/", 1)[-1].encode(), *file_cids[number])
            for number, (path, _) in enumerate(files)
            if folder_of(path) == folder
        ]
        entries += [
            (below.rsplit("/", 1)[-1].encode(), built[below][1], built[below][2])
            for below in directories
            if below and folder_of(below) == folder and below in built
        ]
        if entries or whole_tree:
            built[folder] = directory(entries, kubo=whole_tree)

    dag = None
    dag_blocks: list[tuple[bytes, bytes]] = []
    for folder in directories:
        if folder in built:
            own = sorted(dict(built[folder][0]).items())
            more = sorted(item for item in dict(attached.get(folder, [])).items() if item not in own)
            dag_blocks += own + more
    if dag_blocks:
        dag = make_car(built[""][1], dag_blocks, min_piece_size, small=True)
    return Preparation(
        ranges=ranges,
        files=[text(file_cids[number][0]) for number in range(len(files))],
        directories={folder: text(built[folder][1]) if folder in built else "" for folder in directories},
        cars=cars,
        dag=dag,
        root_tsize=built[""][2] if "" in built else 0,
    )


def whole_file_nodes(items: list, count: int):
    """Build all nodes of one tree over a whole file that these neighbours complete.

    items: (level, position in the level, child); count: chunks of the file. Returns new nodes and what is left.
    """
    nodes, level = [], 0
    while count > 1:
        left = {item[1]: item for item in items if item[0] == level}
        done = []
        for first in range(0, count, WIDTH):
            members = [left.get(i) for i in range(first, min(first + WIDTH, count))]
            if None not in members:
                block, child = file_node([member[2] for member in members], cumulative=True)
                nodes.append(block)
                done.append((members, (level + 1, first // WIDTH, child)))
        for members, made in done:
            at = items.index(members[0])
            items = [*items[:at], made, *items[at + len(members) :]]
        count, level = -(-count // WIDTH), level + 1
    return nodes, items


def folder_of(path: str) -> str:
    return path.rsplit("/", 1)[0] if "/" in path else ""
