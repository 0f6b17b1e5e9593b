"""Schemas that were read, kept for the next grammar: an agent's tools stay the same from turn to turn.

A `SchemaTree` remembers what it found out about its schema and is used by one grammar at a time, so a grammar borrows
trees and gives them back when it is made.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from threading import Lock

from agentflow.constraint.schema import SchemaTree
from agentflow.types import JsonSchema

_MAX_KEPT = 128
_KEPT: OrderedDict[tuple[str, bool], SchemaTree] = OrderedDict()
_LOCK = Lock()


class Trees:
    """The trees of the schemas of one grammar."""

    def __init__(self) -> None:
        self._trees: dict[tuple[str, bool], SchemaTree] = {}
        self._are_lent = True

    def of(self, schema: JsonSchema | bool, *, unchecked: list[tuple[str, str]] | None, is_strict: bool) -> SchemaTree:
        """Give the tree of a schema: one of this grammar, a kept one, or a new one.

        Raises:
            InvalidSchemaError: It is no schema.
        """
        try:
            key = (json.dumps(schema), is_strict)
        except (TypeError, ValueError, RecursionError):  # reading it says what is wrong with it
            return SchemaTree(schema, unchecked=unchecked, is_strict=is_strict)
        if key not in self._trees:
            tree = None
            if unchecked is None:
                with _LOCK:
                    tree = _KEPT.pop(key, None)
            else:
                self._are_lent = False  # such trees note what they leave out while they are read
            self._trees[key] = tree or SchemaTree(schema, unchecked=unchecked, is_strict=is_strict)
            self._trees[key].recursive.clear()
        return self._trees[key]

    def give_back(self) -> None:
        """Keep the trees for later grammars; they are not to be used by this one any more."""
        if not self._are_lent:
            return
        with _LOCK:
            _KEPT.update(self._trees)
            while len(_KEPT) > _MAX_KEPT:
                _KEPT.popitem(last=False)[1].dissolve()
