# ruff: noqa: PLR2004 - a phrasing stands in one line, shares stand where they are drawn
"""Clauses of one wish and several calls: the same thing done to each of a few."""

from __future__ import annotations

from agentflow.embedded.data.clauses.draft import Draft, shown


def several(draft: Draft) -> str:
    """Wish for the same thing several times over."""
    make = draft.rng.choice((_todos, _todos, _done, _notes, _files, _weekdays, _prices))
    said = make(draft, draft.rng.choice((2, 3, 3, 4, 5)))
    draft.first_alone = len(draft.steps)
    return said


def _listing(draft: Draft, items: list[str]) -> str:
    """Write a list in a sentence, or behind a colon."""
    quote = draft.rng.choice(("", "", '"', "'"))
    said = [f"{quote}{item}{quote}" for item in items]
    if draft.rng.random() < 0.25:
        return draft.rng.choice(("; ", ", ", " / ")).join(said)
    return ", ".join(said[:-1]) + draft.rng.choice((" and ", ", and ")) + said[-1]


def _distinct(draft: Draft, num: int, taken: list[str], kind: str) -> list[str]:
    make = {
        "errand": draft.values.errand,
        "title": draft.values.title,
        "path": draft.values.path,
        "date": draft.values.date,
        "noun": draft.values.noun,
    }[kind]
    found: list[str] = []
    while len(found) < num:
        item = make()
        if item not in found and item not in taken and " and " not in item:
            found.append(item)
    return found


def _todos(draft: Draft, num: int) -> str:
    items = _distinct(draft, num, draft.world.todos, "errand")
    for item in items:
        draft.call("add_todo", (), item=item)
        draft.put(item, "echo", "added|item|task|todo")
    return draft.say(
        "[add|put|@save] [|these things |the following |these items ][on|to] @todos: {x}",
        "[add|put|@save] {x} [on|to|onto] @todos",
        x=_listing(draft, items),
    )


def _done(draft: Draft, num: int) -> str:
    items = _distinct(draft, num, draft.world.todos, "errand")
    for item in items:
        draft.place_todo(item)
    for item in items:
        draft.call("complete_todo", (), item=item)
        draft.put(item, "echo", "done|completed|finished|closed")
    return draft.say(
        "[mark|check off|tick off|set] {x} as done",
        "[mark|tick off|complete] [these|the following] [items|tasks|to-dos][| as done]: {x}",
        x=_listing(draft, items),
    )


def _notes(draft: Draft, num: int) -> str:
    titles = _distinct(draft, num, list(draft.world.notes), "title")
    for title in titles:
        amount = draft.values.amount()
        draft.place("notes", title, shown(amount))
        draft.call("read_note", (), title=title)
        draft.put(
            amount,
            "number",
            f"{title.lower().replace(' ', '_')}",
            f"the [number|amount|value] [in|from|of] [{title}|the note {title}]",
        )
    return draft.say(
        "@read [the|my] notes {x}",
        "@find the [amounts|numbers|values] [in|from] [the|my] notes {x}",
        x=_listing(draft, titles),
    )


def _files(draft: Draft, num: int) -> str:
    paths = _distinct(draft, num, list(draft.world.files), "path")
    for path in paths:
        amount = draft.values.amount()
        draft.place("files", path, shown(amount))
        draft.call("read_file", (), path=path)
        stem = path.rpartition("/")[2].partition(".")[0]
        draft.put(
            amount,
            "number",
            stem.replace("-", "_").lower(),
            f"the [number|amount|value] [in|from|of] [{path}|the file {path}]",
        )
    return draft.say(
        "@read [|the files ]{x}", "@find the [amounts|numbers|values] [in|from] {x}", x=_listing(draft, paths)
    )


def _weekdays(draft: Draft, num: int) -> str:
    days = _distinct(draft, num, [], "date")
    for day in days:
        name = draft.call("weekday", (), date=day)["weekday"]
        draft.put(name, "weekday", "weekday|day|day_name", f"the [weekday|day of the week] of {day}")
    return draft.say(
        "@find the [weekdays|days of the week] of {x}", "@ask which weekdays {x} are", x=_listing(draft, days)
    )


def _prices(draft: Draft, num: int) -> str:
    products = _distinct(draft, num, [], "noun")
    for product in products:
        price = draft.call("get_price", (), product=product)["price"]
        draft.put(price, "number", f"{product}_price|{product}", f"the [price|cost] of the {product}")
    return draft.say("@find the prices of {x}", "@ask what {x} cost", x=_listing(draft, products))
