"""How `palimp memtrace` is set: as that system is, with its file, its names and its defaults.

Its names in the environment mean the same to every node (`aliases`); what is only here is its TOML
file and where it looks for it, the folder it works on, and what it says of a master key.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..errors import Invalid
from .aliases import ALIASES, DIALECTS, aliased
from .settings import Settings, load_settings

__all__ = ["FILE", "at_a_port", "memtrace_settings", "unread_in_file"]

FILE = "memtrace.toml"
_PREFIX = DIALECTS["memtrace"]
_MASTER = f"{_PREFIX}MASTER_KEY"
_MASTER_BYTES = 32


def memtrace_settings(
    keywords: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """Return the settings of `palimp memtrace`; those of its file lie below all others.

    Its folder is named by `memtrace_db_path` unless it is set. Raises as `load_settings`, and
    `Invalid` for a file that is no TOML, or holds the master key.
    """
    variables = os.environ if environment is None else environment
    # Our own API has no port unless it is given one.
    below: dict[str, tuple[Any, str]] = {"listen": ("", "the default")}
    below["single_node"] = _alone(variables), "the default"
    path, said = _file(variables)
    if _MASTER in said:
        raise Invalid(f"{path} holds a master key, which is read from {_MASTER} only; take it out")
    for setting, value, variable in aliased(said):
        below[setting] = value, f"{path}: {_word(variable)}"
    found = load_settings(keywords, variables, below)
    folder = Path(found.memtrace_db_path).expanduser()
    below["data_dir"] = str(folder.with_suffix("")), "memtrace_db_path"
    return load_settings(keywords, variables, below)


def unread_in_file(environment: Mapping[str, str] | None = None) -> list[str]:
    """Return what is in the file and means nothing here, each with where it stands."""
    path, said = _file(os.environ if environment is None else environment)
    known = {alias.variable for alias in ALIASES}
    return [f"{path}: {_word(one)}" for one in sorted(said) if one not in known]


def at_a_port(settings: Settings, variable: str, program: str) -> Settings:
    """Return the settings of a node that serves that system's clients at a port of their own.

    They are asked for a key unless it is said that they are not. Raises `Invalid`, in that system's
    words, where there is no master key; `variable` is how it is called there, and `program` what
    makes one.
    """
    _check_master_key(settings, variable, program)
    asks = settings.memtrace_auth is not False
    return msgspec.structs.replace(settings, memtrace_auth=asks)


def _check_master_key(settings: Settings, variable: str, program: str) -> None:
    if settings.master_key is None:
        if settings.seals:
            # From a file or a command: it is looked at where it is read.
            return
        raise Invalid(f"{variable} is not set; generate one with `{program} keygen master`")
    for part in settings.master_key.split(","):
        try:
            key = base64.b64decode(part.strip(), validate=True)
        except (binascii.Error, ValueError) as error:
            raise Invalid(f"{variable} is not valid base64: {error}") from error
        if len(key) != _MASTER_BYTES:
            raise Invalid(f"master key must be {_MASTER_BYTES} bytes, got {len(key)}")


def _alone(variables: Mapping[str, str]) -> bool:
    """Whether it is the only node on its store, as that system always is: unless it is told."""
    return not any(variables.get(f"PALIMP_{name}") for name in ("LEASES", "ETCD"))


def _file(variables: Mapping[str, str]) -> tuple[Path, dict[str, str]]:
    """Return the first file there is, and what it says, by the names of the environment."""
    home = variables.get("HOME")
    folders = [Path(), Path("/etc/memtrace"), *([Path(home) / ".memtrace"] if home else [])]
    for folder in folders:
        path = folder / FILE
        if path.is_file():
            return path, dict(_flat(_read(path), path))
    return Path(FILE), {}


def _read(path: Path) -> dict[str, Any]:
    import tomllib  # 8 ms that only a settings file should cost

    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{path} holds settings that cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"{path} is not TOML: {error}") from error


def _flat(values: Mapping[str, Any], path: Path) -> Iterator[tuple[str, str]]:
    for section, inner in values.items():
        if not isinstance(inner, dict):
            yield _variable(section), _text(inner)
            continue
        for key, value in inner.items():
            if isinstance(value, dict | list):
                raise Invalid(f"{path}: {section}.{key} is {value!r:.80}; give text or a number")
            yield _variable(f"{section}_{key}"), _text(value)


def _variable(word: str) -> str:
    return _PREFIX + word.upper()


def _word(variable: str) -> str:
    """Return how a name of the environment stands in the file."""
    return variable.removeprefix(_PREFIX).lower().replace("_", ".", 1)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
