"""Date and time: the present, and arithmetic on calendar days.

Dates are ISO 8601 (``2026-03-21``) in the proleptic Gregorian calendar, years 1 to 9999. Time zones are names of
the IANA database. Weekdays are named in English whatever the locale. The clock is given from outside, so that tests
and replays can hold it still.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

from agentflow import Tool, tool

_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MAX_DAYS: Final = date.max.toordinal()


def clock(now: Callable[[], datetime] | None = None) -> list[Tool[..., Any]]:
    """Make the tools ``current_time``, ``weekday``, ``add_days`` and ``days_between``.

    Args:
        now: Tells the present as an aware datetime; by default the machine's clock.
    """
    clock_tools = _Clock(now or _utc_now)
    functions = (clock_tools.current_time, weekday, add_days, days_between)
    return [tool(is_idempotent=True)(function) for function in functions]


def _utc_now() -> datetime:
    return datetime.now(UTC)


class _Clock:
    """Tells the time of the clock it was given."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now

    def current_time(self, timezone: str = "UTC") -> dict[str, str]:
        """Tell the current date and time.

        Args:
            timezone: Time zone name, such as Europe/Berlin.
        """
        return {"time": self._now().astimezone(_zone(timezone)).isoformat(timespec="seconds")}


def weekday(date: str) -> dict[str, str]:
    """Tell the weekday of a date.

    Args:
        date: Date as YYYY-MM-DD.
    """
    return {"weekday": _WEEKDAYS[_parse_date(date).weekday()]}


def add_days(date: str, days: int) -> dict[str, str]:
    """Add days to a date.

    Args:
        date: Date as YYYY-MM-DD.
        days: Number of days; negative goes back.
    """
    start = _parse_date(date)
    if not -_MAX_DAYS <= days <= _MAX_DAYS or not 1 <= start.toordinal() + days <= _MAX_DAYS:
        raise ValueError(f"{date} plus that many days is outside the years 1 to 9999; use fewer days")
    return {"date": (start + timedelta(days=days)).isoformat()}


def days_between(start: str, end: str) -> dict[str, int]:
    """Count the days from one date to another.

    Args:
        start: First date as YYYY-MM-DD.
        end: Second date as YYYY-MM-DD.
    """
    return {"days": (_parse_date(end) - _parse_date(start)).days}


def _parse_date(text: str) -> date:
    """Read ``YYYY-MM-DD`` and nothing else.

    Raises:
        ValueError: The text is no such date.
    """
    try:
        parsed = date.fromisoformat(text.strip())
    except ValueError as error:
        raise ValueError(f"{text[:40]!r} is no date ({error}); write it as YYYY-MM-DD, such as 2026-03-21") from error
    if parsed.isoformat() != text.strip():  # Python also reads 20260321 and 2026-W12-6
        raise ValueError(f"{text[:40]!r} is not written as YYYY-MM-DD; write {parsed.isoformat()}")
    return parsed


def _zone(name: str) -> tzinfo:
    """Find a time zone by its IANA name, with no regard to case.

    Raises:
        ValueError: There is none; the message suggests similar names.
    """
    key = name.strip().replace(" ", "_").casefold()
    if key in {"utc", "z", "gmt"}:
        return UTC
    zones = _zones()
    if key in zones:
        return ZoneInfo(zones[key])
    cities = [zone for folded, zone in zones.items() if folded.rsplit("/", 1)[-1] == key]
    similar = cities or [zones[match] for match in difflib.get_close_matches(key[:40], zones, n=3)]
    advice = f"did you mean {' or '.join(similar[:3])}?" if similar else "use a name such as Europe/Berlin or UTC"
    raise ValueError(f"unknown time zone {name[:40]!r}; {advice}")


@lru_cache(maxsize=1)
def _zones() -> dict[str, str]:
    """All zone names by their case-folded form; read from the machine once."""
    return {zone.casefold(): zone for zone in sorted(available_timezones())}
