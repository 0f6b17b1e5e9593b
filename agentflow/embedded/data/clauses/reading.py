# ruff: noqa: E501, PLR2004, S608, SIM905 - phrasings and word lists stand in one line, shares where they are drawn, SQL is only talked about
"""Clauses that read: files, notes, pages, tables and lists."""

from __future__ import annotations

import random

from agentflow.embedded.data.clauses.draft import Draft, Kind, quoted, shown
from agentflow.types import JsonValue


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
            [(number, "number", f"{noun}|{noun}|value|number", _said_of(noun))],
            noun,
        )
    if kind < 0.55:
        noun = rng.choice("date deadline due_date start birthday day".split())
        day = values.date()
        said = noun.replace("_", " ")
        return day, [(day, "date", f"{noun}|{noun}|date", _said_of(said))], said
    if kind < 0.75:
        text = values.errand() if rng.random() < 0.6 else values.text()
        return (
            text,
            [
                (
                    text,
                    "text",
                    "text|content|said|task|item|text",
                    "its [text|content|contents]|what it says|the [text|content] [of it|in it]",
                )
            ],
            "",
        )
    return _form(draft)


def _said_of(noun: str) -> str:
    return f"[the|that|its] {noun}|the {noun} [in it|from it|there|it gives|you find|you read]"


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
        parts.append((value, kind, field_names, _said_of(said)))
    return rng.choice(("\n", "\n", ", ")).join(lines), parts, ""


def _put_content(draft: Draft, parts: list[tuple[JsonValue, Kind, str, str]]) -> None:
    for value, kind, fields, said in parts:
        draft.put(value, kind, fields, said)


def read_file(draft: Draft) -> str:
    """Read a file."""
    path = draft.values.path()
    text, parts, noun = _content(draft)
    draft.place("files", path, text)
    said = misnamed(draft, "read_file", "path", path)
    draft.call("read_file", path=path)
    _put_content(draft, parts)
    shown_path = quoted(draft, said)
    if noun and draft.rng.random() < 0.5:
        return draft.say(
            "@find the {noun} [in|from|out of|that is in|that stands in|written in] [|the file ]{p}",
            "[take|read|open] the {noun} [in|from|out of] [|the file ]{p}",
            noun=noun,
            p=shown_path,
        )
    return draft.say(
        "@read [||the file |my file |the document ]{p}",
        "@find the [text|content|contents] of [|the file ]{p}",
        "@ask what [{p} says|is in {p}|the file {p} says|stands in {p}|{p} contains|is written in {p}]",
        p=shown_path,
    )


def read_note(draft: Draft) -> str:
    """Read a note."""
    title = draft.values.title()
    text, parts, noun = _content(draft)
    draft.place("notes", title, text)
    said = misnamed(draft, "read_note", "title", title)
    draft.call("read_note", title=title)
    _put_content(draft, parts)
    shown_title = quoted(draft, said)
    if noun and draft.rng.random() < 0.4:
        return draft.say(
            f"@find the {{noun}} [in|from|out of|written in] {_THE_NOTE}",
            f"[take|read] the {{noun}} [in|from|out of] {_THE_NOTE}",
            noun=noun,
            t=shown_title,
        )
    return draft.say(
        f"@read {_THE_NOTE}",
        "@ask what [the note {t} says|is in the note {t}|my {t} note says|my note {t} says|I wrote in the note {t}]",
        t=shown_title,
    )


_THE_NOTE = "[the note {t}|my note {t}|the {t} note|my {t} note|the note @called {t}|the memo {t}|my memo {t}]"
_MISNAMED_SHARE = 0.04


def misnamed(draft: Draft, tool: str, argument: str, name: str) -> str:
    """Give the name that the user says; now and then it is not quite right, and the first call fails."""
    said = garble(draft.rng, name)
    if draft.rng.random() > _MISNAMED_SHARE or said == name or any(said in held for held in draft.world.names()):
        return name
    draft.call_wrong(tool, frozenset(), **{argument: said})
    return said


def garble(rng: random.Random, name: str) -> str:
    """Change a name as people do who remember it half: a letter lost, doubled or swapped, or a plural."""
    place = rng.randrange(1, len(name))
    kind = rng.random()
    if kind < 0.3:
        return name[:place] + name[place + 1 :]
    if kind < 0.5:
        return name[:place] + name[place - 1] + name[place:]
    if kind < 0.7:
        return name[: place - 1] + name[place] + name[place - 1] + name[place + 1 :]
    stem, dot, extension = name.rpartition(".")
    return f"{stem}s.{extension}" if dot else f"{name}s"


def fetch_url(draft: Draft) -> str:
    """Fetch a page."""
    url = draft.values.url()
    text, parts, _ = _content(draft)
    draft.place("pages", url, text)
    draft.call("fetch_url", url=url)
    _put_content(draft, parts)
    return draft.say(
        "[fetch|download|@read] [|the page |the web page |the site ]{u}",
        "@ask what [{u} says|is on {u}|is at {u}]",
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
    draft.put(
        result,
        "number",
        f"{noun}|{noun}|value|result",
        f"[the|that] {noun}|the {noun} [it gives|it returns|you get]|the value[| it gives]",
    )
    return draft.say(
        "[run|execute|do|send|try|issue|use] [|the query |the statement |this query: |the SQL |the SQL query |the command ]{q}",
        "[query|ask] the database[:| with] {q}",
        "@find [the result of|what comes out of] [|the query ]{q}",
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
        "@list [my to-do list|the open items|my open tasks|the to-do items|what is on my to-do list|everything on my to-do list|what is left to do|all open to-dos]",
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
        "@list [my notes|all notes|the titles of my notes|the notes|which notes there are|all note titles]",
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
        "@list [the files|all files|my files|which files there are|the files in the folder]",
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
        "@list [the tables|all tables|the tables of the database|which tables there are]",
    )
