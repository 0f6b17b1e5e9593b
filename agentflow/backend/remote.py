"""A model behind an OpenAI-compatible server: ``POST {base_url}/chat/completions``.

    agent = Agent(RemoteBackend("http://localhost:8000/v1", model="google/diffusiongemma-26B-A4B-it"))

The conversation, the tools and the schema of the answer are sent as the server's own words for them; whether it
holds its output to the schemas is the server's matter, so answers may be bad and the agent asks again. Drafts are not
sent by such servers. Trying again after failures is `RetryingBackend`'s matter.
"""

from __future__ import annotations

import json
from dataclasses import fields
from types import TracebackType
from typing import Any, Final, Literal, NoReturn, Self, TypeAlias

import httpx

from agentflow.backend.base import DraftObserver
from agentflow.errors import (
    AgentflowError,
    BackendError,
    ConfigurationError,
    ContextLengthError,
    MalformedOutputError,
    ModelNotFoundError,
)
from agentflow.types import (
    AssistantMessage,
    FinishReason,
    Generation,
    GenerationRequest,
    GenerationSettings,
    JsonSchema,
    Message,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolResult,
    Usage,
)

SchemaMode: TypeAlias = Literal["response_format", "prompt"]
"""How the schema of the answer is told: as ``response_format``, or as a line of the system message."""

_TIMEOUT_S: Final = 600.0
_SENT_SETTINGS: Final = frozenset({"seed", "max_new_tokens", "is_constrained", "is_parallel", "on_unsupported"})
_FINISH_REASONS: Final[dict[str, FinishReason]] = {"stop": "stop", "tool_calls": "tool_calls", "length": "length"}
_MAX_SHOWN_CHARS: Final = 500


class RemoteBackend:
    """Writes turns by asking a server.

    Used as an async context manager it keeps its connections open; otherwise each turn opens one.
    """

    def __init__(
        self,
        base_url: str,
        *,
        model: str,
        api_key: str | None = None,
        schema_mode: SchemaMode = "response_format",
        timeout_s: float = _TIMEOUT_S,
        extra_body: dict[str, Any] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Make a backend; nothing is sent yet.

        Args:
            base_url: Where the server is, up to and with ``/v1``.
            model: Name of the model as the server knows it.
            api_key: Sent as a bearer token.
            schema_mode: ``"prompt"`` for servers that refuse ``response_format``.
            timeout_s: Seconds that one turn may take.
            extra_body: Further members of the request, such as ``{"temperature": 0.5}`` or ``{"vllm_xargs": {...}}``.
            transport: In place of the network, for tests.

        Raises:
            ConfigurationError: `base_url` is no http address, or `timeout_s` is not above 0.
        """
        if not base_url.startswith(("http://", "https://")):
            raise ConfigurationError(f"base_url must begin with http:// or https://, got {base_url!r}")
        if not timeout_s > 0:
            raise ConfigurationError(f"timeout_s must be above 0, got {timeout_s!r}")
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._model = model
        self._api_key = api_key
        self._schema_mode = schema_mode
        self._timeout_s = timeout_s
        self._extra_body = dict(extra_body or {})
        self._transport = transport
        self._client: httpx.AsyncClient | None = None

    @property
    def name(self) -> str:
        """Name of the model."""
        return self._model

    async def generate(self, request: GenerationRequest, *, on_draft: DraftObserver | None = None) -> Generation:  # noqa: ARG002 # no drafts
        """Write one turn; see `agentflow.backend.base.Backend.generate`.

        Raises:
            ConfigurationError: The server refuses the request, or a setting cannot be sent to it.
            ModelNotFoundError: The server has no such model.
            ContextLengthError: The conversation is too long for it.
            MalformedOutputError: The turn cannot be read.
            BackendError: The server cannot be reached or failed.
        """
        body = self._make_body(request)
        timeout_s = (
            self._timeout_s if request.timeout_s is None else max(0.001, min(self._timeout_s, request.timeout_s))
        )
        if self._client is not None:
            return _read_answer(await self._post(self._client, body, timeout_s))
        async with self._make_client() as client:
            return _read_answer(await self._post(client, body, timeout_s))

    async def aclose(self) -> None:
        """Close the connections, if there are any."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def __aenter__(self) -> Self:
        self._client = self._make_client()
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"RemoteBackend({self._url!r}, model={self._model!r})"

    def _make_client(self) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}
        return httpx.AsyncClient(headers=headers, transport=self._transport)

    def _make_body(self, request: GenerationRequest) -> dict[str, Any]:
        _check_settings(request.settings)
        schema, settings = request.output_schema, request.settings
        is_told = schema is not None and (self._schema_mode == "prompt" or not settings.is_constrained)
        body: dict[str, Any] = {
            "model": self._model,
            "messages": _write_messages(request.messages, schema if is_told else None),
            **_write_tools(request),
        }
        if schema is not None and not is_told:
            # not "strict": servers then refuse optional members; what does not fit is asked for again
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        if settings.seed is not None:
            body["seed"] = settings.seed
        if settings.max_new_tokens is not None:
            body["max_tokens"] = settings.max_new_tokens
        return {**body, **self._extra_body}

    async def _post(self, client: httpx.AsyncClient, body: dict[str, Any], timeout_s: float) -> Any:
        try:
            response = await client.post(self._url, json=body, timeout=timeout_s)
        except httpx.TimeoutException as error:
            raise BackendError(f"{self._url} did not answer within {timeout_s:g} s") from error
        except httpx.HTTPError as error:
            raise BackendError(f"{self._url} cannot be reached: {error}", hint="is the server running?") from error
        if response.status_code != httpx.codes.OK:
            self._refuse(response)
        try:
            return response.json()
        except ValueError as error:
            raise BackendError(f"{self._url} sent no JSON: {response.text[:_MAX_SHOWN_CHARS]!r}") from error

    def _refuse(self, response: httpx.Response) -> NoReturn:
        """Raise the error that fits a refusal."""
        text, status = response.text[:_MAX_SHOWN_CHARS], response.status_code
        message = f"{self._url} answered {status}: {text}"
        if status in (401, 403):
            raise ConfigurationError(message, hint="pass a valid api_key")
        if status == httpx.codes.NOT_FOUND:
            raise ModelNotFoundError(message, hint=f"does the server serve {self._model!r}, and end base_url in /v1?")
        if status in (400, 413, 422):
            kind: type[AgentflowError] = ContextLengthError if "context" in text.lower() else ConfigurationError
            raise kind(message)
        raise BackendError(message)


def _check_settings(settings: GenerationSettings) -> None:
    """Refuse settings that a server has no word for; they would have no effect.

    Raises:
        ConfigurationError: One is set.
    """
    for field in fields(settings):
        if field.name not in _SENT_SETTINGS and getattr(settings, field.name) is not None:
            raise ConfigurationError(
                f"{field.name}={getattr(settings, field.name)!r} cannot be sent to an OpenAI-compatible server",
                hint="leave it out, or use extra_body if the server has its own name for it",
            )


def _write_messages(messages: tuple[Message, ...], schema: JsonSchema | None) -> list[dict[str, Any]]:
    """Write a conversation; `schema` is told in the system message."""
    written = [entry for message in messages for entry in _write_message(message)]
    if schema is not None:
        line = f"Answer in JSON: {json.dumps(schema, ensure_ascii=False, separators=(',', ':'))}"
        if written and written[0]["role"] == "system":
            written[0]["content"] += f"\n{line}"
        else:
            written.insert(0, {"role": "system", "content": line})
    return written


def _write_message(message: Message) -> list[dict[str, Any]]:
    if isinstance(message, ToolMessage):
        return [_write_result(result) for result in message.results]
    if isinstance(message, AssistantMessage):
        entry: dict[str, Any] = {"role": "assistant", "content": message.text or None}
        if message.tool_calls:
            entry["tool_calls"] = [_write_call(call) for call in message.tool_calls]
        return [entry]
    role = "system" if isinstance(message, SystemMessage) else "user"
    return [{"role": role, "content": message.text}]


def _write_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": json.dumps(dict(call.arguments), ensure_ascii=False)}
    return {"id": call.id, "type": "function", "function": function}


def _write_result(result: ToolResult) -> dict[str, Any]:
    content = {"error": result.content} if result.is_error else result.content
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return {"role": "tool", "tool_call_id": result.call_id, "content": text}


def _write_tools(request: GenerationRequest) -> dict[str, Any]:
    if not request.tools:
        return {}
    tools = [
        {
            "type": "function",
            "function": {"name": t.name, "description": t.description, "parameters": dict(t.parameters)},
        }
        for t in request.tools
    ]
    choice: Any = request.tool_choice
    if choice not in ("auto", "none", "required"):
        choice = {"type": "function", "function": {"name": choice}}
    body: dict[str, Any] = {"tools": tools, "tool_choice": choice}
    if not request.settings.is_parallel:
        body["parallel_tool_calls"] = False
    return body


def _read_answer(answer: Any) -> Generation:
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        text, thought = message.get("content") or "", message.get("reasoning_content") or ""
        entries = message.get("tool_calls") or ()
        usage = _read_usage(answer.get("usage") or {})
        reason = _FINISH_REASONS.get(choice.get("finish_reason") or "stop", "stop")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        shown = json.dumps(answer)[:_MAX_SHOWN_CHARS]
        raise BackendError(f"the server's answer is no chat completion: {shown}") from error
    try:
        calls = tuple(_read_call(entry) for entry in entries)
    except MalformedOutputError as error:
        error.usage = usage
        raise
    return Generation(AssistantMessage(text, calls, thought), "tool_calls" if calls else reason, usage)


def _read_call(entry: Any) -> ToolCall:
    try:
        function = entry["function"]
        written = function["arguments"]
        arguments = json.loads(written) if isinstance(written, str) and written.strip() else written or {}
        return ToolCall(entry.get("id") or "", function["name"], {**arguments})
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        shown = json.dumps(entry)[:_MAX_SHOWN_CHARS]
        raise MalformedOutputError(f"the tool call cannot be read: {error}", text=shown) from error


def _read_usage(usage: dict[str, Any]) -> Usage:
    details = usage.get("prompt_tokens_details") or {}
    return Usage(
        requests=1,
        input_tokens=usage.get("prompt_tokens") or 0,
        cached_input_tokens=details.get("cached_tokens") or 0,
        output_tokens=usage.get("completion_tokens") or 0,
        num_canvases=1,
    )
