import pytest

from datastage.batches import decode


@pytest.fixture(params=["quick", "plain"])
def readers(request, monkeypatch):
    """What decodes and resizes photos: the quick libraries, as on Colab and Kaggle, and Pillow and torch alone."""
    if request.param == "quick" and (decode.best() == "PIL" or not decode.has_opencv()):
        pytest.skip("simplejpeg and OpenCV are not installed")
    if request.param == "plain":
        monkeypatch.setattr(decode, "has_opencv", lambda: False)
        monkeypatch.setattr("datastage.batches.crops.has_opencv", lambda: False)
        monkeypatch.setattr(decode, "JPEG_DECODERS", {"PIL": decode.JPEG_DECODERS["PIL"]})
    return request.param


@pytest.fixture
def grey_photos(tmp_path):
    """A folder of eight photos of two classes, each of one grey."""
    np, image = pytest.importorskip("numpy"), pytest.importorskip("PIL.Image")
    for i in range(8):
        file = tmp_path / f"class{i % 2}" / f"{i}.png"
        file.parent.mkdir(exist_ok=True)
        image.fromarray(np.full((8, 8, 3), 20 * i, np.uint8)).save(file)
    return tmp_path
