"""A file tree: texts in folders, to read, write, copy, move and delete."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from agentflow.embedded.simulated.world import ERRANDS, NOUNS, SimulatedWorld, Wish
from agentflow.tool import tool

_FOLDERS = ("", "", "drafts/", "old/", "shared/")


@dataclass
class FileTree(SimulatedWorld):
    """Texts by path.

    Attributes:
        files: Text by path; folders are parts of paths.
    """

    files: dict[str, str] = field(default_factory=dict)

    @classmethod
    def drawn(cls, rng: random.Random) -> Self:
        """Draw six files."""
        stems = rng.sample(NOUNS, 6)
        return cls(files={f"{rng.choice(_FOLDERS)}{stem}.txt": rng.choice(ERRANDS) for stem in stems})

    @tool
    def list_folder(self, folder: str) -> dict[str, list[str]]:
        """List the files of a folder.

        Args:
            folder: Name of the folder; . is the top.
        """
        prefix = "" if folder == "." else f"{folder}/"
        return {"files": sorted(path for path in self.files if path.startswith(prefix))}

    @tool
    def read_text(self, path: str) -> dict[str, str]:
        """Read a file.

        Args:
            path: Path of the file.
        """
        return {"text": self.files[self._known(path)]}

    @tool
    def write_text(self, path: str, text: str) -> dict[str, str]:
        """Write a file; an old one is replaced.

        Args:
            path: Path of the file.
            text: The whole new text.
        """
        self.files[path] = text
        return {"written": path}

    @tool
    def copy_file(self, source: str, target: str) -> dict[str, str]:
        """Copy a file.

        Args:
            source: Path of the file.
            target: Path of the copy.
        """
        self.files[target] = self.files[self._known(source)]
        return {"copied": target}

    @tool
    def move_file(self, source: str, target: str) -> dict[str, str]:
        """Move or rename a file.

        Args:
            source: Path of the file.
            target: Its new path.
        """
        self.files[target] = self.files.pop(self._known(source))
        return {"moved": target}

    @tool
    def delete_file(self, path: str) -> dict[str, str]:
        """Delete a file.

        Args:
            path: Path of the file.
        """
        del self.files[self._known(path)]
        return {"deleted": path}

    def wishes(self) -> Sequence[Callable[[random.Random], Wish]]:
        """Give what can be wished for."""
        always = (self._wish_written, self._wish_written)
        return (*always, self._wish_read, self._wish_passed_on, self._wish_moved) if len(self.files) > 1 else always

    def _known(self, path: str) -> str:
        if path not in self.files:
            raise ValueError(f"there is no file {path!r}; there are: {', '.join(sorted(self.files))}")
        return path

    def _new_path(self, rng: random.Random) -> str:
        stem = f"{rng.choice(NOUNS)}_{rng.choice(NOUNS)}"
        path = f"{rng.choice(_FOLDERS)}{stem}.txt"
        return path if path not in self.files else f"{stem}_{len(self.files)}.txt"

    def _wish_written(self, rng: random.Random) -> Wish:
        path, text = self._new_path(rng), rng.choice(ERRANDS)
        self.call("write_text", path=path, text=text)
        return Wish(f'write "{text}" to {path}')

    def _wish_read(self, rng: random.Random) -> Wish:
        path = rng.choice(sorted(self.files))
        text = self.call("read_text", path=path)["text"]
        return Wish(f"read {path}", ("text", text))

    def _wish_passed_on(self, rng: random.Random) -> Wish:
        path, target = rng.choice(sorted(self.files)), self._new_path(rng)
        text = self.call("read_text", path=path)["text"]
        self.call("write_text", path=target, text=text)
        return Wish(f"read {path} and write what it says to {target}", ("text", text))

    def _wish_moved(self, rng: random.Random) -> Wish:
        path, target = rng.choice(sorted(self.files)), self._new_path(rng)
        kind = rng.choice(("copy", "move", "delete"))
        if kind == "delete":
            self.call("delete_file", path=path)
            return Wish(f"delete {path}")
        self.call(f"{kind}_file", source=path, target=target)
        return Wish(f"{kind} {path} to {target}")
