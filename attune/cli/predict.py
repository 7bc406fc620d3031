"""``attune predict``: a classifier labels the rows of a file, or the images of a folder."""

from __future__ import annotations

from typing import Annotated

import typer

from ..recipe.messages import pick, say
from .eval import Run
from .train import Quiet

NewData = Annotated[str, typer.Argument(metavar="FILE", show_default=False)]
Predictions = Annotated[
    str,
    typer.Option(
        "--output", "-o", metavar="CSV", help=pick("The file to write (.csv). | 写入的文件（.csv）。")
    ),
]


def predict(run: Run, data: NewData, output: Predictions, quiet: Quiet = False) -> None:
    """Label the rows of a file or the images of a folder. | 为文件中的行或文件夹中的图片打标签。"""
    from .console import Console

    with Console(quiet=quiet) as console:
        from ..engine.events import Notice, Progress
        from ..evaluation.predict import predict as predict_rows

        num, unread = predict_rows(
            run, data, output, on_progress=lambda *progress: console(Progress(*progress))
        )
        for row in unread[:5]:
            console(Notice("warning", f"{row.origin.path}:{row.origin.row}: {row.reason}"))
        if unread:
            text = say(
                "Rows without a prediction (their reason stands in the column error): {n}",
                "没有预测的行（原因见 error 列）：{n}",
                n=len(unread),
            )
            console(Notice("warning", text))
    print(say("{n:,} rows predicted → {path}", "已预测 {n:,} 行 → {path}", n=num, path=output))
