"""A calendar with contacts: events to plan, move and cancel, and people to invite by their address."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from agentflow.embedded.simulated.world import NAMES, TOPICS, SimulatedWorld, Wish, draw_date, draw_time
from agentflow.tool import tool


@dataclass
class Calendar(SimulatedWorld):
    """Events and contacts.

    Attributes:
        contacts: Mail address by name.
        events: By number: title, date, time and addresses of guests.
    """

    contacts: dict[str, str] = field(default_factory=dict)
    events: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def drawn(cls, rng: random.Random) -> Self:
        """Draw all contacts and three events."""
        contacts = {name: f"{name.lower()}{rng.randint(2, 99)}@example.org" for name in NAMES}
        world = cls(contacts=contacts)
        for title in rng.sample(TOPICS, 3):
            world.add_event(title=title, date=draw_date(rng), time=draw_time(rng))
        return world

    @tool
    def find_contact(self, name: str) -> dict[str, str]:
        """Look up the mail address of a person.

        Args:
            name: Name of the person.
        """
        if name not in self.contacts:
            raise ValueError(f"there is no contact {name!r}; there are: {', '.join(self.contacts)}")
        return {"email": self.contacts[name]}

    @tool
    def add_event(self, title: str, date: str, time: str) -> dict[str, str]:
        """Put an event in the calendar.

        Args:
            title: Title of the event.
            date: Date as YYYY-MM-DD.
            time: Time as HH:MM.
        """
        number = f"EV-{len(self.events) + 71}"
        self.events[number] = {"title": title, "date": date, "time": time, "guests": [], "is_cancelled": False}
        return {"event": number}

    @tool
    def invite(self, event: str, email: str) -> dict[str, str]:
        """Invite somebody to an event.

        Args:
            event: Number of the event.
            email: Mail address of the guest.
        """
        self._known(event)["guests"].append(email)
        return {"invited": email}

    @tool
    def move_event(self, event: str, date: str, time: str) -> dict[str, str]:
        """Move an event to another date and time.

        Args:
            event: Number of the event.
            date: New date as YYYY-MM-DD.
            time: New time as HH:MM.
        """
        self._known(event).update(date=date, time=time)
        return {"moved": event}

    @tool
    def cancel_event(self, event: str) -> dict[str, str]:
        """Cancel an event.

        Args:
            event: Number of the event.
        """
        self._known(event)["is_cancelled"] = True
        return {"cancelled": event}

    def wishes(self) -> Sequence[Callable[[random.Random], Wish]]:
        """Give what can be wished for."""
        always = (self._wish_planned, self._wish_planned, self._wish_address)
        return (*always, self._wish_moved, self._wish_cancelled) if self._open() else always

    def _known(self, event: str) -> dict[str, Any]:
        if event not in self.events:
            raise ValueError(f"there is no event {event!r}; there are: {', '.join(self.events)}")
        return self.events[event]

    def _open(self) -> list[str]:
        return [number for number, event in self.events.items() if not event["is_cancelled"]]

    def _wish_planned(self, rng: random.Random) -> Wish:
        title, date, time = rng.choice(TOPICS), draw_date(rng), draw_time(rng)
        guests = rng.sample(NAMES, rng.choice((0, 1, 1, 2)))
        event = self.call("add_event", title=title, date=date, time=time)["event"]
        for guest in guests:
            email = self.call("find_contact", name=guest)["email"]
            self.call("invite", event=event, email=email)
        invited = f" and invite {' and '.join(guests)}" if guests else ""
        return Wish(f"plan {title} on {date} at {time}{invited}", ("event", event))

    def _wish_moved(self, rng: random.Random) -> Wish:
        event, date, time = rng.choice(self._open()), draw_date(rng), draw_time(rng)
        self.call("move_event", event=event, date=date, time=time)
        return Wish(f"move the event {event} to {date} at {time}")

    def _wish_cancelled(self, rng: random.Random) -> Wish:
        event = rng.choice(self._open())
        self.call("cancel_event", event=event)
        return Wish(f"cancel the event {event}")

    def _wish_address(self, rng: random.Random) -> Wish:
        name = rng.choice(NAMES)
        email = self.call("find_contact", name=name)["email"]
        return Wish(f"find the mail address of {name}", ("email", email))
