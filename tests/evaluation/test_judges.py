"""Judges: the higher reward wins; a model is asked twice with the answers swapped; what fails is said."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from attune.data.examples import Message, Origin
from attune.evaluation import judges
from attune.evaluation.judges import FIRST, SECOND, TIE, Contest
from attune.recipe.errors import DataError, RecipeError, RunError

PROMPT = (Message("user", "What is 6 x 7?"),)


def contest(first: str, second: str, reference: str | None = None) -> Contest:
    return Contest(PROMPT, first, second, Origin("q.jsonl", 3), reference)


def test_a_rule_in_a_file(tmp_path: Path) -> None:
    rules = tmp_path / "rules.py"
    rules.write_text("def score(prompt, answer):\n    return -len(answer)\n", encoding="utf-8")
    judge = judges.judge(f"{rules}:score")
    assert judge.name == f"{rules}:score"
    assert judge([contest("ab", "abc"), contest("abc", "ab"), contest("ab", "cd")]) == [FIRST, SECOND, TIE]


def test_a_verifier_compares_with_the_right_answer() -> None:
    judge = judges.judge("exact_number")
    assert judge([contest("41", "It is 42.", reference="42")]) == [SECOND]
    with pytest.raises(DataError, match=r"q\.jsonl:3"):
        judge([contest("41", "42")])


def test_an_unknown_judge_and_one_without_a_model() -> None:
    with pytest.raises(RecipeError, match="no such reward"):
        judges.judge("exakt_number")
    with pytest.raises(RecipeError, match=r"names no model\. Write .* http://localhost/v1#my-model"):
        judges.judge("http://localhost/v1")


Reply = Callable[[str], tuple[int, str]]


@pytest.fixture
def served() -> Iterator[Callable[[Reply], judges.ByModel]]:
    """An OpenAI-compatible service that says what ``reply`` makes of the question."""
    servers = []

    def serve(reply: Reply) -> judges.ByModel:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path == "/v1/chat/completions"
                assert asked["model"] == "tiny"
                code, text = reply(asked["messages"][0]["content"])
                self.send_response(code)
                self.end_headers()
                body = {"choices": [{"message": {"role": "assistant", "content": text}}]}
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: Any) -> None: ...

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return judges.ByModel(f"http://127.0.0.1:{server.server_port}/v1", "tiny", pause_seconds=0.0)

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def prefers_good(question: str) -> tuple[int, str]:
    return 200, "A" if question.index("good") < question.index("bad") else "B."


def test_a_model_is_asked_both_ways_round(served: Callable[[Reply], judges.ByModel]) -> None:
    judge = served(prefers_good)
    assert judge([contest("good", "bad"), contest("bad", "good")]) == [FIRST, SECOND]


def test_a_model_that_prefers_a_side_makes_ties(served: Callable[[Reply], judges.ByModel]) -> None:
    assert served(lambda question: (200, "A"))([contest("good", "bad")]) == [TIE]
    assert served(lambda question: (200, "Tie"))([contest("good", "bad")]) == [TIE]


def test_a_busy_service_is_asked_again(served: Callable[[Reply], judges.ByModel]) -> None:
    codes = iter([503, 429, 200, 200])
    assert served(lambda question: (next(codes), prefers_good(question)[1]))([contest("good", "bad")]) == [
        FIRST
    ]


def test_what_is_no_service_and_what_is_no_verdict(served: Callable[[Reply], judges.ByModel]) -> None:
    with pytest.raises(RunError, match=r"does not answer as an OpenAI-compatible service \(HTTP 401\)"):
        served(lambda question: (401, ""))([contest("good", "bad")])
    with pytest.raises(RunError, match=r"said 'I cannot say' of q\.jsonl:3, which is no verdict"):
        served(lambda question: (200, "I cannot say"))([contest("good", "bad")])
    nobody = judges.ByModel("http://127.0.0.1:9/v1", "tiny", pause_seconds=0.0)
    with pytest.raises(RunError, match=r"http://127\.0\.0\.1:9/v1#tiny does not answer"):
        nobody([contest("good", "bad")])
