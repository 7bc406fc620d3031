"""Images become the pixels that a person sees, files that are none say why, stores know them by content."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image

from attune.data import images
from attune.data.check import check
from attune.data.encode import Encoder, Policy
from attune.data.examples import Labelled, RowError, prompt_key
from attune.data.images import ImageReader, decode
from attune.data.layout import lay
from attune.data.prepare import prepare
from attune.recipe.errors import DataError, ModelError
from attune.recipe.schema import Data


def content(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def solid(mode: str, color: Any, size: tuple[int, int] = (4, 3)) -> Image.Image:
    return Image.new(mode, size, color)


def half(mode: str, left: Any, right: Any) -> Image.Image:
    image = Image.new(mode, (2, 1), left)
    image.putpixel((1, 0), right)
    return image


def sixteen_bits(*values: int) -> Image.Image:
    return Image.fromarray(np.array([values], np.uint16))


def palette() -> Image.Image:
    """A red pixel, and one that is transparent."""
    image = half("P", 0, 1)
    image.putpalette([255, 0, 0, 0, 255, 0])
    return image


@pytest.mark.parametrize(
    ("file", "pixels"),
    [
        (content(half("L", 10, 200)), [(10, 10, 10), (200, 200, 200)]),
        (content(half("1", 0, 1)), [(0, 0, 0), (255, 255, 255)]),
        (content(half("LA", (0, 255), (0, 0))), [(0, 0, 0), (255, 255, 255)]),
        (content(half("RGBA", (255, 0, 0, 255), (255, 0, 0, 0))), [(255, 0, 0), (255, 255, 255)]),
        (content(palette()), [(255, 0, 0), (0, 255, 0)]),
        (content(palette(), transparency=1), [(255, 0, 0), (255, 255, 255)]),
        (content(sixteen_bits(0, 65535)), [(0, 0, 0), (255, 255, 255)]),
        (content(sixteen_bits(257 * 10, 257 * 11 - 1)), [(10, 10, 10), (10, 10, 10)]),
        (content(half("I", 0, 65535), "TIFF"), [(0, 0, 0), (255, 255, 255)]),
        (content(half("CMYK", (0, 0, 0, 255), (0, 0, 0, 0)), "TIFF"), [(0, 0, 0), (255, 255, 255)]),
    ],
    ids=["grey", "bits", "grey-alpha", "alpha", "palette", "palette-alpha", "16", "16-steps", "32", "cmyk"],
)
def test_what_a_person_sees(file: bytes, pixels: list[tuple[int, int, int]]) -> None:
    image = decode(file)
    assert image.mode == "RGB"
    assert [image.getpixel((x, 0)) for x in range(2)] == pixels


def test_half_transparent_lies_on_white() -> None:
    assert decode(content(solid("RGBA", (0, 0, 0, 51)))).getpixel((0, 0)) == (204, 204, 204)


def test_the_first_frame_of_an_animation() -> None:
    frames = [solid("RGB", color) for color in ("red", "blue")]
    file = content(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(file).getpixel((0, 0)) == (255, 0, 0)


def test_a_camera_that_was_held_sideways() -> None:
    image = half("RGB", (250, 0, 0), (0, 0, 250))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise to see it
    upright = decode(content(image, "PNG", exif=exif))
    assert upright.size == (1, 2)
    assert upright.getpixel((0, 0)) == (250, 0, 0)


WHOLE = content(Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)), "JPEG")


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (b"", "the file is empty"),
        (b"<html>not found</html>", "no image: the file begins with b'<html>not fo'"),
        (WHOLE[: len(WHOLE) // 2], "cut off or damaged: image file is truncated"),
        (content(solid("RGB", "red"))[:40], "cut off or damaged"),
        (content(solid("F", 0.5), "TIFF"), "numbers beyond 16 bits (mode F): save it with 8 or 16 bits"),
        (content(half("I", -1, 7), "TIFF"), "numbers beyond 16 bits (mode I)"),
        (content(solid("RGB", 0, (1, 300))), "1×300 pixels: a strip more than 200 times as long as wide"),
    ],
    ids=["empty", "html", "jpeg", "png", "float", "negative", "strip"],
)
def test_what_is_no_image_says_why(file: bytes, reason: str) -> None:
    with pytest.raises(RowError) as error:
        decode(file)
    assert reason in str(error.value)
    assert error.value.name == "image_unreadable"


@pytest.mark.parametrize("limit", [11, 5])
def test_more_pixels_than_fit(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow warns above its limit and refuses above twice of it; we refuse above it."""
    monkeypatch.setattr(images, "MOST_PIXELS", limit)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(RowError, match=f"more than {limit} pixels: scale it down"):
        decode(content(solid("RGB", "red")))


def processor(**options: Any) -> Any:
    return transformers.ViTImageProcessorPil(**{"size": {"height": 8, "width": 8}, **options})


@pytest.fixture
def reader() -> ImageReader:
    return ImageReader.of(processor(), 2)


def write(path: Path, color: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    solid("RGB", color).save(path)
    return str(path)


def test_a_reader_gives_what_the_processor_gives(reader: ImageReader, tmp_path: Path) -> None:
    assert (reader.num_places, reader.size) == (16, (8, 8))
    paths = [write(tmp_path / f"{color}.png", color) for color in ("red", "white")]
    pixels = reader.pixels(paths)
    assert pixels.shape == (2, 3, 8, 8)
    assert pixels[0].flatten(1).mean(1).tolist() == [1.0, -1.0, -1.0]
    expected = processor()([Image.open(path) for path in paths], return_tensors="pt")["pixel_values"]
    assert (pixels == expected).all()


def test_an_image_is_known_by_its_content_and_the_processor(reader: ImageReader, tmp_path: Path) -> None:
    red, again, blue = (write(tmp_path / f"{n}.png", c) for n, c in enumerate(("red", "red", "blue")))
    assert reader.ids(red) == reader.ids(again)
    assert len(reader.ids(red)) == 16
    assert reader.ids(red) != reader.ids(blue)
    other = ImageReader.of(processor(do_normalize=False), 2)
    assert other.ids(red) != reader.ids(red)
    assert len(ImageReader.of(processor(), 8).ids(red)) == 4, "never fewer than 128 bits"


def test_a_processor_whose_images_differ_in_size() -> None:
    with pytest.raises(ModelError, match=r"gives images of different sizes \(\d+×\d+, \d+×\d+\)\. Put"):
        ImageReader.of(transformers.BitImageProcessorPil(size={"shortest_edge": 8}, do_center_crop=False), 16)


def test_an_image_that_vanished_while_a_run_went_on(reader: ImageReader, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png: the image could be read when the data was prepared"):
        reader.pixels([str(tmp_path / "gone.png")])


def test_without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r'Type: pip install "attune\[images\]"'):
        images.need_pillow()


def test_an_example_is_its_image(reader: ImageReader, tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", "red")
    done = Encoder(reader, None, Policy(4)).encode(Labelled("x", image=path))
    (segments,) = done.segments
    assert (segments.image, list(segments.prompt), done.num_longest) == (path, reader.ids(path), 16)
    batch = lay([(0, segments), (1, segments)])
    assert batch.images == (path, path)
    assert batch.num_tokens == 32


@pytest.mark.parametrize(
    ("example", "name", "cure"),
    [
        (Labelled("x", "a text"), "text_in_image_data", "this model reads images: name a model of texts"),
        (Labelled("x", image="gone.png"), "image_unreadable", "gone.png: No such file"),
    ],
)
def test_what_a_model_of_images_cannot_read(
    example: Labelled, name: str, cure: str, reader: ImageReader
) -> None:
    done = Encoder(reader, None, Policy(4)).encode(example)
    assert done.broken == name
    assert cure in (done.rejected or "")


@pytest.fixture
def data(tmp_path: Path) -> Callable[..., Data]:
    for number in range(12):
        write(tmp_path / "set" / ("cat", "dog")[number % 2] / f"{number}.bmp", (number * 20, 0, 0))

    def make(**more: Any) -> Data:
        asked = {"train": str(tmp_path / "set"), "cache_dir": str(tmp_path / "cache"), "check": "off"}
        return Data.model_validate({**asked, "held_out": 0.25, **more})

    return make


def test_a_folder_is_prepared_and_found_again(
    data: Callable[..., Data], reader: ImageReader, tmp_path: Path
) -> None:
    first = prepare(data(), "labelled", reader, None, Policy(4), 0)
    assert len(first.train.images) == len(first.train) >= 6
    assert first.train[0].image == first.train.images[0]
    again = prepare(data(), "labelled", reader, None, Policy(4), 0)
    assert again.from_cache
    assert (again.train.images, again.held_out.images) == (first.train.images, first.held_out.images)
    assert again.digest == first.digest
    # Another image of as many bytes under the same name: the folder's digest does not see it.
    changed = Path(first.train.images[0])
    size = changed.stat().st_size
    write(changed, (255, 255, 255))
    assert changed.stat().st_size == size
    anew = prepare(data(), "labelled", reader, None, Policy(4), 0)
    assert not anew.from_cache
    assert anew.digest != first.digest


def test_a_row_whose_file_is_no_image_is_named(
    data: Callable[..., Data], reader: ImageReader, tmp_path: Path
) -> None:
    (tmp_path / "set" / "cat" / "2.bmp").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"set:3: .*cat/2\.bmp: no image: the file begins with"):
        prepare(data(), "labelled", reader, None, Policy(4), 0)
    kept = prepare(data(max_rejected_share=0.1), "labelled", reader, None, Policy(4), 0)
    (rejected,) = kept.rejected
    assert (rejected.name, len(kept.train) + len(kept.held_out)) == ("image_unreadable", 11)
    assert "2.bmp" in rejected.value


def test_copies_under_other_names_are_the_same_image(tmp_path: Path) -> None:
    """They stay on one side of a split, and are found within a folder and between two."""
    for part in ("train", "held"):
        for number in range(6):
            write(tmp_path / part / ("cat", "dog")[number % 2] / f"{part}{number}.png", (number * 20, 0, 0))
    write(tmp_path / "train" / "cat" / "again.png", (0, 0, 0))
    write(tmp_path / "train" / "cat" / "a dog.png", (20, 0, 0))
    one, other = (Labelled("cat", image=str(tmp_path / name)) for name in ("train/cat/train0.png",) * 2)
    assert prompt_key(one) == prompt_key(other)
    assert prompt_key(one) == prompt_key(Labelled("cat", image=str(tmp_path / "held" / "cat" / "held0.png")))
    assert prompt_key(Labelled("cat", image="gone.png")) == "gone.png"
    data = Data.model_validate({"train": str(tmp_path / "train"), "held_out": [str(tmp_path / "held")]})
    found = {finding.name: finding.num for finding in check(data, "labelled").findings}
    assert found == {"duplicates": 1, "contradictory_answers": 3, "leak_into_held_out": 6}
