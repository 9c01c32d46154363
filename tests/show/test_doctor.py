"""What `doctor` says of a machine, laid out as Colab, Kaggle and others lay theirs out."""

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

import datastage
from datastage import datasets
from datastage.errors import WIDTH
from datastage.show import doctor
from datastage.show.doctor import examine, no_accelerator, try_torch
from tests.stand_ins.runtimes import Colab, Kaggle

SHELL = SimpleNamespace(kernel=SimpleNamespace(_allow_stdin=True))


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("DATASTAGE_OFFLINE", "1")


@pytest.fixture
def torch_says(monkeypatch):
    """Set what torch says in its own process: there is no GPU here to ask."""

    def says(**said):
        monkeypatch.setattr(
            doctor, "try_torch", lambda: {"torch": "2.10.0", "devices": [], "error": None, "built_for": "12.8"} | said
        )

    says()
    return says


def found(report, name):
    return [each for each in report.findings if each.name == name]


def test_without_a_gpu_colab_is_told_what_to_press(tmp_path, torch_says):
    report = examine(Colab(tmp_path / "c").runtime(), {})

    (accelerator,) = found(report, "Accelerator")
    assert accelerator.trouble == "No GPU is attached."
    assert "Runtime > Change runtime type > T4 GPU" in accelerator.remedy[0]


def test_without_a_gpu_kaggle_is_told_what_to_press(tmp_path):
    assert "Settings > Accelerator > GPU T4 x2" in no_accelerator(Kaggle(tmp_path / "k").runtime())[1][0]


def test_two_gpus_that_compute_are_named(tmp_path, torch_says):
    torch_says(devices=[{"name": "Tesla T4", "bytes": 15_800_000_000, "works": True}] * 2)

    (accelerator,) = found(examine(Kaggle(tmp_path / "k").runtime(), {}), "Accelerator")

    assert accelerator.found == "2 x Tesla T4, 16 GB each; PyTorch runs on each"
    assert accelerator.trouble is None


def test_a_gpu_that_the_build_of_torch_cannot_use_is_in_the_way(tmp_path, torch_says):
    layout = Colab(tmp_path / "c")
    (layout.root / "dev").mkdir(exist_ok=True)
    (layout.root / "dev/nvidiactl").touch()
    torch_says(torch="2.10.0+cpu", built_for=None)

    (accelerator,) = found(examine(layout.runtime(), {}), "Accelerator")

    assert "2.10.0+cpu was built without CUDA" in accelerator.trouble


def test_a_gpu_that_computes_wrongly_is_in_the_way(tmp_path, torch_says):
    layout = Colab(tmp_path / "c")
    (layout.root / "dev").mkdir(exist_ok=True)
    (layout.root / "dev/nvidiactl").touch()
    torch_says(devices=[{"name": "Tesla T4", "bytes": 15_800_000_000, "works": False}])

    (accelerator,) = found(examine(layout.runtime(), {}), "Accelerator")

    assert accelerator.trouble == "A GPU is attached, and this PyTorch cannot use it."


def test_a_full_disk_is_in_the_way_by_its_name(tmp_path, torch_says, monkeypatch):
    here = Colab(tmp_path / "c").runtime(DATASTAGE_ROOT="/data/ann")
    monkeypatch.setattr(doctor, "free_bytes", lambda place, environ: 10**9 if place == here.root_setting else 10**12)

    (disk,) = found(examine(here, {}), "Disk")

    assert disk.found.startswith("/data/ann: 1 GB free; ")
    assert disk.trouble == "There is little room in /data/ann."


def test_a_torch_that_fails_is_in_the_way(tmp_path, torch_says):
    torch_says(error="RuntimeError: CUDA error: no kernel image is available")

    (accelerator,) = found(examine(Kaggle(tmp_path / "k").runtime(), {}), "Accelerator")

    assert "no kernel image" in accelerator.trouble
    assert accelerator.remedy


def test_torch_is_tried_in_another_process():
    pytest.importorskip("torch")
    code = (
        "import sys; from datastage.show.doctor import try_torch; said = try_torch();"
        "print(said['torch'] is not None and said['error'] is None, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)

    assert done.stdout == "True False\n", done.stderr


def test_a_python_that_dies_of_torch_is_told_and_ends_nothing(tmp_path):
    pytest.importorskip("torch")
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 139\n")
    broken.chmod(0o755)

    assert try_torch(str(broken))["error"] == "its process ended with code 139"


def test_inputs_are_counted_and_not_named(tmp_path, torch_says):
    layout = Kaggle(tmp_path / "k")
    (layout.root / "kaggle/input/private-patients").mkdir(parents=True)

    report = examine(layout.runtime(), {})

    assert found(report, "Inputs")[0].found == "1 attached"
    assert "patients" not in json.dumps(report.to_dict())


def test_a_quota_in_the_log_of_drive_is_in_the_way(tmp_path, torch_says, monkeypatch):
    layout = Colab(tmp_path / "c")
    (layout.root / "content/drive/My Drive").mkdir(parents=True)
    log = layout.root / "root/.config/Google/DriveFS/Logs/drive_fs.txt"
    log.parent.mkdir(parents=True)
    log.write_text("... QUOTA_EXCEEDED ...")

    (drive,) = found(examine(layout.runtime(), {}), "Drive")

    assert drive.found.startswith("connected at ")
    assert "quota is used up" in drive.trouble


@pytest.mark.parametrize("in_kernel", [True, False])
def test_a_drive_that_is_not_connected_says_how(tmp_path, torch_says, in_kernel):
    (drive,) = found(examine(Colab(tmp_path / "c").runtime(shell=SHELL if in_kernel else None), {}), "Drive")

    assert ("a drive: line connects it" in drive.found) is in_kernel


def test_a_report_holds_nothing_private(tmp_path, torch_says):
    environ = {
        "HOME": "/home/sophie",
        "USER": "sophie",
        "DATASTAGE_ROOT": "/home/sophie/data",
        "DATASTAGE_PATH": "/scratch/sophie:/data/sophie/x",
        "HTTPS_PROXY": "http://me:S3CRETpw@proxy.example:3128",
        "HF_TOKEN": "hf_SECRETTOKENSECRET",
    }
    report = examine(Colab(tmp_path / "c").runtime(), environ)

    said = json.dumps(report.to_dict()) + str(report)
    assert "HF_TOKEN is set" in said
    assert "DATASTAGE_ROOT=~/data" in said
    assert "DATASTAGE_PATH=/scratch/USER:/data/USER/x" in said
    for private in ("sophie", "S3CRET", "SECRETTOKEN"):
        assert private not in said


def test_each_trouble_has_its_next_step(tmp_path, torch_says):
    report = examine(Kaggle(tmp_path / "k").runtime(), {})

    assert report.troubles
    for each in report.troubles:
        assert each.remedy[-1].startswith("Next: ")
    lines = str(report).replace(str(tmp_path), "").splitlines()  # a path stays whole
    assert all(len(line) <= WIDTH + 20 for line in lines)


def test_a_report_is_a_card_in_a_notebook(tmp_path, torch_says):
    assert "<script" not in examine(Kaggle(tmp_path / "k").runtime(), {})._repr_html_()


def test_hosts_of_the_catalog_alone_are_asked(tmp_path, torch_says, monkeypatch):
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    asked = []
    monkeypatch.setattr(doctor, "is_offline", lambda host: asked.append(host) or host != "files.example")
    monkeypatch.setattr(doctor, "catalog_hosts", lambda: ["data.example", "files.example"])

    (internet,) = found(examine(Colab(tmp_path / "c").runtime(), {}), "Internet")

    assert sorted(asked) == ["data.example", "files.example"]
    assert "data.example" in internet.found


def test_hosts_of_ones_own_datasets_are_asked_by_nobody(monkeypatch):
    monkeypatch.setattr(datasets, "_entries", dict(datasets._entries))
    datastage.register("ours", "https://private.example/birds.zip")

    assert "private.example" not in doctor.catalog_hosts()


def test_where_the_internet_is_switched_off_by_a_setting_nothing_is_in_the_way(tmp_path, torch_says):
    (internet,) = found(examine(Colab(tmp_path / "c").runtime(), {}), "Internet")

    assert (internet.found, internet.trouble) == ("not asked: DATASTAGE_OFFLINE is set", None)


@pytest.mark.skipif(shutil.which("strace") is None, reason="left out: strace is not on this machine")
def test_looking_writes_nothing(tmp_path):
    log = tmp_path / "log"
    done = subprocess.run(
        ["strace", "-f", "-qq", "-e", "trace=openat,open,creat,mkdir,mkdirat,unlink,unlinkat,rename,renameat2,chmod",
         "-o", log, sys.executable, "-B", "-c",
         "from datastage import runtime; from datastage.show.doctor import examine; examine(runtime.current())"],
        capture_output=True, text=True, timeout=170, env={**os.environ, "DATASTAGE_OFFLINE": "1"},
    )  # fmt: skip
    if "PTRACE" in done.stderr or "ptrace" in done.stderr:
        pytest.skip("left out: this machine lets nobody trace")
    assert done.returncode == 0, done.stderr
    lines = log.read_text(errors="replace").splitlines()
    writes = ("O_WRONLY", "O_RDWR", "O_CREAT", "mkdir(", "unlink", "rename", "chmod(")
    wrote = [
        line for line in lines if any(word in line for word in writes) and "/dev/" not in line and " = -1 " not in line
    ]
    # torch's own libraries ask for memory by files of their own in /tmp or /proc.
    assert [line for line in wrote if "/proc/" not in line and '"/tmp' not in line] == []
