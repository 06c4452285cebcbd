"""Groups of settings that travel on by themselves: what a network sees, what it is, and how it is optimised."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from facekd.settings import Integer, Number, Settings


class Input(Settings):
    """What a network sees: a square frame around the face."""

    size: Integer = Field(128, ge=32, le=1024, description="side of the frame in pixels")
    scale: Number = Field(
        1.2, ge=1, le=3, description="side of the square crop / larger side of the tight landmark box"
    )


class Shape(Settings):
    """The active shape model behind the soft-landmarks (paper: soft-landmarks)."""

    variance: Number = Field(90, gt=0, le=100, description="percent of the variance that soft-landmarks keep")
    clip: Number = Field(3, gt=0, description="each coefficient is clipped to +- this many standard deviations")
    procrustes: bool = Field(False, description="align shapes before the components are found (released code: no)")


class Augment(Settings):
    """Random views of a training face: one similarity warp, then colour jitter, blur, noise and cut-out."""

    rotation: Number = Field(30, ge=0, le=180, description="degrees, uniform in +-")
    scale: Number = Field(0.15, ge=0, lt=1, description="log of the size, uniform in +-")
    shift: Number = Field(0.05, ge=0, le=1, description="share of the crop's side, uniform in +-, x and y")
    mirror: bool = Field(True, description="half of the views are mirrored")
    brightness: Number = Field(0.2, ge=0, le=1, description="added to pixels in [0, 1], uniform in +-")
    contrast: Number = Field(0.3, ge=0, lt=1, description="log of the gain, uniform in +-")
    saturation: Number = Field(0.4, ge=0, le=1, description="largest share by which a colour moves to or from grey")
    tint: Number = Field(0.1, ge=0, lt=1, description="log of a gain per colour channel, uniform in +-")
    blur: Number = Field(0.2, ge=0, le=1, description="share of views that are blurred")
    noise: Number = Field(0.03, ge=0, le=1, description="largest standard deviation of pixel noise; half of the views")
    cutout: Number = Field(0.3, ge=0, le=1, description="share of views with a rectangle painted over")
    close_eyes: Number = Field(
        0, ge=0, le=1, description="share of views whose eyes are closed, lids and labels together, half to wholly"
    )
    occlusion: Number = Field(
        0, ge=0, le=1, description="share of views with a mask, dark glasses, a hand or a thing before the face"
    )
    low_resolution: Number = Field(
        0,
        ge=0,
        le=1,
        description="share of views that are reduced, to 20 pixels at the least, with noise there, and enlarged again",
    )
    motion_blur: Number = Field(
        0, ge=0, le=1, description="share of views blurred along a line of up to a fifth of their side"
    )
    jpeg: Number = Field(
        0, ge=0, le=1, description="share of views kept as JPEG of a quality from 5 to 50, at their low resolution"
    )
    low_contrast: Number = Field(
        0, ge=0, le=1, description="share of views whose contrast falls, to a tenth at the least; dark, pale or between"
    )
    detector_spread: bool = Field(
        True, description="scale and shift are wider where the face detector's boxes vary more about the points"
    )


class Network(Settings):
    """A backbone of timm under a landmark head."""

    backbone: str = Field(description="a model name of timm")
    head: Literal["coordinate", "spatial"] = Field(
        "coordinate", description="coordinate: the paper's regression of 2N numbers; spatial: heatmaps and offsets"
    )
    stride: Literal[4, 8, 16] = Field(8, description="spatial head: input pixels per cell of its heatmaps")
    dropout: Number = Field(0, ge=0, lt=1, description="before the coordinate head")
    mean_start: bool = Field(True, description="an untrained coordinate head starts at the mean training shape")
    standardise: bool = Field(True, description="pixels by the backbone's mean and deviation; false: pixel / 255")


class Optimisation(Settings):
    """How a network is optimised."""

    epochs: Integer = Field(
        30,
        ge=0,
        description="length of the learning rate's schedule; 0: the network of init as it is, to teach others",
    )
    stop_epoch: Integer | None = Field(
        None, ge=1, description="training ends after this epoch; default: after the last"
    )
    batch: Integer = Field(32, ge=1, description="faces per step, over all devices")
    optimiser: Literal["adam", "adamw"] = Field("adamw", description="betas 0.9 and 0.999")
    lr: Number = Field(1e-3, gt=0, description="learning rate at the start of the schedule")
    weight_decay: Number = Field(0.01, ge=0, description="of weights; biases and normalisation are not decayed")
    schedule: Literal["cosine", "paper"] = Field("cosine", description="cosine to zero; paper: lr / (1 + 1e-4 step)")
    warmup: Number = Field(0.05, ge=0, lt=1, description="share of the steps over which the rate rises to lr")
    clip_grad: Number = Field(1.0, ge=0, description="largest norm of the gradient; 0: no limit")
    ema: Number = Field(0.999, ge=0, lt=1, description="decay of the averaged weights that are kept; 0: no average")

    patience: Integer = Field(
        0,
        ge=0,
        description="training ends once so many epochs have not lowered the error on the validation faces, of which 10 "
        "or more are needed, and the best epoch's weights are kept; 0: the last one's",
    )

    @property
    def num_epochs(self) -> int:
        """Return how many epochs are trained."""
        return self.stop_epoch or self.epochs
