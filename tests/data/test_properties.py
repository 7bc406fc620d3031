"""Whatever a file holds: a row is learnt exactly or rejected with a reason; no input ends in a traceback."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attune.data.check import check
from attune.data.encode import Encoder, Policy
from attune.data.examples import Conversation, Preference
from attune.data.sources import Stream
from attune.data.template import ChatTemplate
from attune.recipe.schema import Data, Source
from tests.data.defects import corpus, harmless
from tests.data.tiny import tokenizer

TOKENIZER = tokenizer()
TEMPLATE = ChatTemplate.load(TOKENIZER)
STOP = TEMPLATE.stop
CALM = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=120)

TEXT = st.text(st.characters(), max_size=40) | st.sampled_from(
    ["", " ", "<|im_end|>", "\u2028", "👩‍👩‍👧", "e\u0301"]
)
ROLE = st.sampled_from(["user", "assistant", "system", "tool", "human", "gpt", "narrator", ""])
TURN = st.builds(
    lambda role, content: {"role": role, "content": content}, ROLE, TEXT | st.none() | st.integers()
)
ROW = st.builds(lambda turns: {"messages": turns}, st.lists(TURN, max_size=7))


def stream(rows: list[Any]) -> Stream:
    folder = Path(tempfile.mkdtemp())
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Stream([Source(path=str(path))], None)


def learnt_texts(encoder: Encoder, example: Any) -> list[str]:
    """What is learnt of each branch, decoded."""
    done = encoder.encode(example)
    assert done.rejected is None, done.rejected
    kept = [
        [token for token, is_learnt in zip(ids, learn, strict=True) if is_learnt]
        for piece in done.segments
        for ids, learn in piece.branches
    ]
    return [TOKENIZER.decode(ids) for ids in kept]


@CALM
@given(st.lists(ROW, min_size=1, max_size=4))
def test_any_mixture_of_turns_is_learnt_exactly_or_rejected_with_a_reason(rows: list[Any]) -> None:
    encoder = Encoder(TOKENIZER, TEMPLATE, Policy(4096))
    # A row that anybody could use stands first, so that the file is one of messages.
    good = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}
    found = stream([good, *rows])
    taken = list(found)
    assert not found.problems
    assert [one.origin.row for one in taken] == list(range(1, len(rows) + 2))
    for one in taken:
        if one.rejected is not None:
            assert one.rejected.reason
            assert one.rejected.name
            continue
        assert isinstance(one.example, Conversation)
        answers = [turn.content for turn in one.example.messages if turn.role == "assistant" and turn.learn]
        if any(STOP in answer for answer in answers):
            assert encoder.encode(one.example).broken == "stop_token_in_answer"
            continue
        assert "".join(learnt_texts(encoder, one.example)) == "".join(answer + STOP for answer in answers)


@CALM
@given(st.tuples(TEXT, TEXT, TEXT))
def test_each_of_two_answers_is_learnt_exactly(texts: tuple[str, str, str]) -> None:
    prompt, chosen, rejected = texts
    encoder = Encoder(TOKENIZER, TEMPLATE, Policy(4096))
    for one in stream([{"prompt": prompt, "chosen": chosen, "rejected": rejected}]):
        if one.rejected is not None:
            assert one.rejected.reason
        elif STOP not in chosen + rejected:
            assert isinstance(one.example, Preference)
            said = [answer[-1].content + STOP for answer in one.example.answers]
            assert learnt_texts(encoder, one.example) == said
            assert said == [chosen + STOP, rejected + STOP]


SEEDS = [content for defect in corpus() for name, content in defect.files.items() if "data" in name][::6]
SEEDS += [content for _, content in harmless().values()]
SUFFIX = st.sampled_from(
    [".json", ".jsonl", ".jsonl.gz", ".csv", ".tsv", ".txt", ".md", ".yaml", ".parquet", ".arrow", ".bin"]
)


@st.composite
def mangled(draw: Any) -> bytes:
    """A file that was one once: cut, with bytes changed, put in twice or packed."""
    content = bytearray(draw(st.sampled_from(SEEDS))[: draw(st.integers(1, 3000))])
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(content)))
        piece = draw(
            st.binary(max_size=6)
            | st.sampled_from([b"\0", b"{", b"]", b'"', b"\xff\xfe", b"\n", b",,", b"\r"])
        )
        content[at : at + draw(st.integers(0, 4))] = piece
    packed = gzip.compress(bytes(content))
    return draw(st.sampled_from([bytes(content), packed, packed[: len(packed) // 2]]))


@settings(CALM, max_examples=200)
@given(content=mangled() | st.binary(max_size=300), suffix=SUFFIX)
def test_no_file_ends_in_a_traceback(content: bytes, suffix: str) -> None:
    path = Path(tempfile.mkdtemp()) / f"data{suffix}"
    path.write_bytes(content)
    report = check(Data(train=str(path), workers=1), None)
    assert report.exit_code in (0, 1, 2)
    for file in report.files:
        assert file.num_rows == file.num_used + file.num_rejected
