"""Every limit of a request, by name. A request over a limit is refused, never silently cut."""

from __future__ import annotations

__all__ = [
    "ABBREVIATION_BYTES_MAX",
    "BATCH_ITEMS_MAX",
    "CONTENT_BYTES_MAX",
    "DERIVED_FROM_MAX",
    "EMBEDDING_DIMENSIONS_MAX",
    "FILTER_VALUES_MAX",
    "IMPORT_BYTES_MAX",
    "KEYWORDS_BYTES_MAX",
    "K_DEFAULT",
    "K_MAX",
    "LABEL_BYTES_MAX",
    "METADATA_BYTES_MAX",
    "PAGE_DEFAULT",
    "PAGE_MAX",
    "QUERY_BYTES_MAX",
    "TAGS_MAX",
    "TASK_TTL_DEFAULT_SECONDS",
    "TEXT_BYTES_MAX",
    "TTL_SECONDS_MAX",
    "WINDOW_MAX",
]

BATCH_ITEMS_MAX = 1_000
TEXT_BYTES_MAX = 1_048_576
CONTENT_BYTES_MAX = 1_048_576
METADATA_BYTES_MAX = 65_536
KEYWORDS_BYTES_MAX = 8_192
# Topics, sessions, sources, agents, speakers, projects, environments, kinds, dedup keys.
LABEL_BYTES_MAX = 512
# Words that say how a row is handled: trust.
ABBREVIATION_BYTES_MAX = 64
TAGS_MAX = 64
DERIVED_FROM_MAX = 1_000
EMBEDDING_DIMENSIONS_MAX = 8_192
FILTER_VALUES_MAX = 1_000
QUERY_BYTES_MAX = 1_048_576
# An exported file of a profile.
IMPORT_BYTES_MAX = 4_294_967_296
K_DEFAULT = 8
K_MAX = 1_000
WINDOW_MAX = 50
PAGE_DEFAULT = 100
PAGE_MAX = 1_000
TASK_TTL_DEFAULT_SECONDS = 86_400
TTL_SECONDS_MAX = 10 * 365 * 86_400
