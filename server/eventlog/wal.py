"""The write-ahead log as bytes: whether whole transactions stand behind a frame that is broken.

SQLite takes the frames up to the first whose checksum does not fit, and says nothing of what comes after. A crash leaves at
most the frames of one unfinished transaction there; a whole transaction behind a broken one was acknowledged and is lost. The
format is https://www.sqlite.org/fileformat2.html#walformat: a header of 32 bytes, then frames of 24 bytes and a page each. A
frame's checksum continues the one before it, so behind a broken frame the chain is taken up from the checksum that is there."""

import struct
from pathlib import Path
from typing import NamedTuple

_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_MAGIC = 0x377F0682  # the last bit says that checksums are of big-endian words
_MASK = 0xFFFFFFFF
_MAX_PAGE_BYTES = 65_536

_Sum = tuple[int, int]


class BrokenWal(NamedTuple):
    """The first frame (counted from 1) that cannot be read, and how many whole transactions stand behind its own."""

    frame: int
    transactions: int


class _Frame(NamedTuple):
    is_commit: bool
    salts: bytes
    stored: _Sum
    is_right: bool  # given the checksum that stands in the frame before it


def find_break(path: Path) -> BrokenWal | None:
    """Where a write-ahead log is broken although transactions follow; None when what it lacks was never acknowledged."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(data) < _HEADER_BYTES + _FRAME_HEADER_BYTES:
        return None
    magic, _, page_bytes = struct.unpack_from(">III", data)
    is_big = bool(magic & 1)
    start = _checksum(data[:24], (0, 0), is_big=is_big)
    is_headed = magic & ~1 == _MAGIC and start == struct.unpack_from(">II", data, 24)
    if not is_headed:
        page_bytes, is_big = _guess(data, page_bytes, is_big=is_big)
    if not page_bytes:
        return None
    size = _FRAME_HEADER_BYTES + page_bytes
    count = (len(data) - _HEADER_BYTES) // size
    salts = data[16:24] if is_headed else data[_HEADER_BYTES + 8 : _HEADER_BYTES + 16]
    before = start
    broken_at, is_in_group, whole = 0 if is_headed else 1, is_headed, 0
    group_is_right = True
    for number in range(1, count + 1):
        frame = _frame(data, _HEADER_BYTES + (number - 1) * size, page_bytes, before, is_big=is_big)
        before = frame.stored
        is_ours = frame.salts == salts
        if not broken_at:
            if is_ours and frame.is_right:
                continue
            broken_at = number
            if not is_ours and not _has_more(data, number, count, size, salts):
                return None  # frames of an earlier round
        if is_in_group:  # the rest of the transaction that the broken frame belongs to
            is_in_group = not (is_ours and frame.is_commit)
            group_is_right = True
            continue
        group_is_right = group_is_right and is_ours and frame.is_right
        if frame.is_commit:
            whole += group_is_right
            group_is_right = True
    return BrokenWal(broken_at, whole) if whole else None


def _guess(data: bytes, page_bytes: int, *, is_big: bool) -> tuple[int, bool]:
    """The page size and byte order by which the frames fit each other, for a header that is broken; 0 when none does."""
    sizes = [page_bytes, 4096, *(1 << power for power in range(9, 17))]
    for size in sizes:
        step = _FRAME_HEADER_BYTES + size
        if not 512 <= size <= _MAX_PAGE_BYTES or size & size - 1 or len(data) < _HEADER_BYTES + 2 * step:
            continue
        first = struct.unpack_from(">II", data, _HEADER_BYTES + 16)
        for order in (is_big, not is_big):
            if _frame(data, _HEADER_BYTES + step, size, first, is_big=order).is_right:
                return size, order
    return 0, is_big


def _has_more(data: bytes, number: int, count: int, size: int, salts: bytes) -> bool:
    """Whether a frame of this round follows."""
    places = range(_HEADER_BYTES + number * size + 8, _HEADER_BYTES + count * size, size)
    return any(data[place : place + 8] == salts for place in places)


def _frame(data: bytes, place: int, page_bytes: int, before: _Sum, *, is_big: bool) -> _Frame:
    end = place + _FRAME_HEADER_BYTES
    stored = struct.unpack_from(">II", data, place + 16)
    actual = _checksum(data[place : place + 8], before, is_big=is_big)
    actual = _checksum(data[end : end + page_bytes], actual, is_big=is_big)
    commit = struct.unpack_from(">I", data, place + 4)[0]
    return _Frame(commit != 0, data[place + 8 : place + 16], stored, actual == stored)


def _checksum(data: bytes, before: _Sum, *, is_big: bool) -> _Sum:
    one, two = before
    words = iter(struct.unpack(f"{'>' if is_big else '<'}{len(data) // 4}I", data))
    for word, other in zip(words, words, strict=True):
        one = one + word + two & _MASK
        two = two + other + one & _MASK
    return one, two
