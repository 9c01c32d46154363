"""Names come out as their writers saw them, or as they stand."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import tarfile

import pytest

import datastage
from datastage.archives import iter_members, list_members, names
from datastage.errors import SpecError
from datastage.reader import BytesReader

from .made import tree, unpacked
from .raw import END_BLOCKS, outcome, tar_raw, zip_entry, zip_raw

WRITTEN = [
    # Windows and DOS in China, Japan, Korea, Taiwan
    ("gbk", "数据集/训练/猫.jpg"),
    ("gbk", "狗"),
    ("gbk", "新建文件夹/图片1.png"),
    ("gbk", "train训练/cat猫.jpg"),
    ("gbk", "测试A组/a.txt"),
    ("gbk", "鸢尾花.csv"),
    ("gb18030", "红楼梦.txt"),
    ("shift_jis", "データ/学習/ねこ.jpg"),
    ("shift_jis", "表/ソ.txt"),
    ("shift_jis", "画像データ/テスト/ｶﾀｶﾅ.txt"),
    ("shift_jis", "写真/新しいフォルダー.txt"),
    ("shift_jis", "画像.png"),
    ("shift_jis", "日本語.txt"),
    ("euc_jp", "テスト.csv"),
    ("euc_jp", "データ/ねこ.jpg"),
    ("euc_kr", "데이터/훈련/고양이.jpg"),
    ("euc_kr", "새 폴더/강아지.png"),
    ("euc_kr", "안녕하세요.txt"),
    ("big5", "資料集/訓練/貓咪照片.jpg"),
    ("big5", "新增資料夾/測試.txt"),
    ("big5", "圖片.png"),
    # Western Europe and Brazil: DOS, then Windows and Unix
    ("cp437", "Données/élève_ü.jpg"),
    ("cp437", "über ça.txt"),
    ("cp437", "niño/año.txt"),
    ("cp850", "cão/1.jpg", "pão/2.jpg", "mamão/3.jpg"),
    ("cp850", "São Paulo.csv"),
    ("cp850", "Eleições Município.csv"),
    ("cp850", "Ação/Índice.txt"),
    ("cp850", "ÓRGÃO.csv"),
    ("cp850", "Ærø/Øst.txt"),
    ("cp1252", "café.txt"),
    ("cp1252", "São Paulo.csv"),
    ("cp1252", "DONNÉES/ÉTÉ.csv"),
    ("latin-1", "smörgås"),
    # Central Europe, Turkey, Greece
    ("cp1250", "żółw.txt", "mała"),
    ("cp852", "źródło"),
    ("iso8859_2", "żółć/gęś.txt"),
    ("cp1250", "příroda/kočka.txt"),
    ("cp852", "příroda/kočka.txt"),
    ("cp1250", "őrült űr"),
    ("cp1254", "çiçek/ağaç.jpg"),
    ("cp857", "ışık"),
    ("cp737", "δεδομένα/γάτα.txt"),
    ("cp1253", "δεδομένα/γάτα.txt"),
    # Russia
    ("cp866", "Данные/обучение/кошка.jpg"),
    ("cp1251", "Данные/обучение/кошка.jpg"),
    ("koi8_r", "Данные/обучение/кошка.jpg"),
    ("cp866", "собака"),
    ("cp1251", "КОШКА"),
    ("koi8_r", "кошка.jpg"),
    ("cp1251", "ёлка"),
    ("utf-8", "数据集/猫.jpg"),
    # One word, which several alphabets would bear: the commoner letters, where they may stand
    ("cp1252", "träd.jpg"),
    ("cp1252", "pássaro.csv"),
    ("cp1252", "caffè.txt"),
    ("cp1252", "più.txt"),
    ("cp437", "Mädchen.csv"),
    ("cp850", "Straße.csv"),
    ("cp1250", "źrebię.jpg"),
    ("cp1250", "ház/tűz.jpg"),
    ("cp1254", "öğrenci.csv"),
    ("cp1251", "дані/зображення.csv"),
    ("cp1251", "обучение.csv"),
    ("koi8_r", "класс.csv"),
    ("shift_jis", "データ.csv"),
]


@pytest.mark.parametrize(("encoding", "text"), [(each[0], each[1:]) for each in WRITTEN], ids=str)
def test_names_are_read_as_they_were_written(encoding, text, tmp_path):
    data = zip_raw(*(zip_entry(name.encode(encoding), b"1", flags=0, system=0) for name in text))
    assert outcome(data, tmp_path / "x") == dict.fromkeys(text, b"1")
    assert [member.name for member in list_members(BytesReader(data))] == list(text)


def test_bytes_that_are_no_names_in_any_encoding_stand_as_they_are(tmp_path):
    chance = random.Random(5)
    for nth in range(20):
        raw = [bytes(chance.choice(b"\x81\x8d\x8f\x90\x9d\xb0\xdf\xfe\xff") for _ in range(9)) for _ in range(2)]
        raw = [b"a" + each + b"b" for each in raw]
        assert names.guess_encoding(raw) is None
        found = outcome(zip_raw(*(zip_entry(each, b"1", flags=0) for each in raw)), tmp_path / str(nth))
        assert set(found) == {each.decode("utf-8", "surrogateescape") for each in raw}


def test_one_guess_fits_all_names_of_an_archive():
    alone = ["año".encode("cp437"), "mão".encode("cp850")]
    assert [names.guess_encoding([each]) for each in alone] == ["cp437", "cp850"]
    assert names.guess_encoding(alone) == "cp850"


def test_an_encoding_that_is_given_settles_it(tmp_path):
    raw = "猫.jpg".encode("gbk")  # which is good UTF-8 too
    data = zip_raw(zip_entry(raw, b"1", flags=0), zip_entry("\u732b", b"2", flags=0x800))
    assert set(outcome(data, tmp_path / "guessed")) == {"è.jpg", "\u732b"}
    assert set(outcome(data, tmp_path / "given", encoding="gbk")) == {"猫.jpg", "\u732b"}
    assert {member.name for member in list_members(BytesReader(data), encoding="gbk")} == {"猫.jpg", "\u732b"}
    assert {member.name for member, _ in iter_members(BytesReader(data), encoding="gbk")} == {"猫.jpg", "\u732b"}


def test_an_encoding_that_is_given_is_that_of_a_tar_too(tmp_path):
    data = tar_raw("café".encode("latin-1"), b"1") + tar_raw("\u732b".encode(), b"2")
    data += tar_raw(b"l", kind=b"2", target="café".encode("latin-1")) + END_BLOCKS
    unpacked(data, tmp_path / "to", encoding="latin-1")
    assert tree(tmp_path / "to") == {"café": b"1", "\u732b": b"2", "l": "-> café"}


# --- as people meet it ---

PORTUGUESE = zip_raw(*(zip_entry(name.encode("cp850"), b"1", flags=0, system=0) for name in ("d/cão.txt", "d/pão.txt")))


def run(*words):
    return subprocess.run([sys.executable, "-m", "datastage", *words], capture_output=True, text=True)


def test_a_guess_that_changes_letters_is_said_also_when_quiet_and_encoding_settles_it(here):
    (here / "d.zip").write_bytes(PORTUGUESE)
    for words in (["stage", "./d.zip"], ["extract", "d.zip", "out"]):
        done = run(*words, "--quiet")
        assert (done.returncode, "read as cp850" in done.stderr) == (0, True), done.stderr
        settled = run(*words[:-1], "settled" if words[0] == "extract" else words[-1], "--quiet", "--encoding", "cp437")
        assert (settled.returncode, settled.stderr) == (0, "")
        assert sorted(os.listdir(settled.stdout.strip()))[-1] != "pão.txt"
    assert "pão" in run("extract", "--list", "d.zip").stdout
    assert "pão" not in run("extract", "--list", "d.zip", "--encoding", "cp1252").stdout


def test_another_encoding_is_another_request_and_an_unknown_one_is_an_error(here):
    (here / "d.zip").write_bytes(PORTUGUESE)
    guessed = datastage.stage("./d.zip", progress=False)
    assert guessed.receipt["encoding"] == "cp850"
    given = datastage.stage("./d.zip", encoding="cp437", progress=False)
    assert (given.path != guessed.path, given.receipt["encoding"]) == (True, None)
    for call in (
        lambda: datastage.stage("./d.zip", encoding="klingon"),
        lambda: datastage.extract("d.zip", "out", encoding="klingon"),
        lambda: datastage.members("d.zip", encoding="klingon"),
    ):
        with pytest.raises(SpecError, match="klingon"):
            call()
    assert not (here / "out").exists()


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_links_that_lead_to_nothing_are_said(kind, here, capsys):
    if kind == "zip":
        (here / "hub.zip").write_bytes(zip_raw(zip_entry("s/a", b"1"), zip_entry("s/l", b"gone", mode=0o120777)))
    else:
        data = tar_raw(b"s/a", b"1") + tar_raw(b"s/l", kind=b"2", target=b"gone") + END_BLOCKS
        (here / "hub.tar").write_bytes(data)
    staged = datastage.stage(f"./hub.{kind}")
    assert "1 link to nothing, as s/l" in "".join(capsys.readouterr())
    assert staged.receipt["dangling"] == ["s/l"]


def test_a_file_that_only_a_hard_link_leads_to_is_repaired(here):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("d/a")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"data"))
        link = tarfile.TarInfo("d/b")
        link.type, link.linkname = tarfile.LNKTYPE, "d/a"
        archive.addfile(link)
    (here / "h.tar").write_bytes(out.getvalue())
    staged = datastage.stage("./h.tar", strip=False, progress=False)
    (staged.path / "d" / "b").unlink()
    datastage.verify(staged, repair=True, progress=False)
    assert (staged.path / "d" / "b").read_bytes() == b"data"
    datastage.extract("h.tar", "only", members="d/b", progress=False)
    assert (here / "only" / "d" / "b").read_bytes() == b"data"
    assert not (here / "only" / "d" / "a").exists()
