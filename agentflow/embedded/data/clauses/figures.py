# ruff: noqa: E501, PLR2004 - a phrasing stands in one line, shares stand where they are drawn
"""Clauses about numbers and dates."""

from __future__ import annotations

from agentflow.embedded.data.clauses.draft import Draft, Output, quoted, shown

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
    time = draft.call("current_time", (), **({"timezone": zone} if has_zone else {}))["time"]
    draft.put(time, "text", "time|now|current_time|local_time|clock", "the time|the current time")
    if not has_zone:
        return draft.say(
            "[tell me|check|get|find out|look up] [the time|the current time|what time it is|what the time is now]"
        )
    return draft.say(
        "[tell me|check|get|find out|look up] [the time in {z}|the current time in {z}|what time it is in {z}|the local time in {z}]",
        z=zone,
    )
