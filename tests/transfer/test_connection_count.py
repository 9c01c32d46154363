"""Connections grow while they help, and never again after the server said that they are too many."""

from __future__ import annotations

from datastage.transfer.connection_count import ConnectionCount


def run(pace, rate_of, seconds):
    now, received = 0.0, 0
    while now < seconds:
        pace.tick(now, received, pace.target)
        now += 0.05
        received += int(rate_of(pace.target) * 0.05) + 1
    return pace


def test_it_grows_to_the_ceiling_where_each_connection_is_limited():
    assert run(ConnectionCount(16), lambda n: n * 1_000_000, 3).target == 16


def test_it_stays_small_where_one_connection_fills_the_link():
    assert run(ConnectionCount(16), lambda n: 50_000_000, 1.5).target == 4


def test_it_finds_a_limit_in_between():
    assert run(ConnectionCount(16), lambda n: min(n, 8) * 1_000_000, 2.4).target in (8, 16)


def test_a_step_is_judged_when_every_connection_has_brought_something():
    pace = ConnectionCount(16)
    for tick in range(25):  # a far link: the new connections are still shaking hands
        pace.tick(tick * 0.1, tick * 1000, 3)
    assert pace.target == 4


def test_connections_that_bring_nothing_are_not_waited_for_for_ever():
    pace = ConnectionCount(16)
    for tick in range(80):
        pace.tick(tick * 0.1, tick * 1000, 3)
    assert pace.target > 4


def test_it_begins_small():
    assert ConnectionCount(16).target == 4


def test_it_never_grows_back_after_a_refusal():
    pace = run(ConnectionCount(16), lambda n: n * 1_000_000, 3)
    pace.settle(16 // 2)
    assert pace.target == 8
    assert run(pace, lambda n: n * 1_000_000, 60).target == 8


def test_a_fixed_number_stays_but_for_a_refusal():
    pace = run(ConnectionCount(6, fixed=True), lambda n: n * 1_000_000, 5)
    assert pace.target == 6
    pace.settle(6 // 2)
    assert pace.target == 3


def test_there_is_always_one_connection():
    pace = ConnectionCount(1)
    pace.settle(0)
    assert pace.target == 1
