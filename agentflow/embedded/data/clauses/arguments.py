# ruff: noqa: E501 - phrasings and word lists stand in one line
"""Kinds of arguments of functions that one conversation alone has: how they are declared, how they are said, their values.

`KINDS` are said in ways of their own ("from Paris", "on 2024-05-01"). `named_kinds` gives hundreds more that are
only named, as in the interfaces of programs: "with a radius of 4 cm", "whose author is Ann", "(limit: 5)".
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from agentflow.embedded.data.values import Values
from agentflow.types import JsonValue


@dataclass(frozen=True)
class ArgumentKind:
    """A kind of argument.

    Attributes:
        names: Notation of its names.
        described: Notation of its descriptions.
        said: Notation of how its value is said: ``{x}`` as it is, ``{q}`` in quotes.
        make: Draws a value.
        type: JSON type.
        enum: Values it may take, if they are few.
    """

    names: str
    described: str
    said: str
    make: Callable[[Values], JsonValue]
    type: str = "string"
    enum: tuple[str, ...] = ()


def _kind(
    names: str, described: str, said: str, make: Callable[[Values], JsonValue], type_: str = "string"
) -> ArgumentKind:
    return ArgumentKind(names, described, said, make, type_)


def _enum(names: str, described: str, said: str, *options: str) -> ArgumentKind:
    return ArgumentKind(names, described, said, lambda values: values.choice(options), enum=options)


def _title(values: Values) -> str:
    return values.or_signed(values.title())


KINDS: tuple[ArgumentKind, ...] = (
    _kind("origin|from_city|departure|start|source|from_place", "[Where it begins|City of departure|Origin|Start]", "from {x}", lambda v: v.pooled("city")),
    _kind("destination|to_city|arrival|target|end|to_place", "[Where it ends|City of arrival|Destination|Target]", "to {x}", lambda v: v.pooled("city")),
    _kind("city|place|location|town|where|area", "[The city|Place|Location|Town|Where]", "in {x}", lambda v: v.pooled("city")),
    _kind("country|nation|land|region", "[The country|Country|Name of the country]", "in {x}", lambda v: v.pooled("country")),
    _kind("street|address|road", "[The street|Street|Address]", "[at|in] {x}", lambda v: v.pooled("street")),
    _kind("date|day|on_date|when|day_date", "[The date|Day|Date as YYYY-MM-DD|When]", "on {x}", Values.date),
    _kind("start_date|from_date|begin|since|first_day", "[First day|Start date|Beginning]", "[from|starting|since] {x}", Values.date),
    _kind("end_date|until|to_date|deadline|due|last_day", "[Last day|End date|Deadline]", "[until|to|by|before] {x}", Values.date),
    _kind("time|at|hour|start_time|clock", "[Time as HH:MM|The time|Hour]", "at {x}", Values.time),
    _kind("quantity|count|number|amount|pieces|num", "[How many|Quantity|Number]", "[with a quantity of {x}|, quantity {x},|({x} pieces)]", Values.count, "integer"),
    _kind("max_price|budget|limit|price|cost|total", "[Highest price|Budget|Price]", "[for|at|under|for at most] {x} [dollars|euros|EUR]", Values.amount, "number"),
    _kind("name|customer|client|person|user|who|owner", "[Name of the person|Customer|Who|For whom]", "for {x}", Values.person),
    _kind("company|vendor|employer|brand|shop|store", "[Name of the company|Company|Firm]", "[at|with|from] {x}", lambda v: v.pooled("company")),
    _kind("recipient|to|receiver|send_to", "[Who gets it|Recipient|Receiver]", "to {x}", Values.email),
    _kind("email|mail|address|contact", "[Mail address|E-mail|Contact address]", "[with the email|with the address|using|under] {x}", Values.email),
    _kind("id|code|reference|number|key|identifier", "[Its number|Code|Reference|Identifier]", "[|with the code |with the number |number |with reference ]{x}", Values.code),
    _kind("title|name|label|subject|topic|heading", "[Its title|Name|Title|Label]", "@called {q}", _title),
    _kind("message|text|comment|note|body|remark|reason", "[The text|Message|Comment|What it says]", "[saying|with the text|with the message|with the comment|with the note] {q}", Values.text),
    _kind("minutes|duration|length|mins|wait", "[Minutes|How long, in minutes|Duration]", "for {x} minutes", Values.count, "integer"),
    _kind("days|nights|num_days|num_nights|stay", "[How many days|Days|Nights]", "for {x} [days|nights]", Values.count, "integer"),
    _kind("people|guests|seats|persons|party_size|adults", "[How many people|Guests|Persons]", "for {x} [people|guests|persons]", Values.count, "integer"),
    _kind("url|link|page|website|site", "[Address of the page|Link|Web address]", "[at|from|on] {x}", Values.url),
    _kind("path|file|filename|document|attachment", "[The file|Path of the file|File name]", "[from|with|using] [|the file ]{x}", Values.path),
    _kind("percent|rate|discount|share", "[Percent|Rate|Discount in percent]", "[at|with] {x} percent", Values.count, "integer"),
    _kind("weight|kg|kilos|mass", "[Weight in kg|Kilograms]", "weighing {x} kg", Values.amount, "number"),
    _kind("product|item|article|thing|object", "[Name of the product|The item|Article]", "[for the item|for the product|with the article] {x}", Values.noun),
    _kind("category|type|kind|genre|group", "[Category|Type|Kind]", "[of type|in the category|of the kind] {x}", Values.noun),
    _kind("role|job|profession|position", "[The job|Role|Profession]", "as {x}", lambda v: v.pooled("job")),
    _enum("priority|urgency|level|importance", "[Priority|How urgent]", "with {x} priority", "low", "medium", "high"),
    _enum("color|colour|paint", "[Color|Colour]", "in {x}", "red", "blue", "green", "black", "white", "yellow"),
    _enum("size|format|dimension", "[Size|How large]", "[of size {x}|in size {x}]", "small", "medium", "large"),
    _enum("language|lang|tongue", "[Language|The language]", "in {x}", "English", "German", "French", "Spanish", "Italian"),
    _enum("currency|money|unit", "[Currency|Which money]", "in {x}", "EUR", "USD", "GBP", "JPY", "CHF"),
    _enum("mode|speed|service|way", "[How|Kind of service|Mode]", "[by|with|via] {x} [service|mode]", "express", "standard", "economy"),
)  # fmt: skip
"""Kinds that are said in ways of their own."""

_MEASURES: Mapping[str, str] = {
    "m|cm|feet|meters": "base height width length depth radius diameter side perimeter thickness",
    "km|miles|kilometers": "distance range trip_length route_length mileage",
    "kg|grams|pounds": "mass weight load body_weight portion",
    "seconds|hours|minutes|years|months": "time duration term period interval delay waiting_time study_time",
    "m/s|km/h|mph": "speed velocity initial_speed final_velocity wind_speed",
    "degrees|C|F": "temperature angle latitude longitude rotation slope",
    "dollars|euros|EUR|USD": "principal loan_amount income salary revenue deposit price_per_unit down_payment expenses profit",
    "percent|%": "interest_rate tax_rate growth_rate tip discount humidity inflation commission",
    "": "age year score points level rank rooms floors bedrooms servings calories passengers children adults bags limit "
    "offset page_size max_results top_k population voltage current resistance frequency pressure density energy force charge "
    "sample_size mean numerator denominator first_number second_number exponent divisor grade credits episodes season_number",
}
"""Names of numbers by the units that are said behind them."""
_TEXTS: Mapping[str, str] = {
    "city": "city_name birthplace venue airport station capital departure_city arrival_city hometown region_name",
    "country": "country_name nationality market home_country",
    "person": "author artist director actor player teacher doctor_name patient_name composer singer assignee reviewer "
    "driver_name winner sender owner_name applicant employee tenant",
    "company": "company_name airline publisher bank manufacturer supplier_name employer_name insurer",
    "noun": "ingredient dish cuisine animal species plant_name material sport subject topic keyword tag department "
    "instrument tool_name feature allergen crop hobby product_name",
    "title": "book_title movie_title song_name album course_name event_name team_name project_name playlist channel chapter "
    "list_name folder_name",
    "code": "isbn sku tracking_number account_number order_number invoice_number plate passport_number flight_number "
    "serial_number customer_id user_id product_id ticket_id booking_reference coupon_code session_token device_id",
    "date": "check_in check_out birth_date due_date arrival_date departure_date expiry start_day end_day release_date",
    "time": "opening_time pickup_time alarm_time start_at end_at",
    "email": "billing_email reply_to cc contact_email",
    "url": "image_url homepage callback_url source_url",
    "text": "comment_text question caption summary_text note_text feedback_text instructions",
}
"""Names of texts by the kind of their values."""
_CHOICES: Mapping[str, str] = {
    "unit units system": "metric imperial", "unit measure": "celsius fahrenheit kelvin", "order sort sort_order": "ascending descending",
    "difficulty skill": "easy medium hard", "file_type output_format": "pdf csv json html", "season quarter": "spring summer autumn winter",
    "gender sex": "male female", "plan tier": "free basic premium", "diet meal_type": "vegan vegetarian keto", "status state": "open closed pending",
    "period frequency": "daily weekly monthly yearly", "seat_class cabin": "economy business first", "visibility access": "public private",
    "payment_method method": "cash card transfer", "shape figure": "circle square triangle", "mood tone": "formal friendly neutral",
}  # fmt: skip
"""Values by the names of what is chosen among few."""
_SWITCHES = "include_tax round_trip express_delivery gift_wrap vegetarian_only send_reminder is_public detailed overwrite recursive pets_allowed with_breakfast"
_NUMBER_SAID = "with {a} {w} of {x}{u}|with {w} {x}{u}|where the {w} is {x}{u}|({w}: {x}{u})|{w} {x}{u}|having {a} {w} of {x}{u}|if the {w} is {x}{u}"
_NAME_SAID = "with the {w} {x}|whose {w} is {x}|for the {w} {x}|({w}: {x})|where the {w} is {x}|by the {w} {x}|{w} {x}|and {x} as the {w}"
_TEXT_SAID = _NAME_SAID.replace("{x}", "{q}")
_CHOICE_SAID = "with {w} {x}|in {x} {w}|({w}: {x})|using {x} as the {w}|{w} {x}|and set the {w} to {x}"
_SWITCH_SAID = "with {w} {x}|({w}: {x})|and set {w} to {x}|{w} {x}"
_DESCRIBED = "[[The|Its|A] {w}|{w}][| of the {{noun}}| to use| that is asked for][|.]"


@cache
def named_kinds() -> tuple[ArgumentKind, ...]:
    """Give the kinds whose values are said with the argument's name."""
    return tuple(_named())


def _named() -> Iterator[ArgumentKind]:
    for units, names in _MEASURES.items():
        for name in names.split():
            unit = f"[| {'| '.join(units.split('|'))}]" if units else ""
            make, type_ = (Values.amount, "number") if units else (Values.count, "integer")
            yield _by_name(name, _NUMBER_SAID, make, type_, unit=unit)
    for value, names in _TEXTS.items():
        is_name = value in ("city", "country", "person", "company", "code", "date", "time", "email", "url")
        for name in names.split():
            yield _by_name(name, _NAME_SAID if is_name else _TEXT_SAID, _MAKERS[value])
    for names, options in _CHOICES.items():
        for name in names.split():
            allowed = tuple(options.split())
            yield _by_name(name, _CHOICE_SAID, _chooser(allowed), enum=allowed)
    for name in _SWITCHES.split():
        yield _by_name(name, _SWITCH_SAID, lambda values: values.rng.random() < 0.5, "boolean")  # noqa: PLR2004 - a coin


def _by_name(
    name: str,
    said: str,
    make: Callable[[Values], JsonValue],
    type_: str = "string",
    *,
    enum: tuple[str, ...] = (),
    unit: str = "",
) -> ArgumentKind:
    word = name.replace("_", " ")
    article = "an" if word[0] in "aeiou" else "a"
    said = said.replace("{w}", word).replace("{a}", article).replace("{u}", unit)
    return ArgumentKind(name, _DESCRIBED.format(w=word), f"[{said}]", make, type_, enum)


def _chooser(options: tuple[str, ...]) -> Callable[[Values], JsonValue]:
    return lambda values: values.choice(options)


_MAKERS: Mapping[str, Callable[[Values], JsonValue]] = {
    "city": lambda values: values.pooled("city"),
    "country": lambda values: values.pooled("country"),
    "company": lambda values: values.pooled("company"),
    "person": Values.person,
    "noun": Values.noun,
    "title": _title,
    "code": Values.code,
    "date": Values.date,
    "time": Values.time,
    "email": Values.email,
    "url": Values.url,
    "text": Values.text,
}


def draw_kinds(rng: random.Random) -> tuple[ArgumentKind, ...]:
    """Draw the kinds of a function's arguments: half of the functions have such as are only named."""
    pool = KINDS if rng.random() < 0.5 else named_kinds()  # noqa: PLR2004 - half
    return tuple(rng.sample(pool, rng.choice((1, 1, 2, 2, 2, 3, 3, 4))))
