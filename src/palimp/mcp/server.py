"""The MCP server: the SDK's words on one side, `tools` and `readings` on the other.

The SDK's lower-level server is used, because the schemas it would make of functions are several
times as long as ours, and every agent pays for them in every conversation.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from ..api.convert import nearest
from ..client import AsyncClient
from ..errors import Error
from ..version import __version__
from . import readings
from .echoes import Echoes
from .places import Place
from .tools import INSTRUCTIONS, ToolSet, call_tool, listing, selected

__all__ = ["PLACE_KEY", "build"]

# Where the mount leaves the place that an address pins, in the ASGI scope of a request.
PLACE_KEY = "palimp.mcp.place"

_Context: TypeAlias = ServerRequestContext[Any, Any]


def build(client: AsyncClient, place: Place, tools: ToolSet, read_only: bool) -> Server[Any]:
    """Return a server whose calls go to `client`; it holds nothing open and needs no closing."""
    offered = _Offered(client, place, tools, read_only)
    return Server(
        "palimp",
        version=__version__,
        instructions=INSTRUCTIONS,
        on_list_tools=offered.list_tools,
        on_call_tool=offered.call_tool,
        on_list_resources=offered.list_resources,
        on_list_resource_templates=offered.list_resource_templates,
        on_read_resource=offered.read_resource,
        on_list_prompts=offered.list_prompts,
        on_get_prompt=offered.get_prompt,
    )


class _Offered:
    """The handlers of one server; what recall gave out is kept for all its connections."""

    def __init__(self, client: AsyncClient, place: Place, tools: ToolSet, read_only: bool) -> None:
        self.client = client
        self.place = place
        self.tools: ToolSet = tools
        self.read_only = read_only
        self.echoes = Echoes()

    async def list_tools(
        self, ctx: _Context, _: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        pinned = self._place(ctx).pinned
        tools = listing(self.tools, pinned=pinned, read_only=self.read_only)
        return types.ListToolsResult(tools=[types.Tool.model_validate(one) for one in tools])

    async def call_tool(
        self, ctx: _Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        """Answer a call; an error of ours is a result the model can act on."""
        place = self._place(ctx)
        offered = selected(self.tools, pinned=place.pinned, read_only=self.read_only)
        tool = offered.get(params.name)
        if tool is None:
            raise MCPError(
                types.INVALID_PARAMS,
                f"there is no tool {params.name!r:.80}{nearest(params.name, list(offered))}; "
                f"there are {', '.join(offered)}",
            )
        given = params.arguments or {}
        try:
            answer = await call_tool(tool, self.client, place, self.echoes, given)
        except Error as error:
            return types.CallToolResult(content=[_text(_describe(error))], is_error=True)
        return types.CallToolResult(
            content=[_text(answer.text)], structured_content=answer.structured
        )

    async def list_resources(
        self, ctx: _Context, _: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        place = self._place(ctx)
        return types.ListResourcesResult(
            resources=[
                types.Resource(
                    uri=readings.uri(one.name, place),
                    name=one.name,
                    description=one.description,
                    mime_type="application/json",
                )
                for one in readings.RESOURCES.values()
            ]
        )

    async def list_resource_templates(
        self, ctx: _Context, _: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        kinds = () if self._place(ctx).pinned else readings.RESOURCES.values()
        return types.ListResourceTemplatesResult(
            resource_templates=[
                types.ResourceTemplate(
                    uri_template=readings.uri(one.name),
                    name=one.name,
                    description=one.description,
                    mime_type="application/json",
                )
                for one in kinds
            ]
        )

    async def read_resource(
        self, ctx: _Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        try:
            text = await readings.read(self.client, self._place(ctx), params.uri)
        except Error as error:
            raise MCPError(types.INVALID_PARAMS, _describe(error)) from error
        contents = types.TextResourceContents(
            uri=params.uri, mime_type="application/json", text=text
        )
        return types.ReadResourceResult(contents=[contents])

    async def list_prompts(
        self, ctx: _Context, _: types.PaginatedRequestParams | None
    ) -> types.ListPromptsResult:
        arguments = readings.prompt_arguments(self._place(ctx).pinned)
        prompt = types.Prompt(
            name=readings.PROMPT,
            description="Load the memories that matter to a question",
            arguments=[
                types.PromptArgument(name=name, description=text, required=name == "question")
                for name, text in arguments.items()
            ],
        )
        return types.ListPromptsResult(prompts=[prompt])

    async def get_prompt(
        self, ctx: _Context, params: types.GetPromptRequestParams
    ) -> types.GetPromptResult:
        if params.name != readings.PROMPT:
            raise MCPError(
                types.INVALID_PARAMS,
                f"there is no prompt {params.name!r:.80}; there is {readings.PROMPT}",
            )
        given = params.arguments or {}
        try:
            text = await readings.recall_prompt(self.client, self._place(ctx), self.echoes, given)
        except Error as error:
            raise MCPError(types.INVALID_PARAMS, _describe(error)) from error
        return types.GetPromptResult(
            messages=[types.PromptMessage(role="user", content=_text(text))]
        )

    def _place(self, ctx: _Context) -> Place:
        # Over HTTP the mount says in the request which place its address means.
        scope = {} if ctx.request is None else ctx.request.scope
        place: Place = scope.get(PLACE_KEY, self.place)
        return place


def _text(text: str) -> types.TextContent:
    return types.TextContent(type="text", text=text)


def _describe(error: Error) -> str:
    """Return an error as the model reads it: its code, what happened, when to try again."""
    text = f"{error.code}: {error}"
    if error.details.get("in_doubt"):
        text += "; it may have been done all the same: look before you repeat it"
    if error.retry_after is not None:
        text += f"; retry after {error.retry_after:g} s"
    return text
