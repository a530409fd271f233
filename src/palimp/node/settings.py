"""Settings: one frozen struct, read from keywords, then `PALIMP_*`, then a TOML file.

Each setting stands once, in `SETTINGS`; its environment name is `PALIMP_` and its name in capitals.
An unknown name stops the start and names the nearest known one, so that a misspelt setting is never
silently without effect.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..api.convert import nearest
from ..engine import Options
from ..errors import Invalid

__all__ = ["ENVIRONMENT_ONLY", "PREFIX", "SETTINGS", "Settings", "load_settings"]

PREFIX = "PALIMP_"
# Names that decide where the other settings come from, so they cannot stand among them.
ENVIRONMENT_ONLY = {
    "config": "Path of a TOML file with settings, lower-case names at its top level."
}


_ENGINE = Options()


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set."""

    data_dir: str = "./memory"
    source: str | None = None
    embed_provider: Literal["bundled", "none"] = "bundled"
    object_store: str | None = None
    node_id: str | None = None
    durability: Literal["local", "durable"] = "local"
    ship_interval: float = _ENGINE.ship_interval
    ship_backlog_bytes: int = _ENGINE.backlog_bytes
    write_queue_depth: int = _ENGINE.queue_depth
    store_timeout: float = _ENGINE.patience
    hot_cap: int = _ENGINE.hot_cap
    hot_idle_secs: float = _ENGINE.hot_idle
    warm_idle_secs: float = _ENGINE.warm_idle
    cache_bytes: int = 64 << 20
    past_cache_bytes: int = _ENGINE.past_budget
    disk_budget_bytes: int = _ENGINE.disk_budget
    disk_reserve_bytes: int = _ENGINE.disk_reserve
    pitr_retention_secs: int = _ENGINE.fine_ms // 1000
    pitr_snapshot_retention_secs: int = _ENGINE.snapshots_ms // 1000

    def engine_options(self) -> Options:
        """Return what concerns the engine, in its units."""
        return Options(
            ship_interval=self.ship_interval,
            backlog_bytes=self.ship_backlog_bytes,
            queue_depth=self.write_queue_depth,
            patience=self.store_timeout,
            hot_cap=self.hot_cap,
            hot_idle=self.hot_idle_secs,
            warm_idle=self.warm_idle_secs,
            past_budget=self.past_cache_bytes,
            disk_budget=self.disk_budget_bytes,
            disk_reserve=self.disk_reserve_bytes,
            fine_ms=self.pitr_retention_secs * 1000,
            snapshots_ms=self.pitr_snapshot_retention_secs * 1000,
        )


# What each setting means, for `--help` and the reference.
SETTINGS: dict[str, str] = {
    "data_dir": "Folder that holds the memories; made when it does not exist.",
    "source": "Stamped on every memory this client writes that names no source of its own.",
    "embed_provider": "`bundled`: the static model in the package. `none`: no vectors of ours.",
    "object_store": "Where the history is: `file:///path`, `s3://`, `gs://`, `az://` (extra "
    "`cloud`) or `mem://` (tests). Without it: the folder `objects` in `data_dir`.",
    "node_id": "The name of this node in manifests and messages; else one made with the folder.",
    "durability": "What a write is that does not say: `local` survives the process and a power "
    "cut, `durable` also the loss of this machine.",
    "ship_interval": "Seconds after which what was written is stored in the object store.",
    "ship_backlog_bytes": "Above so many bytes that wait for the store, writes are refused.",
    "write_queue_depth": "How many writes may wait for one branch; one more is refused.",
    "store_timeout": "Seconds a call waits for an object store that does not answer.",
    "hot_cap": "How many branches are kept open; each takes 5 file descriptors.",
    "hot_idle_secs": "Seconds without use after which a branch is closed.",
    "warm_idle_secs": "Seconds without use after which its local file goes; the store has it.",
    "cache_bytes": "Memory for pages of all open branches together.",
    "past_cache_bytes": "Disk space for restored earlier states.",
    "disk_budget_bytes": "Disk space for local files; the longest unused go first. 0: no limit.",
    "disk_reserve_bytes": "With less free space than this, writes are refused.",
    "pitr_retention_secs": "Seconds for which every boundary can be read and returned to.",
    "pitr_snapshot_retention_secs": "Seconds for which the last snapshot of each day can be.",
}
_NUMBERS: dict[str, tuple[float, float]] = {
    "ship_interval": (0.01, 3_600),
    "ship_backlog_bytes": (1 << 20, 1 << 50),
    "write_queue_depth": (1, 100_000),
    "store_timeout": (0.1, 3_600),
    "hot_cap": (1, 100_000),
    "hot_idle_secs": (0.1, 1 << 31),
    "warm_idle_secs": (0.1, 1 << 31),
    "cache_bytes": (1 << 20, 1 << 50),
    "past_cache_bytes": (0, 1 << 50),
    "disk_budget_bytes": (0, 1 << 60),
    "disk_reserve_bytes": (0, 1 << 60),
    "pitr_retention_secs": (0, 1 << 31),
    "pitr_snapshot_retention_secs": (0, 1 << 31),
}


def load_settings(
    keywords: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """Return the settings; keywords win over the environment, that over the TOML file.

    Raises `Invalid` for an unknown name (naming the nearest) and for a value that does not fit.
    """
    variables = os.environ if environment is None else environment
    found: dict[str, tuple[Any, str]] = {}
    from_environment = _environment(variables)
    config = from_environment.pop("config", None)
    if config is not None:
        found.update(_toml(Path(config)))
    found.update(
        {name: (value, f"{PREFIX}{name.upper()}") for name, value in from_environment.items()}
    )
    for name, value in (keywords or {}).items():
        _known(name, name, list(SETTINGS))
        found[name] = (value, f"setting {name}")
    return _checked(found)


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    names = {f"{PREFIX}{name.upper()}": name for name in (*SETTINGS, *ENVIRONMENT_ONLY)}
    found = {}
    for variable, value in variables.items():
        if variable.startswith(PREFIX):
            _known(variable, variable, list(names))
            # Set but empty means not set: how one un-sets a variable in a compose file.
            if value:
                found[names[variable]] = value
    return found


def _toml(path: Path) -> dict[str, tuple[Any, str]]:
    import tomllib  # 8 ms that only a settings file should cost

    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{PREFIX}CONFIG: {path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"{PREFIX}CONFIG: {path} is not TOML: {error}") from error
    for name in values:
        _known(name, f"{path}: {name}", list(SETTINGS))
    return {name: (value, f"{path}: {name}") for name, value in values.items()}


def _known(name: str, shown: str, known: list[str]) -> None:
    if name not in known:
        raise Invalid(
            f"unknown setting {shown}{nearest(name, known)}; known are {', '.join(sorted(known))}"
        )


def _checked(found: Mapping[str, tuple[Any, str]]) -> Settings:
    values = {}
    for name, (value, shown) in found.items():
        plain = os.fspath(value) if isinstance(value, os.PathLike) else value
        try:
            # Not strict: an environment variable is text, also where a number is meant.
            one = msgspec.convert({name: plain}, Settings, strict=False)
        except msgspec.ValidationError as error:
            reason = str(error).partition(" - at")[0]
            raise Invalid(f"{shown} is {value!r:.80}: {reason[:1].lower()}{reason[1:]}") from error
        values[name] = getattr(one, name)
        least, most = _NUMBERS.get(name, (None, None))
        if least is not None and most is not None and not least <= values[name] <= most:
            raise Invalid(f"{shown} is {values[name]:,}; give {least:,} to {most:,}")
    return Settings(**values)
