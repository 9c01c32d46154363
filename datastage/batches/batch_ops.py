"""What torch does to whole uint8 batches on any device: random-resized crops and colour jitter."""

from __future__ import annotations

from typing import Any

from datastage.batches.augment import pixels_of


def resized(images: Any, box: Any, flip: Any, size: tuple[int, int]) -> Any:
    """Cut a box from each image and resize it, bilinearly, to the size of the whole.

    Parameters
    ----------
    images : Tensor of uint8, shape (B, C, H, W)
        On any device.
    box : Tensor of float32, shape (B, 4)
        What is cut out, as `augment.pixels_of` reads it.
    flip : Tensor of bool, shape (B,), or None
        What is mirrored.
    size : (int, int)
        Height and width of what comes out.

    Returns
    -------
    Tensor of uint8, shape (B, C, *size)
    """
    import torch

    top, left, tall, wide = (pixels.long()[:, None] for pixels in pixels_of(box, *images.shape[2:]))

    def along(start: Any, side: Any, n: int) -> tuple[Any, Any, Any]:
        at = (torch.arange(n, device=images.device) + 0.5)[None] * (side / n) - 0.5
        at = torch.minimum(at.clamp(min=0), side - 1.0)
        low = at.floor().long()
        high = torch.minimum(low + 1, side - 1)
        return low + start, high + start, at - low

    def between(source: Any, dim: int, low: Any, high: Any, share: Any) -> Any:
        shape = [-1, 1, 1, 1]
        shape[dim] = low.shape[1]
        whole = list(source.shape)
        whole[dim] = low.shape[1]
        first, second = (source.gather(dim, at.view(shape).expand(whole)).float() for at in (low, high))
        return torch.lerp(first, second, share.view(shape))

    rows = between(images, 2, *along(top, tall, size[0]))
    columns = along(left, wide, size[1])
    if flip is not None:
        columns = tuple(torch.where(flip[:, None], part.flip(1), part) for part in columns)  # type: ignore[assignment]
    return between(rows, 3, *columns).round().to(torch.uint8)


def jittered(images: Any, factors: Any) -> Any:
    """Change brightness, contrast, saturation and hue, in this order, each image by its own numbers.

    As torchvision's ColorJitter with its order fixed: contrast moves away from the image's mean grey, saturation from
    each pixel's grey. Between the steps nothing is rounded.

    Parameters
    ----------
    images : Tensor of uint8, shape (B, C, H, W)
        Of 1 or 3 channels.
    factors : Tensor of float32, shape (B, 3) or (B, 4)
        As `Draws.jitter`; (1, 1, 1, 0) changes nothing.

    Returns
    -------
    Tensor of uint8, shape (B, C, H, W)
    """
    import torch

    brightness, contrast, saturation, *hue = factors[..., None, None, None].unbind(1)
    colours = (images.float() * brightness).clamp_(0, 255)
    mean = _grey(colours).mean((1, 2, 3), keepdim=True)
    colours = ((colours - mean) * contrast + mean).clamp_(0, 255)
    if images.shape[1] == 3:
        grey = _grey(colours)
        colours = ((colours - grey) * saturation + grey).clamp_(0, 255)
        if hue:
            colours = _turned(colours, hue[0])
    return colours.round_().to(torch.uint8)


def _turned(colours: Any, hue: Any) -> Any:
    """Turn hues by a share (B, 1, 1, 1) of their circle; value and saturation, as HSV has them, stay.

    References
    ----------
    A. R. Smith, "Color gamut transform pairs", SIGGRAPH 1978.
    """
    import torch

    highest, lowest = colours.amax(1, keepdim=True), colours.amin(1, keepdim=True)
    span = highest - lowest
    red, green, blue = colours.split(1, 1)
    # Sixths of the circle from red. Where a colour is grey its hue is of no account.
    along = torch.where(
        highest == red,
        green - blue,
        torch.where(highest == green, blue - red + 2 * span, red - green + 4 * span),
    )
    at = along / span.clamp(min=1e-6) + 6 * hue
    # A channel is at the highest up to a sixth to either side of where it is strongest, and at the lowest from two on.
    strongest = torch.tensor([0.0, 2.0, 4.0], device=colours.device).view(1, 3, 1, 1)
    apart = ((at - strongest + 3) % 6 - 3).abs()
    return lowest + span * (2 - apart).clamp(0, 1)


def _grey(images: Any) -> Any:
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    return (0.299 * red + 0.587 * green + 0.114 * blue).unsqueeze(1)  # ITU-R BT.601, as torchvision
