"""The order of samples in shards: each comes once, whatever the ranks, and only (seed, epoch) and the lanes decide."""

from hypothesis import given, settings
from hypothesis import strategies as st

from datastage.shards.order import WINDOW, Epoch, Window

COUNTS = st.lists(st.integers(0, 20), min_size=1, max_size=12)


def rows(epoch, part):
    found = []
    for window, start, stop in part.pieces:
        shard, number = window.samples(epoch.shuffle)
        found += [(window.shards[s], i) for s, i in zip(shard[start:stop].tolist(), number[start:stop].tolist())]
    return found


def epoch_of(counts, lanes=1, shuffle=(1, 2)):
    return Epoch(len(counts), counts.__getitem__, lanes=lanes, shuffle=shuffle)


def everything(counts):
    return [(k, i) for k, n in enumerate(counts) for i in range(n)]


@settings(max_examples=150, deadline=None)
@given(COUNTS, st.integers(1, 4), st.data())
def test_each_sample_comes_once_though_ranks_batch_size_and_evaluation_change_in_the_middle(counts, lanes, data):
    seen, position = [], 0
    while position < sum(counts):
        size, batch_size, even = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 9)), data.draw(st.booleans())
        epochs = [epoch_of(counts, lanes) for _ in range(size)]
        ranks = [
            epoch.parts(position, batch_size, rank=rank, size=size, even=even) for rank, epoch in enumerate(epochs)
        ]
        for _ in range(data.draw(st.integers(1, 3))):
            parts = [next(rank, None) for rank in ranks]
            if parts[0] is None:
                assert parts == [None] * size
                break
            assert len({(part.start, part.stop) for part in parts}) == 1
            own = [rows(epoch, part) for epoch, part in zip(epochs, parts)]
            assert all(0 < len(each) <= batch_size for each in own)
            seen += [row for each, part in zip(own, parts) for row in each[: part.valid]]
            position = parts[0].stop
    assert sorted(seen) == everything(counts)


@settings(max_examples=100, deadline=None)
@given(COUNTS, st.integers(1, 4), st.integers(2, 9))
def test_no_rank_repeats_a_sample_while_there_is_one_for_each(counts, size, batch_size):
    for rank in range(size):
        parts = list(epoch_of(counts).parts(0, batch_size, rank=rank, size=size))
        if sum(counts) >= size:
            assert all(part.valid == sum(p.stop - p.start for p in part.pieces) for part in parts)


@settings(max_examples=60, deadline=None)
@given(COUNTS, st.integers(1, 4), st.integers(1, 6))
def test_an_evaluation_of_several_ranks_is_gathered_in_order_with_its_padding_at_the_end(counts, size, batch_size):
    epochs = [epoch_of(counts, shuffle=None) for _ in range(size)]
    ranks = [e.parts(0, batch_size, rank=rank, size=size, even=True) for rank, e in enumerate(epochs)]
    gathered = []
    for together in zip(*ranks, strict=True):
        assert len({part.size for part in together}) == 1
        for epoch, part in zip(epochs, together):
            own = rows(epoch, part)[: part.valid]
            gathered += own + [None] * ((part.size or len(own)) - len(own))
    assert [row for row in gathered if row is not None] == everything(counts)
    assert None not in gathered[: len(everything(counts))]


def test_the_order_is_another_in_each_epoch_and_the_same_whatever_the_ranks():
    counts = [5, 8, 3, 9, 7, 6]

    def order(shuffle, size):
        epochs = [epoch_of(counts, shuffle=shuffle) for _ in range(size)]
        ranks = [e.parts(0, 12 // size, rank=rank, size=size) for rank, e in enumerate(epochs)]
        steps = [[rows(e, part) for e, part in zip(epochs, parts)] for parts in zip(*ranks)]
        return [row for step in steps for own in step for row in own]

    one = order((3, 0), 1)
    assert one == order((3, 0), 2) == order((3, 0), 3) == order((3, 0), 4)
    assert one != order((3, 1), 1)
    assert one != order((4, 0), 1)


def test_the_first_window_is_one_shard_and_samples_are_shuffled_within_windows():
    counts = [10] * 9
    epoch = epoch_of(counts)
    shards = [rows(epoch, part)[0][0] for part in epoch.parts(0, 1, rank=0, size=1)]
    assert len(set(shards[:10])) == 1
    assert len(set(shards[10 : 10 + 10 * WINDOW])) == WINDOW
    assert len(set(shards[10:20])) > 1


def test_a_node_takes_the_shards_of_its_own_lane_until_lanes_run_out():
    counts = [20] * 8
    used = []
    for rank in range(4):  # two nodes of two ranks
        epoch = epoch_of(counts, lanes=2)
        used.append({k for part in epoch.parts(0, 5, rank=rank, size=4) for k, _ in rows(epoch, part)})
    assert used[0] == used[1]
    assert used[2] == used[3]
    assert not used[0] & used[2]


def test_shards_are_counted_no_further_than_they_are_needed():
    asked = []
    epoch = Epoch(5, lambda k: asked.append(k) or 10, lanes=1, shuffle=None)
    parts = epoch.parts(0, 5, rank=0, size=1)
    next(parts)
    assert asked == [0]
    next(parts), next(parts)
    assert asked == [0, 1]


def test_each_window_of_each_lane_is_shuffled_in_a_way_of_its_own():
    windows = [Window(lane, number, (0,), (50,), 0) for lane in range(2) for number in range(2)]
    assert len({tuple(window.samples((0, 0))[1].tolist()) for window in windows}) == 4
