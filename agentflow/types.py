"""The words of agentflow: frozen values that cross from one room to another.

Nothing here computes, waits or touches the outside world. Every value is a frozen dataclass;
what can be derived is a property. Errors have a module of their own, `agentflow.errors`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal, TypeAlias, Union

JsonValue: TypeAlias = Union[bool, int, float, str, Sequence["JsonValue"], Mapping[str, "JsonValue"], None]
"""What JSON can say."""

JsonSchema: TypeAlias = Mapping[str, Any]
"""A JSON Schema object (draft 2020-12 or draft 7), not yet checked."""

ToolChoice: TypeAlias = str
"""``"auto"``: the model decides; ``"none"``: no call; ``"required"``: at least one; else a tool's name."""

OnUnsupported: TypeAlias = Literal["raise", "check"]
"""What happens to schema keywords that decoding cannot hold to: refuse the schema, or check the result for them."""

FinishReason: TypeAlias = Literal["stop", "tool_calls", "length"]
"""Why a generation ended: its own end, a wish to call tools, or the token budget."""

PositionState: TypeAlias = Literal["clamped", "accepted", "open"]
"""A canvas position: the schema leaves no choice, the sampler accepted it, or it is still noise."""


# ---------------------------------------------------------------- messages


@dataclass(frozen=True)
class ToolCall:
    """A model's wish to run one tool.

    Attributes:
        id: Unique within its conversation; the result refers to it.
        name: Name of the tool.
        arguments: Arguments by name, plain JSON values.
    """

    id: str
    name: str
    arguments: Mapping[str, JsonValue]


@dataclass(frozen=True)
class ToolResult:
    """What came back from one tool call. It is data: it never speaks for the user or the model.

    Attributes:
        call_id: The `ToolCall.id` that this answers.
        name: Name of the tool.
        content: A JSON value; for an error, a sentence that the model can act on.
        is_error: Whether the call failed.
        file: Path of the file that the call made, if it made one.
    """

    call_id: str
    name: str
    content: JsonValue
    is_error: bool = False
    file: str | None = None


@dataclass(frozen=True)
class SystemMessage:
    """Instructions that stand above the conversation."""

    text: str


@dataclass(frozen=True)
class UserMessage:
    """What the user said."""

    text: str


@dataclass(frozen=True)
class AssistantMessage:
    """What the model said in one turn: text, or tool calls, after an optional thought."""

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    thought: str = ""


@dataclass(frozen=True)
class ToolMessage:
    """The results of the tool calls of the turn before, in the order of the calls."""

    results: tuple[ToolResult, ...]


Message: TypeAlias = SystemMessage | UserMessage | AssistantMessage | ToolMessage
"""One entry of a conversation."""


@dataclass(frozen=True)
class ToolSpec:
    """What a model is told about a tool.

    Attributes:
        name: Unique among the tools of one request; letters, digits, ``_``, ``-`` and ``.``.
        description: One or a few sentences.
        parameters: JSON Schema of the arguments, always of type ``object``.
    """

    name: str
    description: str
    parameters: JsonSchema


# ---------------------------------------------------------------- plans

StepState: TypeAlias = Literal["pending", "done", "failed", "skipped"]
"""A step of a plan: not run yet, run, run without success, or never to be run because what it needs failed."""


@dataclass(frozen=True, kw_only=True)
class PlanStep:
    """One tool call that a plan foresees.

    Attributes:
        id: Unique in its plan; other steps refer to it.
        tool: Name of the tool or agent that does it.
        goal: What it is for.
        needs: Ids of the steps whose results it uses.
        arguments: Arguments of the call, in which ``"${id}"`` and ``"${id.key.0}"`` stand for the result of a step
            or a part of it; ``None``: the model fills them in when the results it needs are there.
        state: How far it is.
        result: What came back, when `state` is ``"done"`` or ``"failed"``.
    """

    id: str
    tool: str
    goal: str = ""
    needs: tuple[str, ...] = ()
    arguments: Mapping[str, JsonValue] | None = None
    state: StepState = "pending"
    result: JsonValue = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A task as a graph of steps. Steps that do not need each other run at the same time.

    Attributes:
        task: What the plan is for.
        steps: The steps; each needs only steps before it.
    """

    task: str
    steps: tuple[PlanStep, ...]


# ---------------------------------------------------------------- generation


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """How to generate. ``None`` leaves the choice to the model's own generation config.

    Attributes:
        seed: Seed of the draw; equal seeds and requests give equal output on one machine.
        max_new_tokens: Budget of the answer in tokens, the end token included.
        max_denoising_steps: Most denoising steps for one canvas.
        t_min: Temperature of the last denoising step.
        t_max: Temperature of the first denoising step.
        entropy_bound: Entropy in nats up to which positions are accepted in one step.
        stability_threshold: Steps for which the canvas must stay the same before it may stop.
        confidence_threshold: Mean entropy in nats below which a stable canvas stops.
        is_constrained: Hold the output to the schemas of the request. Without it the model is on its own.
        is_grounded: Limit free strings (and numbers) to spans of the conversation; ``None``: the model's habit.
        is_parallel: Allow several tool calls in one turn.
        is_checked: Check every draft with the causal encoder of the same weights and keep what it agrees with: the
            answer of left-to-right decoding, in fewer forward passes; ``None``: the model's habit.
        is_warm_started: Begin a request that has a draft from that draft instead of noise; ``None``: where drafts are
            checked, which changes how long a turn takes and never what is written.
        on_unsupported: What happens to keywords of a schema that decoding cannot hold to: ``"raise"`` refuses the
            schema, ``"check"`` decodes without them and checks the result; one that fails is asked for again.
    """

    seed: int | None = None
    max_new_tokens: int | None = None
    max_denoising_steps: int | None = None
    t_min: float | None = None
    t_max: float | None = None
    entropy_bound: float | None = None
    stability_threshold: int | None = None
    confidence_threshold: float | None = None
    is_constrained: bool = True
    is_grounded: bool | None = None
    is_parallel: bool = True
    is_checked: bool | None = None
    is_warm_started: bool | None = None
    on_unsupported: OnUnsupported = "raise"

    def __post_init__(self) -> None:
        """Check the bounds.

        Raises:
            ValueError: If a number is outside its range; the message names the field and the value.
        """
        for name in ("max_new_tokens", "max_denoising_steps"):
            _require(name, getattr(self, name), minimum=1)
        for name in ("t_min", "t_max", "entropy_bound", "confidence_threshold", "stability_threshold"):
            _require(name, getattr(self, name), minimum=0)
        if self.on_unsupported not in ("raise", "check"):
            msg = f"on_unsupported must be 'raise' or 'check', got {self.on_unsupported!r}"
            raise ValueError(msg)
        if self.t_min is not None and self.t_max is not None and self.t_max < self.t_min:
            msg = f"t_max={self.t_max} is below t_min={self.t_min}; the schedule cools from t_max to t_min"
            raise ValueError(msg)


def _require(name: str, value: float | None, *, minimum: float) -> None:
    if value is not None and not value >= minimum:
        msg = f"{name} must be at least {minimum}, got {value!r}"
        raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """One turn that a backend is asked to write.

    Attributes:
        messages: The conversation so far, oldest first.
        tools: Tools that may be called.
        tool_choice: See `ToolChoice`.
        output_schema: Schema of the final answer; ``None`` means free text.
        settings: How to generate.
        timeout_s: Seconds after which the backend gives up, or ``None``.
        priority: Where requests wait for the model, those of higher priority go first.
        agent: Who asks. Where requests wait for the model, agents take turns.
        draft: What the turn will probably be like: an attempt that was turned down, or a turn that is to be edited.
            See `GenerationSettings.is_warm_started`.
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: ToolChoice = "auto"
    output_schema: JsonSchema | None = None
    settings: GenerationSettings = field(default_factory=GenerationSettings)
    timeout_s: float | None = None
    priority: int = 0
    agent: str = ""
    draft: AssistantMessage | None = None

    @cached_property
    def tools_json(self) -> str:
        """The tools as JSON, by which requests with equal ones are known.

        Raises:
            RecursionError: A schema nests too deeply.
            TypeError: A schema is not JSON.
            ValueError: It contains itself.
        """
        return json.dumps([[tool.name, tool.description, tool.parameters] for tool in self.tools])


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a piece of work cost. Usages add up with ``+``.

    Attributes:
        requests: Model calls.
        input_tokens: Prompt tokens, cached ones included.
        cached_input_tokens: Prompt tokens whose encoding was reused.
        output_tokens: Tokens committed, control tokens included, the tail after the end token not.
        num_canvases: Canvases committed (1 per request for a left-to-right model).
        denoising_steps: Denoising steps, summed over canvases (0 for a left-to-right model).
        num_forwards: Forward passes that wrote the output, summed over rows.
        tool_calls: Tool calls that were run.
        model_time_s: Seconds spent waiting for the model.
        constraint_time_s: Of these, processor seconds of holding the output to its schemas.
        compile_time_s: Processor seconds of compiling the schemas, before and during the turns.
        log_partition: Sum over steps of log Z, the log-probability that the model gives the grammar.
        cost: What it costs in money, in the currency of the prices that the caller set; 0 without prices.
    """

    requests: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    num_canvases: int = 0
    denoising_steps: int = 0
    num_forwards: int = 0
    tool_calls: int = 0
    model_time_s: float = 0.0
    constraint_time_s: float = 0.0
    compile_time_s: float = 0.0
    log_partition: float = 0.0
    cost: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        """Add field by field."""
        return Usage(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    @property
    def tokens_per_forward(self) -> float:
        """Output tokens per forward pass."""
        return self.output_tokens / self.num_forwards if self.num_forwards else 0.0

    @property
    def denoising_steps_per_canvas(self) -> float:
        """Mean number of denoising steps of a canvas."""
        return self.denoising_steps / self.num_canvases if self.num_canvases else 0.0

    @property
    def end_to_end_output_tokens_per_second(self) -> float:
        """Output tokens per second of model time."""
        return self.output_tokens / self.model_time_s if self.model_time_s else 0.0


@dataclass(frozen=True)
class Generation:
    """One turn that a backend wrote.

    Attributes:
        message: The turn.
        finish_reason: Why it ended.
        usage: What it cost.
    """

    message: AssistantMessage
    finish_reason: FinishReason
    usage: Usage


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A canvas as it stands after one denoising step, for people who watch.

    Attributes:
        canvas_index: Which canvas of the turn, from 0.
        step: Denoising steps done on this canvas, from 1.
        max_steps: Most steps this canvas may take.
        pieces: Text of each position; the pieces of a row joined are the draft.
        states: State of each position, as long as `pieces`.
        is_committed: Whether this is the canvas as committed.
    """

    canvas_index: int
    step: int
    max_steps: int
    pieces: tuple[str, ...]
    states: tuple[PositionState, ...]
    is_committed: bool = False

    @property
    def text(self) -> str:
        """The draft as one string."""
        return "".join(self.pieces)
