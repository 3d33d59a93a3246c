"""What a client sees of an answer does not depend on how the upstream cut it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.ir import (
    Block,
    BlockEnd,
    BlockStart,
    Citation,
    Cited,
    Delta,
    Failure,
    Finish,
    ReasoningWish,
    Request,
    Response,
    Seal,
    Sealed,
    Start,
    StreamEvent,
    Tool,
    ToolHead,
    UsageSeen,
)
from kurolproxy.protocols.base import Outgoing
from kurolproxy.protocols.folding import fold
from kurolproxy.protocols.names import ToolNames
from kurolproxy.protocols.pipeline import (
    Meter,
    Pipeline,
    ReasoningFilter,
    StopFilter,
    ToolRestorer,
    build,
)
from kurolproxy.tokens import Usage
from tests.unfolding import unfold

USAGE = Usage(prompt=5, completion=7)
PROOF = Seal("a", "claude", "sig")


def whole(events: list[StreamEvent]) -> Response:
    """Add up an answer that must be whole, after checking that its list is well formed."""
    assert_well_formed(events)
    response = fold(events)
    assert isinstance(response, Response)
    return response


def assert_well_formed(events: list[StreamEvent]) -> None:
    """Check the guarantees of an event list."""
    assert isinstance(events[0], Start)
    assert sum(isinstance(event, Finish | Failure) for event in events) == 1
    assert isinstance(events[-1], Finish | Failure)
    expected, open_block = 0, False
    for event in events:
        if isinstance(event, BlockStart):
            assert not open_block
            assert event.index == expected
            expected, open_block = expected + 1, True
        elif isinstance(event, BlockEnd):
            assert open_block
            open_block = False
        if isinstance(event, Delta | Sealed | Cited | BlockEnd):
            assert event.index == expected - 1
        if isinstance(event, Delta):
            assert event.text
            assert open_block


def chopped(response: Response, sizes: list[int]) -> list[list[StreamEvent]]:
    """Stream an answer, its texts cut into pieces of these sizes, in reads of any length."""
    events: list[StreamEvent] = []
    turn = 0
    for event in unfold(response):
        if not isinstance(event, Delta):
            events.append(event)
            continue
        text = event.text
        while text:
            size = sizes[turn % len(sizes)]
            turn += 1
            events.append(Delta(event.index, text[:size]))
            text = text[size:]
    reads: list[list[StreamEvent]] = []
    while events:
        size = sizes[turn % len(sizes)]
        turn += 1
        reads.append(events[:size])
        events = events[size:]
    return reads


SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=6)
WORDS = st.text("abE \n", max_size=20)
BLOCKS = st.one_of(
    st.builds(Block, st.just("text"), WORDS),
    st.builds(Block, st.just("reasoning"), WORDS, seal=st.none() | st.just(PROOF)),
    st.builds(Block, st.just("refusal"), WORDS),
    st.builds(Block, st.just("tool"), WORDS, st.just(ToolHead("call_1", "get"))),
)
RESPONSES = st.builds(
    Response,
    id=st.just("r1"),
    model=st.just("m"),
    blocks=st.lists(BLOCKS, max_size=5).map(tuple),
    usage=st.none() | st.just(USAGE),
    finish=st.just(Finish("stop")),
)
STOPS = st.lists(st.text("abE \n", min_size=1, max_size=4), min_size=1, max_size=3).map(tuple)


# --- stop texts -------------------------------------------------------------------------


def stopped_answer(response: Response, stops: tuple[str, ...]) -> Response:
    """Return what a client must get, worked out from the whole answer letter by letter."""
    blocks: list[Block] = []
    for block in response.blocks:
        for end in range(1, len(block.text) + 1) if block.kind == "text" else ():
            found = [stop for stop in stops if block.text[:end].endswith(stop)]
            if found:
                stop = max(found, key=len)
                kept = Block("text", block.text[: end - len(stop)])
                finish = Finish("stop_sequence", stop_sequence=stop)
                return Response("r1", "m", (*blocks, kept), response.usage, finish)
        blocks.append(block)
    return response


@given(RESPONSES, STOPS, SIZES)
def test_stopped_stream_is_the_stopped_answer_however_it_was_cut(
    response: Response, stops: tuple[str, ...], sizes: list[int]
) -> None:
    stopper = StopFilter(stops)
    out = [event for read in chopped(response, sizes) for event in stopper.feed(read)]
    expected = stopped_answer(response, stops)
    seen = whole(out)
    assert (seen.blocks, seen.finish) == (expected.blocks, expected.finish)
    assert stopper.stopped is (expected is not response)


@given(RESPONSES, STOPS)
def test_usage_that_came_with_the_answer_survives_the_cut(
    response: Response, stops: tuple[str, ...]
) -> None:
    assert whole(StopFilter(stops).feed(unfold(response))) == stopped_answer(response, stops)


def text_events(*texts: str) -> list[StreamEvent]:
    return [Start("r1"), BlockStart(0, "text"), *(Delta(0, text) for text in texts)]


def test_nothing_comes_out_behind_the_cut() -> None:
    stopper = StopFilter(("END",))
    out = stopper.feed([*text_events("Hello E", "ND more"), BlockEnd(0), BlockStart(1, "text")])
    assert out[2:] == [
        Delta(0, "Hello"),
        Delta(0, " "),
        BlockEnd(0),
        Finish("stop_sequence", stop_sequence="END"),
    ]
    assert stopper.stopped
    assert stopper.feed([Delta(1, "END"), BlockEnd(1), UsageSeen(USAGE), Finish("stop")]) == []


def test_no_more_is_held_back_than_could_begin_a_stop_text() -> None:
    stopper = StopFilter(("12345",))
    assert stopper.feed(text_events("abcdefgh"))[-1] == Delta(0, "abcd")


def test_stop_text_over_two_blocks_is_none() -> None:
    response = Response("r1", "m", (Block("text", "EN"), Block("text", "D")), None, Finish("stop"))
    assert whole(StopFilter(("END",)).feed(unfold(response))) == response


def test_text_that_was_held_comes_out_before_a_failure() -> None:
    stopper = StopFilter(("END",))
    stopper.feed(text_events("abE"))
    assert stopper.feed([Failure("cut")]) == [Delta(0, "bE"), Failure("cut")]


def test_text_that_was_held_comes_out_before_a_finish_inside_a_block() -> None:
    stopper = StopFilter(("END",))
    stopper.feed(text_events("EN"))
    assert stopper.feed([Finish("length")]) == [Delta(0, "EN"), Finish("length")]


def test_empty_stop_texts_stop_nothing() -> None:
    response = Response("r1", "m", (Block("text", "abc"),), None, Finish("stop"))
    assert whole(StopFilter(("",)).feed(unfold(response))) == response


# --- reasoning --------------------------------------------------------------------------


def hidden(response: Response) -> tuple[Block, ...]:
    """Return the blocks of a client that does not read reasoning."""
    return tuple(
        Block("reasoning", "", None, Seal("a", "claude", "sig", text=block.text or None))
        if block.kind == "reasoning"
        else block
        for block in response.blocks
        if block.kind != "reasoning" or block.seal is not None
    )


@given(RESPONSES, SIZES)
def test_hidden_reasoning_leaves_its_proof_with_its_text(
    response: Response, sizes: list[int]
) -> None:
    hider = ReasoningFilter()
    out = [event for read in chopped(response, sizes) for event in hider.feed(read)]
    seen = whole(out)
    assert seen.blocks == hidden(response)
    assert (seen.usage, seen.finish) == (response.usage, response.finish)


def test_blocks_behind_hidden_reasoning_move_up_with_their_citations() -> None:
    cited = Citation("https://example.org")
    blocks = (
        Block("reasoning", "hm"),
        Block("text", "a", citations=(cited,)),
        Block("reasoning", "hm", seal=PROOF),
        Block("text", "b", citations=(cited,)),
    )
    response = Response("r1", "m", blocks, None, Finish("stop"))
    assert whole(ReasoningFilter().feed(unfold(response))).blocks == hidden(response)


def test_redacted_proof_gets_no_text() -> None:
    proof = Seal("a", "claude", "data", redacted=True)
    blocks = (Block("reasoning", "hm", seal=proof),)
    out = ReasoningFilter().feed(unfold(Response("r1", "m", blocks, None, Finish("stop"))))
    assert whole(out).blocks[0].seal is proof


def test_proof_without_a_text_keeps_the_text_it_has() -> None:
    proof = Seal("c", "deepseek", "", text="known")
    blocks = (Block("reasoning", "", seal=proof),)
    out = ReasoningFilter().feed(unfold(Response("r1", "m", blocks, None, Finish("stop"))))
    assert whole(out).blocks[0].seal == proof


def test_text_too_long_for_a_seal_is_left_out_of_it() -> None:
    hider = ReasoningFilter()
    hider.feed([Start(), BlockStart(0, "reasoning")])
    for _ in range(8):
        assert hider.feed([Delta(0, "é" * 50_000)]) == []
    assert hider.feed([Sealed(0, PROOF), BlockEnd(0)]) == [
        BlockStart(0, "reasoning"),
        Sealed(0, PROOF),
        BlockEnd(0),
    ]


def test_reasoning_that_breaks_off_leaves_only_the_failure() -> None:
    events: list[StreamEvent] = [Start(), BlockStart(0, "reasoning"), Delta(0, "hm"), Failure("x")]
    assert ReasoningFilter().feed(events) == [Start(), Failure("x")]


def test_reasoning_that_is_cut_by_the_length_keeps_its_proof() -> None:
    events = [BlockStart(0, "reasoning"), Delta(0, "hm"), Sealed(0, PROOF), Finish("length")]
    out = ReasoningFilter().feed([Start(), *events])
    assert whole(out).blocks == (Block("reasoning", "", None, Seal("a", "claude", "sig", "hm")),)


def test_usage_inside_hidden_reasoning_passes() -> None:
    hider = ReasoningFilter()
    hider.feed([Start(), BlockStart(0, "reasoning")])
    assert hider.feed([UsageSeen(USAGE)]) == [UsageSeen(USAGE)]


# --- tools ------------------------------------------------------------------------------


def called(head: ToolHead, arguments: str, sizes: list[int], names: ToolNames) -> Block:
    """Return the block of one call, streamed through a restorer."""
    restorer = ToolRestorer(names)
    response = Response("r1", "m", (Block("tool", arguments, head),), None, Finish("tool_calls"))
    reads = chopped(response, sizes)
    return whole([event for read in reads for event in restorer.feed(read)]).blocks[0]


@given(SIZES)
def test_call_goes_by_its_clients_name_with_its_namespace(sizes: list[int]) -> None:
    names = ToolNames()
    encoded = names.declare(Tool("list.all", ns="files"))
    block = called(ToolHead("call_1", encoded), '{"a":1}', sizes, names)
    assert block == Block("tool", '{"a":1}', ToolHead("call_1", "list.all", "function", "files"))


UNWRAPPED = [
    ('{"input":"*** Begin Patch"}', "*** Begin Patch"),
    ('{ "input" : "two\\nlines \\u00e9" , "other" : 1 }', "two\nlines é"),
    ('{"input":""}', ""),
    ('{"input":{"a": 1}}', '{"a":1}'),
    ('{"input":5}', "5"),
    ('{"input":[123456789012345678901234567890]}', "[123456789012345678901234567890]"),
    ('{"patch":"x"}', '{"patch":"x"}'),
    ('{"input":"cut', '{"input":"cut'),
    ('["input"]', '["input"]'),
    ("plain text", "plain text"),
    ("", ""),
]


@pytest.mark.parametrize(("arguments", "text"), UNWRAPPED)
@given(sizes=SIZES)
def test_wrapped_custom_tool_gets_its_bare_input(
    arguments: str, text: str, sizes: list[int]
) -> None:
    names = ToolNames()
    encoded = names.declare(Tool("apply_patch", kind="custom", ns="functions"), wrapped=True)
    block = called(ToolHead("call_1", encoded), arguments, sizes, names)
    assert block == Block("tool", text, ToolHead("call_1", "apply_patch", "custom", "functions"))


def test_input_of_a_wrapped_tool_comes_in_one_piece() -> None:
    names = ToolNames()
    names.declare(Tool("patch", kind="custom"), wrapped=True)
    restorer = ToolRestorer(names)
    head = ToolHead("call_1", "patch")
    assert restorer.feed([BlockStart(0, "tool", head), Delta(0, '{"input":')]) == [
        BlockStart(0, "tool", ToolHead("call_1", "patch", "custom"))
    ]
    assert restorer.feed([Delta(0, '"x"}')]) == []
    assert restorer.feed([BlockEnd(0)]) == [Delta(0, "x"), BlockEnd(0)]


KEPT = [
    ("never declared", ToolHead("c", "invented")),
    ("custom at the upstream", ToolHead("c", "invented", "custom")),
    ("a namespace of the upstream's own", ToolHead("c", "run", "function", "theirs")),
]


@pytest.mark.parametrize(("name", "head"), KEPT)
def test_call_of_an_unknown_tool_stays_as_it_is(name: str, head: ToolHead) -> None:
    assert called(head, "{}", [1], ToolNames()).tool == head


def test_upstream_that_knows_namespaces_is_understood() -> None:
    names = ToolNames()
    names.declare(Tool("list", ns="files", kind="custom"))
    block = called(ToolHead("c", "list", "function", "files"), "{}", [1], names)
    assert block.tool == ToolHead("c", "list", "custom", "files")


def test_words_pass_a_restorer_as_the_list_they_came_in() -> None:
    events: list[StreamEvent] = [Delta(0, "a"), Delta(0, "b"), UsageSeen(USAGE)]
    assert ToolRestorer(ToolNames()).feed(events) is events


# --- the meter --------------------------------------------------------------------------


@given(RESPONSES, SIZES)
def test_meter_counts_every_byte_that_was_produced(response: Response, sizes: list[int]) -> None:
    meter = Meter()
    for read in chopped(response, sizes):
        assert meter.feed(read) is read
    assert meter.emitted_bytes == sum(len(block.text.encode()) for block in response.blocks)
    assert meter.usage == response.usage
    assert meter.finish == response.finish
    assert meter.failure is None
    assert meter.content


def test_meter_counts_bytes_not_letters() -> None:
    meter = Meter()
    meter.feed([Delta(0, "é€"), Delta(0, "\ud800")])
    assert meter.emitted_bytes == 2 + 3 + 3


CONTENT: list[tuple[str, StreamEvent, bool]] = [
    ("start", Start("r1", "m"), False),
    ("text block", BlockStart(0, "text"), False),
    ("reasoning block", BlockStart(0, "reasoning"), False),
    ("usage", UsageSeen(USAGE), False),
    ("block end", BlockEnd(0), False),
    ("failure", Failure("x"), False),
    ("words", Delta(0, "x"), True),
    ("tool", BlockStart(0, "tool", ToolHead("c", "f")), True),
    ("proof", Sealed(0, PROOF), True),
    ("finish", Finish("stop"), True),
]


@pytest.mark.parametrize(("name", "event", "content"), CONTENT)
def test_content_is_what_ends_the_wait(name: str, event: StreamEvent, content: bool) -> None:
    meter = Meter()
    meter.feed([event])
    assert meter.content is content


def test_last_usage_counts_and_a_failure_is_kept() -> None:
    meter = Meter()
    meter.feed([UsageSeen(Usage(1, 1)), UsageSeen(USAGE), Failure("gone", "overloaded")])
    assert meter.usage == USAGE
    assert meter.failure == Failure("gone", "overloaded")
    assert meter.finish is None


# --- all of it --------------------------------------------------------------------------


@given(RESPONSES, STOPS | st.just(()), st.sampled_from(["none", "summary", "raw"]), SIZES)
def test_pipeline_is_its_filters_one_behind_the_other(
    response: Response, stops: tuple[str, ...], show: Any, sizes: list[int]
) -> None:
    pipeline = Pipeline(ToolNames(), stops, show)
    out = [event for read in chopped(response, sizes) for event in pipeline.feed(read)]
    blocks = hidden(response) if show == "none" else response.blocks
    shown = Response("r1", "m", blocks, response.usage, response.finish)
    expected = stopped_answer(shown, stops)
    seen = whole(out)
    assert (seen.blocks, seen.finish) == (expected.blocks, expected.finish)
    assert pipeline.stopped is (expected is not shown)
    assert pipeline.meter.finish == seen.finish
    assert pipeline.meter.usage == response.usage


def test_what_the_upstream_says_behind_the_cut_changes_only_the_books() -> None:
    pipeline = Pipeline(ToolNames(), ("END",))
    pipeline.feed(text_events("aEND"))
    finish = Finish("stop_sequence", stop_sequence="END")
    assert pipeline.meter.finish == finish
    assert pipeline.feed([Delta(0, "more"), BlockEnd(0), UsageSeen(USAGE), Failure("x")]) == []
    assert pipeline.feed([Finish("stop")]) == []
    assert pipeline.meter.finish == finish
    assert pipeline.meter.failure is None
    assert pipeline.meter.usage == USAGE


def test_failure_behind_the_stop_text_in_one_read_is_not_the_answers() -> None:
    pipeline = Pipeline(ToolNames(), ("END",))
    pipeline.feed([*text_events("aEND"), Failure("x")])
    assert pipeline.meter.failure is None
    assert pipeline.meter.finish is not None


def test_read_that_no_filter_changes_is_the_same_list() -> None:
    pipeline = Pipeline(ToolNames(), (), "none")
    pipeline.feed(text_events("a"))
    events: list[StreamEvent] = [Delta(0, "b")]
    assert pipeline.feed(events) is events


WISHED = [(None, True), (ReasoningWish(), True), (ReasoningWish(show="none"), False)]


@pytest.mark.parametrize(("wish", "shown"), WISHED)
def test_pipeline_is_built_from_what_was_asked_and_sent(
    wish: ReasoningWish | None, shown: bool
) -> None:
    names = ToolNames()
    encoded = names.declare(Tool("a.b"))
    request = Request("m", (), reasoning=wish)
    pipeline = build(request, Outgoing({}, names, local_stop=("END",)))
    blocks = (
        Block("reasoning", "hm"),
        Block("tool", "{}", ToolHead("c", encoded)),
        Block("text", "aENDb"),
    )
    seen = whole(pipeline.feed(unfold(Response("r1", "m", blocks, None, Finish("stop")))))
    assert [block.text for block in seen.blocks] == ["hm", "{}", "a"][0 if shown else 1 :]
    assert seen.blocks[-2].tool == ToolHead("c", "a.b")
