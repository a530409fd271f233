"""A second reader of LTX version 3, written from the specification alone.

Nothing of palimp, lz4 or fastcrc is in it: plain Python, one byte at a time, so that an error the
encoder and the decoder share does not stay hidden. Loaded with `runpy.run_path`.
"""

LOCK_BYTE = 0x40000000
TOP_BIT = 1 << 63
# x^64 + x^4 + x^3 + x + 1, bits reversed.
POLYNOMIAL = 0xD800000000000000
HEADER_FIELDS = [
    # name, offset, size
    ("flags", 4, 4),
    ("page_size", 8, 4),
    ("commit", 12, 4),
    ("min_txid", 16, 8),
    ("max_txid", 24, 8),
    ("timestamp_ms", 32, 8),
    ("pre_apply_checksum", 40, 8),
    ("wal_offset", 48, 8),
    ("wal_size", 56, 8),
    ("wal_salt_1", 64, 4),
    ("wal_salt_2", 68, 4),
    ("node_id", 72, 8),
]


class Refused(Exception):
    pass


def require(condition, what):
    if not condition:
        raise Refused(what)


def _table():
    found = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
        found.append(value)
    return found


TABLE = _table()


def crc64(data):
    value = (1 << 64) - 1
    for byte in data:
        value = TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ (1 << 64) - 1


def unlz4(block):
    """Sequences of: token, literal length, literals, offset, match length; the last has no match."""
    out = bytearray()
    at = 0

    def length(nibble):
        nonlocal at
        total = nibble
        if nibble == 15:
            while True:
                byte = block[at]
                at += 1
                total += byte
                if byte != 255:
                    break
        return total

    try:
        while True:
            token = block[at]
            at += 1
            literals = length(token >> 4)
            require(at + literals <= len(block), "literals beyond the block")
            out += block[at : at + literals]
            at += literals
            if at == len(block):
                return bytes(out)
            offset = block[at] | block[at + 1] << 8
            at += 2
            require(0 < offset <= len(out), "match before the start")
            for _ in range(length(token & 15) + 4):
                out.append(out[-offset])
    except IndexError:
        raise Refused("block ends early") from None


def number(data, offset, size):
    require(offset + size <= len(data), "cut off")
    return int.from_bytes(data[offset : offset + size], "big")


def page_sum(pgno, page):
    return crc64(pgno.to_bytes(4, "big") + page) | TOP_BIT


def database_sum(pages):
    """Of a dict of all pages but the lock page."""
    total = TOP_BIT
    for pgno, page in pages.items():
        total = (total ^ page_sum(pgno, page)) | TOP_BIT
    return total


def read_header(data):
    require(data[:4] == b"LTX1", "magic")
    header = {name: number(data, offset, size) for name, offset, size in HEADER_FIELDS}
    require(header["flags"] in (0, 2), "flags")
    require(header["page_size"] in [512 << n for n in range(8)], "page size")
    require(1 <= header["min_txid"] <= header["max_txid"], "txids")
    if header["min_txid"] == 1 or header["flags"] == 2:
        require(header["pre_apply_checksum"] == 0, "pre-apply checksum where there is none")
    else:
        require(header["pre_apply_checksum"] & TOP_BIT, "pre-apply checksum")
    if header["wal_offset"] == 0:
        rest = header["wal_size"], header["wal_salt_1"], header["wal_salt_2"]
        require(rest == (0, 0, 0), "WAL fields without an offset")
    require(data[80:100] == bytes(20), "reserved")
    return header


def read(data, lock_byte=LOCK_BYTE):
    """Return header, pages, index and trailer, or raise `Refused`."""
    data = bytes(data)
    header = read_header(data)
    size = header["page_size"]
    lock = lock_byte // size + 1
    covered = bytearray(data[:100])
    pages, index = {}, []
    at, previous = 100, 0
    while data[at : at + 6] != bytes(6):
        pgno, flags, stored = number(data, at, 4), number(data, at + 4, 2), number(data, at + 6, 4)
        require(flags == 1, "page flags")
        require(previous < pgno <= header["commit"] and pgno != lock, "page order")
        block = data[at + 10 : at + 10 + stored]
        require(len(block) == stored, "cut off")
        page = unlz4(block)
        require(len(page) == size, "page size")
        covered += data[at : at + 10] + page
        pages[pgno] = page
        index.append((pgno, at, 10 + stored))
        at, previous = at + 10 + stored, pgno
    if header["min_txid"] == 1:
        wanted = [n for n in range(1, header["commit"] + 1) if n != lock]
        require(list(pages) == wanted, "a snapshot has every page")
    covered += data[at : at + 6]
    at += 6
    index_start = at
    stored_index = []
    while True:
        pgno, at = varint(data, at)
        if pgno == 0:
            break
        offset, at = varint(data, at)
        length, at = varint(data, at)
        stored_index.append((pgno, offset, length))
    require(stored_index == index, "index")
    require(number(data, at, 8) == at - index_start, "index size")
    at += 8
    covered += data[index_start:at]
    after, sealed = number(data, at, 8), number(data, at + 8, 8)
    covered += data[at : at + 8]
    require(at + 16 == len(data), "length")
    require(sealed == crc64(covered) | TOP_BIT, "file checksum")
    require(after == 0 if header["flags"] == 2 else after & TOP_BIT, "post-apply checksum")
    if header["min_txid"] == 1 and header["flags"] == 0:
        require(after == database_sum(pages), "database checksum")
    return header, pages, index, (after, sealed)


def varint(data, at):
    value = shift = 0
    while True:
        require(at < len(data), "cut off")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def apply(image, data, lock_byte=LOCK_BYTE):
    """Return a dict of all pages of the database after the segment."""
    header, pages, _, (after, _) = read(data, lock_byte)
    lock = lock_byte // header["page_size"] + 1
    if header["min_txid"] != 1 and header["flags"] == 0:
        require(database_sum(image) == header["pre_apply_checksum"], "database before it")
    zeros = bytes(header["page_size"])
    found = {
        n: pages.get(n, image.get(n, zeros)) for n in range(1, header["commit"] + 1) if n != lock
    }
    if header["flags"] == 0:
        require(database_sum(found) == after, "database after it")
    return found
