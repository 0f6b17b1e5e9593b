"""Taking secrets out of what is logged.

What is called like a secret (``password``, ``api_key``, ``Authorization``, ...) and what looks like one (bearer tokens,
keys with a well-known beginning, private keys, passwords in addresses) is replaced. A secret that neither is called nor
looks like one cannot be known; do not log content where such are about.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from agentflow.types import JsonValue

REDACTED: Final = "[redacted]"

_NAME: Final = re.compile(
    r"passw(or)?d|passphrase|secret|token(?!s)|api[-_ ]?key|authori[sz]ation|credential|private[-_ ]?key"
    r"|access[-_ ]?key|cookie|session[-_ ]?id|^pin$|^pwd$",
    re.IGNORECASE,
)
_LOOKS: Final = re.compile(
    r"""(?P<before>\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}            # an Authorization header
    |\b(?:sk|pk|rk)[-_][\w-]{16,}                                # keys of model and payment services
    |\b(?:gh[pousr]|github_pat|glpat|xox[abprs]|hf)[-_][\w-]{16,}
    |\bAKIA[0-9A-Z]{16}\b
    |\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*                          # JSON web tokens
    |-----BEGIN\ [A-Z ]*PRIVATE\ KEY-----.*?(?:-----END[^-]*-----|$)
    |(?P<address>\b[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s@/]+(?=@)   # a password in an address
    |(?P<member>["']?(?:password|passwd|secret|api[-_]?key|access[-_]?token)["']?\s*[=:]\s*["']?)[^\s"',;&}]+""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def redact(value: JsonValue) -> JsonValue:
    """Copy a JSON value without its secrets."""
    if isinstance(value, str):
        return _LOOKS.sub(_replace, value)
    if isinstance(value, Mapping):
        return {key: REDACTED if _NAME.search(key) else redact(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [redact(item) for item in value]
    return value


def _replace(found: re.Match[str]) -> str:
    return f"{found['before'] or found['address'] or found['member'] or ''}{REDACTED}"
