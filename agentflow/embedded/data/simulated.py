# ruff: noqa: E501, PLR2004 - a phrasing stands in one line, shares stand where they are drawn
"""Tasks in the simulated worlds as conversations: the worlds' own tools, with values and phrasings of the split.

The worlds are those of `agentflow.embedded.simulated`; a wish is played on a copy while it is drawn, as there. What
`make_simulated_task` draws (its names, things, errands and days) is held out of training.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from agentflow.embedded.data.clauses import Draft
from agentflow.embedded.data.phrasings import expand
from agentflow.embedded.data.splits import Split, is_held_out, wants_held_out
from agentflow.embedded.data.tasks import Conversation, instructions, join_request, object_schema
from agentflow.embedded.data.tools import AFFIXES, Behaviour, OfferedTool
from agentflow.embedded.simulated import SimulatedWorld
from agentflow.embedded.simulated.calendar import Calendar
from agentflow.embedded.simulated.files import FileTree
from agentflow.embedded.simulated.shop import Shop
from agentflow.embedded.simulated.tickets import TicketQueue
from agentflow.types import AssistantMessage, JsonValue, Message, SystemMessage, ToolCall, ToolMessage, UserMessage

_USUAL_SHARE = 0.85
"""Share of conversations that declare the worlds' tools under their own names."""
_NUM_CALLS = ((2, 3), (3, 5), (4, 4), (5, 4), (6, 4), (7, 3), (8, 3))
_MOST_CALLS = 9
_ORDERS = ("", "second_", "third_", "fourth_")
_TYPES = {int: "integer", str: "string"}


@dataclass
class Scene:
    """A world while a task in it is drawn; a subclass draws the world and the wishes.

    Attributes:
        draft: Draws values and phrasings.
        world: The copy that wishes are played on.
        before: The world as the task finds it.
        said: The wishes so far.
        answer: What the final answer tells.
    """

    draft: Draft
    world: Any
    before: SimulatedWorld = field(init=False)
    said: list[str] = field(default_factory=list)
    answer: dict[str, JsonValue] = field(default_factory=dict)
    _naming: int = 0

    wishes: ClassVar[tuple[Callable[[Any], str], ...]] = ()

    def __post_init__(self) -> None:
        self.before = copy.deepcopy(self.world)
        self._naming = 0 if self.rng.random() < 0.8 else self.rng.randint(1, 2)

    @property
    def rng(self) -> random.Random:
        """The draft's random generator."""
        return self.draft.rng

    def tell(self, fields: str, value: JsonValue) -> None:
        """Have the answer tell a value, under a name that says how many of its kind came before it."""
        names = fields.split("|")
        key = names[self._naming % len(names)]
        free = [name for order in _ORDERS if (name := f"{order}{key}") not in self.answer]
        if free and len(self.answer) < len(_ORDERS):
            self.answer[free[0]] = value

    def pick(self, names: Iterable[str]) -> str:
        """Choose a name."""
        return self.rng.choice(list(names))

    def wish(self) -> None:
        """Draw a wish and play it."""
        self.said.append(self.rng.choice(self.wishes)(self))


class FileScene(Scene):
    """Wishes about files."""

    @classmethod
    def start(cls, draft: Draft) -> FileScene:
        """Draw some files."""
        values, num = draft.values, draft.rng.randint(3, 7)
        return cls(draft, FileTree(files={_path(draft): values.errand() for _ in range(num)}))

    def _any(self) -> str:
        return self.pick(sorted(self.world.files))

    def _new(self) -> str:
        while (path := _path(self.draft)) in self.world.files:
            pass
        return path

    def written(self) -> str:
        """Write a text."""
        path, text = self._new(), self.draft.values.errand()
        self.world.call("write_text", path=path, text=text)
        return self.draft.say(
            "[write|put|save|store] {q}{x}{q} [to|into|in|to the file] {p}",
            "[write|make|create|save] [the file |a file |]{p} [with|that says|containing|with the text] {q}{x}{q}",
            x=text, p=path, q=self.rng.choice(('"', '"', "'")),
        )  # fmt: skip

    def read(self) -> str:
        """Read a file."""
        path = self._any()
        self.tell("text|content|says", self.world.call("read_text", path=path)["text"])
        return self.draft.say(
            "@read [|the file ]{p}",
            "@find the [text|content|contents] of {p}",
            "@ask what [{p} says|is in {p}]",
            p=path,
        )

    def passed_on(self) -> str:
        """Write what another file says."""
        path, target = self._any(), self._new()
        text = self.world.call("read_text", path=path)["text"]
        self.world.call("write_text", path=target, text=text)
        self.tell("text|content|says", text)
        return self.draft.say(
            "@read {p} and [write|save|put|store] [what it says|its text|what you find|the text] [to|into|in] {t}",
            "[write|save|put] what {p} says [to|into|in] {t}",
            p=path, t=target,
        )  # fmt: skip

    def moved(self) -> str:
        """Copy, move or delete a file."""
        kind = self.rng.choice(("copy", "move", "delete") if len(self.world.files) > 1 else ("copy", "move"))
        path = self._any()
        if kind == "delete":
            self.world.call("delete_file", path=path)
            return self.draft.say("[delete|remove|erase] [|the file ]{p}", "[throw away|get rid of] {p}", p=path)
        target = self._new()
        self.world.call(f"{kind}_file", source=path, target=target)
        verb = "copy|duplicate" if kind == "copy" else "move|rename"
        return self.draft.say(f"[{verb}] [|the file ]{{p}} to {{t}}", p=path, t=target)

    wishes = (written, written, read, passed_on, moved)


def _path(draft: Draft) -> str:
    stem = draft.values.stem()
    if draft.rng.random() < 0.5:
        stem = f"{stem}_{draft.values.noun()}"
    folder = draft.rng.choice(("", "", "", "drafts/", "old/", "shared/", f"{draft.values.folder()}/"))
    return f"{folder}{stem}.{draft.rng.choice(('txt', 'txt', 'txt', 'md', 'log'))}"


class ShopScene(Scene):
    """Wishes about products and orders."""

    @classmethod
    def start(cls, draft: Draft) -> ShopScene:
        """Draw some products."""
        rng, products = draft.rng, {draft.values.noun() for _ in range(8)}
        names = sorted(products)
        prices = {name: rng.randint(11, 499) for name in names}
        return cls(draft, Shop(prices=prices, stock={name: rng.randint(60, 90) for name in names}))

    def _any(self) -> str:
        return self.pick(self.world.prices)

    def price(self) -> str:
        """Look a price up, or what is in stock."""
        product = self._any()
        found = self.world.call("get_product", product=product)
        what = "price" if self.rng.random() < 0.8 else "stock"
        self.tell(f"{product}_{what}|{what}_of_{product}", found[what])
        return self.draft.say(
            "@find the {w} of the {x}",
            "[how much does the {x} cost|what does the {x} cost|@ask what the {x} costs]" if what == "price" else "@ask how many {x} are in stock",
            w=what, x=product,
        )  # fmt: skip

    def new_price(self) -> str:
        """Change a price."""
        product, price = self._any(), self.rng.randint(11, 499)
        self.world.call("set_price", product=product, price=price)
        return self.draft.say(
            "[set|change|lower|raise|adjust] the price of the {x} to {n}",
            "[make|let] the {x} cost {n}",
            "[the new price of the {x} is|from now on the {x} costs] {n}",
            x=product, n=price,
        )  # fmt: skip

    def restocked(self) -> str:
        """Add to the stock."""
        product, count = self._any(), self.rng.randint(2, 60)
        self.tell(
            f"{product}_stock|stock_of_{product}", self.world.call("add_stock", product=product, count=count)["stock"]
        )
        return self.draft.say(
            "add {n} pieces to the stock of the {x}",
            "[put|place] {n} [more |]pieces of the {x} [in stock|on the shelf|into the stock]",
            "[raise|increase] the stock of the {x} by {n}",
            "{n} pieces of the {x} [came in|arrived]",
            x=product, n=count,
        )  # fmt: skip

    def ordered(self) -> str:
        """Open an order with some products."""
        rng, customer = self.rng, _name(self.draft)
        number = self.world.call("open_order", customer=customer)["order"]
        able = [product for product, count in self.world.stock.items() if count > 9]
        lines = []
        notation = rng.choice(
            ("{n} of the {x}", "{n} of the {x}", "{n} x {x}", "the {x} ({n} pieces)", "{n} pieces of the {x}")
        )
        for product in rng.sample(able, min(len(able), rng.choice((0, 1, 2, 2, 3)))):
            count = rng.randint(2, 9)
            self.world.call("add_to_order", order=number, product=product, count=count)
            lines.append(notation.format(n=count, x=product))
        self.tell("order|order_number|number", number)
        said = self.draft.say(
            "[open|make|start|create|begin] an order for {c}", "[place|set up] a[ new|n] order for {c}", c=customer
        )
        return f"{said} {rng.choice(('with', 'with', 'of'))} {_listed(lines)}" if lines else said

    wishes = (price, new_price, restocked, ordered, ordered)


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _name(draft: Draft) -> str:
    return draft.values.pooled("first") if draft.rng.random() < 0.75 else draft.values.person()


class CalendarScene(Scene):
    """Wishes about events and their guests."""

    @classmethod
    def start(cls, draft: Draft) -> CalendarScene:
        """Draw contacts and events."""
        rng, values = draft.rng, draft.values
        names = {_name(draft) for _ in range(6)}
        contacts = {
            name: f"{name.lower().replace(' ', '.')}{rng.randint(2, 99)}@example.org" if rng.random() < 0.5 else values.email()
            for name in sorted(names)
        }  # fmt: skip
        world = Calendar(contacts=contacts)
        for _ in range(3):
            world.add_event(title=values.title(), date=values.date(), time=values.time())
        return cls(draft, world)

    def planned(self) -> str:
        """Put an event in the calendar, and invite to it."""
        values, rng = self.draft.values, self.rng
        title, date, time = values.title(), values.date(), values.time()
        guests = rng.sample(list(self.world.contacts), min(len(self.world.contacts), rng.choice((0, 1, 1, 2, 2, 3))))
        event = self.world.call("add_event", title=title, date=date, time=time)["event"]
        for guest in guests:
            email = self.world.call("find_contact", name=guest)["email"]
            self.world.call("invite", event=event, email=email)
        self.tell("event|event_number|number", event)
        said = self.draft.say(
            "[plan|schedule|book|add] {t} [on|for] {d} at {h}",
            "put {t} [in|into] [my|the] calendar on {d} at {h}",
            "[plan|schedule|add] an event [called|named] {t} on {d} at {h}",
            t=title, d=date, h=time,
        )  # fmt: skip
        return (
            f"{said} {self.draft.say('and invite {g}', 'with {g} as [guests|a guest]', g=_listed(guests))}"
            if guests
            else said
        )

    def moved(self) -> str:
        """Move an event."""
        event, date, time = self._any(), self.draft.values.date(), self.draft.values.time()
        self.world.call("move_event", event=event, date=date, time=time)
        return self.draft.say(
            "[move|shift|postpone|reschedule] [the event |]{e} to {d} at {h}", e=event, d=date, h=time
        )

    def cancelled(self) -> str:
        """Cancel an event."""
        event = self._any()
        self.world.call("cancel_event", event=event)
        return self.draft.say("[cancel|call off|drop] [the event |]{e}", e=event)

    def address(self) -> str:
        """Look up an address."""
        name = self.rng.choice(list(self.world.contacts))
        self.tell("email|address|mail", self.world.call("find_contact", name=name)["email"])
        return self.draft.say(
            "@find the [mail|e-mail|email] address of {x}", "@ask what the mail address of {x} is", x=name
        )

    def _any(self) -> str:
        return self.pick(self.world.events)

    wishes = (planned, planned, moved, cancelled, address)


class TicketScene(Scene):
    """Wishes about tickets."""

    @classmethod
    def start(cls, draft: Draft) -> TicketScene:
        """Draw some tickets."""
        rng, values = draft.rng, draft.values
        tickets = {
            values.draw(lambda: f"T-{rng.randint(100, 999)}"): {
                "subject": values.errand(),
                "priority": rng.choice(_PRIORITIES),
                "owner": "",
                "comments": [],
                "is_closed": False,
            }
            for _ in range(rng.randint(4, 9))
        }
        return cls(draft, TicketQueue(tickets=tickets))

    def _any(self) -> str:
        return self.pick(self.world.tickets)

    def read(self) -> str:
        """Read a ticket."""
        ticket = self._any()
        self.tell("subject|about|text", self.world.call("read_ticket", ticket=ticket)["subject"])
        return self.draft.say(
            "@read [the |]ticket {t}",
            "@find the subject of [the |]ticket {t}",
            "@ask what ticket {t} is about",
            t=ticket,
        )

    def assigned(self) -> str:
        """Give a ticket to somebody."""
        ticket, owner = self._any(), _name(self.draft)
        self.world.call("assign_ticket", ticket=ticket, owner=owner)
        return self.draft.say(
            "[assign|give|hand] [the |]ticket {t} to {o}",
            "[let|have] {o} [handle|take] [the |]ticket {t}",
            t=ticket,
            o=owner,
        )

    def prioritised(self) -> str:
        """Change a priority."""
        ticket, priority = self._any(), self.rng.choice(_PRIORITIES)
        self.world.call("set_priority", ticket=ticket, priority=priority)
        return self.draft.say(
            "[set|change] the priority of [the |]ticket {t} to {p}",
            "[give|mark] [the |]ticket {t} [|with ]{p} priority",
            "[make|turn] [the |]ticket {t} {p} priority",
            t=ticket, p=priority,
        )  # fmt: skip

    def commented(self) -> str:
        """Comment on a ticket."""
        ticket, text = self._any(), self.draft.values.errand()
        self.world.call("add_comment", ticket=ticket, text=text)
        return self.draft.say(
            "[comment|write|note|remark] {q}{x}{q} on [the |]ticket {t}",
            "[add|leave|write] the comment {q}{x}{q} [to|on] [the |]ticket {t}",
            x=text, t=ticket, q=self.rng.choice(('"', '"', "'")),
        )  # fmt: skip

    def closed(self) -> str:
        """Close a ticket."""
        ticket = self._any()
        self.world.call("close_ticket", ticket=ticket)
        return self.draft.say("[close|finish|resolve] [the |]ticket {t}", t=ticket)

    def all_assigned(self) -> str:
        """Give all tickets of a priority to somebody."""
        priority, owner = self.rng.choice(_PRIORITIES), _name(self.draft)
        for ticket in self.world.call("list_tickets", priority=priority)["tickets"]:
            self.world.call("assign_ticket", ticket=ticket, owner=owner)
        return self.draft.say(
            "[assign|give|hand] all open [tickets of priority {p}|{p} priority tickets|tickets with {p} priority] to {o}",
            p=priority, o=owner,
        )  # fmt: skip

    wishes = (read, assigned, prioritised, commented, closed, all_assigned)


_PRIORITIES = ("low", "medium", "high")
_SCENES: tuple[Callable[[Draft], Scene], ...] = (
    FileScene.start,
    ShopScene.start,
    CalendarScene.start,
    TicketScene.start,
)


def make_simulated(rng: random.Random, split: Split) -> Conversation:
    """Make a task in a simulated world."""
    num_calls = rng.choices([n for n, _ in _NUM_CALLS], [w for _, w in _NUM_CALLS])[0]
    scene = _draw_scene(rng, split, num_calls)
    while len(scene.world.made) > max(num_calls + 2, _MOST_CALLS):
        scene = _draw_scene(rng, split, num_calls)
    offered = _declare(scene.before, rng, split)
    usual = rng.random() < 0.4
    request = (
        " ".join(f"{text[0].upper()}{text[1:]}." for text in scene.said)
        if usual
        else join_request(scene.draft, scene.said)
    )
    messages: list[Message] = (
        [SystemMessage(scene.before.instructions)] if usual else instructions(scene.draft, is_parallel=False)
    )
    messages.append(UserMessage(request))
    world = copy.deepcopy(scene.before)
    for made in scene.world.made:
        tool = offered[made.name]
        call = ToolCall(made.id, tool.spec.name, made.arguments)
        result = world.run(made)
        messages += [
            AssistantMessage(tool_calls=(call,)),
            ToolMessage((type(result)(made.id, call.name, result.content),)),
        ]
    messages.append(AssistantMessage(json.dumps(scene.answer, separators=(",", ":"), ensure_ascii=False)))
    schema = object_schema(rng, {name: {"type": _TYPES[type(value)]} for name, value in scene.answer.items()})
    return Conversation(
        f"world-{len(scene.world.made)}",
        tuple(messages),
        tuple(tool.spec for tool in offered.values()),
        schema,
        {tool.spec.name: tool for tool in offered.values()},
        scene.before,
        world,
    )


def _draw_scene(rng: random.Random, split: Split, num_calls: int) -> Scene:
    scene = rng.choice(_SCENES)(Draft.start(rng, split))
    while len(scene.world.made) < num_calls or not scene.answer:
        scene.wish()
    return scene


_SPECS: dict[type[SimulatedWorld], tuple[Any, ...]] = {}


def _declare(world: SimulatedWorld, rng: random.Random, split: Split) -> Mapping[str, OfferedTool]:
    """Declare the tools of a world, under their own names or, in the split of new tools and now and then, others."""
    specs = _SPECS.setdefault(type(world), tuple(tool.spec for tool in world.tools()))
    is_new = wants_held_out("tool", split)
    is_usual = not is_new and rng.random() < _USUAL_SHARE
    offered = {}
    for spec in specs:
        name = spec.name if is_usual else _rename(spec.name, rng, is_new=is_new)
        arguments = {argument: argument for argument in spec.parameters["properties"]}
        offered[spec.name] = OfferedTool(
            Behaviour(spec.name, "", spec.description, ""),
            type(spec)(name, spec.description, spec.parameters),
            arguments,
        )
    return offered


def _rename(name: str, rng: random.Random, *, is_new: bool) -> str:
    while True:
        new = expand(rng.choice(AFFIXES), rng).format(name=name)
        if rng.random() < 0.3:
            head, *tail = new.split("_")
            new = head + "".join(part.capitalize() for part in tail)
        if is_held_out("tool", new) == is_new:
            return new
