"""Power loss: what was answered is there after it, whatever of the rest the disk kept.

POWER_SEEDS=2000 python -m pytest tests/power                            more of them
POWER_FIRST_SEED=4711 POWER_SEEDS=1 python -m pytest tests/power         replay one
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from crashes import run_seed, undetected
from workloads import History, Memories, Objects, Workload

SEEDS = int(os.environ.get("POWER_SEEDS", "12"))
FIRST_SEED = int(os.environ.get("POWER_FIRST_SEED", "0"))
MUTANT_SEEDS = 60
WORKLOADS: dict[str, Callable[[], Workload]] = {
    "objects": Objects,
    "memories": Memories,
    "store elsewhere": partial(Memories, elsewhere=True),
    "history": History,
}
_FILE = {
    "SQLite, main.db-journal": "of a file that is being made, which nobody knows yet",
    "SQLite, main.db-journal, its folder": "of a file that is being made, which nobody knows yet",
    "engine/files.py make_current: sync_path(path.parent)": (
        "SQLite syncs that folder with the log's first sync, so before the first answer"
    ),
    "engine/files.py new_incarnation: make_folders(folder, self._root)": (
        "`current` is written, and synced, into the same folder"
    ),
}
# Of a store in the folder itself.
_STORE_INSIDE = {
    "node/folder.py _claim: sync_path(self.path)": "the store syncs that folder right after",
    'store/directory.py __init__: self._files.sync_folder(self._root.rpartition("/")[0] or "/")': (
        "the folder's mark is written, and synced, beside the store right after; "
        "where it was written before, `_claim` syncs the folder"
    ),
}
_DEATH = {
    'store/stripes.py _settle: self._files.sync_folder(f"{self._root}/{folder}" if folder else '
    "self._root)": (
        "only the name of the store's id is left unsynced here, by who dies opening the folder; "
        "what is made beside it with the first memory syncs it before the first answer"
    ),
}
# Lines that sync and can be left out, one at a time, because something else does it too.
REDUNDANT: dict[str, dict[str, str]] = {
    "objects": {},
    "memories": {**_FILE, **_STORE_INSIDE, **_DEATH},
    "store elsewhere": {**_FILE, **_DEATH},
    "history": {
        **_FILE,
        **_STORE_INSIDE,
        "store/directory.py delete: self._files.sync_folder(self._folder(key))": (
            "only what no manifest names is deleted; what comes back is collected again"
        ),
    },
}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: hundreds of small files are made for every crash."""
    memory = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(dir=memory)) if os.access(memory, os.W_OK) else tmp_path
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("name", WORKLOADS)
def test_what_was_answered_survives(name: str, place: Path) -> None:
    crashes = 0
    for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
        folder = place / str(seed)
        folder.mkdir()
        crashes += run_seed(WORKLOADS[name](), seed, folder)
        shutil.rmtree(folder)
    print(f"{name}: seeds {FIRST_SEED} to {FIRST_SEED + SEEDS - 1}, {crashes} crashes")


@pytest.mark.parametrize("name", WORKLOADS)
def test_no_sync_can_be_left_out(name: str, place: Path) -> None:
    seen, left = undetected(WORKLOADS[name], range(MUTANT_SEEDS), place, REDUNDANT[name])
    print(f"{name}: {len(seen)} lines sync, {len(seen - left)} are missed when they do not")
    assert not left - REDUNDANT[name].keys(), "no seed notices that these do not sync"
    assert not (seen - left) & REDUNDANT[name].keys(), "needed after all"
