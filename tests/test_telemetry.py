"""Spans and metrics made from the events of runs."""

import subprocess
import sys

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from agentflow.agent import Agent, Limits
from agentflow.backend.scripted import ScriptedBackend, call
from agentflow.errors import LimitExceededError
from agentflow.planner import Planner
from agentflow.telemetry import Telemetry
from agentflow.tool import tool

pytestmark = pytest.mark.anyio


@tool
async def look(city: str) -> str:
    """Look something up."""
    if city == "Atlantis":
        raise LookupError("no such city")
    return f"secret of {city}"


class Collector:
    """Telemetry that stays here."""

    def __init__(self, **options):
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        traces = TracerProvider()
        traces.add_span_processor(SimpleSpanProcessor(self.exporter))
        meters = MeterProvider(metric_readers=[self.reader])
        self.observer = Telemetry(tracer_provider=traces, meter_provider=meters, **options)

    @property
    def spans(self):
        return {span.name: span for span in self.exporter.get_finished_spans()}

    def metrics(self):
        (resource,) = self.reader.get_metrics_data().resource_metrics
        (scope,) = resource.scope_metrics
        return {metric.name: list(metric.data.data_points) for metric in scope.metrics}


def _make_agent(*replies, **options):
    return Agent(ScriptedBackend(replies, num_draft_steps=4), tools=[look], name="guide", **options)


async def test_spans_of_a_run():
    """Turns and calls are children of the run; attributes carry the conventional names."""
    collector = Collector()
    result = await _make_agent(call("look", city="Oslo"), "done").run("go", on_event=collector.observer)
    spans = collector.spans
    assert set(spans) == {"invoke_agent guide", "chat scripted", "execute_tool look"}
    run = spans["invoke_agent guide"]
    assert run.parent is None
    assert {spans[name].parent.span_id for name in ("chat scripted", "execute_tool look")} == {run.context.span_id}
    assert run.attributes["gen_ai.agent.name"] == "guide"
    assert run.attributes["gen_ai.usage.output_tokens"] == result.usage.output_tokens
    chat = spans["chat scripted"]
    assert chat.attributes["gen_ai.operation.name"] == "chat"
    assert chat.attributes["gen_ai.request.model"] == "scripted"
    assert chat.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert chat.attributes["agentflow.denoising_steps_per_canvas"] == 4
    assert spans["execute_tool look"].attributes["gen_ai.tool.call.id"] == "call_0"


@pytest.mark.parametrize("has_content", [False, True])
async def test_content_is_recorded_only_if_asked_for(has_content):
    """Neither arguments nor results nor prompts leave otherwise."""
    collector = Collector(has_content=has_content)
    await _make_agent(call("look", city="Oslo"), "answer").run("my question", on_event=collector.observer)
    text = "".join(span.to_json() for span in collector.exporter.get_finished_spans())
    assert ("Oslo" in text) is has_content
    assert ("secret of" in text) is has_content
    assert "my question" not in text


async def test_failures_are_marked():
    """A failing call and a run that reached its limit have error status; every span ends."""
    collector = Collector()
    agent = _make_agent(call("look", city="Atlantis"), limits=Limits(max_turns=1))
    with pytest.raises(LimitExceededError):
        await agent.run("go", on_event=collector.observer)
    spans = collector.spans
    assert spans["execute_tool look"].status.status_code is StatusCode.ERROR
    assert spans["invoke_agent guide"].attributes["error.type"] == "limit"
    assert spans["chat scripted"].status.status_code is StatusCode.UNSET


async def test_turn_that_was_cut_off_ends_with_its_run():
    """No span stays open when the backend fails."""
    collector = Collector()
    with pytest.raises(RuntimeError, match="lost"):
        await _make_agent(RuntimeError("lost")).run("go", on_event=collector.observer)
    assert collector.spans["chat scripted"].attributes["error.type"] == "error"


async def test_nested_run_stands_under_the_call_that_started_it():
    """An agent as a tool: call above run."""
    collector = Collector()
    worker = Agent(ScriptedBackend(["worked"]), name="worker")
    chief = Agent(ScriptedBackend([call("worker", task="x"), "done"]), name="chief", tools=[worker.as_tool()])
    await chief.run("go", on_event=collector.observer)
    spans = collector.spans
    assert spans["invoke_agent worker"].parent.span_id == spans["execute_tool worker"].context.span_id


async def test_metrics():
    """Durations, tokens and calls, and what only a diffusion model has."""
    collector = Collector()
    await _make_agent(call("look", city="Oslo"), "done").run("go", on_event=collector.observer)
    metrics = collector.metrics()
    assert metrics["gen_ai.client.inference.duration"][0].count == 2
    assert metrics["gen_ai.invoke_agent.inference_calls"][0].sum == 2
    assert metrics["gen_ai.invoke_agent.tool_calls"][0].sum == 1
    assert metrics["gen_ai.execute_tool.duration"][0].count == 1
    assert metrics["agentflow.denoising_steps_per_canvas"][0].max == 4


async def test_no_drafts_are_made_for_telemetry():
    """It does not look at them, so backends need not make them."""
    asked = []

    class Backend(ScriptedBackend):
        async def generate(self, request, *, on_draft=None):
            asked.append(on_draft)
            return await super().generate(request)

    await Agent(Backend(["done"])).run("go", on_event=Collector().observer)
    assert asked == [None]


@pytest.mark.slow
def test_agents_do_not_import_opentelemetry():
    """Off costs nothing."""
    code = "import sys, agentflow.agent, agentflow.telemetry; print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 # ours
    assert done.stdout.strip() == "False"


async def test_spans_of_a_plan():
    """Plan, drafts of steps, answer and calls are children of the run; none is left open or marked as failed."""

    def reply(request):
        if request.tool_choice == "look":
            return call("look", city="Oslo")
        if request.output_schema is None:
            return "done"
        return {"steps": [{"goal": "g", "tool": "look", "needs": []}] * 2}

    collector = Collector()
    planner = Planner(ScriptedBackend(reply), tools=[look], name="boss")
    await planner.run("go", on_event=collector.observer)
    spans = collector.exporter.get_finished_spans()
    assert sorted(span.name for span in spans) == [
        *["chat scripted"] * 4,
        *["execute_tool look"] * 2,
        "invoke_agent boss",
    ]
    assert all(span.status.status_code is StatusCode.UNSET for span in spans)
    root = collector.spans["invoke_agent boss"]
    assert {span.parent.span_id for span in spans if span is not root} == {root.context.span_id}
