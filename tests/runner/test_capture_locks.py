"""What destructors print while their thread is inside of the link: the collector runs them anywhere."""

import threading
import time

from modelyard_runner.capture import Capture


class Sink:
    """A link as the capture knows it: one lock, and what came."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.text = ""
        self.waits = threading.Event()

    def emit(self, owner: str, stream: str, text: str, copy: bool) -> None:
        self.waits.set()
        with self.lock:
            self.text += text

    def held(self) -> bool:
        return self.lock._is_owned()  # type: ignore[attr-defined,no-any-return]


def test_one_who_prints_inside_of_the_link_does_not_wait_for_one_who_prints_into_it() -> None:
    sink = Sink()
    capture = Capture(sink.emit, time.monotonic, sink.held)
    other = threading.Thread(target=capture.append, args=(None, "stdout", "outside\n"), daemon=True)
    with sink.lock:
        other.start()
        assert sink.waits.wait(10)  # the other has the capture's lock and wants the link's, which is ours
        inner = threading.Thread(target=other.join, args=(10,))
        capture.append(None, "stdout", "inside\n")  # waits for ever where it takes the capture's lock
        inner.start()
    inner.join()
    assert not other.is_alive()
    capture.append(None, "stdout", "later\n")
    assert sorted(sink.text.splitlines()) == ["inside", "later", "outside"]


def test_what_was_printed_inside_of_the_link_comes_without_a_further_print() -> None:
    sink = Sink()
    capture = Capture(sink.emit, time.monotonic, sink.held)
    with sink.lock:
        capture.append(None, "stderr", "inside\n")
        assert sink.text == ""
    assert capture.partial
    capture.flush_old()
    assert sink.text == "inside\n"
