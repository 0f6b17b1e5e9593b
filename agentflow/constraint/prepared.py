"""What is computed once for a vocabulary, kept on disk: its trie, its merges, tokens that end slots, common lifts.

The file lies in the user's cache directory (or in ``$AGENTFLOW_CACHE_DIR``) under a name that hashes the vocabulary's
bytes, the automata that were lifted and `_FORMAT`. It holds arrays alone, no pickles; it is written to a temporary name
and moved into place; one that cannot be read is made anew.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from agentflow.constraint import numbers
from agentflow.constraint.automaton import IntArray, universal
from agentflow.constraint.fragment import Exit, Partition, SlotSpec
from agentflow.constraint.free import DEEPEST, Containers, containers
from agentflow.constraint.free_fragment import LeanLift, lean_key, lean_lift
from agentflow.constraint.lift import ExitTokens, Lifted, exit_tokens, exits_key, lift, lift_key
from agentflow.constraint.pairs import PairTable
from agentflow.constraint.surface_bytes import Style
from agentflow.constraint.vocabulary import Trie, Vocabulary

Arrays: TypeAlias = dict[str, npt.NDArray[Any]]
_FORMAT = 5
_STYLES: tuple[Style, ...] = ("json", "raw", "value")
_log = logging.getLogger(__name__)


def prepare(vocabulary: Vocabulary) -> None:
    """Compute the trie and the common lifts, or read them from the cache; small vocabularies are not cached."""
    slots = _common_slots()
    path = _path(vocabulary, slots) if vocabulary.is_large else None
    if path is not None and _read_file(path, vocabulary, slots):
        return
    trie = vocabulary.trie
    arrays: Arrays = {f"trie.{name}": part for name, part in trie._asdict().items()}
    for style in _STYLES:
        arrays |= _pack_exits(style, exit_tokens(vocabulary, style))
    for i, slot in enumerate(slots):
        arrays |= _pack(f"lift{i}", _lift_slot(slot, vocabulary))
    values = lean_lift(_free_values(), vocabulary)
    arrays |= _pack("values", values.lifted) | {"values.parts": values.parts}
    pairs = vocabulary.read_pairs() if path is not None else None
    if pairs is not None:
        vocabulary.take_pairs(pairs)
        arrays |= {f"pairs.{name}": part for name, part in pairs._asdict().items()}
    if path is not None:
        _write_file(path, arrays)


def cache_folder() -> Path:
    """Give the folder for files that can be made again at any time."""
    chosen = os.environ.get("AGENTFLOW_CACHE_DIR")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home()))) / "agentflow" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "agentflow"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agentflow"


def _common_slots() -> list[SlotSpec]:
    """Give the slots that most schemas have."""
    strings = [SlotSpec(universal(), style=style) for style in ("json", "raw")]
    texts = [numbers.all_numbers(), numbers.integers()]
    return [*strings, *(SlotSpec(dfa) for dfa in texts)]


def _free_values() -> Containers:
    """Give the arrays and objects without a schema, as JSON is written compactly."""
    return containers(DEEPEST, ",", ":")


def _labels(slot: SlotSpec) -> IntArray:
    return slot.dfa.accepting.astype(np.int32)


def _lift_slot(slot: SlotSpec, vocabulary: Vocabulary) -> Lifted:
    return lift(slot.dfa.starts, slot.dfa.table, _labels(slot), slot.style, vocabulary)


def _path(vocabulary: Vocabulary, slots: list[SlotSpec]) -> Path:
    digest = hashlib.blake2b(f"{_FORMAT} {vocabulary.fingerprint}".encode(), digest_size=16)
    for style, dfa in [*((slot.style, slot.dfa) for slot in slots), ("value", _free_values())]:
        digest.update(style.encode())
        for part in dfa.key:
            digest.update(part)
    return cache_folder() / "vocabularies" / f"{digest.hexdigest()}.npz"


def _read_file(path: Path, vocabulary: Vocabulary, slots: list[SlotSpec]) -> bool:
    """Take what a file holds into the vocabulary; say whether there was a sound one."""
    if not path.exists():
        return False
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays: Arrays = {name: file[name] for name in file.files}
        trie = Trie(*(arrays[f"trie.{name}"] for name in Trie._fields))
        parts = [arrays[f"pairs.{name}"] for name in PairTable._fields if f"pairs.{name}" in arrays]
        pairs = PairTable(*parts) if parts else None
        exits = {style: _unpack_exits(style, arrays, vocabulary) for style in _STYLES}
        lifts = [_unpack(f"lift{i}", arrays) for i in range(len(slots))]
        values = LeanLift(_unpack("values", arrays), arrays["values.parts"])
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
        _log.warning("the prepared vocabulary %s cannot be read (%s); it is made anew", path, error)
        return False
    vocabulary.take_trie(trie)
    vocabulary.take_pairs(pairs)
    for style, found in exits.items():
        vocabulary.fragments[exits_key(style)] = found
    vocabulary.fragments[lean_key(_free_values())] = values
    for slot, lifted in zip(slots, lifts, strict=True):
        vocabulary.fragments[lift_key(slot.dfa.starts, slot.dfa.table, _labels(slot), slot.style)] = lifted
    return True


def _write_file(path: Path, arrays: Arrays) -> None:
    """Write a file as a whole or not at all; a folder that cannot be written to is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        _log.warning("the prepared vocabulary cannot be kept in %s (%s)", path.parent, error)


def _pack_exits(style: Style, exits: ExitTokens) -> Arrays:
    """Write the tokens that may end a slot as ids and places to cut."""
    tokens, bodies, _ = exits
    return {
        f"exits.{style}.tokens": np.array(tokens, np.int32),
        f"exits.{style}.cuts": np.array([len(body) for body in bodies], np.int32),
    }


def _unpack_exits(style: Style, arrays: Arrays, vocabulary: Vocabulary) -> ExitTokens:
    """Read the tokens that may end a slot."""
    tokens = arrays[f"exits.{style}.tokens"].tolist()
    cuts = arrays[f"exits.{style}.cuts"].tolist()
    spelt = [vocabulary.token_bytes[token] or b"" for token in tokens]
    bodies = [data[:cut] for data, cut in zip(spelt, cuts, strict=True)]
    return tokens, bodies, [data[cut:] for data, cut in zip(spelt, cuts, strict=True)]


def _pack(prefix: str, lifted: Lifted) -> Arrays:
    """Write a lift as arrays."""
    rests = b"\0".join(kind.rest for kind in lifted.exits)
    return {
        f"{prefix}.labels": lifted.labels,
        f"{prefix}.cells": lifted.partition.cells,
        f"{prefix}.representatives": lifted.representatives,
        f"{prefix}.table": lifted.table,
        f"{prefix}.counts": lifted.counts,
        f"{prefix}.exit_labels": np.array([kind.label for kind in lifted.exits], np.int32),
        f"{prefix}.exit_rests": np.frombuffer(rests, np.uint8),
    }


def _unpack(prefix: str, arrays: Arrays) -> Lifted:
    """Read a lift from arrays."""
    labels = arrays[f"{prefix}.exit_labels"].tolist()
    rests = arrays[f"{prefix}.exit_rests"].tobytes().split(b"\0") if labels else []
    return Lifted(
        arrays[f"{prefix}.labels"],
        Partition(arrays[f"{prefix}.cells"]),
        arrays[f"{prefix}.representatives"],
        arrays[f"{prefix}.table"],
        arrays[f"{prefix}.counts"],
        tuple(Exit(label, rest) for label, rest in zip(labels, rests, strict=True)),
    )
