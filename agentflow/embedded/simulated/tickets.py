"""A queue of tickets: to read, assign, comment and close, one by one or all that have something in common."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from agentflow.embedded.simulated.world import ERRANDS, NAMES, SimulatedWorld, Wish
from agentflow.tool import tool

Priority = Literal["low", "medium", "high"]
_PRIORITIES: tuple[Priority, ...] = ("low", "medium", "high")


@dataclass
class TicketQueue(SimulatedWorld):
    """Tickets.

    Attributes:
        tickets: By number: subject, priority, owner, comments, and whether it is closed.
    """

    tickets: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def drawn(cls, rng: random.Random) -> Self:
        """Draw nine open tickets."""
        numbers = rng.sample(range(100, 999), 9)
        return cls(tickets={f"T-{number}": _ticket(rng) for number in numbers})

    @tool
    def list_tickets(self, priority: Priority) -> dict[str, list[str]]:
        """List the open tickets of a priority.

        Args:
            priority: The priority.
        """
        found = [key for key, one in self.tickets.items() if one["priority"] == priority and not one["is_closed"]]
        return {"tickets": found}

    @tool
    def read_ticket(self, ticket: str) -> dict[str, str]:
        """Read a ticket.

        Args:
            ticket: Number of the ticket.
        """
        one = self._known(ticket)
        return {"subject": one["subject"], "priority": one["priority"], "owner": one["owner"]}

    @tool
    def assign_ticket(self, ticket: str, owner: str) -> dict[str, str]:
        """Give a ticket to somebody.

        Args:
            ticket: Number of the ticket.
            owner: Name of the person.
        """
        self._known(ticket)["owner"] = owner
        return {"assigned": ticket}

    @tool
    def set_priority(self, ticket: str, priority: Priority) -> dict[str, str]:
        """Change the priority of a ticket.

        Args:
            ticket: Number of the ticket.
            priority: The new priority.
        """
        self._known(ticket)["priority"] = priority
        return {"changed": ticket}

    @tool
    def add_comment(self, ticket: str, text: str) -> dict[str, str]:
        """Write a comment on a ticket.

        Args:
            ticket: Number of the ticket.
            text: The comment.
        """
        self._known(ticket)["comments"].append(text)
        return {"commented": ticket}

    @tool
    def close_ticket(self, ticket: str) -> dict[str, str]:
        """Close a ticket.

        Args:
            ticket: Number of the ticket.
        """
        self._known(ticket)["is_closed"] = True
        return {"closed": ticket}

    def wishes(self) -> Sequence[Callable[[random.Random], Wish]]:
        """Give what can be wished for."""
        return (
            self._wish_read,
            self._wish_assigned,
            self._wish_prioritised,
            self._wish_commented,
            self._wish_closed,
            self._wish_all_assigned,
        )

    def _known(self, ticket: str) -> dict[str, Any]:
        if ticket not in self.tickets:
            raise ValueError(f"there is no ticket {ticket!r}; there are: {', '.join(self.tickets)}")
        return self.tickets[ticket]

    def _any(self, rng: random.Random) -> str:
        return rng.choice(list(self.tickets))

    def _wish_read(self, rng: random.Random) -> Wish:
        ticket = self._any(rng)
        subject = self.call("read_ticket", ticket=ticket)["subject"]
        return Wish(f"read the ticket {ticket}", ("subject", subject))

    def _wish_assigned(self, rng: random.Random) -> Wish:
        ticket, owner = self._any(rng), rng.choice(NAMES)
        self.call("assign_ticket", ticket=ticket, owner=owner)
        return Wish(f"assign the ticket {ticket} to {owner}")

    def _wish_prioritised(self, rng: random.Random) -> Wish:
        ticket, priority = self._any(rng), rng.choice(_PRIORITIES)
        self.call("set_priority", ticket=ticket, priority=priority)
        return Wish(f"set the priority of the ticket {ticket} to {priority}")

    def _wish_commented(self, rng: random.Random) -> Wish:
        ticket, text = self._any(rng), rng.choice(ERRANDS)
        self.call("add_comment", ticket=ticket, text=text)
        return Wish(f'comment "{text}" on the ticket {ticket}')

    def _wish_closed(self, rng: random.Random) -> Wish:
        ticket = self._any(rng)
        self.call("close_ticket", ticket=ticket)
        return Wish(f"close the ticket {ticket}")

    def _wish_all_assigned(self, rng: random.Random) -> Wish:
        priority, owner = rng.choice(_PRIORITIES), rng.choice(NAMES)
        for ticket in self.call("list_tickets", priority=priority)["tickets"]:
            self.call("assign_ticket", ticket=ticket, owner=owner)
        return Wish(f"assign all open tickets of priority {priority} to {owner}")


def _ticket(rng: random.Random) -> dict[str, Any]:
    return {
        "subject": rng.choice(ERRANDS),
        "priority": rng.choice(_PRIORITIES),
        "owner": "",
        "comments": [],
        "is_closed": False,
    }
