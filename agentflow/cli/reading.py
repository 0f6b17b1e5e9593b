"""What commands are given: files, prompts and names of Python objects, read with clear errors."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentflow.errors import ConfigurationError

if TYPE_CHECKING:
    from agentflow.journal import Journal, RunRecord


def read_json(path: Path) -> Any:
    """Read a JSON file; ``-`` is the standard input.

    Raises:
        ConfigurationError: There is no such file, or it is not JSON.
    """
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {str(path)!r}: {error}") from error
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{str(path)!r} is not JSON: {error}") from error


def read_prompt(prompt: str) -> str:
    """Return the prompt; ``-`` reads it from the standard input.

    Raises:
        ConfigurationError: It is empty.
    """
    text = sys.stdin.read() if prompt == "-" else prompt
    if not text.strip():
        raise ConfigurationError("the prompt is empty", hint="give it as an argument, or '-' and pipe it in")
    return text.strip()


def load_object(reference: str) -> Any:
    """Import what ``MODULE:NAME`` refers to; modules of the current directory come first.

    Args:
        reference: For example ``shop.agents:clerk``; the name may be dotted.

    Raises:
        ConfigurationError: It is no such reference, the module cannot be imported, or it has no such name.
    """
    module_name, colon, name = reference.partition(":")
    if not (module_name and colon and name):
        raise ConfigurationError(
            f"{reference!r} names no agent",
            hint="write MODULE:NAME, for example my_agents:agent for `agent` in my_agents.py",
        )
    found = _import_module(module_name)
    for part in name.split("."):
        if not hasattr(found, part):
            public = sorted(key for key in vars(found) if not key.startswith("_")) if hasattr(found, "__dict__") else []
            raise ConfigurationError(
                f"module {module_name!r} has no {name!r}", hint=f"it has: {', '.join(public[:20]) or 'nothing public'}"
            )
        found = getattr(found, part)
    return found


def _import_module(name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigurationError(f"importing {name!r} failed: {error}") from error
        raise ConfigurationError(
            f"there is no module {name!r}", hint=f"modules are looked for in {here} and among what is installed"
        ) from error
    except Exception as error:
        raise ConfigurationError(
            f"importing {name!r} failed: {type(error).__name__}: {error}", hint="add --debug to see where"
        ) from error


def open_journal(path: Path, *, is_new: bool) -> Journal:
    """Open the journal of runs.

    Args:
        path: The file.
        is_new: Whether it may be made.

    Raises:
        ConfigurationError: It is not there and may not be made, or is no journal.
    """
    from agentflow.errors import JournalError
    from agentflow.journal import Journal

    if not is_new and not path.is_file():
        raise ConfigurationError(f"there is no journal {str(path)!r}", hint="check the path after --journal")
    try:
        return Journal(path)
    except JournalError as error:
        raise ConfigurationError(error.message, hint=error.hint) from error


def find_run(journal: Journal, start: str) -> RunRecord:
    """Find a run by its id or the start of it.

    Raises:
        ConfigurationError: There is no such run, or more than one.
    """
    record = journal.find(start)
    if record is not None:
        return record
    found = [record for record in journal.runs() if start and record.run_id.startswith(start)]
    roots = [record for record in found if record.parent_id is None] or found
    if len(roots) == 1:
        return roots[0]
    hint = f"runs are: {', '.join(record.run_id for record in (roots or journal.runs())[:10]) or 'none'}"
    problem = f"{len(roots)} runs begin" if roots else "no run begins"
    raise ConfigurationError(f"{problem} with {start!r} in {journal.path}", hint=hint)
