"""Renders lake.jpg, the sample photograph: an evening at a mountain lake, made of noise. Needs numpy and Pillow.

Nobody's rights are in it, and its size and content are known to the tests. `python make_photo.py` writes it again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

WIDTH, HEIGHT = 1280, 853
HORIZON = 0.56
SEED = 20


def noise(random: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]) -> np.ndarray:
    """Smooth values from 0 to 1 over `shape`, with about `cells` waves across and down."""
    coarse = Image.fromarray((random.random((cells[1] + 2, cells[0] + 2)) * 255).astype(np.uint8))
    return np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC), dtype=np.float64) / 255


def fractal(
    random: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int], octaves: int, gain: float = 0.5
) -> np.ndarray:
    """Noise on noise of half the size each, from 0 to 1."""
    total = np.zeros(shape)
    weight, sum_of_weights = 1.0, 0.0
    for octave in range(octaves):
        total += weight * noise(random, shape, (cells[0] << octave, cells[1] << octave))
        sum_of_weights += weight
        weight *= gain
    return total / sum_of_weights


def mix(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    return first + (second - first) * share[..., None]


def sky(random: np.random.Generator) -> np.ndarray:
    height = int(HEIGHT * HORIZON) + 1
    down = np.linspace(0, 1, height)[:, None] * np.ones((1, WIDTH))
    across = np.linspace(0, 1, WIDTH)[None, :] * np.ones((height, 1))
    picture = mix(np.array([0.16, 0.29, 0.53]), np.array([0.98, 0.72, 0.48]), down**1.6)
    distance = np.hypot((across - 0.68) * WIDTH / HEIGHT, (down - 0.86) * HORIZON)
    picture = picture + np.exp(-(distance**2) / 0.02)[..., None] * np.array([0.5, 0.36, 0.16])
    clouds = fractal(random, (height, WIDTH), (3, 6), 7)
    cover = np.clip((clouds - 0.5) * 4, 0, 1) * (0.35 + 0.55 * down)
    lit = mix(np.array([0.72, 0.62, 0.66]), np.array([1.0, 0.84, 0.68]), np.clip(clouds * 1.6 - 0.4, 0, 1))
    return picture + (lit - picture) * cover[..., None]


def ridge(random: np.random.Generator, base: float, rise: float, cells: int) -> np.ndarray:
    """For every column the height of a range of mountains, as a share of the picture from its top."""
    line = fractal(random, (1, WIDTH), (cells, 1), 8, 0.52)[0]
    return base - rise * (line - line.min()) / (line.max() - line.min())


def land(random: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    height = picture.shape[0]
    rows = np.arange(height)[:, None] / HEIGHT
    haze = np.array([0.93, 0.74, 0.58])
    ranges = [(0.53, 0.22, 3, 0.62, [0.36, 0.38, 0.5]), (0.55, 0.16, 5, 0.36, [0.24, 0.28, 0.36]),
              (0.565, 0.07, 9, 0.1, [0.09, 0.13, 0.12])]  # fmt: skip
    for base, rise, cells, veil, colour in ranges:
        top = ridge(random, base, rise, cells)[None, :]
        inside = np.clip((rows - top) * HEIGHT, 0, 1)
        rock = fractal(random, (height, WIDTH), (cells * 12, cells * 12), 5)
        smooth = np.convolve(np.pad(top[0], 40, "edge"), np.full(81, 1 / 81), "valid")
        slope = np.gradient(smooth)[None, :] * 900
        light = np.clip(0.75 + 0.7 * (rock - 0.5) + 0.14 * slope, 0.3, 1.5)
        surface = np.array(colour) * light[..., None]
        depth = np.clip((rows - top) / 0.2, 0, 1)
        surface = mix(surface, haze * np.ones_like(surface), veil * (0.55 + 0.45 * depth))
        picture = mix(picture, surface, inside)
    return picture


def lake(random: np.random.Generator, above: np.ndarray) -> np.ndarray:
    height = HEIGHT - above.shape[0]
    down = np.linspace(0, 1, height)[:, None]
    waves = fractal(random, (height, WIDTH), (6, 60), 4) - 0.5
    rows = np.clip(above.shape[0] - 1 - (down * height * 1.1 + waves * (4 + 60 * down)), 0, above.shape[0] - 1)
    columns = np.clip(np.arange(WIDTH)[None, :] + waves * 14 * down, 0, WIDTH - 1)
    mirrored = above[rows.astype(int), columns.astype(int)]
    deep = np.array([0.05, 0.1, 0.13])
    glitter = np.clip(waves * 3, 0, 1) * 0.14
    depth = 0.15 + 0.5 * down * np.ones((1, WIDTH))
    return mix(mirrored * 0.82, deep * np.ones_like(mirrored), depth) + glitter[..., None]


def shore(random: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Reeds in front, out of focus."""
    layer = np.zeros((HEIGHT, WIDTH))
    for _ in range(420):
        foot = random.normal(0.12, 0.14) * WIDTH
        tall = random.uniform(0.06, 0.3) * HEIGHT
        lean = random.normal(0, 0.12) * tall
        steps = np.linspace(0, 1, int(tall))
        rows = (HEIGHT - 1 - steps * tall).astype(int)
        columns = (foot + lean * steps**2).astype(int)
        kept = (columns > 1) & (columns < WIDTH - 2)
        for shift in (0, 1):
            layer[rows[kept], columns[kept] + shift] = np.maximum(0.35, 1 - steps[kept] * 0.5)
    blurred = Image.fromarray((layer * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1.6))
    cover = np.clip(np.asarray(blurred, dtype=np.float64) / 150, 0, 1)
    return mix(picture, np.array([0.05, 0.06, 0.035]) * np.ones_like(picture), cover)


def developed(random: np.random.Generator, picture: np.ndarray) -> Image.Image:
    """What a lens and a sensor add: vignette, contrast, a little blur and grain."""
    rows, columns = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    picture = picture * (1 - 0.28 * (rows**2 + columns**2) ** 1.2 / 2)[..., None]
    picture = np.clip(picture, 0, 1)
    picture = picture * picture * (3 - 2 * picture) * 0.45 + picture * 0.55
    soft = Image.fromarray((picture * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6))
    grain = random.normal(0, 2.6, (HEIGHT, WIDTH, 1))
    return Image.fromarray(np.clip(np.asarray(soft) + grain, 0, 255).astype(np.uint8))


def main() -> None:
    random = np.random.default_rng(SEED)
    above = land(random, sky(random))
    picture = np.concatenate([above, lake(random, above)])[:HEIGHT]
    developed(random, shore(random, picture)).save(Path(__file__).with_name("lake.jpg"), quality=84, optimize=True)


if __name__ == "__main__":
    main()
