# ruff: noqa: E501, PLR0911, PLR2004, SIM905 - tables stand in lines, a guess returns where it is sure
"""Guesses what values an argument takes, from its type, format, name and description."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_FORMATS: Mapping[str, str] = {
    "date": "date", "date-time": "datetime", "uuid": "uuid", "guid": "uuid", "email": "email", "uri": "url", "url": "url", "ipv4": "ip",
}  # fmt: skip
_PLACES = "w(us-east-1/us-west-2/eu-central-1/eu-west-3/ap-south-1/sa-east-1)"
_TEXTS: tuple[tuple[str, str], ...] = (
    (r".*\bdate\b.*", "date"), (r"uuid|guid", "uuid"), (r"e?mail( address)?", "email"), (r"ip( address)?", "ip"), (r"(time ?zone|tz)", "zone"),
    (r"currency( code)?|currencies", "w(USD/EUR/GBP/JPY/CHF/INR/SEK/CAD/AUD/BRL/NOK/PLN)"), (r"country code|country iso", "w(US/DE/FR/GB/JP/BR/IN/ES/IT/NL)"),
    (r"(language|locale|lang)( code)?", "w(en/de/fr/es/it/ja/pt/nl/sv/pl)"), (r"country", "country"), (r"city|town", "city"), (r"location|place", "city"),
    (r"(state|province)( name)?", ""), (r"region( name| code| id)?", _PLACES), (r"zip( code)?|zipcode|(postal|post) ?code|postcode", "postcode"),
    (r"phone|phone number|mobile|msisdn|to number|from number|telephone", "phone"), (r"first name|given name|firstname|forename", "first"),
    (r"last name|surname|family name|lastname", "last"), (r"full name|author|owner|contact name|customer name|recipient|person|assignee|artist|author name|owner name", "person"),
    (r"user ?name|login|handle|nickname|screen name|account name", "username"), (r"company|company name|organi[sz]ation( name)?|vendor|brand|manufacturer|publisher|merchant name", "company"),
    (r"street|street address|address|address line|shipping address|billing address", "street"),
    (r"file ?name|file path|path|file", "path"), (r"domain|host|hostname|domain name|host name", "domain"),
    (r"url|uri|link|website|image url|callback url|webhook url|site", "url"), (r"color|colour", "w(red/blue/green/orange/purple/black/white)"),
    (r"hash|sha|commit|checksum|digest|fingerprint", "hex"), (r"version|api version", "w(1.4.2/2.0.1/3.7/0.9.8/5.2.0/2.11)"), (r"symbol|ticker|stock symbol", "w(ACME/NVX/TRBO/QLM/ZNT/BRKX/OPLT)"),
    (r"query|q|search|keyword|search term|search query|term|search text|phrase|topic|category|tag|genre|product|item|subject name|ingredient|category name|tag name", "noun"),
    (r"keywords|tags|topics|categories|terms|labels|products|items|genres", "noun"), (r"emails|email addresses", "email"), (r"urls|links", "url"), (r"users|usernames|members", "username"),
    (r"countries", "country"), (r"cities", "city"), (r"languages", "w(en/de/fr/es/it/ja/pt/nl/sv/pl)"), (r"symbols|tickers", "w(ACME/NVX/TRBO/QLM/ZNT/BRKX/OPLT)"), (r"dates", "date"), (r"names", "title"),
    (r"description|message|comment|body|text|content|note|notes|reason|summary|bio|caption|memo|question|answer|prompt|instructions", "text"),
    (r"title|subject|label|heading|display name|headline", "title"), (r"job title|occupation|profession", "job"), (r"age|height|weight|format|.*\b(type|sort|status|by|order|kind|mode|scope|level|period|interval|resolution|state|action|filter|operator)", ""),
)  # fmt: skip
_SUFFIXES: tuple[tuple[str, str], ...] = (
    (r"uuid|guid", "uuid"), (r"email", "email"), (r"ids?|sid|key|identifier|reference|ref|sku|isbn|barcode|iban|serial", "code"), (r"code|codes", "code"), (r"number", "code"), (r"date|day", "date"),
    (r"url|uri|link", "url"), (r"phone", "phone"), (r"city", "city"), (r"country", "country"), (r"currency", "w(USD/EUR/GBP/JPY/CHF/INR/SEK/CAD/AUD/BRL/NOK/PLN)"), (r"language", "w(en/de/fr/es/it/ja/pt/nl/sv/pl)"),
    (r"name|names", "title"), (r"title|subject", "title"), (r"text|message|description|comment|note|reason", "text"), (r"bucket|branch|workspace|namespace|slug|folder|project|repo|repository|team|channel|group|cluster|database|table|queue", "slug"),
)  # fmt: skip
_CLOUD = frozenset(
    "account resource group vault cluster server database namespace workspace bucket function app repository domain registry instance pool policy rule "
    "factory service network gateway environment stack role queue topic table index key device job project folder".split()
)
_NUMBERS: tuple[tuple[str, str], ...] = (
    (r".*year", "1990-2030"), (r"month", "1-12"), (r"day|day of month", "1-28"), (r"hour|hours", "1-23"), (r"minutes?|seconds?|duration|timeout|ttl|interval|delay", "5-900"), (r"page|page number|page index", "2-40"),
    (r"limit|count|size|page size|per page|top|max results|max items|num results|results|quantity|first|last|rows|take|num|max", "3-100"), (r"offset|skip|start|start index|cursor|from", "10-900"),
    (r"lat|.*latitude", "-80-80"), (r"lon|lng|long|.*longitude", "-170-170"), (r"price|amount|total|cost|balance|salary|budget", "5-2000"), (r"port", "1024-9999"), (r"age", "18-90"), (r".*(rate|percent|percentage)", "1-30"),
    (r"width|height", "50-2000"), (r"percent|percentage|quality|volume|score|rating", "1-99"), (r"radius|distance", "1-90"), (r".* id|id", "100-99999"), (r".*(number|code)", "10-9999"),
)  # fmt: skip
_WHOLE = frozenset(
    "id page limit count size number year month day port offset skip version episode season quantity index key code level seconds minutes days ttl timeout rows floor".split()
)
"""Last words of names of numbers that are whole, whatever the description says."""
_ODD_FORMAT = re.compile(
    r"yyyymmdd|mm/dd|dd/mm|mm-dd-|dd-mm-|unix|epoch|timestamp|base ?64|encoded|regex|json|serialized|comma|separated|encrypted|xml|html|cron|expression|odata|boolean|\btrue\b|pagination|token|cursor|\bflag\b|must be|[01] or [01]|bitmask|cvc|cvv",
    re.IGNORECASE,
)
_MOST_OPTIONS, _MOST_OPTION = 8, 20


def guess_kind(words: list[str], schema: Mapping[str, Any], said: str, *, is_required: bool) -> str | None:
    """Give the kind of an argument in the notation of the file, or None if no value can be made up for it."""
    name, kind = " ".join(words), schema.get("type")
    if kind == "array":
        items = schema.get("items")
        inner = guess_kind(words, items, said, is_required=is_required) if isinstance(items, Mapping) else None
        return (
            f"{inner}*" if inner and inner[-1] != "*" and inner not in ("b", "text", "uuid", "street", "zone") else None
        )
    if schema.get("enum"):
        return _enumerated(schema["enum"]) if kind in (None, "string") else None
    if kind == "boolean":
        return "b"
    if kind in ("integer", "number"):
        is_whole = kind == "integer" or words[-1] in _WHOLE
        return (
            None if _ODD_FORMAT.search(f"{said} {name}") or "time" in words else "ni"[is_whole] + _bounds(name, schema)
        )
    if kind != "string" or schema.get("pattern", "").startswith("^("):
        return None
    return _text_kind(words, schema, said, is_required=is_required)


def _enumerated(values: list[Any]) -> str | None:
    values = list(dict.fromkeys(value for value in map(str, values) if value))
    is_fit = all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", v) and len(v) <= _MOST_OPTION for v in values)
    if not is_fit or len({v.lower() for v in values}) < len(values) or {v.lower() for v in values} <= {"true", "false"}:
        return None
    return f"e({'/'.join(values[:_MOST_OPTIONS])})" if len(values) > 1 else None


def _bounds(name: str, schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    bounds = next((bounds for pattern, bounds in _NUMBERS if re.fullmatch(pattern, name)), "2-500")
    if isinstance(low, int) and isinstance(high, int) and 4 <= high - low <= 100_000 and not bounds.startswith("-"):
        return f"{max(low, 2) if high > 10 else low}-{min(high, max(low, 0) + 1000)}"
    return bounds


def _text_kind(words: list[str], schema: Mapping[str, Any], said: str, *, is_required: bool) -> str | None:
    name = " ".join(words)
    kind = _FORMATS.get(schema.get("format", ""))
    if kind:
        return kind
    if _ODD_FORMAT.search(f"{said} {name}") or schema.get("format") in ("byte", "binary", "password"):
        return None
    kind = next((kind for pattern, kind in _TEXTS if re.fullmatch(pattern, name)), None)
    if kind in (None, "text", "title", "noun", "person") and re.search(r"\bID\b|identifier", said):
        return "code"
    if kind is not None:
        return (
            "w(US/DE/FR/GB/JP/BR/IN/ES/IT/NL)"
            if kind == "country" and re.search(r"code|iso", said, re.IGNORECASE)
            else kind
        ) or None
    if words[-1] in ("name", "id") and _CLOUD & set(words[:-1]):
        return "slug"
    if re.search(r"e-?mail address", said, re.IGNORECASE):
        return "email"
    kind = next((kind for pattern, kind in _SUFFIXES if re.fullmatch(pattern, words[-1])), None)
    return kind or _of_examples(schema.get("examples") or []) or ("word" if is_required else None)


def _of_examples(values: list[Any]) -> str | None:
    fit = [v for v in map(str, values) if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 .'-]*", v) and len(v) <= _MOST_OPTION]
    found = list({value.lower(): value for value in fit}.values())[:_MOST_OPTIONS]
    return f"w({'/'.join(found)})" if len(found) > 1 else None
