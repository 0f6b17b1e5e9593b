# ruff: noqa: E501, PLR2004 - a phrasing stands in one line, shares stand where they are drawn
"""Clauses about numbers and dates."""

from __future__ import annotations

from collections.abc import Mapping

from agentflow.embedded.data.clauses.draft import Draft, Output, quoted, shown

_RESULT_FIELDS = "total|result|value|amount|sum|answer|total|computed|outcome|figure"
_RESULT_SAID = (
    "the [|final |computed |calculated ][result|total|amount|sum|outcome|figure]"
    "[|| of the calculation| of that| you get| you got| of this]"
)
_NEW_FIELDS = "total|result|value|new_value|answer|total|final|amount_due|new_total|outcome"
_NEW_SAID = "the [new|final|resulting|updated|changed] [total|value|result|number|amount|figure]|the total"

_WITH_NUMBER: Mapping[str, tuple[str, ...]] = {
    "{number} * {n}": (
        "[multiply|scale] {ref} by {n}",
        "@compute {ref} [times|multiplied by] {n}",
        "take {ref} [times|multiplied by] {n}",
        "@compute [what|how much] {ref} [times|multiplied by] {n} is",
        "@compute the product of {ref} and {n}",
    ),
    "{n} * {number}": ("@compute {n} times {ref}", "@compute [what|how much] {n} times {ref} is", "take {n} times {ref}"),
    "{number} + {n}": (
        "add {n} to {ref}",
        "@compute {ref} plus {n}",
        "[increase|raise] {ref} by {n}",
        "@compute [what|how much] {ref} plus {n} is",
        "@compute the sum of {ref} and {n}",
        "[put|add] another {n} [on top of|to] {ref}",
    ),
    "{n} + {number}": ("@compute {n} plus {ref}", "add {ref} to {n}"),
    "{number} - {n}": (
        "[subtract|deduct] {n} from {ref}",
        "take {n} [away from|off|from] {ref}",
        "@compute {ref} minus {n}",
        "[reduce|lower|decrease] {ref} by {n}",
        "@compute [what|how much] {ref} minus {n} is",
        "@compute what is left of {ref} after [taking off|subtracting] {n}",
    ),
    "{n} - {number}": ("[subtract|deduct] {ref} from {n}", "@compute {n} minus {ref}", "take {ref} [away from|off] {n}"),
    "{number} / {n}": (
        "divide {ref} by {n}",
        "@compute {ref} divided by {n}",
        "split {ref} [by {n}|into {n} equal parts|among {n} people|evenly between {n} people]",
        "@compute [what|how much] {ref} divided by {n} is",
    ),
    "{n} / {number}": ("divide {n} by {ref}", "@compute {n} divided by {ref}"),
}  # fmt: skip
_WITHOUT_NUMBER: Mapping[str, tuple[str, ...]] = {
    "{number} * 2": ("double {ref}", "@compute [twice|double] {ref}", "@compute two times {ref}"),
    "{number} * 3": ("triple {ref}", "@compute three times {ref}"),
    "{number} / 2": ("halve {ref}", "@compute half of {ref}", "[divide|split] {ref} in half"),
}
_WITH_BOTH: Mapping[str, tuple[str, ...]] = {
    "{number} * {other}": ("multiply {ref} by {ref2}", "@compute {ref} times {ref2}", "@compute the product of {ref} and {ref2}"),
    "{number} + {other}": ("add {ref} and {ref2}", "@compute {ref} plus {ref2}", "@compute the sum of {ref} and {ref2}", "[add|sum] up {ref} and {ref2}"),
    "{number} - {other}": ("@compute {ref} minus {ref2}", "@compute the difference between {ref} and {ref2}"),
    "{number} / {other}": ("divide {ref} by {ref2}", "@compute {ref} divided by {ref2}"),
}  # fmt: skip


def _expression(draft: Draft) -> str:
    rng, values = draft.rng, draft.values
    first, second = shown(values.amount()), shown(values.count(2, 99) if rng.random() < 0.7 else values.amount())
    operation = rng.choice("**+-*/+")
    space = rng.choice((" ", " ", " ", ""))
    simple = f"{first}{space}{operation}{space}{second}"
    kind = rng.random()
    if kind < 0.7:
        return simple
    third = shown(values.count(2, 99))
    if kind < 0.85:
        return f"({simple}){space}{rng.choice('*/+-')}{space}{third}"
    if kind < 0.9:
        return f"{third}{space}{rng.choice('*/+-')}{space}({simple})"
    return f"{simple}{space}{rng.choice('+-')}{space}{third}"


def calculate(draft: Draft) -> str:
    """Compute an expression that the user gives, or something with an earlier number."""
    reference = draft.refer("number", share=0.85)
    if reference is not None:
        return _calculate_with(draft, *reference)
    expression = _expression(draft)
    value = draft.call("calculate", expression=expression)["value"]
    draft.put(value, "number", _RESULT_FIELDS, _RESULT_SAID)
    return draft.say(
        "@compute {x}",
        "[solve|do] {x}",
        "@ask [what {x} is|how much {x} is|the value of {x}|the result of {x}|what {x} comes to|what {x} makes]",
        "[do the math on|do the calculation|get the value of|run the numbers on|do the sum] {x}",
        "[what is|how much is|what's] {x}",
        x=quoted(draft, expression) if draft.rng.random() < 0.3 else expression,
    )


def _calculate_with(draft: Draft, output: Output, ref: str) -> str:
    rng = draft.rng
    number, other, n, ref2 = shown(output.value), draft.refer_to_other(output, "number"), "", ""
    forms = _WITHOUT_NUMBER if rng.random() < 0.1 else _WITH_NUMBER
    if other is not None and rng.random() < 0.4:
        forms, ref2 = _WITH_BOTH, other[1]
    form = rng.choice(list(forms))
    if forms is _WITH_NUMBER:
        form = rng.choice([form, *(form for form in forms if form.startswith("{number}"))])
        n = shown(draft.values.count(2, 99) if rng.random() < 0.75 else draft.values.amount())
    expression = form.format(number=number, n=n, other=shown(other[0].value) if other else "")
    needs = (output, other[0] if other and ref2 else None)
    value = draft.call("calculate", needs, expression=expression)["value"]
    draft.put(value, "number", _NEW_FIELDS, _NEW_SAID)
    return draft.say(*forms[form], ref=ref, n=n, ref2=ref2)


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
        "the [weekday|day of the week|name of the day|day name]",
    )
    return draft.say(
        "@find the [weekday|day of the week|name of the day] [of|for] {d}",
        "@ask [which|what] [weekday|day of the week|day] {d} [is|falls on|is on|was|will be]",
        "[what|which] [weekday|day of the week] [is {d}|that is on {d}|{d} is|does {d} fall on]",
        "@ask [on which|on what] [weekday|day|day of the week] {d} [is|falls|lies]",
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
        "the [new|resulting|later|final|computed|shifted] [date|day]",
    )
    return draft.say(
        "@find the [date|day] {n} days [after|from|past|later than] {d}",
        "add {n} days to {d}",
        "count {n} days [on|forward] from {d}",
        "@ask [which|what] [date|day] [is|comes|lies|it is] {n} days [after|from] {d}",
        "[which|what] [date|day] is {n} days [after|from|later than] {d}",
        "[move|shift|push|advance|postpone] {d} by {n} days",
        "@ask what {d} plus {n} days is",
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
        "the [number of days|day count|number|days|count of days|gap]",
    )
    return draft.say(
        "[count|@find] the [days|number of days|gap in days] [from {a} to {b}|between {a} and {b}|from {a} until {b}]",
        "@ask how many days [there are from {a} to {b}|are between {a} and {b}|lie between {a} and {b}|there are between {a} and {b}|it is from {a} to {b}|pass from {a} to {b}]",
        "how many days are [there from {a} to {b}|there between {a} and {b}|between {a} and {b}]",
        "[how many days|how long] is it from {a} to {b}",
        a=start_said,
        b=end_said,
    )


def current_time(draft: Draft) -> str:
    """Ask for the time somewhere."""
    zone = draft.values.zone()
    has_zone = draft.rng.random() < 0.75
    time = draft.call("current_time", (), **({"timezone": zone} if has_zone else {}))["time"]
    draft.put(time, "text", "time|now|current_time|local_time|clock", "the time|the current time")
    what = "[the time|the current time|what time it is|what the time is now|the local time|the date and time]"
    if not has_zone:
        return draft.say(f"@find {what}", "what time is it[| now]")
    return draft.say(f"@find {what} in {{z}}", "what time is it[| now] in {z}", z=zone)
