"""The folder of shards that are brought: who holds one keeps it, the oldest of the others go first."""

import os

import pytest

import datastage
from datastage import runtime
from datastage.errors import NoSpaceError, UnavailableError
from datastage.shards.cache import ShardCache, Stop, budget_of
from datastage.shards.listing import find
from tests.servers import server as server
from tests.stand_ins.shards import shards


@pytest.fixture
def found(server, here, monkeypatch):
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    for k, data in enumerate(shards([4] * 6)):
        server.serve(f"s-{k}.tar", data)
    return find(server.url("s-{0..5}.tar"), runtime.current()).splits["train"]


def cache_of(tmp_path, n, found):
    return ShardCache(tmp_path / "near", n * 10_240, runtime.current())


def here_now(cache):
    return len(list(cache.folder.glob("*.tar")))


def test_the_oldest_shard_goes_first_and_never_one_that_is_held(tmp_path, found, server):
    cache = cache_of(tmp_path, 3, found)
    size = cache.open(found[0]).size
    assert size == 10_240
    held = cache.open(found[0])
    for k in (1, 2, 3, 4):
        cache.open(found[k]).close()
        assert here_now(cache) <= 3
    assert len(held.scan()) == 4
    n = server.n_sent["s-0.tar"]
    cache.open(found[0]).close()
    assert server.n_sent["s-0.tar"] == n  # it is still here
    held.close()
    for path in cache.folder.glob("*.tar"):
        os.utime(path, (1, 1))
    cache.open(found[4]).close()
    cache.open(found[5]).close()
    assert here_now(cache) == 3


def test_where_all_are_held_it_says_how_much_would_do(tmp_path, found):
    cache = cache_of(tmp_path, 2, found)
    held = [cache.open(found[k]) for k in (0, 1)]
    with pytest.raises(NoSpaceError, match="cache_gb="):
        cache.open(found[2])
    held.pop().close()
    cache.open(found[2]).close()


def test_two_caches_of_one_folder_bring_a_shard_once(tmp_path, found, server):
    one, two = cache_of(tmp_path, 9, found), cache_of(tmp_path, 9, found)
    one.ahead(found)
    files = [two.open(shard) for shard in found]
    assert [len(file.scan()) for file in files] == [4] * 6
    files += [one.open(shard) for shard in found]
    # Who asks whether it changed gets the beginning of a file once more.
    assert all(server.n_sent[f"s-{k}.tar"] < 4 * 10_240 for k in range(6))
    assert here_now(one) == 6


def test_who_no_longer_wants_a_shard_is_let_go_at_once(tmp_path, found, server):
    import threading

    gate, stop = threading.Event(), threading.Event()
    server.pages["s-1.tar"].hook = lambda n: gate.wait(15)
    stop.set()
    with pytest.raises(Stop):
        cache_of(tmp_path, 9, found).open(found[1], stop)
    gate.set()


def test_a_process_forked_from_one_that_brought_shards_brings_its_own(tmp_path, found):
    cache = cache_of(tmp_path, 9, found)
    cache.open(found[0]).close()
    child = os.fork()
    if child == 0:
        try:
            cache.open(found[1]).close()
        finally:
            os._exit(0 if (tmp_path / "near").exists() and here_now(cache) == 2 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_shards_and_pixels_that_another_process_removes_meanwhile_stop_nobody(tmp_path, here):
    (tmp_path / "pixels").mkdir()
    near = tmp_path / "pixels"
    for name in ("s-0.tar", "packed-1.u8"):
        (near / name).symlink_to("gone")  # listed, and not there
    assert budget_of(None, near) > 0
    (tmp_path / "s-0.tar").write_bytes(shards([4])[0])
    options = {"device": "cpu", "cache": near, "test": 0, "progress": False}
    train = datastage.loaders(tmp_path / "s-0.tar", batch_size=2, **options).train
    assert sum(len(y) for _, y in train) == 4


def test_what_came_whole_is_enough_where_its_place_is_silent_but_not_in_the_middle_of_another(tmp_path, found, server):
    begun, later = cache_of(tmp_path, 9, found), cache_of(tmp_path, 9, found)
    begun.open(found[0]).close()
    server.pages["s-0.tar"].status = 404
    later.open(found[0]).close()
    (mark,) = later.folder.glob("*.identity")
    mark.write_text("what another process brought since")
    with pytest.raises(UnavailableError):
        begun.open(found[0])
