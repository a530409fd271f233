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
from ..engine.local import HOT_CAP_DEFAULT
from ..errors import Invalid

__all__ = ["ENVIRONMENT_ONLY", "PREFIX", "SETTINGS", "Settings", "load_settings"]

PREFIX = "PALIMP_"
# Names that decide where the other settings come from, so they cannot stand among them.
ENVIRONMENT_ONLY = {
    "config": "Path of a TOML file with settings, lower-case names at its top level."
}


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set."""

    data_dir: str = "./memory"
    source: str | None = None
    embed_provider: Literal["bundled", "none"] = "bundled"
    hot_cap: int = HOT_CAP_DEFAULT


# What each setting means, for `--help` and the reference.
SETTINGS: dict[str, str] = {
    "data_dir": "Folder that holds the memories; made when it does not exist.",
    "source": "Stamped on every memory this client writes that names no source of its own.",
    "embed_provider": "`bundled`: the static model in the package. `none`: no vectors of ours.",
    "hot_cap": "How many profiles are kept open; each takes up to 6 file descriptors.",
}
_NUMBERS = {"hot_cap": (1, 100_000)}


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
