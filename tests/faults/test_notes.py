"""What is said of a prediction when it is accepted stays in its log, whatever dies."""

from __future__ import annotations

import os
import signal

from tests.faults.yard import Yard

WAITS = """
import time
from cog import BaseRunner

class Runner(BaseRunner):
    def run(self, seconds: float) -> str:
        print("began")
        time.sleep(seconds)
        return "done"
"""
NOTE = "Left out of the input, because this version does not know it: 'colour'\n"


def test_the_line_about_an_unknown_input_survives_a_kill_of_the_yard_and_of_its_workers(yard: Yard) -> None:
    version = yard.push("waits", WAITS)
    running = yard.create(version, {"seconds": 1.5, "colour": "red"})["id"]
    waiting = yard.create(version, {"seconds": 0.1, "colour": "blue"})["id"]
    yard.until(running, lambda shown: "began" in shown["logs"])

    yard.kill()
    for worker in yard.workers():
        os.killpg(worker, signal.SIGKILL)
    yard.start()

    for prediction in (running, waiting):
        assert yard.get(prediction)["logs"].startswith(NOTE)
        shown = yard.finished(prediction)
        assert (shown["status"], shown["logs"]) == ("succeeded", f"{NOTE}began\n")
