"""The models of the browser tests: one for the inputs, one for the outputs, one that takes its time."""

INPUTS = '''
from typing import Any, Optional

from cog import BaseRunner, Input, Path, Secret


class Runner(BaseRunner):
    def run(
        self,
        prompt: str = Input(description="What to say <b>loudly</b>"),
        steps: int = Input(default=4, ge=1, le=50, description="How many"),
        strength: float = Input(default=0.5, ge=0, le=1),
        seed: int = Input(default=0),
        loud: bool = Input(default=False),
        style: str = Input(default="plain", choices=["plain", "bold", "odd"]),
        size: str = Input(default="s", choices=["s", "m", "l", "xl"]),
        image: Optional[Path] = Input(default=None),
        words: list[str] = Input(default=[]),
        numbers: list[int] = Input(default=[]),
        options: dict = Input(default={}),
        key: Optional[Secret] = Input(default=None),
        note: Optional[str] = Input(default=None, description="May be left out"),
    ) -> Any:
        """Says what it was given."""
        return {
            "prompt": prompt, "steps": steps, "strength": strength, "seed": seed, "loud": loud, "style": style,
            "size": size, "image": image.read_bytes().hex()[:16] if image else None, "words": words,
            "numbers": numbers, "options": options, "key": len(key.get_secret_value()) if key else 0, "note": note,
        }
'''

PNG = """
import struct
import zlib


def png(color, size=48):
    rows = b"".join(b"\\0" + bytes(color) * size for _ in range(size))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
"""

OUTPUTS = (
    PNG
    + '''
import tempfile
import time
import wave
from typing import Any

from cog import BaseRunner, Input, Path, current_scope


class Runner(BaseRunner):
    def run(
        self, kind: str = Input(default="text"), count: int = Input(default=3), text: str = Input(default="")
    ) -> Any:
        """Gives whatever is asked for."""
        folder = tempfile.mkdtemp()
        print(text or "nothing to say")
        current_scope().record_metric("pieces", count)
        if text:
            current_scope().record_metric("words", [text[:200], {text[:200]: 1}])
        if kind == "text":
            return text or "plain words"
        if kind == "number":
            return 42.5
        if kind == "none":
            return None
        if kind == "json":
            return {"deep": {"list": [1, 2, {"text": text}]}, "flag": True}
        if kind == "big":
            return {"rows": [{"id": i, "name": f"row {i}", "values": list(range(25))} for i in range(count)]}
        if kind == "table":
            return [{"id": i, "name": f"{text}{i}", "score": i / 8} for i in range(count)]
        if kind == "long":
            return "x" * count
        if kind == "fail":
            raise ValueError(text or "the weights are gone")
        if kind == "slow":
            time.sleep(count)
            return "slept"
        paths = []
        for number in range(count):
            path = Path(folder) / f"{text or 'made'}-{number}.{kind}"
            if kind == "wav":
                with wave.open(str(path), "wb") as file:
                    file.setnchannels(1)
                    file.setsampwidth(2)
                    file.setframerate(8000)
                    file.writeframes(b"\\0\\0" * 800)
            elif kind == "png":
                path.write_bytes(png((number * 37 % 256, 120, 180)))
            else:
                path.write_text(f"file {number}")
            paths.append(Path(path))
        return paths if count > 1 else paths[0]
'''
)

TALKS = '''
import time

from cog import BaseRunner, ConcatenateIterator, Input


class Runner(BaseRunner):
    def setup(self):
        print("loading what it needs")
        time.sleep(1.5)

    def run(
        self,
        tokens: int = Input(default=20),
        pause: float = Input(default=0.0),
        word: str = Input(default="token "),
        lines: int = Input(default=0),
    ) -> ConcatenateIterator[str]:
        """Talks."""
        for number in range(lines):
            print(f"line {number} of what it says beside")
        for number in range(tokens):
            if pause:
                time.sleep(pause)
            yield word + ("\\n" if number % 16 == 15 else "")
'''

GALLERY = (
    PNG
    + '''
import tempfile
import time
from typing import Iterator

from cog import BaseRunner, Input, Path


class Runner(BaseRunner):
    def run(
        self, images: list[Path] = Input(default=[], description="Shown again"), count: int = Input(default=4)
    ) -> Iterator[Path]:
        """Pictures, one after the other."""
        for image in images:
            yield image
        for number in range(count):
            time.sleep(0.3)
            path = Path(tempfile.mkdtemp()) / f"step-{number}.png"
            path.write_bytes(png((number * 37 % 256, 120, 180)))
            yield path
'''
)

BROKEN = '''
from cog import BaseRunner


class Runner(BaseRunner):
    def setup(self):
        raise ValueError("the weights are not what they should be")

    def run(self) -> str:
        """Never starts."""
        return "never"
'''

README = """# What it does

It takes **every** kind of input, and says what it got. See [the guide](https://example.org/guide).

| input | meaning |
|---|---|
| `prompt` | what to say |

```python
import replicate

print(replicate.run("yard/inputs", input={"prompt": "you"}))
```

1. Write a text.
2. Press Run.

> Nothing here is meant.
"""
