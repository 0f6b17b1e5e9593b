"""Clauses: one wish each, with the call that fulfils it and what comes out of it.

A clause function takes a `Draft`, draws values or refers to earlier outputs, runs its tool in the
world and returns how the wish is said. The answer's fields are made from the outputs later.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from agentflow.embedded.data.clauses.delegating import delegate
from agentflow.embedded.data.clauses.draft import Draft, Output, Step, shown
from agentflow.embedded.data.clauses.figures import add_days, calculate, current_time, days_between, weekday
from agentflow.embedded.data.clauses.functions import call_function
from agentflow.embedded.data.clauses.reading import (
    fetch_url,
    list_files,
    list_notes,
    list_tables,
    list_todos,
    read_file,
    read_note,
    run_query,
)
from agentflow.embedded.data.clauses.services import (
    check_stock,
    convert_currency,
    create_event,
    find_contact,
    get_distance,
    get_population,
    get_price,
    get_weather,
    send_email,
    set_timer,
    track_order,
    translate_text,
)
from agentflow.embedded.data.clauses.several import several
from agentflow.embedded.data.clauses.writing import add_note, add_todo, complete_todo, write_file

__all__ = ["CLAUSES", "Draft", "Output", "Step", "call_function", "draw_clause", "shown"]

CLAUSES: Mapping[Callable[[Draft], str], float] = {
    call_function: 3, delegate: 1.2, several: 1.5,
    calculate: 5, weekday: 2.5, add_days: 2, days_between: 2, current_time: 0.5,
    read_file: 2.5, read_note: 2.5, fetch_url: 0.4, run_query: 2,
    list_todos: 0.4, list_notes: 0.3, list_files: 0.3, list_tables: 0.2,
    add_note: 3, write_file: 3, add_todo: 2.5, complete_todo: 1.5,
    get_weather: 0.3, get_price: 0.3, check_stock: 0.15, find_contact: 0.2, send_email: 0.2, create_event: 0.2,
    convert_currency: 0.2, track_order: 0.15, get_distance: 0.15, translate_text: 0.1, set_timer: 0.1,
    get_population: 0.1,
}  # fmt: skip
"""Every clause and how often it is drawn."""
_FOLLOWING: Mapping[str, Mapping[Callable[[Draft], str], float]] = {
    "number": {calculate: 9, add_note: 1, write_file: 1, add_todo: 0.3, convert_currency: 0.2},
    "date": {weekday: 2, add_days: 2, days_between: 1.5, add_note: 0.7, write_file: 0.7, create_event: 0.3},
    "text": {add_todo: 3, add_note: 1.5, write_file: 1.5, send_email: 0.3},
    "weekday": {add_note: 1, write_file: 1},
}
"""What can be wished for next, by what came out of the clause before."""
_FOLLOWING_SHARE = 0.35


def draw_clause(draft: Draft) -> Callable[[Draft], str]:
    """Choose the next clause; now and then one that goes on with what just came out."""
    rng: random.Random = draft.rng
    kind = draft.outputs[-1].kind if draft.outputs else "echo"
    pool = _FOLLOWING[kind] if kind in _FOLLOWING and rng.random() < _FOLLOWING_SHARE else CLAUSES
    return rng.choices(list(pool), list(pool.values()))[0]
