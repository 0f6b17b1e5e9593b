"""A turn that is compiled call by call is decoded as if it had been compiled whole."""

from functools import partial
from random import Random

import numpy as np
import pytest
import torch

from agentflow.backend.diffusion.untrained import build_tokenizer
from agentflow.constraint import Grounding, Vocabulary, compile_constraint, turn_grammar
from agentflow.constraint.frame import Frame
from agentflow.constraint.greedy import decode_greedily
from agentflow.constraint.staged import Scout, StagedConstraint
from agentflow.errors import SchemaBudgetError
from agentflow.types import ToolSpec

ANSWER = {"type": "object", "properties": {"city": {"type": "string"}, "sure": {"type": "boolean"}}}


def tool(name, **properties):
    """A tool whose first argument is required."""
    schema = {"type": "object", "properties": properties, "required": list(properties)[:1]}
    return ToolSpec(name=name, description="", parameters=schema)


TOOLS = (
    tool("add_note", text={"type": "string"}, tags={"type": "array", "items": {"type": "string"}, "maxItems": 2}),
    tool("add_days", date={"type": "string"}, days={"type": "integer"}),
    tool("set_unit", unit={"enum": ["celsius", "kelvin"]}),
    ToolSpec(name="now", description="", parameters={"type": "object", "properties": {}}),
)
BEFORE = Grounding(("Nothing in digits here, thank you.",))
NOW = Grounding(("Add 14 days to 2031-05-09, then note: water the ferns in Paris.",))


@pytest.fixture(scope="module")
def vocabulary():
    """A small vocabulary."""
    tokenizer = build_tokenizer()
    ends = frozenset({tokenizer.convert_tokens_to_ids("<turn|>"), tokenizer.convert_tokens_to_ids("<|tool_response>")})
    return Vocabulary.from_tokenizer(tokenizer, end_ids=ends, size=len(tokenizer))


def compile_turn(vocabulary, tools=TOOLS, choice="auto", *, grounding=NOW, is_parallel=True, schema=None):
    """The automaton of a turn."""
    grammar = turn_grammar(
        tools=tools, tool_choice=choice, is_parallel=is_parallel, output_schema=schema, grounding=grounding
    )
    return compile_constraint(grammar, vocabulary)


def make_frame(vocabulary, tool, *, is_parallel=True, has_numbers=False):
    """The calls of one tool with holes."""
    write = partial(turn_grammar, tools=(tool,), tool_choice="required", is_parallel=is_parallel)
    return Frame.of(lambda grounding: write(grounding=grounding), vocabulary, is_default=True, has_numbers=has_numbers)


def stage(vocabulary, *, choice="auto", is_parallel=True, schema=None, has_frames=False):
    """The same in stages, and a list of what is compiled."""
    compiled = []
    options = {"is_parallel": is_parallel, "schema": schema}

    def compile_piece(what, tools, choice):
        compiled.append(what)
        return compile_turn(vocabulary, tools, choice, **options)

    def compile_call(name):
        if not has_frames:
            return compile_piece(name, (by_name[name],), "required")
        frames = [make_frame(vocabulary, by_name[name], is_parallel=is_parallel, has_numbers=n) for n in (False, True)]
        return frames[0].fill(NOW) or frames[1].fill(NOW)

    by_name = {tool.name: tool for tool in TOOLS}
    before = compile_turn(vocabulary, choice=choice, grounding=BEFORE, **options)
    staged = StagedConstraint(
        Scout.of(before, list(by_name)),
        compile_call=compile_call,
        compile_answer=(lambda: compile_piece("answer", (), "none")) if choice == "auto" else None,
        compile_whole=lambda: compile_piece("whole", TOOLS, choice),
    )
    return staged, compiled


def scores_of(vocabulary, seed, *, call=0.0):
    """Random scores in which calls are begun more or less often."""
    scores = torch.randn(60, len(vocabulary), generator=torch.Generator().manual_seed(seed))
    scores[:, vocabulary.control_ids["<|tool_call>"]] += call
    return scores


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("call", [0.0, 9.0])
@pytest.mark.parametrize(
    "options",
    [{}, {"choice": "required"}, {"is_parallel": False}, {"schema": ANSWER}],
    ids=["auto", "must", "one", "json"],
)
@pytest.mark.parametrize("has_frames", [False, True])
def test_decoding_equals_that_of_the_whole(vocabulary, seed, call, options, has_frames):
    """Random scores give the same tokens, piece by piece, and only what is called is compiled."""
    whole = compile_turn(vocabulary, **options)
    staged, compiled = stage(vocabulary, has_frames=has_frames, **options)
    scores = scores_of(vocabulary, seed, call=call)
    expected_state, state, at = whole.start_state, staged.start_state, 0
    num_left = 700
    while at < len(scores) and not whole.is_accepting(expected_state):
        some = scores[at : at + 7]
        begin = expected_state
        expected, expected_state = decode_greedily(some, whole, begin, num_tokens_left=num_left)
        found, following = staged.decode(some, state, num_tokens_left=num_left)
        assert found == expected
        heads = [found[:i] for i in range(len(found))]
        forced = [staged.has_one_token(staged.advance(state, head)) for head in heads]
        assert forced == [whole.has_one_token(whole.advance(begin, head)) for head in heads]
        assert staged.is_accepting(staged.advance(state, found)) == staged.is_accepting(following)
        state, num_left, at = following, num_left - len(found), at + len(found)
    assert staged.is_accepting(state) == whole.is_accepting(expected_state)
    assert "whole" not in compiled
    assert len(compiled) == len(set(compiled))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("has_frames", [False, True])
def test_checking_a_draft_equals_that_of_the_whole(vocabulary, seed, has_frames):
    """With a reference, decoding stops behind the first difference, wherever that is."""
    whole = compile_turn(vocabulary)
    scores = scores_of(vocabulary, seed, call=9.0)
    draft, _ = decode_greedily(scores, whole, whole.start_state, num_tokens_left=700)
    for changed in range(0, len(draft), 3):
        staged, _ = stage(vocabulary, has_frames=has_frames)
        reference = [*draft[:changed], draft[changed] ^ 1, *draft[changed + 1 :]]
        expected, after = decode_greedily(scores, whole, whole.start_state, num_tokens_left=700, reference=reference)
        found, state = staged.decode(scores, staged.start_state, num_tokens_left=700, reference=reference)
        assert found == expected == draft[: changed + 1]
        rest, _ = decode_greedily(scores, whole, after, num_tokens_left=650)
        assert staged.decode(scores, state, num_tokens_left=650)[0] == rest


@pytest.mark.parametrize("has_frames", [False, True])
def test_favourites_are_asked_for_where_arguments_begin(vocabulary, has_frames):
    """Names are left to the scores; behind each of them the positions and tokens so far are told."""
    staged, _ = stage(vocabulary, has_frames=has_frames)
    scores = scores_of(vocabulary, 3, call=60.0)
    told = []

    def favour(at, before):
        told.append((at, list(before)))
        return np.full(len(scores) - at, -1)

    tokens, _ = staged.decode(scores, staged.start_state, num_tokens_left=700, favour=favour)

    assert tokens == staged.decode(scores, staged.start_state, num_tokens_left=700)[0]
    begins = [i for i, token in enumerate(tokens) if token == vocabulary.control_ids["<|tool_call>"]]
    assert len(told) == len(begins) > 1
    for (at, before), begin in zip(told, begins, strict=True):
        assert before == tokens[:at]
        text = b"".join(vocabulary.token_bytes[token] for token in tokens[begin + 1 : at]).decode()
        assert text.removeprefix("call:") in {tool.name for tool in TOOLS}


def test_a_tight_budget_for_another_call_takes_the_whole(vocabulary):
    """Where not every call fits any more, the next one is chosen among those that do."""
    whole = compile_turn(vocabulary)
    staged, compiled = stage(vocabulary)
    scores = scores_of(vocabulary, 3, call=60.0)
    num_left = Scout.of(compile_turn(vocabulary, grounding=BEFORE), [tool.name for tool in TOOLS]).num_ample_tokens
    tokens, _ = decode_greedily(scores, whole, whole.start_state, num_tokens_left=num_left)

    assert staged.decode(scores, staged.start_state, num_tokens_left=num_left)[0] == tokens
    assert tokens.count(vocabulary.control_ids["<|tool_call>"]) > 1
    assert compiled[1] == "whole"


def test_a_call_that_does_not_fit_is_an_error(vocabulary):
    """Arguments that need more than the budget in this conversation are refused with both numbers."""
    staged, _ = stage(vocabulary)
    long = {"type": "object", "properties": {"code": {"const": "x" * 900}}, "required": ["code"]}
    staged._compile_call = lambda name: compile_turn(
        vocabulary, (ToolSpec(name=name, description="", parameters=long),), "required"
    )

    with pytest.raises(SchemaBudgetError):
        staged.decode(scores_of(vocabulary, 1, call=9.0), staged.start_state, num_tokens_left=400)


def test_names_that_begin_alike_are_followed(vocabulary):
    """A scout tells add_note from add_days, and gives up where one name is the beginning of another."""
    before = compile_turn(vocabulary, grounding=BEFORE)
    found = {name for name, _ in Scout.of(before, [tool.name for tool in TOOLS]).named.values()}
    assert found == {tool.name for tool in TOOLS}

    nested = (tool("add", text={"type": "string"}), tool("add_days", text={"type": "string"}))
    before = compile_turn(vocabulary, nested, grounding=BEFORE)
    assert Scout.of(before, ["add", "add_days"]) is None


STRING = {"type": "string"}
CODE_SPAN = {"x-grounded": {"max_length": 6, "sources": ["user"]}}
NOTE = tool("note", text=STRING, tags={"type": "array", "items": STRING, "maxItems": 2})
CODE = tool("code", code=STRING | CODE_SPAN, sure={"type": "boolean"})
PAY = tool(
    "pay", amount={"type": "number"}, to=STRING, count={"type": "integer", "minimum": 10}, why=STRING | CODE_SPAN
)
SUMS = tool("sums", sums={"type": "array", "items": {"type": "number"}, "maxItems": 3})
MAYBE = tool("maybe", a={"type": ["number", "null", "boolean"]}, b={"type": ["string", "null"]})
SAID = Grounding(("Water the ferns in Paris.", "Then call Ada at noon."), ("user", "tool"))
PAID = Grounding(("Pay 4, 41.5 or -120 to Ada.", "She has 12 cats."), ("user", "tool"))


def pair(first, second):
    """An object of two fields."""
    return {"type": "object", "properties": {"a": first, "b": second}, "required": ["a", "b"]}


@pytest.mark.parametrize(
    ("called", "said"),
    [(NOTE, SAID), (CODE, SAID), (PAY, PAID), (SUMS, PAID), (MAYBE, PAID)],
    ids=["note", "code", "pay", "sums", "maybe"],
)
def test_a_frame_ends_within_the_budget_as_the_whole_does(vocabulary, called, said):
    """Whatever the scores and however few tokens are left."""
    whole = compile_turn(vocabulary, (called,), "required", grounding=said)
    filled = make_frame(vocabulary, called, has_numbers=said is PAID).fill(said)
    assert filled is not None
    assert filled.contents
    assert filled.constraint.min_tokens == whole.min_tokens
    staged = StagedConstraint(
        Scout.of(whole, [called.name]), compile_call=lambda _: filled, compile_answer=None, compile_whole=lambda: whole
    )
    ample = Scout.of(whole, [called.name]).num_ample_tokens
    for num_left in range(whole.min_tokens, ample + 20):
        scores = scores_of(vocabulary, num_left)
        expected, end = decode_greedily(scores, whole, whole.start_state, num_tokens_left=num_left)
        found, state = staged.decode(scores, staged.start_state, num_tokens_left=num_left)
        assert found == expected
        assert staged.is_accepting(state) == whole.is_accepting(end)
        heads = [found[:i] for i in range(len(found))]
        forced = [staged.has_one_token(staged.advance(staged.start_state, head)) for head in heads]
        assert forced == [whole.has_one_token(whole.advance(whole.start_state, head)) for head in heads]


def test_a_frame_serves_conversations_that_were_not_known(vocabulary):
    """One frame, other spans; the texts that may be copied are those of the roles that the schema names."""
    frame = make_frame(vocabulary, CODE)
    said = [Grounding((text, "secret"), ("user", "tool")) for text in ("Paris", "Oslo or Rome")]
    for grounding, words in zip(said, [{"Paris"}, {"Oslo", "Rome", "or"}], strict=True):
        (spans,) = frame.fill(grounding).contents
        mark = spans.vocabulary.control_ids['<|"|>']
        for word in ("Paris", "Oslo", "Rome", "or", "secret"):
            tokens = [token for letter in word for token in vocabulary.encode(letter)]
            assert spans.accepts([*tokens, mark]) == (word in words)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (STRING, Grounding(("", "\n"))),
        ({"type": "integer"}, PAID),
        ({"anyOf": [pair({"const": "Paris"}, {"const": 1}), pair(STRING, {"const": 2})]}, SAID),
    ],
    ids=["nothing to copy", "numbers", "beside a constant"],
)
def test_there_is_no_frame_where_holes_do_not_do(vocabulary, schema, said):
    """Then the call is compiled for the conversation, or another frame serves."""
    frame = make_frame(vocabulary, tool("f", a=schema))
    assert frame is None or frame.fill(said) is None


@pytest.mark.parametrize(
    "said",
    [SAID, Grounding(("Only 1.5 of them",))],
    ids=["no number", "none that fits"],
)
def test_a_frame_for_numbers_needs_one_that_fits(vocabulary, said):
    """Without one, numbers are free."""
    frame = make_frame(vocabulary, tool("f", a={"type": "integer"}), has_numbers=True)
    assert frame.fill(PAID) is not None
    assert frame.fill(said) is None


def test_numbers_do_not_run_over_their_borders():
    """Where a token holds a number and the mark before it, a call that copies one is compiled for the conversation."""
    names = ["<|turn>", "<|tool_call>", "<tool_call|>", "<|tool_response>", '<|"|>']
    controls = {name: i for i, name in enumerate(names)}
    letters = [bytes([code]) for code in range(32, 127)]
    for odd, is_whole in [(b"xy", True), (b"a:1", False)]:
        vocabulary = Vocabulary([None] * len(controls) + [*letters, odd], frozenset({3}), controls)
        frame = make_frame(vocabulary, tool("f", a={"type": "integer"}), has_numbers=True)
        assert (frame.fill(PAID) is not None) == is_whole


def test_a_frame_without_holes_serves_everyone(vocabulary):
    """Nothing is copied, so nothing is compiled for a conversation."""
    filled = make_frame(vocabulary, tool("f", unit={"enum": ["celsius", "kelvin"]})).fill(SAID)
    assert not filled.contents
    assert not list(filled.fillings())


def test_what_is_copied_knows_its_tokens_by_atom(vocabulary):
    """As they would be found by sorting."""
    filled = make_frame(vocabulary, PAY, has_numbers=True).fill(PAID)
    for _, filling in filled.fillings():
        order, begin = filling.constraint.tokens_by_atom
        del vars(filling.constraint)["tokens_by_atom"]
        expected_order, expected_begin = filling.constraint.tokens_by_atom
        assert (order == expected_order).all()
        assert (begin == expected_begin).all()


SAYINGS = [
    "Paris,",
    "Rome.",
    "Oslo",
    "12",
    "4.5",
    "-7",
    "1,200",
    "note.txt",
    "2031-05-09",
    "ferry!",
    "{x:",
    "1}",
    "[2,",
    "3]",
    "é",
    "0.50",
    "7th",
    "3:15",
    "100%",
    "#4",
]
VALUES = [
    STRING, {"type": "number"}, {"type": "integer", "minimum": 3}, {"enum": ["a", 30, None]}, {"type": "boolean"},
    {"type": ["string", "null"]}, {"type": ["number", "null"]}, {"type": ["integer", "string"]}, STRING | CODE_SPAN,
    STRING | {"x-grounded": {"words": "any"}}, STRING | {"maxLength": 5}, STRING | {"pattern": "^[a-z]+$"},
]  # fmt: skip


def make_schema(random, depth=0):
    """A schema of some kind of value."""
    kind = random.random() if depth < 2 else 0.0
    if kind < 0.7:
        return random.choice(VALUES)
    if kind < 0.8:
        return {"type": "array", "items": make_schema(random, depth + 1), "maxItems": 2}
    if kind < 0.9:
        return {"anyOf": [make_schema(random, depth + 1), make_schema(random, depth + 1)]}
    names = random.sample(["a", "b", "to", "x y"], random.randint(0, 3))
    return tool("inner", **{name: make_schema(random, depth + 1) for name in names}).parameters


@pytest.mark.parametrize("seed", range(40))
def test_frames_of_any_schema_give_what_the_whole_gives(vocabulary, seed):
    """Random tools, conversations, scores and budgets."""
    random = Random(seed)  # noqa: S311 - no secrets
    for _ in range(4):
        called = tool("f", **{name: make_schema(random) for name in random.sample(["a", "b", "c", "d"], 3)})
        said = Grounding((" ".join(random.choices(SAYINGS, k=8)), "Or 5 in Bergen"), ("user", "tool"))
        whole = compile_turn(vocabulary, (called,), "required", grounding=said)
        frame = make_frame(vocabulary, called, has_numbers=True)
        filled = frame and frame.fill(said)
        if not filled:
            continue
        staged = StagedConstraint(
            Scout.of(whole, ["f"]),
            compile_call=lambda _, f=filled: f,
            compile_answer=None,
            compile_whole=lambda w=whole: w,
        )
        for num_left in (whole.min_tokens, whole.min_tokens + random.randint(1, 12), 150):
            scores = scores_of(vocabulary, random.randint(0, 1 << 30))
            expected, end = decode_greedily(scores, whole, whole.start_state, num_tokens_left=num_left)
            found, state = staged.decode(scores, staged.start_state, num_tokens_left=num_left)
            assert found == expected
            assert staged.is_accepting(state) == whole.is_accepting(end)
