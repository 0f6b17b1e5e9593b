# ruff: noqa: E501, PLR2004 - a phrasing stands in one line, shares stand where they are drawn
"""Wishes about events and their guests."""

from __future__ import annotations

from agentflow.embedded.data.clauses import Draft
from agentflow.embedded.data.scenes.scene import Scene, listed
from agentflow.embedded.data.scenes.words import Words
from agentflow.embedded.simulated.calendar import Calendar


class CalendarScene(Scene):
    """Wishes about events and their guests."""

    @classmethod
    def start(cls, draft: Draft) -> CalendarScene:
        """Draw contacts and events."""
        rng, values, words = draft.rng, draft.values, Words(draft)
        names = {words.name() for _ in range(rng.randint(5, 9))}
        contacts = {
            name: f"{name.lower().replace(' ', '.')}{rng.randint(2, 99)}@example.org" if rng.random() < 0.5 else values.email()
            for name in sorted(names)
        }  # fmt: skip
        world = Calendar(contacts=contacts)
        for _ in range(3):
            world.add_event(title=words.title(), date=values.date(), time=values.time())
        return cls(draft, words, world)

    def planned(self) -> str:
        """Put an event in the calendar, and invite to it."""
        values, rng = self.draft.values, self.rng
        title, date, time = self.words.title(), values.date(), values.time()
        guests = rng.sample(list(self.world.contacts), min(len(self.world.contacts), rng.choice((0, 1, 1, 2, 2, 3))))
        event = self.world.call("add_event", title=title, date=date, time=time)["event"]
        for guest in guests:
            email = self.world.call("find_contact", name=guest)["email"]
            self.world.call("invite", event=event, email=email)
        self.tell("event|event_number|number", event)
        said = self.say(
            "[plan|schedule|book|add] {t} [on|for] {d} at {h}",
            "put {t} [in|into] [my|the] calendar on {d} at {h}",
            "[plan|schedule|add] an event [called|named] {t} on {d} at {h}",
            t=title, d=date, h=time,
        )  # fmt: skip
        return (
            f"{said} {self.say('and invite {g}', 'with {g} as [guests|a guest]', g=listed(guests))}" if guests else said
        )

    def moved(self) -> str:
        """Move an event; where none is left, plan one."""
        if not self._open():
            return self.planned()
        event, date, time = self._any(), self.draft.values.date(), self.draft.values.time()
        self.world.call("move_event", event=event, date=date, time=time)
        return self.say("[move|shift|postpone|reschedule] [the event |]{e} to {d} at {h}", e=event, d=date, h=time)

    def cancelled(self) -> str:
        """Cancel an event; where none is left, plan one."""
        if not self._open():
            return self.planned()
        event = self._any()
        self.world.call("cancel_event", event=event)
        return self.say("[cancel|call off|drop] [the event |]{e}", e=event)

    def address(self) -> str:
        """Look up an address."""
        name = self.rng.choice(list(self.world.contacts))
        self.tell("email|address|mail", self.world.call("find_contact", name=name)["email"])
        return self.say("@find the [mail|e-mail|email] address of {x}", "@ask what the mail address of {x} is", x=name)

    def _open(self) -> list[str]:
        return [number for number, event in self.world.events.items() if not event["is_cancelled"]]

    def _any(self) -> str:
        return self.pick(self._open())

    wishes = (planned, planned, moved, cancelled, address)
