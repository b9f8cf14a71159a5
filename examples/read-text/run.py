"""Reads the text in pictures: each line with its place and confidence, and the picture with the lines marked."""

import tempfile
from pathlib import Path as FilePath

import numpy as np
from cog import BaseModel, BaseRunner, Input, Path, current_scope
from PIL import Image, ImageDraw, ImageFont, ImageOps
from rapidocr import RapidOCR

# Larger pictures are read no better, and cost memory with the square of their side.
LONGEST_SIDE = 4000


class Line(BaseModel):
    """One line of text. `box`: its four corners in pixels, x and y, clockwise from the top left."""

    text: str
    confidence: float
    box: list[list[float]]


class Page(BaseModel):
    """What one picture says. `marked`: the picture with the lines' boxes drawn."""

    text: str
    lines: list[Line]
    marked: Path


class Runner(BaseRunner):
    def setup(self) -> None:
        """Load the networks, and read an empty page once: the first one allocates what all later ones use."""
        self.reader = RapidOCR(params={"Global.log_level": "error"})
        self.reader(np.full((64, 256, 3), 255, np.uint8))
        print("ready to read")

    def run(
        self,
        images: list[Path] = Input(description="Pictures of pages, receipts, signs: JPEG, PNG, WebP or TIFF"),
        min_confidence: float = Input(description="Lines less certain than this are left out", default=0.5, ge=0, le=1),
    ) -> list[Page]:
        """Read the pictures, one after the other."""
        folder = FilePath(tempfile.mkdtemp())
        pages = []
        for number, path in enumerate(images):
            picture = opened(path, number)
            lines = [line for line in self.read(picture) if line.confidence >= min_confidence]
            print(f"picture {number + 1} of {len(images)}: {len(lines)} lines")
            target = folder / f"marked-{number}.png"
            marked(picture, lines).save(target)
            pages.append(Page(text=in_rows(lines), lines=lines, marked=Path(target)))
        scope = current_scope()
        scope.record_metric("lines", sum(len(page.lines) for page in pages))
        scope.record_metric("characters", sum(len(page.text) for page in pages))
        return pages

    def read(self, picture: Image.Image) -> list[Line]:
        # The network was trained on pictures whose first channel is blue.
        found = self.reader(np.asarray(picture)[:, :, ::-1])
        if found.boxes is None or not found.txts:
            return []
        return [
            Line(text=text, confidence=round(float(score), 4), box=np.asarray(box).round(1).tolist())
            for text, score, box in zip(found.txts, found.scores, found.boxes, strict=True)
        ]


def opened(path: Path, number: int) -> Image.Image:
    """The picture, turned the way its camera was held, in colour."""
    try:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture).convert("RGB")
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"images.{number} is no picture that can be read: {error}") from None
    upright.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return upright


def in_rows(lines: list[Line]) -> str:
    """The text as it is read: what stands side by side, as on a receipt, in one row from left to right."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=middle):
        above = rows[-1][-1] if rows else None
        if above is not None and middle(line) - middle(above) < height(line) * 0.7:
            rows[-1].append(line)
        else:
            rows.append([line])
    return "\n".join("  ".join(line.text for line in sorted(row, key=lambda each: each.box[0][0])) for row in rows)


def middle(line: Line) -> float:
    return sum(y for _, y in line.box) / 4


def height(line: Line) -> float:
    """Of the left edge, which a slanted line does not make taller."""
    return line.box[3][1] - line.box[0][1]


def marked(picture: Image.Image, lines: list[Line]) -> Image.Image:
    """A copy with a box around every line and its number beside it."""
    copy = picture.copy()
    drawing = ImageDraw.Draw(copy)
    width = max(2, max(copy.size) // 500)
    font = ImageFont.load_default(max(10, width * 7))
    for number, line in enumerate(lines, 1):
        corners = [tuple(corner) for corner in line.box]
        drawing.line([*corners, corners[0]], fill=(214, 40, 40), width=width, joint="curve")
        drawing.text(corners[0], str(number), fill=(214, 40, 40), font=font, anchor="rb")
    return copy
