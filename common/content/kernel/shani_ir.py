"""IR of the SHA-NI kernel: tree nodes by the SHA-256 instructions of x86, several messages interleaved.

The instructions keep the state of one message in two vectors of four words, lanes low to high ``f e b a`` and ``h g d c``,
and do two rounds at a time; interleaving hides their latency. Words stay native 32-bit numbers from level to level, so only
FR32 swaps bytes, and the padding block of a node is constants here too. Leaves are not made here: ``hashlib`` uses the
same instructions.

::

    slab = 8,192 quads = 128 groups of 64 quads
      group: 128 nodes -> 64 -> 32 -> 16 -> 8 -> 4, in one buffer of 4 KiB
      512 nodes of all groups -> 1

Exported: ``slabs(out, data, count)``.
"""

from __future__ import annotations

from collections.abc import Sequence

from common.content.kernel.base import QUAD_PAYLOAD, SLAB_PAYLOAD, SLAB_QUADS
from common.content.kernel.constants import INITIAL, MASK32, PADDING_KW, TRUNCATE_WORD, K
from common.content.kernel.ir import Emitter, vector

GROUP_QUADS = 64
GROUP_NODES = 4
"""Nodes that a group leaves."""

_NODE = 32
_HIGH_LEAF_QWORD = 0x3FFFFFFFFFFFFFFF
_VECTOR = "<4 x i32>"

Halves = tuple[str, str]
"""The state of one message: (a b e f, c d g h) as the instructions want it."""


def module(streams: int) -> str:
    """Return the IR of the kernel with this many messages interleaved (2 or 4)."""
    emitter = _ShaNi(streams)
    emitter.leaf_nodes_function()
    emitter.level_function()
    emitter.slabs_function()
    return emitter.module()


class _ShaNi(Emitter):
    def __init__(self, streams: int) -> None:
        super().__init__(_VECTOR)
        self.streams = streams

    # ---- the functions

    def leaf_nodes_function(self) -> None:
        """``void leaf_nodes(out, quads, count)``: two nodes for each quad; ``count`` is a multiple of streams / 2."""
        quads = self.streams // 2

        def body() -> None:
            def some(index: str, _: Sequence[str]) -> Sequence[str]:
                source = self.byte("%quads", self.value(f"mul i64 {index}, {QUAD_PAYLOAD}"))
                target = self.byte("%out", self.value(f"shl i64 {index}, 6"))
                messages: list[list[str]] = []
                for quad in range(quads):
                    leaves = self.expand(self.byte(source, QUAD_PAYLOAD * quad))
                    messages += [leaves[:4], leaves[4:]]
                self.put_nodes(messages, target)
                return ()

            self.loop("%count", some, step=quads)

        self.function("leaf_nodes(ptr %out, ptr %quads, i64 %count)", body, "noinline")

    def level_function(self) -> None:
        """``void level(out, in, count)``: ``count`` nodes from twice as many; ``out`` may be ``in``.

        Works in steps of ``streams``, so it may read and write that much past a smaller count.
        """

        def body() -> None:
            def some(index: str, _: Sequence[str]) -> Sequence[str]:
                source = self.byte("%in", self.value(f"shl i64 {index}, 6"))
                target = self.byte("%out", self.value(f"shl i64 {index}, 5"))
                messages = [
                    [self.load(self.byte(source, 64 * stream + 16 * part), 16) for part in range(4)]
                    for stream in range(self.streams)
                ]
                self.put_nodes(messages, target)
                return ()

            self.loop("%count", some, step=self.streams)

        self.function("level(ptr %out, ptr %in, i64 %count)", body, "noinline")

    def slabs_function(self) -> None:
        """``void slabs(out, data, count)``: the roots of consecutive slabs, 32 bytes each."""
        groups = SLAB_QUADS // GROUP_QUADS
        slack = 2 * self.streams * _NODE

        def body() -> None:
            nodes = self.room(2 * GROUP_QUADS * _NODE + slack, "i8")
            tops = self.room(groups * GROUP_NODES * _NODE + slack, "i8")

            def slab(index: str, _: Sequence[str]) -> Sequence[str]:
                data = self.byte("%data", self.value(f"mul i64 {index}, {SLAB_PAYLOAD}"))

                def group(number: str, _: Sequence[str]) -> Sequence[str]:
                    quads = self.byte(data, self.value(f"mul i64 {number}, {GROUP_QUADS * QUAD_PAYLOAD}"))
                    self.line(f"  call void @leaf_nodes(ptr {nodes}, ptr {quads}, i64 {GROUP_QUADS})")
                    count = GROUP_QUADS
                    while count > GROUP_NODES:
                        self.line(f"  call void @level(ptr {nodes}, ptr {nodes}, i64 {count})")
                        count //= 2
                    top = self.byte(tops, self.value(f"mul i64 {number}, {GROUP_NODES * _NODE}"))
                    self.line(f"  call void @level(ptr {top}, ptr {nodes}, i64 {GROUP_NODES})")
                    return ()

                self.loop(groups, group)
                count = groups * GROUP_NODES // 2
                while count:
                    self.line(f"  call void @level(ptr {tops}, ptr {tops}, i64 {count})")
                    count //= 2
                target = self.byte("%out", self.value(f"shl i64 {index}, 5"))
                for part in (0, 16):
                    self.store(self.swap_bytes(self.load(self.byte(tops, part), 16)), self.byte(target, part), 1)
                return ()

            self.loop("%count", slab)

        self.function("slabs(ptr %out, ptr %data, i64 %count)", body)

    # ---- SHA-256

    def put_nodes(self, messages: list[list[str]], target: str) -> None:
        """Hash messages of 64 bytes, ``streams`` at a time, and store the truncated nodes one after the other."""
        for first in range(0, len(messages), self.streams):
            group = messages[first : first + self.streams]
            start = (
                vector("i32", (INITIAL[n] for n in (5, 4, 1, 0))),
                vector("i32", (INITIAL[n] for n in (7, 6, 3, 2))),
            )
            states = self.padding_block(self.data_block([start] * len(group), group))
            for n, (abef, cdgh) in enumerate(states):
                low = self.pick(abef, cdgh, (3, 2, 7, 6))
                high = self.pick(abef, cdgh, (1, 0, 5, 4))
                high = self.op("and", high, vector("i32", (MASK32, MASK32, MASK32, TRUNCATE_WORD)))
                at = _NODE * (first + n)
                self.store(low, self.byte(target, at), 16)
                self.store(high, self.byte(target, at + 16), 16)

    def data_block(self, starts: list[Halves], messages: list[list[str]]) -> list[Halves]:
        """Compress one block of every message; a message is four vectors of four words, low word first."""
        states, words = list(starts), [list(message) for message in messages]
        streams = range(len(states))
        for group in range(16):
            constants = vector("i32", K[4 * group : 4 * group + 4])
            sums = [self.add(words[s][group % 4], constants) for s in streams]
            for s in streams:
                states[s] = self.two_rounds(states[s], sums[s])
            if 3 <= group < 15:
                for s in streams:
                    self.finish_words(words[s], group)
            for s in streams:
                states[s] = self.two_rounds(states[s], self.pick(sums[s], "poison", (2, 3, 2, 3)))
            if 1 <= group < 13:
                for s in streams:
                    before, now = words[s][(group - 1) % 4], words[s][group % 4]
                    words[s][(group - 1) % 4] = self.instruction("sha256msg1", before, now)
        return self.added(starts, states)

    def finish_words(self, words: list[str], group: int) -> None:
        """Make the words of the next group, whose first half (msg1) was put in their place three groups ago."""
        shifted = self.pick(words[(group - 1) % 4], words[group % 4], (1, 2, 3, 4))
        total = self.add(words[(group + 1) % 4], shifted)
        words[(group + 1) % 4] = self.instruction("sha256msg2", total, words[group % 4])

    def padding_block(self, starts: list[Halves]) -> list[Halves]:
        """Compress the second block of 64-byte messages: its K + W are constants."""
        states = list(starts)
        for first in range(0, len(PADDING_KW), 2):
            pair = PADDING_KW[first : first + 2]
            states = [self.two_rounds(state, vector("i32", (*pair, *pair))) for state in states]
        return self.added(starts, states)

    def two_rounds(self, state: Halves, words: str) -> Halves:
        """Two rounds with the two low words; the old first half becomes the second."""
        return self.instruction("sha256rnds2", state[1], state[0], words), state[0]

    def added(self, starts: list[Halves], states: list[Halves]) -> list[Halves]:
        return [(self.add(old[0], new[0]), self.add(old[1], new[1])) for old, new in zip(starts, states, strict=True)]

    def instruction(self, name: str, *vectors: str) -> str:
        return self.call(_VECTOR, f"llvm.x86.{name}", *((_VECTOR, value) for value in vectors))

    # ---- FR32

    def expand(self, quad: str) -> list[str]:
        """Return the four leaves of a quad as eight vectors of native words; reads its 127 bytes and no more.

        Leaf i begins at bit 254 * i: 16 bytes are loaded there, and once more one byte later, and joined by shifts.
        """
        halves = []
        for leaf in range(4):
            byte, bits = divmod(254 * leaf, 8)
            for half in range(2):
                at = byte + 16 * half
                source = self.load(self.byte(quad, at), 1, "<16 x i8>")
                value = self.value(f"bitcast <16 x i8> {source} to <2 x i64>")
                if bits:
                    if at + 17 > QUAD_PAYLOAD:
                        after = self.shuffle(16, "i8", source, "zeroinitializer", range(1, 17))
                    else:
                        after = self.load(self.byte(quad, at + 1), 1, "<16 x i8>")
                    after = self.value(f"bitcast <16 x i8> {after} to <2 x i64>")
                    low = self.value(f"lshr <2 x i64> {value}, {vector('i64', [bits] * 2)}")
                    high = self.value(f"shl <2 x i64> {after}, {vector('i64', [8 - bits] * 2)}")
                    value = self.value(f"or <2 x i64> {low}, {high}")
                if half:
                    value = self.value(f"and <2 x i64> {value}, {vector('i64', (-1, _HIGH_LEAF_QWORD))}")
                halves.append(self.swap_bytes(self.value(f"bitcast <2 x i64> {value} to {_VECTOR}")))
        return halves

    # ---- vectors

    def byte(self, pointer: str, offset: int | str) -> str:
        return self.at(pointer, offset, "i8")

    def pick(self, left: str, right: str, lanes: Sequence[int]) -> str:
        return self.shuffle(4, "i32", left, right, lanes)

    def swap_bytes(self, words: str) -> str:
        return self.call(_VECTOR, "llvm.bswap.v4i32", (_VECTOR, words))
