# ruff: noqa: E501, PLR2004, SIM905 - phrasings stand in one line, shares stand where they are drawn
"""Functions as programs declare them, read from ``functions.txt``: their names and arguments belong together.

    triangle_surface(base, height, unit?)  ->  "find the area of a triangle with a base of 4 cm, height 7"

An eighth of them is never trained on, by the hash of the name. Kinds of arguments are ``i2-90`` (integer),
``n1-9`` (number), ``b`` (switch, said as ``on~off``), ``e(a/b)`` (enumerated), ``w(a/b)`` (free, for example a or
b) or the name of a kind of value such as ``city``; ``*`` behind it makes a list.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

from agentflow.embedded.data.clauses.draft import Draft, Kind, shown
from agentflow.embedded.data.phrasings import expand
from agentflow.embedded.data.splits import Split, is_held_out, wants_held_out
from agentflow.embedded.data.tools import DECLARED, OPERATION, Argument, Behaviour
from agentflow.embedded.data.values import Values, has_sign
from agentflow.types import JsonValue

_FILE = Path(__file__).parent.parent / "functions.txt"
_RESULTS: tuple[tuple[str, str, Kind, str, str], ...] = (
    ("an_id", "id", "text", "id|code|reference|number", "the [id|code|reference|number]"),
    ("a_status", "status", "text", "status|state", "[the|its] [status|state]"),
    ("a_price", "price", "number", "price|cost|total", "[the|its] [price|cost]"),
    ("a_count", "count", "number", "count|quantity|number", "the [count|number]"),
    ("an_answer", "answer", "text", "answer|result|reply", "the [answer|result]"),
)
_MAKERS: Mapping[str, Callable[[Values], str]] = {
    "city": lambda values: values.pooled("city"),
    "country": lambda values: values.pooled("country"),
    "person": Values.person,
    "first": lambda values: values.pooled("first"),
    "company": lambda values: values.pooled("company"),
    "job": lambda values: values.pooled("job"),
    "street": lambda values: f"{values.count(2, 199)} {values.pooled('street')}",
    "noun": Values.noun,
    "word": lambda values: values.invented(is_capital=False),
    "title": Values.title,
    "text": Values.text,
    "code": Values.code,
    "date": Values.date,
    "time": Values.time,
    "email": Values.email,
    "url": Values.url,
    "path": Values.path,
    "last": lambda values: values.pooled("last"),
    "zone": Values.zone,
    "datetime": Values.moment,
    "uuid": Values.uuid,
    "hex": Values.hexadecimal,
    "ip": Values.ip,
    "postcode": Values.postcode,
    "phone": Values.phone,
    "username": Values.username,
    "domain": Values.domain,
    "slug": Values.slug,
}
_NAMED = (
    "with {w} {x}", "with the {w} {x}", "({w}: {x})", "{w} {x}", "{w} = {x}", "[using|with] {x} as [|the ]{w}", "for {w} {x}",
    "[where|if] the {w} is {x}", "with {a} {w} of {x}",
)  # fmt: skip
_WRITTEN_OUT = {"q": "query", "lat": "latitude", "lng": "longitude", "lon": "longitude", "lang": "language"}
_MANY = 6
"""A conversation that has as many functions gets no more decoys."""
_UNBOUND = re.compile(r"\[?(and|,|\{x\}|\|and|or\b)")
"""How phrases begin that lean on the one before."""
_NUMBER = re.compile(r"(-?\d+)-(-?\d+)")


@dataclass(frozen=True)
class DeclaredArgument:
    """An argument as the file declares it.

    Attributes:
        name: Its name.
        kind: Kind of its values, without the star of lists.
        is_list: Whether it takes a list.
        said: Notation of how its value is said.
        description: Its description.
        is_optional: Whether it may be left out.
    """

    name: str
    kind: str
    is_list: bool
    said: str
    description: str
    is_optional: bool

    @property
    def options(self) -> tuple[str, ...]:
        """Values to draw from, where there are a few."""
        return tuple(self.kind[2:-1].split("/")) if self.kind[1:2] == "(" else ()

    @property
    def type(self) -> str:
        """JSON type of one value."""
        is_text = self.kind in _MAKERS or self.options
        return "string" if is_text else {"b": "boolean", "i": "integer", "n": "number"}[self.kind[0]]


@dataclass(frozen=True)
class DeclaredFunction:
    """A function of the file.

    Attributes:
        name: Its name.
        wish: Notation of how it is wished for.
        description: Its description.
        arguments: Its arguments.
        api: The published API that it is an operation of; empty if there is none.
    """

    name: str
    wish: str
    description: str
    arguments: tuple[DeclaredArgument, ...]
    api: str = ""

    @property
    def key(self) -> str:
        """Name of its behaviour."""
        return f"{OPERATION if self.api else DECLARED}{self.name}"


@cache
def declared_functions(split: Split = "train") -> tuple[DeclaredFunction, ...]:
    """Give the functions of a split, in the order of the file: what stands close together is alike."""
    lines = _FILE.read_text(encoding="utf-8").splitlines()
    functions = [parse_function(line) for line in lines if line and not line.startswith("#")]
    is_new = wants_held_out("tool", split)
    return tuple(function for function in functions if is_held_out("tool", function.name) == is_new)


def parse_function(line: str) -> DeclaredFunction:
    """Read a line of a file of declarations."""
    name, wish, description, arguments = (part.strip() for part in line.split(" :: "))
    return DeclaredFunction(name, wish, description, tuple(map(_parse_argument, arguments.split(" ; "))))


def _parse_argument(text: str) -> DeclaredArgument:
    head, _, description = text.strip().rpartition(":")
    name, kind, said = head.split(":", 2)
    return DeclaredArgument(
        name.removeprefix("?"), kind.removesuffix("*"), kind.endswith("*"), said, description, name.startswith("?")
    )


_SAME: Mapping[str, str] = {
    word: group[0]
    for group in map(
        str.split,
        (
            "get list retrieve fetch return find search query look lookup show display view read describe obtain browse",
            "create add make new register insert post put set save store generate submit",
            "delete remove clear purge",
            "update modify change edit replace",
            "cancel stop terminate suspend deactivate disable end",
            "start begin launch",
            "check verify validate",
            "calculate compute",
        ),
    )
    for word in group
}
"""Words that wishes use for the same thing."""
_SMALL = frozenset(
    "a an the all of for to in on with by from and or your my its their this that list detail information data set".split()
)


@cache
def gist(wish: str) -> frozenset[str]:
    """Give the words that tell wishes apart: without small ones, verbs of the same sense as one."""
    words = [word.removesuffix("s") for word in re.findall(r"[a-z]+", wish.lower())]
    verb, *rest = words or [""]
    return frozenset((f"{_SAME.get(verb, verb)}-", *(word for word in rest if word not in _SMALL)))


def are_apart(one: str, other: str) -> bool:
    """Say whether a wish for one cannot be one for the other: each has a word that the other lacks."""
    mine, theirs = gist(one), gist(other)
    return not mine <= theirs and not theirs <= mine


# ---------------------------------------------------------------- requests


def call_declared(draft: Draft) -> str:
    """Wish for what a function does, in words that go on in a sentence with others."""
    return wish_for(draft, choose(draft, declared_functions(split_of(draft))), GOING_ON)


def call_declared_alone(draft: Draft) -> str:
    """Wish for what a function does, also in several sentences or behind a colon."""
    return wish_for(draft, choose(draft, declared_functions(split_of(draft))), ALONE)


@dataclass(frozen=True)
class Part:
    """An argument of a call: as the file declares it, its value, and the value as it is said."""

    argument: DeclaredArgument
    value: JsonValue
    said: str

    @property
    def words(self) -> str:
        """The argument's name in words."""
        return spoken(self.argument.name)


def spoken(name: str) -> str:
    """Write a name of a program in words; short forms are written out."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_+", " ", name).strip()
    return _WRITTEN_OUT.get(name, name.lower() if re.search("[a-z]", name) else name)


Way: TypeAlias = Callable[[Draft, str, list[Part]], str]
"""How a wish goes on with its arguments."""


def wish_for(draft: Draft, function: DeclaredFunction, ways: Sequence[Way]) -> str:
    """Wish for what an offered function does."""
    parts = draw_parts(draft, function, taken=set())
    call(draft, function, parts)
    return draft.rng.choice(ways)(draft, say_wish(draft, function), parts)


def choose(draft: Draft, pool: Sequence[DeclaredFunction]) -> DeclaredFunction:
    """Choose a function and offer it, and up to four that stand near it or anywhere."""
    rng = draft.rng
    place = _find_new(draft, pool, lambda: rng.randrange(len(pool)))
    _offer(draft, pool[place])
    near = range(max(0, place - 3), min(len(pool), place + 4))
    for _ in range(rng.choice((0, 1, 1, 2, 3, 4)) if len(draft.functions) < _MANY else 0):
        decoy = _find_new(draft, pool, lambda: rng.choice(near) if rng.random() < 0.7 else rng.randrange(len(pool)))
        _offer(draft, pool[decoy])
    return pool[place]


def _find_new(draft: Draft, pool: Sequence[DeclaredFunction], draw: Callable[[], int]) -> int:
    """Draw a place in the pool until its function cannot be mistaken for one that is offered already."""
    while True:
        place = draw()
        if all(are_apart(pool[place].description, offered.description) for offered in draft.functions.values()):
            return place


def call(draft: Draft, function: DeclaredFunction, parts: Sequence[Part]) -> None:
    """Call a function with the values of its parts, and keep what comes out."""
    value = draft.call(function.key, (), **{part.argument.name: part.value for part in parts})
    _, key, kind, fields, said = next(row for row in _RESULTS if row[0] == draft.world.functions[function.key])
    draft.put(value[key], kind, fields, said)


def say_wish(draft: Draft, function: DeclaredFunction) -> str:
    """Say what a function does."""
    return _tidy(draft.say(f"[{function.wish}]"))


def _tidy(said: str) -> str:
    return said.replace("  ", " ").strip()


def split_of(draft: Draft) -> Split:
    """Give the split whose functions are to be used."""
    return "tools" if draft.phrasings.split == "tools" else "train"


def _offer(draft: Draft, function: DeclaredFunction) -> None:
    """Declare a function in the conversation."""
    rng = draft.rng
    is_camel = rng.random() < 0.08
    arguments = tuple(_declare(rng, argument, is_camel=is_camel) for argument in function.arguments)
    described = (
        function.description
        if rng.random() < 0.7
        else f"[|Tool. |Function: ]{function.description[:-1]}[|.| for the user.]"
    )
    others = function.name if rng.random() < 0.94 else f"[function|tool|action|op]_{rng.randint(1, 30)}"
    draft.functions[function.key] = Behaviour(function.key, others, function.description, described, arguments)
    result = rng.choice(_RESULTS)[0]
    for world in (draft.world, draft.before):
        world.functions[function.key] = result


def _rename(rng: random.Random, argument: DeclaredArgument, *, is_camel: bool) -> str:
    name = argument.name
    if rng.random() < 0.12 and len(name) > 1 and name.islower():
        name = expand(
            {"string": "[the_|input_|my_|]{}[|_text]", "boolean": "[is_|use_|with_]{}"}.get(
                argument.type, "[the_|input_|]{}[|_value]"
            ),
            rng,
        ).format(name)
    if is_camel:
        head, *tail = name.split("_")
        name = head + "".join(part.capitalize() for part in tail)
    return name


def _declare(rng: random.Random, argument: DeclaredArgument, *, is_camel: bool) -> Argument:
    name = _rename(rng, argument, is_camel=is_camel)
    described = argument.description
    if argument.kind.startswith("w(") and rng.random() < 0.3:
        described = f"{described[:-1]}, such as {' or '.join(rng.sample(argument.options, 2))}."
    if argument.is_optional and rng.random() < 0.4:
        described = f"{described[:-1]}[ (optional)| (may be left out)|, optional]."
    enum = argument.options if argument.kind.startswith("e(") else ()
    default = "" if argument.is_optional else None
    return Argument(
        argument.name,
        name,
        described,
        described,
        "array" if argument.is_list else argument.type,
        enum,
        default,
        items=argument.type if argument.is_list else "",
    )


# ---------------------------------------------------------------- values


def draw_parts(draft: Draft, function: DeclaredFunction, *, taken: set[str]) -> list[Part]:
    """Draw values, none of which is another one or taken; half of what may be left out is, but something is said."""
    rng = draft.rng
    chosen = [argument for argument in function.arguments if not argument.is_optional or rng.random() < 0.5]
    return draw_values(draft, chosen or [rng.choice(function.arguments)], taken=taken)


def draw_values(draft: Draft, arguments: Sequence[DeclaredArgument], *, taken: set[str]) -> list[Part]:
    """Draw a value for each argument; they are added to those that are taken."""
    parts: list[Part] = []
    for argument in arguments:
        value, held = _draw_new(draft, argument, taken)
        taken |= held
        parts.append(Part(argument, value, _shown(draft, argument, value)))
    return parts


def _draw_new(draft: Draft, argument: DeclaredArgument, taken: set[str]) -> tuple[JsonValue, set[str]]:
    for _ in range(40):
        value = _draw_list(draft, argument) if argument.is_list else _draw(draft, argument)
        held = {shown(one).lower() for one in (value if isinstance(value, list) else [value])}
        if argument.type == "boolean" or taken.isdisjoint(held):
            break
    return value, held


def _draw_list(draft: Draft, argument: DeclaredArgument) -> list[JsonValue]:
    num = draft.rng.choice((2, 2, 3, 3, 4))
    if argument.options:
        return list(draft.rng.sample(argument.options, min(num, len(argument.options))))
    found: list[JsonValue] = []
    while len(found) < num:
        value = _draw(draft, argument)
        if value not in found:
            found.append(value)
    return found


def _draw(draft: Draft, argument: DeclaredArgument) -> JsonValue:
    rng = draft.rng
    if argument.options:
        return rng.choice(argument.options)
    if argument.type == "string":
        return _MAKERS[argument.kind](draft.values)
    if argument.type == "boolean":
        return rng.random() < 0.6
    bounds = _NUMBER.fullmatch(argument.kind[1:])
    low, high = (int(bounds[1]), int(bounds[2])) if bounds else (1, 500)
    whole = argument.type == "integer" or rng.random() < 0.4
    return rng.randint(low, high) if whole else round(rng.uniform(low, high), rng.choice((1, 1, 2)))


def _shown(draft: Draft, argument: DeclaredArgument, value: JsonValue) -> str:
    """Write a value as a request says it: lists as "a, b and c", texts in quotes."""
    rng = draft.rng
    if not isinstance(value, list):
        return _quoted(rng, argument.kind, value)
    is_quoted = rng.random() < 0.15
    items = [f'"{one}"' if is_quoted and isinstance(one, str) else shown(one) for one in value]
    if rng.random() < 0.15:
        return f"[{', '.join(items)}]" if rng.random() < 0.5 else ", ".join(items)
    return ", ".join(items[:-1]) + rng.choice((" and ", " and ", ", and ")) + items[-1]


def _quoted(rng: random.Random, kind: str, value: JsonValue) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    if "," in value:
        kind = "title"
    share = {"text": 1.0, "title": 0.9}.get(kind, 0.25 if " " in value and kind != "street" else 0.08)
    is_quoted = rng.random() < share or (" " in value and has_sign(value))
    quote = rng.choice(("'", '"')) if is_quoted else ""
    return f"{quote}{value}{quote}"


# ---------------------------------------------------------------- ways to say them


def _natural(draft: Draft, part: Part) -> str:
    return say_alike(draft, [part])[0]


def say_alike(draft: Draft, parts: Sequence[Part]) -> list[str]:
    """Say values of one argument, all in the same words."""
    argument = parts[0].argument
    on, _, off = argument.said.partition("~")
    if off:
        return [draft.say(f"[{on if part.value else off}]") for part in parts]
    notation = _tidy(draft.phrasings.say((argument.said.replace("{x}", "{{x}}"),)))
    return [notation.format(x=part.said) for part in parts]


def _named(draft: Draft, part: Part) -> str:
    article = "an" if part.words[0] in "aeiou" else "a"
    notations = _NAMED[:-2] if part.argument.is_list or part.words.endswith("s") else _NAMED
    return draft.say(*notations, w=part.words, a=article, x=part.said)


def _pair(part: Part, sign: str) -> str:
    return f"{part.words}{sign}{part.said}"


def attach(said: str, phrase: str) -> str:
    """Put a phrase behind a sentence; those that begin with a comma stand close."""
    if phrase.startswith(","):
        return said.rstrip(",") + phrase
    return f"{said} {phrase}"


def _in_a_row(draft: Draft, wish: str, parts: list[Part]) -> str:
    for part in parts:
        wish = attach(wish, _named(draft, part) if draft.rng.random() < 0.15 else _natural(draft, part))
    return wish.rstrip(",")


def _shuffled(draft: Draft, wish: str, parts: list[Part]) -> str:
    rng = draft.rng
    joint = rng.choice(("", "", ",", " and"))
    for index, part in enumerate(rng.sample(parts, len(parts))):
        leans = _UNBOUND.match(part.argument.said) is not None
        phrase = _named(draft, part) if leans or rng.random() < 0.4 else _natural(draft, part)
        is_joined = index and not phrase.startswith(("(", ",", "and "))
        wish = attach(wish.rstrip(",") + (joint if is_joined else ""), phrase)
    return wish.rstrip(",")


def _where(draft: Draft, wish: str, parts: list[Part]) -> str:
    rng = draft.rng
    sign = rng.choice((" is ", " = "))
    start = {" is ": ", where the ", " = ": rng.choice((" with ", " for ", ", with "))}[sign]
    joint = " and the " if sign == " is " else " and "
    pairs = [_pair(part, sign) for part in parts]
    middle = joint.replace(" and", ",") if rng.random() < 0.5 else joint
    return f"{wish}{start}{middle.join(pairs[:-1])}{joint if pairs[1:] else ''}{pairs[-1]}"


def _listed(draft: Draft, wish: str, parts: list[Part]) -> str:
    rng = draft.rng
    sign = rng.choice((": ", ": ", " ", " = "))
    pairs = [_pair(part, sign) for part in rng.sample(parts, len(parts))]
    kind = rng.random()
    if kind < 0.3:
        return f"{wish}{': ' if sign != ': ' else ' - '}{', '.join(pairs)}"
    if kind < 0.5:
        return f"{wish} ({rng.choice((', ', '; ')).join(pairs)})"
    if kind < 0.75:
        listed = rng.choice(("; ", ", ")).join(pairs)
        return f"{wish}. {listed[0].upper()}{listed[1:]}"
    mark = rng.choice(("- ", "", "* "))
    return f"{wish}:\n" + "\n".join(f"{mark}{pair}" for pair in pairs)


def _sentences(draft: Draft, wish: str, parts: list[Part]) -> str:
    said = [wish]
    for part in parts:
        verb = draft.rng.choice(("are" if part.argument.is_list or part.words.endswith("s") else "is", "should be"))
        is_switch = part.argument.type == "boolean"
        said.append(f"Set {part.words} to {part.said}" if is_switch else f"The {part.words} {verb} {part.said}")
    return ". ".join(said)


def _values_first(draft: Draft, wish: str, parts: list[Part]) -> str:
    rng = draft.rng
    pairs = [_pair(part, " ") for part in rng.sample(parts, len(parts))]
    listed = ", ".join(pairs[:-1]) + (" and " if pairs[1:] else "") + pairs[-1]
    return rng.choice(
        (f"given {listed}, {wish}", f"with {listed}, {wish}", f"for {listed}, {wish}", f"given {listed}: {wish}")
    )


GOING_ON: tuple[Way, ...] = (_in_a_row, _in_a_row, _in_a_row, _shuffled, _where)
"""Ways that go on in a sentence with other wishes."""
ALONE: tuple[Way, ...] = (
    *(_in_a_row, _in_a_row, _in_a_row, _in_a_row, _shuffled, _where),
    *(_listed, _listed, _sentences, _values_first),
)  # fmt: skip
"""Ways of a request that has one wish only."""
