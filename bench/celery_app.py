"""Celery's side of the durable case, run in Celery's own environment: the task, and the caller that measures it.

python celery_app.py IN_FLIGHT SECONDS       prints {"per_second": …, "p50_ms": …}
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections import deque

from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_REDIS"], backend=os.environ["BENCH_REDIS"])
# Durable as a prediction is: a task is taken off the queue when it is done, not when it is begun.
app.conf.update(task_acks_late=True, task_track_started=False, result_expires=60, worker_prefetch_multiplier=16)


@app.task(name="hello")
def hello(text: str) -> str:
    return f"hello {text}"


def main() -> None:
    in_flight, seconds = int(sys.argv[1]), float(sys.argv[2])
    hello.delay("warm").get(timeout=30)
    began_at = time.monotonic()
    waiting = deque((time.monotonic(), hello.delay("bench")) for _ in range(in_flight))
    took = []
    while waiting:
        handed_in_at, result = waiting.popleft()
        if result.get(timeout=30) != "hello bench":
            sys.exit("a wrong answer")
        took.append(time.monotonic() - handed_in_at)
        if time.monotonic() - began_at < seconds:
            waiting.append((time.monotonic(), hello.delay("bench")))
    elapsed = time.monotonic() - began_at
    print(json.dumps({"per_second": len(took) / elapsed, "p50_ms": statistics.median(took) * 1e3}))


if __name__ == "__main__":
    main()
