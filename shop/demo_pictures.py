"""Pictures of the sample goods, drawn: paper, soft light, one thing in the middle."""

import math
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

WIDTH, HEIGHT = 1200, 1500
# In pixels, of the picture that is made of it.
SIZE = 960, 1200
# Drawn this many times larger and made small again: no edge has steps.
SHARPNESS = 1.5
Point = tuple[float, float]


def draw(slug: str) -> bytes:
    """Return a picture of the sample with this slug as JPEG."""
    from PIL import Image

    picture = DRAWINGS[slug]().resize(SIZE, Image.Resampling.LANCZOS)
    into = BytesIO()
    picture.save(into, "JPEG", quality=88)
    return into.getvalue()


def _paper(upper: str, lower: str) -> "Image":
    """Return a wall in `upper` and a table in `lower`, lighter where the lamp stands."""
    from PIL import Image, ImageDraw, ImageFilter

    size = int(WIDTH * SHARPNESS), int(HEIGHT * SHARPNESS)
    picture = Image.new("RGB", size, upper)
    ImageDraw.Draw(picture).rectangle((0, size[1] * 0.74, *size), fill=lower)
    light = Image.new("L", size, 0)
    ImageDraw.Draw(light).ellipse(_scaled((-200, -300, 900, 900)), fill=70)
    light = light.resize((60, 75)).filter(ImageFilter.GaussianBlur(12)).resize(size)
    picture.paste(Image.new("RGB", size, "#ffffff"), mask=light)
    return picture


def _scaled(values: Sequence[float]) -> list[float]:
    return [value * SHARPNESS for value in values]


def _curve(*points: Point, steps: int = 24) -> list[Point]:
    """Return a smooth line through the points (Catmull-Rom)."""
    line: list[Point] = []
    row = [points[0], *points, points[-1]]
    for a, b, c, d in zip(row, row[1:], row[2:], row[3:], strict=False):
        for step in range(steps):
            t = step / steps
            line.append(
                tuple(  # type: ignore[arg-type]
                    0.5
                    * (2 * b[i] + (c[i] - a[i]) * t + (2 * a[i] - 5 * b[i] + 4 * c[i] - d[i]) * t**2
                       + (3 * b[i] - a[i] - 3 * c[i] + d[i]) * t**3)
                    for i in (0, 1)
                )
            )  # fmt: skip
    return [*line, points[-1]]


def _shape(
    picture: "Image", outline: Sequence[Point], colour: str, shade: float = 0.16, blur: int = 60
) -> "Image":
    """Paint a shape with a shadow on the ground and its right side turned from the light.

    Returns its mask, to paint more upon it.
    """
    from PIL import Image, ImageChops, ImageDraw, ImageFilter

    points = [(x * SHARPNESS, y * SHARPNESS) for x, y in outline]
    mask = Image.new("L", picture.size, 0)
    ImageDraw.Draw(mask).polygon(points, fill=255)
    small = (picture.width // 8, picture.height // 8)
    soft = mask.resize(small).filter(ImageFilter.GaussianBlur(blur // 8)).resize(picture.size)
    shadow = ImageChops.offset(soft, int(26 * SHARPNESS), int(30 * SHARPNESS)).point(
        lambda v: v * 0.24
    )
    picture.paste(Image.new("RGB", picture.size, "#3a2f22"), mask=shadow)
    picture.paste(Image.new("RGB", picture.size, colour), mask=mask)
    # What lies within the shape but not within the shape moved to the left is in its own shade.
    lit = ImageChops.offset(soft, int(-60 * SHARPNESS), int(-40 * SHARPNESS))
    dark = ImageChops.multiply(ImageChops.subtract(mask, lit), mask)
    dark = dark.resize(small).filter(ImageFilter.GaussianBlur(5)).resize(picture.size)
    dark = ImageChops.multiply(dark, mask).point(lambda v: v * shade * 2)
    picture.paste(Image.new("RGB", picture.size, "#1b140c"), mask=dark)
    return mask


def _line(picture: "Image", points: Sequence[Point], colour: str, width: float) -> None:
    from PIL import ImageDraw

    scaled = [(x * SHARPNESS, y * SHARPNESS) for x, y in points]
    ImageDraw.Draw(picture).line(scaled, fill=colour, width=int(width * SHARPNESS), joint="curve")


def _mirrored(points: Sequence[Point]) -> list[Point]:
    """Return the points and their mirror image on the right, as one outline."""
    return [*points, *((WIDTH - x, y) for x, y in reversed(points))]


def _t_shirt() -> "Image":
    picture = _paper("#efe6d8", "#e4d8c5")
    half = [
        *_curve((600, 372), (520, 352), (470, 300)),
        *_curve((470, 300), (390, 325), (300, 380), (190, 560)),
        (190, 560), (330, 650), (362, 600),
        *_curve((362, 600), (372, 800), (360, 1000), (352, 1170)),
        *_curve((352, 1170), (470, 1190), (600, 1194)),
    ]  # fmt: skip
    _shape(picture, _mirrored(half), "#f8f4ec", shade=0.1)
    for points in (_curve((470, 300), (520, 372), (600, 402), (680, 372), (730, 300)),):
        _line(picture, points, "#d9cfbe", 14)
    for x in (1, -1):
        _line(picture, [(600 + x * 238, 600), *_curve((600 + x * 236, 600), (600 + x * 214, 480), (600 + x * 206, 400))], "#e3dacb", 4)  # noqa: E501 # fmt: skip
    _line(
        picture,
        _curve((356, 1148), (470, 1166), (600, 1170), (730, 1166), (844, 1148)),
        "#e0d6c6",
        3,
    )
    # The print: a corner shop's awning.
    for stripe in range(7):
        left = 460 + stripe * 40
        colour = "#0f6b5c" if stripe % 2 == 0 else "#f8f4ec"
        _shape_flat(picture, [(left, 620), (left + 40, 620), *_arc(left + 20, 720, 20, 20)], colour)
    _line(picture, [(460, 616), (740, 616)], "#0b4f44", 12)
    _line(picture, [(480, 745), (480, 850), (720, 850), (720, 745)], "#0f6b5c", 10)
    _line(picture, [(560, 850), (560, 776), (640, 776), (640, 850)], "#0f6b5c", 8)
    return picture


def _arc(x: float, y: float, wide: float, high: float) -> list[Point]:
    """Return the lower half of an ellipse, from right to left."""
    turns = (math.pi * step / 40 for step in range(41))
    return [(x + wide * math.cos(turn), y + high * math.sin(turn)) for turn in turns]


def _shape_flat(picture: "Image", outline: Sequence[Point], colour: str) -> None:
    from PIL import ImageDraw

    ImageDraw.Draw(picture).polygon(
        [(x * SHARPNESS, y * SHARPNESS) for x, y in outline], fill=colour
    )


def _ellipse(x: float, y: float, wide: float, high: float) -> list[Point]:
    turns = (2 * math.pi * step / 90 for step in range(90))
    return [(x + wide * math.cos(turn), y + high * math.sin(turn)) for turn in turns]


def _mugs() -> "Image":
    picture = _paper("#e7ece8", "#d8cfbf")
    for x, y, size, colour, inner, band in (
        (440, 560, 0.84, "#7f9aa0", "#5d767c", "#f3ede2"),
        (700, 640, 1.0, "#c9785a", "#8f4e38", "#f3e3d3"),
    ):
        wide, high = 210 * size, 430 * size
        handle = _ellipse(x + wide + 20 * size, y + high * 0.45, 105 * size, 135 * size)
        _line(picture, [*handle, handle[0]], inner, 46 * size)
        _line(picture, [*handle, handle[0]], colour, 36 * size)
        body = [
            (x - wide, y),
            *_curve((x - wide, y), (x - wide * 0.99, y + high * 0.6), (x - wide * 0.86, y + high)),
            *reversed(_arc(x, y + high, wide * 0.86, 44 * size)),
            *_curve((x + wide * 0.86, y + high), (x + wide * 0.99, y + high * 0.6), (x + wide, y)),
        ]  # fmt: skip
        _shape(picture, body, colour, shade=0.22)
        _line(picture, _curve((x - wide * 0.985, y + 250 * size), (x, y + 310 * size), (x + wide * 0.985, y + 250 * size)), band, 20 * size)  # noqa: E501 # fmt: skip
        _shape_flat(picture, _ellipse(x, y, wide, 58 * size), colour)
        _shape_flat(picture, _ellipse(x, y + 6 * size, wide * 0.93, 46 * size), inner)
        _shape_flat(picture, _ellipse(x, y + 24 * size, wide * 0.84, 30 * size), "#3b2417")
        _line(picture, _curve((x - wide * 0.74, y + 90 * size), (x - wide * 0.76, y + 200 * size), (x - wide * 0.7, y + 330 * size)), "#ffffff", 10 * size)  # noqa: E501 # fmt: skip
    return picture


def _towel() -> "Image":
    picture = _paper("#eee9df", "#e0d5c2")
    _line(picture, [(180, 330), (1020, 330)], "#8a6a48", 26)
    cloth = [(340, 330), (860, 330), *_curve((860, 330), (866, 700), (852, 1190)),
             *_curve((852, 1190), (740, 1212), (600, 1196), (470, 1214), (348, 1196)),
             *_curve((348, 1196), (334, 760), (340, 330))]  # fmt: skip
    _shape(picture, cloth, "#dfe3dc", shade=0.14)
    for y in (980, 1010, 1060):
        wave = _curve((344, y), (470, y + 14), (600, y), (740, y + 12), (856, y - 4))
        _line(picture, wave, "#a3261f" if y != 1010 else "#0f6b5c", 12 if y != 1010 else 5)
    for x in (430, 560, 690, 780):
        fold = _curve((x, 345), (x + 8, 700), (x - 6, 1195))
        _line(picture, fold, "#cfd5cc", 5)
    _line(picture, [(340, 340), (860, 340)], "#b9c0b6", 10)
    return picture


def _postcards() -> "Image":
    picture = _paper("#e9e4ee", "#d9cdbd")
    views = (("#f0c987", "#b5573c", -11), ("#a9cfd6", "#3f7f86", 6), ("#f3d7c4", "#6b7f4e", -2))
    for number, (sky, ground, turn) in enumerate(views):
        x, y = 560 + number * 40, 560 + number * 140
        card = _turned([(-330, -220), (330, -220), (330, 220), (-330, 220)], x, y, turn)
        _shape(picture, card, "#fffdf8", shade=0.04, blur=40)
        view = _turned([(-296, -186), (296, -186), (296, 186), (-296, 186)], x, y, turn)
        _shape_flat(picture, view, sky)
        hills = [(-296, 60), *_curve((-296, 60), (-120, -40), (60, 40), (296, -50)), (296, 186),
                 (-296, 186)]  # fmt: skip
        _shape_flat(picture, _turned(hills, x, y, turn), ground)
        for house in (-180, -60, 90, 190):
            walls = [(house, 40), (house + 70, 40), (house + 70, 130), (house, 130)]
            roof = [(house - 12, 42), (house + 35, -10), (house + 82, 42)]
            _shape_flat(picture, _turned(walls, x, y, turn), "#fff6e6")
            _shape_flat(picture, _turned(roof, x, y, turn), "#7a3b2b")
        _shape_flat(picture, _turned(_ellipse(200, -110, 38, 38), x, y, turn), "#fff3d0")
    return picture


def _turned(points: Sequence[Point], x: float, y: float, degrees: float) -> list[Point]:
    """Return the points turned and moved to (x, y)."""
    sin, cos = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    return [(x + a * cos - b * sin, y + a * sin + b * cos) for a, b in points]


def _hoodie() -> "Image":
    picture = _paper("#e6e9e4", "#d8d2c4")
    half = [
        *_curve((600, 430), (520, 420), (470, 372), (452, 330)),
        *_curve((452, 330), (370, 372), (292, 440), (236, 640), (196, 900), (176, 1090)),
        *_curve((176, 1090), (220, 1112), (280, 1116)),
        *_curve((280, 1116), (318, 930), (362, 760)),
        *_curve((362, 760), (372, 900), (366, 1060), (360, 1190)),
        *_curve((360, 1190), (470, 1210), (600, 1214)),
    ]  # fmt: skip
    hood = [*_curve((600, 196), (500, 210), (440, 290), (452, 350), (520, 440), (600, 470))]
    _shape(picture, _mirrored(hood), "#2d5f58", shade=0.2)
    _shape(picture, _mirrored(half), "#357067", shade=0.22)
    inside = [*_curve((600, 270), (530, 284), (492, 340), (520, 410), (600, 452))]
    _shape_flat(picture, _mirrored(inside), "#1d423d")
    _line(picture, [*inside, *reversed([(WIDTH - x, y) for x, y in inside])], "#2a5b54", 12)
    pocket = [(440, 1080), (470, 900), (730, 900), (760, 1080)]
    _line(picture, [*pocket, (440, 1080)], "#28554e", 8)
    for x in (1, -1):
        cord = _curve((600 + x * 52, 440), (600 + x * 60, 540), (600 + x * 50, 640))
        _line(picture, cord, "#f0eadc", 11)
        _line(picture, [(600 + x * 50, 640), (600 + x * 49, 668)], "#c9bfa9", 15)
    _line(
        picture,
        _curve((362, 1150), (470, 1170), (600, 1174), (730, 1170), (838, 1150)),
        "#28554e",
        6,
    )
    return picture


DRAWINGS: dict[str, Callable[[], Any]] = {
    "t-shirt": _t_shirt,
    "tea-towel": _towel,
    "last-mugs": _mugs,
    "postcards": _postcards,
    "hoodie": _hoodie,
}
