"""Images that cannot be read."""

from __future__ import annotations

import struct
import zlib
from importlib.util import find_spec
from pathlib import Path

import pytest

from attune.data.examples import Labelled
from attune.data.findings import images
from attune.data.findings.contract import DetectorContract

from .rows import detector, findings, numbers, seen

HEAD = b"\x89PNG\r\n\x1a\n"


def png() -> bytes:
    """One grey pixel."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return HEAD + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0\x80")) + chunk(b"IEND", b"")


def rows(folder: Path, *contents: bytes) -> list[Labelled]:
    made = []
    for number, content in enumerate(contents):
        path = folder / f"{number}.png"
        path.write_bytes(content)
        made.append(Labelled("a", image=str(path)))
    return made


class TestContract(DetectorContract):
    @pytest.fixture
    def detector_module(self):
        return images

    @pytest.fixture
    def seen(self, tmp_path: Path):
        return seen(rows(tmp_path, png(), b"<html>"))


@pytest.mark.skipif(find_spec("PIL") is None, reason="decodes with Pillow, which is not installed")
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", HEAD + b" and no more", png()[:44]])
def test_decodes_every_image(tmp_path: Path, content: bytes) -> None:
    finding = findings(images, rows(tmp_path, png(), content), "labelled")["image_unreadable"]
    assert (finding.level, numbers(finding)) == ("stop", [2])
    assert finding.rows[0].excerpt.startswith(str(tmp_path / "1.png"))


@pytest.mark.parametrize("has_pillow", [True, False])
def test_good_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_pillow: bool) -> None:
    if not has_pillow:
        monkeypatch.setattr(images.importlib.util, "find_spec", lambda name: None)
    assert findings(images, rows(tmp_path, png(), png()), "labelled") == {}


def test_without_pillow_the_first_bytes_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images.importlib.util, "find_spec", lambda name: None)
    examples = rows(tmp_path, png(), HEAD + b" and no more", b"<html>")
    made = detector(images, examples, "labelled")
    (finding,) = made.findings()
    assert numbers(finding) == [3]
    assert "the file begins with b'<html>'" in finding.rows[0].excerpt
    (table,) = made.facts()
    assert table.rows[0] == ("images", 3)
    assert "pip install pillow" in table.rows[1][1]


def test_a_file_that_vanished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Labelled("a", image=str(tmp_path / "gone.png"))
    assert "image_unreadable" in findings(images, [gone], "labelled")
    monkeypatch.setattr(images.importlib.util, "find_spec", lambda name: None)
    assert "image_unreadable" in findings(images, [gone], "labelled")


def test_few_bad_images_are_a_warning(tmp_path: Path) -> None:
    good, bad = rows(tmp_path, png(), b"no")
    finding = findings(images, [good] * 99 + [bad], "labelled")["image_unreadable"]
    assert (finding.level, finding.num, finding.total) == ("warning", 1, 100)


def test_texts_have_no_images() -> None:
    made = detector(images, [Labelled("a", "text")], "labelled")
    assert list(made.findings()) == []
    assert list(made.facts()) == []
