"""Files in one folder, and nothing outside it.

A path is walked one name at a time from an open folder (``openat`` with ``O_NOFOLLOW``), so neither ``..`` nor a
symbolic link leads out, not even one put there between a check and the use: there is no check to get between. Only
regular files are read, only text, up to a size; writing replaces a file as a whole. A hard link counts as
a file of the folder. Whoever may rename folders on the machine while a call runs is outside this confinement.

    "docs/plan.md"  ->  open(root)  ->  openat(root, "docs")  ->  openat(docs, "plan.md")
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from agentflow import Tool, ToolDeniedError, tool
from agentflow.errors import ConfigurationError

_MAX_PATH_LENGTH: Final = 1_000
_MAX_DEPTH: Final = 30
"""Names in a path."""
_MAX_LISTED: Final = 1_000
"""Entries of a folder that are listed."""
_MAX_SHOWN: Final = 20
"""Entries listed in a message."""
_READ: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)
_FOLDER: Final = _READ | _NO_LINK | getattr(os, "O_DIRECTORY", 0)


def files(
    root: str | os.PathLike[str], *, is_writable: bool = True, max_size_bytes: int = 1_000_000
) -> list[Tool[..., Any]]:
    """Make the tools ``list_files``, ``read_file`` and ``write_file``.

    Args:
        root: Folder that the tools are confined to; its own path may hold links.
        is_writable: Offer ``write_file``; without it nothing is ever changed.
        max_size_bytes: Largest file that is read or written.

    Raises:
        ConfigurationError: `root` is no folder, or this system cannot confine paths.
    """
    folder = _Folder(Path(root).resolve(), max_size_bytes)
    methods: list[Callable[..., Any]] = [folder.list_files, folder.read_file]
    if is_writable:
        methods.append(folder.write_file)
    return [tool(is_idempotent=True)(method) for method in methods]


class _Folder:
    """The tools over one root folder."""

    def __init__(self, root: Path, max_size_bytes: int) -> None:
        if not root.is_dir():
            raise ConfigurationError(f"root {str(root)!r} is no folder; make it first or give another one")
        if os.open not in os.supports_dir_fd or not _NO_LINK:
            raise ConfigurationError("file tools need openat and O_NOFOLLOW (Linux, macOS); this system has neither")
        self._root = root
        self._max_size_bytes = max_size_bytes

    def list_files(self, path: str = ".") -> dict[str, list[str]]:
        """List the files of a folder.

        Args:
            path: Folder; . is the top.
        """
        names = _split(path)
        with self._open_folder(names, path) as folder:
            entries = _entries(folder)
        if len(entries) > _MAX_LISTED:
            raise ValueError(f"{_shown(path)} holds more than {_MAX_LISTED} files; list a folder inside it")
        return {"files": ["/".join([*names, entry]) for entry in sorted(entries)]}

    def read_file(self, path: str) -> dict[str, str]:
        """Read a text file.

        Args:
            path: Path of the file.
        """
        *parents, name = _split_file(path)
        with self._open_folder(parents, path) as folder, _explained(path, folder, name):
            descriptor = os.open(name, _READ | _NO_LINK | os.O_NONBLOCK, dir_fd=folder)  # a pipe would wait
            content = _read_regular(path, descriptor, self._max_size_bytes + 1)
        self._require_size(path, len(content))
        return {"text": _decode(path, content)}

    def write_file(self, path: str, text: str) -> dict[str, str]:
        """Write a text file; an old one is replaced.

        Args:
            path: Path of the file.
            text: The whole new text.
        """
        *parents, name = _split_file(path)
        content = _encode(text)
        self._require_size(path, len(content))
        with self._open_folder(parents, path, is_made=True) as folder, _explained(path, folder, name):
            mode = _mode_of_old(path, folder, name)
            _replace(folder, name, content, mode)
        return {"written": "/".join([*parents, name])}

    @contextmanager
    def _open_folder(self, names: list[str], path: str, *, is_made: bool = False) -> Iterator[int]:
        """Walk from the root to a folder and lend its descriptor; missing folders are made if asked."""
        folder = os.open(self._root, _READ | getattr(os, "O_DIRECTORY", 0))
        try:
            for name in names:
                with _explained(path, folder, name):
                    if is_made:
                        _make_folder(folder, name)
                    below = os.open(name, _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = below
            yield folder
        finally:
            os.close(folder)

    def _require_size(self, path: str, size_bytes: int) -> None:
        if size_bytes > self._max_size_bytes:
            raise ValueError(f"{_shown(path)} is larger than {self._max_size_bytes} bytes, which is the limit")


# ---------------------------------------------------------------- paths


def _split(path: str) -> list[str]:
    """Cut a path into the names that are walked.

    Raises:
        ToolDeniedError: The path points outside the folder.
        ValueError: It cannot be a path.
    """
    if "\0" in path or len(path) > _MAX_PATH_LENGTH:
        raise ValueError(f"{_shown(path)} is no path; write one such as docs/plan.md")
    if path.startswith("/") or os.path.isabs(path):  # noqa: PTH117 - the string, not a Path, is what is checked
        raise ToolDeniedError(f"{_shown(path)} is an absolute path; write it relative to the folder: docs/plan.md")
    names = [name for name in path.split("/") if name not in {"", "."}]
    if ".." in names:
        raise ToolDeniedError(f"{_shown(path)} leads upwards; only paths inside the folder are allowed, without '..'")
    if len(names) > _MAX_DEPTH:
        raise ValueError(f"{_shown(path)} is more than {_MAX_DEPTH} folders deep; use a shorter path")
    _encode(path)
    return names


def _split_file(path: str) -> list[str]:
    names = _split(path)
    if not names or path.endswith("/"):
        raise ValueError(f"{_shown(path)} names no file; write one such as docs/plan.md")
    return names


def _shown(path: str) -> str:
    return repr(path if len(path) <= 100 else f"{path[:100]}…")  # noqa: PLR2004 - for people


@contextmanager
def _explained(path: str, folder: int, name: str) -> Iterator[None]:
    """Turn a system's error about `name` into one that the model can act on."""
    try:
        yield
    except OSError as error:
        if _is_link(folder, name):
            raise ToolDeniedError(f"{_shown(path)} goes through a symbolic link, which is not followed") from error
        match error.errno:
            case errno.ENOENT:
                near = ", ".join(sorted(_entries(folder))[:_MAX_SHOWN]) or "nothing"
                raise ValueError(f"{_shown(path)} does not exist; the folder holds: {near}") from error
            case errno.ENOTDIR:
                raise ValueError(f"{_shown(path)}: {name!r} is a file, not a folder") from error
            case errno.EISDIR:
                raise ValueError(f"{_shown(path)} is a folder; list it with list_files") from error
            case errno.EACCES | errno.EPERM | errno.EROFS | errno.ENXIO:
                raise ToolDeniedError(f"{_shown(path)} may not be opened: {error.strerror}") from error
            case _:
                raise ValueError(f"{_shown(path)} cannot be used: {error.strerror}") from error


def _is_link(folder: int, name: str) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(name, dir_fd=folder).st_mode)
    except OSError:
        return False


def _entries(folder: int) -> list[str]:
    """Names in an open folder up to one past the limit, folders with a slash; links and special files are left out."""
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                names.append(f"{_printable(entry.name)}/")
            elif entry.is_file(follow_symlinks=False):
                names.append(_printable(entry.name))
            if len(names) > _MAX_LISTED:
                break
    return names


def _printable(name: str) -> str:
    """A name as valid Unicode; bytes that are no UTF-8 become replacement characters."""
    return os.fsencode(name).decode("utf-8", "replace")


# ---------------------------------------------------------------- contents


def _require_regular(path: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise ValueError(f"{_shown(path)} is a folder; list it with list_files")
    if not stat.S_ISREG(status.st_mode):
        raise ToolDeniedError(f"{_shown(path)} is a device, pipe or socket; only regular files are allowed")


def _read_regular(path: str, descriptor: int, max_bytes: int) -> bytes:
    """Read an open file from its start and close it, whatever it is."""
    try:
        _require_regular(path, os.fstat(descriptor))
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(max_bytes)
    finally:
        os.close(descriptor)


def _decode(path: str, content: bytes) -> str:
    if b"\0" in content:
        raise ValueError(f"{_shown(path)} is a binary file; only text can be read")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{_shown(path)} is no UTF-8 text (byte {error.start}); only text can be read") from error


def _encode(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"the text holds half of a character pair at {error.start}; write valid Unicode") from error


def _make_folder(folder: int, name: str) -> None:
    with suppress(FileExistsError):  # opening it tells whether it is a folder
        os.mkdir(name, dir_fd=folder)


def _mode_of_old(path: str, folder: int, name: str) -> int | None:
    """Permission bits of the file that is about to be replaced, or ``None`` where there is none."""
    try:
        status = os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(status.st_mode):
        raise ToolDeniedError(f"{_shown(path)} is a symbolic link, which is not followed")
    _require_regular(path, status)
    return stat.S_IMODE(status.st_mode) & 0o777


def _replace(folder: int, name: str, content: bytes, mode: int | None) -> None:
    """Put a new file in the place of `name`, all or nothing. A link that came there meanwhile is itself replaced."""
    temporary = f".{secrets.token_hex(8)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | _NO_LINK
    descriptor = os.open(temporary, flags, 0o666, dir_fd=folder)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor has no path
            file.write(content)
            file.flush()
            os.fsync(descriptor)
            if mode is not None:
                os.fchmod(descriptor, mode)
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(temporary, dir_fd=folder)
        raise
