"""A thread that makes what is asked for next."""

import itertools
import threading
import time

import pytest

from datastage.made_ahead import made_ahead


def test_items_come_in_their_order_and_an_error_in_its_place():
    def items():
        yield from range(5)
        raise ValueError("the sixth")

    got = []
    with pytest.raises(ValueError, match="the sixth"):
        got.extend(made_ahead(items(), 2, name="maker", leave_s=10))
    assert got == [0, 1, 2, 3, 4]


def test_no_more_is_made_than_may_wait():
    made = []
    given = made_ahead((made.append(n) or n for n in range(100)), 2, name="maker", leave_s=10)
    assert next(given) == 0
    time.sleep(0.5)
    assert len(made) == 4  # one given, two that wait, and one in the hand of the thread
    given.close()


def test_who_stops_early_ends_the_thread_which_closes_what_it_read_from():
    stop, closed = threading.Event(), []

    def items():
        try:
            yield from itertools.count()
        finally:
            closed.append(threading.current_thread().name)

    given = made_ahead(items(), 2, stop, name="maker of numbers", leave_s=30)
    assert next(given) == 0
    given.close()

    assert stop.is_set()
    assert closed == ["maker of numbers"]
    assert "maker of numbers" not in {thread.name for thread in threading.enumerate()}


def test_a_stop_that_another_sets_ends_the_work_in_the_middle():
    stop, made = threading.Event(), []
    given = made_ahead((made.append(n) or n for n in itertools.count()), 2, stop, name="maker", leave_s=30)
    next(given)
    stop.set()
    time.sleep(0.5)
    n = len(made)
    time.sleep(0.3)
    assert len(made) == n
    given.close()
