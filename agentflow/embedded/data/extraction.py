# ruff: noqa: E501, PLR2004 - a phrasing stands in one line, shares stand where they are drawn
"""Conversations without a tool: JSON taken out of a text, look-ups by key, and short answers."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from agentflow.embedded.data.clauses import shown
from agentflow.embedded.data.phrasings import Phrasings
from agentflow.embedded.data.splits import Split
from agentflow.embedded.data.tasks import Conversation, object_schema
from agentflow.embedded.data.tools import declare_many
from agentflow.embedded.data.values import Values
from agentflow.types import AssistantMessage, JsonValue, Message, SystemMessage, ToolSpec, UserMessage

_ASK = "[Extract the {what}|Extract|Read|Find the {what} in|Parse the {what}|Fill in the {what}|Get the {what} from|Take the {what} out of][: | this: |:\n| the text: ]"

Maker = Callable[[Values], JsonValue]

_KEYS: dict[str, Maker] = {
    "name|person|full_name|contact|author|owner|guest|host": Values.person,
    "customer|company|client|vendor|supplier|firm|employer": lambda v: v.pooled("company"),
    "city|town|place|location|destination|origin": lambda v: v.pooled("city"),
    "date|day|due|deadline|due_date|arrival|departure": Values.date,
    "total|amount|price|cost|balance|salary|fee": Values.amount,
    "count|quantity|age|guests|seats|pages|num_items|rooms": Values.count,
    "title|subject|topic|headline|project": Values.title,
    "task|errand|reminder|wish": Values.errand,
    "file|path|document|attachment": Values.path,
    "code|id|order_id|reference|number|ticket": Values.code,
    "email|mail|address|sender": Values.email,
    "url|link|website|page": Values.url,
    "time|start|at|hour": Values.time,
    "product|item|article|thing": Values.noun,
    "job|role|position|profession": lambda v: v.pooled("job"),
    "street|road|avenue": lambda v: v.pooled("street"),
    "country|nation|state": lambda v: v.pooled("country"),
    "word|key|secret|password|label": Values.invented,
}


def make_lookup(rng: random.Random, split: Split) -> Conversation:
    """Ask for some of several keyed values: the plainest form of copying."""
    values, phrasings = Values(rng, split), Phrasings(rng, split)
    pairs: dict[str, JsonValue] = {}
    for notation in rng.sample(list(_KEYS), rng.randint(2, 6)):
        pairs[rng.choice(notation.split("|"))] = _KEYS[notation](values)
    wanted = rng.sample(list(pairs), rng.randint(1, min(4, len(pairs))))
    between = rng.choice((": ", ": ", " = ", "=", " is "))
    lines = [f"{key}{between}{shown(value)}" for key, value in pairs.items()]
    text = rng.choice(("\n", "; ", ", ", ". ")).join(lines)
    asked = phrasings.say(
        ("[|Extract:\n|Read this: |Facts: |Data: |Form:\n|Fill in the fields. |Take the values from this: ]",)
    )
    return _extraction("lookup", rng, asked + text, {key: pairs[key] for key in wanted})


def make_extraction(rng: random.Random, split: Split) -> Conversation:
    """Ask for the facts of a sentence."""
    values, phrasings = Values(rng, split), Phrasings(rng, split)
    what, notations, facts, enums = rng.choice(_SENTENCES)(values)
    text = phrasings.say(notations, **{key: shown(value) for key, value in facts.items()})
    if rng.random() < 0.25:
        aside = phrasings.say(_ASIDES)
        text = f"{text} {aside}" if rng.random() < 0.6 else f"{aside} {text}"
    asked = phrasings.say((_ASK,), what=what)
    kept = {key: value for key, value in facts.items() if rng.random() < 0.85} or facts
    renamed: dict[str, JsonValue] = {}
    for key, value in kept.items():
        renamed[_rename(key, rng, renamed)] = value
    shown_enums = {name: enums[key] for name, key in zip(renamed, kept, strict=True) if key in enums}
    return _extraction("extraction", rng, asked + text, renamed, shown_enums)


_RENAMES: dict[str, str] = {
    "customer": "customer|client|company|name|buyer",
    "total": "total|amount|sum|price|amount_due",
    "currency": "currency|unit|money",
    "due": "due|due_date|deadline|date",
    "name": "name|person|full_name|who",
    "email": "email|mail|email_address|contact",
    "city": "city|town|place|location",
    "title": "title|event|name|subject",
    "date": "date|day|when|on",
    "time": "time|start|at|start_time",
    "product": "product|item|article",
    "count": "count|quantity|number|pieces|how_many",
    "price": "price|cost|unit_price",
    "job": "job|role|position|profession",
    "company": "company|employer|firm",
    "priority": "priority|urgency|level",
    "task": "task|todo|item|what",
    "origin": "origin|from|start|departure",
    "destination": "destination|to|arrival|target",
    "rating": "rating|stars|score|points",
    "code": "code|id|reference|parcel|order_id",
    "street": "street|road|street_name",
    "status": "status|state",
    "guests": "guests|people|attendees|num_guests",
    "number": "number|house_number|house",
    "country": "country|nation",
}


def _rename(key: str, rng: random.Random, taken: dict[str, JsonValue]) -> str:
    names = [name for name in _RENAMES.get(key, key).split("|") if name not in taken]
    return rng.choice(names) if names and rng.random() < 0.6 else key if key not in taken else f"{key}_2"


_Sentence = tuple[str, tuple[str, ...], dict[str, JsonValue], dict[str, tuple[str, ...]]]


def _invoice(v: Values) -> _Sentence:
    facts: dict[str, JsonValue] = {
        "customer": v.pooled("company") if v.rng.random() < 0.7 else v.person(),
        "total": v.amount(),
        "currency": v.choice(("EUR", "USD", "GBP", "JPY", "CHF")),
        "due": v.date(),
    }
    notations = (
        "{customer} owes {total} {currency}[, due| due on| by|, payable by] {due}.",
        "Invoice [for|to] {customer}: {total} {currency}, due {due}",
        "[The bill|The invoice] [for|of] {customer} is {total} {currency} and [is due on|must be paid by] {due}.",
        "{customer} must pay {currency} {total} [by|before|until] {due}.",
    )
    return "invoice", notations, facts, {"currency": ("EUR", "USD", "GBP", "JPY", "CHF")}


def _person(v: Values) -> _Sentence:
    facts: dict[str, JsonValue] = {
        "name": v.person(),
        "job": v.pooled("job"),
        "company": v.pooled("company"),
        "city": v.pooled("city"),
        "email": v.email(),
    }
    notations = (
        "{name} works as {job} at {company} in {city}. [Mail|E-mail|Contact]: {email}",
        "[My name is|I am] {name}, {job} at {company}, {city}. [Write to|Reach me at] {email}.",
        "{name} ({email}) is {job} at {company} in {city}.",
    )
    return "contact", notations, facts, {}


def _event(v: Values) -> _Sentence:
    facts: dict[str, JsonValue] = {"title": v.title(), "date": v.date(), "time": v.time(), "city": v.pooled("city")}
    notations = (
        "{title} [takes place|is|starts] on {date} at {time} in {city}.",
        "[Join us|Come|We meet] for {title} in {city} on {date}, {time}.",
        "On {date} at {time}: {title}, {city}.",
    )
    return "event", notations, facts, {}


def _order(v: Values) -> _Sentence:
    facts: dict[str, JsonValue] = {"count": v.count(), "product": v.noun(), "price": v.amount(), "name": v.person()}
    notations = (
        "{name} [orders|ordered|wants|bought] {count} {product} [at|for] {price} each.",
        "[Order|Purchase] of {name}: {count} x {product}, {price} each",
        "[Please send|Send] {count} {product} to {name}[, unit price|. The price is] {price}.",
    )
    return "order", notations, facts, {}


def _ticket(v: Values) -> _Sentence:
    facts: dict[str, JsonValue] = {
        "task": v.errand(),
        "name": v.person(),
        "priority": v.choice(("low", "medium", "high", "urgent")),
        "due": v.date(),
    }
    notations = (
        "{name} [must|has to|should] {task} by {due}. [Priority|The priority is|Urgency]: {priority}",
        "[Task|To do]: {task}. [Owner|For]: {name}. Priority {priority}, due {due}.",
        "[{priority} priority|Priority {priority}]: {task} ({name}, until {due})",
    )
    return "task", notations, facts, {"priority": ("low", "medium", "high", "urgent")}


def _trip(v: Values) -> _Sentence:
    facts: dict[str, JsonValue] = {
        "name": v.person(),
        "origin": v.pooled("city"),
        "destination": v.pooled("city"),
        "date": v.date(),
        "price": v.amount(),
    }
    notations = (
        "{name} [flies|travels|goes|drives] from {origin} to {destination} on {date} for {price} euros.",
        "[Flight|Trip|Train|Bus] [of|for] {name}: {origin} to {destination}, {date}, {price} EUR",
        "On {date} {name} [leaves|departs from] {origin} and [arrives in|goes to|gets to] {destination}; it costs {price}.",
        "[A ticket|The ticket] from {origin} to {destination} on {date} [costs|was] {price} and is for {name}.",
    )
    return "trip", notations, facts, {}


def _review(v: Values) -> _Sentence:
    facts: dict[str, JsonValue] = {
        "product": v.noun(),
        "rating": v.count(1, 5),
        "mood": v.choice(("good", "bad", "mixed")),
        "name": v.person(),
    }
    notations = (
        "{name} gave the {product} {rating} stars and [was in a {mood} mood about it|called it {mood}].",
        "[Review|Rating] of the {product} by {name}: {rating}/5, {mood}",
        "The {product} is {mood}, {rating} of 5, says {name}.",
    )
    return "review", notations, facts, {"mood": ("good", "bad", "mixed")}


def _delivery(v: Values) -> _Sentence:
    facts: dict[str, JsonValue] = {
        "code": v.code(),
        "name": v.person(),
        "street": v.pooled("street"),
        "city": v.pooled("city"),
        "status": v.choice(("packed", "shipped", "delivered", "delayed", "lost")),
    }
    notations = (
        "[Parcel|Order|Package] {code} for {name}, {street}, {city}, is {status}.",
        "{status}: {code} ({name}, {street} in {city})",
        "[The order|The parcel] {code} [goes|was sent] to {name} at {street} in {city}[.| and is] {status}[.|]",
    )
    return "delivery", notations, facts, {"status": ("packed", "shipped", "delivered", "delayed", "lost")}


def _meeting(v: Values) -> _Sentence:
    facts: dict[str, JsonValue] = {
        "title": v.title(),
        "name": v.person(),
        "date": v.date(),
        "time": v.time(),
        "guests": v.count(2, 60),
    }
    notations = (
        "{name} [invites|has invited] {guests} people to {title} on {date} at {time}.",
        "{title}, {date} {time}, host {name}, {guests} [guests|people|seats]",
        "[There is|We have] a meeting about {title} with {name} on {date} at {time}; {guests} [people|guests] [come|will come].",
    )
    return "meeting", notations, facts, {}


def _address(v: Values) -> _Sentence:
    facts: dict[str, JsonValue] = {
        "name": v.person(),
        "company": v.pooled("company"),
        "street": v.pooled("street"),
        "number": v.count(1, 200),
        "city": v.pooled("city"),
        "country": v.pooled("country"),
    }
    notations = (
        "{name}, {company}, {number} {street}, {city}, {country}",
        "{name} [lives|works] at {number} {street} in {city}, {country}, and [works for|is with|is employed by] {company}.",
        "[Send it|Deliver|Ship this] to {company}, [attention|c/o] {name}, {street} {number}, {city} ({country}).",
    )
    return "address", notations, facts, {}


def _message(v: Values) -> _Sentence:
    facts: dict[str, JsonValue] = {"name": v.person(), "email": v.email(), "task": v.errand(), "date": v.date()}
    notations = (
        "[Hi|Dear|Hello] {name}, [please|could you please|do not forget to] {task} [by|before|until|on] {date}. [Answer|Reply|Write] to {email}.",
        "From: {email}\nTo: {name}\n[Please|You should|We need to] {task}. [It is due|Deadline:] {date}.",
        "{name} ({email}) [asked me to|wants us to|says we must] {task} [by|before] {date}.",
    )
    return "message", notations, facts, {}


_SENTENCES = (
    _invoice, _person, _event, _order, _ticket, _trip, _review, _delivery, _meeting, _address, _message
)  # fmt: skip
_ASIDES = (
    "[Have a nice day|See you soon|Best regards|That is all for today|Nothing else is new|More will follow].",
    "[It is raining here|The office is closed today|I hope all is well|We talked about this last week].",
    "[Sent from my phone|Please do not reply|This is a copy|For your information].",
)


def _extraction(
    kind: str,
    rng: random.Random,
    request: str,
    value: dict[str, JsonValue],
    enums: dict[str, tuple[str, ...]] | None = None,
) -> Conversation:
    properties: dict[str, Any] = {}
    for name, one in value.items():
        schema: dict[str, Any] = {"type": "string"}
        if isinstance(one, int):
            schema = {"type": rng.choice(("integer", "number"))}
        elif isinstance(one, float):
            schema = {"type": "number"}
        if enums and name in enums and rng.random() < 0.6:
            schema["enum"] = rng.sample(enums[name], len(enums[name]))
        properties[name] = schema
    answer = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    has_instructions = rng.random() < 0.3
    system: list[Message] = [SystemMessage(rng.choice(_EXTRACTION_INSTRUCTIONS))] if has_instructions else []
    tools: tuple[ToolSpec, ...] = ()
    if rng.random() < 0.1:
        tools = tuple(tool.spec for tool in declare_many([], rng, "train").values())
    return Conversation(
        kind, (*system, UserMessage(request), AssistantMessage(answer)), tools, object_schema(rng, properties)
    )


_EXTRACTION_INSTRUCTIONS = (
    "Extract the facts.",
    "You fill in forms.",
    "Read the text and answer.",
    "Copy values exactly.",
    "You are a helpful assistant.",
)


def make_small_talk(rng: random.Random, split: Split) -> Conversation:
    """Ask something that needs no tool and is answered by a sentence."""
    values = Values(rng, split)
    name, text = values.pooled("first"), values.text()
    request, answer = rng.choice((
        (f"Say hello to {name}.", f"Hello {name}!"),
        (f"Hello, I am {name}.", f"Hello {name}! What can I do for you?"),
        ("Hello!", "Hello! What can I do for you?"),
        ("Who are you?", "I am a small model that calls tools."),
        ("Thanks!", "You are welcome."),
        (f"Repeat after me: {text}", text),
        (f"Repeat {quoted_text(text)}", text),
        (f"Just say {quoted_text(text)}.", text),
    ))  # fmt: skip
    tools = tuple(tool.spec for tool in declare_many([], rng, split).values()) if rng.random() < 0.5 else ()
    return Conversation("text", (UserMessage(request), AssistantMessage(answer)), tools, None)


def quoted_text(text: str) -> str:
    """Put plain quotes around a text."""
    return f'"{text}"'
