"""A file comes whole and right through every fault, or an error of ours names the fault and nothing lies at the end."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import re
import threading
import time
import zlib
from dataclasses import replace

import pytest

from datastage.errors import (
    ChecksumError,
    DatastageError,
    IntegrityError,
    NoSpaceError,
    NotDataError,
    StorageError,
    UnavailableError,
)
from datastage.progress import Silent, human_bytes
from datastage.reader import BytesReader, FileReader
from datastage.sources import http
from datastage.transfer import Limits, TooSlow, fetch, prefetch
from datastage.transfer import partial as partial_module
from datastage.transfer.retry import Interrupted

BODY = random.Random(7).randbytes(3_000_001)
HTML = b"<!DOCTYPE html><html><title>Please sign in</title>" + b" " * 3000


def get(url, to, limits, **options):
    """Fetch as staging does, and return what `fetch` says."""
    reader = http.open_url(url, has_hash=bool(options.get("expect")), limits=limits)
    try:
        return fetch(reader, to, limits=limits, **options)
    finally:
        reader.close()


def same(path, body=BODY):
    """Compare without showing three megabytes where it fails."""
    return path.read_bytes() == body


def left(folder):
    return sorted(os.listdir(folder))


FAULTS = {
    "nothing": {},
    "no ranges": {"ranges": False},
    "no state": {"etag": None, "modified": None},
    "no length": {"ranges": False, "length": False},
    "chunks": {"ranges": False, "chunked": True},
    "chunked parts": {"chunked": True},
    "every connection cut": {"cut_every": 100_000},
    "cut three times without ranges": {"ranges": False, "cut_every": 500_000, "cuts": 3},
    "a stall": {"stall_after": 50_000, "stalls": 2},
    "a stall without ranges": {"stall_after": 50_000, "stalls": 1, "ranges": False},
    "503 six times": {"busy": 6, "busy_status": 503},
    "429 with a wait": {"busy": 3, "busy_status": 429, "retry_after": "0"},
    "429 with a date": {"busy": 2, "busy_status": 429, "retry_after": "Sat, 21 Nov 2020 10:00:00 GMT"},
    "500 twice": {"busy": 2, "busy_status": 500},
    "too many connections": {"busy_above": 2, "busy_status": 429},
    "200 to a range": {"deny_ranges": 3},
    "206 with another range": {"shift": 1000},
    "a slow drip on one connection": {"drip": 400},
    "gzip on the way": {"encoding": "gzip"},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_right_bytes_come_through(fault, server, tmp_path, quick):
    faults = dict(FAULTS[fault])
    body = BODY
    if "encoding" in faults:
        import gzip

        body = gzip.compress(BODY, 1)
    url = server.serve("data.bin", body, **faults)
    done = get(url, tmp_path / "data.bin", replace(quick, tries=6))
    assert same(tmp_path / "data.bin")
    assert done.digests == {"sha256": hashlib.sha256(BODY).hexdigest()}
    assert left(tmp_path) == ["data.bin"]


ERRORS = {
    "truncated": ({"truncate": 400}, IntegrityError, "cut short: 400 of 3,000,001 bytes"),
    "truncated without ranges": (
        {"truncate": 400, "ranges": False},
        IntegrityError,
        "cut short: 400 of 3,000,001 bytes",
    ),
    "a length too long": ({"ranges": False, "wrong_length": 10}, IntegrityError, "3,000,001 of 3,000,011 bytes"),
    "a web page": ({"body": HTML, "type": "text/html"}, NotDataError, "sign-in page instead of data.bin"),
    "an empty file": ({"body": b""}, NotDataError, "an empty file"),
    "an error document": (
        {"body": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"},
        NotDataError,
        "error message of the storage server",
    ),
    "a pointer": ({"body": b"version https://git-lfs.github.com/spec/v1\noid x"}, NotDataError, "Git LFS pointer"),
    "stalls for ever": ({"stall_after": 20_000, "stalls": 10**6}, UnavailableError, "stalled|did not answer"),
    "busy for ever": ({"busy": 10**6}, UnavailableError, "too busy to give data.bin .503"),
    "wait too long": ({"busy": 10**6, "retry_after": "3600"}, UnavailableError, "too busy"),
    "not there": ({"status": 404}, UnavailableError, "no such file: data.bin .404"),
    "forbidden": ({"status": 403}, UnavailableError, "does not let you have data.bin .403"),
    "asks who": ({"user": ("a", "b")}, UnavailableError, "asks for a user name and a password"),
    "changes at every request": ({"change_after": 1, "modified": None, "rotate": True}, IntegrityError, "changed"),
    "brotli": ({"encoding": "br", "ranges": False}, UnavailableError, "compressed with br"),
}


@pytest.mark.parametrize("fault", ERRORS)
def test_what_cannot_come_through_is_named_and_leaves_no_file(fault, server, tmp_path, quick):
    faults, error, text = ERRORS[fault]
    faults = dict(faults)
    if faults.pop("rotate", False):

        def rotate(number):
            server.pages["data.bin"].etag = f'"{number}"'

        faults = {"hook": rotate, "modified": None}
    url = server.serve("data.bin", faults.pop("body", BODY), **faults)
    began = time.monotonic()
    with pytest.raises(error, match=text) as caught:
        get(url, tmp_path / "data.bin", replace(quick, tries=3))
    assert time.monotonic() - began < 30
    assert isinstance(caught.value, DatastageError)
    assert caught.value.remedy
    assert "data.bin" not in left(tmp_path)
    if caught.value.exit_code == 4:
        assert left(tmp_path) == []


def test_a_file_that_changes_midway_is_fetched_anew_whole(server, tmp_path, quick):
    new = bytes(reversed(BODY))
    url = server.serve("data.bin", BODY, change_after=5, changed=new)
    get(url, tmp_path / "data.bin", quick)
    assert same(tmp_path / "data.bin", new)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("now", [True, False])
def test_a_file_that_changed_comes_by_ranges_only_if_they_were_right_before_and_are_offered_still(
    before, now, tmp_path
):
    class Changes(BytesReader):
        def renew(self):
            self.ranges = now

    partial = partial_module.PartialFile(Changes(BODY), tmp_path / "x", {}, Silent(), Limits())
    partial.in_one_stream = not before
    partial.begin_anew(Interrupted(IntegrityError("It changed.", "Next: try again."), "changed"))
    assert partial.in_one_stream == (not (before and now))


def test_flipped_bits_are_a_checksum_error_and_nothing_is_kept(server, tmp_path, quick):
    url = server.serve("data.bin", BODY, flip=2_000_000)
    with pytest.raises(ChecksumError, match="its md5 is"):
        get(url, tmp_path / "data.bin", quick, expect={"md5": hashlib.md5(BODY).hexdigest()})
    assert left(tmp_path) == []


def test_every_digest_asked_for_is_computed_and_compared(server, tmp_path, quick):
    expect = {name: hashlib.new(name, BODY).hexdigest().upper() for name in ("md5", "sha256")}
    done = get(server.serve("data.bin", BODY), tmp_path / "data.bin", quick, expect=expect)
    assert done.digests == {name: digest.lower() for name, digest in expect.items()}


def test_each_byte_crosses_the_link_once(server, tmp_path, quick):
    url = server.serve("data.bin", BODY)
    done = get(url, tmp_path / "data.bin", quick)
    assert done.n_received == len(BODY)
    assert server.n_sent["data.bin"] < 1.1 * len(BODY)  # a little more where the last blocks were halved


def test_an_answer_without_ranges_is_read_on_as_it_comes(server, tmp_path, quick):
    url = server.serve("data.bin", BODY, ranges=False, rate_each=2_000_000)
    done = get(url, tmp_path / "data.bin", quick)
    assert same(tmp_path / "data.bin")
    assert len(server.requests("data.bin")) == 1
    assert done.crc32 == zlib.crc32(BODY)


def test_a_later_answer_without_ranges_or_state_is_taken_whole(server, tmp_path, quick):
    other = BODY[:100_000] + bytes(len(BODY) - 100_000)
    faults = {"ranges": False, "etag": None, "modified": None, "cut_every": 500_000, "cuts": 1}
    url = server.serve("data.bin", BODY, change_after=1, changed=other, **faults)
    done = get(url, tmp_path / "data.bin", quick)
    assert same(tmp_path / "data.bin", other)
    assert done.digests == {"sha256": hashlib.sha256(other).hexdigest()}
    assert done.crc32 == zlib.crc32(other)


def test_what_has_come_of_a_file_is_told_when_it_is_gone_on_with(server, tmp_path, quick):
    url = server.serve("data.bin", BODY, rate=1_500_000)
    with pytest.raises(TooSlow):
        get(url, tmp_path / "data.bin", replace(quick, slow_after_s=0.8), slow_below_bytes_s=1e9)
    told, notes = {"resumed": 0, "came": 0}, []

    class Tells(Silent):
        def resume(self, n_bytes):
            told["resumed"] += n_bytes

        def advance(self, n_bytes):
            told["came"] += n_bytes

        def note(self, text, label=""):
            notes.append(f"{label} {text}")

    server.pages["data.bin"].rate = None
    done = get(url, tmp_path / "data.bin", quick, reporter=Tells())
    assert told["resumed"] > 0
    assert told == {"resumed": len(BODY) - done.n_received, "came": done.n_received}
    assert notes == [f"Went on at {human_bytes(told['resumed'])} of 3 MB"]


def test_connections_are_kept(server, tmp_path, quick):
    url = server.serve("data.bin", BODY)
    get(url, tmp_path / "data.bin", quick, connections=3)
    ports = {seen.port for seen in server.requests("data.bin")}
    assert len(ports) <= 3 < len(server.requests("data.bin"))


def test_no_more_connections_are_opened_than_were_asked_for(server, tmp_path, quick):
    url = server.serve("data.bin", BODY, rate_each=2_000_000)
    get(url, tmp_path / "data.bin", quick, connections=2)
    assert server.most_active["data.bin"] == 2


def test_connections_grow_where_each_is_limited(server, tmp_path, quick):
    url = server.serve("data.bin", BODY, rate_each=150_000)
    get(url, tmp_path / "data.bin", quick)
    assert server.most_active["data.bin"] > 4


def test_a_server_that_says_too_many_gets_fewer_connections_for_good(server, tmp_path, quick):
    url = server.serve("data.bin", BODY, busy_above=3, busy_status=429, rate_each=500_000)
    get(url, tmp_path / "data.bin", quick)
    refused = [seen for seen in server.requests("data.bin") if not seen.sent]
    assert len(refused) <= 4


class TwoAtOnce(BytesReader):
    """Leaves all but two connections hanging, and counts those for a while after they were left."""

    def __init__(self, data, hang_s):
        super().__init__(data)
        self.hang_s = hang_s
        self.lock = threading.Lock()
        self.n_open = 0
        self.some_hang = threading.Event()

    def pieces(self, offset, n):
        with self.lock:
            self.n_open += 1
            is_beyond = self.n_open > 2
        try:
            if is_beyond:
                self.some_hang.set()
                time.sleep(self.hang_s)
            else:
                self.some_hang.wait(5)  # the others are over before the first of those is given up
                yield self.read_at(offset, n)
        finally:
            with self.lock:
                self.n_open -= 1


def test_those_that_a_server_leaves_hanging_are_not_all_asked_for_again_at_once(tmp_path, quick):
    stall_s = 0.6
    reader = TwoAtOnce(BODY, 1.4 * stall_s)
    fetch(reader, tmp_path / "b", limits=replace(quick, stall_s=stall_s, tries=6))
    assert same(tmp_path / "b")


def test_a_slow_place_is_left_while_another_is_left(server, tmp_path, quick):
    url = server.serve("data.bin", BODY, rate=40_000)
    with pytest.raises(TooSlow, match="kB/s only") as caught:
        get(url, tmp_path / "data.bin", replace(quick, slow_after_s=0.5), slow_below_bytes_s=100_000)
    assert caught.value.rate_bytes_s < 100_000


def test_a_slow_place_that_was_left_is_returned_to_with_what_had_come(server, tmp_path, quick):
    url = server.serve("data.bin", BODY, rate=400_000)
    with pytest.raises(TooSlow):
        get(url, tmp_path / "data.bin", replace(quick, slow_after_s=0.5), slow_below_bytes_s=1e9)
    server.pages["data.bin"].rate = None
    done = get(url, tmp_path / "data.bin", quick)
    assert done.n_received < len(BODY)
    assert same(tmp_path / "data.bin")


def test_the_last_place_says_how_long_it_will_take(server, tmp_path, quick):
    notes = []

    class Notes(Silent):
        def note(self, text, label=""):
            notes.append(f"{label:<10}{text}" if label else text)

    url = server.serve("data.bin", BODY[:80_000], rate=60_000)
    get(url, tmp_path / "data.bin", replace(quick, slow_after_s=0.4, stall_s=15), reporter=Notes())
    assert len(notes) == 1
    assert "kB/s only: " in notes[0]
    assert re.search(r"\d seconds? more", notes[0])


def test_a_transfer_ends_at_its_total_limit(server, tmp_path, quick):
    url = server.serve("data.bin", BODY, rate=20_000)
    with pytest.raises(UnavailableError, match="did not come within 1 second[.]"):
        get(url, tmp_path / "data.bin", replace(quick, total_s=1.0))


def test_a_server_that_goes_away_leaves_what_came_for_the_next_run(server, other_server, tmp_path, quick, at_first):
    url = server.serve("data.bin", BODY, rate=1_500_000)
    with pytest.raises(UnavailableError, match=r"refused the connection|broke the connection off"):
        get(url, tmp_path / "data.bin", quick, reporter=at_first(threading.Thread(target=server.stop).start))
    assert left(tmp_path) == ["data.bin.part", "data.bin.part.map"]


@pytest.mark.parametrize("first", [None, {"md5": "0" * 32}])
@pytest.mark.parametrize("then", [None, {"md5": hashlib.md5(BODY).hexdigest()}])
def test_bytes_of_two_mirrors_are_not_mixed_without_one_digest_of_both(
    first, then, server, other_server, tmp_path, quick
):
    with pytest.raises(TooSlow):
        url = server.serve("data.bin", BODY, rate=300_000)
        get(url, tmp_path / "data.bin", replace(quick, slow_after_s=0.5), slow_below_bytes_s=1e9, expect=first)
    done = get(other_server.serve("data.bin", BODY), tmp_path / "data.bin", quick, expect=then)
    assert done.n_received == len(BODY)


def test_bytes_of_two_mirrors_are_mixed_where_a_digest_proves_them(server, other_server, tmp_path, quick):
    expect = {"md5": hashlib.md5(BODY).hexdigest()}
    with pytest.raises(TooSlow):
        url = server.serve("data.bin", BODY, rate=300_000)
        get(url, tmp_path / "data.bin", replace(quick, slow_after_s=0.5), slow_below_bytes_s=1e9, expect=expect)
    done = get(other_server.serve("data.bin", BODY), tmp_path / "data.bin", quick, expect=expect)
    assert done.n_received < len(BODY)


def test_a_wrong_mixture_is_fetched_anew_from_one_mirror(server, other_server, tmp_path, quick):
    expect = {"md5": hashlib.md5(BODY).hexdigest()}
    with pytest.raises(TooSlow):
        url = server.serve("data.bin", bytes(len(BODY)), rate=300_000)
        get(url, tmp_path / "data.bin", replace(quick, slow_after_s=0.5), slow_below_bytes_s=1e9, expect=expect)
    get(other_server.serve("data.bin", BODY), tmp_path / "data.bin", quick, expect=expect)
    assert same(tmp_path / "data.bin")


def test_blocks_that_a_crash_of_the_machine_lost_are_fetched_again(server, tmp_path, quick):
    url = server.serve("data.bin", BODY, rate=1_500_000)
    with pytest.raises(TooSlow):
        get(url, tmp_path / "data.bin", replace(quick, slow_after_s=0.8), slow_below_bytes_s=1e9)
    with open(tmp_path / "data.bin.part", "r+b") as part:
        part.write(bytes(300_000))  # pages that never reached the disk
    server.pages["data.bin"].rate = None
    get(url, tmp_path / "data.bin", quick)
    assert same(tmp_path / "data.bin")


def test_a_map_of_another_state_of_the_file_is_not_believed(server, tmp_path, quick):
    url = server.serve("data.bin", BODY, rate=1_500_000)
    with pytest.raises(TooSlow):
        get(url, tmp_path / "data.bin", replace(quick, slow_after_s=0.8), slow_below_bytes_s=1e9)
    new = bytes(reversed(BODY))
    done = get(server.serve("data.bin", new), tmp_path / "data.bin", quick)
    assert same(tmp_path / "data.bin", new)
    assert done.n_received == len(BODY)


def test_the_reporter_is_told_of_each_byte_once(server, tmp_path, quick):
    told = []

    class Counts(Silent):
        def advance(self, n_bytes):
            told.append(n_bytes)

    url = server.serve("data.bin", BODY, cut_every=200_000)
    get(url, tmp_path / "data.bin", quick, reporter=Counts())
    assert sum(told) == len(BODY)


def test_a_disk_without_room_is_said_before_the_first_byte(server, tmp_path, quick, monkeypatch):
    url = server.serve("data.bin", BODY)
    usage = partial_module.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(partial_module.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(NoSpaceError, match="needs 3 MB, and .* has 1 kB free"):
        get(url, tmp_path / "data.bin", quick)
    assert left(tmp_path) == []


def test_what_is_left_of_an_earlier_state_of_the_file_makes_room_for_this_one(server, tmp_path, quick, monkeypatch):
    url = server.serve("data.bin", BODY)
    (tmp_path / "data.bin.part").write_bytes(BODY[::-1])
    usage = partial_module.shutil.disk_usage(tmp_path)

    def now(path):
        taken = sum(file.stat().st_size for file in tmp_path.iterdir())
        return usage._replace(free=len(BODY) + 1000 - taken)

    monkeypatch.setattr(partial_module.shutil, "disk_usage", now)
    get(url, tmp_path / "data.bin", quick)
    assert same(tmp_path / "data.bin")


@pytest.mark.skipif(not hasattr(os, "pwrite"), reason="left out: there is no pwrite here")
def test_a_disk_that_fills_up_meanwhile_is_no_space_and_is_left_as_it_was(server, tmp_path, quick, monkeypatch):
    url = server.serve("data.bin", BODY)
    write, room = os.pwrite, [1_000_000]

    def full(fd, data, at):
        room[0] -= len(data)
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data, at)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(NoSpaceError):
        get(url, tmp_path / "data.bin", quick)
    assert left(tmp_path) == []


def test_an_interrupt_keeps_what_came(server, tmp_path, quick):
    class Interrupts(Silent):
        def advance(self, n_bytes):
            if sum(seen.sent for seen in server.requests("data.bin")) > 1_000_000:
                raise KeyboardInterrupt

    url = server.serve("data.bin", BODY, rate=4_000_000)
    with pytest.raises(KeyboardInterrupt):
        get(url, tmp_path / "data.bin", quick, reporter=Interrupts())
    assert left(tmp_path) == ["data.bin.part", "data.bin.part.map"]
    assert get(url, tmp_path / "data.bin", quick).n_received < len(BODY)


def test_a_folder_that_is_not_there_is_a_storage_error(server, tmp_path, quick):
    url = server.serve("data.bin", BODY)
    with pytest.raises(StorageError):
        get(url, tmp_path / "no" / "data.bin", quick)


def test_a_reader_that_only_knows_the_protocol_is_enough(tmp_path):
    done = fetch(BytesReader(BODY), tmp_path / "x", expect={"md5": hashlib.md5(BODY).hexdigest()})
    assert same(tmp_path / "x")
    assert done.n_bytes == len(BODY)


def test_an_empty_file_is_a_file(tmp_path):
    done = fetch(BytesReader(b""), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b""
    assert done.digests == {"sha256": hashlib.sha256().hexdigest()}


def test_a_fault_of_ours_in_a_reader_is_not_swallowed(tmp_path):
    class Faulty(BytesReader):
        def read_at(self, offset, n):
            raise RuntimeError("a fault of ours")

    with pytest.raises(RuntimeError, match="a fault of ours"):
        fetch(Faulty(BODY), tmp_path / "x")


def test_no_thread_and_no_descriptor_is_left(server, tmp_path, quick):
    url = server.serve("data.bin", BODY, cut_every=200_000)
    before = {thread.name for thread in threading.enumerate()}
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    get(url, tmp_path / "data.bin", quick)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        ours = [t for t in threading.enumerate() if t.name.startswith("datastage") and t.name not in before]
        now = len(os.listdir("/proc/self/fd")) if descriptors is not None else None
        if not ours and (now is None or now <= descriptors + 1):
            return
        time.sleep(0.02)
    pytest.fail(f"left: {ours}, {descriptors} descriptors before, {now} now")


def test_a_local_file_is_copied_plainly(tmp_path):
    (tmp_path / "from").write_bytes(BODY)
    done = fetch(FileReader(tmp_path / "from"), tmp_path / "to")
    assert same(tmp_path / "to")
    assert done.digests == {}
    assert left(tmp_path) == ["from", "to"]


def test_a_local_file_with_another_digest_leaves_nothing(tmp_path):
    (tmp_path / "from").write_bytes(BODY)
    with pytest.raises(ChecksumError):
        fetch(FileReader(tmp_path / "from"), tmp_path / "to", expect={"md5": "0" * 32})
    assert left(tmp_path) == ["from"]


@pytest.mark.parametrize("by_s", [-100, 100])
def test_a_file_of_a_mount_that_changes_meanwhile_is_never_published(by_s, tmp_path, monkeypatch):
    monkeypatch.setattr(prefetch.mounts, "is_network_disk", lambda path: True)
    (tmp_path / "from").write_bytes(BODY)

    class Meanwhile(Silent):
        came = 0

        def advance(self, n_bytes):
            self.came += n_bytes
            if self.came == len(BODY):
                now = os.stat(tmp_path / "from")
                os.utime(tmp_path / "from", ns=(now.st_atime_ns, now.st_mtime_ns + by_s * 10**9))

    with pytest.raises(IntegrityError, match="changed"):
        fetch(FileReader(tmp_path / "from"), tmp_path / "to", reporter=Meanwhile())
    assert "to" not in left(tmp_path)


def test_a_disk_with_just_enough_room_is_enough(tmp_path, monkeypatch):
    usage = partial_module.shutil.disk_usage(tmp_path)
    for free in (len(BODY), len(BODY) - 1):
        monkeypatch.setattr(partial_module.shutil, "disk_usage", lambda path, free=free: usage._replace(free=free))
        if free < len(BODY):
            with pytest.raises(NoSpaceError):
                fetch(BytesReader(BODY), tmp_path / "small")
        else:
            fetch(BytesReader(BODY), tmp_path / "x")


def test_limits_grow_and_end():
    limits = Limits(first_wait_s=1.0, longest_wait_s=8.0)
    waits = [limits.wait_s(failures) for failures in range(1, 8)]
    assert all(0.5 * 2**n <= wait <= 2**n for n, wait in enumerate(waits[:4]))
    assert all(4 <= wait <= 8 for wait in waits[4:])
    assert limits.wait_s(1, 3.0) >= 3.0
