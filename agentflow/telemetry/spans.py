"""OpenTelemetry spans and metrics, made from the events of runs.

    agent.run(task, on_event=Telemetry())

    invoke_agent NAME                 a run; under the call that started it, if an agent runs as a tool
    ├── chat MODEL                    a turn of the model
    └── execute_tool NAME             a tool call that started

Names follow the GenAI semantic conventions (open-telemetry/semantic-conventions-genai 0.1.0, in development); what a
diffusion model has beyond them is named ``agentflow.*``. Prompts, arguments and results are not recorded unless
asked for. A run without an observer makes no telemetry and pays nothing for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from agentflow.errors import MissingDependencyError
from agentflow.events import (
    CallFinished,
    CallRunning,
    Event,
    RunFinished,
    RunStarted,
    TurnStarted,
    TurnWritten,
)
from agentflow.telemetry.redaction import redact
from agentflow.types import JsonValue, Usage

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

_SCOPE: Final = "agentflow"
_PROVIDER: Final = "agentflow"

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
MODEL: Final = "gen_ai.request.model"
AGENT: Final = "gen_ai.agent.name"
RUN_ID: Final = "gen_ai.conversation.id"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
TOOL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
TOOL_RESULT: Final = "gen_ai.tool.call.result"
ERROR_TYPE: Final = "error.type"
STEPS_PER_CANVAS: Final = "agentflow.denoising_steps_per_canvas"
TOKENS_PER_FORWARD: Final = "agentflow.tokens_per_forward"

_HISTOGRAMS: Final = {
    "gen_ai.client.inference.duration": "s",
    "gen_ai.client.inference.usage.input_tokens": "{token}",
    "gen_ai.client.inference.usage.output_tokens": "{token}",
    "gen_ai.invoke_agent.duration": "s",
    "gen_ai.invoke_agent.inference_calls": "{call}",
    "gen_ai.invoke_agent.tool_calls": "{call}",
    "gen_ai.execute_tool.duration": "s",
    STEPS_PER_CANVAS: "{step}",
    TOKENS_PER_FORWARD: "{token}",
}


class Telemetry:
    """An observer of runs that makes spans and metrics. One may watch many runs at once.

    Attributes:
        wants_drafts: Never; a backend need not make drafts for it.
    """

    wants_drafts = False

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        has_content: bool = False,
    ) -> None:
        """Make an observer.

        Args:
            tracer_provider: Where spans go; the process-wide one if not given.
            meter_provider: Where metrics go; the process-wide one if not given.
            has_content: Record arguments and results of calls, which may hold personal data; what is called or
                looks like a secret is taken out, see `redact`.

        Raises:
            MissingDependencyError: The OpenTelemetry API is not installed.
        """
        try:
            from opentelemetry import metrics, trace
        except ImportError as error:
            raise MissingDependencyError(
                "telemetry needs the OpenTelemetry API", hint="pip install 'agentflow-diffusion[telemetry]'"
            ) from error
        self._trace = trace
        self._tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
        meter = metrics.get_meter(_SCOPE, meter_provider=meter_provider)
        self._histograms = {name: meter.create_histogram(name, unit=unit) for name, unit in _HISTOGRAMS.items()}
        self._has_content = has_content
        self._spans: dict[tuple[str, ...], Span] = {}
        self._models: dict[str, str] = {}
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            RunStarted: self._start_run,
            TurnStarted: self._start_turn,
            TurnWritten: self._end_turn,
            CallRunning: self._start_call,
            CallFinished: self._end_call,
            RunFinished: self._end_run,
        }

    def __call__(self, event: Event) -> None:
        """Take an event."""
        handle = self._handlers.get(type(event))
        if handle is not None:
            handle(event)

    def _start_run(self, event: RunStarted) -> None:
        self._models[event.run_id] = event.model
        parent_id, _, call_id = event.run_id.rpartition(".")
        parent = self._spans.get((parent_id, "call", call_id))
        self._start((event.run_id,), f"invoke_agent {event.agent}", parent, self._describe(event, "invoke_agent"))

    def _start_turn(self, event: TurnStarted) -> None:
        model = self._models.get(event.run_id, "")
        attributes = {**self._describe(event, "chat"), MODEL: model}
        self._start(_turn_key(event), f"chat {model}", self._spans.get((event.run_id,)), attributes)

    def _end_turn(self, event: TurnWritten) -> None:
        usage, labels = event.turn_usage, {**self._describe(event, "chat"), MODEL: self._models.get(event.run_id, "")}
        self._record("gen_ai.client.inference.duration", usage.model_time_s, labels)
        self._record("gen_ai.client.inference.usage.input_tokens", usage.input_tokens, labels)
        self._record("gen_ai.client.inference.usage.output_tokens", usage.output_tokens, labels)
        if usage.num_canvases and usage.denoising_steps:
            self._record(STEPS_PER_CANVAS, usage.denoising_steps_per_canvas, labels)
            self._record(TOKENS_PER_FORWARD, usage.tokens_per_forward, labels)
        self._end(_turn_key(event), {**_describe_usage(usage), FINISH_REASONS: [event.finish_reason]})

    def _start_call(self, event: CallRunning) -> None:
        attributes = {**self._describe(event, "execute_tool"), TOOL_NAME: event.call.name, TOOL_CALL_ID: event.call.id}
        if self._has_content:
            attributes[TOOL_ARGUMENTS] = _show(dict(event.call.arguments))
        self._start(_call_key(event), f"execute_tool {event.call.name}", self._spans.get((event.run_id,)), attributes)

    def _end_call(self, event: CallFinished) -> None:
        labels = {**self._describe(event, "execute_tool"), TOOL_NAME: event.call.name}
        outcome: dict[str, Any] = {ERROR_TYPE: "tool_error"} if event.result.is_error else {}
        self._record("gen_ai.execute_tool.duration", event.duration_s, {**labels, **outcome})
        if self._has_content:
            outcome[TOOL_RESULT] = _show(event.result.content)
        self._end(_call_key(event), outcome, is_error=event.result.is_error)

    def _end_run(self, event: RunFinished) -> None:
        labels = self._describe(event, "invoke_agent")
        outcome = {} if event.reason == "output" else {ERROR_TYPE: event.reason}
        self._record("gen_ai.invoke_agent.duration", event.duration_s, {**labels, **outcome})
        self._record("gen_ai.invoke_agent.inference_calls", event.usage.requests, labels)
        self._record("gen_ai.invoke_agent.tool_calls", event.usage.tool_calls, labels)
        for key in [key for key in self._spans if key[0] == event.run_id and len(key) > 1]:
            self._end(key, {ERROR_TYPE: event.reason}, is_error=True)  # was cut off with the run
        self._end((event.run_id,), {**_describe_usage(event.usage), **outcome}, is_error=bool(outcome))
        self._models.pop(event.run_id, None)

    def _describe(self, event: Event, operation: str) -> dict[str, Any]:
        names = {OPERATION: operation, PROVIDER: _PROVIDER, AGENT: event.agent}
        return (
            {**names, RUN_ID: event.run_id} if operation == "invoke_agent" and isinstance(event, RunStarted) else names
        )

    def _start(self, key: tuple[str, ...], name: str, parent: Span | None, attributes: dict[str, Any]) -> None:
        context = None if parent is None else self._trace.set_span_in_context(parent)
        self._spans[key] = self._tracer.start_span(name, context=context, attributes=attributes)

    def _end(self, key: tuple[str, ...], attributes: dict[str, Any], *, is_error: bool = False) -> None:
        span = self._spans.pop(key, None)
        if span is None:
            return
        span.set_attributes(attributes)
        if is_error:
            span.set_status(self._trace.StatusCode.ERROR)
        span.end()

    def _record(self, name: str, value: float, attributes: dict[str, Any]) -> None:
        self._histograms[name].record(value, attributes=attributes)


def _show(content: JsonValue) -> str:
    safe = redact(content)
    return safe if isinstance(safe, str) else json.dumps(safe, ensure_ascii=False)


def _turn_key(event: Event) -> tuple[str, ...]:
    return (event.run_id, "turn", str(event.turn))


def _call_key(event: CallRunning | CallFinished) -> tuple[str, ...]:
    return (event.run_id, "call", event.call.id)


def _describe_usage(usage: Usage) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        INPUT_TOKENS: usage.input_tokens,
        OUTPUT_TOKENS: usage.output_tokens,
        CACHED_TOKENS: usage.cached_input_tokens,
    }
    if usage.denoising_steps:
        attributes[STEPS_PER_CANVAS] = usage.denoising_steps_per_canvas
        attributes[TOKENS_PER_FORWARD] = usage.tokens_per_forward
    return attributes
