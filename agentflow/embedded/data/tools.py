# ruff: noqa: PLR2004 - shares stand where they are drawn
"""Tools that conversations offer: what they do, and the many ways in which they are declared.

A behaviour stays the same while its name, its arguments' names and all descriptions change from
conversation to conversation, so that a model has to read the declarations. About half of the
declarations are those of the ready-made tools.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from agentflow.embedded.data.phrasings import expand
from agentflow.embedded.data.splits import Split, is_held_out, wants_held_out
from agentflow.types import JsonValue, ToolSpec

_REAL_SHARE = 0.68
"""Share of ready-made behaviours that are declared as the ready-made tools are."""
MADE_UP = "fn_"
"""How the names of behaviours begin that one conversation alone has; they are never declared under that name."""

DECLARED = "fn_declared_"
"""How the names of those begin that are read from a file of declarations."""
OPERATION = "fn_operation_"
"""How the names of those begin that are operations of published APIs; those are held out by their API."""


@dataclass(frozen=True)
class Argument:
    """An argument of a behaviour.

    Attributes:
        name: Its usual name.
        others: Notation of other names.
        description: Its usual description.
        others_said: Notation of other descriptions.
        type: JSON type.
        enum: Values it may take, if they are few.
        default: Value it has when left out; ``None`` means that it is required.
        is_composed: Whether its text need not stand in the conversation as it is.
        items: JSON type of the items of a list; empty for what is no list.
    """

    name: str
    others: str
    description: str
    others_said: str
    type: str = "string"
    enum: tuple[str, ...] = ()
    default: JsonValue = None
    is_composed: bool = False
    items: str = ""


@dataclass(frozen=True)
class Behaviour:
    """What a tool does, whatever it is called.

    Attributes:
        name: Its usual name.
        others: Notation of other names.
        description: Its usual description.
        others_said: Notation of other descriptions.
        arguments: Its arguments.
    """

    name: str
    others: str
    description: str
    others_said: str
    arguments: tuple[Argument, ...] = ()


def _a(name: str, others: str, description: str, others_said: str, **more: Any) -> Argument:
    return Argument(name, others, description, others_said, **more)


_DATE = ("[day|when|day_date|iso_date|on|given_date|calendar_date]", "Date as YYYY-MM-DD.")
_DATE_SAID = "[The date|Day|A date|Calendar date][ in ISO form|, such as 2024-05-01| (YYYY-MM-DD)|]"
_PATH = ("[file|filename|file_path|file_name|location|document|target|source]", "Path of the file.")
_PATH_SAID = "[Path|Name|Location] of the [file|document]"
_TITLE_SAID = "[Title|Name|Heading|Label] of the [note|memo|entry|page]"
_ITEM_SAID = "[The task|What to do|Item text|The item|Name of the task|Text of the entry]"

READY_MADE: tuple[Behaviour, ...] = (
    Behaviour(
        "calculate",
        "[calc|compute|evaluate|eval|solve|do|run]_[math|expression|formula|sum|arithmetic|calculation]|calculator|evaluate|compute",
        "Compute an arithmetic expression.",
        "[Evaluate|Calculate|Work out|Solve|Do] [a formula|an expression|math|arithmetic|a calculation|a sum]",
        (
            _a(
                "expression",
                "[expr|formula|input|query|math|sum|equation|term]",
                "For example (2 + 3) * 4.",
                "[The formula|What to compute|Arithmetic to do|Expression, such as 2 + 3|Math expression]",
                is_composed=True,
            ),
        ),
    ),
    Behaviour(
        "list_files",
        "[show|get|find|see|browse]_[files|folder|directory|documents]|ls|dir|list_[folder|directory|documents]",
        "List the files of a folder.",
        "[Show|Give|Find] [the files|all files|what is] in a [folder|directory]",
        (
            _a(
                "path",
                "[folder|directory|dir|where|location]",
                "Folder; . is the top.",
                "[The folder|Directory to list|Where to look]",
                default=".",
            ),
        ),
    ),
    Behaviour(
        "read_file",
        "[open|load|get|show|view|fetch]_[file|document|text|content|contents]|read_[document|text|content]|cat",
        "Read a text file.",
        "[Open|Load|Show|Get|Return] the [text|content|contents] of a [file|document]",
        (_a("path", _PATH[0], _PATH[1], _PATH_SAID),),
    ),
    Behaviour(
        "write_file",
        "[save|create|store|put|make]_[file|document|text]|write_[document|text|to_file]|save_to_disk",
        "Write a text file; an old one is replaced.",
        "[Save|Store|Put|Write] [text|content|something] [in|to|into] a [file|document]",
        (
            _a("path", _PATH[0], _PATH[1], _PATH_SAID),
            _a(
                "text",
                "[content|contents|body|data|value|what]",
                "The whole new text.",
                "[Text|Content|What] to [write|save|put in it]",
            ),
        ),
    ),
    Behaviour(
        "list_tables",
        "[show|get|see]_[tables|table_names|schema]|tables|list_[db|database]_tables",
        "List the tables of the database.",
        "[Show|Give|Find] [the|all] tables[ of the database| there are|]",
    ),
    Behaviour(
        "run_query",
        "[execute|run|do|send]_[sql|statement|select|database_query|sql_query]|query_[database|db]|sql|query",
        "Run one SQL statement.",
        "[Execute|Run|Send] [a|an SQL] [query|statement] [on|against] the database",
        (
            _a(
                "sql",
                "[query|statement|sql_query|select|command]",
                "The SQL statement.",
                "[The query|SQL to run|Statement to execute|A SELECT statement]",
            ),
        ),
    ),
    Behaviour(
        "add_note",
        "[create|save|make|new|store|write|keep]_[note|memo]|add_[memo|page]|take_note|save_[memo|page]",
        "Save a note; an old one of that title is replaced.",
        "[Create|Save|Write|Store|Make|Keep] a [note|memo][ with a title|]",
        (
            _a("title", "[name|heading|label|subject|topic|note_title]", "Title of the note.", _TITLE_SAID),
            _a(
                "text",
                "[content|contents|body|note|message|value]",
                "Text of the note.",
                "[Text|Content|Body] of the [note|memo]",
            ),
        ),
    ),
    Behaviour(
        "read_note",
        "[open|get|show|load|find|view|fetch]_[note|memo]|read_[memo|page]|note_text",
        "Read a note.",
        "[Open|Show|Get|Load|Find] [a|one] [note|memo][ by its title|]",
        (_a("title", "[name|heading|label|subject|topic|note_title]", "Title of the note.", _TITLE_SAID),),
    ),
    Behaviour(
        "list_notes",
        "[show|get|see|all]_[notes|note_titles|memos]|notes|list_[memos|note_titles]",
        "List the titles of all notes.",
        "[Show|Give] [the titles of|] all [notes|memos]",
    ),
    Behaviour(
        "add_todo",
        "[create|new|make|save]_[todo|task|reminder]|add_[task|to_do|todo_item|reminder|to_list]",
        "Add an item to the to-do list.",
        "[Put|Add|Write] [a task|an item|something] [on|to] the [to-do list|list|task list]",
        (_a("item", "[task|text|name|what|todo|entry|title]", "What is to be done.", _ITEM_SAID),),
    ),
    Behaviour(
        "list_todos",
        "[show|get|see|open]_[todos|tasks|todo_list|reminders]|todos|list_[tasks|open_tasks]",
        "List the open to-do items.",
        "[Show|Give] [the|all] [open tasks|to-do list|things to do]",
    ),
    Behaviour(
        "complete_todo",
        "[finish|close|check_off|tick_off|mark]_[todo|task|item|done]|complete_[task|item]|done",
        "Mark a to-do item as done.",
        "[Finish|Complete|Close|Tick off] [a|one] [task|to-do item|item][ of the list|]",
        (_a("item", "[task|text|name|what|todo|entry|title]", "The item as it stands on the list.", _ITEM_SAID),),
    ),
    Behaviour(
        "current_time",
        "[get|tell|show]_[time|clock|now|date_time]|now|clock|time_now|what_time",
        "Tell the current date and time.",
        "[Give|Get|Tell] the [time|present time|date and time][ now| somewhere|]",
        (
            _a(
                "timezone",
                "[zone|tz|place|time_zone|region]",
                "Time zone name, such as Europe/Berlin.",
                "[Time zone|Name of the time zone|Zone]",
                default="UTC",
            ),
        ),
    ),
    Behaviour(
        "weekday",
        "[get|find|tell|which|what]_[weekday|day|day_of_week|day_name]|day_of_week|day_name|weekday_of",
        "Tell the weekday of a date.",
        "[Give|Get|Find|Tell] the [day of the week|weekday|day name] [of|for] a [date|day]",
        (_a("date", _DATE[0], _DATE[1], _DATE_SAID),),
    ),
    Behaviour(
        "add_days",
        "[shift|move|date_plus|offset|advance]_[date|days|day]|date_add|later_date|plus_days|future_date",
        "Add days to a date.",
        "[Shift|Move|Advance] a date by [some|a number of] days",
        (
            _a("date", f"{_DATE[0]}|start|base|from_date", _DATE[1], _DATE_SAID),
            _a(
                "days",
                "[num_days|amount|count|number|offset|n|shift]",
                "Number of days; negative goes back.",
                "[How many days|Days to add|Number of days]",
                type="integer",
            ),
        ),
    ),
    Behaviour(
        "days_between",
        "[count|get|num|number_of|diff]_days|date_[diff|difference|gap|span]|days_[until|from_to|apart]|day_[count|difference]",
        "Count the days from one date to another.",
        "[Count|Give|Get|Tell] the [days|number of days|distance in days] between two [dates|days]",
        (
            _a(
                "start",
                "[from|first|begin|start_date|date_from|from_date|date1|a]",
                "First date as YYYY-MM-DD.",
                "[First date|Start|Beginning|Earlier date]",
            ),
            _a(
                "end",
                "[to|last|until|end_date|date_to|to_date|date2|b]",
                "Second date as YYYY-MM-DD.",
                "[Second date|End|Last date|Later date]",
            ),
        ),
    ),
    Behaviour(
        "fetch_url",
        "[get|load|open|download|read]_[page|url|website|web_page|link]|fetch|http_get|browse|fetch_page",
        "Fetch a web page as text.",
        "[Get|Load|Download|Open] [a page|a web page|the text of a page][ from the web|]",
        (
            _a(
                "url",
                "[link|address|page|site|uri]",
                "Address, such as https://example.com.",
                "[The address|Link|URL of the page|Web address]",
            ),
        ),
    ),
)
"""The ready-made tools' behaviours; usual names and descriptions are those of the ready-made tools."""

OTHERS: tuple[Behaviour, ...] = (
    Behaviour(
        "get_weather",
        "weather|[find|check|fetch|show]_[weather|forecast]|forecast",
        "Look up the current weather.",
        "[Get|Tell|Find] the [weather|forecast|temperature] [in|of|for] a [city|place]",
        (
            _a("city", "[place|location|town|where]", "Name of the city.", "[City|Town|Place]"),
            _a(
                "unit",
                "[units|scale|temperature_unit]",
                "Temperature unit.",
                "[Unit|Scale]",
                enum=("celsius", "fahrenheit"),
                default="celsius",
            ),
        ),
    ),
    Behaviour(
        "get_price",
        "[price|find|lookup|check|fetch]_[price|cost|product]|price_of|product_price",
        "Look up a price.",
        "[Get|Find|Tell] the [price|cost] of [a product|an article]",
        (_a("product", "[item|article|name|product_name|goods]", "Name of the product.", "[Product|Article|Item]"),),
    ),
    Behaviour(
        "check_stock",
        "[get|find|lookup|count]_[stock|inventory|supply]|stock|in_stock|inventory",
        "Count what is in stock.",
        "[Count|Tell|Get] how many [pieces|units] [are in stock|there are]",
        (_a("product", "[item|article|name|sku|goods]", "Name of the product.", "[Product|Article|Item]"),),
    ),
    Behaviour(
        "find_contact",
        "[get|lookup|search|show|fetch]_[contact|person|address_book]|contact|who_is",
        "Find a contact.",
        "[Find|Get|Show|Look up] [a person|a contact|somebody][ in the address book|]",
        (_a("name", "[person|contact|who|full_name]", "Name of the person.", "[Person|Full name|Who]"),),
    ),
    Behaviour(
        "send_email",
        "[send|write|mail|post]_[mail|message|letter|to]|email|mail",
        "Send an e-mail.",
        "[Send|Write] [a message|a mail|an e-mail]",
        (
            _a("to", "[recipient|address|email|receiver]", "Address of the recipient.", "[Recipient|Who gets it]"),
            _a("subject", "[title|topic|heading|about]", "Subject line.", "[Subject|Topic]"),
            _a("body", "[text|message|content|contents]", "Text of the mail.", "[Text|Message|Content]"),
        ),
    ),
    Behaviour(
        "create_event",
        "[add|new|make|book|plan]_[event|appointment|meeting]|schedule|add_to_calendar",
        "Put an event in the calendar.",
        "[Add|Create|Plan] an [event|appointment|entry][ in the calendar|]",
        (
            _a("title", "[name|event|what|subject]", "Title of the event.", "[Title|Name|What]"),
            _a("date", _DATE[0], _DATE[1], _DATE_SAID),
            _a("time", "[at|hour|start_time|clock]", "Time as HH:MM.", "[Time|Start]"),
        ),
    ),
    Behaviour(
        "convert_currency",
        "[exchange|change|convert]_[money|currency_amount|amount]|currency|exchange",
        "Convert money.",
        "[Convert|Change] [an amount|money] [to|into] another currency",
        (
            _a("amount", "[value|sum|money|how_much]", "Amount of money.", "[Amount|Sum]", type="number"),
            _a(
                "source",
                "[from|from_currency|base|old]",
                "Currency to convert from.",
                "[From|Old currency]",
                enum=("EUR", "USD", "GBP", "JPY", "CHF"),
            ),
            _a(
                "target",
                "[to|to_currency|into|new]",
                "Currency to convert to.",
                "[To|New currency]",
                enum=("EUR", "USD", "GBP", "JPY", "CHF"),
            ),
        ),
    ),
    Behaviour(
        "track_order",
        "[get|find|check|show|lookup]_[order|parcel|shipment|delivery]|order_status|tracking",
        "Track an order.",
        "[Find|Tell|Get] [where an order is|the status of an order]",
        (_a("order_id", "[id|order|number|code|order_number]", "Number of the order.", "[Order|Number|Code]"),),
    ),
    Behaviour(
        "get_distance",
        "[distance|measure|route|find]_[distance|length|between]|distance|how_far",
        "Measure the way between two places.",
        "[Get|Tell|Measure] the distance [between|of] two [places|cities]",
        (
            _a("origin", "[from|start|source|place_a]", "Where the way begins.", "[Start|Origin]"),
            _a("destination", "[to|end|target|place_b]", "Where the way ends.", "[End|Destination]"),
        ),
    ),
    Behaviour(
        "translate_text",
        "[translate|convert]_[text|words|phrase]|translate|translator",
        "Translate a text.",
        "[Translate|Convert] [a text|words] into another language",
        (
            _a("text", "[words|phrase|input|content]", "Text to translate.", "[Text|Words]"),
            _a(
                "language",
                "[target|to|into|lang]",
                "Language to translate to.",
                "[Language|Target]",
                enum=("German", "French", "Spanish", "Italian", "Japanese"),
            ),
        ),
    ),
    Behaviour(
        "set_timer",
        "[start|make|new|set]_[timer|alarm|countdown]|timer|countdown",
        "Start a timer.",
        "[Start|Set] [a timer|an alarm|a countdown]",
        (_a("minutes", "[duration|mins|length|time]", "Minutes to wait.", "[Minutes|How long]", type="integer"),),
    ),
    Behaviour(
        "get_population",
        "[population|find|count]_[people|inhabitants|population]|population|how_many_people",
        "Look up a population.",
        "[Tell|Get|Count] how many people live in a [city|place]",
        (_a("city", "[place|location|town|where]", "Name of the city.", "[City|Place|Town]"),),
    ),
)
"""Behaviours beyond the ready-made tools, mostly one call each."""


@dataclass(frozen=True)
class OfferedTool:
    """A behaviour as one conversation declares it.

    Attributes:
        behaviour: What it does.
        spec: What the model is told.
        names: Declared name of each argument.
    """

    behaviour: Behaviour
    spec: ToolSpec
    names: Mapping[str, str]

    def rename(self, arguments: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """Give arguments their declared names."""
        return {self.names[name]: value for name, value in arguments.items()}


GROUPS: tuple[tuple[str, ...], ...] = (
    ("calculate",),
    ("current_time", "weekday", "add_days", "days_between"),
    ("list_files", "read_file", "write_file"),
    ("add_note", "read_note", "list_notes", "add_todo", "list_todos", "complete_todo"),
    ("list_tables", "run_query"),
    ("fetch_url",),
)
"""The ready-made tools as their makers give them."""

_GROUPS_SHARE = 0.07
"""Share of conversations that offer whole groups of ready-made tools."""

BEHAVIOURS = {behaviour.name: behaviour for behaviour in (*READY_MADE, *OTHERS)}
_PREFIXES = (
    "my",
    "do",
    "tool",
    "office",
    "home",
    "quick",
    "data",
    "app",
    "user",
    "sys",
    "new",
    "the",
    "old",
    "util",
    "ai",
)
_SUFFIXES = ("tool", "now", "v2", "2", "fn", "action", "api", "service", "op", "cmd", "x")
_AFFIX_SHARE = 0.12
AFFIXES = (f"[{'|'.join(_PREFIXES)}]_{{name}}", f"{{name}}_[{'|'.join(_SUFFIXES)}]")
"""Notations of names that say what another name does."""
_READY_MADE_NAMES = frozenset(behaviour.name for behaviour in READY_MADE)


def declare(behaviour: Behaviour, rng: random.Random, split: Split, *, taken: set[str]) -> OfferedTool:
    """Declare a behaviour, by chance as usual or under other names.

    Args:
        behaviour: What to declare.
        rng: Random generator.
        split: Which split the name belongs to.
        taken: Names that other tools of the conversation have; the new one is added in place.
    """
    wants_new = wants_held_out("tool", split)
    is_made_up = behaviour.name.startswith(MADE_UP)
    is_usual = not (wants_new or is_made_up) and rng.random() < _REAL_SHARE and behaviour.name not in taken
    name = behaviour.name if is_usual else _draw_name(behaviour, rng, is_new=wants_new, taken=taken)
    taken.add(name)
    names: dict[str, str] = {}
    properties: dict[str, Any] = {}
    for argument in behaviour.arguments:
        options = [argument.name] if is_usual or is_made_up or rng.random() < 0.3 else []
        shown = options[0] if options else _draw_other(argument.others, rng, taken=set(names.values()))
        shown = shown if shown not in names.values() else argument.name
        names[argument.name] = shown
        properties[shown] = _property(argument, rng, is_usual=is_usual)
    required = [names[a.name] for a in behaviour.arguments if a.default is None]
    description = behaviour.description if is_usual else expand(behaviour.others_said, rng)
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        parameters["required"] = required
    return OfferedTool(behaviour, ToolSpec(name, description, parameters), names)


def declare_many(
    names: list[str], rng: random.Random, split: Split, made_up: Mapping[str, Behaviour] = MappingProxyType({})
) -> dict[str, OfferedTool]:
    """Declare the named behaviours and others that are not needed, in random order or in their usual groups.

    Args:
        names: Behaviours that are needed.
        rng: Random generator.
        split: Which split the names of the tools belong to.
        made_up: Behaviours of this conversation alone; all are declared.
    """
    needed = list(dict.fromkeys(names))
    if rng.random() < _GROUPS_SHARE and len(_READY_MADE_NAMES & set(needed)) == len(needed):
        groups = [group for group in GROUPS if set(group) & set(needed)]
        spare = [group for group in GROUPS if group not in groups]
        groups += rng.sample(spare, rng.choice((0, 0, 1))) if groups else rng.sample(spare, 2)
        rng.shuffle(groups)
        offered = [name for group in groups for name in group]
    else:
        pool = sorted((_READY_MADE_NAMES if rng.random() < 0.9 else set(BEHAVIOURS)) - set(needed))
        offered = [*needed, *(name for name in made_up if name not in needed)]
        offered += rng.sample(pool, rng.choice((0, 0, 1, 1, 2, 3) if len(offered) < 5 else (0, 0, 1)))
        rng.shuffle(offered)
    taken: set[str] = set()
    known = {**BEHAVIOURS, **made_up}
    return {name: declare(known[name], rng, split, taken=taken) for name in offered}


def _property(argument: Argument, rng: random.Random, *, is_usual: bool) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": argument.type}
    if argument.is_composed:
        schema["x-grounded"] = False  # made of a result and a number of the request
    if argument.items:
        schema["items"] = {"type": argument.items}
    if argument.enum:
        (schema["items"] if argument.items else schema)["enum"] = list(argument.enum)
    if is_usual:
        schema["description"] = argument.description
    elif rng.random() < 0.8:
        schema["description"] = expand(argument.others_said, rng)
    return schema


def _draw_name(behaviour: Behaviour, rng: random.Random, *, is_new: bool, taken: set[str]) -> str:
    for attempt in range(400):
        name = _draw_other(behaviour.others, rng, taken=taken)
        if rng.random() < _AFFIX_SHARE:
            name = f"{name}_{rng.choice(_SUFFIXES)}" if rng.random() < 0.5 else f"{rng.choice(_PREFIXES)}_{name}"
        if attempt > 20:  # a short notation may have no name of the split
            name = f"{rng.choice(_PREFIXES)}_{name}"
        if rng.random() < 0.15:
            head, *tail = name.split("_")
            name = head + "".join(part.capitalize() for part in tail)
        is_fit = behaviour.name.startswith(OPERATION) or is_held_out("tool", name) == is_new
        if is_fit and name not in taken:
            return name
    raise RuntimeError(f"no free name for {behaviour.name!r}; give its notation more alternatives")


def _draw_other(notation: str, rng: random.Random, *, taken: set[str]) -> str:
    for _ in range(50):
        name = expand(f"[{notation}]" if "|" in notation and not notation.startswith("[") else notation, rng)
        name = rng.choice(name.split("|"))
        if name not in taken:
            return name
    return name
