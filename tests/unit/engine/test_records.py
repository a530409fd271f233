"""What threads that come first find of the records."""

from __future__ import annotations

import subprocess
import sys

# What a type refers to, once msgspec knows how to decode it.
_PREPARED = """
import gc
from palimp.engine.protocol import records
kinds = records._Record.__subclasses__()
raw = [one for one in kinds if not any("StructInfo" in str(type(r)) for r in gc.get_referents(one))]
assert len(kinds) == 9, kinds
assert not raw, raw
"""


def test_no_two_threads_are_the_first_to_decode_one() -> None:
    """In msgspec 0.22 that crashes: who took over a folder did so once in many times."""
    done = subprocess.run([sys.executable, "-c", _PREPARED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
