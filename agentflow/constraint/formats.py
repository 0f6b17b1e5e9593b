"""The formats of JSON Schema as patterns.

Each pattern describes a subset of what its RFC allows: whatever is written in a format is valid under any
validator, and a few exotic spellings are not written (comments in e-mail addresses, leap seconds).
Formats that are not listed are annotations, as the specification has it.
"""

from __future__ import annotations

from functools import lru_cache

from agentflow.constraint.automaton import CharDfa, intersect
from agentflow.constraint.regex import pattern_dfa

_LEAP = r"(?:(?:0[48]|[2468][048]|[13579][26])00|[0-9]{2}(?:0[48]|[2468][048]|[13579][26]))"
_DATE = (
    r"(?:(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    rf"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP}-02-29)"
)
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:[zZ]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_SHORT_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,38}[a-zA-Z0-9])?"
_HOST = rf"{_SHORT_LABEL}(?:\.{_SHORT_LABEL}){{0,5}}"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_BYTE}(?:\.{_BYTE}){{3}}"
_H16 = r"[0-9a-fA-F]{1,4}"
_LS32 = rf"(?:{_H16}:{_H16}|{_IPV4})"
_IPV6 = "|".join(
    [
        rf"(?:{_H16}:){{6}}{_LS32}",
        rf"::(?:{_H16}:){{5}}{_LS32}",
        rf"(?:{_H16})?::(?:{_H16}:){{4}}{_LS32}",
        rf"(?:(?:{_H16}:){{0,1}}{_H16})?::(?:{_H16}:){{3}}{_LS32}",
        rf"(?:(?:{_H16}:){{0,2}}{_H16})?::(?:{_H16}:){{2}}{_LS32}",
        rf"(?:(?:{_H16}:){{0,3}}{_H16})?::{_H16}:{_LS32}",
        rf"(?:(?:{_H16}:){{0,4}}{_H16})?::{_LS32}",
        rf"(?:(?:{_H16}:){{0,5}}{_H16})?::{_H16}",
        rf"(?:(?:{_H16}:){{0,6}}{_H16})?::",
    ]
)
_UNRESERVED = r"a-zA-Z0-9._~\-"
_ESCAPED = r"%[0-9a-fA-F]{2}"
_PCHAR = rf"(?:[{_UNRESERVED}!$&'()*+,;=:@]|{_ESCAPED})"
_QUERY = rf"(?:[{_UNRESERVED}!$&'()*+,;=:@/?]|{_ESCAPED})*"
_USER = rf"(?:(?:[{_UNRESERVED}!$&'()*+,;=:]|{_ESCAPED})*@)?"
_AUTHORITY = rf"{_USER}(?:\[(?:{_IPV6})\]|(?:[{_UNRESERVED}!$&'()*+,;=]|{_ESCAPED})*)(?::[0-9]{{0,5}})?"
_SCHEME = r"[a-zA-Z][a-zA-Z0-9+.-]*:"
_URI_REST = rf"(?://{_AUTHORITY}(?:/{_PCHAR}*)*|/(?:{_PCHAR}+(?:/{_PCHAR}*)*)?|{_PCHAR}+(?:/{_PCHAR}*)*|)(?:\?{_QUERY})?(?:#{_QUERY})?"
_SEGMENT_NC = rf"(?:[{_UNRESERVED}!$&'()*+,;=@]|{_ESCAPED})+"
_RELATIVE = rf"(?://{_AUTHORITY}(?:/{_PCHAR}*)*|/(?:{_PCHAR}+(?:/{_PCHAR}*)*)?|{_SEGMENT_NC}(?:/{_PCHAR}*)*|)(?:\?{_QUERY})?(?:#{_QUERY})?"
_ATEXT = r"[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]"
_EMAIL = rf"{_ATEXT}+(?:\.{_ATEXT}+)*@{_LABEL}(?:\.{_LABEL})*"
_POINTER = r"(?:/(?:[^~/]|~[01])*)*"
_DURATION_TIME = r"T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)"
_DURATION_DATE = r"(?:[0-9]+D|[0-9]+M(?:[0-9]+D)?|[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?)"

_REGEX_ATOM = r"(?:[^\\()\[\]{}*+?|^$]|\\[dDwWsSnrt.*+?()\[\]{}|^$\\/-]|\[\^?(?:[a-zA-Z0-9_ ]|a-z|A-Z|0-9)+\])"

_PATTERNS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": rf"{_DATE}[tT]{_TIME}",
    "duration": rf"P(?:{_DURATION_DATE}(?:{_DURATION_TIME})?|{_DURATION_TIME}|[0-9]+W)",
    "email": _EMAIL,
    "idn-email": _EMAIL,
    "hostname": _HOST,
    "idn-hostname": _HOST,
    "ipv4": _IPV4,
    "ip-address": _IPV4,
    "ipv6": _IPV6,
    "uri": _SCHEME + _URI_REST,
    "iri": _SCHEME + _URI_REST,
    "uri-reference": rf"(?:{_SCHEME}{_URI_REST}|{_RELATIVE})",
    "iri-reference": rf"(?:{_SCHEME}{_URI_REST}|{_RELATIVE})",
    "uri-template": rf"(?:{_SCHEME}{_URI_REST}|{_RELATIVE})",
    "uuid": r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
    "json-pointer": _POINTER,
    "relative-json-pointer": rf"(?:0|[1-9][0-9]*)(?:#|{_POINTER})",
    "regex": rf"\^?(?:{_REGEX_ATOM}[*+?]?)*\$?",
}


def format_pattern(name: str) -> str | None:
    """Give the pattern of the strings of a format, without anchors; ``None`` for one that is only an annotation."""
    return _PATTERNS.get(name)


@lru_cache(maxsize=64)
def format_dfa(name: str) -> CharDfa | None:
    """Give the strings of a format, ``None`` for a format that is only an annotation."""
    pattern = _PATTERNS.get(name)
    if pattern is None:
        return None
    dfa = pattern_dfa(f"^(?:{pattern})$")
    if name in ("hostname", "idn-hostname"):
        dfa = intersect(dfa, pattern_dfa(r"^(?!.{2}--)(?!.*\..{2}--)"))  # reserved for punycode
    return dfa
