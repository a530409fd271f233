"""The pages of a segment whose bytes are known: the same as a full decode, in the same order."""

from __future__ import annotations

import pytest

from palimp import ltx
from palimp.errors import Internal

from . import golden


@pytest.mark.parametrize(
    "name", ["snapshot", "segment", "compacted", "empty-snapshot", "no-checksums"]
)
def test_it_gives_the_pages_a_full_decode_gives(name: str) -> None:
    data = golden.FILES[name]
    segment = ltx.decode(data)
    assert dict(ltx.trusted_pages(data, segment.header)) == segment.pages
    assert [pgno for pgno, _ in ltx.trusted_pages(data, segment.header)] == sorted(segment.pages)


def test_what_is_no_page_is_an_error_all_the_same() -> None:
    data = bytearray(golden.FILES["segment"])
    header = ltx.decode(bytes(data)).header
    # The length of the first frame.
    data[106:110] = (1).to_bytes(4, "big")
    with pytest.raises(Internal, match="is not one page"):
        list(ltx.trusted_pages(bytes(data), header))
