"""The grammar graph: what may follow what, before any vocabulary is known.

    (0) --'{"city":"'--> (1) ==[free string]==> (2) --'","days":'--> (3) ==[integer]==> (4) --'}'--> (5) --end--> (6)

Edges are literals (a `Run` of text and control tokens), slots (`SlotSpec` or grounded spans), and jumps. Between two
slots, literals are kept in one run as long as possible, so that they can be cut into the tokenizer's own tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from agentflow.constraint.grounding import SpanSpec
from agentflow.constraint.index import SlotSpec
from agentflow.constraint.limits import spend


class Control(NamedTuple):
    """One control token in a run; ``END`` stands for the vocabulary's end ids."""

    text: str


END = Control("")
Run: TypeAlias = tuple[str | Control, ...]
Slot: TypeAlias = SlotSpec | SpanSpec


def concat(*runs: Run) -> Run:
    """Join runs; neighbouring texts become one."""
    joined: list[str | Control] = []
    for run in runs:
        for piece in run:
            if isinstance(piece, str) and joined and isinstance(joined[-1], str):
                joined[-1] += piece
            elif piece != "":
                joined.append(piece)
    return tuple(joined)


@dataclass
class Graph:
    """A nondeterministic automaton over literals and slots. Node 0 is the start, node 1 the end.

    Attributes:
        runs: For each node its literal edges.
        slots: For each node its slots.
        jumps: For each node the nodes that stand for it too.
    """

    runs: list[list[tuple[Run, int]]] = field(default_factory=lambda: [[], []])
    slots: list[list[tuple[Slot, int]]] = field(default_factory=lambda: [[], []])
    jumps: list[list[int]] = field(default_factory=lambda: [[], []])

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return len(self.runs)

    def add_node(self) -> int:
        """Add a node."""
        spend()
        self.runs.append([])
        self.slots.append([])
        self.jumps.append([])
        return len(self.runs) - 1

    def add_run(self, source: int, run: Run, target: int) -> None:
        """Add a literal; an empty one is a jump."""
        if run:
            self.runs[source].append((run, target))
        else:
            self.jumps[source].append(target)

    def add_slot(self, source: int, slot: Slot, target: int) -> None:
        """Add a slot."""
        self.slots[source].append((slot, target))


START_NODE, END_NODE = 0, 1
