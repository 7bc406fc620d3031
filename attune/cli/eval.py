"""``attune eval``: scores with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..recipe.errors import RecipeError
from ..recipe.messages import pick, say
from .plan import AsJson
from .sft import Words
from .train import Quiet

Run = Annotated[str, typer.Argument(metavar="RUN", show_default=False)]
TestData = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        "-d",
        metavar="FILE",
        help=pick(
            "Questions and answers; default: the run's held-out part. | 题目与答案；默认用该运行的留出部分。"
        ),
    ),
]
Against = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="M",
        help=pick(
            "Score another model beside it: base (what the run started from), a run or a folder. "
            "| 同时评测另一个模型：base（训练前）、运行或文件夹。"
        ),
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", metavar="N", help=pick("Score a sample of N rows. | 只评测抽取的 N 行。")),
]


JudgeName = Annotated[
    str | None,
    typer.Option(
        "--judge",
        metavar="J",
        help=pick(
            "With --against, who compares the answers: FILE.py:FUNCTION, a verifier, a reward model's "
            "folder, or http://host/v1#model. "
            "| 与 --against 同用，由谁比较回答：文件.py:函数、校验器、奖励模型目录，或 http://host/v1#模型。"
        ),
    ),
]


RewardSpecs = Annotated[
    list[str] | None,
    typer.Option(
        "--reward",
        "-r",
        metavar="R",
        help=pick(
            "What answers earn: a verifier, FILE.py:FUNCTION or a reward model's folder; may be repeated; "
            "default: what the run learnt from. "
            "| 回答所得的奖励：校验器、文件.py:函数或奖励模型目录，可重复；默认为该运行学习时的奖励。"
        ),
    ),
]


def eval(
    run: Run,
    words: Words = None,
    data: TestData = None,
    against: Against = None,
    judge: JudgeName = None,
    reward: RewardSpecs = None,
    limit: Limit = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Scores with intervals: loss, exact match, rewards, pairs. | 评测：损失、匹配、奖励、配对，附区间。"""
    import sys

    from ..engine.events import Notice, Progress
    from ..recipe.load import generation_of
    from .console import Console
    from .show import json_text, table

    if limit is not None and limit < 1:
        raise RecipeError(say("--limit {n}: at least 1.", "--limit {n}：至少为 1。", n=limit))
    generation = generation_of(Path(run), words or [], as_trained=True)
    with Console(quiet=quiet, file=sys.stderr if as_json else None) as console:
        from ..evaluation.evaluate import evaluate
        from ..evaluation.judges import judge as open_judge

        scored = evaluate(
            run,
            data or None,
            against=against,
            generation=generation,
            limit=limit,
            judge=None if judge is None else open_judge(judge),
            rewards=reward or (),
            on_progress=lambda *progress: console(Progress(*progress)),
        )
        for note in scored.notes:
            console(Notice("warning", note))
        for row in scored.rejected:
            console(Notice("warning", f"{row['path']}:{row['row']}: {row['reason']}"))
    if as_json:
        print(json_text(scored.as_dict()))
        return
    table(*scored.table())
    if scored.path is not None:
        from ..evaluation.evaluate import saved
        from ..evaluation.report import write

        write(Path(run), saved(Path(run)))
        print(say("Every answer: {path}", "全部回答：{path}", path=scored.path))
