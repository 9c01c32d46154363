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
