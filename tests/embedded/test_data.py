"""The conversations: reproducible, playable, and with values, phrasings and tools that training never shows."""

from __future__ import annotations

import copy
import random
import re
from itertools import islice

import pytest

from agentflow.embedded.data.clauses import Draft, call_function, shown
from agentflow.embedded.data.clauses.arguments import KINDS, named_kinds
from agentflow.embedded.data.clauses.declared import are_apart, call_declared_alone, declared_functions, parse_function
from agentflow.embedded.data.clauses.delegating import delegate
from agentflow.embedded.data.clauses.operations import call_operation_again, call_operation_alone, operations, worded
from agentflow.embedded.data.clauses.writing import add_note
from agentflow.embedded.data.conversations import MAKERS, MIXTURE, make_conversation, mix
from agentflow.embedded.data.phrasings import Phrasings
from agentflow.embedded.data.splits import is_held_out
from agentflow.embedded.data.tasks import join_request
from agentflow.embedded.data.tools import BEHAVIOURS
from agentflow.embedded.data.values import BENCH_WORDS, Values, has_sign
from agentflow.embedded.data.worlds import WorldError, compute
from agentflow.embedded.playing import is_same_world
from agentflow.errors import ConfigurationError
from agentflow.types import AssistantMessage, ToolMessage, UserMessage

pytest.importorskip("faker", reason="the data is made with Faker")


def test_equal_seeds_give_equal_conversations():
    """Conversation `index` of `seed` is always the same one, and differs from its neighbours."""
    first = [make_conversation(1, index) for index in range(20)]
    assert [c.messages for c in first] == [make_conversation(1, index).messages for index in range(20)]
    assert first[0].messages != make_conversation(2, 0).messages


def test_every_kind_is_made():
    """The mixture reaches each maker."""
    kinds = {make_conversation(1, index).kind.split("-")[0] for index in range(300)}
    assert {"chain", "chat", "parallel", "question", "lookup", "extraction", "text", "world"} <= kinds
    assert set(MAKERS) == {
        *("task", "function", "declared", "operation", "question"),
        *("lookup", "extraction", "text", "world"),
    }
    assert sum(MIXTURE.values()) == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "values", "phrasings", "tools"])
def test_calls_give_the_results_that_the_conversation_tells(split):
    """Running the calls of a conversation from its first world gives its results and its last world."""
    for index in range(80):
        conversation = make_conversation(3, index, split=split)
        if conversation.before is None:
            continue
        world = copy.deepcopy(conversation.before)
        for place, message in enumerate(conversation.messages):
            if isinstance(message, AssistantMessage) and message.tool_calls:
                results = tuple(conversation.run(call, world) for call in message.tool_calls)
                assert results == conversation.messages[place + 1].results
        assert is_same_world(world, conversation.after)


@pytest.mark.slow
def test_held_out_tools_are_not_trained_on():
    """No tool of the held-out split is declared in training under the same name."""

    def names(split):
        conversations = [make_conversation(1, i, split=split, mixture={"task": 1}) for i in range(150)]
        return {tool.name for c in conversations for tool in c.tools}

    held_out = names("tools")
    assert all(is_held_out("tool", name) for name in held_out)
    assert not held_out & names("train")


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "values"])
def test_texts_of_calls_stand_in_the_conversation_from_word_to_word(split):
    """Whatever a call of a simulated world says can be copied: it begins and ends where a word does."""
    for index in range(60):
        conversation = make_conversation(5, index, split=split, mixture={"world": 1})
        heard = "\n".join(tool.parameters["properties"].__repr__() for tool in conversation.tools)
        for message in conversation.messages:
            for call in getattr(message, "tool_calls", ()):
                for text in filter(lambda value: isinstance(value, str), call.arguments.values()):
                    assert re.search(rf"(?<!\w){re.escape(text)}(?!\w)", heard), (text, heard)
            results = message.results if isinstance(message, ToolMessage) else ()
            heard += "\n".join([*(str(result.content) for result in results), getattr(message, "text", "")])


def test_it_is_said_only_of_the_one_thing_that_the_last_call_gave():
    """After a call that gave two things, or the last of several equal ones, nothing is meant by "it"."""
    draft = Draft.start(random.Random(0), "train")  # noqa: S311 - reproducible
    draft.call("calculate", expression="2 + 3")
    draft.put(5, "number", "total", "the total")
    assert draft._last_said() is draft.outputs[0]
    draft.put(6, "number", "price", "the price")
    assert draft._last_said() is None
    draft.call("calculate", expression="1 + 1")
    draft.put(2, "number", "total", "the total")
    draft.first_alone = len(draft.steps)
    assert draft._last_said() is None


def test_values_are_split_by_their_hash():
    """A held-out title is never drawn in training, and the other way round."""

    def draw(split):
        return {Values(random.Random(i), split).title() for i in range(300)}  # noqa: S311 - reproducible

    drawn = {split: draw(split) for split in ("train", "values")}
    assert not drawn["train"] & drawn["values"]


@pytest.mark.slow
def test_the_values_of_the_bench_suite_are_held_out():
    """Training shows neither the words of the bench suite's values nor its years."""
    for index in range(150):
        request = next(m.text for m in make_conversation(1, index).messages if isinstance(m, UserMessage))
        words = set(request.lower().replace(".", " ").replace(",", " ").split())
        values = words & BENCH_WORDS - {"check", "find", "open", "for"}
        assert not values - _words_of_phrasings()
        assert not any(f"{year}-" in request for year in range(2031, 2036))


def _words_of_phrasings():
    return {"archive", "file", "label", "note", "the"}  # "archive the part" is a wish for a made-up function


@pytest.mark.parametrize(
    ("expression", "value"), [("12.5 * 8", 100), ("(2 + 3) * 4", 20), ("1/3", 0.333333333333), ("7-9.5", -2.5)]
)
def test_expressions_are_computed_exactly(expression, value):
    """Integers stay integers and other numbers keep 12 digits, as the calculator tool gives them."""
    assert compute(expression) == value


@pytest.mark.parametrize("expression", ["", "2 +", "import os", "2 ** 9", "1 / 0"])
def test_what_is_no_expression_is_an_error_of_the_world(expression):
    """The simulated calculator refuses what it does not know."""
    with pytest.raises(WorldError):
        compute(expression)


def test_ready_made_behaviours_are_declared_as_the_ready_made_tools():
    """Names, arguments and descriptions of the usual declarations are those of the tools that ship."""
    tools = pytest.importorskip("agentflow_tools", reason="the ready-made tools are not installed")
    calculator = pytest.importorskip("agentflow_tools.calculator")
    assert tools is not None
    spec = next(iter(calculator.calculator())).spec
    behaviour = BEHAVIOURS["calculate"]
    assert spec.name == behaviour.name
    assert spec.description.startswith(behaviour.description)
    assert set(spec.parameters["properties"]) == {argument.name for argument in behaviour.arguments}


def test_the_stream_starts_anywhere(tokenizer):
    """Examples from a later place are those that the whole stream has there."""
    from agentflow.embedded.examples import Encoder, stream_examples

    encoder = Encoder(tokenizer)
    whole = list(islice(stream_examples(encoder, seed=4), 8))
    assert list(islice(stream_examples(encoder, seed=4, first=5), 3)) == whole[5:]


def test_every_argument_of_a_function_is_said_with_its_value():
    """Whatever the kind, its value stands in the request, and its description has no gap left."""
    for index in range(200):
        draft = Draft.start(random.Random(index), "train")  # noqa: S311 - reproducible
        said = call_function(draft)
        step = draft.steps[-1]
        assert "{" not in said
        assert all(shown(value) in said for value in step.arguments.values()), (said, step)
        arguments = {argument.name: argument for argument in draft.functions[step.tool].arguments}
        assert all("{" not in argument.description for argument in arguments.values())
        assert {name for name, argument in arguments.items() if argument.default is None} <= set(step.arguments)


def test_every_value_of_a_declared_function_stands_in_the_request_once():
    """Texts, numbers and the items of lists are said once, from word to word; a switch is said in words."""
    for index in range(250):
        draft = Draft.start(random.Random(index), "tools" if index % 4 == 0 else "train")  # noqa: S311 - reproducible
        said = call_declared_alone(draft)
        assert "{" not in said
        for value in draft.steps[-1].arguments.values():
            for one in value if isinstance(value, list) else [value]:
                pattern = rf"(?<![\w.]){re.escape(shown(one))}(?!\w|\.\d)"
                assert isinstance(one, bool) or len(re.findall(pattern, said)) >= 1, (one, said)


def test_declared_functions_are_held_out_by_their_names():
    """An eighth of the file is never trained on; what is left out of a call is what may be left out."""
    trained, held_out = declared_functions("train"), declared_functions("tools")
    assert not {function.name for function in trained} & {function.name for function in held_out}
    assert len(trained) > 120
    assert 10 < len(held_out) < 40
    assert not any(is_held_out("tool", function.name) for function in trained)
    for function in (*trained, *held_out):
        assert all(a.type in ("string", "number", "integer", "boolean") for a in function.arguments)
        assert any(not argument.is_optional for argument in function.arguments), function.name


def _stands_in(value, said):
    """Whether what a call says stands in the request from word to word; a switch is said in words."""
    items = value if isinstance(value, list) else [value]
    patterns = (rf"(?<![\w.]){re.escape(shown(one))}(?!\w|\.\d)" for one in items if not isinstance(one, bool))
    return all(re.search(pattern, said) for pattern in patterns)


@pytest.mark.parametrize("make", [call_operation_alone, call_operation_again])
def test_every_value_of_an_operation_stands_in_the_request(make):
    """Whatever an operation of a published API is called with is said, once for all calls or for each."""
    for index in range(150):
        draft = Draft.start(random.Random(index), "tools" if index % 4 == 0 else "train")  # noqa: S311 - reproducible
        said = make(draft)
        assert not {"{", "|"} & set(said)
        for step in draft.steps:
            assert all(_stands_in(value, said) for value in step.arguments.values()), (said, step)


def test_the_same_operation_is_called_with_other_values():
    """Calls of one wish are of one operation, and no two are the same."""
    for index in range(60):
        draft = Draft.start(random.Random(index), "train")  # noqa: S311 - reproducible
        call_operation_again(draft)
        made = [step for step in draft.steps if not step.is_error]
        assert len({step.tool for step in made}) == 1
        assert len({str(step.arguments) for step in made}) == len(made) > 1


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "tools"])
def test_calls_of_operations_fit_their_declarations(split):
    """Every call has what is required, nothing else than is declared, and values of the declared types."""
    jsonschema = pytest.importorskip("jsonschema", reason="declarations are checked with jsonschema")
    for index in range(120):
        conversation = make_conversation(7, index, split=split, mixture={"operation": 1})
        schemas = {tool.name: {**tool.parameters, "additionalProperties": False} for tool in conversation.tools}
        for message in conversation.messages:
            for call in getattr(message, "tool_calls", ()):
                jsonschema.validate(call.arguments, schemas[call.name])


def test_operations_are_held_out_by_their_apis():
    """An eighth of the published APIs is never trained on, with all of their operations."""
    trained, held_out = operations("train"), operations("tools")
    assert not {one.api for one in trained} & {one.api for one in held_out}
    assert not {one.name for one in trained} & {one.name for one in held_out}
    assert len(trained) > 2000
    assert len(held_out) > 200
    assert not any(is_held_out("tool", one.api) for one in trained)
    for one in (*trained, *held_out):
        assert 1 <= len(one.arguments) <= 5
        assert all(a.type in ("string", "number", "integer", "boolean") for a in one.arguments)


def test_operations_offered_together_can_be_told_apart():
    """Of two functions that one conversation offers, each is described with a word that the other lacks."""
    for index in range(60):
        draft = Draft.start(random.Random(index), "train")  # noqa: S311 - reproducible
        call_operation_alone(draft)
        said = [behaviour.description for behaviour in draft.functions.values()]
        assert all(are_apart(one, other) for one in said for other in said if one is not other)
    assert not are_apart("Gets an invoice.", "Retrieve the list of invoices of a customer.")
    assert are_apart("Delete an invoice.", "Update an invoice.")


def test_values_in_front_follow_no_polite_opening():
    """Requests used to begin "Could you please given name X, ..."; values in front stand first or behind a mark."""
    for index in range(300):
        draft = Draft.start(random.Random(index), "train")  # noqa: S311 - reproducible
        request = join_request(draft, ["given name Kim, create a user"])
        assert not re.search(r"(you|please|to|me|must|should) given", request, re.IGNORECASE), request


def test_a_bare_value_belongs_to_what_the_wish_ends_with():
    """Only the first argument is said without a name, and only where the wish ends with the thing that it tells."""
    function = parse_function(
        "deleteInvoice ::  :: Delete an invoice. :: invoiceId:code::Id. ; ?reasonId:code::Reason."
    )
    first, second = worded(function).arguments
    assert "|{x}|" in first.said.replace("[{x}|", "|{x}|")
    assert "[for|of|in] [the |]reason {x}" in second.said
    assert "|{x}|" not in second.said


def test_items_of_a_list_are_the_models_choice():
    """In a list, its items, the commas and the end are slots; so is nothing of the structure around it."""
    from agentflow.embedded.examples import mark_call_slots

    pieces = ["<|tool_call>", "call", ":", "f", "{", "a", ":", "[", "1", ",", "2", "]", ",", "b", ":", "3", "}"]
    is_slot, is_name = mark_call_slots(pieces)
    assert [i for i, marked in enumerate(is_slot) if marked] == [8, 9, 10, 11, 15]
    assert [i for i, marked in enumerate(is_name) if marked] == [3]


def test_texts_with_signs_are_said_in_quotes():
    """A sum, a colon or a bracket in a text ends neither the text nor its quotes."""
    num_signed = 0
    for index in range(120):
        draft = Draft.start(random.Random(index), "train")  # noqa: S311 - reproducible
        said = add_note(draft)
        for text in draft.steps[-1].arguments.values():
            if has_sign(text):
                num_signed += 1
                assert f'"{text}"' in said or f"'{text}'" in said
    assert num_signed > 20


def test_what_is_handed_over_stands_in_the_request():
    """The task for somebody of the crew is said from its first word to its last, and names who is to do it."""
    for index in range(100):
        draft = Draft.start(random.Random(index), "train")  # noqa: S311 - reproducible
        said, step = delegate(draft), draft.steps[-1]
        assert step.arguments["task"] in said
        assert step.tool.removeprefix("fn_ask_").replace("_", " ") in said
        assert not has_sign(step.arguments["task"]) or re.search(r"""['"]$""", said) or " to " in said


def test_kinds_of_arguments_have_names_of_their_own():
    """Names may be shared with other kinds, but each kind is declared and said without a gap."""
    assert len(named_kinds()) > 150
    assert {kind.type for kind in named_kinds()} == {"string", "number", "integer", "boolean"}
    assert len({kind.names for kind in KINDS}) == len(KINDS)


def test_a_plain_phrasing_is_the_first_one_of_its_split():
    """The plainest wording is used where it belongs to the split, and another one where it is held out."""
    notations = ("[read|open] [|the file ]{p}", "[see|show] {p}")
    trained = Phrasings(random.Random(0), "train")  # noqa: S311 - reproducible
    assert not is_held_out("phrasing", "read {p}")
    assert {trained.say_plainly(notations, p="a.txt") for _ in range(20)} == {"read a.txt"}
    assert is_held_out("phrasing", "close the ticket {t}")
    closed = {trained.say_plainly(("[close|finish] the ticket {t}",), t="T-1") for _ in range(20)}
    assert closed == {"finish the ticket T-1"}


def test_shares_that_are_not_chosen_keep_their_proportions():
    """A run may have more of one kind; what is left is shared out as usual, and bad shares are named."""
    shares = mix({"world": 0.5, "operation": 0.0})
    assert shares["world"] == 0.5
    assert shares["operation"] == 0.0
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["task"] / shares["function"] == pytest.approx(MIXTURE["task"] / MIXTURE["function"])
    assert mix({}) == pytest.approx(MIXTURE)
    with pytest.raises(ConfigurationError, match="wrold"):
        mix({"wrold": 0.5})
    with pytest.raises(ConfigurationError, match="from 0 to 1"):
        mix({"world": 0.7, "task": 0.4})
