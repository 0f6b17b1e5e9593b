"""The code of the documentation works: blocks of a page are run in order, in one namespace, and then its tests."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from agentflow.testing import ScriptedBackend, call

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def run_page(name):
    """Run the blocks of a page and give what they define."""
    namespace = {"__name__": f"docs_{name}"}
    for block in BLOCK.findall((DOCS / f"{name}.md").read_text()):
        exec(compile(block, f"docs/{name}.md", "exec"), namespace)  # noqa: S102 # our own pages
    return namespace


@pytest.mark.slow
def test_the_page_on_testing_is_right(tmp_path):
    """Its blocks define tests; they pass, the one that needs a recording after it was made."""
    page = run_page("testing")
    tests = [value for name, value in page.items() if name.startswith("test_")]
    assert len(tests) == 5
    page["record"](tmp_path, ScriptedBackend([call("get_balance", name="Ann"), "Ann has 120."]))
    for test in tests:
        test(tmp_path) if inspect.signature(test).parameters else test()
