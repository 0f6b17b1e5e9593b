"""The suite ``assistant``: everyday tasks of two to four tool calls, made from a seed.

Each kind is one function from a random generator to a task; values come from lists and ranges that the
training data of the embedded model keeps out of its training split, so a solved task was not remembered.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from fractions import Fraction
from typing import Final

from agentflow.bench.task import BenchTask, ReferenceCall, Table, WorldState
from agentflow.errors import ConfigurationError
from agentflow.types import JsonValue

NAMES: Final = ("Ottilie", "Bartholomew", "Ximena", "Thaddeus", "Saoirse", "Lorcan", "Zuleika", "Ignatius")
TOPICS: Final = ("Plumbing", "Orchard", "Ferry", "Archive", "Quarry", "Lantern", "Harbour", "Beehives")
PRODUCTS: Final = ("kettle", "ladder", "anvil", "compass", "hammock", "trowel", "sextant", "bellows")
ERRANDS: Final = (
    "sharpen the skates",
    "return the ladder",
    "oil the gate",
    "frame the map",
    "label the jars",
    "wax the canoe",
    "mend the kite",
    "rent a trailer",
)
FILE_STEMS: Final = ("ferry", "orchard", "quarry", "lantern", "harbour", "beehives", "archive", "canoe")
WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MAX_DRAWS: Final = 1000
"""Draws after which a kind counts as used up."""

FIRST_DATE: Final = date(2031, 1, 1)
"""Held out: the training data's dates end with 2030."""


def make_suite(num_tasks: int = 24, *, seed: int = 0) -> tuple[BenchTask, ...]:
    """Make tasks, the kinds taking turns.

    Args:
        num_tasks: How many.
        seed: Equal seeds give equal suites, and a longer suite begins with the shorter one.

    Returns:
        The tasks; no two have the same name or prompt.

    Raises:
        ConfigurationError: There are not that many different tasks.
    """
    kinds = list(KINDS.items())
    tasks: dict[str, BenchTask] = {}  # by prompt
    for index in range(num_tasks):
        kind, make = kinds[index % len(kinds)]
        name = f"{kind}-{index // len(kinds) + 1}"
        rng = random.Random(f"{seed}/{index}")  # noqa: S311 - reproducible tasks, no secret
        drawn = (make(name, rng) for _ in range(MAX_DRAWS))
        task = next((task for task in drawn if task.prompt not in tasks), None)
        if task is None:
            raise ConfigurationError(f"kind {kind!r} has no new task left for a suite of {num_tasks}; ask for fewer")
        tasks[task.prompt] = task
    return tuple(tasks.values())


def _sum_to_note(name: str, rng: random.Random) -> BenchTask:
    expression, total = _product(rng)
    title, day = rng.choice(TOPICS), _date(rng)
    return BenchTask(
        name=name,
        kind="sum-to-note",
        prompt=f"Work out {expression}, save the result in a note called {title}, and tell me the weekday of {day}.",
        tools=_shuffled(rng, "calculate", "add_note", "read_note", "weekday", "add_days"),
        answer={"total": total, "weekday": WEEKDAYS[day.weekday()]},
        after=WorldState(notes={title: _shown(total)}),
        reference=(
            _call("calculate", expression=expression),
            _call("add_note", title=title, text=_shown(total)),
            _call("weekday", date=str(day)),
        ),
    )


def _file_total(name: str, rng: random.Random) -> BenchTask:
    path, price, count = _path(rng), rng.randint(103, 989), rng.randint(3, 19)
    before = WorldState(files={path: str(price)})
    return BenchTask(
        name=name,
        kind="file-total",
        prompt=f"Read the price in {path} and multiply it by {count}.",
        tools=_shuffled(rng, "read_file", "list_files", "write_file", "calculate"),
        answer={"price": price, "total": price * count},
        before=before,
        reference=(_call("read_file", path=path), _call("calculate", expression=f"{price} * {count}")),
    )


def _table_to_note(name: str, rng: random.Random) -> BenchTask:
    products = rng.sample(PRODUCTS, 4)
    prices = rng.sample(range(101, 990), 4)
    product, price = products[1], prices[1]
    title = rng.choice(TOPICS)
    sql = f"SELECT price FROM stock WHERE name = '{product}'"  # noqa: S608 - the text of a task
    before = WorldState(
        tables={"stock": Table(columns=("name", "price"), rows=tuple(zip(products, prices, strict=True)))}
    )
    return BenchTask(
        name=name,
        kind="table-to-note",
        prompt=f"Run the query {sql} and save the price in a note called {title}.",
        tools=_shuffled(rng, "run_query", "list_tables", "add_note", "list_notes"),
        answer={"price": price},
        before=before,
        after=before.with_changes(notes={title: str(price)}),
        reference=(_call("run_query", sql=sql), _call("add_note", title=title, text=str(price))),
    )


def _days_to_file(name: str, rng: random.Random) -> BenchTask:
    start = _date(rng)
    end = start + timedelta(days=rng.randint(11, 180))
    days, path = (end - start).days, _path(rng)
    return BenchTask(
        name=name,
        kind="days-to-file",
        prompt=f"How many days are there from {start} to {end}? Write the number to {path}.",
        tools=_shuffled(rng, "days_between", "add_days", "write_file", "read_file"),
        answer={"days": days},
        after=WorldState(files={path: str(days)}),
        reference=(
            _call("days_between", start=str(start), end=str(end)),
            _call("write_file", path=path, text=str(days)),
        ),
    )


def _todo_round(name: str, rng: random.Random) -> BenchTask:
    done, kept, added = rng.sample(ERRANDS, 3)
    before = WorldState(todos=(done, kept))
    return BenchTask(
        name=name,
        kind="todo-round",
        prompt=f"Add {added} to my to-do list and mark {done} as done.",
        tools=_shuffled(rng, "add_todo", "complete_todo", "list_todos", "add_note"),
        answer={"added": added, "done": done},
        before=before,
        after=before.with_changes(todos=(kept, added)),
        reference=(_call("add_todo", item=added), _call("complete_todo", item=done)),
    )


def _note_total(name: str, rng: random.Random) -> BenchTask:
    title, other = rng.sample(TOPICS, 2)
    amount, extra = rng.randint(103, 989), rng.randint(12, 97)
    before = WorldState(notes={title: str(amount), other: str(amount + 7)})
    return BenchTask(
        name=name,
        kind="note-total",
        prompt=f"Read the note {title} and add {extra} to the number in it.",
        tools=_shuffled(rng, "read_note", "list_notes", "calculate", "weekday"),
        answer={"total": amount + extra},
        before=before,
        reference=(_call("read_note", title=title), _call("calculate", expression=f"{amount} + {extra}")),
    )


def _date_shift(name: str, rng: random.Random) -> BenchTask:
    start, days = _date(rng), rng.randint(11, 180)
    end = start + timedelta(days=days)
    return BenchTask(
        name=name,
        kind="date-shift",
        prompt=f"Which date is {days} days after {start}, and what weekday is that?",
        tools=_shuffled(rng, "add_days", "weekday", "days_between", "calculate"),
        answer={"date": str(end), "weekday": WEEKDAYS[end.weekday()]},
        reference=(_call("add_days", date=str(start), days=days), _call("weekday", date=str(end))),
    )


def _file_to_todo(name: str, rng: random.Random) -> BenchTask:
    path, errand = _path(rng), rng.choice(ERRANDS)
    before = WorldState(files={path: errand})
    return BenchTask(
        name=name,
        kind="file-to-todo",
        prompt=f"Read {path} and put what it says on my to-do list.",
        tools=_shuffled(rng, "read_file", "write_file", "add_todo", "list_todos"),
        answer={"added": errand},
        before=before,
        after=before.with_changes(todos=(errand,)),
        reference=(_call("read_file", path=path), _call("add_todo", item=errand)),
    )


KINDS: Final[Mapping[str, Callable[[str, random.Random], BenchTask]]] = {
    "sum-to-note": _sum_to_note,
    "file-total": _file_total,
    "table-to-note": _table_to_note,
    "days-to-file": _days_to_file,
    "todo-round": _todo_round,
    "note-total": _note_total,
    "date-shift": _date_shift,
    "file-to-todo": _file_to_todo,
}
"""Every kind of the suite and what makes a task of it."""


def _call(name: str, **arguments: JsonValue) -> ReferenceCall:
    return ReferenceCall(name=name, arguments=arguments)


def _shuffled(rng: random.Random, *names: str) -> tuple[str, ...]:
    return tuple(rng.sample(names, len(names)))


def _date(rng: random.Random) -> date:
    return FIRST_DATE + timedelta(days=rng.randrange(365 * 4))


def _path(rng: random.Random) -> str:
    stem = "_".join(rng.sample(FILE_STEMS, rng.choice((1, 1, 2))))
    return f"{stem}.{rng.choice(('txt', 'txt', 'md', 'log'))}"


def _product(rng: random.Random) -> tuple[str, float]:
    left, right = Fraction(rng.randint(21, 989), rng.choice((1, 2))), rng.randint(3, 29)
    return f"{_shown(left)} * {right}", float(left * right)


def _shown(value: Fraction | float) -> str:
    """Write a number the shortest way."""
    return f"{float(value):g}" if float(value) % 1 else str(int(value))
