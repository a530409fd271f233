"""Make `client/_sync` from `client/_async`: the body of the client is written once.

python scripts/unasync.py            write the files
python scripts/unasync.py --check    say which are not up to date, exit 1
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

CLIENT = Path(__file__).resolve().parent.parent / "src" / "palimp" / "client"
HEADER = "# Made from client/_async by scripts/unasync.py; change it there.\n"
# What the asynchronous form begins with `Async`, and the synchronous one does not.
NAMES = (
    "Annotating",
    "Client",
    "Control",
    "Documents",
    "DocumentsReading",
    "ErasureJob",
    "Events",
    "EventsReading",
    "KeySpace",
    "KeySpaceReading",
    "Lifecycle",
    "Merging",
    "PastProfile",
    "Profile",
    "ProfileGovernance",
    "Reading",
    "Relations",
    "RelationsReading",
    "ReviewBranch",
    "Session",
    "Transcript",
    "Transport",
    "Vectors",
    "VectorsReading",
)
REPLACEMENTS = (
    (r"\basync def\b", "def"),
    (r"\basync with\b", "with"),
    (r"\basync for\b", "for"),
    (r"\bawait ", ""),
    (r"\b__aenter__\b", "__enter__"),
    (r"\b__aexit__\b", "__exit__"),
    (r"\bAsyncIterator\b", "Iterator"),
    (rf"\bAsync({'|'.join(NAMES)})\b", r"\1"),
    (r"\bshare between threads and tasks\b", "share between threads"),
)


def synchronous(text: str) -> str:
    """Return the synchronous form of an asynchronous module."""
    for pattern, replacement in REPLACEMENTS:
        text = re.sub(pattern, replacement, text)
    return HEADER + text


def main() -> int:
    """Write or check every module."""
    check = "--check" in sys.argv[1:]
    stale = []
    for source in sorted((CLIENT / "_async").glob("*.py")):
        target = CLIENT / "_sync" / source.name
        wanted = synchronous(source.read_text("utf-8"))
        if not target.exists() or target.read_text("utf-8") != wanted:
            stale.append(target.name)
            if not check:
                target.parent.mkdir(exist_ok=True)
                target.write_text(wanted, "utf-8")
    if check and stale:
        print(f"not up to date: {', '.join(stale)}; run python scripts/unasync.py")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
