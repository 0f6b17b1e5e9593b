"""The package as a whole: what it offers, how it is found, and what a model is told."""

from __future__ import annotations

import sqlite3
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import agentflow_tools
from agentflow import Tool, Toolset

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.fixture
def tools(tmp_path):
    """Every tool."""
    connection = sqlite3.connect(tmp_path / "data.db")
    connection.execute("CREATE TABLE people (name)")
    connection.close()
    arguments = {"files": [tmp_path], "sqlite": [tmp_path / "data.db"]}
    return [
        made for name in agentflow_tools.__all__ for made in getattr(agentflow_tools, name)(*arguments.get(name, []))
    ]


def test_the_package_offers_its_factories_and_nothing_else():
    """The public names are sorted, and each is a function; the rest begins with an underscore or is a module."""
    assert agentflow_tools.__all__ == sorted(agentflow_tools.__all__)
    assert all(callable(getattr(agentflow_tools, name)) for name in agentflow_tools.__all__)


def test_every_factory_is_an_entry_point():
    """The command line and the benchmark find the tools through the group ``agentflow.tools``."""
    points = tomllib.loads(PYPROJECT.read_text())["project"]["entry-points"]["agentflow.tools"]
    assert sorted(points) == agentflow_tools.__all__
    for name, target in points.items():
        module, factory = target.split(":")
        assert getattr(import_module(module), factory) is getattr(agentflow_tools, name)


def test_all_tools_go_together(tools):
    """They are tools with different names, so that one agent can have them all."""
    assert all(isinstance(made, Tool) for made in tools)
    assert len(Toolset.of(*tools).tools) == len(tools) == 17


def test_what_a_model_is_told_is_short_and_complete(tools):
    """Every tool is described in a dozen words at most, every argument too: models read them all every time."""
    for made in tools:
        descriptions = [made.spec.description]
        descriptions += [schema.get("description", "") for schema in made.spec.parameters["properties"].values()]
        assert all(1 <= len(text.split()) <= 12 for text in descriptions), made.name
        assert all(text.endswith(".") and "\n" not in text for text in descriptions), made.name


def test_what_changes_something_says_whether_it_may_be_repeated(tools, tmp_path):
    """All calls can be made again without harm, but for statements that write."""
    assert all(made.is_idempotent for made in tools)
    writing = {made.name: made for made in agentflow_tools.sqlite(tmp_path / "data.db", is_writable=True)}
    assert not writing["run_query"].is_idempotent
