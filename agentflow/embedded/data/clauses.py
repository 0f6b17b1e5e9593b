"""Clauses: one wish each, with the call that fulfils it and what comes out of it.

A clause function takes a `Draft`, draws values or refers to earlier outputs, runs its tool in the
world and returns how the wish is said. The answer's fields are made from the outputs later.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agentflow.embedded.data.phrasings import Phrasings
from agentflow.embedded.data.splits import Split
from agentflow.embedded.data.values import Values
from agentflow.embedded.data.worlds import World
from agentflow.types import JsonValue

Kind = Literal["number", "date", "text", "weekday", "echo", "list"]


@dataclass(frozen=True)
class Output:
    """Something that came out of a call, or that the user named.

    Attributes:
        value: The value.
        kind: What later clauses can do with it.
        fields: Notation of names of an answer field that holds it.
        said: Notation of how a user speaks of it; empty for what nobody refers to.
        step: Index of the call that it came from.
    """

    value: JsonValue
    kind: Kind
    fields: str
    said: str
    step: int


@dataclass(frozen=True)
class Step:
    """A call of a task, by usual names, and its result.

    Attributes:
        tool: Usual name of the tool.
        arguments: Arguments by usual name.
        result: What came back.
        needs: Steps whose results it uses.
    """

    tool: str
    arguments: Mapping[str, JsonValue]
    result: JsonValue
    needs: frozenset[int]


@dataclass
class Draft:
    """A task while it is made.

    Attributes:
        rng: Random generator.
        values: Draws values.
        phrasings: Draws phrasings.
        world: Where the calls really run.
        before: The world before the first call.
        steps: Calls so far.
        outputs: What came out of them.
    """

    rng: random.Random
    values: Values
    phrasings: Phrasings
    world: World
    before: World
    steps: list[Step] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)

    @classmethod
    def start(cls, rng: random.Random, split: Split) -> Draft:
        """Begin a task with an empty world."""
        return cls(rng, Values(rng, split), Phrasings(rng, split), World(rng), World(rng))

    def place(self, kind: Literal["files", "notes", "pages", "rows"], name: str, content: Any) -> None:
        """Put something into the world as it was before the first call."""
        for world in (self.world, self.before):
            getattr(world, kind)[name] = content

    def place_todo(self, item: str) -> None:
        """Put an item on the to-do list as it was before the first call."""
        self.before.todos.append(item)
        self.world.todos.insert(len(self.before.todos) - 1, item)

    def call(self, tool: str, needs: tuple[Output | None, ...] = (), **arguments: JsonValue) -> Any:
        """Run a call and keep it."""
        result = self.world.run(tool, arguments)
        used = frozenset(output.step for output in needs if output is not None)
        self.steps.append(Step(tool, arguments, result, used))
        return result

    def put(self, value: JsonValue, kind: Kind, fields: str, said: str = "") -> None:
        """Keep an output of the last call."""
        self.outputs.append(Output(value, kind, fields, said, len(self.steps) - 1))

    def say(self, *notations: str, **values: object) -> str:
        """Draw a phrasing."""
        return self.phrasings.say(notations, **values)

    def refer(self, *kinds: Kind, share: float = 0.75) -> tuple[Output, str] | None:
        """Pick an earlier output of the given kinds and say it, or give None (always if there is none)."""
        options = [o for o in self.outputs if o.kind in kinds and o.said and self._is_unmistakable(o)]
        if not options or self.rng.random() > share:
            return None
        output = options[-1] if self.rng.random() < 0.8 else self.rng.choice(options)
        generic = _GENERIC.get(output.kind, "") if output is self._last_said() else ""
        notation = f"[{output.said}|{generic}]" if generic and self.rng.random() < 0.6 else f"[{output.said}]"
        return output, self.say(notation)

    def _last_said(self) -> Output | None:
        said = [output for output in self.outputs if output.said]
        return said[-1] if said and said[-1].step == len(self.steps) - 1 else None

    def _is_unmistakable(self, output: Output) -> bool:
        return output is self._last_said() or sum(o.said == output.said for o in self.outputs) == 1


_GENERIC: Mapping[str, str] = {
    "number": "the result|the number|it|that number|that|the answer|the value",
    "date": "that date|the date|it|that day|this date",
    "text": "it|that|the text|what it says",
    "weekday": "it|the result|that|the answer",
}
_SAVE_AS = "[called|named|titled|with the title|under the title|under|with title]"
_NOTE = "[a note|a new note|a memo|the note]"
_OPERATIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "*",
        "{number} * {n}",
        ("multiply {ref} by {n}", "[compute|calculate|work out|find] {ref} times {n}", "take {ref} times {n}"),
    ),
    (
        "+",
        "{number} + {n}",
        ("add {n} to {ref}", "[compute|calculate|work out|find] {ref} plus {n}", "increase {ref} by {n}"),
    ),
    (
        "-",
        "{number} - {n}",
        ("subtract {n} from {ref}", "take {n} [away from|off] {ref}", "[compute|calculate|work out] {ref} minus {n}"),
    ),
    (
        "/",
        "{number} / {n}",
        ("divide {ref} by {n}", "[compute|calculate|work out] {ref} divided by {n}", "split {ref} by {n}"),
    ),
)


def shown(value: JsonValue) -> str:
    """Write a value as text: strings as they are, others as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def quoted(draft: Draft, text: str) -> str:
    """Put quotes of some kind around a text, or none."""
    quote = draft.rng.choice(("", "", "'", '"'))
    return f"{quote}{text}{quote}"


# ---------------------------------------------------------------- numbers


def _expression(draft: Draft) -> str:
    rng, values = draft.rng, draft.values
    first, second = shown(values.amount()), shown(values.count(2, 99) if rng.random() < 0.7 else values.amount())
    operation = rng.choice("**+-*/+")
    space = rng.choice((" ", " ", " ", ""))
    simple = f"{first}{space}{operation}{space}{second}"
    kind = rng.random()
    if kind < 0.75:
        return simple
    third = shown(values.count(2, 99))
    if kind < 0.9:
        return f"({simple}){space}{rng.choice('*/+-')}{space}{third}"
    return f"{simple}{space}{rng.choice('+-')}{space}{third}"


def calculate(draft: Draft) -> str:
    """Compute an expression that the user gives, or something with an earlier number."""
    reference = draft.refer("number", share=0.85)
    if reference is not None:
        return _calculate_with(draft, *reference)
    expression = _expression(draft)
    value = draft.call("calculate", expression=expression)["value"]
    draft.put(
        value,
        "number",
        "total|result|value|amount|sum|answer|total|computed",
        "the result|the total|the result of the calculation|the amount|the sum",
    )
    return draft.say(
        "[work out|calculate|compute|find|evaluate|solve|determine] {x}",
        "[tell me|find out|say|give me|let me know] [what {x} is|how much {x} is|the value of {x}|the result of {x}]",
        "[do the math on|do the calculation|get the value of|figure out|run the numbers on] {x}",
        x=quoted(draft, expression) if draft.rng.random() < 0.3 else expression,
    )


def _calculate_with(draft: Draft, output: Output, ref: str) -> str:
    _, form, notations = draft.rng.choice(_OPERATIONS)
    n = shown(draft.values.count(2, 99) if draft.rng.random() < 0.75 else draft.values.amount())
    expression = form.format(number=shown(output.value), n=n)
    value = draft.call("calculate", (output,), expression=expression)["value"]
    draft.put(
        value,
        "number",
        "total|result|value|new_value|answer|total|final|amount_due",
        "the total|the new total|the new value|the final result",
    )
    return draft.say(*notations, ref=ref, n=n)


# ---------------------------------------------------------------- dates


def weekday(draft: Draft) -> str:
    """Ask for the weekday of a date."""
    reference = draft.refer("date")
    output, said = reference or (None, draft.values.date())
    day = shown(output.value) if output else said
    name = draft.call("weekday", (output,), date=day)["weekday"]
    draft.put(
        name,
        "weekday",
        "weekday|day|day_name|day_of_week|weekday|name_of_day",
        "the weekday|the day of the week|the name of the day",
    )
    return draft.say(
        "[tell me|find|find out|get|say|give me|look up|determine|check|name] the [weekday|day of the week] of {d}",
        "[tell me|find out|say|check|see|look up] [which|what] [weekday|day of the week|day] {d} [is|falls on|is on]",
        "[what|which] [weekday|day of the week] [is {d}|that is on {d}|{d} is]",
        "[tell me|find|give me] [the day of the week for|the weekday for] {d}",
        d=said,
    )


def add_days(draft: Draft) -> str:
    """Ask for the date some days later."""
    reference = draft.refer("date", share=0.6)
    output, said = reference or (None, draft.values.date())
    start = shown(output.value) if output else said
    days = draft.values.count(2, 400)
    date = draft.call("add_days", (output,), date=start, days=days)["date"]
    draft.put(
        date,
        "date",
        "date|due|due_date|deadline|new_date|end_date|later|target_date",
        "the new date|the resulting date|the later date",
    )
    return draft.say(
        "[find|compute|work out|give me|tell me|get|determine|figure out] the [date|day] {n} days [after|from|past|later than] {d}",
        "add {n} days to {d}",
        "[find|find out|tell me|say|check] [which|what] date is {n} days [after|from] {d}",
        "[which|what] date is {n} days [after|from] {d}",
        "[move|shift] {d} by {n} days",
        "[tell me|find] what {d} plus {n} days is",
        n=days,
        d=said,
    )


def days_between(draft: Draft) -> str:
    """Ask for the days from one date to another."""
    reference = draft.refer("date", share=0.4)
    output, first_said = reference or (None, draft.values.date())
    first, second = shown(output.value) if output else first_said, draft.values.date()
    start, end, start_said, end_said = first, second, first_said, second
    if (output is None and first > second) or (output is not None and draft.rng.random() < 0.3):
        start, end, start_said, end_said = second, first, second, first_said
    days = draft.call("days_between", (output,), start=start, end=end)["days"]
    draft.put(
        days,
        "number",
        "days|num_days|gap|days_between|difference|day_count|length",
        "the number of days|the day count|the number",
    )
    return draft.say(
        "[count|find|compute|work out|tell me|give me|determine] the [days|number of days] [from {a} to {b}|between {a} and {b}]",
        "[tell me|find out|say|work out|calculate|check|see] how many days [there are from {a} to {b}|are between {a} and {b}|lie between {a} and {b}|there are between {a} and {b}|it is from {a} to {b}]",
        "how many days are [there from {a} to {b}|there between {a} and {b}|between {a} and {b}]",
        "[how many days|how long] is it from {a} to {b}",
        a=start_said,
        b=end_said,
    )


def current_time(draft: Draft) -> str:
    """Ask for the time somewhere."""
    zone = draft.values.zone()
    has_zone = draft.rng.random() < 0.75
    time = draft.call("current_time", **({"timezone": zone} if has_zone else {}))["time"]
    draft.put(time, "text", "time|now|current_time|local_time|clock", "the time|the current time")
    if not has_zone:
        return draft.say(
            "[tell me|check|get|find out|look up] [the time|the current time|what time it is|what the time is now]"
        )
    return draft.say(
        "[tell me|check|get|find out|look up] [the time in {z}|the current time in {z}|what time it is in {z}|the local time in {z}]",
        z=zone,
    )


# ---------------------------------------------------------------- reading


def _content(draft: Draft) -> tuple[str, list[tuple[JsonValue, Kind, str, str]], str]:
    """Draw what a document says: its text, what can be taken from it, and what it is about."""
    rng, values = draft.rng, draft.values
    kind = rng.random()
    if kind < 0.4:
        noun = rng.choice(
            "price amount total count number budget balance cost score weight size rate fee value quantity".split()
        )
        number = values.amount()
        return (
            shown(number),
            [(number, "number", f"{noun}|{noun}|value|number", f"the {noun}|the number in it|the {noun} in it")],
            noun,
        )
    if kind < 0.55:
        noun = rng.choice("date deadline due_date start birthday day".split())
        day = values.date()
        said = noun.replace("_", " ")
        return day, [(day, "date", f"{noun}|{noun}|date", f"the {said}|the date in it|the {said} in it")], said
    if kind < 0.75:
        text = values.errand() if rng.random() < 0.6 else values.text()
        return text, [(text, "text", "text|content|said|task|item|text", "its text|what it says|its content")], ""
    return _form(draft)


def _form(draft: Draft) -> tuple[str, list[tuple[JsonValue, Kind, str, str]], str]:
    """Draw a document of lines such as ``Due: 2026-03-14``."""
    rng, values = draft.rng, draft.values
    keys = rng.sample(("total", "due", "name", "code", "city", "count", "item", "start", "price"), rng.randint(2, 3))
    lines, parts = [], []
    for key in keys:
        if key in ("total", "count", "price"):
            value: JsonValue = values.amount() if key != "count" else values.count()
            kind: Kind = "number"
        elif key in ("due", "start"):
            value, kind = values.date(), "date"
        else:
            make = {
                "name": values.person,
                "code": values.code,
                "city": lambda: values.pooled("city"),
                "item": values.noun,
            }
            value, kind = make[key](), "text"
        said = {"due": "due date", "start": "start date"}.get(key, key)
        field_names = {"due": "due|due_date", "start": "start|start_date"}.get(key, key)
        separator = rng.choice((": ", ": ", " = "))
        lines.append(f"{rng.choice((key, key.capitalize()))}{separator}{shown(value)}")
        parts.append((value, kind, field_names, f"the {said}|its {said}|the {said} in it"))
    return rng.choice(("\n", "\n", ", ")).join(lines), parts, ""


def _put_content(draft: Draft, parts: list[tuple[JsonValue, Kind, str, str]]) -> None:
    for value, kind, fields, said in parts:
        draft.put(value, kind, fields, said)


def read_file(draft: Draft) -> str:
    """Read a file."""
    path = draft.values.path()
    text, parts, noun = _content(draft)
    draft.place("files", path, text)
    draft.call("read_file", path=path)
    _put_content(draft, parts)
    shown_path = quoted(draft, path)
    if noun and draft.rng.random() < 0.6:
        return draft.say(
            "[read|get|look up|find|take|fetch] the {noun} [in|from|out of] {the}{p}",
            noun=noun,
            the=draft.rng.choice(("", "", "the file ")),
            p=shown_path,
        )
    return draft.say(
        "[read|open|load|look at|look into|take a look at|check] [|the file ]{p}",
        "[get|load|fetch|read|show me] [the text|the content|the contents] of [|the file ]{p}",
        "[tell me|find out|see] what [{p} says|is in {p}|the file {p} says|stands in {p}]",
        p=shown_path,
    )


def read_note(draft: Draft) -> str:
    """Read a note."""
    title = draft.values.title()
    text, parts, noun = _content(draft)
    draft.place("notes", title, text)
    draft.call("read_note", title=title)
    _put_content(draft, parts)
    shown_title = quoted(draft, title)
    if noun and draft.rng.random() < 0.5:
        return draft.say(
            "[read|get|look up|find|take|fetch] the {noun} [in|from] [the note {t}|my note {t}|the {t} note|my {t} note|the note called {t}]",
            noun=noun,
            t=shown_title,
        )
    return draft.say(
        "[read|open|look at|get|check|show me|load] [the note {t}|my note {t}|the {t} note|my {t} note|the note called {t}|the note titled {t}]",
        "[tell me|find out|see|check] what [the note {t} says|is in the note {t}|my {t} note says]",
        t=shown_title,
    )


def fetch_url(draft: Draft) -> str:
    """Fetch a page."""
    url = draft.values.url()
    text, parts, _ = _content(draft)
    draft.place("pages", url, text)
    draft.call("fetch_url", url=url)
    _put_content(draft, parts)
    return draft.say(
        "[fetch|get|load|open|download|read] [|the page |the web page |the site ]{u}",
        "[see|check|look up|tell me] what [{u} says|is on {u}|is at {u}]",
        u=url,
    )


def run_query(draft: Draft) -> str:
    """Run a statement that the user gives."""
    rng, values = draft.rng, draft.values
    table = (
        rng.choice("stock orders users products sales customers items staff parts".split())
        if rng.random() < 0.7
        else values.noun()
    )
    column = rng.choice("price amount total count salary age quantity score cost".split())
    key = rng.choice("name city code status".split())
    value = {"name": values.noun, "city": lambda: values.pooled("city"), "code": values.code, "status": values.noun}[
        key
    ]()
    number = values.amount()
    sql, noun = rng.choice((
        (f"SELECT {column} FROM {table} WHERE {key} = '{value}'", column),
        (f"SELECT {column} FROM {table} WHERE {key} = '{value}'", column),
        (f"SELECT {rng.choice(('sum', 'max', 'min', 'avg', 'SUM', 'MAX'))}({column}) FROM {table}", column),
        (f"SELECT {rng.choice(('count', 'COUNT'))}(*) FROM {table}", "count"),
        (f"SELECT {column} FROM {table} WHERE id = {rng.randint(1, 99)}", column),
        (f"SELECT count(*) FROM {table} WHERE {column} > {rng.randint(1, 99)}", "count"),
    ))  # fmt: skip
    draft.place("rows", sql, [[number if noun != "count" else values.count()]])
    result = draft.call("run_query", sql=sql)["rows"][0][0]
    draft.put(result, "number", f"{noun}|{noun}|value|result", f"the {noun}|the {noun} it gives|the value")
    return draft.say(
        "[run|execute|do|send|try] [|the query |the statement |this query: |the SQL ]{q}",
        "[query|ask] the database[:| with] {q}",
        q=quoted(draft, sql) if "'" not in sql else sql,
    )


def _listed(draft: Draft, tool: str, key: str, fields: str, notation: str) -> str:
    items = draft.call(tool)[key]
    draft.put(items, "list", fields)
    return draft.say(notation)


def list_todos(draft: Draft) -> str:
    """List the open items."""
    while len(draft.world.todos) < draft.rng.randint(1, 3):
        draft.place_todo(draft.values.errand())
    return _listed(
        draft,
        "list_todos",
        "todos",
        "todos|open|items|tasks|remaining|list",
        "[list|show me|give me|tell me|get] [my to-do list|the open items|my open tasks|the to-do items|what is on my to-do list|everything on my to-do list|what is left to do|all open to-dos]",
    )


def list_notes(draft: Draft) -> str:
    """List the notes."""
    while len(draft.world.notes) < draft.rng.randint(1, 3):
        draft.place("notes", draft.values.title(), "-")
    return _listed(
        draft,
        "list_notes",
        "notes",
        "notes|titles|note_titles|all_notes",
        "[list|show me|give me|tell me|get] [my notes|all notes|the titles of my notes|the notes|which notes there are|all note titles]",
    )


def list_files(draft: Draft) -> str:
    """List the files."""
    while len(draft.world.files) < draft.rng.randint(1, 3):
        draft.place("files", f"{draft.values.stem()}.txt", "-")
    return _listed(
        draft,
        "list_files",
        "files",
        "files|names|file_names|paths",
        "[list|show me|give me|tell me|get] [the files|all files|my files|which files there are|the files in the folder]",
    )


def list_tables(draft: Draft) -> str:
    """List the tables."""
    if not draft.world.tables:
        draft.world.tables[:] = sorted({draft.values.noun() for _ in range(draft.rng.randint(1, 3))})
        draft.before.tables[:] = draft.world.tables
    return _listed(
        draft,
        "list_tables",
        "tables",
        "tables|table_names|names",
        "[list|show me|give me|tell me|get] [the tables|all tables|the tables of the database|which tables there are]",
    )


# ---------------------------------------------------------------- writing


def _wanted_text(draft: Draft) -> tuple[Output | None, str, str]:
    """Choose what to keep: an earlier output or a text of the user; with how it is said."""
    reference = draft.refer("number", "date", "text", "weekday", share=0.8)
    if reference is not None:
        return reference[0], shown(reference[0].value), reference[1]
    text = draft.values.text()
    return None, text, ""


def add_note(draft: Draft) -> str:
    """Save a note."""
    output, text, ref = _wanted_text(draft)
    title = draft.values.title()
    draft.call("add_note", (output,), title=title, text=text)
    draft.put(title, "echo", "note|title|note_title|saved|saved_as|saved_in")
    t = quoted(draft, title)
    if output is not None:
        return draft.say(
            f"[save|store|keep|put|write|record] {{ref}} [in|as] {_NOTE} {_SAVE_AS} {{t}}",
            f"[make|create|write|add|save] [a note|a memo] {_SAVE_AS} {{t}} [with|holding|containing|that says] {{ref}}",
            "[note|save|write|put] {ref} [under {t}|in the note {t}|in my note {t}|down under {t}|in a {t} note]",
            ref=ref, t=t,
        )  # fmt: skip
    return draft.say(
        f"[make|create|write|add|save|take] [a note|a memo|a new note] {_SAVE_AS} {{t}} [with the text|saying|that says|with] {{x}}",
        "[save|note|write down|keep] {x} [under {t}|in the note {t}|in a note called {t}|as a note called {t}|in a note titled {t}]",
        "[make|add|write] [a note|the note] {t}: {x}",
        t=t, x=quoted(draft, text),
    )  # fmt: skip


def write_file(draft: Draft) -> str:
    """Write a file."""
    output, text, ref = _wanted_text(draft)
    path = draft.values.path()
    draft.call("write_file", (output,), path=path, text=text)
    draft.put(path, "echo", "file|path|written|written_to|saved_to|file_name")
    return draft.say(
        "[write|save|store|put|record] {x} [to|in|into] [|the file |a file called |a file named ]{p}",
        "[create|make|write] [a file|the file] {p} [with|containing|that says] {x}",
        x=ref or quoted(draft, text), p=quoted(draft, path),
    )  # fmt: skip


def add_todo(draft: Draft) -> str:
    """Add an item to the list."""
    reference = draft.refer("text", "text", "text", "date", "number", share=0.75)
    item = shown(reference[0].value) if reference else draft.values.errand()
    draft.call("add_todo", (reference[0],) if reference else (), item=item)
    draft.put(item, "echo", "added|item|task|todo|new_item|added_item")
    return draft.say(
        "[add|put|write|set|place] {x} [on|to|onto] [my|the] [to-do list|todo list|list|to-dos|task list|list of things to do]",
        "[add|make|create] [a to-do|a todo|a task|a to-do item][:| for| called] {x}",
        "[remind me|I have] to {x}" if reference is None else "put {x} on my to-do list",
        x=reference[1] if reference else quoted(draft, item),
    )


def complete_todo(draft: Draft) -> str:
    """Mark an item as done."""
    item = draft.values.errand()
    draft.place_todo(item)
    draft.call("complete_todo", item=item)
    draft.put(item, "echo", "done|completed|finished|closed|done_item|checked_off")
    return draft.say(
        "[mark|check off|tick off|set] {x} [as done|as completed|as finished|on my to-do list as done]",
        "[complete|finish|close|check off|tick off] [|the to-do |the task |the item ]{x}",
        "[cross|strike|tick|check] {x} off [my|the] [list|to-do list]",
        x=quoted(draft, item),
    )


# ---------------------------------------------------------------- other tools


def get_weather(draft: Draft) -> str:
    """Ask for the weather."""
    city = draft.values.pooled("city")
    unit = draft.rng.choice((None, None, "celsius", "fahrenheit"))
    result = draft.call("get_weather", city=city, **({"unit": unit} if unit else {}))
    draft.put(result["temperature"], "number", "temperature|degrees|temp", "the temperature")
    draft.put(result["sky"], "text", "sky|weather|condition", "the weather")
    return draft.say(
        "[check|get|tell me|look up|find] the [weather|temperature|current weather] in {c}{u}",
        c=city,
        u=f" in {unit}" if unit else "",
    )


def get_price(draft: Draft) -> str:
    """Ask for a price."""
    product = draft.values.noun()
    price = draft.call("get_price", product=product)["price"]
    draft.put(price, "number", "price|cost|price", "the price|its price")
    return draft.say(
        "[check|get|tell me|look up|find] the [price|cost] of [|the |a ]{p}",
        "[find out|tell me|see] [how much [the|a] {p} costs|what [the|a] {p} costs]",
        p=product,
    )


def check_stock(draft: Draft) -> str:
    """Ask what is in stock."""
    product = draft.values.noun()
    count = draft.call("check_stock", product=product)["quantity"]
    draft.put(count, "number", "quantity|stock|count|in_stock", "the stock|the quantity")
    return draft.say(
        "[check|find out|tell me|see|count] how many {p} [are in stock|we have|there are in stock|are left]",
        "[check|get|look up] the [stock|inventory] of {p}",
        p=product,
    )


def find_contact(draft: Draft) -> str:
    """Look somebody up."""
    person = draft.values.person()
    phone = draft.call("find_contact", name=person)["phone"]
    draft.put(phone, "text", "phone|number|phone_number|contact", "the phone number|the number")
    return draft.say(
        "[find|look up|get|tell me|search] [the phone number of|the number of|the contact of|the contact details of] {p}",
        "[look up|find] {p} in [my|the] [contacts|address book]",
        p=person,
    )


def send_email(draft: Draft) -> str:
    """Send a mail."""
    output, text, ref = _wanted_text(draft)
    to, subject = draft.values.email(), draft.values.title()
    draft.call("send_email", (output,), to=to, subject=subject, body=text)
    draft.put(to, "echo", "to|recipient|sent_to|email|address")
    return draft.say(
        "[send|mail|e-mail] {x} to {to} with the subject {s}",
        "[write|send] [a mail|an e-mail|a message] to {to} [about {s}|with subject {s}] saying {x}",
        x=ref or quoted(draft, text),
        to=to,
        s=quoted(draft, subject),
    )


def create_event(draft: Draft) -> str:
    """Put an event in the calendar."""
    reference = draft.refer("date")
    output, said = reference or (None, draft.values.date())
    title, time = draft.values.title(), draft.values.time()
    draft.call("create_event", (output,), title=title, date=shown(output.value) if output else said, time=time)
    draft.put(title, "echo", "event|title|created|appointment")
    return draft.say(
        "[create|add|plan|book|schedule] [an event|an appointment|a meeting] [called|named] {t} on {d} at {h}",
        "put {t} in [my|the] calendar on {d} at {h}",
        "[schedule|plan|book] {t} [for|on] {d} at {h}",
        t=quoted(draft, title),
        d=said,
        h=time,
    )


def convert_currency(draft: Draft) -> str:
    """Convert money."""
    reference = draft.refer("number")
    output, said = reference or (None, None)
    amount = output.value if output else draft.values.amount()
    source, target = draft.rng.sample(("EUR", "USD", "GBP", "JPY", "CHF"), 2)
    result = draft.call("convert_currency", (output,), amount=amount, source=source, target=target)["amount"]
    draft.put(result, "number", "converted|amount|result|value", "the converted amount|the amount")
    return draft.say(
        "[convert|change|exchange] {x} from {a} [to|into] {b}"
        if output
        else "[convert|change|exchange] {x} {a} [to|into] {b}",
        x=said or shown(amount),
        a=source,
        b=target,
    )


def track_order(draft: Draft) -> str:
    """Ask where an order is."""
    code = draft.values.code()
    status = draft.call("track_order", order_id=code)["status"]
    draft.put(status, "text", "status|state|order_status", "the status|its status")
    return draft.say(
        "[check|get|tell me|look up|find] the [status|state] of [|the |my ]order {c}",
        "[track|look up|check|find] [|the |my ]order {c}",
        "[tell me|find out] where [my |the |]order {c} is",
        c=code,
    )


def get_distance(draft: Draft) -> str:
    """Ask for a distance."""
    a, b = draft.values.pooled("city"), draft.values.pooled("city")
    km = draft.call("get_distance", origin=a, destination=b)["km"]
    draft.put(km, "number", "km|distance|distance_km|kilometers", "the distance")
    return draft.say(
        "[check|get|tell me|look up|find|measure] the distance [from {a} to {b}|between {a} and {b}]",
        "[find out|tell me] how far it is from {a} to {b}",
        a=a,
        b=b,
    )


def translate_text(draft: Draft) -> str:
    """Translate a text."""
    text = draft.values.errand()
    language = draft.rng.choice(("German", "French", "Spanish", "Italian", "Japanese"))
    result = draft.call("translate_text", text=text, language=language)["text"]
    draft.put(result, "text", "translation|translated|text", "the translation")
    return draft.say("translate {x} [to|into] {l}", "[say|put] {x} in {l}", x=quoted(draft, text), l=language)


def set_timer(draft: Draft) -> str:
    """Start a timer."""
    minutes = draft.values.count(1, 90)
    draft.call("set_timer", minutes=minutes)
    draft.put(minutes, "echo", "minutes|timer|duration")
    return draft.say("[set|start] [a timer|an alarm|a countdown] [for|of] {n} minutes", n=minutes)


def get_population(draft: Draft) -> str:
    """Ask for a population."""
    city = draft.values.pooled("city")
    people = draft.call("get_population", city=city)["population"]
    draft.put(people, "number", "population|people|inhabitants", "the population")
    return draft.say(
        "[check|get|tell me|look up|find] the population of {c}",
        "[find out|tell me] how many people live in {c}",
        c=city,
    )


CLAUSES: Mapping[Callable[[Draft], str], float] = {
    calculate: 3, weekday: 2.5, add_days: 2, days_between: 2, current_time: 0.5,
    read_file: 2.5, read_note: 2.5, fetch_url: 0.7, run_query: 2,
    list_todos: 0.5, list_notes: 0.4, list_files: 0.4, list_tables: 0.3,
    add_note: 3, write_file: 3, add_todo: 2.5, complete_todo: 1.5,
    get_weather: 0.4, get_price: 0.5, check_stock: 0.3, find_contact: 0.4, send_email: 0.4, create_event: 0.4,
    convert_currency: 0.4, track_order: 0.3, get_distance: 0.3, translate_text: 0.3, set_timer: 0.2, get_population: 0.2,
}  # fmt: skip
"""Every clause and how often it is drawn."""
