from __future__ import annotations

import pytest

from datastage.archives import iter_members
from datastage.errors import PasswordError
from datastage.reader import BytesReader

from .made import tree, unpacked

TEXT = b"alpha beta alpha beta alpha beta\n"
LOCKED = {
    "deflated, by Info-ZIP": (
        "504b030414000900080083182250112974921d0000002100000005000000612e7478742fcef779274449d61384d2e309fe8a6fee2c1954"
        "a74d2087833be9e884504b0708112974921d00000021000000504b01021e0314000900080083182250112974921d000000210000000500"
        "00000000000001000000a48100000000612e747874504b0506000000000100010033000000500000000000"
    ),
    "stored, by 7-Zip": (
        "504b030414000100000083182250112974922d0000002100000005000000612e7478746ba19c2608689bc467664f9b1f39308bdcc1f106"
        "28e77ea42caedac7fca8df042ccad3fa000a552d5b8f532361504b01023f0314000100000083182250112974922d000000210000000500"
        "24000000000000002080a48100000000612e7478740a002000000000000100180000975c4b19c1d5010000000000000000000000000000"
        "0000504b0506000000000100010057000000500000000000"
    ),
}


@pytest.mark.parametrize("packer", LOCKED)
def test_a_locked_zip_opens_with_its_password(packer, tmp_path):
    unpacked(bytes.fromhex(LOCKED[packer]), tmp_path / "to", password="secret")
    assert tree(tmp_path / "to") == {"a.txt": TEXT}


@pytest.mark.parametrize("packer", LOCKED)
def test_a_large_locked_member_is_undone_in_pieces(packer, monkeypatch):
    monkeypatch.setattr("datastage.archives.zip_members.PIECE_BYTES", 5)
    [(_, stream)] = iter_members(BytesReader(bytes.fromhex(LOCKED[packer])), password="secret")
    assert stream.read() == TEXT


@pytest.mark.parametrize("packer", LOCKED)
@pytest.mark.parametrize("password", ["Secret", "", None])
def test_another_password_opens_nothing(packer, password, tmp_path):
    with pytest.raises(PasswordError, match="password"):
        unpacked(bytes.fromhex(LOCKED[packer]), tmp_path / "to", password=password)
    assert tree(tmp_path / "to") == {}
