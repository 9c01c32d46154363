"""Bars and lines while work is done."""

import io
import os
import threading
import time
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import pytest

from datastage.progress import SILENT
from datastage.show import reporters
from datastage.show.reporters import Shown, TerminalLine, phase_text, pick


class Terminal(io.StringIO):
    def isatty(self):
        return True


def runtime(**facts):
    return SimpleNamespace(**{"rank": 0, "in_kernel": False, "is_batch": False, "platform": "terminal", **facts})


def seen_on(terminal):
    """Return what a terminal shows after all that was written: the last text on each line."""
    lines = []
    for line in terminal.getvalue().split("\n"):
        cells = []
        for part in line.split("\r"):
            cells[: len(part)] = part
        lines.append("".join(cells).rstrip())
    return lines


def test_the_bar_reads_like_the_screen():
    assert phase_text(744_000_000, 1_200_000_000, 24.0) == "62 %, 744 MB of 1.2 GB, 31 MB/s, 15 s left"


def test_more_bytes_than_announced_claim_no_share():
    assert "%" not in phase_text(11, 10, 5.0)


def test_the_first_moments_claim_no_rate():
    assert phase_text(10**6, 10**9, 0.1) == "0 %, 1 MB of 1 GB"


def test_a_bar_vanishes_when_the_work_ends():
    terminal = Terminal()
    shown = Shown(terminal, TerminalLine(terminal))

    shown.phase("copying a.zip", 100)
    shown.advance(50)
    shown.close()

    assert "copying a.zip" in terminal.getvalue()
    assert seen_on(terminal) == [""]


def test_a_note_stays_and_stands_alone():
    terminal = Terminal()
    shown = Shown(terminal, TerminalLine(terminal))

    shown.phase("copying a.zip", 100)
    shown.note("Found     a.zip")
    shown.close()

    assert seen_on(terminal) == ["Found     a.zip", ""]


def test_a_bar_is_drawn_a_few_times_a_second_however_often_it_is_told():
    terminal, now = Terminal(), [0.0]
    shown = Shown(terminal, TerminalLine(terminal), clock=lambda: now[0])
    shown.phase("copying", 10_000)

    for _ in range(10_000):
        now[0] += 0.0001  # one second in all
        shown.advance(1)

    assert terminal.getvalue().count("\r") <= 1 + 1 / reporters.DRAW_EVERY_S


def test_bytes_from_many_threads_are_all_counted():
    terminal = Terminal()
    shown = Shown(terminal, TerminalLine(terminal))
    shown.phase("copying", 8_000)
    threads = [threading.Thread(target=lambda: [shown.advance(1) for _ in range(1000)]) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert shown._done == 8_000


def test_a_log_gets_lines_while_nothing_moves():
    log = io.StringIO()
    shown = Shown(log, None, log_every_s=0.01)

    shown.phase("waiting for Drive", None)
    deadline = time.monotonic() + 100
    while log.getvalue().count("waiting for Drive") < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    shown.close()

    assert log.getvalue().count("waiting for Drive") >= 2
    assert "\r" not in log.getvalue()


def test_a_log_of_a_short_job_has_no_progress_lines():
    log = io.StringIO()
    shown = Shown(log, None)

    shown.phase("copying", 10)
    shown.advance(10)
    shown.note("Found     a.zip")
    shown.close()

    assert log.getvalue() == "Found     a.zip\n"


def test_a_closed_log_leaves_no_thread():
    shown = Shown(io.StringIO(), None, log_every_s=1000)
    shown.phase("copying", 10)
    pulse = shown._pulse

    shown.close()
    pulse.join(10)

    assert not pulse.is_alive()


def test_a_stream_that_is_closed_does_not_end_the_work():
    terminal = Terminal()
    shown = Shown(terminal, TerminalLine(terminal))
    terminal.close()

    shown.phase("copying", 10)
    shown.advance(10)
    shown.note("Found     a.zip")
    shown.close()


def test_a_name_that_the_stream_cannot_write_is_written_as_it_can():
    raw = io.BytesIO()
    shown = Shown(io.TextIOWrapper(raw, encoding="ascii"), None)

    shown.note("Found     Füße \udcff.zip")

    assert raw.getvalue() == b"Found     F\\xfc\\xdfe \\udcff.zip\n"


def test_a_name_cannot_steer_the_terminal():
    terminal = Terminal()
    shown = Shown(terminal, TerminalLine(terminal))

    shown.phase("copying \x1b[2J.zip", 100)
    shown.note("Found     \x1b[2J.zip")

    assert "\x1b" not in terminal.getvalue()


def test_a_narrow_terminal_keeps_the_numbers(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    terminal = Terminal()

    TerminalLine(terminal).draw("copying a-very-long-name.tar.gz", "62 %, 744 MB of 1.2 GB", 1, 2)

    assert seen_on(terminal) == ["62 %, 744 MB of 1.2 GB  " + "█" * 6 + "░" * 7]


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_bar_fits_the_terminal(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    terminal = Terminal()

    TerminalLine(terminal).draw("copying a.zip", "62 %, 744 MB of 1.2 GB", 744, 1200)

    (line,) = seen_on(terminal)
    assert len(line) < columns
    assert ("█" in line) is (columns > 40)


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_letters_that_take_two_columns_are_counted_so(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    terminal = Terminal()
    shown = TerminalLine(terminal)

    shown.draw("copying 训练数据集合图片.zip", "62 %, 744 MB of 1.2 GB, 31 MB/s, 15 s left", 744, 1200)
    taken = sum(2 if unicodedata.east_asian_width(c) == "W" else 1 for c in terminal.getvalue().strip("\r"))
    shown.clear()

    assert taken < columns  # one that is longer goes on in a second line, and each further one stands below it
    assert terminal.getvalue().endswith(f"\r{' ' * taken}\r")


def test_a_terminal_that_knows_ascii_alone_gets_a_bar_of_ascii(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")

    TerminalLine(stream).draw("copying a.zip", "50 %", 1, 2)
    stream.flush()

    assert b"####" in stream.buffer.getvalue()


def test_lines_are_wrapped_at_words_where_the_terminal_is_narrower(monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    terminal = Terminal()

    Shown(terminal, None).note("and unpacked in 44 s (27 MB/s); every file was checked against its sum", "Copied")

    assert seen_on(terminal)[:-1] == [
        "Copied    and unpacked in 44 s (27 MB/s); every",
        "          file was checked against its sum",
    ]


def test_a_long_line_is_wrapped_at_words_in_a_log_and_code_and_paths_stay_whole():
    log, path = io.StringIO(), "/a folder/" + "with a long name/" * 8
    shown = Shown(log, None)

    shown.note(
        "photos go from 182 x 180 to 419 x 417 pixels, and the middle of each is resized (size= says another)", "Size"
    )
    shown.note(path, "Folder")
    shown.note(f'Next:  path = datastage.stage("{path}")')

    assert log.getvalue().splitlines() == [
        "Size      photos go from 182 x 180 to 419 x 417 pixels, and the middle of each is",
        "          resized (size= says another)",
        f"Folder    {path}",
        f'Next:  path = datastage.stage("{path}")',
    ]


def test_a_block_of_lines_is_written_at_once():
    written = []
    stream = io.StringIO()
    stream.write = written.append

    Shown(stream, None).note("one\ntwo\nthree")

    assert written == ["one\ntwo\nthree\n"]


def test_a_bar_that_ends_early_is_gone_also_from_a_page_that_was_reloaded(kernel):
    seen = (
        "box = shown._surface._bar.container; parts = box.children; shown.close(); "
        "print(box.children, box.layout.display, box.comm is not None, {x.comm for x in parts}, parts[1].bar_style)"
    )
    code = BAR.format(before="sys.modules.pop('tqdm.auto', None)").partition("shown.note")[0] + seen
    screen = Screen()

    kernel.execute_interactive(code, output_hook=screen, allow_stdin=True, timeout=300)

    assert screen.printed.strip() == "() none True {None}"


STOP = """
import datastage, threading, _thread
from datastage.progress import Silent
class Slow(Silent):
    kept = "48 MB of 100 MB"
    def note(self, text, label=""):
        raise KeyboardInterrupt
open("a.csv", "w").write("1")
try:
    datastage.stage("./a.csv", copy=True, root="stopped", progress=Slow())
except KeyboardInterrupt as error:
    print(*error._render_traceback_(), sep="\\n")
"""


def test_a_stop_in_a_notebook_is_two_lines_with_what_is_kept(kernel, tmp_path):
    screen = Screen()

    kernel.execute_interactive(f"import os; os.chdir({str(tmp_path)!r})\n{STOP}", output_hook=screen, timeout=300)

    assert screen.printed.splitlines() == [
        "Stopped. 48 MB of 100 MB are kept; nothing half-done was put in place.",
        "Next: run the same line again.",
    ]


def test_what_is_kept_is_said_while_a_file_is_copied_and_not_while_it_is_unpacked():
    shown = Shown(io.StringIO(), None)
    shown.phase("copying a.zip", 100_000_000)
    shown.advance(48_000_000)
    assert shown.kept == ""

    shown.phase("copying a.zip", 100_000_000)
    shown.resume(0)
    shown.advance(48_000_000)
    assert shown.kept == "48 MB of 100 MB"

    shown.close()
    assert shown.kept == "48 MB of 100 MB"

    shown.phase("unpacking a.zip", 100)
    assert shown.kept == ""


def test_false_is_silent():
    assert pick(False, runtime()) is SILENT


def test_only_the_first_of_several_processes_speaks():
    assert pick("auto", runtime(rank=1)) is SILENT
    assert pick("auto", runtime(rank=0)) is not SILENT
    assert pick(True, runtime(rank=1)) is not SILENT


@pytest.mark.parametrize(("stream", "bar"), [(Terminal(), True), (io.StringIO(), False)])
def test_a_terminal_gets_a_bar_and_a_log_does_not(monkeypatch, stream, bar):
    monkeypatch.setattr("sys.stderr", stream)

    picked = pick("auto", runtime())

    assert (picked._surface is not None) is bar
    assert picked._stream is stream


def test_in_a_notebook_lines_go_to_standard_output(capsys):
    pick("auto", runtime(in_kernel=True)).note("Found     a.zip")

    assert capsys.readouterr().out == "Found     a.zip\n"


def test_the_command_keeps_standard_output_for_its_result_in_a_notebook_too(capsys):
    pick(True, runtime(in_kernel=True), in_words=str).note("Found     a.zip")

    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "Found     a.zip\n")


# --- in a notebook


class Screen:
    """What a front end shows of the outputs of one cell: streams, displays, and updates of displays."""

    def __init__(self):
        self.printed, self.displays, self.drawn = "", {}, []

    def __call__(self, message):
        content = message["content"]
        if message["msg_type"] == "stream":
            self.printed += content["text"]
        elif message["msg_type"] in ("display_data", "update_display_data"):
            data = content["data"]
            self.displays[content["transient"]["display_id"]] = data
            self.drawn.append(data)


@pytest.fixture(scope="module")
def kernel():
    manager = pytest.importorskip("jupyter_client.manager")
    root = str(Path(__file__).resolve().parents[2])
    started, client = manager.start_new_kernel(kernel_name="python3", env={**os.environ, "PYTHONPATH": root})
    yield client
    client.stop_channels()
    started.shutdown_kernel(now=True)


BAR = """
import sys, time
{before}
from datastage import runtime
from datastage.show import pick
shown = pick("auto", runtime.current())
shown.phase("copying <b>.zip", 1000)
time.sleep(0.25)
shown.advance(620)
shown.note("Found     <b>.zip")
shown.phase("unpacking <b>.zip", None)
shown.close()
"""


@pytest.mark.parametrize("before", ["", "sys.modules['tqdm.auto'] = None"], ids=["with tqdm", "without tqdm"])
def test_a_bar_in_a_notebook_leaves_the_lines_alone(kernel, before):
    screen = Screen()

    reply = kernel.execute_interactive(BAR.format(before=before), output_hook=screen, allow_stdin=True, timeout=300)

    assert reply["content"]["status"] == "ok", reply["content"]
    assert screen.printed == "Found     <b>.zip\n"
    assert screen.drawn
    assert all(data == {"text/plain": "", "text/html": ""} for data in screen.displays.values())


def test_with_tqdm_the_bar_is_its_widget(kernel):
    screen = Screen()

    code = BAR.format(before="sys.modules.pop('tqdm.auto', None)")
    kernel.execute_interactive(code, output_hook=screen, allow_stdin=True, timeout=300)

    assert any("application/vnd.jupyter.widget-view+json" in data for data in screen.drawn)


def test_without_tqdm_the_bar_is_html_and_says_the_same(kernel):
    screen = Screen()

    code = BAR.format(before="sys.modules['tqdm.auto'] = None")
    kernel.execute_interactive(code, output_hook=screen, allow_stdin=True, timeout=300)

    assert any("62 %, 620 bytes of 1 kB" in data["text/html"] for data in screen.drawn)
    assert not any("<b>" in data["text/html"] for data in screen.drawn)


def test_a_notebook_that_nobody_watches_gets_lines_and_no_bar(kernel):
    screen = Screen()

    kernel.execute_interactive(BAR.format(before=""), output_hook=screen, allow_stdin=False, timeout=300)

    assert (screen.printed, screen.drawn) == ("Found     <b>.zip\n", [])


def test_a_bar_reckons_no_speed_from_what_an_earlier_run_left():
    terminal, now = Terminal(), [0.0]
    shown = Shown(terminal, TerminalLine(terminal), clock=lambda: now[0])
    shown.phase("copying", 200_000_000)
    shown.resume(48_000_000)
    now[0] = 2.0
    shown.advance(52_000_000)
    assert "50 %, 100 MB of 200 MB, 26 MB/s, 4 s left" in terminal.getvalue()


def test_a_log_reckons_no_speed_from_what_an_earlier_run_left():
    log = io.StringIO()
    shown = Shown(log, None, log_every_s=1000, clock=iter([0.0, *[2.0] * 9]).__next__)
    shown.phase("copying", 200_000_000)
    shown.resume(48_000_000)
    shown.advance(52_000_000)
    turns = iter([False, True])
    shown._ended = SimpleNamespace(wait=lambda _: next(turns))
    shown._beat()
    assert log.getvalue() == "copying: 50 %, 100 MB of 200 MB, 26 MB/s, 4 s left\n"


def test_a_closed_reporter_speaks_again_in_a_log_when_the_next_work_begins():
    log = io.StringIO()
    shown = Shown(log, None, log_every_s=0.01)
    shown.phase("copying", 10)
    shown.close()
    shown._pulse.join(10)
    log.truncate(0)

    shown.phase("unpacking", None)
    deadline = time.monotonic() + 30
    while "unpacking" not in log.getvalue() and time.monotonic() < deadline:
        time.sleep(0.01)
    shown.close()

    assert "unpacking" in log.getvalue()


def test_of_a_file_that_no_run_keeps_nothing_is_called_kept_after_one_that_is():
    shown = Shown(io.StringIO(), None)
    shown.phase("copying a.zip", 100)
    shown.resume(0)
    shown.phase("copying b.zip", 100)
    shown.advance(48)
    assert shown.kept == ""
    shown.close()
    assert shown.kept == ""


def test_the_path_of_a_lone_file_stays_whole_in_a_log():
    log, path = io.StringIO(), "/a folder/" + "with a long name/" * 8 + "a.csv"
    Shown(log, None).note(path, "File")
    assert log.getvalue() == f"File      {path}\n"
