"""The smallest model: a text in, a greeting out."""

from cog import BaseRunner, Input


class Runner(BaseRunner):
    def setup(self) -> None:
        """Load what every prediction needs; a real model would load its weights here."""
        self.greeting = "hello"

    def run(self, text: str = Input(description="Whom to greet")) -> str:
        """Greet."""
        return f"{self.greeting} {text}"
