"""Plugins of governance: packages of Python that are asked before and after a run.

A package is checked (`manifest`, `package`), kept and bound (`register`), and run in a process of
its own with limits (`runner`, `child`). What a run of governance sees of it is in `strategy`.
Nothing here is imported where no plugin is bound.
"""

from __future__ import annotations
