"""`python -m palimp` is the command `palimp`."""

from __future__ import annotations

from .cli import main

if __name__ == "__main__":
    main()
