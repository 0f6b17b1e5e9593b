# ruff: noqa: E501, PLR2004, SIM905 - word lists stand in one string, shares where they are drawn
"""The things that conversations talk about: names, dates, amounts, paths, texts.

Pools come from Faker with a fixed seed and from syllables; each value belongs to training or is
held out by its hash (see `splits`). Values of the bench suite are always held out, and so are dates
after 2030.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from functools import cache

from agentflow.embedded.data.splits import Split, is_held_out, wants_held_out

BENCH_WORDS = frozenset(
    "ottilie bartholomew ximena thaddeus saoirse lorcan zuleika ignatius plumbing orchard ferry archive quarry lantern "
    "harbour beehives kettle ladder anvil compass hammock trowel sextant bellows sharpen skates oil gate frame map "
    "label jars wax canoe mend kite trailer".split()
)
"""Words of the bench suite's values, never in training."""

_VERBS = (
    "buy call water clean order pack book check send fix paint bring feed move print renew return sort wash read "
    "update review write finish plan prepare visit charge cancel confirm collect deliver replace install test copy "
    "repair rent sell empty lock open measure count bake cook dry fold iron polish stack store sign scan"
).split()
_ADJECTIVES = (
    "new old red blue green small large spare weekly monthly final first cheap broken fresh clean empty heavy light "
    "long short urgent quiet warm cold round flat tall wooden paper yellow"
).split()
_NOUNS = (
    "milk bread eggs plants car bike printer report invoice tickets passport keys garden kitchen window door roof shoes "
    "coat laptop phone camera book books desk chair lamp shelf letters parcel forms contract budget slides meeting dentist "
    "doctor bank landlord plumber dog cat fish tires battery filter pump boiler heater fridge oven dishes towels "
    "blankets curtains carpet floor walls fence shed tools paint brush nails screws rope tent bags boxes bottles cans "
    "coffee tea sugar rice apples pears onions soup cake candles balloons gifts cards stamps photos posters banner "
    "tables flowers seeds soil hedge lawn mower bicycle train bus boat taxi hotel flight visa insurance tax payroll "
    "minutes agenda newsletter website server backup password license manual recipe song piano guitar drums"
).split()
_TOPICS = (
    "Rent Budget Groceries Travel Ideas Meeting Plans Shopping Birthday Garden Kitchen Taxes Insurance Car Bike School "
    "Work Project Payroll Invoice Summary Results Deadline Launch Review Health Fitness Recipes Books Movies Music Gifts "
    "Holiday Wedding Party Moving Repairs Energy Water Phone Internet Savings Loan Salary Expenses Report Draft Agenda "
    "Minutes Contacts Passwords Journal Diary Goals Habits Errands Tasks Today Tomorrow Friday Weekend Summer Winter "
    "Conference Workshop Training Interview Hiring Sales Orders Stock Supplies Delivery Returns Refunds Support Feedback "
    "Survey Research Notes Lecture Exam Thesis Homework Club Team Coach League Trip Camping Hotel Flights"
).split()
_EXTENSIONS = ("txt", "md", "csv", "log", "json", "txt", "txt")
_ZONES = (
    "Europe/Berlin Europe/Paris Europe/London Europe/Madrid Europe/Rome Europe/Oslo America/New_York America/Chicago "
    "America/Denver America/Los_Angeles America/Toronto Asia/Tokyo Asia/Seoul Asia/Kolkata Asia/Dubai Asia/Singapore "
    "Australia/Sydney Australia/Perth Pacific/Auckland Africa/Cairo Africa/Lagos UTC"
).split()
_SYLLABLES = (
    "ba be bi bo bu da de di do du fa fe fi fo ga ge go gu ha he hi ho ka ke ki ko la le li lo lu ma me mi mo mu na ne ni "
    "no pa pe pi po ra re ri ro ru sa se si so ta te ti to tu va ve vi vo za ze zo bran dal fer gron hal kren lin mar "
    "nor pell quin ros stan tor vell wick"
).split()


_PURPOSES = "prod dev test demo main backup staging team app web data core".split()
_SIGNS = frozenset("*+/=()%@#&<>?!:;^~$")
_SIGN_SHARE = 0.15
"""Share of texts that are drawn to have signs, numbers or small sums."""
_SIGNED = (
    "{v} {a} * {b}", "{v} {a} + {b}", "{v} {a} / {b}", "{v} {a} - {b}", "{v} ({a} + {b}) * {c}", "{v} {a} * {b} - {c}",
    "{v} {a}*{b}", "{v} {a}+{b}-{c}", "{v} {d} * {a}", "{v} {a} % of {b}", "{v} {c}% of {d}", "What is {a} * {b}?", "What is {d} / {c}?",
    "How much is {a} + {b}?", "How many {n} are {a} / {c}?", "Solve {c}x + {a} = {b}", "solve x^2 = {a}", "{a} + {b} = {s}", "x = {a} & y = {b}",
    "{n} ({a})", "{n} (see #{a})", "{n} #{c}: {n2}", "{n} & {n2}", "{n} + {n2}", "{n}/{n2}: {a}", "{n} = {a}", "{n} @ {a}:{b}", "@{w}: {n} at {c}:30",
    "{n}: {a}%", "{n} -{a}% (only {b} left)", "{a} {n} @ {d} $", "{n}; {n2}; {w}", "{e}!", "{e}?", "{e} (at {c}:15)", "{e} & call {w}", "{e} #{w}",
    "{e}: {a} {n}", "{e} @ {w}", "URGENT! {e}", "R&D {n}", "Q{q} {n} = {d}", "{n} > {a}", "{a} <= {b}", "~{a} {n}", "{n} no. {a}/{b}", "{d} km/h + {c}",
    "Convert {a} km to miles", "Round {d} to {q} digits", "The {n} costs {d} + {c}% tax", "{a} x {n}", "{n} v{q}.{c}", "{n} [{w}]",
)  # fmt: skip
_REASONING = (
    "Work out",
    "Compute",
    "Calculate",
    "Evaluate",
    "work out",
    "compute",
    "Find",
    "Tell me",
    "Check",
    "Add up",
)


def has_sign(text: str) -> bool:
    """Say whether a text has a sign that could be taken for its end, so that it is best put in quotes."""
    return " - " in text or not _SIGNS.isdisjoint(text)


@cache
def _pool(name: str) -> tuple[str, ...]:
    """Draw a pool of distinct strings from Faker, always the same."""
    from faker import Faker

    fake = Faker("en_US")
    fake.seed_instance(20_260_301)
    makers: dict[str, tuple[Callable[[], str], int]] = {
        "first": (fake.first_name, 3000),
        "last": (fake.last_name, 3000),
        "city": (fake.city, 3000),
        "company": (fake.company, 3000),
        "country": (fake.country, 800),
        "word": (fake.word, 3000),
        "job": (fake.job, 1500),
        "street": (fake.street_name, 2000),
    }
    make, num_draws = makers[name]
    return tuple(sorted({make() for _ in range(num_draws)}))


class Values:
    """Draws values for one conversation.

    Args:
        rng: Random generator; the only source of chance.
        split: Which split the values belong to.
    """

    def __init__(self, rng: random.Random, split: Split) -> None:
        self.rng = rng
        self._is_held_out = wants_held_out("value", split)

    def draw(self, make: Callable[[], str]) -> str:
        """Draw with `make` until the value belongs to the split."""
        while True:
            value = make()
            has_bench_word = not BENCH_WORDS.isdisjoint(value.lower().replace(".", " ").split())
            if (has_bench_word or is_held_out("value", value)) == self._is_held_out:
                return value

    def choice(self, options: Sequence[str]) -> str:
        """Draw one of a closed set that is not split."""
        return self.rng.choice(options)

    def pooled(self, name: str) -> str:
        """Draw from a Faker pool: first, last, city, company, country, word, job or street."""
        return self.draw(lambda: self.rng.choice(_pool(name)))

    def invented(self, *, is_capital: bool = True) -> str:
        """Draw a word that does not exist."""
        word = self.draw(lambda: "".join(self.rng.choices(_SYLLABLES, k=self.rng.choice((2, 2, 3)))))
        return word.capitalize() if is_capital else word

    def person(self) -> str:
        """Draw a person's name, mostly first and last."""
        first = self.pooled("first")
        return first if self.rng.random() < 0.25 else f"{first} {self.pooled('last')}"

    def title(self) -> str:
        """Draw a title of one to three words."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.45:
            return self.draw(lambda: rng.choice(_TOPICS))
        if kind < 0.6:
            return self.invented()
        if kind < 0.7:
            return self.pooled("last")
        if kind < 0.8:
            return self.draw(lambda: f"{rng.choice(_TOPICS)} {rng.choice(_TOPICS).lower()}")
        if kind < 0.9:
            return self.draw(lambda: f"{rng.choice(_ADJECTIVES).capitalize()} {rng.choice(_NOUNS)}")
        return self.draw(lambda: f"{rng.choice(_TOPICS)} {rng.randint(1, 99)}")

    def errand(self) -> str:
        """Draw a thing to do, such as ``water the plants``."""
        rng = self.rng
        noun = rng.choice(_NOUNS) if rng.random() < 0.7 else self.invented(is_capital=False)
        kind = rng.random()
        if kind < 0.35:
            return self.draw(lambda: f"{rng.choice(_VERBS)} the {rng.choice(_NOUNS) if rng.random() < 0.5 else noun}")
        if kind < 0.55:
            return self.draw(lambda: f"{rng.choice(_VERBS)} {rng.choice(_NOUNS)}")
        if kind < 0.75:
            return self.draw(lambda: f"{rng.choice(_VERBS)} the {rng.choice(_ADJECTIVES)} {rng.choice(_NOUNS)}")
        if kind < 0.85:
            return f"call {self.person()}"
        return self.draw(lambda: f"{rng.choice(_VERBS)} {rng.choice(_NOUNS)} and {rng.choice(_NOUNS)}")

    def signed(self) -> str:
        """Draw a text of several words with signs, numbers or a small sum, such as ``Work out 12 * 7``."""
        rng = self.rng

        def make() -> str:
            a, b = rng.randint(2, 999), rng.randint(2, 99)
            return rng.choice(_SIGNED).format(
                v=rng.choice(_REASONING), a=a, b=b, c=rng.randint(2, 19), s=a + b, q=rng.randint(1, 4), d=round(rng.uniform(1, 500), rng.choice((1, 2))),
                n=rng.choice(_NOUNS), n2=rng.choice(_NOUNS), w=rng.choice(_TOPICS).lower(), e=f"{rng.choice(_VERBS)} the {rng.choice(_NOUNS)}",
            )  # fmt: skip

        return self.draw(make)

    def or_signed(self, text: str) -> str:
        """Give a text as it is, or now and then one with signs in its place; it must then be said in quotes."""
        return self.signed() if self.rng.random() < _SIGN_SHARE else text

    def text(self) -> str:
        """Draw a short text; it is to be said in quotes."""
        return self.signed() if self.rng.random() < _SIGN_SHARE else self._plain_text()

    def _plain_text(self) -> str:
        rng = self.rng
        kind = rng.random()
        if kind < 0.35:
            return self.errand()
        if kind < 0.5:
            return self.draw(lambda: " ".join(rng.choice(_pool("word")) for _ in range(rng.randint(2, 6))))
        if kind < 0.65:
            return self.draw(lambda: f"{rng.choice(_NOUNS)} {rng.choice(_NOUNS)} {rng.choice(_NOUNS)}")
        if kind < 0.8:
            return self.draw(lambda: f"the {rng.choice(_NOUNS)} is {rng.choice(_ADJECTIVES)}")
        if kind < 0.9:
            return f"{self.person()} will call"
        return self.code()

    def code(self) -> str:
        """Draw an identifier such as ``QX-4821``."""
        rng = self.rng
        letters = "".join(rng.choices("ABCDEFGHJKLMNPQRSTUVWXYZ", k=rng.choice((1, 2, 3))))
        return self.draw(lambda: f"{letters}{rng.choice(('-', '', '_'))}{rng.randint(10, 99999)}")

    def date(self) -> str:
        """Draw a day; training ends with 2030."""
        first, days = (date(2031, 1, 1), 1460) if self._is_held_out else (date(2020, 1, 1), 4017)
        return (first + timedelta(days=self.rng.randrange(days))).isoformat()

    def time(self) -> str:
        """Draw a time of day."""
        return f"{self.rng.randint(0, 23):02d}:{self.rng.choice((0, 5, 15, 30, 45, 10, 20)):02d}"

    def amount(self) -> float:
        """Draw an amount with at most two decimals."""
        rng = self.rng
        return rng.choice(
            (rng.randint(2, 99), rng.randint(100, 9999), round(rng.uniform(1, 999), 1), round(rng.uniform(1, 999), 2))
        )

    def count(self, low: int = 2, high: int = 120) -> int:
        """Draw a small whole number."""
        return self.rng.randint(low, high)

    def stem(self) -> str:
        """Draw the stem of a file's name."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.4:
            return self.draw(lambda: rng.choice(_NOUNS))
        if kind < 0.6:
            return self.draw(lambda: rng.choice(_TOPICS).lower())
        if kind < 0.8:
            return self.invented(is_capital=False)
        separator = rng.choice("_-")
        return self.draw(lambda: f"{rng.choice(_ADJECTIVES)}{separator}{rng.choice(_NOUNS)}")

    def path(self) -> str:
        """Draw the path of a file."""
        rng = self.rng
        name = f"{self.stem()}.{rng.choice(_EXTENSIONS)}"
        return name if rng.random() < 0.8 else f"{self.folder()}/{name}"

    def folder(self) -> str:
        """Draw the name of a folder."""
        return self.draw(lambda: self.rng.choice(_NOUNS) if self.rng.random() < 0.7 else self.rng.choice(_ADJECTIVES))

    def noun(self) -> str:
        """Draw a common noun."""
        rng = self.rng
        return self.draw(lambda: rng.choice(_NOUNS)) if rng.random() < 0.7 else self.invented(is_capital=False)

    def zone(self) -> str:
        """Draw a time zone's name; the set is too small to be split."""
        return self.rng.choice(_ZONES)

    def url(self) -> str:
        """Draw a web address."""
        host = f"{self.invented(is_capital=False)}.{self.rng.choice(('com', 'org', 'net', 'io'))}"
        www = self.rng.choice(("", "", "www."))
        path = f"/{self.stem()}" if self.rng.random() < 0.6 else ""
        return f"https://{www}{host}{path}"

    def email(self) -> str:
        """Draw an e-mail address."""
        host = f"{self.invented(is_capital=False)}.{self.rng.choice(('com', 'org', 'net'))}"
        return f"{self.pooled('first').lower()}{self.rng.choice(('', '.', '_'))}{self.noun()}@{host}"

    def moment(self) -> str:
        """Draw a day and a time in one."""
        return f"{self.date()}T{self.time()}:00{self.rng.choice(('Z', 'Z', ''))}"

    def hexadecimal(self, num_digits: int = 0) -> str:
        """Draw a hexadecimal number, of 7 to 10 digits if nothing else is said."""
        num_digits = num_digits or self.rng.randint(7, 10)
        return self.draw(lambda: "".join(self.rng.choices("0123456789abcdef", k=num_digits)))

    def uuid(self) -> str:
        """Draw a unique identifier; three of four are short ones."""
        if self.rng.random() < 0.75:
            return self.hexadecimal(8)
        return "-".join(self.hexadecimal(num_digits) for num_digits in (8, 4, 4, 4, 12))

    def ip(self) -> str:
        """Draw an address of a machine."""
        return self.draw(lambda: f"10.{'.'.join(str(self.rng.randint(0, 255)) for _ in range(3))}")

    def postcode(self) -> str:
        """Draw a postal code."""
        return self.draw(lambda: f"{self.rng.randint(10000, 99999)}")

    def phone(self) -> str:
        """Draw a telephone number."""
        return self.draw(lambda: f"+{self.rng.randint(1, 99)}{self.rng.randint(100000000, 999999999)}")

    def username(self) -> str:
        """Draw the name of an account."""
        return self.draw(
            lambda: (
                f"{self.rng.choice(_pool('first')).lower()}{self.rng.choice(('', '_', '.'))}{self.rng.randint(2, 99)}"
            )
        )

    def domain(self) -> str:
        """Draw the name of a host."""
        return f"{self.invented(is_capital=False)}.{self.rng.choice(('com', 'org', 'net', 'io'))}"

    def slug(self) -> str:
        """Draw a short name as programs have it, such as ``demo-garden-7``."""
        rng = self.rng
        return self.draw(
            lambda: rng.choice(("{a}-{n}", "{n}-{d}", "{w}-{n}", "{n}-{w}")).format(
                a=rng.choice(_ADJECTIVES), n=rng.choice(_NOUNS), d=rng.randint(1, 99), w=rng.choice(_PURPOSES)
            )
        )
