# ruff: noqa: E501 - a phrasing stands in one line
"""Clauses for tools beyond the ready-made ones."""

from __future__ import annotations

from agentflow.embedded.data.clauses.draft import Draft, quoted, quoted_text, shown
from agentflow.embedded.data.clauses.writing import wanted_text


def get_weather(draft: Draft) -> str:
    """Ask for the weather."""
    city = draft.values.pooled("city")
    unit = draft.rng.choice((None, None, "celsius", "fahrenheit"))
    result = draft.call("get_weather", (), city=city, **({"unit": unit} if unit else {}))
    draft.put(result["temperature"], "number", "temperature|degrees|temp", "the temperature")
    draft.put(result["sky"], "text", "sky|weather|condition", "the weather")
    return draft.say(
        "@find the [weather|temperature|current weather] in {c}{u}",
        c=city,
        u=f" in {unit}" if unit else "",
    )


def get_price(draft: Draft) -> str:
    """Ask for a price."""
    product = draft.values.noun()
    price = draft.call("get_price", product=product)["price"]
    draft.put(price, "number", "price|cost|price", "the price|its price")
    return draft.say(
        "@find the [price|cost] of [|the |a ]{p}",
        "@ask [how much [the|a] {p} costs|what [the|a] {p} costs]",
        p=product,
    )


def check_stock(draft: Draft) -> str:
    """Ask what is in stock."""
    product = draft.values.noun()
    count = draft.call("check_stock", product=product)["quantity"]
    draft.put(count, "number", "quantity|stock|count|in_stock", "the stock|the quantity")
    return draft.say(
        "@ask how many {p} [are in stock|we have|there are in stock|are left]",
        "@find the [stock|inventory] of {p}",
        p=product,
    )


def find_contact(draft: Draft) -> str:
    """Look somebody up."""
    person = draft.values.person()
    phone = draft.call("find_contact", name=person)["phone"]
    draft.put(phone, "text", "phone|number|phone_number|contact", "the phone number|the number")
    return draft.say(
        "[find|look up|get|tell me|search] [the phone number of|the number of|the contact of|the contact details of] {p}",
        "[look up|find] {p} in [my|the] [contacts|address book]",
        p=person,
    )


def send_email(draft: Draft) -> str:
    """Send a mail."""
    output, text, ref = wanted_text(draft)
    to, subject = draft.values.email(), draft.values.or_signed(draft.values.title())
    draft.call("send_email", (output,), to=to, subject=subject, body=text)
    draft.put(to, "echo", "to|recipient|sent_to|email|address")
    return draft.say(
        "[send|mail|e-mail] {x} to {to} with the subject {s}",
        "[write|send] [a mail|an e-mail|a message] to {to} [about {s}|with subject {s}] saying {x}",
        x=ref or quoted_text(draft, text),
        to=to,
        s=quoted(draft, subject),
    )


def create_event(draft: Draft) -> str:
    """Put an event in the calendar."""
    reference = draft.refer("date")
    output, said = reference or (None, draft.values.date())
    title, time = draft.values.or_signed(draft.values.title()), draft.values.time()
    draft.call("create_event", (output,), title=title, date=shown(output.value) if output else said, time=time)
    draft.put(title, "echo", "event|title|created|appointment")
    return draft.say(
        "[create|add|plan|book|schedule] [an event|an appointment|a meeting] [called|named] {t} on {d} at {h}",
        "put {t} in [my|the] calendar on {d} at {h}",
        "[schedule|plan|book] {t} [for|on] {d} at {h}",
        t=quoted(draft, title),
        d=said,
        h=time,
    )


def convert_currency(draft: Draft) -> str:
    """Convert money."""
    reference = draft.refer("number")
    output, said = reference or (None, None)
    amount = output.value if output else draft.values.amount()
    source, target = draft.rng.sample(("EUR", "USD", "GBP", "JPY", "CHF"), 2)
    result = draft.call("convert_currency", (output,), amount=amount, source=source, target=target)["amount"]
    draft.put(result, "number", "converted|amount|result|value", "the converted amount|the amount")
    return draft.say(
        "[convert|change|exchange] {x} from {a} [to|into] {b}"
        if output
        else "[convert|change|exchange] {x} {a} [to|into] {b}",
        x=said or shown(amount),
        a=source,
        b=target,
    )


def track_order(draft: Draft) -> str:
    """Ask where an order is."""
    code = draft.values.code()
    status = draft.call("track_order", order_id=code)["status"]
    draft.put(status, "text", "status|state|order_status", "the status|its status")
    return draft.say(
        "@find the [status|state] of [|the |my ]order {c}",
        "[track|look up|check|find] [|the |my ]order {c}",
        "@ask where [my |the |]order {c} is",
        c=code,
    )


def get_distance(draft: Draft) -> str:
    """Ask for a distance."""
    a, b = draft.values.pooled("city"), draft.values.pooled("city")
    km = draft.call("get_distance", origin=a, destination=b)["km"]
    draft.put(km, "number", "km|distance|distance_km|kilometers", "the distance")
    return draft.say(
        "@find the distance [from {a} to {b}|between {a} and {b}]",
        "@ask how far it is from {a} to {b}",
        a=a,
        b=b,
    )


def translate_text(draft: Draft) -> str:
    """Translate a text."""
    text = draft.values.or_signed(draft.values.errand())
    language = draft.rng.choice(("German", "French", "Spanish", "Italian", "Japanese"))
    result = draft.call("translate_text", text=text, language=language)["text"]
    draft.put(result, "text", "translation|translated|text", "the translation")
    return draft.say("translate {x} [to|into] {l}", "[say|put] {x} in {l}", x=quoted(draft, text), l=language)


def set_timer(draft: Draft) -> str:
    """Start a timer."""
    minutes = draft.values.count(1, 90)
    draft.call("set_timer", minutes=minutes)
    draft.put(minutes, "echo", "minutes|timer|duration")
    return draft.say("[set|start] [a timer|an alarm|a countdown] [for|of] {n} minutes", n=minutes)


def get_population(draft: Draft) -> str:
    """Ask for a population."""
    city = draft.values.pooled("city")
    people = draft.call("get_population", city=city)["population"]
    draft.put(people, "number", "population|people|inhabitants", "the population")
    return draft.say(
        "@find the population of {c}",
        "@ask how many people live in {c}",
        c=city,
    )
