from __future__ import annotations

import signal
import time

from bench.sampling import Sampler


def test_the_line_that_works_is_the_line_that_is_seen() -> None:
    before = signal.getsignal(signal.SIGALRM)
    sampler = Sampler()
    sampler.start()
    try:
        began = time.process_time()
        while time.process_time() - began < 0.1:  # the sampled kind of time, so no slow machine can starve it
            work()
    finally:
        text = sampler.stop()
        signal.signal(signal.SIGALRM, before)
    assert "tests/bench/test_sampling.py work" in text
    assert "100.0 %" in text


def test_a_server_that_was_never_sampled_says_so() -> None:
    assert Sampler().stop() == "no samples"


def work() -> int:
    return sum(number * number for number in range(2000))
