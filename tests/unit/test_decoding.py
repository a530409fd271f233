"""Decoding into types."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from palimp.decoding import from_json, from_msgpack, from_plain, json_decoder

# Each round has types of its own, which twelve threads are the first to decode.
_FIRST = """
import sys, threading
import msgspec
from palimp.decoding import from_json, from_plain
sys.setswitchinterval(1e-6)
for _ in range(150):
    inner = msgspec.defstruct("Inner", [("a", int), ("b", str | None, None)])
    outer = msgspec.defstruct("Outer", [("x", inner), ("y", list[inner]), ("z", dict[str, inner])])
    said, barrier = b'{"x":{"a":1},"y":[{"a":1}],"z":{"q":{"a":2}}}', threading.Barrier(12)
    def decode(number):
        barrier.wait()
        for _ in range(2):
            if number % 3 == 0:
                assert from_json(b'{"a":5}', inner).a == 5
            elif number % 3 == 1:
                assert from_json(said, outer).y[0].a == 1
            else:
                assert from_plain({"x": {"a": 1}, "y": [], "z": {}}, outer).x.a == 1
    threads = [threading.Thread(target=decode, args=(number,)) for number in range(12)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
"""


def test_threads_that_are_the_first_to_decode_a_type_do_not_end_the_process() -> None:
    """With `msgspec.json.decode` in its place this ends with SIGSEGV (three of three tries)."""
    done = subprocess.run([sys.executable, "-c", _FIRST], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


class _Row(msgspec.Struct):
    a: int
    b: tuple[str, ...] = ()


def test_it_decodes_as_msgspec_does() -> None:
    row = _Row(1, ("x",))
    assert from_json(b'{"a":1,"b":["x"]}', _Row) == row
    assert from_msgpack(msgspec.msgpack.encode(row), _Row) == row
    assert from_plain({"a": 1, "b": ["x"]}, _Row) == row
    assert from_json("[1]", list[int]) == [1]
    assert from_json(b'{"a":"1"}', _Row, strict=False) == _Row(1)
    assert from_plain({"a": "1"}, _Row, strict=False) == _Row(1)
    assert json_decoder(_Row).decode(b'{"a":1}') == _Row(1)
    with pytest.raises(msgspec.ValidationError, match="Expected `int`"):
        from_json(b'{"a":"1"}', _Row)
    with pytest.raises(msgspec.DecodeError):
        from_json(b"{", _Row)
