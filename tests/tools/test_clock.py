"""The clock: a present that can be held still, zones, and days counted on the calendar."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agentflow_tools import clock

NOON = datetime(2026, 3, 14, 12, 0, 0, 987654, tzinfo=UTC)


@pytest.fixture
def tools(by_name):
    """The tools, at a fixed moment."""
    return by_name(clock(now=lambda: NOON))


@pytest.mark.parametrize(
    ("zone", "time"),
    [
        ("UTC", "2026-03-14T12:00:00+00:00"),
        ("utc", "2026-03-14T12:00:00+00:00"),
        ("Z", "2026-03-14T12:00:00+00:00"),
        ("Europe/Berlin", "2026-03-14T13:00:00+01:00"),
        ("europe/berlin", "2026-03-14T13:00:00+01:00"),
        ("America/New York", "2026-03-14T08:00:00-04:00"),
        ("Asia/Kolkata", "2026-03-14T17:30:00+05:30"),
    ],
)
def test_time_is_told_in_a_zone(tools, zone, time):
    """The present is given in the zone asked for, to the second."""
    assert tools["current_time"](timezone=zone) == {"time": time}


def test_the_default_zone_is_utc(tools):
    """Without a zone the time is UTC."""
    assert tools["current_time"]() == {"time": "2026-03-14T12:00:00+00:00"}


def test_without_a_clock_the_present_is_the_machine_s(by_name):
    """The default clock stands between two looks at the machine's."""
    before = datetime.now(UTC).replace(microsecond=0)
    told = datetime.fromisoformat(by_name(clock())["current_time"]()["time"])
    assert before <= told <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("zone", "told"),
    [
        ("Berlin", "Europe/Berlin"),
        ("new york", "America/New_York"),
        ("Europe/Berlim", "Europe/Berlin"),
        ("", "such as"),
        ("../../etc/passwd", "unknown"),
        ("/etc/passwd", "unknown"),
        ("Europe", "unknown"),
        ("a" * 100_000, "unknown"),
        ("Europe/Berlin\0", "unknown"),
        ("\ud800", "unknown"),
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_an_unknown_zone_is_explained(tools, zone, told):
    """A name that is no zone, or is a path, is a ValueError that suggests real ones."""
    with pytest.raises(ValueError, match=told):
        tools["current_time"](timezone=zone)


@pytest.mark.parametrize(
    ("date", "weekday"),
    [
        ("2026-03-14", "Saturday"),
        ("2026-11-23", "Monday"),
        ("2024-02-29", "Thursday"),
        (" 2000-01-01 ", "Saturday"),
        ("0001-01-01", "Monday"),
        ("9999-12-31", "Friday"),
    ],
)
def test_weekdays(tools, date, weekday):
    """Dates have their weekday, in English."""
    assert tools["weekday"](date=date) == {"weekday": weekday}


@pytest.mark.parametrize(
    ("date", "days", "result"),
    [
        ("2026-03-14", 7, "2026-03-21"),
        ("2026-03-14", 0, "2026-03-14"),
        ("2026-03-01", -1, "2026-02-28"),
        ("2024-02-28", 1, "2024-02-29"),
        ("2026-12-31", 1, "2027-01-01"),
        ("0001-01-01", 3_652_058, "9999-12-31"),
    ],
)
def test_days_are_added(tools, date, days, result):
    """Adding goes over months, years and leap days, forwards and back."""
    assert tools["add_days"](date=date, days=days) == {"date": result}


@pytest.mark.parametrize("days", [3_652_059, -1, 10**9, -(10**30), 10**5000], ids=lambda days: str(days.bit_length()))
def test_days_outside_the_calendar_are_refused(tools, days):
    """A sum before year 1 or after 9999 is a ValueError, however large the number."""
    with pytest.raises(ValueError, match="years 1 to 9999"):
        tools["add_days"](date="0001-01-01", days=days)


@pytest.mark.parametrize(
    ("start", "end", "days"),
    [("2026-03-14", "2026-03-21", 7), ("2026-03-21", "2026-03-14", -7), ("2024-01-01", "2025-01-01", 366)],
)
def test_days_between(tools, start, end, days):
    """The days from one date to another are counted, with their sign."""
    assert tools["days_between"](start=start, end=end) == {"days": days}


@pytest.mark.parametrize(
    "date",
    [
        "",
        "tomorrow",
        "2026-02-30",
        "2026-13-01",
        "14.03.2026",
        "20260314",
        "2026-W11-6",
        "2026-03-14T12:00:00",
        "2026-3-14",
        "0000-01-01",
        "10000-01-01",
        "-2026-03-14",
        "２０２６-03-14",  # noqa: RUF001 - full-width digits
        "2026-03-14\0",
        "9" * 100_000,
    ],
    ids=lambda text: ascii(text[:20]),
)
@pytest.mark.parametrize("name", ["weekday", "add_days", "days_between"])
def test_what_is_no_date_is_refused_with_the_form(tools, name, date):
    """Text in any other form than YYYY-MM-DD is a ValueError that shows the form."""
    arguments = {"weekday": {"date": date}, "add_days": {"date": date, "days": 1}}
    with pytest.raises(ValueError, match="YYYY-MM-DD"):
        tools[name](**arguments.get(name, {"start": date, "end": date}))
