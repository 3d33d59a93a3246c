"""The script: what each model answers to what, before any wire form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.demo.ask import Ask, Media, Offered, Result, Turn, unanswered, uncalled
from kurolproxy.demo.proof import prove, proves
from kurolproxy.demo.reply import Call, Fragment, Reply, Thought, Words, events
from kurolproxy.demo.script import reply, tokens

WEATHER = Offered(
    "get_weather",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
CLOCK = Offered("get_time", {"type": "object"})
SHELL = Offered("shell", free=True)


def ask(model: str, said: str = "hello", *more: Turn, **fields: object) -> Ask:
    turns = (Turn("user", said), *more)
    return Ask(model=model, turns=turns, fingerprint="f" * 64, **fields)  # type: ignore[arg-type]  # fields of Ask


def words(answer: Reply) -> str:
    return "".join(p.text for p in answer.choices[0].pieces if isinstance(p, Words))


def calls(answer: Reply) -> list[tuple[str, str]]:
    return [(p.tool.name, p.text) for p in answer.choices[0].pieces if isinstance(p, Call)]


def test_echo_answers_the_last_words_of_the_user() -> None:
    turns = (Turn("assistant", "hi"), Turn("user", "and"), Turn("user", "now?"))
    assert words(reply(ask("demo-echo", "first", *turns))) == "and\nnow?"


@pytest.mark.parametrize(
    ("media", "seen"),
    [
        (Media(images=1), "[I saw 1 image.]"),
        (Media(images=2, pdfs=1), "[I saw 2 images and 1 PDF.]"),
        (Media(1, 1, 1, 2), "[I saw 1 image, 1 PDF, 1 file and 2 audio clips.]"),
    ],
)
def test_echo_says_what_it_saw(media: Media, seen: str) -> None:
    asked = Ask("demo-echo", (Turn("user", "look", media),), "f")
    assert words(reply(asked)) == f"look\n{seen}"
    assert words(reply(Ask("demo-echo", (Turn("user", "", media),), "f"))) == seen


def test_echo_of_nothing_says_so() -> None:
    assert words(reply(ask("demo-echo", ""))) == "(You said nothing.)"


def test_tool_call_has_arguments_of_its_schema() -> None:
    answer = reply(ask("demo-tools", "weather?", tools=(WEATHER, CLOCK)))
    assert calls(answer) == [("get_weather", '{"city":"demo city"}')]
    assert answer.choices[0].finish == "tool_calls"


def test_tool_named_in_the_prompt_comes_first() -> None:
    answer = reply(ask("demo-tools", "use get_time", tools=(WEATHER, CLOCK)))
    assert calls(answer) == [("get_time", "{}")]


def test_parallel_prompt_calls_two_tools_with_two_ids() -> None:
    answer = reply(ask("demo-tools", "in Parallel", tools=(WEATHER, CLOCK)))
    assert [name for name, _ in calls(answer)] == ["get_weather", "get_time"]
    ids = [p.id for p in answer.choices[0].pieces if isinstance(p, Call)]
    assert len(set(ids)) == 2


@pytest.mark.parametrize(
    ("name", "fields", "called"),
    [
        ("one tool twice", {"tools": (CLOCK,)}, ["get_time", "get_time"]),
        ("not at once", {"tools": (CLOCK,), "parallel": False}, ["get_time"]),
        ("allowed alone", {"tools": (WEATHER, CLOCK), "allowed": ("get_time",)}, ["get_time"] * 2),
        ("forbidden", {"tools": (CLOCK,), "choice": "none"}, []),
        ("none offered", {}, []),
    ],
)
def test_choice_decides_which_tools_are_called(
    name: str, fields: dict[str, object], called: list[str]
) -> None:
    answer = reply(ask("demo-tools", "parallel", **fields))
    assert [tool for tool, _ in calls(answer)] == called


def test_free_tool_gets_the_words() -> None:
    assert calls(reply(ask("demo-tools", "ls -l", tools=(SHELL,)))) == [("shell", "ls -l")]


def test_echo_calls_tools_only_when_it_must() -> None:
    assert calls(reply(ask("demo-echo", tools=(CLOCK,)))) == []
    assert calls(reply(ask("demo-echo", tools=(CLOCK,), choice="required"))) == [("get_time", "{}")]


def test_results_are_quoted_and_end_the_calling() -> None:
    results = (
        Result("c1", "sunny", "get_weather", Media(images=1)),
        Result("c2", "no clock", failed=True),
    )
    history = (Turn("assistant", calls={"c1": "get_weather", "c2": "get_time"}),)
    asked = ask("demo-tools", "x", *history, Turn("tool", results=results), tools=(WEATHER,))
    answer = reply(asked)
    assert calls(answer) == []
    assert words(answer) == "get_weather answered: sunny [with 1 image]\nc2 failed: no clock"


def test_next_question_calls_again() -> None:
    history = (
        Turn("assistant", calls={"c1": "get_time"}),
        Turn("tool", results=(Result("c1", "noon"),)),
        Turn("assistant", "noon"),
        Turn("user", "again"),
    )
    assert calls(reply(ask("demo-tools", "x", *history, tools=(CLOCK,)))) == [("get_time", "{}")]


def test_slow_model_says_as_many_words_as_asked() -> None:
    answer = reply(ask("demo-slow", "say 30 words"))
    assert answer.slow
    assert len(words(answer).split()) == 30
    assert len(words(reply(ask("demo-slow"))).split()) == 200


def test_thinking_model_thinks_long_and_proves_it() -> None:
    answer = reply(ask("demo-think", "why?", tools=(CLOCK,)))
    thought = answer.choices[0].pieces[0]
    assert isinstance(thought, Thought)
    assert len(thought.text) > 1_000
    assert proves(thought.proof, thought.text)
    assert answer.counts.reasoning == tokens(thought.text)
    assert calls(answer) == [("get_time", "{}")]


@pytest.mark.parametrize(("budget", "reasoning"), [(None, 0), (50, 50), (100_000, 468)])
def test_thinking_keeps_to_its_budget(budget: int | None, reasoning: int) -> None:
    answer = reply(ask("demo-think", "redacted weather", thinking=budget))
    assert answer.counts.reasoning == reasoning


@pytest.mark.parametrize(
    ("proof", "thought", "good"),
    [
        (prove("hm"), "hm", True),
        (prove("hm"), "", True),
        (prove("hm"), None, True),
        (prove("hm"), "other", False),
        ("", "hm", False),
        ("a3gxeyJwIjoiYSJ9", "hm", False),
        ("not base64!", "hm", False),
        (prove("hm")[:-8] + "AAAAAAA=", "hm", False),
    ],
)
def test_proof_belongs_to_its_thought(proof: str, thought: str | None, good: bool) -> None:
    assert proves(proof, thought) is good


# --- limits ---


def test_output_ends_at_its_tokens() -> None:
    answer = reply(ask("demo-echo", "one two three four", max_tokens=2))
    assert (words(answer), answer.choices[0].finish) == ("one two ", "length")
    assert answer.counts.completion == 2


def test_thought_can_use_up_the_output() -> None:
    answer = reply(ask("demo-think", max_tokens=10, tools=(CLOCK,)))
    (thought,) = answer.choices[0].pieces
    assert isinstance(thought, Thought)
    assert answer.choices[0].finish == "length"
    assert (answer.counts.completion, answer.counts.reasoning) == (10, 10)
    assert proves(thought.proof, thought.text)


def test_cut_call_keeps_its_half_arguments() -> None:
    answer = reply(ask("demo-tools", tools=(WEATHER,), max_tokens=3))
    assert calls(answer) == [("get_weather", '{"city":"dem')]


@pytest.mark.parametrize(
    ("stop", "said", "finish", "sequence"),
    [
        (("three",), "one two ", "stop_sequence", "three"),
        (("four", "two"), "one ", "stop_sequence", "two"),
        (("five",), "one two three four", "stop", None),
        (("",), "one two three four", "stop", None),
    ],
)
def test_stop_text_cuts_the_answer(
    stop: tuple[str, ...], said: str, finish: str, sequence: str | None
) -> None:
    answer = reply(ask("demo-echo", "one two three four", stop=stop))
    choice = answer.choices[0]
    assert (words(answer), choice.finish, choice.stop_sequence) == (said, finish, sequence)


def test_output_limit_before_a_stop_text_wins() -> None:
    answer = reply(ask("demo-echo", "one two three four", stop=("four",), max_tokens=1))
    assert (words(answer), answer.choices[0].finish) == ("one ", "length")


def test_answers_in_json_fit_the_schema() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    assert words(reply(ask("demo-echo", output=schema))) == '{"n":1}'
    assert words(reply(ask("demo-echo", "hi", output={}))) == '{"answer":"hi"}'


def test_several_answers_differ() -> None:
    answer = reply(ask("demo-echo", "hi", n=3))
    said = [choice.pieces[0].text for choice in answer.choices]
    assert said == ["hi", "hi (answer 2)", "hi (answer 3)"]


# --- usage ---


def test_cache_is_written_first_and_read_later() -> None:
    long = Turn("system", "rules " * 40)
    question = Turn("user", "hi")
    first = Ask("demo-echo", (long, question), "f", cache="explicit")
    later = Ask("demo-echo", (long, question, Turn("assistant", "hi"), question), "f")
    assert (reply(first).counts.cache_write, reply(first).counts.cache_read) == (64, 0)
    assert (reply(later).counts.cache_write, reply(later).counts.cache_read) == (0, 64)
    none = Ask("demo-echo", later.turns, "f", cache="none")
    assert reply(none).counts.cache_read == 0


@given(st.text(), st.integers(1, 40), st.lists(st.text(max_size=3), max_size=3))
def test_streamed_answer_adds_up_to_the_whole_one(said: str, cap: int, stop: list[str]) -> None:
    answer = reply(ask("demo-think", said, max_tokens=cap, stop=tuple(stop)))
    streamed = "".join(e.text for e in events(answer) if isinstance(e, Fragment))
    assert streamed == "".join(piece.text for piece in answer.choices[0].pieces)
    assert answer.counts.completion <= cap


# --- pairs ---


@pytest.mark.parametrize(
    ("name", "turns", "missing", "stray"),
    [
        ("answered", "a:1,2 r:2 r:1 u", [], []),
        ("half", "a:1,2 r:1 u", ["2"], []),
        ("at the end", "u a:1", ["1"], []),
        ("too late", "a:1 u r:1", ["1"], []),
        ("unknown", "u r:9", [], ["9"]),
        ("before its call", "r:1 a:1 r:1", [], ["1"]),
    ],
)
def test_calls_and_results_are_paired(
    name: str, turns: str, missing: list[str], stray: list[str]
) -> None:
    made = []
    for word in turns.split():
        kind, _, ids = word.partition(":")
        listed = ids.split(",") if ids else []
        if kind == "r":
            made.append(Turn("tool", results=tuple(Result(one, "x") for one in listed)))
        else:
            role = "assistant" if kind == "a" else "user"
            made.append(Turn(role, "x", calls=dict.fromkeys(listed, "t")))  # type: ignore[arg-type]  # a role
    assert (unanswered(made), uncalled(made)) == (missing, stray)
