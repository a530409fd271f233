"""What a hosted service has and a node does not: refused with the reason; listings are empty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..foreign import Route, Who
from .call import Call
from .refusals import forbidden

__all__ = ["ROUTES"]

_PAGE, _PAGE_MAX = 20, 100
_ACCOUNTS = (
    "accounts, sign-in and sessions are not kept here: a tenant's applications show keys, which "
    "`palimp key --dialect memorysync` makes"
)
_ORGANIZATIONS = (
    "organizations are not made over this route: an operator makes tenants with "
    "`palimp org --dialect memorysync create`"
)
_BILLING = "nothing is billed here, and there are no plans, quotas or evaluation keys"
_WEBHOOKS = (
    "webhooks are not sent by this node; read what happened from GET /admin/audit-logs and from "
    "the history of a memory"
)
_CONNECTORS = (
    "connectors to other services, their sign-in and their sync jobs are not part of this node; "
    "hand content over with POST /memory/upload, POST /imports or POST /memory/add"
)
_CRAWLER = "this node does not fetch web pages; hand their HTML over with POST /memory/upload"


def purge_account(_call: Call) -> Any:
    """Refuse it, as the service does for keys."""
    raise forbidden("An API key cannot erase an account; an operator deletes the tenant")


def sessions(_call: Call) -> Any:
    """Return no sessions."""
    return {"sessions": [], "current_session_id": None}


def nothing(_call: Call) -> Any:
    """Return an empty list."""
    return []


def webhooks(_call: Call) -> Any:
    """Return no webhooks."""
    return {
        "endpoints": [],
        "total_endpoints": 0,
        "active_endpoints": 0,
        "total_deliveries": 0,
        "avg_success_rate": 0.0,
        "failing_endpoints": 0,
    }


def event_types(_call: Call) -> Any:
    """Return no types of events: none are sent."""
    return {"event_types": [], "categories": {}}


def webhook_health(_call: Call) -> Any:
    """Return how well no webhooks do."""
    return {
        "active_webhooks": 0,
        "total_webhooks": 0,
        "total_deliveries_all_time": 0,
        "total_deliveries_24h": 0,
        "success_rate_7d": 0.0,
        "failing_endpoints": 0,
        "pending_retries": 0,
        "dead_letter_count": 0,
    }


def deliveries(call: Call) -> Any:
    """Return an empty page of deliveries."""
    page = call.number("page", 1, 1, 1_000_000)
    size = call.number("page_size", _PAGE, 1, _PAGE_MAX)
    return {"deliveries": [], "total": 0, "page": page, "page_size": size}


def connections(_call: Call) -> Any:
    """Return no connections."""
    return {"connections": [], "total": 0}


def connector_stats(_call: Call) -> Any:
    """Return that there is nothing."""
    return {"connections": 0, "objects_synced": 0, "memories_produced": 0}


def connector_audit(_call: Call) -> Any:
    """Return nothing: no connector did anything."""
    return {"audit_logs": [], "total": 0}


def providers(_call: Call) -> Any:
    """Return no providers."""
    return {"providers": [], "total": 0}


def jobs(_call: Call) -> Any:
    """Return no jobs."""
    return {"jobs": [], "total": 0}


_TEST = "tests/dialects/memorysync/test_saas.py"


def _empty(path: str, handler: Callable[[Call], Any]) -> Route:
    return Route("GET", path, "user", handler, _TEST)


def _refused(reason: str, base: str, *paths: str, open_to_all: bool = False) -> tuple[Route, ...]:
    """Return rows of paths, each after its method."""
    rows = []
    for line in paths:
        method, path = line.split()
        who: Who = "nobody" if open_to_all else "user"
        rows.append(Route(method, base + path.rstrip("/"), who, None, _TEST, refusal=reason))
    return tuple(rows)


_HOOKS = "/org/webhooks"
_V1, _V2 = "/api/v1/integrations", "/api/v2/integrations"
_LINK = "/connections/{id}"

ROUTES: tuple[Route, ...] = (
    Route("DELETE", "/memory/user/purge", "user", purge_account, _TEST),
    _empty("/auth/sessions", sessions),
    *_refused(
        _ACCOUNTS, "/auth", "POST /signup", "POST /login", "POST /refresh", "POST /logout",
        open_to_all=True,
    ),
    *_refused(_ACCOUNTS, "/auth", "GET /me", "POST /logout-all", "POST /sessions/{id}/revoke"),
    _empty("/organizations", nothing),
    *_refused(_ORGANIZATIONS, "/organizations", "POST /"),
    *_refused(_BILLING, "/org/billing", "GET /current-plan"),
    *_refused(_BILLING, "/evaluation", "POST /keys", "GET /usage"),
    _empty(_HOOKS, webhooks),
    _empty(f"{_HOOKS}/event-types", event_types),
    _empty(f"{_HOOKS}/health", webhook_health),
    _empty(f"{_HOOKS}/deliveries/recent", deliveries),
    *_refused(
        _WEBHOOKS, _HOOKS, "POST /", "GET /{id}", "PATCH /{id}", "DELETE /{id}",
        "POST /{id}/pause", "POST /{id}/resume", "POST /{id}/rotate-secret", "POST /{id}/test",
        "POST /{id}/replay", "GET /{id}/deliveries", "GET /{id}/deliveries/latest",
        "GET /deliveries/{id}", "POST /deliveries/{id}/retry",
    ),
    _empty(f"{_V2}/connections", connections),
    _empty(f"{_V2}/stats", connector_stats),
    _empty(f"{_V2}/audit-logs", connector_audit),
    _empty(f"{_V2}/providers", providers),
    *_refused(
        _CONNECTORS, _V2, "POST /connections/api-key", "POST /connections/credentials",
        "GET /connections/{id}", "PATCH /connections/{id}", "DELETE /connections/{id}",
        "GET /providers/{id}", "GET /sync-jobs/{id}", "POST /sync-jobs/{id}/cancel",
        "POST /oauth/initiate", "GET /oauth/status",
    ),
    *_refused(
        _CONNECTORS, f"{_V2}{_LINK}", "POST /reconnect", "POST /purge", "GET /sync", "POST /sync",
        "GET /objects", "GET /objects/v2", "POST /objects/bulk",
    ),
    *_refused(
        _CONNECTORS, f"{_V2}{_LINK}/slack", "GET /available-channels", "GET /channels",
        "POST /channels", "DELETE /channels/{channel}", "GET /exclusion-policy",
        "PUT /exclusion-policy", "GET /identities", "POST /identities/link",
        "POST /identities/sync",
    ),
    *_refused(
        _CONNECTORS, f"{_V2}{_LINK}/gdrive", "GET /picker-config", "GET /resources",
        "POST /resources", "DELETE /resources/{resource}",
    ),
    *_refused(
        _CONNECTORS, f"{_V2}{_LINK}/s3", "GET /available-prefixes", "GET /prefixes",
        "POST /prefixes", "DELETE /prefixes", "GET /exclusion-policy", "PUT /exclusion-policy",
        "GET /settings",
    ),
    *_refused(
        _CONNECTORS, f"{_V2}{_LINK}/granola", "GET /available-folders", "GET /folders",
        "POST /folders", "DELETE /folders/{folder}", "GET /exclusion-policy",
        "PUT /exclusion-policy", "GET /identities", "POST /identities/link",
        "POST /identities/relink", "GET /settings", "PUT /settings",
    ),
    *_refused(
        _CONNECTORS, f"{_V2}/objects/{{id}}", "GET /", "GET /analysis", "GET /audit",
        "GET /history", "GET /memory-status", "GET /structured-stats", "POST /evaluate",
        "POST /pause", "POST /resume", "POST /reextract", "POST /resync", "DELETE /memories",
    ),
    _empty(f"{_V1}/catalog", nothing),
    _empty(f"{_V1}/connected", nothing),
    _empty(f"{_V1}/stats", connector_stats),
    *_refused(_CONNECTORS, _V1, "PATCH /{id}", "DELETE /{id}"),
    _empty(f"{_V1}/web-crawler/jobs", jobs),
    _empty(f"{_V1}/web-crawler/active", jobs),
    *_refused(
        _CRAWLER, f"{_V1}/web-crawler", "POST /validate", "POST /crawl", "GET /jobs/{id}",
        "DELETE /jobs/{id}", "POST /jobs/{id}/cancel", "GET /jobs/{id}/content",
        "GET /jobs/{id}/statistics", "POST /jobs/{id}/import", "GET /config",
    ),
)  # fmt: skip
