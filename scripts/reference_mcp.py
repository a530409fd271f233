"""The reference page of the MCP tools, made from their table."""

from __future__ import annotations

import json
from typing import Any

from palimp.mcp import TOOLS, listing
from palimp.mcp.readings import PROMPT, RESOURCES, prompt_arguments, uri
from palimp.mcp.tools import INSTRUCTIONS

HINTS = {
    "readOnlyHint": "reads only",
    "destructiveHint": "takes away",
    "idempotentHint": "repeatable",
}


def page() -> str:
    """Every tool, resource and prompt, with what a host is told of it."""
    listed = {one["name"]: one for one in listing("all")}
    size = len(json.dumps({"tools": listing("default")}, separators=(",", ":")).encode())
    lines = [
        "# MCP tools",
        "",
        f"`palimp mcp` offers the default tools ({size:,} bytes, about {-(-size // 4):,} tokens);",
        "`--tools relations` and `--tools governance` add those sets, `--tools all` all others.",
        "An address that pins a profile has no `namespace` and",
        "`profile` arguments, and `--read-only` leaves the tools that read only. Every result",
        "carries `txid` where it was read or written at one.",
        "",
        "| tool | set | operations | hints |",
        "| --- | --- | --- | --- |",
    ]
    for name, row in TOOLS.items():
        operations = ", ".join(f"`{one}`" for one in row.operations)
        hints = ", ".join(word for hint, word in HINTS.items() if row.hints[hint])
        lines.append(f"| [`{name}`](#{name}) | {row.set} | {operations} | {hints} |")
    for name, one in listed.items():
        lines += ["", f"## {name}", "", one["description"], "", *_arguments(one["inputSchema"])]
    lines += ["", "## Resources", "", "| address | what it holds |", "| --- | --- |"]
    lines += [f"| `{uri(name)}` | {one.description} |" for name, one in RESOURCES.items()]
    arguments = ", ".join(f"`{name}`" for name in prompt_arguments(pinned=False))
    lines += ["", "## Prompt", "", f"`{PROMPT}` ({arguments}) loads the memories that matter."]
    lines += ["", "## Instructions", "", "```text", INSTRUCTIONS, "```"]
    return "\n".join(lines)


def _arguments(schema: dict[str, Any]) -> list[str]:
    needed = schema.get("required", [])
    lines = ["| argument | type | |", "| --- | --- | --- |"]
    for name, one in schema["properties"].items():
        notes = ["needed"] if name in needed else []
        if "default" in one:
            notes.append(f"default {json.dumps(one['default'])}")
        if "description" in one:
            notes.append(" ".join(one["description"].split()))
        lines.append(f"| `{name}` | {_type(one)} | {'; '.join(notes)} |")
    return lines


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(f"`{one}`" for one in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        items = schema.get("items") or {}
        return f"array of {_type(items)}" if items else "array"
    return str(schema.get("type", "any JSON"))
