"""Write the .tflite files of the tests: `python tests/make_tiny_tflite.py`, where the extra `export` is installed.

Networks whose answers can be computed by hand, as those of `tiny_model.py`: points are the crop's centre of brightness
plus offsets, confidence is the mean brightness / 255. `tests/weights/tiny.tflite` takes one crop at a time,
`tiny-batch4.tflite` four, and `tiny-points.tflite` gives no confidence.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

FOLDER = Path(__file__).parent / "weights"
SIZE = 32
OFFSETS = torch.arange(10.0).reshape(5, 2)  # x, y of the five points


class Brightness(nn.Module):
    """Centre of brightness; crops (B, 32, 32, 3) uint8."""

    def __init__(self, confidence: bool) -> None:
        super().__init__()
        self.confidence = confidence
        y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
        self.register_buffer("grid", torch.stack([x, y], dim=-1).reshape(-1, 2).float())
        self.register_buffer("offsets", OFFSETS)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        pixels = image.float().mean(-1).reshape(image.shape[0], -1)
        centre = pixels @ self.grid / (pixels.sum(1, keepdim=True) + 1e-6)
        points = centre[:, None] + self.offsets
        return {"points": points} | (
            {"confidence": (pixels.mean(1, keepdim=True) / 255).repeat(1, 5)} if self.confidence else {}
        )


def main() -> None:
    import litert_torch

    from facekd.markup import FIVE
    from facekd.runtime.card import ModelCard, sha256

    for name, batch, confidence in (("tiny", 1, True), ("tiny-batch4", 4, True), ("tiny-points", 1, False)):
        frames = torch.zeros(batch, SIZE, SIZE, 3, dtype=torch.uint8)
        path = FOLDER / f"{name}.tflite"
        litert_torch.convert(Brightness(confidence).eval(), sample_kwargs={"image": frames}).export(str(path))
        meaning = "mean brightness" if confidence else None
        ModelCard(name, FIVE, SIZE, 1.25, confidence=meaning, sha256=sha256(path)).save(path)


if __name__ == "__main__":
    main()
