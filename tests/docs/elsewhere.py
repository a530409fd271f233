"""Which other tests trigger a start that is refused, and by which words."""

from __future__ import annotations

__all__ = ["ELSEWHERE"]

# Log lines, and what takes a database of its own.
ELSEWHERE = {
    "catalog … was new: it has … keys and bindings from … again": (
        "tests/acceptance/test_memtrace_cli.py",
        "was new: it has",
    ),
    "…: … may be changed by releases from writer …": (
        "tests/conformance/test_catalog_journal.py",
        "may be changed by releases from writer 99",
    ),
    "… holds values sealed under a master key, and none is set": (
        "tests/unit/node/test_sealing.py",
        "holds values sealed under a master key",
    ),
    "… has keys wrapped by master key …, and what is set is …": (
        "tests/unit/node/test_sealing.py",
        "has keys wrapped by master key",
    ),
    "… holds sealed values, and its …, which the master key is compared with, is missing": (
        "tests/unit/security/test_keyring.py",
        '"is missing"',
    ),
    "…: the check value of master key … in … does not fit": (
        "tests/unit/security/test_keyring.py",
        "does not fit",
    ),
    "… is not … bytes in base64": (
        "tests/unit/node/test_sealing.py",
        "is not 32 bytes in base64",
    ),
    "… holds … keys; give 1 to …": (
        "tests/unit/node/test_sealing.py",
        "holds 0 keys",
    ),
    "… holds one key twice": (
        "tests/unit/security/test_keyring.py",
        "holds one key twice",
    ),
    "a master key comes from one place; set one of …": (
        "tests/unit/node/test_sealing.py",
        "comes from one place",
    ),
    "… is not a key in base64": (
        "tests/unit/node/test_sealing.py",
        "is not a key in base64",
    ),
    "… gives more than … bytes; it is no master key": (
        "tests/unit/node/test_sealing.py",
        "gives more than 65,536 bytes",
    ),
    "… is not a command line: …": (
        "tests/unit/node/test_sealing.py",
        "is not a command line",
    ),
    "… is empty; give a command that prints the master key": (
        "tests/unit/node/test_sealing.py",
        '"is empty"',
    ),
    "…: … cannot be run: …": (
        "tests/unit/node/test_sealing.py",
        "cannot be run",
    ),
    "… ended with status …; run it by hand to see why": (
        "tests/unit/node/test_sealing.py",
        "ended with status 3; run it by hand",
    ),
    "… did not end within … s": (
        "tests/unit/node/test_sealing.py",
        "did not end within",
    ),
    "… is alive on … already: --workers is for the nodes of one machine": (
        "tests/processes/test_workers.py",
        "is alive on file://",
    ),
    "… is served by several workers of process …": (
        "tests/processes/test_workers.py",
        "is served by several workers of process",
    ),
    "catalog … has been migrated by another process for … s": (
        "tests/conformance/test_catalog.py",
        "migrated by another process for",
    ),
    "starting without a catalog: …": (
        "tests/conformance/test_catalog.py",
        "starting without a catalog",
    ),
}
