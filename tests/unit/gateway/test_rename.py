"""The public model name, in documents and event streams."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrpack_runtime.gateway.events import PassEvents, QuirkyEvents
from mrpack_runtime.gateway.rename import LearningRenamer, Renamer, rename, renaming
from mrpack_runtime.wire.http1 import BrokenAnswer

MARK = b"data: [DONE]"
STREAM = b'data: {"model":"inner","choices":[]}\n\ndata: {"id": 1, "model": "inner"}\n\ndata: [DONE]\n\n'

JSON_VALUES = st.recursive(
    st.none() | st.integers() | st.text() | st.sampled_from(['"model":"x"', '\\"model": "x"', "model"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


def in_pieces(content: bytes, step: int) -> list[bytes]:
    return [content[i : i + step] for i in range(0, len(content), step)]


@settings(deadline=None)
@given(JSON_VALUES, st.text(min_size=1), st.booleans())
def test_only_the_name_changes(value, name, compact):
    document = {"id": "x", "model": "inner", "choices": value}
    content = json.dumps(document, separators=(",", ":") if compact else None).encode()
    renamed = json.loads(rename(content, renaming(name)))
    assert renamed["model"] == name
    assert {**renamed, "model": "inner"} == json.loads(rename(content, renaming("inner")))


@pytest.mark.parametrize("name", ["a", 'with "quotes"', "back\\slash", r"\g<1>\1", "ä/ö:ü", "x" * 300])
def test_any_name_can_be_given(name):
    assert json.loads(rename(b'{"model": "inner"}', renaming(name))) == {"model": name}


def test_text_that_looks_like_a_name_stays():
    content = json.dumps({"content": 'say {"model": "gpt"} and "model":"x"', "kind": "model"}).encode()
    assert rename(content, renaming("other")) == content


@settings(deadline=None)
@given(
    st.lists(st.tuples(JSON_VALUES, st.sampled_from(["inner", "other", "public"]), st.booleans()), max_size=6)
)
def test_what_is_learned_of_one_document_is_not_forced_on_the_next(documents):
    renamer = LearningRenamer("public")
    for value, name, compact in documents:
        content = json.dumps({"model": name, "x": value}, separators=(",", ":") if compact else None).encode()
        assert renamer(content) == rename(content, renaming("public"))


@pytest.mark.parametrize("step", [1, 2, 3, 7, 20, 1000])
def test_a_document_is_renamed_in_pieces_of_any_size(step):
    content = json.dumps({"a": "model", "model": "in\\ner", "data": ["model"] * 5, "z": '"model"'}).encode()
    renamer = Renamer("public")
    found = b"".join([*(renamer.feed(piece) for piece in in_pieces(content, step)), renamer.end()])
    assert found == content.replace(b'"in\\\\ner"', b'"public"')


def test_a_renamer_holds_little_back():
    renamer = Renamer("public")
    held = 0
    for _ in range(1000):
        content = b'"model": ["' + b"x" * 100
        held += len(content) - len(renamer.feed(content))
        assert held < 10_000


@pytest.mark.parametrize("step", [1, 5, 16, 31, 1000])
def test_a_stream_is_renamed_in_pieces_of_any_size(step):
    events = PassEvents(LearningRenamer("public"), MARK)
    found = b"".join([*(events.feed(piece) for piece in in_pieces(STREAM, step)), events.end()])
    assert found == STREAM.replace(b"inner", b"public")


def test_whole_events_pass_at_once():
    events = PassEvents(LearningRenamer("public"), MARK)
    assert events.feed(b'data: {"model":"inner"}\n\ndata: {"mod') == b'data: {"model":"public"}\n\n'
    assert events.feed(b'el":"inner"}\n\n') == b'data: {"model":"public"}\n\n'


@pytest.mark.parametrize("cut", [1, 10, 40, len(STREAM) - 14, len(STREAM) - 5])
def test_a_stream_without_its_end_is_an_error(cut):
    events = PassEvents(LearningRenamer("public"), MARK)
    events.feed(STREAM[:cut])
    with pytest.raises(BrokenAnswer):
        events.end()


def test_an_end_without_line_break_counts():
    events = PassEvents(LearningRenamer("public"), MARK)
    assert events.feed(STREAM.rstrip(b"\n")) == STREAM[: STREAM.index(MARK)].replace(b"inner", b"public")
    assert events.end() == b"data: [DONE]\n\n"


def test_streams_without_a_mark_may_end_anywhere():
    events = PassEvents(LearningRenamer("public"), b"")
    events.feed(b"event: message_stop\ndata: {}\n\n")
    assert events.end() == b""


def test_a_line_without_end_passes_in_pieces():
    events = PassEvents(LearningRenamer("public"), MARK)
    content = b"data: " + b"x" * 3_000_000
    passed = b"".join(events.feed(piece) for piece in in_pieces(content, 65536))
    assert len(passed) > 2_000_000
    assert content.startswith(passed)


class Doubling:
    """An exchange that says everything twice, and drops events without an id."""

    path = "/v1/chat/completions"
    body: ClassVar[dict[str, Any]] = {}

    def answer(self, status: int, body: Any) -> tuple[int, dict[str, Any]]:
        return status, body

    def chunk(self, event: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        return (event, event) if "id" in event else ()


@pytest.mark.parametrize("step", [1, 9, 1000])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_quirks_see_each_event(step, newline):
    events = QuirkyEvents(LearningRenamer("public"), Doubling())
    content = (b": ping\n\n" + STREAM).replace(b"\n", newline)
    found = b"".join([*(events.feed(piece) for piece in in_pieces(content, step)), events.end()])
    data = [line[6:] for line in found.split(b"\n") if line]
    assert data[-1] == b"[DONE]"
    assert [json.loads(line) for line in data[:-1]] == [{"id": 1, "model": "public"}] * 2


@pytest.mark.parametrize("step", [1, 9, 1000])
@pytest.mark.parametrize(
    "begin",
    [
        lambda rename: PassEvents(rename, MARK),
        lambda rename: QuirkyEvents(rename, Doubling()),
    ],
    ids=["passed", "seen"],
)
def test_events_of_nothing_are_left_out(begin, step):
    events = begin(LearningRenamer("public"))
    fed = [events.feed(piece) for piece in in_pieces(b"data: null\n\n" + STREAM, step)]
    found = b"".join([*fed, events.end()])
    assert found.endswith(MARK + b"\n\n")
    assert b"null" not in found


@pytest.mark.parametrize("content", [b"data: {\n\n", b"data: []\n\n"])
def test_events_that_are_not_json_objects_are_errors_for_quirks(content):
    with pytest.raises(BrokenAnswer):
        QuirkyEvents(LearningRenamer("public"), Doubling()).feed(content)
