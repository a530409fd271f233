"""Every limit of a request, by name. A request over a limit is refused, never silently cut."""

from __future__ import annotations

__all__ = [
    "ABBREVIATION_BYTES_MAX",
    "ASK_TOKENS_DEFAULT",
    "ASK_TOKENS_MAX",
    "BATCH_ITEMS_MAX",
    "BODY_BYTES_QUERY_MAX",
    "CHANGES_DEFAULT",
    "CHANGES_MAX",
    "COLLECTIONS_MAX",
    "CONTAINS_BYTES_MAX",
    "CONTENT_BYTES_MAX",
    "CONTENT_TYPE_BYTES_MAX",
    "CREDENTIAL_DETAIL_BYTES_MAX",
    "CREDENTIAL_NAME_BYTES_MAX",
    "CREDENTIAL_SUBJECT_BYTES_MAX",
    "DERIVED_FROM_MAX",
    "DOCUMENT_BYTES_MAX",
    "DOCUMENT_CONDITIONS_MAX",
    "DOCUMENT_DEPTH_MAX",
    "DOCUMENT_ID_BYTES_MAX",
    "DOCUMENT_INDEXES_MAX",
    "DOCUMENT_PAGE_BYTES_MAX",
    "DOCUMENT_PATH_BYTES_MAX",
    "DOCUMENT_SECONDS_MAX",
    "DOCUMENT_SKIP_MAX",
    "DOCUMENT_SORT_PATHS_MAX",
    "EMBEDDING_DIMENSIONS_MAX",
    "EMBED_TEXTS_MAX",
    "ENTITIES_MAX",
    "ENTITY_NAME_BYTES_MAX",
    "EXTRACT_BYTES_MAX",
    "EXTRACT_LABEL_BYTES_MAX",
    "FILTER_METADATA_KEYS_MAX",
    "FILTER_METADATA_KEY_BYTES_MAX",
    "FILTER_METADATA_VALUE_BYTES_MAX",
    "FILTER_VALUES_MAX",
    "IMPORT_BYTES_MAX",
    "JSON_DEPTH_MAX",
    "KEYS_PAGE_MAX",
    "KEYWORDS_BYTES_MAX",
    "KV_KEY_BYTES_MAX",
    "KV_PAGE_BYTES_MAX",
    "KV_SPACE_BYTES_MAX",
    "KV_VALUE_BYTES_MAX",
    "K_DEFAULT",
    "K_MAX",
    "LABEL_BYTES_MAX",
    "METADATA_BYTES_MAX",
    "PAGE_DEFAULT",
    "PAGE_MAX",
    "PICK_CANDIDATES_DEFAULT",
    "PICK_KEYS_MAX",
    "PLUGIN_EVENTS_DEFAULT",
    "PLUGIN_EVENTS_MAX",
    "QUERY_BYTES_MAX",
    "QUESTION_BYTES_MAX",
    "REEMBED_ROWS_MAX",
    "REENCRYPT_OBJECTS_MAX",
    "RELATIONS_MAX",
    "RELATION_STEPS_MAX",
    "SEAL_ROWS_MAX",
    "SQL_BYTES_MAX",
    "SQL_CALLS_MAX",
    "SQL_COLUMNS_MAX",
    "SQL_PARAMS_MAX",
    "SQL_RESULT_BYTES_MAX",
    "SQL_ROWS_MAX",
    "SQL_SECONDS_MAX",
    "SQL_STATEMENTS_MAX",
    "SQL_VALUE_BYTES_MAX",
    "SUMMARY_BYTES_MAX",
    "TAGS_MAX",
    "TASK_MATCH_CHARS_MAX",
    "TASK_NAMESPACES_MAX",
    "TASK_TTL_DEFAULT_SECONDS",
    "TENANT_CHARS_MAX",
    "TEXT_BYTES_MAX",
    "TIMELINE_OFFSET_MAX",
    "TIMELINE_TOKENS_MAX",
    "TTL_SECONDS_MAX",
    "USAGE_DAYS_MAX",
    "WAIT_SECONDS_MAX",
    "WINDOW_MAX",
]

BATCH_ITEMS_MAX = 1_000
TEXT_BYTES_MAX = 1_048_576
CONTENT_BYTES_MAX = 1_048_576
METADATA_BYTES_MAX = 65_536
# Objects and lists within each other, the value itself among them: of contents and metadata.
JSON_DEPTH_MAX = 32
KEYWORDS_BYTES_MAX = 8_192
# Topics, sessions, sources, agents, speakers, projects, environments, kinds, dedup keys.
LABEL_BYTES_MAX = 512
# Words that say how a row is handled: trust.
ABBREVIATION_BYTES_MAX = 64
TAGS_MAX = 64
DERIVED_FROM_MAX = 1_000
# Edges and names that come with one memory.
RELATIONS_MAX = 64
ENTITIES_MAX = 64
ENTITY_NAME_BYTES_MAX = 512
EMBEDDING_DIMENSIONS_MAX = 8_192
FILTER_VALUES_MAX = 1_000
# Of a filter on metadata: how many keys, and how long each and its value as JSON may be.
FILTER_METADATA_KEYS_MAX = 16
FILTER_METADATA_KEY_BYTES_MAX = 64
FILTER_METADATA_VALUE_BYTES_MAX = 1_024
QUERY_BYTES_MAX = 1_048_576
# Of a listing of events: the text that has to stand in theirs, and how many are passed over.
CONTAINS_BYTES_MAX = 4_096
TIMELINE_OFFSET_MAX = 100_000
# What may be asked of a text for a prompt.
TIMELINE_TOKENS_MAX = 1_000_000
# A question that a language model answers, and the memories it is given with it, in tokens.
QUESTION_BYTES_MAX = 16_384
ASK_TOKENS_DEFAULT = 6_000
ASK_TOKENS_MAX = 100_000
# The body of an HTTP request that carries a question and no memories.
BODY_BYTES_QUERY_MAX = 1_048_576
# An exported file of a profile.
IMPORT_BYTES_MAX = 4_294_967_296
K_DEFAULT = 8
K_MAX = 1_000
WINDOW_MAX = 50
# How far a recall follows relations.
RELATION_STEPS_MAX = 3
PAGE_DEFAULT = 100
PAGE_MAX = 1_000
TASK_TTL_DEFAULT_SECONDS = 86_400
TTL_SECONDS_MAX = 10 * 365 * 86_400
KV_SPACE_BYTES_MAX = 128
KV_KEY_BYTES_MAX = 1_024
KV_VALUE_BYTES_MAX = 16_777_216
CONTENT_TYPE_BYTES_MAX = 256
# Collections of vectors in a profile.
COLLECTIONS_MAX = 1_000
# Texts that are given vectors at once.
EMBED_TEXTS_MAX = 100
# A page of values is about so large.
KV_PAGE_BYTES_MAX = 4_194_304
# One document, and one filter or update, as JSON.
DOCUMENT_BYTES_MAX = 1_048_576
# Objects and lists within each other, the document or filter itself among them.
DOCUMENT_DEPTH_MAX = 32
DOCUMENT_ID_BYTES_MAX = 256
DOCUMENT_PATH_BYTES_MAX = 512
DOCUMENT_CONDITIONS_MAX = 1_000
DOCUMENT_SORT_PATHS_MAX = 8
DOCUMENT_SKIP_MAX = 100_000
DOCUMENT_INDEXES_MAX = 32
# How long a find, a count, an update or a delete may take.
DOCUMENT_SECONDS_MAX = 5
# A page of documents ends where it is this large, and says how to go on.
DOCUMENT_PAGE_BYTES_MAX = 16_777_216
# SQL of a caller's own: one call's statements, the text and values of each, what all of them give,
# how long they may take, and how many functions one statement may call.
SQL_STATEMENTS_MAX = 1_000
SQL_BYTES_MAX = 1_048_576
SQL_PARAMS_MAX = 32_766
SQL_VALUE_BYTES_MAX = 1_048_576
SQL_COLUMNS_MAX = 256
SQL_CALLS_MAX = 1_000
SQL_ROWS_MAX = 10_000
SQL_RESULT_BYTES_MAX = 33_554_432
SQL_SECONDS_MAX = 5
# The words of the turns that are extracted at once, and of the session and source they belong to.
EXTRACT_BYTES_MAX = 262_144
EXTRACT_LABEL_BYTES_MAX = 480
# The words of the memories that are summed up at once.
SUMMARY_BYTES_MAX = 262_144
# Days of usage in one answer: a year, and the month before it.
USAGE_DAYS_MAX = 400
# Rows that one call embeds anew, and how long a write waits for its rows to be embedded.
REEMBED_ROWS_MAX = 10_000
# Profiles whose keys one call renews or looks at, and segments that one call encrypts anew.
KEYS_PAGE_MAX = 100
REENCRYPT_OBJECTS_MAX = 200
SEAL_ROWS_MAX = 5_000
WAIT_SECONDS_MAX = 20
# Of a task on many profiles: what it selects them by.
TASK_NAMESPACES_MAX = 1_000
TASK_MATCH_CHARS_MAX = 128
# Of each list of a diff.
CHANGES_DEFAULT = 100
CHANGES_MAX = 10_000
# What is chosen for an apply or a pick, and shown of a pick that is tried.
PICK_KEYS_MAX = 1_000
PICK_CANDIDATES_DEFAULT = 10
# Of a key of another system's client: whose it is, what it is called, what is known of it beside.
CREDENTIAL_SUBJECT_BYTES_MAX = 256
CREDENTIAL_NAME_BYTES_MAX = 256
CREDENTIAL_DETAIL_BYTES_MAX = 4_096
# Of what a tenant of another system is called.
TENANT_CHARS_MAX = 128
# Of the events of plugins, of which so many are kept.
PLUGIN_EVENTS_DEFAULT = 20
PLUGIN_EVENTS_MAX = 200
