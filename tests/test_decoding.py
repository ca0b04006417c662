"""Kinds of image files: each is read as it looks in a viewer, or named as unreadable."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from taskhead.tasks.images import open_image, read_images, why_unreadable

RED, BLUE = (255, 0, 0), (0, 0, 255)


def halves(mode: str = "RGB") -> Image.Image:
    """Return an image of 16 x 8 pixels, red on the left and blue on the right."""
    image = Image.new("RGB", (16, 8), RED)
    image.paste(BLUE, (8, 0, 16, 8))
    return image.convert(mode)


def palette_with_clear_blue(path: Path) -> None:
    image = halves().quantize(4)
    blue = image.getpixel((15, 0))
    image.save(path.with_suffix(".png"), transparency=blue)


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 3  # upside down
    halves().rotate(180).save(path.with_suffix(".png"), exif=exif)


def animated(suffix: str) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        others = [Image.new("RGB", (16, 8), "green")] * 2
        options = {"lossless": True} if suffix == ".webp" else {}
        halves().save(path.with_suffix(suffix), save_all=True, append_images=others, **options)

    return save


def deep_colour(path: Path) -> None:
    """Write a PNG of 16 bits a channel, which Pillow cannot, by hand."""
    pixels = (np.asarray(halves()).astype(">u2") * 257).reshape(8, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", 16, 8, 16, 2, 0, 0, 0)
    with path.with_suffix(".png").open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")):
            check = struct.pack(">I", zlib.crc32(kind + data))
            file.write(struct.pack(">I", len(data)) + kind + data + check)


def clear_blue(mode: str) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        image = halves("RGBA")
        image.putalpha(Image.fromarray(np.repeat([[255] * 8 + [0] * 8], 8, 0).astype("uint8")))
        image.convert(mode).save(path.with_suffix(".png"))

    return save


COLOUR = {
    "plain": lambda path: halves().save(path.with_suffix(".bmp")),
    "palette": lambda path: halves("P").save(path.with_suffix(".png")),
    "CMYK": lambda path: halves("CMYK").save(path.with_suffix(".tif")),
    "CMYK JPEG": lambda path: halves("CMYK").save(path.with_suffix(".jpg"), quality=100),
    "turned": turned,
    "GIF": animated(".gif"),
    "animated PNG": animated(".png"),
    "animated WebP": animated(".webp"),
    "pages": animated(".tif"),
    "16 bits a channel": deep_colour,
}


@pytest.fixture
def only(tmp_path: Path) -> Callable[[], Path]:
    return lambda: next(tmp_path.iterdir())


@pytest.mark.parametrize("save", COLOUR.values(), ids=COLOUR)
def test_colours_are_those_of_a_viewer(save, tmp_path: Path, only):
    save(tmp_path / "image")
    image = open_image(only())
    assert image.mode == "RGB"
    assert image.size == (16, 8)
    for x, colour in ((3, RED), (12, BLUE)):
        seen = np.asarray(image.getpixel((x, 4))).astype(int)
        assert abs(seen - colour).max() <= 4
    assert why_unreadable(only()) is None


@pytest.mark.parametrize("save", [clear_blue("RGBA"), palette_with_clear_blue], ids=["RGBA", "P"])
def test_what_is_transparent_is_white(save, tmp_path: Path, only):
    save(tmp_path / "image")
    image = open_image(only())
    assert [image.getpixel((x, 4)) for x in (3, 12)] == [RED, (255, 255, 255)]


def test_half_transparent_grey_lies_over_white(tmp_path: Path, only):
    Image.new("LA", (8, 8), (0, 128)).save(tmp_path / "a.png")
    assert open_image(only()).getpixel((0, 0)) == (127,) * 3


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_of_16_bits_is_scaled(suffix: str, tmp_path: Path, only):
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / f"a{suffix}")
    seen = np.asarray(open_image(only()))
    assert (seen == np.arange(256).reshape(16, 16, 1)).all()


def test_grey_of_16_bits_in_a_portable_map_is_scaled(tmp_path: Path, only):
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 65535\n" + bytes([255, 255, 128, 0]))
    assert np.asarray(open_image(only()))[0, :, 0].tolist() == [255, 128]


@pytest.mark.parametrize("kind", ["float32", "int32"])
def test_pixels_of_an_unknown_range_are_named(kind: str, tmp_path: Path, only):
    Image.fromarray(np.full((8, 8), 300, kind)).save(tmp_path / "range.tif")
    with pytest.raises(ValueError, match=r"range\.tif.*range is not known"):
        open_image(only())
    assert "range is not known" in str(why_unreadable(only()))


def encoded(suffix: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, Image.registered_extensions()[suffix])
    return content.getvalue()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".bmp", ".webp", ".tif"])
def test_cut_off_image_is_named_by_reading_and_by_looking(suffix: str, share: float, tmp_path):
    file, whole = tmp_path / f"cut{suffix}", encoded(suffix)
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match=rf"cut\{suffix}.*repair or remove it"):
        open_image(file)
    assert why_unreadable(file)
    file.write_bytes(whole)
    assert why_unreadable(file) is None


@pytest.mark.parametrize("size", [(1, 4000), (4000, 1)])
def test_strip_is_cropped_before_it_is_enlarged(size, tmp_path: Path, monkeypatch):
    Image.new("RGB", size, RED).save(tmp_path / "a.png")
    sizes = []
    resize = Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda *a, **k: sizes.append(a[1]) or resize(*a, **k)
    )
    images = read_images({"a": [tmp_path / "a.png"]}, image_size=224).images
    assert images[0, :, 100, 100].tolist() == list(RED)
    assert max(max(size) for size in sizes) < 1000


def test_long_image_is_its_middle(tmp_path: Path):
    pixels = np.zeros((10, 200, 3), dtype=np.uint8)
    pixels[:, 95:105] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    images = read_images({"a": [tmp_path / "a.png"]}, image_size=10).images
    assert (images == 255).all()
