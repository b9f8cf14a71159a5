"""Small models of every kind."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator

import cog
from cog import BaseRunner, ConcatenateIterator, Input, Path, Secret, concurrent, current_scope, streaming


def hello(text: str) -> str:
    return "hello " + text


class Runner(BaseRunner):
    def setup(self) -> None:
        print("setting up")
        self.count = 0

    def run(self, text: str = Input(default="you", description="whom to greet")) -> str:
        self.count += 1
        return f"hello {text} {self.count}"


class OldStyle(cog.BasePredictor):
    def predict(self, text: str) -> str:
        return "old " + text


class Plain:
    def run(self, n: int = 1) -> int:
        return n + 1


class Inherited(Runner):
    pass


class Both:
    def run(self) -> str:
        return ""

    def predict(self) -> str:
        return ""


class Neither:
    pass


class AsyncSetup:
    async def setup(self) -> None:
        await asyncio.sleep(0.01)
        self.loop = asyncio.get_running_loop()

    async def run(self) -> bool:
        return self.loop is asyncio.get_running_loop()


class Weights:
    def setup(self, weights: Path | None = None) -> None:
        self.weights = weights

    def run(self) -> str:
        return f"{type(self.weights).__name__} {self.weights}"


class TrainOnly:
    def setup(self) -> None:
        self.ready = True

    def train(self, steps: int = 1) -> str:
        return f"trained {steps} {self.ready}"


class RunAndTrain:
    def run(self) -> str:
        return "ran"

    def train(self) -> str:
        return "trained"


class Healthy:
    state: bool | None = True

    def run(self, state: str = "ok") -> str:
        Healthy.state = {"ok": True, "bad": False, "raise": None}[state]
        return state

    def healthcheck(self) -> bool:
        if Healthy.state is None:
            raise RuntimeError("bad gpu")
        return Healthy.state


def train(n: int = 2) -> int:
    return n * 10


@streaming
def tokens(count: int = 3, pause: float = 0.0) -> Iterator[str]:
    for number in range(count):
        if pause:
            time.sleep(pause)
        yield f"t{number} "


def wrapped_generator(count: int = 3) -> ConcatenateIterator[str]:
    return (f"w{number}" for number in range(count))


async def async_hello(text: str = "you") -> str:
    return "hello " + text


@concurrent(max=8)
async def async_sleep(seconds: float = 0.05, text: str = "x") -> str:
    print(f"begin {text}")
    await asyncio.sleep(seconds)
    print(f"end {text}")
    return text


@concurrent(max=8)
async def async_tokens(count: int = 3, pause: float = 0.0) -> AsyncIterator[str]:
    for number in range(count):
        if pause:
            await asyncio.sleep(pause)
        yield f"a{number} "


async def swallow() -> str:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return "I go on"
    return "slept"


def context() -> dict:
    scope = current_scope()
    scope.record_metric("tokens.out", 3)
    scope.record_metric("words", "x", "append")
    return dict(scope.context)


def number_kinds(i: int, f: float, n: int | None, many: list[int] = Input(default=[1])) -> str:  # noqa: B008
    many.append(0)
    return f"{i!r} {f!r} {n!r} {many!r}"


def secret(token: Secret, more: list[Secret] = []) -> list:  # noqa: B006
    return [str(token), token.get_secret_value(), *(one.get_secret_value() for one in more)]


def environment() -> list:
    return [os.environ.get("MODELYARD_WORKER"), str(Path.cwd())]
