"""What users test their agents with."""

import pytest

from agentflow.agent import Agent
from agentflow.errors import BackendError, ConfigurationError
from agentflow.testing import RecordedBackend, ScriptedBackend, assert_called, assert_calls, assert_not_called, call
from agentflow.tool import tool

pytestmark = pytest.mark.anyio


@tool
async def look(city: str, days: int = 1) -> str:
    """Look something up."""
    if city == "Atlantis":
        raise LookupError("no such city")
    return f"{city} for {days}"


async def _run(*replies):
    return await Agent(ScriptedBackend(replies), tools=[look]).run("go")


async def test_calls_that_were_made_pass():
    """By name and arguments, or by name alone; in order, or in any order."""
    result = await _run([call("look", city="Oslo"), call("look", city="Rome", days=2)], "done")
    assert_calls(result, call("look", city="Oslo"), call("look", city="Rome", days=2))
    assert_calls(result, "look", call("look", city="Rome", days=2))
    assert_calls(result, "look", call("look", city="Oslo"), is_ordered=False)
    assert assert_called(result, "look", days=2).arguments["city"] == "Rome"
    assert_not_called(result, "erase")


async def test_other_calls_fail_with_both_shown():
    """The message shows what was expected and what was made, and which calls failed."""
    result = await _run([call("look", city="Oslo"), call("look", city="Atlantis")], "done")
    with pytest.raises(AssertionError) as caught:
        assert_calls(result, call("look", city="Atlantis"), call("look", city="Oslo"))
    assert 'expected:\n  look(city="Atlantis")\n  look(city="Oslo")' in str(caught.value)
    assert 'made:\n  look(city="Oslo")\n  look(city="Atlantis")  (failed)' in str(caught.value)
    for check in (
        lambda: assert_calls(result),
        lambda: assert_calls(result, "look"),
        lambda: assert_calls(result, "look", "erase", is_ordered=False),
        lambda: assert_called(result, "look", city="Rome"),
        lambda: assert_not_called(result, "look"),
    ):
        with pytest.raises(AssertionError, match="made:"):
            check()


async def test_recorded_run_is_repeated_without_the_model(tmp_path):
    """Turns, calls and usage are those of the recording; the model is not asked."""
    path = tmp_path / "run.jsonl"
    replies = [[call("look", city="Köln"), call("look", city="\x00'\"")], "done"]
    recorded = await Agent(RecordedBackend(path, ScriptedBackend(replies)), tools=[look]).run("go")
    again = await Agent(RecordedBackend(path), tools=[look]).run("go")
    assert again.messages == recorded.messages
    assert again.usage.output_tokens == recorded.usage.output_tokens


async def test_recording_is_continued_where_it_ends(tmp_path):
    """What is recorded is said again, the rest is asked for and recorded."""
    path = tmp_path / "run.jsonl"
    await Agent(RecordedBackend(path, ScriptedBackend(["one"]))).run("first")
    asked = ScriptedBackend(["two"])
    backend = RecordedBackend(path, asked)
    assert (await Agent(backend).run("first")).output == "one"
    assert (await Agent(backend).run("second")).output == "two"
    assert len(asked.requests) == 1
    assert len(path.read_text().splitlines()) == 2


async def test_stale_recording_says_what_changed(tmp_path):
    """A changed task or tool is an error, not an old answer."""
    path = tmp_path / "run.jsonl"
    await Agent(RecordedBackend(path, ScriptedBackend(["one"]))).run("first")
    with pytest.raises(BackendError, match="its messages changed since the recording"):
        await Agent(RecordedBackend(path)).run("other")
    with pytest.raises(BackendError, match="its tools changed"):
        await Agent(RecordedBackend(path), tools=[look]).run("first")
    replayed = RecordedBackend(path)
    await Agent(replayed).run("first")
    with pytest.raises(BackendError, match="asked more often than it was recorded"):
        await Agent(replayed).run("first")


def test_bad_recordings_are_refused(tmp_path):
    """No file and nobody to ask; a file that is something else."""
    with pytest.raises(ConfigurationError, match="there is no recording"):
        RecordedBackend(tmp_path / "none.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"request": 3}\n')
    with pytest.raises(ConfigurationError, match="is no recording"):
        RecordedBackend(tmp_path / "bad.jsonl")
