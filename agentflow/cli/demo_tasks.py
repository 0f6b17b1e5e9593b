"""The tasks of ``agentflow demo``: what is asked, the type of the answer, and how the tools lead to the right one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pydantic import BaseModel

from agentflow.bench.reference import solve_by_reference
from agentflow.bench.task import BenchTask, ReferenceCall, Table, WorldState
from agentflow.types import JsonValue


class RentReport(BaseModel):
    """Answer of the task ``rent``."""

    total: float
    weekday: str


class DeadlineReport(BaseModel):
    """Answer of the task ``deadline``."""

    date: str
    weekday: str


class StockReport(BaseModel):
    """Answer of the task ``stock``."""

    price: int


@dataclass(frozen=True, kw_only=True)
class DemoTask:
    """A task with a right answer that the tools know.

    Attributes:
        name: What ``--task`` calls it.
        prompt: What the user says.
        tools: Names of the tools that are offered.
        output_type: Type of the answer.
        reference: The calls that lead to the right answer.
        answer: For each field of the answer, which call gives it: index of the call, and key of its result.
        before: The world when the task begins.
    """

    name: str
    prompt: str
    tools: tuple[str, ...]
    output_type: type[BaseModel]
    reference: tuple[ReferenceCall, ...]
    answer: Mapping[str, tuple[int, str]]
    before: WorldState = field(default_factory=WorldState)

    def solved(self) -> BenchTask:
        """Work out the right answer and the world after, by running the reference calls."""
        task = BenchTask(
            name=self.name,
            kind="demo",
            prompt=self.prompt,
            tools=self.tools,
            answer={},
            before=self.before,
            reference=self.reference,
        )
        solution = solve_by_reference(task)
        answer = {name: _single(solution.results[index][key]) for name, (index, key) in self.answer.items()}
        return replace(task, answer=answer, after=solution.world)


def _single(value: Any) -> Any:
    """Take the only cell out of a table of one cell."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value


def _call(name: str, **arguments: JsonValue) -> ReferenceCall:
    return ReferenceCall(name=name, arguments=arguments)


_STOCK_QUERY: Final = "SELECT price FROM stock WHERE name = 'lamp'"

DEMO_TASKS: Final[Mapping[str, DemoTask]] = {
    task.name: task
    for task in (
        DemoTask(
            name="rent",
            prompt="Work out 12.5 * 8, save the result in a note called Rent, and tell me the weekday of 2026-03-14.",
            tools=("calculate", "add_note", "read_note", "weekday", "add_days"),
            output_type=RentReport,
            reference=(
                _call("calculate", expression="12.5 * 8"),
                _call("add_note", title="Rent", text="100"),
                _call("weekday", date="2026-03-14"),
            ),
            answer={"total": (0, "value"), "weekday": (2, "weekday")},
        ),
        DemoTask(
            name="deadline",
            prompt="Which date is 45 days after 2026-03-14, and what weekday is that?",
            tools=("add_days", "weekday", "days_between", "calculate"),
            output_type=DeadlineReport,
            reference=(_call("add_days", date="2026-03-14", days=45), _call("weekday", date="2026-04-28")),
            answer={"date": (0, "date"), "weekday": (1, "weekday")},
        ),
        DemoTask(
            name="stock",
            prompt=f"Run the query {_STOCK_QUERY} and save the price in a note called Lamp.",
            tools=("run_query", "list_tables", "add_note", "list_notes"),
            output_type=StockReport,
            reference=(_call("run_query", sql=_STOCK_QUERY), _call("add_note", title="Lamp", text="349")),
            answer={"price": (0, "rows")},
            before=WorldState(
                tables={"stock": Table(columns=("name", "price"), rows=(("desk", 812), ("lamp", 349), ("chair", 127)))}
            ),
        ),
    )
}
"""Every task of the demo by its name; the first is the default."""
