"""IR of the multi-buffer kernels: 16 or 8 messages side by side, one in each 32-bit lane.

Word i of all messages sits in one vector, so a round has no dependency between lanes and no shuffle. Two such streams are
interleaved where two are to be had, because one alone waits for its own latencies. What makes it fast, in order:

* the second block of a tree node is always the same padding: its K + W are constants and there is no schedule;
* rounds are loops of 16, after which every variable is back in its place; unrolled, they miss the micro-op cache;
* each lane owns a contiguous run of quads, so both children of a node lie in the same lane, and the eight vectors of the
  left and of the right child *are* the sixteen of their parent's message: no transposition between levels;
* depth first, eight quads per lane at a time, so that a level of the tree never leaves the cache;
* FR32 takes 16 bytes of each lane at a time straight into their place; a funnel shift and half a transposition are left.

A node in 16 lanes is 2,640 vector operations: 41 cycles a node at best with four vector units of 512 bits (AMD Zen 5), 83
with two (Intel's Golden Cove, where 84 to 94 were measured), FR32 not counted.

::

    slab = 8,192 quads        lane l of W: quads l*8192/W ... (l+1)*8192/W - 1
      group = 8 quads a lane: 16 leaf nodes -> 8 -> 4 -> 2 -> 1, kept in one row of vectors
      64 (W=16) or 128 (W=8) groups -> 1 node per lane
      lanes joined: 16 -> 8 -> 4 -> 2 -> 1

Exported: ``slabs(out, data, count)`` and, with AVX-512, ``leaves(addresses, lengths, targets, count)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common.content.kernel.base import QUAD_PAYLOAD, SLAB_PAYLOAD, SLAB_QUADS
from common.content.kernel.constants import INITIAL, PADDING_KW, ROUNDS, TRUNCATE_WORD, K
from common.content.kernel.ir import Emitter, vector

GROUP_QUADS = 8
"""Quads of one lane that are taken up the tree together."""

_XOR3, _CHOOSE, _MAJORITY = 0x96, 0xCA, 0xE8
"""Truth tables of the three-input functions of SHA-256, as vpternlogd takes them."""

State = Sequence[str]
"""Eight vectors: a to h of every lane."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a multi-buffer kernel is made for."""

    lanes: int
    ternary_logic: bool
    """Whether vpternlogd is there (AVX-512)."""
    leaves: bool
    """Whether to make ``leaves``, which needs masked loads of bytes (AVX-512BW)."""


def module(shape: Shape) -> str:
    """Return the IR of the kernel."""
    emitter = _Lanes(shape)
    emitter.node_function("node1", 1)
    emitter.node_function("node2", 2)
    emitter.slabs_function()
    if shape.leaves:
        emitter.leaves_function()
    return emitter.text()


class _Lanes(Emitter):
    def __init__(self, shape: Shape) -> None:
        super().__init__(f"<{shape.lanes} x i32>")
        self.lanes = shape.lanes
        self.ternary_logic = shape.ternary_logic
        self.align = 4 * shape.lanes
        width = 32 * shape.lanes
        self.tail = [
            _table("round_k", K),
            _table("padding_kw", PADDING_KW),
            f'attributes #0 = {{ "prefer-vector-width"="{width}" "min-legal-vector-width"="{width}" }}',
        ]

    def text(self) -> str:
        return self.module(*self.tail)

    # ---- the functions

    def node_function(self, name: str, streams: int) -> None:
        """``void name(out, in)``: lanes * streams tree nodes.

        in: 16 message vectors per stream, which are used up; out: 8 vectors per stream. ``out`` may be ``in``.
        """

        def body() -> None:
            start = [[self.splat(word) for word in INITIAL]] * streams
            messages = [self.at("%in", 16 * stream) for stream in range(streams)]
            states = self.padding_block(self.data_block(start, messages))
            for stream, state in enumerate(states):
                last = self.op("and", state[7], self.splat(TRUNCATE_WORD))
                self.put([*state[:7], last], self.at("%out", 8 * stream))

        self.function(f"{name}(ptr %out, ptr %in)", body, "noinline #0")

    def slabs_function(self) -> None:
        """``void slabs(out, data, count)``: the roots of consecutive slabs, 32 bytes each."""
        groups = SLAB_QUADS // self.lanes // GROUP_QUADS
        lane_stride = SLAB_QUADS // self.lanes * QUAD_PAYLOAD

        def slab() -> None:
            message, row, tops = self.room(32), self.room(16 * GROUP_QUADS), self.room(8 * groups)

            def group(index: str, _: Sequence[str]) -> Sequence[str]:
                data = self.at("%data", self.value(f"mul i64 {index}, {GROUP_QUADS * QUAD_PAYLOAD}"), "i8")

                def quad(number: str, _: Sequence[str]) -> Sequence[str]:
                    start = self.at(data, self.value(f"mul i64 {number}, {QUAD_PAYLOAD}"), "i8")
                    self.expand_half(start, lane_stride, 0, message)
                    self.expand_half(start, lane_stride, 1, self.at(message, 16))
                    self.hash("node2", self.at(row, self.value(f"mul i64 {number}, 16")), message)
                    return ()

                self.loop(GROUP_QUADS, quad)
                self.reduce(row, 2 * GROUP_QUADS)
                self.copy(row, self.at(tops, self.value(f"mul i64 {index}, 8")))
                return ()

            self.loop(groups, group)
            self.reduce(tops, groups)
            self.join_lanes(tops, row)
            for word in range(8):
                value = self.value(f"extractelement {self.T} {self.load(self.at(tops, word), self.align)}, i32 0")
                swapped = self.call("i32", "llvm.bswap.i32", ("i32", value))
                self.store(swapped, self.at("%out", word, "i32"), 1, "i32")

        self.function("slab(ptr %out, ptr %data)", slab, "noinline #0")

        def all_slabs() -> None:
            def one(index: str, _: Sequence[str]) -> Sequence[str]:
                out = self.at("%out", self.value(f"mul i64 {index}, 32"), "i8")
                data = self.at("%data", self.value(f"mul i64 {index}, {SLAB_PAYLOAD}"), "i8")
                self.line(f"  call void @slab(ptr {out}, ptr {data})")
                return ()

            self.loop("%count", one)

        self.function("slabs(ptr %out, ptr %data, i64 %count)", all_slabs, "#0")

    def leaves_function(self) -> None:
        """``void leaves(addresses, lengths, targets, count)``: SHA-256 of messages in memory, 16 at a time.

        ``count`` is a multiple of 16. Message n lies at ``addresses[n]`` and is ``lengths[n]`` bytes long; its digest is
        written to ``targets[n]``. Whole blocks are read in place; the last one or two are made in ``tails``, 128 bytes per
        lane. A lane that has ended repeats its last block and keeps its state.
        """

        def group() -> None:
            tails = self.room(128 * 16, "i8")
            lanes = [self.leaf_lane(lane, self.at(tails, 128 * lane, "i8")) for lane in range(16)]
            wholes, totals, starts, ends = (list(column) for column in zip(*lanes, strict=True))
            words = self.room(16)
            blocks = self.pack_lanes(totals)
            most = self.value(f"call i32 @llvm.vector.reduce.umax.v16i32({self.T} {blocks})")
            self._declared["llvm.vector.reduce.umax.v16i32"] = f"declare i32 @llvm.vector.reduce.umax.v16i32({self.T})"
            most = self.value(f"zext i32 {most} to i64")

            def block(index: str, state: Sequence[str]) -> Sequence[str]:
                rows = []
                for whole, total, start, end in zip(wholes, totals, starts, ends, strict=True):
                    last = self.value(f"sub i64 {total}, 1")
                    at = self.call("i64", "llvm.umin.i64", ("i64", index), ("i64", last))
                    inside = self.value(f"icmp ult i64 {index}, {whole}")
                    base = self.value(f"select i1 {inside}, ptr {start}, ptr {end}")
                    address = self.at(base, self.value(f"shl i64 {at}, 6"), "i8")
                    rows.append(self.swap_bytes(self.load(address, 1)))
                self.put(self.transpose(rows), words)
                (after,) = self.data_block([state], [words])
                number = self.broadcast_value(self.value(f"trunc i64 {index} to i32"))
                active = self.value(f"icmp ult {self.T} {number}, {blocks}")
                return [
                    self.value(f"select <16 x i1> {active}, {self.T} {new}, {self.T} {old}")
                    for new, old in zip(after, state, strict=True)
                ]

            state = self.loop(most, block, [self.splat(word) for word in INITIAL])
            for lane, digest in enumerate(self.transpose([*state, *[self.splat(0)] * 8])):
                half = self.shuffle(16, "i32", digest, "poison", range(8))
                swapped = self.call("<8 x i32>", "llvm.bswap.v8i32", ("<8 x i32>", half))
                target = self.load(self.at("%targets", lane, "i64"), 8, "ptr")
                self.store(swapped, target, 1, "<8 x i32>")

        arguments = "ptr %addresses, ptr %lengths, ptr %targets"
        self.function(f"leaf_group({arguments})", group, "noinline #0")

        def all_groups() -> None:
            def one(index: str, _: Sequence[str]) -> Sequence[str]:
                lists = [self.at(name, index, "i64") for name in ("%addresses", "%lengths", "%targets")]
                self.line("  call void @leaf_group(" + ", ".join(f"ptr {part}" for part in lists) + ")")
                return ()

            self.loop("%count", one, step=16)

        self.function(f"leaves({arguments}, i64 %count)", all_groups, "#0")

    # ---- SHA-256

    def rounds(self, states: list[list[str]], words: list[str]) -> list[list[str]]:
        """One round of every stream, interleaved; words: W + K of each stream."""
        high = [self.add(s[7], word) for s, word in zip(states, words, strict=True)]
        high = [self.add(h, self.logic(_CHOOSE, s[4], s[5], s[6])) for h, s in zip(high, states, strict=True)]
        high = [self.add(h, self.sigma(s[4], 6, 11, 25)) for h, s in zip(high, states, strict=True)]
        low = [self.add(self.sigma(s[0], 2, 13, 22), self.logic(_MAJORITY, s[0], s[1], s[2])) for s in states]
        return [
            [self.add(h, t), s[0], s[1], s[2], self.add(s[3], h), s[4], s[5], s[6]]
            for h, t, s in zip(high, low, states, strict=True)
        ]

    def data_block(self, starts: Sequence[State], messages: Sequence[str]) -> list[list[str]]:
        """Compress one block per stream; each message is 16 vectors in memory and becomes the rolling schedule."""

        def sixteen(states: list[list[str]], first: int | str, scheduled: bool) -> list[list[str]]:
            fresh: list[dict[int, str]] = [{} for _ in messages]
            for t in range(16):
                constant = self.broadcast("@round_k", first, t)
                words = []
                for message, new in zip(messages, fresh, strict=True):
                    word = self.load(self.at(message, t), self.align)
                    if scheduled:
                        near = new[t - 2] if t >= 2 else self.load(self.at(message, (t - 2) & 15), self.align)
                        word = self.schedule(message, t, word, near)
                        new[t] = word
                    words.append(self.add(word, constant))
                states = self.rounds(states, words)
            return states

        states = sixteen([list(start) for start in starts], 0, scheduled=False)
        states = self.round_loop(states, lambda index, now: sixteen(now, index, scheduled=True), start=16)
        return _added(self, starts, states)

    def schedule(self, message: str, t: int, oldest: str, near: str) -> str:
        """Return the next schedule word t and keep it: W[t-16] + s0(W[t-15]) + W[t-7] + s1(W[t-2])."""
        far = self.load(self.at(message, (t - 15) & 15), self.align)
        middle = self.load(self.at(message, (t - 7) & 15), self.align)
        low = self.logic(_XOR3, self.rotate(far, 7), self.rotate(far, 18), self.op("lshr", far, self.splat(3)))
        high = self.logic(_XOR3, self.rotate(near, 17), self.rotate(near, 19), self.op("lshr", near, self.splat(10)))
        word = self.add(self.add(oldest, low), self.add(middle, high))
        self.store(word, self.at(message, t), self.align)
        return word

    def padding_block(self, starts: list[list[str]]) -> list[list[str]]:
        """Compress the second block of a 64-byte message, whose K + W are constants."""

        def sixteen(index: str, states: list[list[str]]) -> list[list[str]]:
            for t in range(16):
                constant = self.broadcast("@padding_kw", index, t)
                states = self.rounds(states, [constant] * len(states))
            return states

        return _added(self, starts, self.round_loop(starts, sixteen, start=0))

    def round_loop(
        self, states: list[list[str]], body: Callable[[str, list[list[str]]], list[list[str]]], *, start: int
    ) -> list[list[str]]:
        """Run 16 rounds a turn up to round 64."""

        def turn(index: str, values: Sequence[str]) -> Sequence[str]:
            return _flat(body(index, _cut(values)))

        return _cut(self.loop(ROUNDS, turn, _flat(states), start=start, step=16))

    def sigma(self, value: str, *bits: int) -> str:
        return self.logic(_XOR3, *(self.rotate(value, bit) for bit in bits))

    def rotate(self, value: str, bits: int) -> str:
        kind, count = self.T, (self.T, self.splat(bits))
        return self.call(kind, f"llvm.fshr.v{self.lanes}i32", (kind, value), (kind, value), count)

    def logic(self, table: int, a: str, b: str, c: str) -> str:
        """Apply a three-input function: one instruction with AVX-512."""
        if self.ternary_logic:
            name = f"llvm.x86.avx512.pternlog.d.{32 * self.lanes}"
            values = [(self.T, value) for value in (a, b, c)]
            declared = ", ".join([self.T] * 3 + ["i32 immarg"])
            return self.call(self.T, name, *values, ("i32", str(table)), declaration=declared)
        if table == _XOR3:
            return self.op("xor", self.op("xor", a, b), c)
        if table == _CHOOSE:
            return self.op("xor", self.op("and", self.op("xor", b, c), a), c)
        return self.op("xor", self.op("and", self.op("xor", a, b), self.op("xor", b, c)), b)

    # ---- the tree

    def hash(self, name: str, out: str, message: str) -> None:
        self.line(f"  call void @{name}(ptr {out}, ptr {message})")

    def reduce(self, row: str, nodes: int) -> None:
        """Take ``nodes`` nodes (a power of two) of every lane up to one, in place: 8 vectors each."""
        while nodes > 2:
            nodes //= 2

            def pair(index: str, _: Sequence[str]) -> Sequence[str]:
                out = self.at(row, self.value(f"mul i64 {index}, 16"))
                self.hash("node2", out, self.at(row, self.value(f"mul i64 {index}, 32")))
                return ()

            self.loop(nodes // 2, pair)
        self.hash("node1", row, row)

    def join_lanes(self, node: str, message: str) -> None:
        """Take the nodes of all lanes up to one in lane 0; the lanes that are no longer needed compute nonsense."""
        half = self.lanes // 2
        while half:
            for word in range(8):
                value = self.load(self.at(node, word), self.align)
                for side in (0, 1):
                    lanes = [2 * (lane % half) + side for lane in range(self.lanes)]
                    picked = self.shuffle(self.lanes, "i32", value, "poison", lanes)
                    self.store(picked, self.at(message, 8 * side + word), self.align)
            self.hash("node1", node, message)
            half //= 2

    def expand_half(self, quad: str, stride: int, half: int, message: str) -> None:
        """FR32: two of the four leaves of one quad per lane, as the 16 message vectors of a node.

        Leaf i begins at bit 254 * i of its quad: each qword there and the one after it are joined by a funnel shift. The
        last qword of a leaf has two bits less, so that nothing behind the quad is needed.
        """
        lanes = [quad]
        while len(lanes) < self.lanes:
            lanes.append(self.at(lanes[-1], stride, "i8"))
        for piece in range(4):
            byte, bits = divmod(254 * (2 * half + piece // 2), 8)
            words = self.four_words(lanes, byte + 16 * (piece % 2), bits)
            if piece % 2:
                words[3] = self.op("and", words[3], self.splat(TRUNCATE_WORD))
            self.put(words, self.at(message, 4 * piece))

    # ---- leaves

    def leaf_lane(self, lane: int, tail: str) -> tuple[str, str, str, str]:
        """Make the padded tail of one message.

        Returns the number of whole blocks and of all blocks, the address of the message, and the address from which
        blocks of the tail are counted as if they followed the message.
        """
        start = self.load(self.at("%addresses", lane, "i64"), 8, "ptr")
        length = self.load(self.at("%lengths", lane, "i64"), 8, "i64")
        whole = self.value(f"lshr i64 {length}, 6")
        rest = self.value(f"and i64 {length}, 63")
        bytes_ = "<64 x i8>"
        number = self.value(f"trunc i64 {rest} to i8")
        first = self.value(f"insertelement {bytes_} poison, i8 {number}, i32 0")
        rests = self.value(f"shufflevector {bytes_} {first}, {bytes_} poison, <64 x i32> zeroinitializer")
        positions = vector("i8", range(64))
        inside = self.value(f"icmp ult {bytes_} {positions}, {rests}")
        source = self.at(start, self.value(f"shl i64 {whole}, 6"), "i8")
        data = self.call(
            bytes_,
            "llvm.masked.load.v64i8.p0",
            ("ptr", source),
            ("i32", "1"),
            ("<64 x i1>", inside),
            (bytes_, "zeroinitializer"),
            declaration=f"ptr, i32 immarg, <64 x i1>, {bytes_}",
        )
        ends = self.value(f"icmp eq {bytes_} {positions}, {rests}")
        padded = self.value(f"select <64 x i1> {ends}, {bytes_} {vector('i8', [-128] * 64)}, {bytes_} {data}")
        self.store(padded, tail, 64, bytes_)
        self.store("zeroinitializer", self.at(tail, 64, "i8"), 64, bytes_)
        short = self.value(f"icmp ult i64 {rest}, 56")
        size_at = self.value(f"select i1 {short}, i64 56, i64 120")
        size = self.call("i64", "llvm.bswap.i64", ("i64", self.value(f"shl i64 {length}, 3")))
        self.store(size, self.at(tail, size_at, "i8"), 8, "i64")
        blocks = self.value(f"select i1 {short}, i64 1, i64 2")
        total = self.value(f"add i64 {whole}, {blocks}")
        back = self.value(f"sub i64 0, {self.value(f'shl i64 {whole}, 6')}")
        return whole, total, start, self.at(tail, back, "i8")

    def pack_lanes(self, values: list[str]) -> str:
        """Return 64-bit numbers as one vector of 32-bit ones."""
        result = "poison"
        for lane, value in enumerate(values):
            word = self.value(f"trunc i64 {value} to i32")
            result = self.value(f"insertelement {self.T} {result}, i32 {word}, i32 {lane}")
        return result

    # ---- words from memory

    def four_words(self, lanes: Sequence[str], offset: int, bits: int = 0) -> list[str]:
        """Return vectors of the four big-endian words at ``offset`` of every lane, as numbers.

        With ``bits``, of those that begin that many bits (1 to 7) later, the little-endian way. The top bits of
        the second qword are then undefined where they would come from behind byte 127 of a quad.

        Each of four vectors takes a quarter of its lanes from memory at a time, which no shuffle is needed for, such that
        a transposition of 4 by 4 words within the 16 bytes of each lane puts every lane in its place.
        """
        rows = []
        for first in range(4):
            group = lanes[first::4]
            row = self.pieces(group, offset)
            if bits:
                if offset + 24 > QUAD_PAYLOAD:
                    after = self.shuffle(self.lanes, "i32", row, "poison", (k | 2 for k in range(self.lanes)))
                else:
                    after = self.pieces(group, offset + 8)
                row = self.shift_qwords(row, after, bits)
            rows.append(self.swap_bytes(row))
        a, b, c, d = rows
        pairs = [(self.unpack(a, b, first), self.unpack(c, d, first)) for first in (0, 2)]
        return [self.unpack_pairs(left, right, first) for left, right in pairs for first in (0, 2)]

    def pieces(self, addresses: Sequence[str], offset: int) -> str:
        """Return 16 bytes from every address, side by side."""
        result = "poison"
        for n, address in enumerate(addresses):
            piece = self.load(self.at(address, offset, "i8"), 1, "<4 x i32>")
            wide = self.shuffle(4, "i32", piece, "poison", [*range(4)] * len(addresses))
            inserted = [self.lanes + k if k // 4 == n else k for k in range(self.lanes)]
            result = self.shuffle(self.lanes, "i32", result, wide, inserted)
        return result

    def shift_qwords(self, low: str, high: str, bits: int) -> str:
        kind = f"<{self.lanes // 2} x i64>"
        a, b = (self.value(f"bitcast {self.T} {value} to {kind}") for value in (low, high))
        count = vector("i64", [bits] * (self.lanes // 2))
        shifted = self.call(kind, f"llvm.fshr.v{self.lanes // 2}i64", (kind, b), (kind, a), (kind, count))
        return self.value(f"bitcast {kind} {shifted} to {self.T}")

    def unpack(self, a: str, b: str, first: int) -> str:
        """Interleave words ``first`` and ``first + 1`` of every 16 bytes of two vectors."""
        lanes = [k + word + side for k in range(0, self.lanes, 4) for word in (first, first + 1) for side in (0, self.lanes)]
        return self.shuffle(self.lanes, "i32", a, b, lanes)

    def unpack_pairs(self, a: str, b: str, first: int) -> str:
        """Join the pair of words at ``first`` of every 16 bytes of two vectors."""
        lanes = [k + word + side for k in range(0, self.lanes, 4) for side in (0, self.lanes) for word in (first, first + 1)]
        return self.shuffle(self.lanes, "i32", a, b, lanes)

    # ---- vectors

    def splat(self, word: int) -> str:
        return vector("i32", [word] * self.lanes)

    def broadcast(self, table: str, first: int | str, offset: int) -> str:
        """Return entry ``first + offset`` of a table in all lanes: the memory operand of the addition that uses it."""
        base = self.at(table, first, "i32")
        return self.broadcast_value(self.load(self.at(base, offset, "i32"), 4, "i32"))

    def broadcast_value(self, word: str) -> str:
        first = self.value(f"insertelement {self.T} poison, i32 {word}, i32 0")
        return self.value(f"shufflevector {self.T} {first}, {self.T} poison, <{self.lanes} x i32> zeroinitializer")

    def swap_bytes(self, words: str) -> str:
        return self.call(self.T, f"llvm.bswap.v{self.lanes}i32", (self.T, words))

    def put(self, values: Sequence[str], pointer: str) -> None:
        for n, value in enumerate(values):
            self.store(value, self.at(pointer, n), self.align)

    def copy(self, source: str, target: str) -> None:
        """Copy one node of every lane."""
        self.put([self.load(self.at(source, n), self.align) for n in range(8)], target)

    def transpose(self, rows: list[str]) -> list[str]:
        """Transpose a square of words, in log2(lanes) steps that swap the off-diagonal halves."""
        distance = 1
        while distance < self.lanes:
            left = [k if not k & distance else (k ^ distance) + self.lanes for k in range(self.lanes)]
            right = [k | distance if not k & distance else k + self.lanes for k in range(self.lanes)]
            swapped = list(rows)
            for i in range(self.lanes):
                if not i & distance:
                    pair = rows[i], rows[i | distance]
                    swapped[i] = self.shuffle(self.lanes, "i32", *pair, left)
                    swapped[i | distance] = self.shuffle(self.lanes, "i32", *pair, right)
            rows, distance = swapped, distance * 2
        return rows


def _added(emitter: Emitter, starts: Sequence[State], states: list[list[str]]) -> list[list[str]]:
    return [
        [emitter.add(old, new) for old, new in zip(start, state, strict=True)]
        for start, state in zip(starts, states, strict=True)
    ]


def _flat(states: Sequence[State]) -> list[str]:
    return [value for state in states for value in state]


def _cut(values: Sequence[str]) -> list[list[str]]:
    return [list(values[at : at + 8]) for at in range(0, len(values), 8)]


def _table(name: str, words: Sequence[int]) -> str:
    return f"@{name} = private unnamed_addr constant [{len(words)} x i32] [{vector('i32', words)[1:-1]}], align 64"
