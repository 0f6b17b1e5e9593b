# ruff: noqa: E501, PLR2004, SIM905 - phrasings stand in one line, shares stand where they are drawn
"""Clauses for operations of published APIs (``operations/operations.txt``), wished for in the words of their summaries.

    getImageCollectionList(page?, per_page?)  ->  "show me the image collections on page 3"

The file says neither how an operation is wished for nor how its arguments are said; both are made up here, from the
summary and from names and kinds. An eighth of the APIs is never trained on, by the hash of the API's name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, reduce
from pathlib import Path

from agentflow.embedded.data.clauses.declared import (
    ALONE,
    GOING_ON,
    DeclaredArgument,
    DeclaredFunction,
    Part,
    attach,
    call,
    choose,
    draw_parts,
    draw_values,
    parse_function,
    say_alike,
    say_wish,
    split_of,
    spoken,
    wish_for,
)
from agentflow.embedded.data.clauses.draft import Draft
from agentflow.embedded.data.splits import Split, is_held_out, wants_held_out

_FILE = Path(__file__).parent.parent / "operations" / "operations.txt"
_VERBS: Mapping[str, str] = {
    "list": "list|list|show me|give me|get|display|fetch|see",
    "get": "get|get|fetch|show me|look up|give me|retrieve|find|pull up",
    "retrieve": "retrieve|get|fetch|show me|look up|give me|find|pull up",
    "fetch": "fetch|get|retrieve|show me|look up",
    "find": "find|look for|look up|search for",
    "create": "create|create|make|set up",
    "delete": "delete|delete|remove",
    "remove": "remove|delete",
    "update": "update|update|change|modify|edit",
    "modify": "modify|change|update|edit",
    "check": "check|check|verify",
    "calculate": "calculate|compute|work out",
    "compute": "compute|calculate|work out",
    "generate": "generate|make|create|produce",
    "start": "start|start|begin|launch",
    "stop": "stop|stop|end|halt",
}
"""Other words for the first one of a summary."""
_LEANING = frozenset(
    "from to after before since until by on in of at for new old other parent sub last first per next max min is".split()
)
"""Words that cannot stand for a thing."""
_LIST = re.compile(r"(a |the )?list of ")
_CREATING = ("create", "add", "make", "generate", "register", "open", "start", "new", "insert")


@cache
def operations(split: Split = "train") -> tuple[DeclaredFunction, ...]:
    """Give the operations of a split, in the order of the file: those of an API stand together."""
    found: list[DeclaredFunction] = []
    is_new, is_wanted = wants_held_out("tool", split), False
    for line in _FILE.read_text(encoding="utf-8").splitlines():
        if line.startswith("@ "):
            api = line.removeprefix("@ ")
            is_wanted = is_held_out("tool", api) == is_new
        elif is_wanted:
            found.append(replace(parse_function(line), api=api))
    return tuple(found)


def call_operation(draft: Draft) -> str:
    """Wish for an operation, in words that go on in a sentence with others."""
    return wish_for(draft, worded(choose(draft, operations(split_of(draft)))), GOING_ON)


def call_operation_alone(draft: Draft) -> str:
    """Wish for an operation, also in several sentences or behind a colon."""
    return wish_for(draft, worded(choose(draft, operations(split_of(draft)))), ALONE)


def call_operation_again(draft: Draft) -> str:
    """Wish for an operation two or three times, with other values."""
    rng = draft.rng
    function = worded(choose(draft, _repeatable(split_of(draft))))
    taken: set[str] = set()
    parts = draw_parts(draft, function, taken=taken)
    free = [part.argument for part in parts if _is_free(part.argument)] or list(filter(_is_free, function.arguments))
    varied = free if rng.random() < 0.4 else [rng.choice(free)]
    rounds = [draw_values(draft, varied, taken=taken) for _ in range(rng.choice((2, 2, 3)))]
    shared = [part for part in parts if part.argument not in varied]
    for values in rounds:
        call(draft, function, [*shared, *values])
    draft.first_alone = len(draft.steps)
    return _say_rounds(draft, function, shared, rounds)


@cache
def _repeatable(split: Split) -> tuple[DeclaredFunction, ...]:
    """Give the operations of a split that can be called again with another value."""
    return tuple(one for one in operations(split) if any(map(_is_free, one.arguments)))


def _is_free(argument: DeclaredArgument) -> bool:
    """Say whether there are so many values of an argument that a few different ones can be drawn."""
    return not argument.is_list and argument.type != "boolean" and (not argument.options or len(argument.options) > 4)


def _say_rounds(draft: Draft, function: DeclaredFunction, shared: list[Part], rounds: list[list[Part]]) -> str:
    """Say what the calls share, and then for each what it has of its own."""
    said = say_wish(draft, function)
    for part in shared:
        said = attach(said, say_alike(draft, [part])[0])
    columns = [say_alike(draft, [values[index] for values in rounds]) for index in range(len(rounds[0]))]
    told = [reduce(attach, (column[index] for column in columns)).strip(" ,") for index in range(len(rounds))]
    joint = draft.rng.choice((" and ", " and also ", ", and also ", " and then ", ", then ", "; also "))
    middle = ", " if len(columns) == 1 else joint
    return f"{said.rstrip(',')} {middle.join(told[:-1])}{joint}{told[-1]}"


# ---------------------------------------------------------------- wording


def worded(function: DeclaredFunction) -> DeclaredFunction:
    """Give a function with notations of how it and its arguments are said."""
    arguments = tuple(replace(one, said=_Speaker(function, one).said) for one in function.arguments)
    return replace(function, wish=_wish(function.wish or _lowered(function.description)), arguments=arguments)


def _lowered(description: str) -> str:
    return description[0].lower() + description[1:].rstrip(".")


def _wish(wish: str) -> str:
    """Make the notation of a wish: other verbs, other articles, and questions."""
    verb, _, rest = wish.partition(" ")
    if _LIST.match(rest) and verb in ("get", "retrieve", "fetch", "list"):
        verb, rest = "list", _LIST.sub("", rest)
    alternatives = _VERBS.get(verb, verb)
    varied = re.sub(r"\b(the|an?) (?=\w{3})", lambda match: f"[{match[0]}|{match[0]}|the ]", rest)
    notation = f"[{alternatives}] {varied}"
    if asked := re.match(r"(?:the )?(\w+) (of|for) ", rest):
        be = "are" if asked[1].endswith("s") and not asked[1].endswith("us") else "is"
        if verb in ("get", "retrieve", "calculate", "compute"):
            notation += f"|what {be} the {rest.removeprefix('the ')}"
    return notation


class _Speaker:
    """How an argument is said beside the others of its function.

    A value is said without the argument's name only where no other argument could take it.
    """

    def __init__(self, function: DeclaredFunction, argument: DeclaredArgument) -> None:
        self.argument, self.wish = argument, function.wish or _lowered(function.description)
        self.others = [other for other in function.arguments if other is not argument]
        self.words = spoken(argument.name).split()
        self.name = " ".join(self.words)
        self.is_first = function.arguments[0] is argument

    @property
    def said(self) -> str:
        """The notation."""
        if self.argument.kind == "b":
            return _switch(self.words)
        special = (self._identifier, self._day, self._paging, self._place, self._title, self._query, self._order)
        found = next(filter(None, (make() for make in special)), "")
        plain = f"with {self.name} {{x}}|with [the |]{self.name} {{x}}|, {self.name} {{x}}"
        return f"[{found}|{found}|{plain}]" if found else f"[{plain}|with {{x}} as [|the ]{self.name}]"

    def _is_alone(self, *kinds: str) -> bool:
        """Say whether no other argument has a value of these kinds, or of any text."""
        return not any(other.kind in kinds for other in self.others)

    def _identifier(self) -> str:
        *head, last = self.words
        is_one = last in ("id", "uuid", "sid", "key", "code", "number") or (
            last == "name" and self.argument.kind == "slug"
        )
        thing = " ".join(head)
        if not is_one or self.argument.is_list:
            return ""
        if self._is_thing_of_wish(head):
            return (
                f"{{x}}|{{x}}|with [the |]{self.name} {{x}}"
                if head
                else "{x}|with [the |]id {x}|[whose|where the] id is {x}"
            )
        if (
            not head
            or head[-1] in _LEANING
            or last in ("code", "number")
            or any(spoken(other.name).startswith(thing) for other in self.others)
        ):
            return ""
        return f"[for|of|in] [the |]{thing} {{x}}|[for|of] {thing} {{x}}"

    def _is_thing_of_wish(self, head: Sequence[str]) -> bool:
        """Say whether the wish ends with the thing that the first argument tells, as in "delete the invoice"."""
        *_, before, thing = ["", *self.wish.lower().split()]
        is_named = (
            thing == head[-1] if head else len(thing) > 3 and before in ("a", "an", "the") and not thing.endswith("s")
        )
        return self.is_first and not self.argument.is_optional and is_named

    def _day(self) -> str:
        kinds = ("date", "datetime")
        if self.argument.kind not in kinds or self.argument.is_list:
            return ""
        edge = _edge(self.words)
        if edge and sum(_edge(spoken(other.name).split()) == edge for other in self.others) == 0:
            return {"start": "from {x}|[starting|beginning] {x}|since {x}", "end": "[to|until|till] {x}|until {x}"}[
                edge
            ]
        is_plain = set(self.words) <= {"date", "day", "on", "datetime"}
        return "on {x}|for {x}" if is_plain and self._is_alone(*kinds) else ""

    def _paging(self) -> str:
        if self.argument.type != "integer" or self.argument.is_list:
            return ""
        if self.name in ("per page", "page size", "results per page", "items per page"):
            return "with {x} per page|, {x} per page|with {x} results per page"
        if self.name in ("page", "page number"):
            return "on page {x}|, page {x}"
        if self.name in ("limit", "max results", "count", "max items", "top") and self.wish.split()[0] in _VERBS:
            return f"[with |, ]at most {{x}} results|[with |][a |]{self.name} [of |]{{x}}"
        return (
            "skipping the first {x}|, starting at offset {x}|with [an |]offset [of |]{x}"
            if self.name in ("offset", "skip")
            else ""
        )

    def _place(self) -> str:
        kinds = ("city", "country")
        is_plain = set(self.words) <= {"city", "country", "location", "place", "name", "town"}
        return "in {x}" if self.argument.kind in kinds and is_plain and self._is_alone(*kinds) else ""

    def _title(self) -> str:
        is_made = self.wish.startswith(_CREATING) and self.words[-1] in ("name", "title") and len(self.words) < 3
        is_alone = not any(spoken(other.name).split()[-1] in ("name", "title") for other in self.others)
        if not is_made or not is_alone or self.argument.kind not in ("title", "slug", "word"):
            return ""
        return (
            f"[called|named] {{x}}|with the {self.name} {{x}}"
            if self.words[-1] == "name"
            else "[titled|with the title] {x}"
        )

    def _query(self) -> str:
        is_query = self.name in ("query", "search", "keyword", "search term", "term", "keywords", "search query")
        if not is_query or self.argument.options:
            return ""
        is_search = self.wish.startswith(("search", "find")) and " for " not in self.wish
        return (
            f"[for|matching] {{x}}|with [the |]{self.name} {{x}}"
            if is_search
            else f"matching {{x}}|with [the |]{self.name} {{x}}"
        )

    def _order(self) -> str:
        if "asc" in (option.lower()[:3] for option in self.argument.options):
            return "in {x} order"
        is_sort = self.name in ("sort", "sort by", "order by", "sort field") and bool(self.argument.options)
        return "[sorted|ordered] by {x}" if is_sort else ""


def _edge(words: Sequence[str]) -> str:
    """Say which end of a span of time a name tells, if it tells one."""
    if len(words) > 2 or not {"start", "from", "since", "begin", "after", "end", "to", "until", "before"}.intersection(
        words
    ):
        return ""
    return "end" if {"end", "to", "until", "before"}.intersection(words) else "start"


_SWITCHING = (
    "include",
    "exclude",
    "show",
    "allow",
    "enable",
    "return",
    "send",
    "use",
    "skip",
    "ignore",
    "delete",
    "hide",
    "add",
    "keep",
    "get",
    "remove",
)


def _switch(words: Sequence[str]) -> str:
    """Make the notation of how a switch is said, on and off."""
    name = " ".join(words)
    if words[0] in _SWITCHING and len(words) > 1:
        return f"and {name}|with {name} [on|set to true]~and do not {name}|with {name} [off|set to false]"
    if words[0] in ("is", "has", "can", "should"):
        return (
            f"with {name} [|set to |= ]true|where {name} is true~with {name} [|set to |= ]false|where {name} is false"
        )
    return f"with {name} [on|enabled|set to true|true]|with {name}~without {name}|with {name} [off|disabled|set to false|false]"
