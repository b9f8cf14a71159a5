"""Draws page.jpg, receipt.jpg and sign.jpg, the sample pictures. Needs Pillow; its own font is used everywhere alike.

`python make_samples.py` writes them again. The texts are ours; what they say is known to the tests.
"""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

HERE = Path(__file__).parent

PAGE = (
    "The lighthouse keeper",
    "",
    "Every evening at six the keeper climbed the",
    "hundred and twelve steps, lit the lamp and wrote",
    "the weather into a grey book. Wind from the north,",
    "sea rough, three ships seen. Nobody ever read the",
    "book, and still no evening is missing in it.",
    "",
    "When the lamp learned to light itself, he stayed.",
    "Someone, he said, must count the ships.",
)
RECEIPT = (
    ("Coffee", "2.80"),
    ("Apple cake", "4.20"),
    ("Water 0.5 l", "1.90"),
    ("Newspaper", "3.10"),
)


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def page() -> Image.Image:
    """A printed page, photographed a little askew under a lamp."""
    picture = Image.new("L", (1000, 720), 246)
    drawing = ImageDraw.Draw(picture)
    drawing.text((90, 70), PAGE[0], font=font(46), fill=20)
    for number, line in enumerate(PAGE[1:]):
        drawing.text((90, 150 + number * 52), line, font=font(34), fill=35)
    picture = picture.rotate(-1.2, Image.Resampling.BICUBIC, fillcolor=246)
    lamp = Image.radial_gradient("L").resize((1600, 1300)).crop((200, 150, 1200, 870))
    shaded = ImageChops.subtract(picture, lamp.point([value // 4 for value in range(256)]))
    return speckled(shaded, 3).convert("RGB")


def receipt() -> Image.Image:
    """A till's receipt on a table."""
    paper = Image.new("RGB", (460, 640), (244, 243, 238))
    drawing = ImageDraw.Draw(paper)
    drawing.text((230, 40), "CAFE AM HAFEN", font=font(36), fill=(40, 40, 44), anchor="ma")
    drawing.text((230, 95), "Receipt No. 4711", font=font(24), fill=(60, 60, 64), anchor="ma")
    drawing.text((230, 130), "14.03.2026  09:41", font=font(24), fill=(60, 60, 64), anchor="ma")
    for number, (name, price) in enumerate(RECEIPT):
        row = 210 + number * 50
        drawing.text((40, row), name, font=font(28), fill=(50, 50, 54))
        drawing.text((420, row), price, font=font(28), fill=(50, 50, 54), anchor="ra")
    drawing.line((40, 425, 420, 425), fill=(80, 80, 84), width=2)
    drawing.text((40, 445), "TOTAL EUR", font=font(34), fill=(30, 30, 34))
    drawing.text((420, 445), "12.00", font=font(34), fill=(30, 30, 34), anchor="ra")
    drawing.text((230, 560), "Thank you for your visit", font=font(24), fill=(60, 60, 64), anchor="ma")
    table = Image.new("RGB", (640, 780), (112, 82, 58))
    layer = Image.new("RGBA", table.size)
    layer.paste(paper, (90, 70))
    layer = layer.rotate(2.5, Image.Resampling.BICUBIC)
    table.paste(layer, (0, 0), layer)
    return speckled(table, 4)


def sign() -> Image.Image:
    """A street sign seen from the side, against the sky."""
    board = Image.new("RGBA", (760, 300), (18, 96, 62, 255))
    drawing = ImageDraw.Draw(board)
    drawing.rounded_rectangle((14, 14, 746, 286), 26, outline="white", width=8)
    drawing.text((60, 50), "Harbour", font=font(92), fill="white")
    drawing.text((60, 165), "Old Town  2 km", font=font(72), fill="white")
    sky = Image.linear_gradient("L").resize((960, 600))
    picture = Image.merge("RGB", [sky.point([90 + value // 3 for value in range(256)]),
                                  sky.point([140 + value // 4 for value in range(256)]),
                                  sky.point([205 + value // 6 for value in range(256)])])  # fmt: skip
    ImageDraw.Draw(picture).rectangle((455, 400, 490, 600), fill=(96, 100, 104))
    # The corners of the board as they are seen, from which each pixel looks up where it comes from.
    seen = ((90, 150), (90, 440), (870, 400), (870, 110))
    board = board.transform(
        picture.size, Image.Transform.PERSPECTIVE, perspective(seen, board.size), Image.Resampling.BICUBIC
    )
    picture.paste(board, (0, 0), board)
    return speckled(picture, 5)


def perspective(seen: tuple[tuple[int, int], ...], size: tuple[int, int]) -> list[float]:
    """The eight coefficients that take a point of the picture to the point of the board seen there."""
    width, height = size
    corners = ((0, 0), (0, height), (width, height), (width, 0))
    rows: list[list[float]] = []
    for (x, y), (u, v) in zip(seen, corners, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y, u])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y, v])
    return solved(rows)


def solved(rows: list[list[float]]) -> list[float]:
    """Gauss and Jordan: eight equations, the last column their right sides."""
    for pivot in range(len(rows)):
        best = max(range(pivot, len(rows)), key=lambda row: abs(rows[row][pivot]))
        rows[pivot], rows[best] = rows[best], rows[pivot]
        rows[pivot] = [value / rows[pivot][pivot] for value in rows[pivot]]
        for other, row in enumerate(rows):
            if other != pivot:
                rows[other] = [value - row[pivot] * base for value, base in zip(row, rows[pivot], strict=True)]
    return [row[-1] for row in rows]


def speckled(picture: Image.Image, strength: int) -> Image.Image:
    """The softness of a lens and the grain of a sensor."""
    grain = Image.new("L", picture.size)
    source = random.Random(strength)
    grain.putdata([128 + round(source.gauss(0, strength)) for _ in range(picture.width * picture.height)])
    grains = grain if picture.mode == "L" else Image.merge("RGB", [grain] * 3)
    return ImageChops.add(picture.filter(ImageFilter.GaussianBlur(0.7)), grains, offset=-128)


def main() -> None:
    for make in (page, receipt, sign):
        make().save(HERE / f"{make.__name__}.jpg", quality=82, optimize=True)


if __name__ == "__main__":
    main()
