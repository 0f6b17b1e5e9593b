# ruff: noqa: E501, PLR2004, SIM905 - phrasings and word lists stand in one line, shares where they are drawn
"""Functions that one conversation alone has: a verb, a noun and arguments, thrown together.

``book_flight(from_city, day)``, ``cancel_lease(reference)``, ``rate_song(title, stars)``: nobody can know
them, so the declaration has to be read. Decoys with the same verb or noun are offered beside them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from agentflow.embedded.data.clauses.draft import Draft, Kind, shown
from agentflow.embedded.data.phrasings import expand
from agentflow.embedded.data.tools import Argument, Behaviour
from agentflow.embedded.data.values import Values
from agentflow.types import JsonValue

_VERBS = (
    "book reserve cancel order rent find search track update rename delete remove create register schedule move share "
    "review rate print export import publish archive approve reject assign close reopen start stop pause check count "
    "measure compare send request renew upgrade lock unlock log report submit post pay refund transfer record play "
    "buy sell return ship pack open describe tag sort merge copy restore scan sign invite notify"
).split()  # fmt: skip
_NOUNS = (
    "flight hotel room table taxi car bike train ticket seat parcel invoice order lease contract account card loan "
    "payment subscription license shift meeting class course exam lesson game match song album movie show photo video "
    "document folder report form survey poll message post comment review recipe meal menu drink workout run route trip "
    "visit patient doctor appointment prescription pet plant garden lamp door alarm sensor printer server backup job task "
    "project issue bug branch release test product item coupon gift donation volunteer event party guest member team "
    "player customer supplier warehouse shelf truck driver delivery pickup tool machine part repair storage locker"
).split()


@dataclass(frozen=True)
class _Kind:
    """A kind of argument: how it is declared, how it is said, and its values."""

    names: str
    described: str
    said: str
    make: Callable[[Values], JsonValue]
    type: str = "string"
    enum: tuple[str, ...] = ()


def _kind(names: str, described: str, said: str, make: Callable[[Values], JsonValue], type_: str = "string") -> _Kind:
    return _Kind(names, described, said, make, type_)


def _enum(names: str, described: str, said: str, *options: str) -> _Kind:
    return _Kind(names, described, said, lambda values: values.choice(options), enum=options)


_KINDS: tuple[_Kind, ...] = (
    _kind("origin|from_city|departure|start|source|from_place", "[Where it begins|City of departure|Origin|Start]", "from {x}", lambda v: v.pooled("city")),
    _kind("destination|to_city|arrival|target|end|to_place", "[Where it ends|City of arrival|Destination|Target]", "to {x}", lambda v: v.pooled("city")),
    _kind("city|place|location|town|where|area", "[The city|Place|Location|Town|Where]", "in {x}", lambda v: v.pooled("city")),
    _kind("country|nation|land|region", "[The country|Country|Name of the country]", "in {x}", lambda v: v.pooled("country")),
    _kind("street|address|road", "[The street|Street|Address]", "[at|in] {x}", lambda v: v.pooled("street")),
    _kind("date|day|on_date|when|day_date", "[The date|Day|Date as YYYY-MM-DD|When]", "on {x}", Values.date),
    _kind("start_date|from_date|begin|since|first_day", "[First day|Start date|Beginning]", "[from|starting|since] {x}", Values.date),
    _kind("end_date|until|to_date|deadline|due|last_day", "[Last day|End date|Deadline]", "[until|to|by|before] {x}", Values.date),
    _kind("time|at|hour|start_time|clock", "[Time as HH:MM|The time|Hour]", "at {x}", Values.time),
    _kind("quantity|count|number|amount|pieces|num", "[How many|Quantity|Number]", "[with a quantity of {x}|, quantity {x},|({x} pieces)]", Values.count, "integer"),
    _kind("max_price|budget|limit|price|cost|total", "[Highest price|Budget|Price]", "[for|at|under|for at most] {x} [dollars|euros|EUR]", Values.amount, "number"),
    _kind("name|customer|client|person|user|who|owner", "[Name of the person|Customer|Who|For whom]", "for {x}", Values.person),
    _kind("company|vendor|employer|brand|shop|store", "[Name of the company|Company|Firm]", "[at|with|from] {x}", lambda v: v.pooled("company")),
    _kind("recipient|to|receiver|send_to", "[Who gets it|Recipient|Receiver]", "to {x}", Values.email),
    _kind("email|mail|address|contact", "[Mail address|E-mail|Contact address]", "[with the email|with the address|using|under] {x}", Values.email),
    _kind("id|code|reference|number|key|identifier", "[Its number|Code|Reference|Identifier]", "[|with the code |with the number |number |with reference ]{x}", Values.code),
    _kind("title|name|label|subject|topic|heading", "[Its title|Name|Title|Label]", "@called {q}", Values.title),
    _kind("message|text|comment|note|body|remark|reason", "[The text|Message|Comment|What it says]", "[saying|with the text|with the message|with the comment|with the note] {q}", Values.text),
    _kind("minutes|duration|length|mins|wait", "[Minutes|How long, in minutes|Duration]", "for {x} minutes", Values.count, "integer"),
    _kind("days|nights|num_days|num_nights|stay", "[How many days|Days|Nights]", "for {x} [days|nights]", Values.count, "integer"),
    _kind("people|guests|seats|persons|party_size|adults", "[How many people|Guests|Persons]", "for {x} [people|guests|persons]", Values.count, "integer"),
    _kind("url|link|page|website|site", "[Address of the page|Link|Web address]", "[at|from|on] {x}", Values.url),
    _kind("path|file|filename|document|attachment", "[The file|Path of the file|File name]", "[from|with|using] [|the file ]{x}", Values.path),
    _kind("percent|rate|discount|share", "[Percent|Rate|Discount in percent]", "[at|with] {x} percent", Values.count, "integer"),
    _kind("weight|kg|kilos|mass", "[Weight in kg|Kilograms]", "weighing {x} kg", Values.amount, "number"),
    _kind("product|item|article|thing|object", "[Name of the product|The item|Article]", "[for the item|for the product|with the article] {x}", Values.noun),
    _kind("category|type|kind|genre|group", "[Category|Type|Kind]", "[of type|in the category|of the kind] {x}", Values.noun),
    _kind("role|job|profession|position", "[The job|Role|Profession]", "as {x}", lambda v: v.pooled("job")),
    _enum("priority|urgency|level|importance", "[Priority|How urgent]", "with {x} priority", "low", "medium", "high"),
    _enum("color|colour|paint", "[Color|Colour]", "in {x}", "red", "blue", "green", "black", "white", "yellow"),
    _enum("size|format|dimension", "[Size|How large]", "[of size {x}|in size {x}]", "small", "medium", "large"),
    _enum("language|lang|tongue", "[Language|The language]", "in {x}", "English", "German", "French", "Spanish", "Italian"),
    _enum("currency|money|unit", "[Currency|Which money]", "in {x}", "EUR", "USD", "GBP", "JPY", "CHF"),
    _enum("mode|speed|service|way", "[How|Kind of service|Mode]", "[by|with|via] {x} [service|mode]", "express", "standard", "economy"),
)  # fmt: skip
_RESULTS: tuple[tuple[str, str, Kind, str, str], ...] = (
    ("an_id", "id", "text", "id|code|reference|number|{noun}_id", "the [id|code|reference|number][| of the {noun}]|its [id|code|number]"),
    ("an_id", "id", "text", "id|code|reference|number|{noun}_id", "the [id|code|reference|number][| of the {noun}]|its [id|code|number]"),
    ("a_status", "status", "text", "status|state|{noun}_status", "[the|its] [status|state][| of the {noun}]"),
    ("a_price", "price", "number", "price|cost|{noun}_price|total", "[the|its] [price|cost][| of the {noun}]"),
    ("a_count", "count", "number", "count|{noun}_count|how_many|quantity", "the [count|number of {noun}s]"),
)  # fmt: skip


def draw_function(rng: random.Random, *, verb: str = "", noun: str = "") -> tuple[Behaviour, tuple[_Kind, ...]]:
    """Throw a function together.

    Returns:
        The behaviour, whose name starts with ``fn_``, and the kinds of its arguments, in order.
    """
    verb, noun = verb or rng.choice(_VERBS), noun or rng.choice(_NOUNS)
    kinds = tuple(rng.sample(_KINDS, rng.choice((1, 1, 2, 2, 2, 3, 3, 4))))
    arguments: list[Argument] = []
    for kind in kinds:
        taken = {argument.name for argument in arguments}
        name = rng.choice([name for name in kind.names.split("|") if name not in taken] or [f"{noun}_{len(taken)}"])
        arguments.append(
            Argument(name, f"[{kind.names}]", expand(kind.described, rng), kind.described, kind.type, kind.enum)
        )
    names = f"{verb}_{noun}|{verb}_[a|the|new|my]_{noun}|{noun}_{verb}|{verb}_{noun}_[now|item|entry|record|data]|[do|run|tool|app|make]_{verb}_{noun}"
    described = f"[{verb.capitalize()}|Can {verb}|Use it to {verb}|Tool to {verb}] [a|the|one] {noun}[|.| for the user.| of the user.]"
    return Behaviour(f"fn_{verb}_{noun}", names, f"{verb.capitalize()} a {noun}.", described, tuple(arguments)), kinds


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
    missing = draft.rng.choice(parts)
    said = _wish(draft, behaviour, [part for part in parts if part is not missing], values)
    name = missing[0].name
    told = draft.say("{x}", "[It is|It's|Take|Make it|Use] {x}.", "{x}, please.", x=shown(values[name]))
    return said, name, told


_Part = tuple[Argument, _Kind]


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
    parts = list(zip(behaviour.arguments, kinds, strict=True))
    values = {argument.name: kind.make(draft.values) for argument, kind in parts}
    rng.shuffle(parts)
    return behaviour, parts, values


def _wish(draft: Draft, behaviour: Behaviour, parts: list[_Part], values: dict[str, JsonValue]) -> str:
    _, verb, noun = behaviour.name.split("_")
    result, key, kind, fields, said = draft.rng.choice(_RESULTS)
    for world in (draft.world, draft.before):
        world.functions[behaviour.name] = result
    value = draft.call(behaviour.name, (), **values)[key]
    draft.put(value, kind, fields.format(noun=noun), said.format(noun=noun))
    phrases = " ".join(_say_argument(draft, argument, kind, values[argument.name]) for argument, kind in parts)
    wish = draft.say(f"{verb} [a|the|one|my|this|our] {noun} {{p}}", p=phrases)
    return wish.replace(" ,", ",").strip()


def _say_argument(draft: Draft, argument: Argument, kind: _Kind, value: JsonValue) -> str:
    quote = draft.rng.choice(("'", '"', '"', "" if " " not in shown(value) else '"'))
    notation = kind.said
    if draft.rng.random() < 0.15:
        word = argument.name.replace("_", " ")
        notation = draft.rng.choice((f"with {word} {{q}}", f"({word}: {{x}})", f"[using|and] {{x}} as [|the ]{word}"))
    return draft.say(
        notation, x=shown(value), q=f"{quote}{shown(value)}{quote}" if isinstance(value, str) else shown(value)
    )
