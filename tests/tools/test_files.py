"""The file tools: what they do inside their folder, and that nothing leads out of it."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import threading
from contextlib import suppress

import pytest

from agentflow import ToolDeniedError
from agentflow.errors import ConfigurationError
from agentflow_tools import files

OUTSIDE_TEXT = "the secret outside"


@pytest.fixture
def root(tmp_path):
    """A folder with some files, beside a secret that no call may reach."""
    (tmp_path / "secret.txt").write_text(OUTSIDE_TEXT)
    (tmp_path / "workspace-twin").mkdir()
    (tmp_path / "workspace-twin" / "secret.txt").write_text(OUTSIDE_TEXT)
    root = tmp_path / "workspace"
    (root / "docs").mkdir(parents=True)
    (root / "a.txt").write_text("alpha")
    (root / "docs" / "plan.md").write_text("# Plan\nGröße")
    return root


@pytest.fixture
def tools(by_name, root):
    """The tools over the folder."""
    return by_name(files(root))


def snapshot(folder):
    """Every path below a folder with what it holds; links are told, not followed."""
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in sorted(folder.rglob("*"))
    }


def test_files_are_listed_with_paths_that_can_be_read(tools):
    """A listing names files from the top of the folder, folders with a slash."""
    assert tools["list_files"]() == {"files": ["a.txt", "docs/"]}
    assert tools["list_files"](path="docs") == {"files": ["docs/plan.md"]}
    assert tools["read_file"](path="docs/plan.md") == {"text": "# Plan\nGröße"}


@pytest.mark.parametrize("path", ["a.txt", "./a.txt", "docs/plan.md", "docs//plan.md", "./docs/./plan.md"])
def test_a_path_may_be_written_in_several_ways(tools, path):
    """Empty and ``.`` names in a path mean nothing."""
    assert tools["read_file"](path=path)["text"]


def test_a_file_is_written_and_read_back(tools, root):
    """Written text is read back as it was; missing folders are made."""
    assert tools["write_file"](path="./new/deep/b.txt", text="x\r\ny\n") == {"written": "new/deep/b.txt"}
    assert tools["read_file"](path="new/deep/b.txt") == {"text": "x\r\ny\n"}
    assert (root / "new/deep/b.txt").read_bytes() == b"x\r\ny\n"


def test_writing_replaces_a_file_and_keeps_its_mode(tools, root):
    """The new text is the whole file, its permission bits stay, and no temporary file is left."""
    (root / "a.txt").chmod(0o640)
    tools["write_file"](path="a.txt", text="b")
    assert (root / "a.txt").read_text() == "b"
    assert stat.S_IMODE((root / "a.txt").stat().st_mode) == 0o640
    assert {path.name for path in root.iterdir()} == {"a.txt", "docs"}


def test_writing_replaces_the_name_and_not_what_a_hard_link_shares(tools, root):
    """A hard link from outside keeps its content when the name inside is written."""
    os.link(root.parent / "secret.txt", root / "linked.txt")
    tools["write_file"](path="linked.txt", text="overwritten")
    assert (root.parent / "secret.txt").read_text() == OUTSIDE_TEXT


def test_without_writing_there_is_no_tool_for_it(by_name, root):
    """Read-only file tools do not offer `write_file` at all."""
    assert sorted(by_name(files(root, is_writable=False))) == ["list_files", "read_file"]


OUTSIDE = [
    "..",
    "../secret.txt",
    "../workspace-twin/secret.txt",
    "docs/../../secret.txt",
    "docs/../a.txt",
    "./../secret.txt",
    ".//..//secret.txt",
    "docs/..",
    "/etc/passwd",
    "//etc/passwd",
    "///secret.txt",
    "/",
    "a.txt/../../secret.txt",
    "missing/../../secret.txt",
    "../" * 20 + "etc/passwd",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_paths_that_lead_out_are_denied(tools, root, path):
    """Absolute paths and ``..`` are denied for reading, listing and writing, and nothing changes."""
    before = snapshot(root.parent)
    for name, more in (("read_file", {}), ("list_files", {}), ("write_file", {"text": "x"})):
        with pytest.raises(ToolDeniedError, match=r"relative|upwards"):
            tools[name](path=path, **more)
    assert snapshot(root.parent) == before


ODD = [
    "",
    ".",
    "docs/",
    "a\0.txt",
    "a.txt\0",
    "\0",
    "x" * 1_001,
    "x" * 300,
    "d/" * 31 + "f",
    "\ud800",
    "a.txt/b",
    "docs",
]


@pytest.mark.parametrize("path", ODD, ids=lambda path: ascii(path[:12]))
def test_paths_that_name_no_file_are_explained(tools, root, path):
    """Empty, broken, overlong paths and folders are a short ValueError, and nothing changes."""
    before = snapshot(root.parent)
    for name, more in (("read_file", {}), ("write_file", {"text": "x"})):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - many messages
            tools[name](path=path, **more)
        assert len(str(caught.value)) < 400
    assert snapshot(root.parent) == before


HARMLESS = [
    "~",
    "~root/.ssh",
    "..%2fsecret.txt",
    "%2e%2e/secret.txt",
    "..\\secret.txt",
    "C:\\Windows\\system.ini",
    "...",
    "..;/secret.txt",
    "．．/secret.txt",  # noqa: RUF001 - full-width dots
    "$HOME/x",
    "*.txt",
    "file:secret.txt",
    "a.txt ",
    "-rf",
    "con",
    "\x1b[2J",
    "<|tool_call>",
    "\u202etxt.a",
]


@pytest.mark.parametrize("path", HARMLESS, ids=ascii)
def test_nothing_in_a_name_is_interpreted(tools, root, path):
    """Home, URL escapes, other systems' separators and wildcards are plain names inside the folder."""
    with pytest.raises(ValueError, match="does not exist"):
        tools["read_file"](path=path)
    outside = {key: value for key, value in snapshot(root.parent).items() if key.parts[0] != "workspace"}
    tools["write_file"](path=path, text="mine")
    assert tools["read_file"](path=path) == {"text": "mine"}
    assert {key: value for key, value in snapshot(root.parent).items() if key.parts[0] != "workspace"} == outside


@pytest.fixture
def links(root):
    """Symbolic links inside the folder, to everywhere."""
    (root / "to-file").symlink_to(root.parent / "secret.txt")
    (root / "to-folder").symlink_to(root.parent)
    (root / "to-root").symlink_to("/")
    (root / "up").symlink_to("..")
    (root / "inside").symlink_to("a.txt")
    (root / "dangling").symlink_to(root.parent / "made-by-link.txt")
    (root / "loop").symlink_to("loop")
    (root / "docs" / "out").symlink_to("../..")
    return root


LINKED = ["to-file", "to-folder/secret.txt", "to-root/etc/passwd", "up/secret.txt", "docs/out/secret.txt", "inside"]


@pytest.mark.parametrize("path", [*LINKED, "dangling", "loop", "loop/x", "to-folder"])
def test_symbolic_links_are_never_followed(tools, links, path):
    """Reading, listing or writing through a link is denied, wherever it points, and nothing changes."""
    before = snapshot(links.parent)
    for name, more in (("read_file", {}), ("list_files", {}), ("write_file", {"text": "x"})):
        with pytest.raises(ToolDeniedError, match="symbolic link"):
            tools[name](path=path, **more)
    assert snapshot(links.parent) == before


@pytest.mark.usefixtures("links")
def test_links_are_not_listed(tools):
    """A listing holds what can be read."""
    assert tools["list_files"]() == {"files": ["a.txt", "docs/"]}
    assert tools["list_files"](path="docs") == {"files": ["docs/plan.md"]}


def test_the_root_itself_may_be_a_link(by_name, root):
    """The owner chooses the folder, by any path."""
    (root.parent / "way-in").symlink_to(root)
    assert by_name(files(root.parent / "way-in"))["read_file"](path="a.txt") == {"text": "alpha"}


@pytest.mark.slow
def test_a_link_swapped_in_during_calls_leads_nowhere(tools, root):
    """While a thread swaps a folder for a link and back, no read gives the secret and no write lands outside."""
    (root / "swap").mkdir()
    (root / "swap" / "secret.txt").write_text("inside")
    is_done = threading.Event()

    def swap():
        steps = (
            lambda: (root / "swap").rename(root / "aside"),
            lambda: (root / "swap").symlink_to(root.parent),
            (root / "swap").unlink,
            lambda: shutil.rmtree(root / "swap"),
            lambda: (root / "aside").rename(root / "swap"),
        )
        while not is_done.is_set():
            for step in steps:
                with suppress(OSError):  # a write may have made the missing folder again; the next round goes on
                    step()

    thread = threading.Thread(target=swap)
    thread.start()
    seen = set()
    try:
        for _ in range(1500):
            try:
                seen.add(tools["read_file"](path="swap/secret.txt")["text"])
                tools["write_file"](path="swap/secret.txt", text="inside")
            except (ValueError, ToolDeniedError):
                seen.add("refused")
    finally:
        is_done.set()
        thread.join()
    assert seen <= {"inside", "refused"}
    assert (root.parent / "secret.txt").read_text() == OUTSIDE_TEXT


def test_special_files_are_denied_without_waiting(tools, root):
    """A pipe, a socket and a device are neither read nor replaced, and a pipe does not block the call."""
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        folder = os.open(root, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{folder}/socket" if os.path.exists("/proc/self/fd") else str(root / "socket"))  # noqa: PTH110
        os.close(folder)
        for path in ("pipe", "socket"):
            with pytest.raises(ToolDeniedError):
                tools["read_file"](path=path)
            with pytest.raises(ToolDeniedError, match="device, pipe or socket"):
                tools["write_file"](path=path, text="x")
    assert tools["list_files"]() == {"files": ["a.txt", "docs/"]}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\x89PNG\0\1", "binary"),
        (b"caf\xe9", "no UTF-8 text"),
        (b"\xff\xfea\0", "binary"),
        (b"x" * 1001, "1000 bytes"),
    ],
)
def test_what_is_no_text_or_too_large_is_refused(by_name, root, content, told):
    """Binary, wrongly encoded and large files are a ValueError that says so."""
    (root / "odd").write_bytes(content)
    with pytest.raises(ValueError, match=told):
        by_name(files(root, max_size_bytes=1000))["read_file"](path="odd")


def test_a_sparse_giant_is_refused_without_reading_it(tools, root):
    """A file of a terabyte costs no memory."""
    with (root / "giant").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="limit"):
        tools["read_file"](path="giant")


@pytest.mark.parametrize(
    ("text", "told"), [("x" * 1_000_001, "limit"), ("\udc80", "valid Unicode")], ids=["big", "half"]
)
def test_what_cannot_be_written_is_refused_and_changes_nothing(tools, root, text, told):
    """Text over the limit or with half a character pair leaves the old file, and makes no folder."""
    before = snapshot(root)
    for path in ("a.txt", "new/b.txt"):
        with pytest.raises(ValueError, match=told):
            tools["write_file"](path=path, text=text)
    assert snapshot(root) == before


def test_a_write_that_fails_leaves_the_old_file(tools, root, monkeypatch):
    """A full disk in the middle of a write loses nothing and leaves no temporary file."""

    def fail(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    before = snapshot(root)
    with pytest.raises(ValueError, match="No space left"):
        tools["write_file"](path="a.txt", text="new")
    assert snapshot(root) == before


def test_a_missing_file_is_told_with_what_there_is(tools):
    """The error lists the folder, so that the model can choose again."""
    with pytest.raises(ValueError, match=r"'a\.text' does not exist; the folder holds: a\.txt, docs/"):
        tools["read_file"](path="a.text")


def test_a_folder_with_too_many_files_is_an_error(tools, root):
    """A listing is bounded."""
    for i in range(1_001):
        (root / "docs" / str(i)).touch()
    with pytest.raises(ValueError, match="more than 1000"):
        tools["list_files"](path="docs")
    with pytest.raises(ValueError, match="does not exist"):
        tools["read_file"](path="docs/missing")


def test_names_that_are_no_unicode_are_listed_as_unicode(tools, root):
    """A listing can always be sent to a model."""
    try:
        os.close(os.open(os.fsencode(root) + b"/caf\xe9.txt", os.O_CREAT))
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    assert tools["list_files"]() == {"files": ["a.txt", "caf\ufffd.txt", "docs/"]}


@pytest.mark.usefixtures("links")
def test_no_descriptor_is_left_open(tools):
    """Calls that work and calls that fail close what they opened."""
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208
    for path in ["a.txt", "missing", "docs/plan.md", "to-folder/secret.txt", "docs", "a.txt/x"]:
        for name, more in (("read_file", {}), ("list_files", {}), ("write_file", {"text": "x"})):
            with suppress(ValueError, ToolDeniedError):
                tools[name](path=path, **more)
    assert len(os.listdir("/dev/fd")) == before  # noqa: PTH208


def test_a_root_that_is_no_folder_is_an_error_at_once(root):
    """The folder is checked when the tools are made."""
    for path in (root / "a.txt", root / "missing"):
        with pytest.raises(ConfigurationError, match="no folder"):
            files(path)
