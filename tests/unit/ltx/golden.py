"""Makes the files in golden/ from the specification, with struct and by hand.

    python tests/unit/ltx/golden.py

Only the CRC and nothing else is taken from independent.py; no byte comes from palimp. Pages of
`noise` have no four bytes twice, so LZ4 can only store them: token F0, length, the page itself.
"""

import runpy
import struct
from pathlib import Path

HERE = Path(__file__).parent
crc64 = runpy.run_path(str(HERE / "independent.py"))["crc64"]
TOP = 1 << 63
SIZE = 512


def noise(seed):
    """512 bytes of a generator of 32 bits, in which no four bytes come twice."""
    out = bytearray()
    state = seed
    while len(out) < SIZE:
        state = (state * 1_664_525 + 1_013_904_223) % (1 << 32)
        out.append(state >> 24)
    fours = [bytes(out[n : n + 4]) for n in range(SIZE - 3)]
    assert len(set(fours)) == len(fours)
    return bytes(out)


def stored(page):
    # 512 literals: 15 in the token, 255, and 242.
    return b"\xf0" + bytes((255, 242)) + page


# 512 zeros as LZ4 writes them: one literal, a match of 15 + 4 + 255 + 232 = 506 at distance 1,
# and the five last bytes, which always are literals.
ZEROS = b"\x1f" + b"\x00" + b"\x01\x00" + b"\xff\xe8" + b"\x50" + bytes(5)
# The same, the match twice as far: two literals, 505 from distance 2. Right, but not what LZ4 makes.
ZEROS_OTHERWISE = b"\x2f" + b"\x00\x00" + b"\x02\x00" + b"\xff\xe7" + b"\x50" + bytes(5)


def page_sum(pgno, page):
    return crc64(struct.pack(">I", pgno) + page) | TOP


def varint(value):
    out = b""
    while value > 127:
        out += bytes((value % 128 + 128,))
        value //= 128
    return out + bytes((value,))


def build(fields, frames, after):
    """`fields` after the magic, in order; `frames` are (number, page, block)."""
    header = b"LTX1" + struct.pack(">IIIQQQQQQIIQ", *fields) + bytes(20)
    assert len(header) == 100
    body, covered, index = header, header, b""
    for pgno, page, block in frames:
        start = struct.pack(">IHI", pgno, 1, len(block))
        index += varint(pgno) + varint(len(body)) + varint(len(start + block))
        body += start + block
        covered += start + page
    index += b"\x00"
    end = bytes(6) + index + struct.pack(">Q", len(index)) + struct.pack(">Q", after)
    return body + end + struct.pack(">Q", crc64(covered + end) | TOP)


A, B, C, D = (noise(seed) for seed in (1, 2, 3, 5))
ZERO = bytes(SIZE)
ONE_AND_TWO = (page_sum(1, A) ^ page_sum(2, B)) | TOP
# Page 2 becomes C, page 3 is zeros, page 4 is D.
AFTER = (page_sum(1, A) ^ page_sum(2, C) ^ page_sum(3, ZERO) ^ page_sum(4, D)) | TOP
NONE = (0, 0, 0, 0)

FILES = {
    # flags, page size, pages, first and last txid, time, checksum before, WAL fields, node
    "snapshot": build(
        (0, SIZE, 2, 1, 3, 1_767_225_600_000, 0, *NONE, 0),
        [(1, A, stored(A)), (2, B, stored(B))],
        ONE_AND_TWO,
    ),
    "segment": build(
        (0, SIZE, 4, 4, 4, 1_767_225_600_001, ONE_AND_TWO, 4_152, 1_100, 7, 8, 9),
        [(2, C, stored(C)), (3, ZERO, ZEROS), (4, D, stored(D))],
        AFTER,
    ),
    "compacted": build(
        (0, SIZE, 4, 1, 4, 1_767_225_600_001, 0, *NONE, 0),
        [(1, A, stored(A)), (2, C, stored(C)), (3, ZERO, ZEROS), (4, D, stored(D))],
        AFTER,
    ),
    "deleted": build((0, SIZE, 0, 5, 9, 0, AFTER, *NONE, 0), [], TOP),
    "empty-snapshot": build((0, 65_536, 0, 1, 1, 0, 0, *NONE, 0), [], TOP),
    "no-checksums": build(
        (2, SIZE, 300, 2, 2, 0, 0, *NONE, 0), [(7, A, stored(A)), (299, B, stored(B))], 0
    ),
    "foreign": build(
        (0, SIZE, 1, 1, 1, 0, 0, *NONE, 0), [(1, ZERO, ZEROS_OTHERWISE)], page_sum(1, ZERO)
    ),
}

if __name__ == "__main__":
    (HERE / "golden").mkdir(exist_ok=True)
    for name, data in FILES.items():
        (HERE / "golden" / f"{name}.ltx").write_bytes(data)
        print(f"{name}.ltx {len(data)}")
