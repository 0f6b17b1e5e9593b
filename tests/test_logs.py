"""Runs in a log, and what never gets there."""

import logging

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agentflow.agent import Agent, Limits
from agentflow.backend.remote import RemoteBackend
from agentflow.backend.scripted import ScriptedBackend, call
from agentflow.errors import LimitExceededError
from agentflow.journal import Journal
from agentflow.telemetry import LogWriter, Telemetry, redact
from agentflow.tool import RunContext, tool

pytestmark = pytest.mark.anyio

SECRETS = {
    "password": "correct horse battery",
    "header": "Bearer abcdef0123456789abcdef",
    "key": "sk-proj-0123456789abcdefghij",
    "git": "ghp_0123456789abcdefghijABCDEFGHIJ012345",
    "aws": "AKIAIOSFODNN7EXAMPLE",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    "address": "postgres://ada:hunter22@db.example/main",
    "pem": "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
    "pair": "connect with password=hunter22 please",
}
BARE = ["correct horse", "abcdef0123456789", "0123456789abcdefghij", "AKIAIOSF", "eyJzdWIi", "hunter22", "MIIEow"]


@tool
async def log_in(password: str, header: str) -> dict:
    """Log in."""
    if header == "bad":
        raise ValueError("no login for sk-proj-0123456789abcdefghij")
    return {"token": "tok-12345", "name": "Ada", "seen": [header, password and "fine"]}


def _make_agent(*replies, **options):
    return Agent(ScriptedBackend(replies), tools=[log_in], name="porter", **options)


LOGIN = call("log_in", password=SECRETS["password"], header=SECRETS["header"])


async def test_course_of_a_run_is_logged(caplog):
    """Start and end at INFO, turns and calls at DEBUG; records carry whose they are."""
    caplog.set_level(logging.DEBUG, "agentflow")
    await _make_agent(LOGIN, "done").run("go", on_event=LogWriter(), run_id="0123456789")
    levels = [(r.levelname, r.event) for r in caplog.records]
    assert levels == [
        ("INFO", "RunStarted"),
        ("DEBUG", "TurnWritten"),
        ("DEBUG", "CallRunning"),
        ("DEBUG", "CallFinished"),
        ("DEBUG", "TurnWritten"),
        ("INFO", "RunFinished"),
    ]
    assert {(r.agent, r.run_id) for r in caplog.records} == {("porter", "0123456789")}
    assert "run ended: output, 2 turns, 1 calls" in caplog.text


async def test_what_goes_wrong_is_a_warning(caplog):
    """A failed call, a rejected answer, an end without output."""
    caplog.set_level(logging.WARNING, "agentflow")
    agent = _make_agent(
        call("log_in", password="", header="bad"), "no JSON", output_type=int, limits=Limits(max_turns=2)
    )
    with pytest.raises(LimitExceededError):
        await agent.run("go", on_event=LogWriter())
    assert [r.event for r in caplog.records] == ["CallFinished", "OutputRejected", "RunFinished"]


async def test_content_is_not_logged_unless_asked_for(caplog):
    """Neither task nor arguments, results nor answers."""
    caplog.set_level(logging.DEBUG, "agentflow")
    await _make_agent(LOGIN, "the answer").run("the task", on_event=LogWriter())
    for text in ("the task", "the answer", "Ada", *BARE):
        assert text not in caplog.text


async def test_secrets_are_taken_out_of_content(caplog):
    """With content on: what is called or looks like a secret is replaced; the rest stands there, on one line."""
    caplog.set_level(logging.DEBUG, "agentflow")
    agent = _make_agent(LOGIN, call("log_in", password="", header="bad"), f"Your key is {SECRETS['key']}.\nBye")
    await agent.run(f"Log in at {SECRETS['address']}", on_event=LogWriter(has_content=True))
    assert "Ada" in caplog.text
    assert "Bye" in caplog.text
    assert "[redacted]" in caplog.text
    for text in (*BARE, "tok-12345"):
        assert text not in caplog.text
    assert all("\n" not in record.getMessage() for record in caplog.records)


async def test_secrets_are_taken_out_of_spans():
    """Telemetry that records content leaves them out, too."""
    exporter = InMemorySpanExporter()
    traces = TracerProvider()
    traces.add_span_processor(SimpleSpanProcessor(exporter))
    observer = Telemetry(tracer_provider=traces, has_content=True)
    await _make_agent(LOGIN, "done").run("go", on_event=observer)
    written = " ".join(str(dict(span.attributes)) for span in exporter.get_finished_spans())
    assert "Ada" in written
    for text in (*BARE, "tok-12345"):
        assert text not in written


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_known_by_their_looks_or_name(name):
    """Alone, inside a text, inside lists and objects."""
    secret = SECRETS[name]
    if name == "password":
        assert redact({"a": [{"Password": secret}]}) == {"a": [{"Password": "[redacted]"}]}
        return
    for value in (secret, f"see {secret} there", [secret], {"x": {"y": secret}}):
        assert not any(text in str(redact(value)) for text in BARE)


@pytest.mark.parametrize("text", ["a token of love", "basic needs", "https://example.org/a:b@c", "skiing", "x" * 5_000])
def test_plain_text_stays(text):
    """What only resembles a secret is left alone."""
    assert redact(text) == text
    assert redact({"num_tokens": 3, "max_tokens": 4}) == {"num_tokens": 3, "max_tokens": 4}


async def test_dependencies_and_keys_are_told_to_nobody(caplog):
    """What the caller hands to tools, and a server's key, stand in no event, journal, log or repr."""
    caplog.set_level(logging.DEBUG)

    @tool
    async def use(context: RunContext[str]) -> str:
        return f"used {len(context.deps)}"

    events = []
    with Journal(":memory:") as journal:
        agent = Agent(ScriptedBackend([call("use"), "done"]), tools=[use])
        await agent.run("go", deps="hunter22", journal=journal, run_id="r", on_event=events.append)
        assert "hunter22" not in repr((events, journal.get("r"), journal.events("r")))
    assert "hunter22" not in repr(RemoteBackend("http://server/v1", model="m", api_key="hunter22"))
    assert "hunter22" not in caplog.text
