"""The pages for users say only what works."""

import re
from pathlib import Path

import anyio

PAGE = Path(__file__).parents[1] / "docs" / "agents.md"


def test_code_of_the_page_runs(capsys):
    """All blocks of the page about agents, one after the other, as a reader would type them."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102 # our own page
    anyio.run(names["watch"])
    shown = capsys.readouterr().out
    assert "city='Oslo' celsius=4.0" in shown
    assert "● c mean(numbers=[2.0, 8.0])" in shown
    assert "RunFinished" in shown
    assert len(blocks) >= 7
