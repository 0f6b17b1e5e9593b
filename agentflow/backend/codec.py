"""Between requests and token ids: what every backend with a network of its own shares.

A `TurnCodec` writes the prompt of a request, compiles the automaton that its turn must follow, and reads the turn that
came out. It knows the tokenizer, the protocol and the constraint layer; it runs no network.
"""

from __future__ import annotations

import codecs
import json
from array import array
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any, TypeVar

from agentflow import protocol
from agentflow.backend.diffusion.loader import Checkpoint
from agentflow.constraint import (
    Constraint,
    Grammar,
    Grounding,
    Vocabulary,
    check_budget,
    compile_constraint,
    turn_grammar,
)
from agentflow.constraint.frame import FilledFrame, Frame
from agentflow.constraint.grounded import mentions_span, needs_span
from agentflow.constraint.judge import find_problem
from agentflow.constraint.staged import Scout, StagedConstraint
from agentflow.constraint.store import Store
from agentflow.errors import (
    ContextLengthError,
    InvalidSchemaError,
    MalformedOutputError,
    SchemaError,
    TruncatedOutputError,
    UnsupportedSchemaError,
)
from agentflow.protocol import Control, Segment
from agentflow.types import (
    AssistantMessage,
    FinishReason,
    Generation,
    GenerationRequest,
    JsonSchema,
    JsonValue,
    Message,
    SystemMessage,
    ToolMessage,
    ToolSpec,
    Usage,
    UserMessage,
)

_MAX_SCOUTS = 64
"""Sets of tools whose names are known."""

_MAX_FRAME_BYTES = 64 << 20
"""Memory for the calls of tools that are known but for what they copy."""

_MAX_HEADS, _MAX_HEAD_CHARS = 256, 1 << 15
"""Beginnings of prompts whose tokens are known, and their longest."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

_ROLES: dict[type, str] = {
    SystemMessage: "system",
    UserMessage: "user",
    AssistantMessage: "assistant",
    ToolMessage: "tool",
}


class TurnCodec:
    """Requests to token ids, token ids to turns.

    Args:
        tokenizer: A Hugging Face fast tokenizer with the control tokens of the protocol.
        end_ids: Tokens that end a turn.
        vocab_size: Number of token ids that the network knows.
        context_length: Most tokens of prompt and turn together.
        max_new_tokens: Budget of a turn when the request sets none.
        is_grounded: Whether free strings are limited to spans of the conversation when the request leaves it open.
        has_empty_thought: Whether the place where the model writes begins with a thought that is already closed.
        tail_token: Token with which the model fills a canvas behind the end token, ``None``: no habit.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        end_ids: frozenset[int],
        vocab_size: int,
        context_length: int,
        max_new_tokens: int,
        is_grounded: bool = False,
        has_empty_thought: bool = False,
        tail_token: str | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.end_ids = end_ids
        self.vocabulary = Vocabulary.from_tokenizer(
            tokenizer,
            end_ids=end_ids,
            size=vocab_size,
            tail_id=None if tail_token is None else tokenizer.convert_tokens_to_ids(tail_token),
        )
        if self.vocabulary.is_large:
            self.vocabulary.prepare()  # from the user's cache directory; else the first schemas would pay for it
        self._scouts: dict[Hashable, Scout | None] = {}
        self._heads: dict[str, array[int]] = {}
        self._frames = Store(_MAX_FRAME_BYTES)
        self._lock = Lock()
        self._context_length = context_length
        self._max_new_tokens = max_new_tokens
        self._is_grounded = is_grounded
        self._has_empty_thought = has_empty_thought

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> TurnCodec:
        """The codec of a loaded checkpoint."""
        return cls(
            checkpoint.tokenizer,
            end_ids=checkpoint.end_ids,
            vocab_size=checkpoint.denoiser.vocab_size,
            context_length=checkpoint.denoiser.context_length,
            max_new_tokens=checkpoint.max_new_tokens,
            is_grounded=checkpoint.profile.grounded,
            has_empty_thought=checkpoint.profile.has_empty_thought,
            tail_token=checkpoint.profile.tail_token,
        )

    def encode_prompt(self, request: GenerationRequest) -> list[int]:
        """Token ids up to the place where the model writes.

        Raises:
            ConfigurationError: The conversation cannot be continued.
            ContextLengthError: The prompt leaves no room for a turn.
            SchemaError: A schema is not JSON, or nests too deeply.
        """
        talk = protocol.render_talk(request.messages, has_empty_thought=self._has_empty_thought)
        if talk and not isinstance(talk[0], Control):  # text of the head would go on in it
            ids = protocol.encode([*self._render_head(request), *talk], self.tokenizer)
        else:
            ids = [*self._encode_head(request), *protocol.encode(talk, self.tokenizer)]
        if len(ids) >= self._context_length:
            raise ContextLengthError(f"the prompt has {len(ids)} tokens, the context {self._context_length}")
        return ids

    @staticmethod
    def _render_head(request: GenerationRequest) -> list[Segment]:
        return protocol.render_head(protocol.system_of(request.messages), request.tools, request.output_schema)

    def _encode_head(self, request: GenerationRequest) -> Sequence[int]:
        """Token ids of the instructions and tools, which are the same in many requests."""
        key = _head_key(request)
        with self._lock:
            ids = self._heads.get(key)
        if ids is None:
            ids = array("l", protocol.encode(self._render_head(request), self.tokenizer))
            if len(key) <= _MAX_HEAD_CHARS:
                self._keep(self._heads, key, ids, most=_MAX_HEADS)
        return ids

    def encode_draft(self, request: GenerationRequest) -> list[int]:
        """Token ids of the request's draft as the model would write it, its end token included; empty without one."""
        return [] if request.draft is None else protocol.encode(protocol.render_turn(request.draft), self.tokenizer)

    def budget(self, request: GenerationRequest, *, num_prompt_tokens: int) -> int:
        """Tokens that the turn may take.

        Raises:
            ContextLengthError: Prompt and the budget that was asked for exceed the context.
        """
        room = self._context_length - num_prompt_tokens
        wanted = request.settings.max_new_tokens
        if wanted is None:
            return min(room, self._max_new_tokens)
        if wanted > room:
            raise ContextLengthError(
                f"the prompt has {num_prompt_tokens} tokens and the turn may take {wanted}, "
                f"together more than the context of {self._context_length}"
            )
        return wanted

    def is_grounded(self, request: GenerationRequest) -> bool:
        """Whether free strings of the turn are limited to spans of the conversation."""
        choice = request.settings.is_grounded
        return self._is_grounded if choice is None else choice

    def compile(self, request: GenerationRequest, *, num_tokens: int) -> Constraint | None:
        """The automaton of the turn, or ``None`` when the request is not constrained.

        Args:
            request: The request.
            num_tokens: Budget of the turn.

        Raises:
            SchemaError: A schema cannot be compiled, or no valid turn fits the budget.
        """
        if not request.settings.is_constrained:
            return None
        constraint = self._compile(request, request.tools, request.tool_choice, self._grounding(request))
        check_budget(constraint, constraint.start_state, num_tokens)
        return constraint

    def compile_staged(self, request: GenerationRequest, *, num_tokens: int) -> Constraint | StagedConstraint | None:
        """The automaton of the turn for decoding from left to right: calls are compiled when they are made.

        That is for turns that may call tools and copy from the conversation; others are compiled whole, as by
        `compile`, which names the arguments and the errors.
        """
        grounding = self._grounding(request)
        if grounding is None or not request.settings.is_constrained or needs_span(request.output_schema):
            return self.compile(request, num_tokens=num_tokens)
        key = _family(request)
        with self._lock:
            is_known, scout = key in self._scouts, self._scouts.get(key)
        if scout is None or num_tokens < scout.num_ample_tokens:
            constraint = self.compile(request, num_tokens=num_tokens)
            if constraint is not None and not is_known:
                self._keep(self._scouts, key, self._find_names(request, constraint), most=_MAX_SCOUTS)
            return constraint
        tools = {tool.name: tool for tool in request.tools}
        has_answer = request.tool_choice == "auto"
        copied = None if request.output_schema is None else grounding  # an answer in words copies nothing
        return StagedConstraint(
            scout,
            compile_call=lambda name: self._compile_call(request, tools[name], grounding, key),
            compile_answer=(lambda: self._compile(request, (), "none", copied)) if has_answer else None,
            compile_whole=lambda: self._compile(request, request.tools, request.tool_choice, grounding),
        )

    def is_prepared(self, request: GenerationRequest) -> bool:
        """Whether `compile_staged` probably takes little for a request: turns with its tools were compiled before."""
        key = _family(request)
        with self._lock:
            return request.settings.is_constrained and self._scouts.get(key) is not None

    def _compile_call(
        self, request: GenerationRequest, tool: ToolSpec, grounding: Grounding, family: Hashable
    ) -> Constraint | FilledFrame:
        """Fill the frame of a tool's calls, or compile these where that does not do."""
        frame = self._frame(request, tool, grounding, family)
        filled = None if frame is None else frame.fill(grounding)
        return self._compile(request, (tool,), "required", grounding) if filled is None else filled

    def _frame(
        self, request: GenerationRequest, tool: ToolSpec, grounding: Grounding, family: Hashable
    ) -> Frame | None:
        key = (family, tool.name, grounding.is_default, grounding.has_numbers)
        known: tuple[Frame | None] | None = self._frames.get(key)
        if known is not None:
            return known[0]
        frame = None
        with suppress(SchemaError):  # compiling the call for the conversation says what it is
            frame = Frame.of(
                lambda unknown: self._describe(request, (tool,), "required", unknown),
                self.vocabulary,
                is_default=grounding.is_default,
                has_numbers=grounding.has_numbers,
            )
        self._frames[key] = (frame,)
        return frame

    def _compile(
        self, request: GenerationRequest, tools: Sequence[ToolSpec], tool_choice: str, grounding: Grounding | None
    ) -> Constraint:
        """Compile a turn of a request with some of its tools."""
        return compile_constraint(self._describe(request, tools, tool_choice, grounding), self.vocabulary)

    @staticmethod
    def _describe(
        request: GenerationRequest, tools: Sequence[ToolSpec], tool_choice: str, grounding: Grounding | None
    ) -> Grammar:
        """Describe a turn of a request with some of its tools."""
        return turn_grammar(
            tools=tools,
            tool_choice=tool_choice,
            is_parallel=request.settings.is_parallel,
            output_schema=request.output_schema,
            grounding=grounding,
            on_unsupported=request.settings.on_unsupported,
        )

    def _find_names(self, request: GenerationRequest, constraint: Constraint) -> Scout | None:
        """Find the names of the tools in the automaton of a turn; ``None``: its calls cannot be compiled one by one."""
        names = self._names(request)
        if not names or any(needs_span(tool.parameters) for tool in request.tools):
            return None
        return Scout.of(constraint, names)

    def _keep(self, known: dict[_Key, _Value], key: _Key, value: _Value, *, most: int) -> None:
        """Keep what was made for the next requests."""
        with self._lock:
            known[key] = value
            while len(known) > most:
                known.pop(next(iter(known)))

    @staticmethod
    def _names(request: GenerationRequest) -> list[str]:
        """Names of the tools that may be called."""
        choice = request.tool_choice
        is_any = choice in ("auto", "required")
        return [tool.name for tool in request.tools if is_any or tool.name == choice]

    @staticmethod
    def _schemas(request: GenerationRequest) -> list[JsonSchema | None]:
        return [request.output_schema, *(tool.parameters for tool in request.tools)]

    def _grounding(self, request: GenerationRequest) -> Grounding | None:
        """The texts that may be copied, where the request or one of its schemas asks for them."""
        is_default = self.is_grounded(request)
        if not is_default and not any(map(mentions_span, self._schemas(request))):
            return None
        sources = [(text, message) for message in request.messages for text in grounding_texts((message,))]
        roles = tuple(_ROLES[type(message)] for _, message in sources)
        return Grounding(tuple(text for text, _ in sources), roles, is_default=is_default)

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        """The text of each token; a character that is spread over several tokens stands with the last of them."""
        pieces: list[str] = []
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for token_id in token_ids:
            content = self.vocabulary.token_bytes[token_id]
            if content is None:
                pieces.append(decoder.decode(b"", final=True) + str(self.tokenizer.convert_ids_to_tokens(token_id)))
                decoder.reset()
            else:
                pieces.append(decoder.decode(content))
        return pieces

    def read(self, token_ids: Sequence[int], request: GenerationRequest, usage: Usage) -> Generation:
        """The turn that was written.

        Raises:
            MalformedOutputError: It is no turn (only without the constraint), or it breaks a keyword that was left to
                this check by ``on_unsupported="check"``.
            TruncatedOutputError: It is no turn because its budget ended first.
        """
        is_ended = bool(token_ids) and token_ids[-1] in self.end_ids
        num_calls = sum(len(m.tool_calls) for m in request.messages if isinstance(m, AssistantMessage))
        try:
            message = protocol.parse_turn(protocol.decode(list(token_ids), self.tokenizer), num_earlier_calls=num_calls)
        except MalformedOutputError as error:
            error.usage = usage
            if is_ended:
                raise
            truncated = TruncatedOutputError(
                f"the turn was cut off after {len(token_ids)} tokens", text=error.text, hint="raise max_new_tokens"
            )
            truncated.usage = usage
            raise truncated from error
        if request.settings.is_constrained and request.settings.on_unsupported == "check":
            _check(message, request, usage, text="".join(self.pieces(token_ids)))
        reason: FinishReason = "tool_calls" if message.tool_calls else "stop" if is_ended else "length"
        return Generation(message=message, finish_reason=reason, usage=usage)


@contextmanager
def _naming_schema_errors() -> Iterator[None]:
    """Say of what cannot be written as JSON that it is a schema.

    Raises:
        UnsupportedSchemaError: It nests too deeply to be read.
        InvalidSchemaError: It is not JSON.
    """
    try:
        yield
    except RecursionError as error:
        raise UnsupportedSchemaError("schema", reason="it nests too deeply") from error
    except (TypeError, ValueError) as error:
        raise InvalidSchemaError(f"a schema is not JSON: {error}") from error


def _head_key(request: GenerationRequest) -> str:
    """Equal for requests with the same instructions, tools and schema of the answer."""
    with _naming_schema_errors():
        return f"{request.tools_json}{json.dumps([protocol.system_of(request.messages), request.output_schema])}"


def kind_of(request: GenerationRequest) -> Hashable:
    """Equal for requests whose turns are about as long: of the same tools, schema, and role before the turn."""
    names = tuple(tool.name for tool in request.tools)
    role = _ROLES[type(request.messages[-1])] if request.messages else ""
    schema = None if request.output_schema is None else json.dumps(request.output_schema)
    return names, request.tool_choice, schema, role


def _family(request: GenerationRequest) -> Hashable:
    """Equal for requests that differ in the conversation alone, as far as the names of their tools are concerned."""
    settings = request.settings
    with _naming_schema_errors():
        return request.tools_json, request.tool_choice, settings.is_parallel, settings.on_unsupported


def _check(message: AssistantMessage, request: GenerationRequest, usage: Usage, *, text: str) -> None:
    """Hold a turn to the keywords that the constraint left out.

    Raises:
        MalformedOutputError: A call or the answer breaks its schema; the message says where.
    """
    schemas = {tool.name: tool.parameters for tool in request.tools}
    problems = [(f"call {c.name}", find_problem(c.arguments, schemas[c.name])) for c in message.tool_calls]
    if request.output_schema is not None and not message.tool_calls:
        problems.append(("answer", find_problem(json.loads(message.text), request.output_schema)))
    for what, problem in problems:
        if problem is not None:
            error = MalformedOutputError(f"the {what} does not fit its schema: {problem}", text=text)
            error.usage = usage
            raise error


def grounding_texts(messages: Sequence[Message]) -> Iterator[str]:
    """Everything that a grounded slot may quote: texts of all messages, and the strings and numbers of results."""
    for message in messages:
        if isinstance(message, ToolMessage):
            for result in message.results:
                yield from _leaves(result.content)
        else:
            yield message.text
            if isinstance(message, AssistantMessage):
                for call in message.tool_calls:
                    yield from _leaves(call.arguments)


def _leaves(value: JsonValue) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield repr(value)
