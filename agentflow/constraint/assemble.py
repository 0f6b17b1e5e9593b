"""Graph x vocabulary -> deterministic token automaton.

The subset construction of the grammar graph, in which literals move token by token (their canonical tokens)
and a slot is entered as one block of states, its fragment:

    {literal nodes} --'{"' 'city' '":"'--> [ block: fragment of the free string ] --'","'--> {literal nodes} ...

A subset holds literal nodes and at most one block with its state: slots that begin at the same place are read side by
side as one fragment. While a literal runs beside a slot (a declared key beside the additional keys), the
token of the literal is an exception to the slot's row. Most blocks have no company and are copied as arrays.

Values that come again (`agentflow.constraint.parts`) are assembled once, as a component: states and edges as arrays,
and exits where the places of the value begin to differ. Each place gets a copy of the arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple, TypeAlias, cast

import numpy as np

from agentflow.constraint.automaton import IntArray
from agentflow.constraint.fragment import Fragment, SlotSpec
from agentflow.constraint.free import Containers
from agentflow.constraint.free_fragment import Roles, roles_in_deepest
from agentflow.constraint.graph import END_NODE, START_NODE, Graph, Slot
from agentflow.constraint.index import slot_fragment
from agentflow.constraint.limits import num_states_left, restore_states, spend
from agentflow.constraint.parts import Component, Instance, Part, Scope, StateKey, find_parts
from agentflow.constraint.vocabulary import Vocabulary
from agentflow.constraint.ways import NO_NODES, Nodes, Slots, Ways
from agentflow.errors import ConfigurationError

_DEAD = -1
_NONE = np.zeros(0, np.int32)
_NO_TOKENS: frozenset[int] = frozenset()
_Edges: TypeAlias = tuple[IntArray, IntArray, IntArray]
"""Source, label and target of each edge, int32."""


class ConflictError(Exception):
    """A slot of arrays and objects without a schema stands beside another value; the graph has to be expanded."""


class Label(NamedTuple):
    """A set of tokens: one of a fragment's sets without some tokens."""

    fragment: int
    name: int
    without: frozenset[int]


class TokenAutomaton(NamedTuple):
    """A deterministic token automaton, not yet pruned.

    Attributes:
        num_states: Number of states; 0 is the start.
        final: The absorbing state.
        source: ``(E,)`` int32.
        label: ``(E,)`` int32, index into `labels`.
        target: ``(E,)`` int32.
        labels: The token sets; a number is a token.
        fragments: The fragments that labels refer to.
        copy: ``(S,)`` int32, the copy of a fragment that each state stands in, -1: none.
        origin: ``(S,)`` int32, what the state is a copy of: states of one fragment that have one number in it
            have one origin, -1: none. Values without a schema are parts of one fragment, however deep they may be;
            states that go on alike within their brackets have one origin.
        part: ``(S,)`` int32, which brackets of a value without a schema are open, 0: none; see `Containers`.
    """

    num_states: int
    final: int
    source: IntArray
    label: IntArray
    target: IntArray
    labels: list[Label | int]
    fragments: list[Fragment]
    copy: IntArray
    origin: IntArray
    part: IntArray


@dataclass
class _Block:
    """A fragment before what follows it."""

    fragment: Fragment
    exits: list[Nodes]  # for each of the fragment's sets, the nodes behind it
    behind: dict[int, Nodes] = field(default_factory=dict)  # by label, the nodes behind the sets that accept
    beyond: dict[int, dict[str, Nodes]] = field(default_factory=dict)  # and those behind what a token spells beyond
    after: dict[int, int] = field(default_factory=dict)  # by code of an exit, the state


class _Pattern(NamedTuple):
    """Edges that stand in several places, of a fragment or of a component.

    Attributes:
        num_states: Number of its states.
        source: ``(E,)`` int32.
        label: ``(E,)`` int32.
        target: ``(E,)`` int32, a state, or the number of states + i for exit i.
    """

    num_states: int
    source: IntArray
    label: IntArray
    target: IntArray


@dataclass
class _Places:
    """Where a pattern stands: for each place its first state, and the states behind the exits."""

    pattern: _Pattern
    bases: list[int] = field(default_factory=list)
    exits: list[list[int]] = field(default_factory=list)

    def edges(self) -> _Edges:
        """Write the pattern's edges in all the places."""
        pattern, num = self.pattern, len(self.bases)
        base = np.array(self.bases, np.int32)[:, None]  # (P, 1)
        own = base + np.arange(pattern.num_states, dtype=np.int32)  # (P, S)
        states = np.hstack([own, np.array(self.exits, np.int32).reshape(num, -1)])  # (P, S + exits)
        source = (base + pattern.source).ravel()  # (P * E,)
        return source, np.tile(pattern.label, num), states[:, pattern.target].ravel()  # (P * E,)


@dataclass
class _Endings:
    """What follows slots: for each token the states in which a slot may end, its block's first state, and an edge."""

    ends: list[IntArray] = field(default_factory=list)
    bases: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)

    def edges(self) -> _Edges:
        """Write the edges."""
        nums = [len(states) for states in self.ends]
        source = np.concatenate([_NONE, *self.ends]) + np.repeat(np.array(self.bases, np.int32), nums)  # (E,)
        label, target = np.array([self.labels, self.targets], np.int32)
        return source, np.repeat(label, nums), np.repeat(target, nums)


class _Exit(NamedTuple):
    """Where the instances of a part begin to differ: a state to be found in its place.

    Attributes:
        key: The state, in nodes of the part; its nodes are closed, or they are what jumps begin at.
        is_closed: Which.
    """

    key: StateKey
    is_closed: bool


def assemble(graph: Graph, vocabulary: Vocabulary) -> TokenAutomaton:
    """Build the token automaton of a grammar.

    Raises:
        UnsupportedSchemaError: It is larger than the limits in force.
        ConfigurationError: The vocabulary lacks a control token.
        ConflictError: `Grammar.expanded` must be taken instead.
    """
    common = _Common(Ways(graph, vocabulary))
    scope = find_parts(graph)
    whole = _Assembler(common, scope)
    try:
        whole.run(StateKey(frozenset({START_NODE}), None, 0))
    finally:
        scope.clear()  # parts and components refer to each other
    return TokenAutomaton(
        whole.num_states, whole.final, *whole.edges(), list(common.labels), common.fragments, *whole.copies()
    )


class _Common:
    """What all parts of a graph share: its ways, and the labels of edges."""

    def __init__(self, ways: Ways) -> None:
        self.ways = ways
        self.labels: dict[Label | int, int] = {}
        self.fragments: list[Fragment] = []
        self.wholes: dict[int, tuple[object, Roles]] = {}  # by fragment, what it is a part of, and its states there
        self._fragment_names: dict[int, int] = {}
        self._by_slots: dict[tuple[int, ...], Fragment] = {}
        self._patterns: dict[int, _Pattern] = {}
        self._beginnings: dict[Slots, tuple[Slots, int]] = {}

    def fragment_name(self, fragment: Fragment) -> int:
        name = self._fragment_names.get(id(fragment))
        if name is None:
            name = self._fragment_names[id(fragment)] = len(self.fragments)
            self.fragments.append(fragment)
        return name

    def fragment(self, numbers: tuple[int, ...]) -> Fragment:
        """Give the fragment in which slots are read side by side."""
        fragment = self._by_slots.get(numbers)
        if fragment is None:
            slots = tuple(self.ways.slots[number] for number in numbers)
            is_container = [isinstance(slot, SlotSpec) and slot.style == "value" for slot in slots]
            if any(is_container) and not all(is_container):
                raise self.conflict("a slot of any value begins beside another one")
            fragment = self._by_slots[numbers] = slot_fragment(slots, self.ways.vocabulary)
            self._note_whole(slots, fragment)
        return fragment

    def _note_whole(self, slots: tuple[Slot, ...], fragment: Fragment) -> None:
        """Say what a fragment's states are copies of: those of values without a schema, of the deepest of them."""
        if id(fragment) in self.wholes:
            return
        slot = slots[0]
        if len(slots) == 1 and isinstance(slot, SlotSpec) and isinstance(slot.dfa, Containers) and not slot.entry:
            roles = roles_in_deepest(slot.dfa, self.ways.vocabulary)
            self.wholes[id(fragment)] = (slot.dfa.comma, slot.dfa.colon), roles
        else:
            states = np.arange(fragment.num_states, dtype=np.int32)
            self.wholes[id(fragment)] = id(fragment), Roles(np.zeros_like(states), states)

    def label(self, fragment: int, cell: int, without: frozenset[int] = frozenset()) -> int:
        return self.labels.setdefault(Label(fragment, cell, without), len(self.labels))

    def token_label(self, token: int) -> int:
        return self.labels.setdefault(token, len(self.labels))

    def pattern(self, fragment: Fragment) -> _Pattern:
        """Give a fragment's edges with their labels, those of cells first."""
        pattern = self._patterns.get(id(fragment))
        if pattern is None:
            source, target = fragment.all_edges
            pattern = _Pattern(fragment.num_states, source, self._edge_labels(fragment), target)
            self._patterns[id(fragment)] = pattern
        return pattern

    def _edge_labels(self, fragment: Fragment) -> IntArray:
        name = self.fragment_name(fragment)
        used, inverse = fragment.set_edges
        labels = np.array([self.label(name, cell) for cell in used.tolist()], np.int32)[inverse]
        if fragment.without:
            states = {state for state, _ in fragment.without}
            for edge in np.flatnonzero(np.isin(fragment.source, list(states))).tolist():
                key = (int(fragment.source[edge]), int(fragment.cells[edge]))
                if key in fragment.without:
                    labels[edge] = self.label(name, key[1], fragment.without[key])
        tokens, inverse = fragment.token_edges
        known = self.labels  # for each token as `token_label`: there are thousands
        singles = np.array([known.setdefault(token, len(known)) for token in tokens.tolist()], np.int32)[inverse]
        return np.append(labels, singles).astype(np.int32)

    def begin(self, slots: Slots) -> tuple[Slots, int]:
        """Give the block and the state in which slots begin; a slot that is entered in several ways is one block.

        Values without a schema that begin together are read as the shallowest of them.
        """
        found = self._beginnings.get(slots)
        if found is None:
            found = slots, 0
            members = [self.ways.slots[number] for number in dict.fromkeys(number for number, _ in slots)]
            places = [slot for slot in members if isinstance(slot, SlotSpec) and slot.entry]
            if len(places) == len(members) and len({slot.entry for slot in places}) == 1:
                shallowest = min(places, key=lambda slot: slot.dfa.num_states)  # a part of all the others
                number = self.ways.slot_number(replace(shallowest, entry=""))
                found = tuple((number, target) for _, target in slots), shallowest.start
            self._beginnings[slots] = found
        return found

    def conflict(self, reason: str) -> Exception:
        if self.ways.graph.containers:
            return ConflictError(reason)
        return ConfigurationError(reason, hint="report this schema")


class _Assembler:
    """Assembles a graph, or one component of a part of it.

    States are numbered from 0. A component's edges may lead to its exits: -2 - i is ``exits[i]``.
    """

    def __init__(self, common: _Common, scope: Scope, part: Part | None = None) -> None:
        self._common = common
        self._ways = common.ways
        self._scope = scope
        self._part = part
        self.num_states = 0
        self.final = -1
        self.exits: dict[_Exit, int] = {}
        self.states: dict[StateKey, int] = {}
        self._todo: list[tuple[StateKey, int]] = []
        self.bases: dict[Slots, int] = {}
        self._blocks: dict[Slots, _Block] = {}
        self._new_blocks: list[Slots] = []
        self.places: dict[tuple[Component, int], int] = {}
        self._new_places: list[tuple[_Assembler, int, int]] = []
        self._edges: list[int] = []  # source, label and target of each
        self._after: dict[Nodes, int] = {}  # by what tokens lead to, the state
        self._patterns: dict[int, _Places] = {}  # by the fragment or the component
        self._endings = _Endings()
        self.fragments: list[tuple[Fragment, int]] = []  # each with its base

    def run(self, start: StateKey) -> int:
        """Assemble what can be reached from a state; give its number."""
        number = self._state(start, is_closed=self._part is not None)
        if self._part is None:
            self.final = self._add_states(1)
        while self._todo or self._new_blocks or self._new_places:
            if self._todo:
                self._write_row(*self._todo.pop())
            elif self._new_blocks:
                self._write_block(self._new_blocks.pop())
            else:
                self._write_place(*self._new_places.pop())
        return number

    def edges(self) -> _Edges:
        """Give source, label and target of each edge, int32; dead ones are left out."""
        single = np.array(self._edges, np.int32).reshape(-1, 3).T
        parts = [single, *(places.edges() for places in self._patterns.values()), self._endings.edges()]
        source, label, target = (np.concatenate(some) for some in zip(*parts, strict=True))
        alive = target != _DEAD
        return (source, label, target) if alive.all() else (source[alive], label[alive], target[alive])

    @cached_property
    def pattern(self) -> _Pattern:
        """The edges of a component that is done, to be put into its places."""
        source, label, target = self.edges()
        return _Pattern(self.num_states, source, label, np.where(target >= 0, target, self.num_states - 2 - target))

    def copies(self) -> tuple[IntArray, IntArray, IntArray]:
        """Say for each state which copy of a fragment it stands in, what it is a copy of, and within which brackets."""
        copy, origin, part = np.full((3, self.num_states), [[-1], [-1], [0]], np.int32)
        sizes: dict[object, int] = {}
        for whole, roles in self._common.wholes.values():
            sizes[whole] = max(sizes.get(whole, 0), int(roles.role.max()) + 1)
        first = dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))
        for number, (fragment, base) in enumerate(self.fragments):
            here = slice(base, base + fragment.num_states)
            whole, roles = self._common.wholes[id(fragment)]
            copy[here], part[here] = number, roles.part
            origin[here] = first[whole] + roles.role
        return copy, origin, part

    # ------------------------------------------------------------ states

    def _add_states(self, num: int) -> int:
        spend(num)
        self.num_states += num
        return self.num_states - num

    def _state(self, key: StateKey, *, is_closed: bool = True) -> int:
        """Give the number of a state; entering a node's slots opens their block."""
        nodes, block, state = key
        if not is_closed:
            if self._part is not None and not all(self._part.is_safe(node, self._ways) for node in nodes):
                return self._exit(key, is_closed=False)
            nodes, slots = self._ways.close(nodes)
            if END_NODE in nodes:
                return self.final
            if slots:
                begin = self._common.begin(slots)
                if block is not None and begin != (block, state):
                    raise self._common.conflict("a slot begins while another one is read")
                block, state = begin
            key = StateKey(nodes, block, state)
        number = self.states.get(key)
        if number is None:
            number = self._find(key)
            if number >= 0:
                self.states[key] = number
        return number

    def _find(self, key: StateKey) -> int:
        """Find a new state: in a part that stands here, as an exit, in a block, or as one of its own."""
        nodes, block, state = key
        instance = self._scope.around(nodes, block, self._ways)
        if instance is not None:
            return self._place(instance, key)
        if not self._is_own(key):
            return self._exit(key, is_closed=True)
        if block is not None and not nodes:
            return self._base(block) + state
        number = self._add_states(1)
        self._todo.append((key, number))
        return number

    def _is_own(self, key: StateKey) -> bool:
        """Say whether a state stands inside the part, and in no component that was made before."""
        part = self._part
        if part is None:
            return True
        return part.holds(key.nodes, key.block, 0, self._ways) and part.find(key, self._ways) is None

    def _exit(self, key: StateKey, *, is_closed: bool) -> int:
        return -2 - self.exits.setdefault(_Exit(key, is_closed), len(self.exits))

    # ------------------------------------------------------------ parts

    def _place(self, instance: Instance, key: StateKey) -> int:
        """Give the number of a state inside an instance of a part; its component is copied when it is first met."""
        part, offset = instance
        home = key.moved(-offset, self._ways)
        component, local = self._component(part, home)
        base = self.places.get((component, offset))
        if base is None:
            base = self.places[component, offset] = self._add_states(component.num_states)
            self._new_places.append((component, offset, base))
            self.fragments += [(fragment, base + at) for fragment, at in component.fragments]
        return base + local

    def _component(self, part: Part, home: StateKey) -> tuple[_Assembler, int]:
        """Give the component of a part in which a state is, and its number there."""
        found = part.find(home, self._ways)
        if found is not None:
            return cast("_Assembler", found[0]), found[1]
        num_left = num_states_left()
        component = _Assembler(self._common, part.scope, part)
        local = component.run(home)
        restore_states(num_left)
        part.add(component)
        return component, local

    def _write_place(self, component: _Assembler, offset: int, base: int) -> None:
        """Copy a component's edges, and lead its exits to their states."""
        exits = [self._state(key.moved(offset, self._ways), is_closed=is_closed) for key, is_closed in component.exits]
        self._put(component.pattern, id(component), base, exits)

    def _put(self, pattern: _Pattern, name: int, base: int, exits: list[int]) -> None:
        places = self._patterns.get(name)
        if places is None:
            places = self._patterns[name] = _Places(pattern)
        places.bases.append(base)
        places.exits.append(exits)

    # ------------------------------------------------------------ slots

    def _block(self, key: Slots) -> _Block:
        block = self._blocks.get(key)
        if block is None:
            behind: dict[int, set[int]] = {}
            for number, target in key:
                behind.setdefault(number, set()).add(target)
            fragment = self._common.fragment(tuple(behind))
            block = self._blocks[key] = _Block(fragment, [frozenset(nodes) for nodes in behind.values()])
        return block

    def _base(self, key: Slots) -> int:
        """Give the first state of a block, which is placed when it is first entered."""
        base = self.bases.get(key)
        if base is None:
            fragment = self._block(key).fragment
            base = self.bases[key] = self._add_states(fragment.num_states)
            self.fragments.append((fragment, base))
            self._new_blocks.append(key)
        return base

    def _behind(self, block: _Block, label: int) -> Nodes:
        """Give the nodes behind the sets that accept."""
        found = block.behind.get(label)
        if found is None:
            found = NO_NODES.union(*(nodes for k, nodes in enumerate(block.exits) if label >> k & 1))
            block.behind[label] = found
        return found

    def _beyond(self, block: _Block, label: int) -> dict[str, Nodes]:
        """Give what is behind the sets that accept where a token spells more, by what it spells."""
        found = block.beyond.get(label)
        if found is None:
            found = self._ways.beyond(self._behind(block, label), block.fragment.rests[label])
            block.beyond[label] = found
        return found

    # ------------------------------------------------------------ rows

    def _behind_token(self, targets: Nodes) -> int:
        """Give the state after a token that leads to nodes, and moves no block."""
        found = self._after.get(targets)
        if found is None:
            found = self._after[targets] = self._state(StateKey(targets, None, 0), is_closed=False)
        return found

    def _write_row(self, key: StateKey, number: int) -> None:
        token_label, edges = self._common.token_label, self._edges
        if key.block is None:
            for token, targets in self._ways.row(key.nodes).items():
                edges += (number, token_label(token), self._behind_token(targets))
            return
        block = self._block(key.block)
        fragment = block.fragment
        row = fragment.row(key.state)
        behind = self._ways.close(self._behind(block, int(fragment.labels[key.state])))[0]
        literals = _join_rows(self._ways.row(key.nodes), self._ways.row(behind))
        taken: dict[int, set[int]] = {}
        for token, targets in literals.items():
            cell = fragment.cell_of(token)
            target = self._enter(key.block, block, row.step(token, cell), targets)
            if cell in row.by_cell:
                taken.setdefault(row.by_cell[cell], set()).add(token)
            edges += (number, token_label(token), target)
        name = self._common.fragment_name(fragment)
        for cells, code in row.sets.items():
            target = self._leave(key.block, block, code)
            if target != _DEAD:
                without = row.without.get(cells, _NO_TOKENS)
                if cells in taken:
                    without = without.union(taken[cells])
                edges += (number, self._common.label(name, cells, without), target)
        for token, code in row.tokens.items():
            target = self._leave(key.block, block, code) if token not in literals else _DEAD
            if target != _DEAD:
                edges += (number, token_label(token), target)

    def _leave(self, key: Slots, block: _Block, code: int) -> int:
        """Give the state after a token that moves the block by `code` and no literal; -1 is dead."""
        found = block.after.get(code)
        if found is None:
            found = block.after[code] = self._enter(key, block, code, NO_NODES)
        return found

    def _enter(self, key: Slots, block: _Block, code: int, targets: Nodes) -> int:
        """Give the state after a token that moves the block by `code` and literals to `targets`; -1 is dead."""
        if code >= 0:
            return self._state(StateKey(targets, key, code), is_closed=False)
        if code <= -2:  # noqa: PLR2004 - codes of exits
            label, rest = block.fragment.exits[-2 - code]
            targets = targets | self._beyond(block, label).get(rest.decode(), NO_NODES)
        return self._behind_token(targets) if targets else _DEAD

    def _write_block(self, key: Slots) -> None:
        """Write the rows of all states of a block that stand alone."""
        block = self._blocks[key]
        fragment, base = block.fragment, self.bases[key]
        by_code = [_DEAD] * (len(fragment.exits) + 1)
        for label, rests in fragment.rests.items():
            for rest, nodes in self._beyond(block, label).items():
                by_code[rests[rest]] = self._behind_token(nodes)
        self._put(self._common.pattern(fragment), id(fragment), base, by_code)
        for label, ends in fragment.ends.items():
            self._write_exits(block, label, ends, base)

    def _write_exits(self, block: _Block, label: int, ends: IntArray, base: int) -> None:
        """Write the literals behind a slot, from every state in which the same of its sets accept."""
        literal, slots = self._ways.close(self._behind(block, label))
        if slots:
            raise self._common.conflict("two slots with nothing between them")
        if END_NODE in literal:
            raise ConfigurationError("a slot at the end without an end token", hint="report this schema")
        row = self._ways.row(literal)
        endings = self._endings
        endings.ends += [ends] * len(row)
        endings.bases += [base] * len(row)
        endings.labels += map(self._common.token_label, row)
        endings.targets += map(self._behind_token, row.values())


def _join_rows(first: dict[int, Nodes], second: dict[int, Nodes]) -> dict[int, Nodes]:
    """Give the next nodes of two sets of nodes by token."""
    if not first or not second:
        return first or second
    joint = first.copy()
    for token, targets in second.items():
        joint[token] = joint[token] | targets if token in joint else targets
    return joint
