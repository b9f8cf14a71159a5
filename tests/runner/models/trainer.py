"""What trains, beside models that predict."""

print("loaded")
calls = 0


class Trainer:
    setups = 0

    def setup(self) -> None:
        Trainer.setups += 1

    def train(self, steps: int = 1) -> str:
        return f"trained {steps} after {Trainer.setups} setups"


def plain(steps: int = 1) -> int:
    return steps * 2


def run() -> int:
    global calls
    calls += 1
    return calls


def count() -> int:
    return run()
