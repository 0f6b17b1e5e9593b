"""A small world that tools act on while a conversation is made: files, notes, to-do items, tables.

Results have the form that the ready-made tools give. What cannot be worked out from the world (a
price, the weather) is drawn once per question and then stays.
"""

from __future__ import annotations

import ast
import operator
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

from agentflow.types import JsonValue

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_OPERATORS: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class WorldError(Exception):
    """A tool of the world failed; the message is its result."""


@dataclass
class World:
    """What tools read and change.

    Attributes:
        rng: Draws what cannot be worked out.
        files: Text by path.
        notes: Text by title.
        todos: Open items.
        pages: Text by address.
        rows: Result by SQL statement.
        tables: Names of tables.
        facts: Results that were drawn, by tool and arguments.
        functions: Kind of result of the functions that only this world has, by name.
        hiccups: What a call fails with when it is made for the first time, by `call_key`.
    """

    rng: random.Random
    files: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    todos: list[str] = field(default_factory=list)
    pages: dict[str, str] = field(default_factory=dict)
    rows: dict[str, list[list[JsonValue]]] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)
    facts: dict[str, JsonValue] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)
    hiccups: dict[str, str] = field(default_factory=dict)

    def run(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Run a behaviour by its usual name.

        Raises:
            WorldError: It fails, as the ready-made tool would.
        """
        key = call_key(name, arguments)
        if key in self.hiccups:
            raise WorldError(self.hiccups.pop(key))
        handler = getattr(self, f"_run_{name}", None)
        if handler is not None:
            return handler(**arguments)
        if key not in self.facts:
            self.facts[key] = _DRAWN[self.functions.get(name, name)](self.rng, arguments)
        return self.facts[key]

    def names(self) -> list[str]:
        """Give the names of all files, notes and to-do items."""
        return [*self.files, *self.notes, *self.todos]

    def _run_calculate(self, expression: str) -> JsonValue:
        return {"value": compute(expression)}

    def _run_list_files(self, path: str = ".") -> JsonValue:
        prefix = "" if path == "." else f"{path}/"
        names = {prefix + name.removeprefix(prefix).split("/")[0] for name in self.files if name.startswith(prefix)}
        return {"files": sorted(names)}

    def _run_read_file(self, path: str) -> JsonValue:
        if path not in self.files:
            held = ", ".join(sorted(self.files)) or "nothing"
            raise WorldError(f"ValueError: {path!r} does not exist; the folder holds: {held}")
        return {"text": self.files[path]}

    def _run_write_file(self, path: str, text: str) -> JsonValue:
        self.files[path] = text
        return {"written": path}

    def _run_list_tables(self) -> JsonValue:
        return {"tables": sorted(self.tables)}

    def _run_run_query(self, sql: str) -> JsonValue:
        if sql not in self.rows:
            raise WorldError(f"no such table or column: {sql}")
        return {"rows": self.rows[sql]}

    def _run_add_note(self, title: str, text: str) -> JsonValue:
        self.notes[title] = text
        return {"saved": title}

    def _run_read_note(self, title: str) -> JsonValue:
        return {"text": _look_up(self.notes, title, "note")}

    def _run_list_notes(self) -> JsonValue:
        return {"notes": list(self.notes)}

    def _run_add_todo(self, item: str) -> JsonValue:
        self.todos.append(item)
        return {"added": item}

    def _run_list_todos(self) -> JsonValue:
        return {"todos": list(self.todos)}

    def _run_complete_todo(self, item: str) -> JsonValue:
        if item not in self.todos:
            raise WorldError(f"ValueError: there is no to-do item {item!r}; there are: {_listed(self.todos)}")
        self.todos.remove(item)
        return {"done": item}

    def _run_weekday(self, date: str) -> JsonValue:
        return {"weekday": WEEKDAYS[_day(date).weekday()]}

    def _run_add_days(self, date: str, days: int) -> JsonValue:
        return {"date": (_day(date) + timedelta(days=days)).isoformat()}

    def _run_days_between(self, start: str, end: str) -> JsonValue:
        return {"days": (_day(end) - _day(start)).days}

    def _run_fetch_url(self, url: str) -> JsonValue:
        return {"status": 200, "text": _look_up(self.pages, url, "page")}


def _look_up(texts: Mapping[str, str], name: str, what: str) -> str:
    if name not in texts:
        raise WorldError(f"ValueError: there is no {what} {name!r}; there are: {_listed(list(texts))}")
    return texts[name]


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"


def call_key(name: str, arguments: Mapping[str, Any]) -> str:
    """Give a text that equal calls share."""
    return f"{name}{sorted(arguments.items())}"


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise WorldError(f"{text!r} is no date as YYYY-MM-DD") from error


def compute(expression: str) -> int | float:
    """Compute an expression exactly; integers stay integers, others keep 12 significant digits.

    Raises:
        WorldError: It is no expression of numbers, ``+ - * /`` and parentheses.
    """
    try:
        value = _value_of(ast.parse(expression.strip(), mode="eval").body, expression)
    except (SyntaxError, ZeroDivisionError, ValueError) as error:
        raise WorldError(f"cannot compute {expression!r}") from error
    return int(value) if value.denominator == 1 else float(f"{float(value):.12g}")


def _value_of(node: ast.expr, source: str) -> Fraction:
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value_of(node.left, source), _value_of(node.right, source))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value_of(node.operand, source)
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return Fraction(str(node.value))
    raise ValueError(f"{source!r} is not arithmetic")


def _drawn_code(rng: random.Random) -> str:
    return f"{rng.choice('ABCDEFGHKLMNPRSTUVWX')}{rng.choice('ABCDEFGHKLMNPRSTUVWX')}{rng.randint(10, 99999)}"


_DRAWN: Mapping[str, Callable[[random.Random, Mapping[str, Any]], JsonValue]] = {
    "current_time": lambda rng, _: {
        "time": f"{date(2024, 1, 1) + timedelta(days=rng.randrange(1500))}T{rng.randint(0, 23):02d}:"
        f"{rng.randint(0, 59):02d}:{rng.randint(0, 59):02d}+00:00"
    },
    "get_weather": lambda rng, _: {
        "sky": rng.choice(("sunny", "cloudy", "rainy", "snowy", "foggy", "windy")),
        "temperature": rng.randint(-10, 38),
    },
    "get_price": lambda rng, _: {"price": rng.choice((rng.randint(2, 900), round(rng.uniform(1, 500), 2)))},
    "check_stock": lambda rng, _: {"quantity": rng.randint(0, 400)},
    "find_contact": lambda rng, _: {
        "phone": f"0{rng.randint(100, 999)} {rng.randint(100000, 999999)}",
    },
    "send_email": lambda _, arguments: {"sent": arguments["to"]},
    "create_event": lambda _, arguments: {"created": arguments["title"]},
    "convert_currency": lambda rng, _: {"amount": round(rng.uniform(1, 2000), 2)},
    "track_order": lambda rng, _: {
        "status": rng.choice(("packed", "shipped", "delivered", "delayed", "lost", "returned")),
    },
    "get_distance": lambda rng, _: {"km": rng.randint(3, 9000)},
    "translate_text": lambda rng, _: {"text": "".join(rng.choices("abdefgiklmnorstuw", k=rng.randint(4, 9)))},
    "set_timer": lambda _, arguments: {"minutes": arguments["minutes"]},
    "an_id": lambda rng, _: {"id": _drawn_code(rng)},
    "a_status": lambda rng, _: {"status": rng.choice(("ok", "done", "confirmed", "pending", "open", "accepted"))},
    "an_answer": lambda rng, _: {
        "answer": rng.choice((_drawn_code(rng), "".join(rng.choices("abdefgiklmnorstuw", k=7))))
    },
    "a_price": lambda rng, _: {"price": rng.choice((rng.randint(2, 900), round(rng.uniform(1, 500), 2)))},
    "a_count": lambda rng, _: {"count": rng.randint(0, 400)},
    "get_population": lambda rng, _: {"population": rng.randint(900, 9_000_000)},
}
