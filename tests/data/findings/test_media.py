"""Prompts that speak of what a text cannot hold."""

from __future__ import annotations

import pytest

from attune.data.findings import media
from attune.data.findings.contract import DetectorContract

from .rows import CLEAN, chat, findings, numbers, seen


class TestContract(DetectorContract):
    @pytest.fixture
    def detector_module(self):
        return media

    @pytest.fixture
    def seen(self):
        return seen([*CLEAN, chat("Describe the attached photo.", "A dog.")])


@pytest.mark.parametrize(
    "prompt",
    [
        "Describe the following painting in one sentence.\nAttached Painting",
        "Describe the painting below.\n[Image provided]",
        "What colour is this?\n[Picture of a blue shirt]",
        "Explain the trend.\n<image of a chart showing a trend>",
        "List the products.\n(photo of a grocery store)",
        "Identify the country.\n(Flag image)",
        "Find the cause of the variation.\n[Attached table]",
        "Crop the photo I gave you.",
        "Count the people in this photo.",
        "What is it? ![alt text](https://example.com/a.png)",
        "<image>What is it?",
        "<|image|>What is it?",
        "如图所示，求阴影部分的面积。",
        "图片中有几个人？",
        "这张图片里是什么？",
        "这张照片是在哪里拍的？",
        "描述以下图片",
        "[图片]\n这是什么花？",
    ],
)
def test_refers_to_media(prompt: str) -> None:
    assert numbers(findings(media, [*CLEAN, chat(prompt, "A dog.")])["media_reference"]) == [9]


@pytest.mark.parametrize(
    "prompt",
    [
        "Create a diagram of the water cycle in words.",
        "Write a story about a painting that comes alive.",
        "Explain how image recognition works.",
        "How do I embed a <video controls src='a.mp4'> element?",
        "Name three famous photographers and the picture each is known for.",
        "Using the following chart data: 1, 2, 3. What is the mean?",
        "Suggest a title for the following video game: a plumber saves a princess.",
        "The students were instructed to draw a picture on the board.",
        "怎样画一张思维导图？",
        "推荐几部科幻电影的视频网站。",
        "意图识别是什么？",
        "地图软件怎么用？",
    ],
)
def test_speaks_about_media(prompt: str) -> None:
    assert findings(media, [chat(prompt, "It depends.")]) == {}


def test_the_answer_is_not_asked() -> None:
    assert findings(media, [chat("Write an advertisement.", "See the image below! ![](a.png)")]) == {}


def test_half_of_the_rows_stop() -> None:
    bad = chat("What is in this picture?", "A dog.")
    assert findings(media, [*CLEAN, *[bad] * 8])["media_reference"].level == "stop"
    assert findings(media, [*CLEAN, *[bad] * 7])["media_reference"].level == "warning"
