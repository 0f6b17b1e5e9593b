"""Fragments without single strings: the names of declared properties, where other names may stand."""

from __future__ import annotations

import numpy as np

from agentflow.constraint.fragment import DEAD, Exit, Fragment, Row
from agentflow.constraint.lift import exit_tokens
from agentflow.constraint.limits import spend
from agentflow.constraint.surface_bytes import Style, escape
from agentflow.constraint.vocabulary import Vocabulary

_MAX_BEGINNINGS = 3


def exclude(fragment: Fragment, withouts: list[frozenset[str]], style: Style, vocabulary: Vocabulary) -> Fragment:
    """Take single strings out of a fragment's sets.

    The strings' canonical tokens become a trie of states before the fragment's own. In it, any other token that
    would spell a part of an excluded string is out, so each string is recognised in one way alone: sound,
    and only odd cuts of other strings are lost.

    Args:
        fragment: A fragment.
        withouts: For each of its sets, the strings to take out.
        style: How characters are spelt.
        vocabulary: The vocabulary.
    """
    return _Excluder(fragment, withouts, style, vocabulary).run()


class _Excluder:
    def __init__(
        self, fragment: Fragment, withouts: list[frozenset[str]], style: Style, vocabulary: Vocabulary
    ) -> None:
        self._fragment = fragment
        self._vocabulary = vocabulary
        self._masks: dict[bytes, int] = {}
        self._paths: dict[bytes, tuple[int, ...]] = {}
        for k, names in enumerate(withouts):
            for name in names:
                spelt = escape(name, style)
                self._masks[spelt.encode()] = self._masks.get(spelt.encode(), 0) | 1 << k
                self._paths[spelt.encode()] = vocabulary.encode(spelt)
        tokens, bodies, rests = exit_tokens(vocabulary, style)
        self._exits_by_body: dict[bytes, list[tuple[int, bytes]]] = {}
        for token, body, rest in zip(tokens, bodies, rests, strict=True):
            self._exits_by_body.setdefault(body, []).append((token, rest))
        self._nodes: dict[bytes, int] = {b"": 0}  # what was read -> state of the fragment
        self._children: dict[bytes, dict[int, bytes]] = {b"": {}}
        self._names: dict[bytes, list[bytes]] = {b"": list(self._masks)}  # what was read -> strings that begin with it
        self._along: dict[bytes, list[int]] = {}
        self._kinds = {kind: -2 - i for i, kind in enumerate(fragment.exits)}

    def run(self) -> Fragment:
        for path in self._paths.values():
            self._add_path(path)
        for read in list(self._nodes):
            self._add_beginnings(read)
        order = {read: i for i, read in enumerate(self._nodes)}
        num = len(order)
        spend(num)
        fragment = self._fragment
        labels = [int(fragment.labels[state]) & ~self._masks.get(read, 0) for read, state in self._nodes.items()]
        edges: list[tuple[int, int, int]] = []
        singles: list[tuple[int, int, int]] = []
        without: dict[tuple[int, int], frozenset[int]] = {}
        for read, at in order.items():
            row = fragment.row(self._nodes[read])
            taken, codes = self._taken(read, row)
            edges += [(at, name, target + num if target >= 0 else target) for name, target in row.sets.items()]
            for name, tokens in taken.items():
                without[at, name] = frozenset(tokens)
            singles += [(at, token, order[child]) for token, child in self._children[read].items()]
            singles += [(at, token, code) for token, code in codes.items() if code != DEAD]
        cells = np.array(sorted(edges), np.int32).reshape(-1, 3)
        extra = np.array(sorted(singles), np.int32).reshape(-1, 3)
        target = np.where(fragment.target >= 0, fragment.target + num, fragment.target)
        return Fragment(
            np.append(np.array(labels, np.int32), fragment.labels), fragment.partition, fragment.sets,
            np.append(cells[:, 0], fragment.source + num).astype(np.int32), np.append(cells[:, 1], fragment.cells),
            np.append(cells[:, 2], target).astype(np.int32), extra[:, 0].copy(), extra[:, 1].copy(), extra[:, 2].copy(),
            tuple(self._kinds), without,
        )  # fmt: skip

    def _add_path(self, path: tuple[int, ...]) -> None:
        """Walk a string's tokens, as far as the fragment allows them."""
        read = b""
        for token in path:
            longer = self._add_child(read, token)
            if longer is None:
                return
            read = longer

    def _add_child(self, read: bytes, token: int) -> bytes | None:
        row = self._fragment.row(self._nodes[read])
        target = row.step(token, self._fragment.cell_of(token))
        if target < 0:
            return None
        longer = read + (self._vocabulary.token_bytes[token] or b"")
        self._children[read][token] = longer
        if longer not in self._nodes:
            self._nodes[longer] = target
            self._children[longer] = {}
            self._names[longer] = [name for name in self._names[read] if name.startswith(longer)]
        return longer

    def _add_beginnings(self, read: bytes) -> None:
        """Let other strings begin with the longest tokens that an excluded string begins with."""
        for name in self._names[read]:
            tokens = self._tokens_along(name[len(read) :])
            for token in tokens[-_MAX_BEGINNINGS:]:
                if token not in self._children[read]:
                    self._add_child(read, token)

    def _tokens_along(self, rest: bytes) -> list[int]:
        """Give the tokens that spell the beginning of `rest`, or all of it, the longest last."""
        found = self._along.get(rest)
        if found is None:
            ids, longest = self._vocabulary.ids_by_bytes
            begun = [rest[:end] for end in range(1, min(len(rest), longest) + 1)]
            found = self._along[rest] = [ids[spelt] for spelt in begun if spelt in ids]
        return found

    def _taken(self, read: bytes, row: Row) -> tuple[dict[int, set[int]], dict[int, int]]:
        """Give the tokens to take out by set, and new codes of tokens that leave the slot."""
        taken: dict[int, set[int]] = {}
        codes: dict[int, int] = {}
        for spelt in self._names[read]:
            mask, rest = self._masks[spelt], spelt[len(read) :]
            for token in self._tokens_along(rest):
                name = row.by_cell.get(self._fragment.cell_of(token))
                if name is not None:
                    taken.setdefault(name, set()).add(token)
            for token, after in self._exits_by_body.get(rest, ()):
                name = row.by_cell.get(self._fragment.cell_of(token))
                if name is not None:
                    taken.setdefault(name, set()).add(token)
                    code = row.sets[name]
                    label = self._fragment.exits[-2 - code].label & ~mask if code <= -2 else 0  # noqa: PLR2004
                    codes[token] = self._code(label, after) if label else DEAD
        return taken, codes

    def _code(self, label: int, rest: bytes) -> int:
        return self._kinds.setdefault(Exit(label, rest), -2 - len(self._kinds))
