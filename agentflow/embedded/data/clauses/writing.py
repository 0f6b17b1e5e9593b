# ruff: noqa: E501 - a phrasing stands in one line
"""Clauses that write: notes, files and to-do items."""

from __future__ import annotations

from agentflow.embedded.data.clauses.draft import Draft, Output, quoted, shown

_SAVE_AS = "[called|named|titled|with the title|under the title|under|with title]"
_NOTE = "[a note|a new note|a memo|the note]"


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
    output, text, ref = wanted_text(draft)
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
