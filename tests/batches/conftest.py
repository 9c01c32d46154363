import pytest


@pytest.fixture
def grey_photos(tmp_path):
    """A folder of eight photos of two classes, each of one grey."""
    np, image = pytest.importorskip("numpy"), pytest.importorskip("PIL.Image")
    for i in range(8):
        file = tmp_path / f"class{i % 2}" / f"{i}.png"
        file.parent.mkdir(exist_ok=True)
        image.fromarray(np.full((8, 8, 3), 20 * i, np.uint8)).save(file)
    return tmp_path
