"""A picture in and a picture out, of a model that does nothing to it: what is measured is how bytes travel."""

from cog import BaseRunner, Input, Path


class Runner(BaseRunner):
    def run(self, image: Path = Input(description="A picture")) -> Path:
        made = image.with_name("made.png")
        made.write_bytes(image.read_bytes())
        return Path(made)
