# ruff: noqa: E501 - a phrasing stands in one line, shares stand where they are drawn
"""Wishes about tickets."""

from __future__ import annotations

from agentflow.embedded.data.clauses import Draft
from agentflow.embedded.data.scenes.scene import Scene
from agentflow.embedded.data.scenes.words import Words
from agentflow.embedded.simulated.tickets import TicketQueue

_PRIORITIES = ("low", "medium", "high")


class TicketScene(Scene):
    """Wishes about tickets."""

    @classmethod
    def start(cls, draft: Draft) -> TicketScene:
        """Draw some tickets."""
        rng, values, words = draft.rng, draft.values, Words(draft)
        tickets = {
            values.draw(lambda: f"T-{rng.randint(100, 999)}"): {
                "subject": words.errand(),
                "priority": rng.choice(_PRIORITIES),
                "owner": "",
                "comments": [],
                "is_closed": False,
            }
            for _ in range(rng.randint(4, 9))
        }
        return cls(draft, words, TicketQueue(tickets=tickets))

    def _any(self) -> str:
        return self.pick(self.world.tickets)

    def read(self) -> str:
        """Read a ticket."""
        ticket = self._any()
        self.tell("subject|about|text", self.world.call("read_ticket", ticket=ticket)["subject"])
        return self.say(
            "@read [the |]ticket {t}",
            "@find the subject of [the |]ticket {t}",
            "@ask what ticket {t} is about",
            t=ticket,
        )

    def assigned(self) -> str:
        """Give a ticket to somebody."""
        ticket, owner = self._any(), self.words.name()
        self.world.call("assign_ticket", ticket=ticket, owner=owner)
        return self.say(
            "[assign|give|hand] [the |]ticket {t} to {o}",
            "[let|have] {o} [handle|take] [the |]ticket {t}",
            t=ticket,
            o=owner,
        )

    def prioritised(self) -> str:
        """Change a priority."""
        ticket, priority = self._any(), self.rng.choice(_PRIORITIES)
        self.world.call("set_priority", ticket=ticket, priority=priority)
        return self.say(
            "[set|change] the priority of [the |]ticket {t} to {p}",
            "[give|mark] [the |]ticket {t} [|with ]{p} priority",
            "[make|turn] [the |]ticket {t} {p} priority",
            t=ticket, p=priority,
        )  # fmt: skip

    def commented(self) -> str:
        """Comment on a ticket."""
        ticket, text = self._any(), self.words.errand()
        self.world.call("add_comment", ticket=ticket, text=text)
        return self.say(
            "[comment|write|note|remark] {q}{x}{q} on [the |]ticket {t}",
            "[add|leave|write] the comment {q}{x}{q} [to|on] [the |]ticket {t}",
            x=text, t=ticket, q=self.rng.choice(('"', '"', "'")),
        )  # fmt: skip

    def closed(self) -> str:
        """Close a ticket."""
        ticket = self._any()
        self.world.call("close_ticket", ticket=ticket)
        return self.say("[close|finish|resolve] [the |]ticket {t}", t=ticket)

    def all_assigned(self) -> str:
        """Give all tickets of a priority to somebody."""
        priority, owner = self.rng.choice(_PRIORITIES), self.words.name()
        for ticket in self.world.call("list_tickets", priority=priority)["tickets"]:
            self.world.call("assign_ticket", ticket=ticket, owner=owner)
        return self.say(
            "[assign|give|hand] all open [tickets of priority {p}|{p} priority tickets|tickets with {p} priority] to {o}",
            p=priority, o=owner,
        )  # fmt: skip

    wishes = (read, assigned, prioritised, commented, closed, all_assigned)
