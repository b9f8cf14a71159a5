"""A darkroom: resizes a photograph and blurs, sharpens or draws its edges."""

import tempfile
from pathlib import Path as FilePath

from cog import BaseRunner, Input, Path, current_scope
from PIL import Image, ImageFilter, ImageOps

FORMATS = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}
# A picture of more pixels than this is a mistake or an attack: it would fill the memory.
MOST_PIXELS = 100_000_000


class Runner(BaseRunner):
    def setup(self) -> None:
        Image.MAX_IMAGE_PIXELS = MOST_PIXELS
        Image.init()

    def run(
        self,
        image: Path = Input(description="A photograph: JPEG, PNG, WebP, GIF, BMP or TIFF"),
        effect: str = Input(
            description="What to do with it", default="none", choices=["none", "blur", "sharpen", "edges"]
        ),
        amount: float = Input(description="How strong the effect is", default=2.0, ge=0, le=20),
        width: int | None = Input(description="Width in pixels; the height follows", default=None, ge=1, le=8000),
        output_format: str = Input(description="Format of the result", default="jpeg", choices=list(FORMATS)),
        quality: int = Input(description="Quality of JPEG and WebP", default=85, ge=1, le=100),
    ) -> Path:
        """Resize first, since an effect on fewer pixels is quicker and its strength then means the same at any size."""
        picture = opened(image)
        current_scope().record_metric("input_pixels", picture.width * picture.height)
        if width is not None:
            height = max(1, round(picture.height * width / picture.width))
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        picture = EFFECTS[effect](picture, amount)
        print(f"{effect}: {picture.width} x {picture.height} pixels")
        current_scope().record_metric("output_pixels", picture.width * picture.height)
        return saved(picture, output_format, quality)


def opened(path: Path) -> Image.Image:
    """The picture, turned the way its camera was held, in colour."""
    try:
        with Image.open(path) as picture:
            return ImageOps.exif_transpose(picture).convert("RGB")
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"image is no picture that can be read: {error}") from None


def saved(picture: Image.Image, output_format: str, quality: int) -> Path:
    path = FilePath(tempfile.mkdtemp()) / f"photo{FORMATS[output_format]}"
    options = {} if output_format == "png" else {"quality": quality}
    picture.save(path, output_format, **options)
    return Path(path)


def blurred(picture: Image.Image, amount: float) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(amount))


def sharpened(picture: Image.Image, amount: float) -> Image.Image:
    return picture.filter(ImageFilter.UnsharpMask(radius=2, percent=round(amount * 100), threshold=2))


def edges(picture: Image.Image, amount: float) -> Image.Image:
    """Dark lines on white, as a pencil would draw them; smoothed first, or the grain would be drawn too."""
    grey = ImageOps.grayscale(picture).filter(ImageFilter.GaussianBlur(1 + amount / 4))
    lines = grey.filter(ImageFilter.FIND_EDGES)
    # The filter sees the picture's own border as an edge.
    framed = ImageOps.expand(ImageOps.crop(lines, 2), 2)
    return ImageOps.invert(ImageOps.autocontrast(framed, cutoff=(0, 1))).convert("RGB")


def unchanged(picture: Image.Image, amount: float) -> Image.Image:
    return picture


EFFECTS = {"none": unchanged, "blur": blurred, "sharpen": sharpened, "edges": edges}
