# ruff: noqa: E501, PLR2004 - a phrasing stands in one line, shares stand where they are drawn
"""Tasks of one to a dozen calls: clauses joined to a request, the calls played, the answer told.

    request  ->  call, result, call, result, ...  ->  JSON of a schema, or a sentence

A chat has several such rounds, whose answers are sentences; a later round may speak of an earlier one.
"""

from __future__ import annotations

import copy
import itertools
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agentflow.embedded.data.clauses import Draft, Output, Step, call_function, draw_clause, shown
from agentflow.embedded.data.clauses.declared import call_declared, call_declared_alone
from agentflow.embedded.data.clauses.operations import call_operation, call_operation_again, call_operation_alone
from agentflow.embedded.data.phrasings import expand, plainest
from agentflow.embedded.data.splits import Split
from agentflow.embedded.data.tools import OfferedTool, declare_many
from agentflow.embedded.data.worlds import World, WorldError
from agentflow.embedded.simulated import SimulatedWorld
from agentflow.types import (
    AssistantMessage,
    JsonSchema,
    Message,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolResult,
    ToolSpec,
    UserMessage,
)


@dataclass(frozen=True)
class Conversation:
    """A finished conversation.

    Attributes:
        kind: What it exercises.
        messages: From the instructions to the final answer.
        tools: Tools that are offered.
        output_schema: Schema of the final answer, or None for text.
        offered: The tools by declared name, with what they do.
        before: The world before the first call, or None where no tool is needed.
        after: The world after the last one.
    """

    kind: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    output_schema: JsonSchema | None
    offered: Mapping[str, OfferedTool] = field(default_factory=dict)
    before: World | SimulatedWorld | None = None
    after: World | SimulatedWorld | None = None

    def run(self, call: ToolCall, world: World | SimulatedWorld) -> ToolResult:
        """Run a call of one of the offered tools in a world."""
        tool = self.offered[call.name]
        if isinstance(world, SimulatedWorld):
            result = world.run(ToolCall(call.id, tool.behaviour.name, call.arguments))
            return replace(result, name=call.name)
        usual = {name: usual_name for usual_name, name in tool.names.items()}
        try:
            content = world.run(tool.behaviour.name, {usual[name]: value for name, value in call.arguments.items()})
        except WorldError as error:
            return ToolResult(call.id, call.name, _failed(call.name, str(error)), is_error=True)
        return ToolResult(call.id, call.name, content)


def _failed(name: str, problem: str) -> str:
    """Say what the executor says of a tool that raised."""
    return f"{name} failed: {problem}"


_INSTRUCTIONS = (
    "",
    "",
    "You [are|act as] [a|an] [helpful|careful|friendly|precise|exact|small] [assistant|agent|helper|office assistant].[| Use the tools.| Use the tools when they help.| Call one tool at a time.]",
    "Use the tools. Then answer.",
    "Use the tools. Then answer.",
    "[Use|Call] the tools[| to do what the user asks| to solve the task| that you need| step by step].[| Then answer.| Be exact.| Copy values exactly.]",
    "[Do|Carry out|Solve|Complete] [the task|what is asked|the request] [step by step|with the tools|using the tools].[| Answer at the end.| Then report.]",
    "Help the user.[| Be brief.| Answer briefly.| Answer in few words.]",
    "You [can|may] [call|use] tools.[| Do not guess.| Never make up values.]",
    "You manage [notes and files|an office|the user's day|a small shop].[| Use the tools.]",
)  # fmt: skip
_PARALLEL_INSTRUCTIONS = (
    "[Call|Run|Use] independent tools [at once|together|in parallel|at the same time].",
    "[Make|Do] [calls|tool calls] that do not need each other [in one turn|at once|together|in parallel].",
)
_OPENINGS = (
    "[Please |Could you |Could you please |Can you |Can you please |I need you to |I want you to |I'd like you to |Would you |Would you please |Kindly |Go ahead and |Just |Help me to |You should |You must |Let us |I would like you to |Try to |Your job is to |Be so kind and |Quickly ]",
    "[Hi|Hello|Hey|Good morning|Good day|Dear assistant|Hi there|Hello there|OK|So|Right|Well|Alright][, |! |! |, please |! Please ]",
    "[Your task|Task|To do|Here is what I need|Here is what to do|Do this|Please help me|The job|Your job|What I need|My request|Today|This is the plan]: ",
    "[Now|Next|First|First of all|To begin with|For a start|OK, now|So, first][ |, ]",
)
_CLOSINGS = (
    "[Thanks|Thank you|Thanks a lot|Many thanks|Thank you very much|Thanks in advance|Cheers|Please][!|.|, that is all.|, and be exact.]",
    "[That is all|That's all|That will be all|Nothing else|No more than that|This is everything][.| for now.| for today.|, thanks.]",
    "[Then stop|Then you are done|And then stop|Stop after that|After that you are done|Then it is done|Then end][.|, please.|, thanks.]",
    "[Be exact|Be careful|Be quick|Be precise|Take care|Make no mistake|Copy exactly][.|, please.|!]",
    "[Do it|Do this|Do that|Do all of it|Do everything|Do all of this][.| now.| at once.| in this order.| step by step.]",
    "[In this order|One after the other|Step by step|All of it|Right now|As soon as you can][.|, please.]",
)
_OPENING_SHARE, _CLOSING_SHARE = 0.65, 0.35
_SCHEMA_SAID = (
    "[The answer|An answer|Answer|Report|A report|Result|What came out|The result|Summary]"
    "[.| of the task.| of the job.| of the run.| for the user.| to the question.]"
)
_NUM_CLAUSES = ((1, 0.18), (2, 0.31), (3, 0.26), (4, 0.13), (5, 0.07), (6, 0.05))
_NUM_FUNCTIONS = ((1, 0.6), (2, 0.3), (3, 0.1))
_ALONE_SHARE, _AGAIN_SHARE, _AGAIN_PARALLEL_SHARE = 0.7, 0.15, 0.8
_PARALLEL_SHARE, _TEXT_SHARE, _MENTION_SHARE, _DESCRIPTION_SHARE, _CHAT_SHARE = 0.1, 0.08, 0.12, 0.12, 0.25
_MAX_STEPS = 12


@dataclass(frozen=True)
class _Wish:
    """A clause as it is said, and how far the task has come with it."""

    said: str
    num_steps: int


_Shares = Sequence[tuple[int, float]]
_Clause = Callable[[Draft], str]


def make_task(rng: random.Random, split: Split) -> Conversation:
    """Make a task with tools."""
    return _make(rng, split, draw_clause, _NUM_CLAUSES)


def make_function_task(rng: random.Random, split: Split) -> Conversation:
    """Make a task for functions that this conversation alone has."""
    return _make(rng, split, lambda _: call_function, _NUM_FUNCTIONS)


def make_declared_task(rng: random.Random, split: Split) -> Conversation:
    """Make a task for functions of a file of declarations; a request for a single one has more ways to be said."""
    if rng.random() < _ALONE_SHARE:
        return _make(rng, split, lambda _: call_declared_alone, ((1, 1.0),))
    return _make(rng, split, lambda _: call_declared, ((1, 0.1), (2, 0.65), (3, 0.25)))


def make_api_task(rng: random.Random, split: Split) -> Conversation:
    """Make a task for operations of published APIs: one call, the same one with other values, or several calls."""
    kind = rng.random()
    if kind < _ALONE_SHARE:
        return _make(rng, split, lambda _: call_operation_alone, ((1, 1.0),))
    if kind < _ALONE_SHARE + _AGAIN_SHARE:
        return _make(rng, split, lambda _: call_operation_again, ((1, 1.0),), parallel_share=_AGAIN_PARALLEL_SHARE)
    return _make(rng, split, lambda _: call_operation, ((2, 0.7), (3, 0.3)))


def _make(
    rng: random.Random,
    split: Split,
    draw: Callable[[Draft], _Clause],
    num_clauses: _Shares,
    *,
    parallel_share: float = _PARALLEL_SHARE,
) -> Conversation:
    draft, wishes = _draw_wishes(rng, split, draw, num_clauses)
    while not replay(draft):  # two clauses were about the same thing
        draft, wishes = _draw_wishes(rng, split, draw, num_clauses)
    if rng.random() < _CHAT_SHARE:
        return make_chat(draft, _cut(rng, wishes), split)
    is_parallel = rng.random() < parallel_share and not any(step.is_error for step in draft.steps)
    request = join_request(draft, [wish.said for wish in wishes])
    if rng.random() < _TEXT_SHARE:
        schema, answer = None, sentence(draft, draft.outputs, heard=request)
    else:
        schema, value = _answer(draft)
        answer = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        request += _mention(draft, list(value)) if rng.random() < _MENTION_SHARE else ""
    offered = declare_many([step.tool for step in draft.steps], rng, split, draft.functions)
    messages = [*instructions(draft, is_parallel=is_parallel), UserMessage(request)]
    for turn in _turns(draft.steps, range(len(draft.steps)), is_parallel=is_parallel):
        messages += play(turn, draft.steps, offered)
    messages.append(AssistantMessage(answer))
    kind = f"{'parallel' if is_parallel else 'chain'}-{min(len(draft.steps), 9)}"
    return finish(kind, draft, messages, offered, schema)


def make_chat(draft: Draft, rounds: Sequence[Sequence[_Wish]], split: Split) -> Conversation:
    """Play wishes in rounds, each answered by a sentence."""
    offered = declare_many([step.tool for step in draft.steps], draft.rng, split, draft.functions)
    messages = instructions(draft, is_parallel=False)
    start = 0
    for wishes in rounds:
        request = join_request(draft, [wish.said for wish in wishes])
        messages.append(UserMessage(request))
        steps = range(start, wishes[-1].num_steps)
        for turn in _turns(draft.steps, steps, is_parallel=False):
            messages += play(turn, draft.steps, offered)
        messages.append(AssistantMessage(sentence(draft, [o for o in draft.outputs if o.step in steps], heard=request)))
        start = wishes[-1].num_steps
    return finish(f"chat-{len(rounds)}", draft, messages, offered, None)


def finish(
    kind: str, draft: Draft, messages: list[Message], offered: Mapping[str, OfferedTool], schema: JsonSchema | None
) -> Conversation:
    """Put a conversation together."""
    return Conversation(
        kind,
        tuple(messages),
        tuple(tool.spec for tool in offered.values()),
        schema,
        {tool.spec.name: tool for tool in offered.values()},
        draft.before,
        draft.world,
    )


def _draw_wishes(
    rng: random.Random, split: Split, draw: Callable[[Draft], _Clause], num_clauses: _Shares
) -> tuple[Draft, list[_Wish]]:
    draft = Draft.start(rng, split)
    num = rng.choices([n for n, _ in num_clauses], [w for _, w in num_clauses])[0]
    wishes: list[_Wish] = []
    while len(wishes) < num and len(draft.steps) < _MAX_STEPS:
        said = draw(draft)(draft)
        wishes.append(_Wish(said, len(draft.steps)))
    return draft, wishes


def _cut(rng: random.Random, wishes: list[_Wish]) -> list[list[_Wish]]:
    """Cut wishes into up to three rounds."""
    num_cuts = min(len(wishes) - 1, rng.choice((1, 1, 2)))
    cuts = sorted(rng.sample(range(1, len(wishes)), num_cuts))
    return [wishes[a:b] for a, b in itertools.pairwise([0, *cuts, len(wishes)])]


def replay(draft: Draft) -> bool:
    """Run all calls again from the world as it was; refresh lists and say whether all else came out the same."""
    draft.before.facts = dict(draft.world.facts)
    draft.world = copy.deepcopy(draft.before)
    for index, step in enumerate(draft.steps):
        try:
            result, is_error = draft.world.run(step.tool, step.arguments), False
        except WorldError as error:
            result, is_error = str(error), True
        if is_error != step.is_error:
            return False
        lists = [i for i, output in enumerate(draft.outputs) if output.step == index and output.kind == "list"]
        if result != step.result and not lists and not is_error:
            return False
        draft.steps[index] = replace(step, result=result)
        for i in lists:
            draft.outputs[i] = replace(draft.outputs[i], value=next(iter(result.values())))
    return True


def instructions(draft: Draft, *, is_parallel: bool) -> list[Message]:
    """Draw the system message, or none."""
    text = draft.say(*_INSTRUCTIONS)
    if is_parallel:
        text = text.replace(" Call one tool at a time.", "")
        text = f"{text} {draft.say(*_PARALLEL_INSTRUCTIONS)}".strip()
    return [SystemMessage(text)] if text else []


def join_request(draft: Draft, clauses: list[str]) -> str:
    """Say wishes in one request."""
    rng = draft.rng
    body = rng.choice((_join_commas, _join_commas, _join_sentences, _join_ordered, _join_list))(rng, clauses)
    opening = draft.say(*_OPENINGS) if rng.random() < _OPENING_SHARE else ""
    is_list = not body[0].isalpha()
    if opening and body.lower().startswith((*_QUESTIONS, *_GIVEN)) and not opening.endswith(("! ", ": ")):
        opening = ""
    if opening and not opening.endswith(("! ", ": ")):
        opening, body = (
            ("", body) if is_list else (opening, body if body.startswith("I ") else body[0].lower() + body[1:])
        )
    elif is_list and "\n" in body:
        opening = f"{opening.rstrip()}\n"
    closing = draft.say(*_CLOSINGS) if rng.random() < _CLOSING_SHARE else ""
    return f"{opening}{body} {closing}".strip()


def capital(text: str) -> str:
    """Write the first letter large."""
    return text[0].upper() + text[1:]


_GIVEN = ("given ", "with ", "for ")
"""How wishes begin that have their values in front; nobody says "could you please given"."""
_QUESTIONS = ("which", "what", "how", "when ", "where ", "who ", "do i ", "do these ", "is this ")


def stop(text: str) -> str:
    """End a sentence, a question with a question mark."""
    return text + ("?" if text.lower().startswith(_QUESTIONS) and "\n" not in text and ". " not in text else ".")


def _join_commas(rng: random.Random, clauses: list[str]) -> str:
    if len(clauses) == 1:
        return stop(capital(clauses[0]))
    last = rng.choice((", and ", " and ", ", then ", " and then ", ", and then ", ", and finally "))
    middle = rng.choice((", ", ", ", ", then "))
    return stop(capital(middle.join(clauses[:-1]) + last + clauses[-1]))


def _join_sentences(_: random.Random, clauses: list[str]) -> str:
    return " ".join(stop(capital(clause)) for clause in clauses)


def _join_ordered(rng: random.Random, clauses: list[str]) -> str:
    if len(clauses) == 1:
        return stop(capital(clauses[0]))
    words = [
        rng.choice(("First, ", "First ", "")),
        *("Then " if rng.random() < 0.6 else "After that, " for _ in clauses[2:]),
    ]
    words.append(rng.choice(("Finally, ", "Then ", "And then ", "At last, ")))
    return " ".join(capital(word + clause) + "." for word, clause in zip(words, clauses, strict=True))


def _join_list(rng: random.Random, clauses: list[str]) -> str:
    if len(clauses) == 1:
        return stop(capital(clauses[0]))
    separator, mark = rng.choice(("\n", "\n", "\n", " ")), rng.choice(("{}.", "{}.", "{})", "-"))
    mark = "({})" if separator == " " else mark
    return separator.join(f"{mark.format(i)} {stop(capital(clause))}" for i, clause in enumerate(clauses, 1))


def _mention(draft: Draft, names: list[str]) -> str:
    said = [name.replace("_", " ") for name in names]
    listed = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
    return draft.say(
        " [Answer with|Report|Give me|Tell me|Return|I want] {x}.", " [The answer has|Answer:] {x}.", x=listed
    )


# ---------------------------------------------------------------- turns


def _turns(steps: Sequence[Step], chosen: Iterable[int], *, is_parallel: bool) -> list[list[int]]:
    """Group the chosen calls into turns; in parallel, a call joins the turn before unless it needs one of its results."""
    turns: list[list[int]] = []
    for index in chosen:
        if is_parallel and turns and steps[index].needs.isdisjoint(turns[-1]):
            turns[-1].append(index)
        else:
            turns.append([index])
    return turns


def play(turn: list[int], steps: Sequence[Step], offered: Mapping[str, OfferedTool]) -> list[Message]:
    """Give the turn of the calls and the message of their results."""
    calls, results = [], []
    for index in turn:
        step, tool = steps[index], offered[steps[index].tool]
        calls.append(ToolCall(f"call_{index}", tool.spec.name, tool.rename(step.arguments)))
        content = _failed(tool.spec.name, str(step.result)) if step.is_error else step.result
        results.append(ToolResult(f"call_{index}", tool.spec.name, content, is_error=step.is_error))
    return [AssistantMessage(tool_calls=tuple(calls)), ToolMessage(tuple(results))]


# ---------------------------------------------------------------- answers


def _answer(draft: Draft) -> tuple[JsonSchema, dict[str, Any]]:
    """Choose what the answer tells; give its schema and its value."""
    rng = draft.rng
    chosen = [o for o in draft.outputs if rng.random() < (0.35 if o.kind == "echo" else 0.75)]
    if not chosen:
        best = [o for o in draft.outputs if o.kind != "echo"] or draft.outputs
        chosen = [best[-1]]
    chosen = chosen[-4:]
    if rng.random() < 0.25:
        rng.shuffle(chosen)
    value: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    for output in chosen:
        name = _field_name(draft, output, taken=set(value))
        value[name] = output.value
        properties[name] = _field_schema(rng, output)
    return object_schema(rng, properties), value


def object_schema(rng: random.Random, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Give the schema of an object in one of the orders of keywords that libraries write."""
    said = {"description": expand(_SCHEMA_SAID, rng)} if rng.random() < 0.2 else {}
    if rng.random() < 0.4:
        return {**said, "type": "object", "properties": properties, "required": list(properties)}
    return {**said, "properties": properties, "required": list(properties), "type": "object"}


def _field_name(draft: Draft, output: Output, *, taken: set[str]) -> str:
    """Draw a name that no other output could have; failing that, number those that share it."""
    names = output.fields.split("|")
    others = {name for o in draft.outputs if o is not output for name in o.fields.split("|")}
    free = [name for name in names if name not in others | taken]
    if free:
        return draft.rng.choice(free)
    name = draft.rng.choice(names)
    alike = [o for o in draft.outputs if name in o.fields.split("|")]
    index = next(i for i, o in enumerate(alike) if o is output)
    prefix = (
        "first_",
        "second_",
        "third_",
        "fourth_",
        "fifth_",
        "sixth_",
        "seventh_",
        "eighth_",
        "ninth_",
        "tenth_",
        "eleventh_",
        "twelfth_",
    )[min(index, 11)]
    return f"{prefix}{name}" if draft.rng.random() < 0.7 else f"{name}_{index + 1}"


def _field_schema(rng: random.Random, output: Output) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if isinstance(output.value, list):
        schema = {"type": "array", "items": {"type": "string"}}
    elif isinstance(output.value, int):
        schema = {"type": rng.choice(("integer", "number"))}
    elif isinstance(output.value, float):
        schema = {"type": "number"}
    if rng.random() < _DESCRIPTION_SHARE:
        said = (
            expand(f"[{output.said}]", rng)
            if output.said
            else output.fields.split("|", maxsplit=1)[0].replace("_", " ")
        )
        described = {"description": capital(said)}
        schema = {**described, **schema} if rng.random() < 0.5 else {**schema, **described}
    return schema


_MOST_TOLD = 6
_READING = frozenset(("read_file", "read_note", "fetch_url"))


def sentence(draft: Draft, outputs: Sequence[Output], *, heard: str) -> str:
    """Tell what came out in a sentence or two, in words that the request or a result has."""
    told = [o for o in outputs if o.said and o.kind != "echo"][-_MOST_TOLD:]
    if not told:
        return "Done."
    parts = []
    for output in told:
        said, step = plainest(output.said), draft.steps[output.step]
        is_told = said.rpartition(" ")[2].lower() in f"{heard} {step.result}".lower()
        if step.tool in _READING and not is_told:
            said = f"the {output.kind}"
        parts.append(f"{capital(said)} is {shown(output.value)}.")
    return " ".join(parts)
