"""The assembly line of a pack: threads that each carry one batch all the way, and the short part that has an order.

::

    plan, read into the slots, hash leaves      any order, side by side
    link nodes, seam                            in order of the CAR: a batch waits for its turn
    commitment of whole slabs                   any order, side by side
    write                                       by a thread of its own: the disk is waited for beside the hashing

A batch buffer is a piece of the CAR: files are read straight into it, and it is written with one call. The commitment runs
over the same bytes; what lies before the first and behind the last slab border of a batch goes into a *seam* buffer, hashed
by whoever fills it. Everything heavy runs in system calls or in the kernel. There are two buffers more than hashing threads.
"""

from __future__ import annotations

import mmap
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from common.content import car
from common.content import cid as cids
from common.content.kernel import SLAB_PAYLOAD, Kernel
from common.content.piece import SLAB_PIECE_SIZE, SlabTree, lift, piece_size_of, small_root
from common.content.profile import Profile
from common.content.unixfs import Child, leaf
from common.db.catalogue import JobRange
from common.errors import ExecutorError
from common.storage.base import Storage
from executors.packing.carfile import PAGE, CarFile
from executors.packing.journal import Journal
from executors.packing.layout import Batch, Cursor, Planner, Tie, leaf_head, node_head
from executors.packing.trees import range_nodes

MOST_UNSYNCED = 256 << 20
MOST_THREADS = 4
MOST_ENDED = 1 << 14
_SPARE_BUFFERS = 2  # one is written, one waits for that
_DIGEST = np.arange(-cids.DIGEST_LENGTH, 0)  # where a digest lies, seen from the data behind it


@dataclass(frozen=True, kw_only=True)
class Reached:
    """How far a line has come without a gap: bytes and blocks of the CAR, and bytes of files that are in it."""

    offset: int
    blocks: int
    payload: int


@dataclass(frozen=True, kw_only=True)
class Slabs:
    """What a batch has of the piece: whole slabs from a place in its buffer on, and a seam that it has filled up."""

    place: int = 0
    number: int = 0
    count: int = 0
    seam: bytearray | None = None
    seam_number: int = -1


@dataclass(frozen=True, kw_only=True)
class Made:
    """A batch that only has to be written: ``pages`` of its ``buffer`` at ``offset`` of the file."""

    batch: Batch
    buffer: mmap.mmap
    digests: bytes
    pages: memoryview
    offset: int


class Line:
    """Makes the CAR of one job. ``car`` None: no file is written (inline)."""

    def __init__(
        self,
        *,
        planner: Planner,
        start: Cursor,
        payload: int,
        storage: Storage,
        path_of: Callable[[JobRange], str],
        kernel: Kernel,
        profile: Profile,
        split: int,
        car: CarFile | None,
        journal: Journal,
        slabs: SlabTree,
    ) -> None:
        self._planner, self._storage, self._path_of = planner, storage, path_of
        self._kernel, self._profile, self._split = kernel, profile, split
        self._car, self._journal, self.slabs = car, journal, slabs
        self._lock = threading.Condition()
        self._stopping = False
        self._planned_all = False
        self._error: BaseException | None = None
        self._threads: list[threading.Thread] = []
        self._alive = 0
        self._wanted = 0
        self._turn = 0
        self._free: list[mmap.mmap] = []
        self._buffers = 0
        self._to_write: deque[Made] = deque()
        self._unwritten = 0  # batches that wait to be written, and the one that is
        self._done: dict[int, Batch] = {}
        self._next_done = 0
        self._reached = Reached(offset=start.offset, blocks=start.block, payload=payload)
        self._synced = start.offset
        self._ended: list[JobRange] = []  # the main thread has not taken them yet
        # the ordered part
        self._children: list[Child] = []  # leaves of the range that is open
        self._position = slabs.complete * SLAB_PAYLOAD  # of the CAR: what lies before is in the tree or the seam
        self._seam = bytearray(SLAB_PAYLOAD)

    # ---- the side of the task's main thread

    def open_range(self, children: list[Child]) -> None:
        """Give the leaves of the range that an earlier attempt has begun."""
        self._children = children

    def staff(self, threads: int) -> None:
        """Let this many threads work; surplus ones end behind their batch."""
        with self._lock:
            if self._car is not None and not self._threads:
                self._begin(self._write_all)
            self._wanted = max(1, min(threads, MOST_THREADS))
            while self._alive < self._wanted and not self._planned_all:
                self._alive += 1
                self._begin(self._work)

    def _begin(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._guarded, args=(target,), name=f"pack-{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait until all is done, many ranges have ended, or so long; True when all is done.

        Raises what a thread has raised.
        """
        with self._lock:
            self._lock.wait_for(
                lambda: self._error is not None or self._all_done() or len(self._ended) >= MOST_ENDED, seconds
            )
            if self._error is not None:
                raise self._error
            return self._all_done()

    def reached(self) -> Reached:
        with self._lock:
            return self._reached

    def ended(self) -> list[JobRange]:
        """Return the ranges whose blocks have all been reached since the last call, in order of the CAR.

        When nobody asks, the line waits.
        """
        with self._lock:
            ended, self._ended = self._ended, []
            self._lock.notify_all()
            return ended

    def synced(self, offset: int) -> None:
        """Tell the line that the CAR is on disk up to here."""
        with self._lock:
            self._synced = max(self._synced, offset)
            self._lock.notify_all()

    def stop(self) -> None:
        """End the threads; returns when they have ended."""
        with self._lock:
            self._stopping = True
            self._lock.notify_all()
        for thread in self._threads:
            thread.join()

    def save(self) -> tuple[Cursor, bytes] | None:
        """Return where another attempt can take up the work, and the tree so far; None: at the start."""
        with self._lock:
            whole = self._reached.offset // SLAB_PAYLOAD
            known = [slab for slab in self._planner.cursors if slab <= whole]
            if not known:
                return None
            best = max(known)
            for slab in known:
                if slab < best:
                    del self._planner.cursors[slab]
            return self._planner.cursors[best], self.slabs.save(best)

    def commitment(self, min_piece_size: int) -> tuple[bytes, int]:
        """Return root and size of the piece, once all is done."""
        size = self._reached.offset
        natural = piece_size_of(size)
        filled = size % SLAB_PAYLOAD
        if natural < SLAB_PIECE_SIZE:
            root = small_root(memoryview(self._seam)[:filled])
        else:
            if filled:
                self._seam[filled:] = bytes(SLAB_PAYLOAD - filled)
                self.slabs.add(size // SLAB_PAYLOAD, self._kernel.slab_roots(self._seam, 0, 1))
            root, natural = self.slabs.root()
        wanted = max(natural, min_piece_size)
        return lift(root, natural, wanted), wanted

    # ---- the threads

    def _guarded(self, target: Callable[[], None]) -> None:
        """Run a thread; what it raises ends all of them."""
        try:
            target()
        except BaseException as error:
            with self._lock:
                if self._error is None:
                    self._error = error
                self._stopping = True
                self._lock.notify_all()

    def _all_done(self) -> bool:
        return self._alive == 0 and not self._unwritten

    def _work(self) -> None:
        spare = bytearray(SLAB_PAYLOAD)
        while (taken := self._take()) is not None:
            spare = self._carry(*taken, spare)
        with self._lock:
            self._alive -= 1
            self._lock.notify_all()

    def _write_all(self) -> None:
        """Write what is made, in the order in which it comes."""
        assert self._car is not None
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._to_write or self._stopping)
                if self._stopping:
                    return
                made = self._to_write.popleft()
            self._car.write(made.pages, made.offset)
            self._finish(made)

    def _take(self) -> tuple[Batch, mmap.mmap] | None:
        """Return the next batch to make and a buffer; None when there is none, or one thread too many."""
        with self._lock:
            self._lock.wait_for(self._may_take)
            if self._stopping or self._planned_all or self._alive > self._wanted:
                return None
            batch = self._planner.next()
            if batch is None:
                self._planned_all = True
                self._lock.notify_all()
                return None
            if not self._free:
                self._free.append(_buffer(self._planner.batch_bytes + PAGE))
                self._buffers += 1
            return batch, self._free.pop()

    def _may_take(self) -> bool:
        if self._stopping or self._planned_all or self._alive > self._wanted:
            return True
        if self._reached.offset - self._synced >= MOST_UNSYNCED or len(self._ended) >= MOST_ENDED:
            return False
        return bool(self._free) or self._buffers < self._wanted + (_SPARE_BUFFERS if self._car is not None else 0)

    def _carry(self, batch: Batch, buffer: mmap.mmap, spare: bytearray) -> bytearray:
        """Take a batch as far as being written; return the seam buffer that is free after it."""
        whole = memoryview(buffer)
        begin = batch.offset % PAGE
        view = whole[begin:]
        self._read(batch, view)
        self._hash_leaves(batch, view)
        with self._lock:
            self._lock.wait_for(lambda: self._stopping or self._turn == batch.number)
            if self._stopping:
                return spare
        slabs = self._in_order(batch, view, spare)
        pages = self._car.join(whole, begin, begin + batch.length) if self._car is not None else whole[:0]
        with self._lock:
            self._turn += 1
            self._lock.notify_all()
        roots = self._kernel.slab_roots(view, slabs.place, slabs.count) if slabs.count else b""
        seam_root = self._kernel.slab_roots(slabs.seam, 0, 1) if slabs.seam is not None else b""
        holes = np.array(batch.places)[:, np.newaxis] + _DIGEST
        digests = np.frombuffer(view, np.uint8)[holes].tobytes()
        made = Made(batch=batch, buffer=buffer, digests=digests, pages=pages, offset=batch.offset - begin)
        with self._lock:
            if slabs.seam is not None:
                self.slabs.add(slabs.seam_number, seam_root)
            if slabs.count:
                self.slabs.add(slabs.number, roots)
            if self._car is not None:
                self._unwritten += 1
                self._to_write.append(made)
                self._lock.notify_all()
        if self._car is None:
            self._finish(made)
        return spare if slabs.seam is None else slabs.seam

    def _read(self, batch: Batch, view: memoryview) -> None:
        """Read the leaves into their slots, and check that the files are what they were when they were scanned."""
        places, lengths = batch.places, batch.lengths
        for run in batch.leaves:
            part, slots, wanted = run.part, [], 0
            for block in range(run.block, run.block + run.count):
                place, length = places[block], lengths[block]
                head = leaf_head(length)
                hole = place - cids.DIGEST_LENGTH
                view[hole - len(head) : hole] = head
                slots.append(view[place : place + length])
                wanted += length
            start = part.offset + run.first * self._profile.chunk_size
            reader = self._storage.reader(self._path_of(part))
            try:
                count = reader.read_into(slots, start) if wanted else 0
                now = reader.stat()
            finally:
                reader.close()
            if part.size >= 0 and now.size != part.size:
                raise _modified(part, f"its size was {part.size} and is {now.size} bytes")
            if now.modified_ns != part.modified_ns:
                raise _modified(part, f"its modification time was {part.modified_ns} and is {now.modified_ns} ns")
            if part.hash and now.hash and now.hash != part.hash:
                raise _modified(part, f"its hash was {part.hash} and is {now.hash}")
            if count != wanted:
                raise _modified(part, f"{count} of {wanted} bytes are there at offset {start}")

    def _hash_leaves(self, batch: Batch, view: memoryview) -> None:
        nodes = [block for tie in batch.ties for block in range(tie.block, tie.block + tie.count)]
        places, lengths = (np.delete(np.array(of, np.int64), nodes) for of in (batch.places, batch.lengths))
        if len(places):
            self._kernel.hash_slots(view, places, lengths, places - cids.DIGEST_LENGTH)

    def _in_order(self, batch: Batch, view: memoryview, spare: bytearray) -> Slabs:
        """Do what has an order; return what is to be hashed of the piece."""
        self._link(batch, view)
        if batch.offset == 0:  # an attempt that goes on at the first block finds the header written
            place = batch.places[0]
            root = bytes(view[place - cids.CID_LENGTH : place])
            view[: car.HEADER_LENGTH] = car.header(root)
        at = self._position - batch.offset  # above 0 only where an earlier attempt has hashed the first bytes
        if at >= batch.length:
            return Slabs()
        seam_number, seam = -1, None
        filled = self._position % SLAB_PAYLOAD
        if filled:
            taken = min(SLAB_PAYLOAD - filled, batch.length - at)
            self._seam[filled : filled + taken] = view[at : at + taken]
            at += taken
            self._position += taken
            if filled + taken == SLAB_PAYLOAD:
                seam_number, seam, self._seam = self._position // SLAB_PAYLOAD - 1, self._seam, spare
        first, number, count = at, self._position // SLAB_PAYLOAD, (batch.length - at) // SLAB_PAYLOAD
        at += count * SLAB_PAYLOAD
        if at < batch.length:
            self._seam[: batch.length - at] = view[at : batch.length]
        self._position = batch.offset + batch.length
        return Slabs(place=first, number=number, count=count, seam=seam, seam_number=seam_number)

    def _link(self, batch: Batch, view: memoryview) -> None:
        """Make the link nodes of this batch; leaves of ranges that go on are kept for a later one."""
        ties = iter(batch.ties)
        tie = next(ties, None)
        for run in batch.leaves:
            if not run.tied:
                continue
            while tie is not None and tie.part.id < run.part.id:
                self._make_nodes(batch, tie, view)
                tie = next(ties, None)
            if run.first == 0:
                self._children = []
            for block in range(run.block, run.block + run.count):
                place = batch.places[block]
                self._children.append(leaf(bytes(view[place - cids.CID_LENGTH : place]), batch.lengths[block]))
        while tie is not None:
            self._make_nodes(batch, tie, view)
            tie = next(ties, None)

    def _make_nodes(self, batch: Batch, tie: Tie, view: memoryview) -> None:
        part = tie.part
        blocks, _ = range_nodes(self._children, part.offset, part.size, self._split, self._profile)
        self._children = []
        for nth, block in zip(range(tie.block, tie.block + tie.count), blocks, strict=True):
            place, length = batch.places[nth], batch.lengths[nth]
            head = node_head(length)
            view[place - cids.DIGEST_LENGTH - len(head) : place] = head + block.cid[cids.PREFIX_LENGTH :]
            view[place : place + length] = block.data

    def _finish(self, made: Made) -> None:
        """Count a batch that is written."""
        self._journal.put(made.batch.block, made.digests)
        with self._lock:
            if self._car is not None:
                self._unwritten -= 1
            self._free.append(made.buffer)
            self._done[made.batch.number] = made.batch
            while (done := self._done.pop(self._next_done, None)) is not None:
                self._next_done += 1
                self._reached = Reached(
                    offset=done.offset + done.length,
                    blocks=done.block + len(done.places),
                    payload=self._reached.payload + done.payload,
                )
                self._ended += done.ended
            self._lock.notify_all()


def _buffer(length: int) -> mmap.mmap:
    """Return a buffer of large pages where the system has them: they are many times cheaper to get."""
    buffer = mmap.mmap(-1, length)
    with suppress(AttributeError, OSError):
        buffer.madvise(mmap.MADV_HUGEPAGE)
    return buffer


def _modified(part: JobRange, what: str) -> ExecutorError:
    return ExecutorError(f"fileRange has been modified: {part.path}, {what}: file has been modified")
