"""A user who waits for inner loops to be compiled is told so."""

import logging

from numba import njit

from agentflow.constraint import first_use

SOURCE = "def add(a):\n    return a + 1\n"


def compile_in(module):
    """Compile a function that stands in a module of that name."""
    names = {"__name__": module}
    exec(compile(SOURCE, "<test>", "exec"), names)  # noqa: S102 - a constant
    njit(names["add"])(1)


def test_the_first_compilation_is_told_once(caplog, monkeypatch):
    """The first loop of this room that is compiled gives one warning; those of others, and later ones, give none."""
    first_use.announce_compiling()
    monkeypatch.setattr(first_use._ANNOUNCER, "is_told", False)
    with caplog.at_level(logging.WARNING, "agentflow.constraint"):
        compile_in("somebody.elses")
        assert not caplog.records
        compile_in("agentflow.constraint.one")
        compile_in("agentflow.constraint.two")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
