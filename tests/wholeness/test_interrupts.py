"""Ctrl-C while bytes come over a slow link: heard at once, whatever is being made of them."""

import io
import signal
import sys
import tarfile
import time

import pytest

from tests.wholeness.kit import STAGE, begin, hidden, make_zip

pytestmark = [pytest.mark.usefixtures("here"), pytest.mark.skipif(sys.platform == "win32", reason="SIGINT")]
LISTENING = STAGE.replace(
    "print(datastage.stage(spec, progress=False, **options), flush=True)",
    """
try:
    datastage.stage(spec, progress=False, **options)
except KeyboardInterrupt:
    print("interrupted", flush=True)
""",
)


def made(kind, here):
    archive = make_zip(here / "data.zip", n=40, size=300_000).read_bytes()
    if kind == "data.zip":
        return archive
    if kind == "data.bin":
        return archive[10:]
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz" if kind.endswith("gz") else "w") as tar:
        tar.add(here / "data.zip", "a.zip")
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["data.zip", "data.tar", "data.tar.gz", "data.bin"])
def test_an_interrupt_does_not_wait_for_the_rest_of_the_bytes(server, here, tmp_path, monkeypatch, kind):
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    body = made(kind, here)
    rate = 600_000  # ten seconds for all
    url = server.serve(kind, body, rate=rate)
    process = begin(LISTENING, f'["{url}", {{}}]')
    deadline = time.monotonic() + 300
    while server.n_sent[kind] < 0.2 * len(body) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "interrupted\n"
    had_come = server.n_sent[kind] / len(body)
    process.communicate(timeout=300)
    print(f"\n{kind}: interrupted at 20 %, heard at {had_come:.0%}")
    assert had_come < 0.8
    assert {name.rsplit(".")[-1] for name in hidden(tmp_path / "root")} <= {"fetch"}
