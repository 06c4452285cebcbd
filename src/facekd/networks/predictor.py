"""A trained network behind the interface that evaluation and export use: crops in, landmarks in pixels out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from facekd.networks.checkpoint import ModelMetadata, load
from facekd.networks.network import LandmarkNet, Prediction
from facekd.runtime.enhance import enhance_crops
from facekd.runtime.output import NetworkOutput, check_output
from facekd.runtime.roll import predict_with_rotation


class TorchModel:
    """A landmark network in torch; a `runtime.model.Predictor`, as is its ONNX form.

    Args:
        net: changed in place: put into evaluation mode and onto the device.
        metadata: what its file says besides weights.
        device: of torch, such as "cpu" or "cuda".
    """

    def __init__(self, net: LandmarkNet, metadata: ModelMetadata, device: str = "cpu") -> None:
        self.net, self.metadata, self.device = net.eval().to(device), metadata, device
        self.size, self.scale = net.architecture.size, metadata.scale
        self.markup, self.box_transform = metadata.markup, metadata.box_transform
        self.face_calibration = metadata.face_calibration

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> TorchModel:
        """Read a network file.

        Args:
            path: a .safetensors file of ours.
            device: of torch, such as "cpu" or "cuda".

        Returns:
            The network, ready to be called.

        Raises:
            ModelError: the file cannot be read, see `checkpoint.load`.
        """
        return cls(*load(path), device=device)

    def __call__(self, images: np.ndarray) -> NetworkOutput:
        """Find landmarks; pale, dark, noisy or blurred crops are enhanced, rotated faces turned upright and seen again.

        Args:
            images: (B, S, S, 3) uint8 RGB crops.

        Returns:
            Landmarks (B, N, 2) float32 in crop pixels; confidence and visibility (B, N) float32 in [0, 1], or None.
        """
        return predict_with_rotation(self.predict, enhance_crops(images), self.markup, self.scale)

    @torch.inference_mode()
    def predict(self, images: np.ndarray) -> NetworkOutput:
        """Find landmarks in crops as they are, in one pass, whatever the roll.

        Args:
            images: (B, S, S, 3) uint8 RGB crops.

        Returns:
            Landmarks (B, N, 2) float32 in crop pixels; confidence and visibility (B, N) float32 in [0, 1], or None.

        Raises:
            ModelError: they are not finite, or huge.
        """
        prediction = self.predict_raw(images)
        found = self.metadata.outputs(prediction, self.size)
        arrays = {name: values.float().cpu().numpy() for name, values in found.items()}
        for name, values in arrays.items():
            shape = (self.markup.count, 2) if name == "points" else (self.markup.count,)
            check_output(name, values, shape, "the network")
        return NetworkOutput(**arrays)

    @torch.no_grad()
    def predict_raw(self, images: np.ndarray) -> Prediction:
        """Return the network's output without shape prior and calibration.

        Args:
            images: (B, S, S, 3) uint8 RGB crops.

        Returns:
            Normalised landmarks, log-sigma, heatmaps and visibility, on the device.
        """
        batch = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float().div(255)
        prediction: Prediction = self.net(batch.contiguous(memory_format=torch.channels_last))
        return prediction
