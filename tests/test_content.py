"""What is in a partial folder, without what bears names of ours."""

from datastage.content import without_our_names
from datastage.reader import FileRecord


def test_names_of_ours_in_any_case_are_taken_out_with_all_in_them_and_counted_by_file(tmp_path):
    ours = ["sub/.DataStage.json", ".datastage-1/b", ".datastage-1/deep/c"]
    others = ["a.txt", "sub/.datastages", "sub/datastage.json"]
    for path in ours + others:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()

    kept, counted = without_our_names([FileRecord(path, 0, 0) for path in ours + others], {"._*": 2}, tmp_path)

    assert [file.path for file in kept] == others
    assert counted == {"._*": 2, "receipts of another copy": 3}
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == set(others)
