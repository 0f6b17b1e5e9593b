# ruff: noqa: E501, PLR2004, SIM905 - phrasings and word lists stand in one line, shares where they are drawn
"""Functions that one conversation alone has: a verb, a noun and arguments, thrown together.

``book_flight(from_city, day)``, ``cancel_lease(reference)``, ``rate_song(title, stars)``: nobody can know
them, so the declaration has to be read. Decoys with the same verb or noun are offered beside them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from agentflow.embedded.data.clauses.arguments import ArgumentKind, draw_kinds
from agentflow.embedded.data.clauses.draft import Draft, Kind, shown
from agentflow.embedded.data.phrasings import expand
from agentflow.embedded.data.tools import Argument, Behaviour
from agentflow.types import JsonValue

_VERBS = (
    "book reserve cancel order rent find search track update rename delete remove create register schedule move share "
    "review rate print export import publish archive approve reject assign close reopen start stop pause check count "
    "measure compare send request renew upgrade lock unlock log report submit post pay refund transfer record play "
    "buy sell return ship pack open describe tag sort merge copy restore scan sign invite notify add set change plan "
    "generate convert validate analyze plot monitor recommend summarize simulate assess"
).split()  # fmt: skip
_ASKING = "calculate compute estimate get find determine retrieve fetch predict check".split()
"""Verbs of functions that tell something; what they tell can be asked for without the verb."""
_FIGURES = (
    "area volume perimeter distance speed energy force density average total interest tax tip profit mortgage budget forecast "
    "score ratio probability growth age calories dosage temperature balance angle salary rent fare fee premium discount "
    "duration weight height capacity yield risk ranking schedule availability status history statistics details"
).split()
_MODIFIERS = "annual monthly weekly daily local personal online nearby recent final business family public average total net".split()
_NOUNS = (
    "flight hotel room table taxi car bike train ticket seat parcel invoice order lease contract account card loan "
    "payment subscription license shift meeting class course exam lesson game match song album movie show photo video "
    "document folder report form survey poll message post comment review recipe meal menu drink workout run route trip "
    "visit patient doctor appointment prescription pet plant garden lamp door alarm sensor printer server backup job task "
    "project issue bug branch release test product item coupon gift donation volunteer event party guest member team "
    "player customer supplier warehouse shelf truck driver delivery pickup tool machine part repair storage locker"
).split()


_RESULTS: tuple[tuple[str, str, Kind, str, str], ...] = (
    ("an_id", "id", "text", "id|code|reference|number|{noun}_id", "the [id|code|reference|number][| of the {noun}]|its [id|code|number]"),
    ("an_id", "id", "text", "id|code|reference|number|{noun}_id", "the [id|code|reference|number][| of the {noun}]|its [id|code|number]"),
    ("a_status", "status", "text", "status|state|{noun}_status", "[the|its] [status|state][| of the {noun}]"),
    ("a_price", "price", "number", "price|cost|{noun}_price|total", "[the|its] [price|cost][| of the {noun}]"),
    ("a_count", "count", "number", "count|{noun}_count|how_many|quantity", "the [count|number of {noun}s]"),
)  # fmt: skip


def draw_function(rng: random.Random, *, verb: str = "", noun: str = "") -> tuple[Behaviour, tuple[ArgumentKind, ...]]:
    """Throw a function together.

    Returns:
        The behaviour, whose name starts with ``fn_``, and the kinds of its arguments, in order.
    """
    is_asking = not verb and rng.random() < 0.35
    verb = verb or rng.choice(_ASKING if is_asking else _VERBS)
    noun = noun or _draw_noun(rng, is_asking=is_asking)
    kinds = draw_kinds(rng)
    arguments = _declare(rng, kinds, noun)
    said, noun = noun, noun.replace(" ", "_")
    names = f"{verb}_{noun}|{verb}_[a|the|new|my]_{noun}|{noun}_{verb}|{verb}_{noun}_[now|item|entry|record|data]|[do|run|tool|app|make]_{verb}_{noun}"
    described = f"[{verb.capitalize()}|Can {verb}|Use it to {verb}|Tool to {verb}] [a|the|one] {said}[|.| for the user.| of the user.]"
    return Behaviour(f"fn_{verb}_{said}", names, f"{verb.capitalize()} a {said}.", described, arguments), kinds


def _draw_noun(rng: random.Random, *, is_asking: bool) -> str:
    noun = rng.choice(_FIGURES if is_asking and rng.random() < 0.7 else _NOUNS)
    if rng.random() < 0.3:
        noun = f"{rng.choice(_MODIFIERS if rng.random() < 0.5 else _NOUNS)} {noun}"
    return noun


def _declare(rng: random.Random, kinds: Sequence[ArgumentKind], noun: str) -> tuple[Argument, ...]:
    """Name arguments; now and then the last one may be left out."""
    arguments: list[Argument] = []
    has_optional = len(kinds) > 1 and rng.random() < 0.3
    for index, kind in enumerate(kinds):
        taken = {argument.name for argument in arguments}
        name = rng.choice([name for name in kind.names.split("|") if name not in taken] or [f"value_{len(taken)}"])
        described = kind.described.replace("{noun}", noun)
        default = None
        if has_optional and index == len(kinds) - 1:
            described, default = f"{described}[| (optional)|, optional]", ""
        arguments.append(
            Argument(name, f"[{kind.names}]", expand(described, rng), described, kind.type, kind.enum, default)
        )
    return tuple(arguments)


_MOST_BEFORE_DECOYS = 5
"""A conversation that has more functions gets no decoys beside the next one."""


def call_function(draft: Draft) -> str:
    """Wish for something that only a function of this conversation does."""
    behaviour, parts, values = _prepare(draft)
    return _wish(draft, behaviour, parts, values)


def wish_without(draft: Draft) -> tuple[str, str, str]:
    """Wish for a function's work, but leave an argument out.

    Returns:
        What is said, the argument's usual name, and its value as the user says it when asked.
    """
    behaviour, parts, values = _prepare(draft)
    missing = draft.rng.choice([part for part in parts if part[0].default is None])
    said = _wish(draft, behaviour, [part for part in parts if part is not missing], values)
    name = missing[0].name
    told = draft.say("{x}", "[It is|It's|Take|Make it|Use] {x}.", "{x}, please.", x=shown(values[name]))
    return said, name, told


_Part = tuple[Argument, ArgumentKind]


def _prepare(draft: Draft) -> tuple[Behaviour, list[_Part], dict[str, JsonValue]]:
    """Draw a function that is new to the conversation, its decoys, and values for its arguments."""
    rng = draft.rng
    behaviour, kinds = draw_function(rng)
    while behaviour.name in draft.functions:
        behaviour, kinds = draw_function(rng)
    draft.functions[behaviour.name] = behaviour
    _, verb, noun = behaviour.name.split("_")
    for _ in range(rng.choice((0, 1, 1, 2)) if len(draft.functions) <= _MOST_BEFORE_DECOYS else 0):
        decoy, _ = draw_function(rng, **rng.choice(({"verb": verb}, {"noun": noun}, {})))
        draft.functions.setdefault(decoy.name, decoy)
        for world in (draft.world, draft.before):
            world.functions.setdefault(decoy.name, "a_status")
    is_short = rng.random() < 0.5
    parts = [
        (argument, kind)
        for argument, kind in zip(behaviour.arguments, kinds, strict=True)
        if argument.default is None or not is_short
    ]
    values = {argument.name: kind.make(draft.values) for argument, kind in parts}
    rng.shuffle(parts)
    return behaviour, parts, values


def _wish(draft: Draft, behaviour: Behaviour, parts: list[_Part], values: dict[str, JsonValue]) -> str:
    _, verb, noun = behaviour.name.split("_")
    result, key, kind, fields, said = draft.rng.choice(_RESULTS)
    for world in (draft.world, draft.before):
        world.functions[behaviour.name] = result
    value = draft.call(behaviour.name, (), **values)[key]
    draft.put(value, kind, fields.format(noun=noun.replace(" ", "_")), said.format(noun=noun))
    phrases = _join(draft, [_say_argument(draft, argument, kind, values[argument.name]) for argument, kind in parts])
    notation = f"{verb} [a|the|one|my|this|our] {noun} {{p}}"
    rivals = [name for name in draft.functions if name != behaviour.name and name.endswith(f"_{noun}")]
    if verb in _ASKING and not rivals and draft.rng.random() < 0.5:
        notation = f"[what is|@ask what|I need|I want to know|@find] [the|my|our|the right] {noun} {{p}}"
    return draft.say(notation, p=phrases)


def _join(draft: Draft, phrases: list[str]) -> str:
    """Say arguments one after the other."""
    separator = draft.rng.choice((" ", " ", " and ", ", "))
    said = separator.join(phrases).replace("and and ", "and ").replace(" ,", ",").replace(",,", ",")
    return said.removesuffix(",")


def _say_argument(draft: Draft, argument: Argument, kind: ArgumentKind, value: JsonValue) -> str:
    quote = draft.rng.choice(("'", '"', '"', "" if " " not in shown(value) else '"'))
    notation = kind.said
    if draft.rng.random() < 0.15:
        word = argument.name.replace("_", " ")
        notation = draft.rng.choice((f"with {word} {{q}}", f"({word}: {{x}})", f"[using|and] {{x}} as [|the ]{word}"))
    return draft.say(
        notation, x=shown(value), q=f"{quote}{shown(value)}{quote}" if isinstance(value, str) else shown(value)
    )
