# ruff: noqa: E501, PLR2004, SIM905 - phrasings and word lists stand in one line, shares where they are drawn
"""Clauses that hand work to somebody: tools such as ``send_to_chemist(task)``, ``ask_editor(question)``, ``delegate_to_tester(request)``.

The others of the crew are offered as decoys. What is handed over is a text of the user, mostly in quotes.
"""

from __future__ import annotations

from agentflow.embedded.data.clauses.draft import Draft, Kind
from agentflow.embedded.data.tools import Argument, Behaviour

_ROLES = (
    "mathematician chemist editor tester writer reviewer planner researcher analyst translator coder designer lawyer "
    "librarian physicist accountant clerk cook doctor driver engineer gardener historian journalist manager nurse painter "
    "plumber scientist secretary teacher trader critic summarizer calculator_agent math_expert sql_expert travel_agent "
    "support_team sales_team helper worker assistant specialist programmer statistician coach agent_a agent_b"
).split()
_NAMES = (
    "send_to_{r}", "send_to_{r}", "ask_{r}", "delegate_to_{r}", "call_{r}", "[hand|give|pass]_to_{r}", "[the_{r}|{r}|my_{r}]", "{r}_agent",
    "[message|tell|query|consult|run|invoke]_{r}", "send_task_to_{r}", "{r}_[task|ask|do|help|tool]",
)  # fmt: skip
_DESCRIBED = (
    "Send a [task|request|message|question] to the {w}[.|]", "Hand a task to the [agent '{r}' and get its answer.|{w}.]", "Ask the {w}[| something| to do something][.|]",
    "[Let|Have] the {w} do [a task|something][.|]", "[Delegate|Give|Pass] [work|a task|a job] to the {w}[.|]", "[Talk to|Consult|Query] the {w}[.|]",
)  # fmt: skip
_ARGUMENT = "[task|task|task|request|instruction|message|question|prompt|query|text|job|what|instructions|content]"
_ARGUMENT_SAID = "[[The|A] [task|request|message|question|text][| to hand over| for the agent| in full]|What to do|What to ask|What it is to do][.|]"
_RESULTS: tuple[tuple[str, str, Kind, str, str], ...] = (
    ("an_answer", "answer", "text", "answer|reply|result|{r}_answer", "[the|its] [answer|reply|result]|the [answer|reply] of the {w}"),
    ("a_count", "count", "number", "count|result|answer|number", "the [result|answer|number|count]"),
    ("a_price", "price", "number", "price|cost|answer|result", "[the|its] [price|cost|result]"),
    ("a_status", "status", "text", "status|state|{r}_status", "[the|its] [status|state]"),
)  # fmt: skip
_QUOTED = (
    "[send|give|pass|hand|forward] [the|this|a] [task|request|question|message|job] {q} to [the|our|my] {w}",
    "[send|give|pass|forward] {q} to [the|our|my] {w}",
    "[send|give|hand|tell] [the|our|my] {w} [the|this] [task|request|message|question|instruction] {q}",
    "[ask|tell] [the|our|my] {w}[|:] {q}",
    "[delegate|hand over|assign] {q} to [the|our|my] {w}",
    "[let|have] [the|our|my] {w} [do|handle|take on|see to|answer][| this| this task| the task| the job][:|] {q}",
    "[consult|query|message|call] [the|our|my] {w} with {q}",
)
_PLAIN = (
    "[ask|tell|get|instruct|request] [the|our|my] {w} to {q}",
    "[let|have] [the|our|my] {w} {q}",
    "[send|give] [the|our|my] {w} the task to {q}",
)


def delegate(draft: Draft) -> str:
    """Wish that somebody does something."""
    rng = draft.rng
    roles = rng.sample(_ROLES, rng.choice((1, 2, 2, 3)))
    names, described, argument = rng.choice(_NAMES), rng.choice(_DESCRIBED), rng.choice((_ARGUMENT, "task"))
    result = rng.choice(_RESULTS)[0]
    for role in roles:
        behaviour = _behaviour(role, names, described, argument)
        if draft.functions.setdefault(behaviour.name, behaviour) is behaviour:
            for world in (draft.world, draft.before):
                world.functions[behaviour.name] = result
    role, word = roles[0], roles[0].replace("_", " ")
    result = draft.world.functions[f"fn_ask_{role}"]
    _, key, kind, fields, said = next(row for row in _RESULTS if row[0] == result)
    text, asked = _draw_task(draft)
    value = draft.call(f"fn_ask_{role}", (), task=text)[key]
    draft.put(value, kind, fields.format(r=role), said.format(w=word))
    return asked.replace("{w}", word)


def _behaviour(role: str, names: str, described: str, argument: str) -> Behaviour:
    word = role.replace("_", " ")
    says = described.format(r=role, w=word)
    task = Argument("task", argument, "The task.", _ARGUMENT_SAID)
    return Behaviour(f"fn_ask_{role}", names.format(r=role), f"Ask the {word}.", says, (task,))


def _draw_task(draft: Draft) -> tuple[str, str]:
    """Draw what is handed over, and how that is asked, with ``{w}`` for who is to do it."""
    rng, values = draft.rng, draft.values
    if rng.random() < 0.3:
        errand = values.errand()
        if " and " not in errand:
            return errand, draft.say(*_PLAIN, q=errand, w="{w}")
    text = values.signed() if rng.random() < 0.6 else values.text()
    text = text[0].upper() + text[1:] if rng.random() < 0.5 else text
    quote = rng.choice(("'", "'", '"'))
    return text, draft.say(*_QUOTED, q=f"{quote}{text}{quote}", w="{w}")
