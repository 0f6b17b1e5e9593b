# ruff: noqa: E501 - a phrasing stands in one line
"""Clauses that write: notes, files and to-do items."""

from __future__ import annotations

from agentflow.embedded.data.clauses.draft import Draft, Output, quoted, quoted_text, shown
from agentflow.embedded.data.clauses.reading import misnamed

_NOTE = "[a note|a new note|a memo|the note|my notes]"


def wanted_text(draft: Draft) -> tuple[Output | None, str, str]:
    """Choose what to keep: an earlier output or a text of the user; with how it is said."""
    reference = draft.refer("number", "date", "text", "weekday", share=0.8)
    if reference is not None:
        return reference[0], shown(reference[0].value), reference[1]
    text = draft.values.text()
    return None, text, ""


def add_note(draft: Draft) -> str:
    """Save a note."""
    output, text, ref = wanted_text(draft)
    title = draft.values.or_signed(draft.values.title())
    draft.call("add_note", (output,), title=title, text=text)
    draft.put(title, "echo", "note|title|note_title|saved|saved_as|saved_in")
    t = quoted(draft, title)
    if output is not None:
        return draft.say(
            f"@save {{ref}} [in|as|to|into] {_NOTE} @called {{t}}",
            "@make [a note|a memo|a new note] @called {t} [with|holding|containing|that says|that holds] {ref}",
            "@save {ref} [under {t}|in the note {t}|in my note {t}|in a {t} note|as the note {t}|to the note {t}|as {t} in my notes]",
            ref=ref, t=t,
        )  # fmt: skip
    return draft.say(
        "[@make|take|leave] [a note|a memo|a new note] @called {t} [with the text|saying|that says|with|containing|that reads] {x}",
        "@save {x} [under {t}|in the note {t}|in a note @called {t}|as a note @called {t}|in my note {t}]",
        "@make [a note|the note|a memo] {t}: {x}",
        t=t, x=quoted_text(draft, text),
    )  # fmt: skip


def write_file(draft: Draft) -> str:
    """Write a file."""
    output, text, ref = wanted_text(draft)
    path = draft.values.path()
    draft.call("write_file", (output,), path=path, text=text)
    draft.put(path, "echo", "file|path|written|written_to|saved_to|file_name")
    return draft.say(
        "[@save|export|dump] {x} [to|in|into|as] [||the file |a file |a file called |a file named |a new file ]{p}",
        "@make [a file|the file|a new file|] {p} [with|containing|that says|holding|with the text|with the content] {x}",
        x=ref or quoted_text(draft, text), p=quoted(draft, path),
    ).replace("  ", " ")  # fmt: skip


def add_todo(draft: Draft) -> str:
    """Add an item to the list."""
    reference = draft.refer("text", "text", "text", "date", "number", share=0.75)
    item = shown(reference[0].value) if reference else draft.values.or_signed(draft.values.errand())
    draft.call("add_todo", (reference[0],) if reference else (), item=item)
    draft.put(item, "echo", "added|item|task|todo|new_item|added_item")
    return draft.say(
        "[add|put|@save|set|note down|append] {x} [on|to|onto|in] @todos",
        "[add|make|create|open] [a to-do|a todo|a task|a to-do item|a new task|an item][:| for| called| that says] {x}",
        "[remind me|I have|I need|I must not forget] to {x}" if reference is None else "put {x} on @todos",
        x=reference[1] if reference else quoted(draft, item),
    )


def complete_todo(draft: Draft) -> str:
    """Mark an item as done."""
    item = draft.values.errand()
    draft.place_todo(item)
    said = misnamed(draft, "complete_todo", "item", item)
    draft.call("complete_todo", item=item)
    draft.put(item, "echo", "done|completed|finished|closed|done_item|checked_off")
    return draft.say(
        "[mark|check off|tick off|set|tag|flag] {x} [as done|as completed|as finished|on @todos as done|as complete]",
        "[complete|finish|close|check off|tick off|mark off] [|the to-do |the task |the item |the entry ]{x}",
        "[cross|strike|tick|check|take] {x} off @todos",
        "[I have done|I am done with|I finished] {x}",
        x=quoted(draft, said),
    )
