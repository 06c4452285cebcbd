"""An exported network back in torch, to train on: the weights of an .onnx file in a `LandmarkNet`.

The exporter folds batch normalisation into the convolution before it and gives the results names of its own. Its nodes
keep the modules' names, so each weight finds its module. The folded normalisation comes back as one that changes
nothing but adds the bias; `set_statistics` gives it the mean and variance of real features, with which training works
as before: the network computes the same throughout.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from facekd.documents import Fields
from facekd.errors import ModelError
from facekd.geometry import normalise
from facekd.networks.architecture import Architecture
from facekd.networks.checkpoint import ModelMetadata, build_network, check_architecture, load, read_shape_prior
from facekd.networks.network import LandmarkNet, Prediction
from facekd.networks.shape_prior import ShapePrior
from facekd.runtime.card import ModelCard
from facekd.runtime.model import OnnxModel
from facekd.runtime.names import resolve_model

_ROOT = "net"  # where the network lies in the exported module
# The shape prior's tensors: the constant that each of these nodes of the exported module takes.
_PRIOR = {
    "bias": "/Sub",
    "mean": "/Sub_1",
    "whiten": "/MatMul",
    "gain": "/MatMul_1",
    "noise": "/MatMul_3",
    "typical": "/Sub_2",
}
_TOLERANCE = 0.02  # px, that the two may be apart
_FRAMES = 8
_CLEAR = 1e-3  # a confidence this near to 0 or 1 says too little of log-sigma


def load_network(model: str | Path) -> tuple[LandmarkNet, ModelMetadata]:
    """Load a network into torch: a bundled one, a run's result, a checkpoint, or an exported file.

    Args:
        model: as for `facekd.runtime.model.resolve_model`: "facekd-68", a run's or a stage's folder, a .safetensors
            or an .onnx file.

    Returns:
        The network, in evaluation mode on the CPU, and its metadata. Its outputs are those of the file to 1e-4 of the
        frame. Before one that was exported is trained, see `set_statistics`.

    Raises:
        ModelError: nothing has that name, or it cannot be read into torch.
    """
    path = resolve_model(model, "onnx")
    return load_exported(path) if path.suffix == ".onnx" else load(path)


def read_metadata(path: Path) -> ModelCard | ModelMetadata:
    """Read what a file says of its network besides weights.

    Args:
        path: a .safetensors or an .onnx file.

    Returns:
        The card or the metadata: both say mark-up, scale and box transform.

    Raises:
        ModelError: it cannot be read.
    """
    return ModelCard.load(path) if path.suffix == ".onnx" else load(path)[1]


def load_architecture(path: Path) -> Architecture:
    """Read what a file's network is built of.

    Args:
        path: a .safetensors or an .onnx file of ours.

    Returns:
        The architecture.

    Raises:
        ModelError: it cannot be read, or the file does not say so.
    """
    return _architecture(ModelCard.load(path), path) if path.suffix == ".onnx" else load(path)[0].architecture


def load_exported(path: str | Path) -> tuple[LandmarkNet, ModelMetadata]:
    """Read an .onnx file that `exporters.onnx.export` wrote.

    Args:
        path: the file; its card lies beside it.

    Returns:
        The network, in evaluation mode on the CPU, and its metadata. Before training, see `set_statistics`.

    Raises:
        ModelError: the file or its card cannot be read, it is quantised or of another origin, or what was read does
            not compute what the file does.
    """
    card, model = ModelCard.load(path), OnnxModel(path, threads=1)
    architecture = _architecture(card, path)
    graph = onnx.load(str(path)).graph
    try:
        values = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in graph.initializer}
    except (ValueError, TypeError, KeyError) as error:  # types that torch does not have
        raise ModelError(f"{path} holds tensors that are not those of an export ({error}); export it again") from error
    for node in graph.node:  # tensors that are alike are written once
        if node.op_type == "Identity" and node.input[0] in values:
            values[node.output[0]] = values[node.input[0]]
    net = build_network(architecture, str(path))
    _fill(net, graph, values, path)
    metadata = ModelMetadata(
        markup=card.markup,
        scale=card.scale,
        box_transform=card.box_transform,
        face_calibration=card.face_calibration,
        data=list(card.data),
        recipe=card.made_with.get("recipe", {}),
        shape_prior=_shape_prior(graph, values, str(path)),
    )
    if card.confidence_radius:
        metadata.confidence_radius = card.confidence_radius / card.scale
    frames = np.random.default_rng(0).integers(0, 256, (_FRAMES, card.size, card.size, 3), np.uint8)
    with torch.inference_mode():
        prediction: Prediction = net(torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255)
        points, confidence, _ = model.predict(frames)
        wanted = torch.from_numpy(normalise(points, card.size))
        apart = card.size * float((metadata.landmarks(prediction) - wanted).abs().max())
    if not apart < _TOLERANCE:
        raise ModelError(
            f"{path} cannot be read back into torch: its landmarks would differ by {apart:.3g} px; give the "
            ".safetensors file it was exported from"
        )
    if prediction.log_sigma is not None and confidence is not None:
        metadata.calibration = _calibration(prediction.log_sigma, confidence, metadata.confidence_radius)
    return net, metadata


def _architecture(card: ModelCard, path: str | Path) -> Architecture:
    """Return what an exported network is built of; cards of version 0.1 have only the recipe to say so."""
    made_with = Fields(card.made_with, f"the card of {path}", ModelError)
    if made_with.has("architecture"):
        return check_architecture(made_with)
    recipe = card.made_with.get("recipe", {})
    try:
        stages, name = recipe.get("stages", recipe), recipe["stage"]
        while "of" in stages[name]:  # a mean of networks: what they are
            name = stages[name]["of"][0]
        stage = stages[name]
        told = {key: stage[key] for key in ("backbone", "head", "standardise", "stride")}
    except (KeyError, TypeError, AttributeError, IndexError):
        raise ModelError(f"the card of {path} does not say what network it is; give a .safetensors file") from None
    told |= {"points": card.markup.count, "size": card.size, "sigma": card.confidence is not None}
    return check_architecture(made_with.inner({"architecture": told}, "recipe"))


def _fill(net: LandmarkNet, graph: onnx.GraphProto, values: dict[str, Tensor], path: str | Path) -> None:
    """Give a network the weights of a graph."""
    state = net.state_dict()
    filled = {name for key in values if (name := key.removeprefix(f"{_ROOT}.")) in state}
    for name in filled:
        _copy(state[name], values[f"{_ROOT}.{name}"], name, path)
    # What is folded into a convolution's weights no longer has a name of its own.
    normalisations = _normalisations(net)
    for node in graph.node:
        module = _module(net, node.name)
        folded = [values[key] for key in node.input[1:] if key in values]
        if module is None or not folded:
            continue
        found = {f"{module}.weight": folded[0].T if node.op_type == "MatMul" else folded[0]}
        if len(folded) == 2 and module in normalisations:
            found = _unfolded(net, module, normalisations[module], *folded)
        elif len(folded) == 2:
            found[f"{module}.bias"] = folded[1]
        for name in found.keys() - filled:
            if name not in state:
                raise ModelError(f"{path} does not fit its card: '{name}' is not in that network; export it again")
            _copy(state[name], found[name], name, path)
        filled |= found.keys()
    missing = [key for key in state if key not in filled | {"mean", "std"} and not key.endswith("num_batches_tracked")]
    if missing:
        raise ModelError(
            f"{path} has no weights for {len(missing)} layers of '{net.architecture.backbone}' ({missing[0]}, ...); "
            "give the .safetensors file it was exported from"
        )


def _unfolded(net: LandmarkNet, module: str, norm: str, weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """Return a convolution of unit norm in each channel, and the batch normalisation behind it that scales and shifts.

    With what was folded into them, channels of facekd-68-lite have norms from 0.001 to 70; layers of ImageNet's
    MobileNetV2 have medians from 0.06 to 1.6. And Adam moves small weights as far as large ones.
    """
    layer: Any = net.get_submodule(norm)
    scale = weight.flatten(1).norm(dim=1)
    scale = torch.where(scale > 0, scale, 1)
    variance = torch.ones_like(bias)
    return {
        f"{module}.weight": weight / scale.reshape(-1, *[1] * (weight.ndim - 1)),
        f"{norm}.weight": scale * (variance + layer.eps).sqrt(),
        f"{norm}.bias": bias,
        f"{norm}.running_mean": torch.zeros_like(bias),
        f"{norm}.running_var": variance,
    }


def _copy(target: Tensor, value: Tensor, name: str, path: str | Path) -> None:
    if target.shape != value.shape:
        raise ModelError(
            f"{path} does not fit its card: {name} is {tuple(value.shape)}, not {tuple(target.shape)}; give the "
            ".safetensors file it was exported from"
        )
    target.copy_(value)


def _module(net: LandmarkNet, node: str) -> str | None:
    """Return the module that a node belongs to: of /net/head/smooth.0/smooth.0.3/Conv it is head.smooth.0.3."""
    parts = node.strip("/").split("/")[:-1]
    if not parts or parts[0] != _ROOT:
        return None
    names: list[str] = []
    for part in parts[1:]:
        # A list's members are named after the list again.
        while names and part.startswith(f"{names[-1]}."):
            names.pop()
        names.append(part)
    name = ".".join(names)
    try:
        return name if hasattr(net.get_submodule(name), "weight") else None
    except AttributeError:
        return None


def _normalisations(net: LandmarkNet) -> dict[str, str]:
    """Return, by the name of a convolution, that of the batch normalisation which takes its output."""
    made: dict[int, tuple[str, Tensor]] = {}  # the tensor is kept, so that its id stays its own
    found: dict[str, str] = {}
    hooks = []
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):

            def after(_: nn.Module, __: Any, output: Tensor, name: str = name) -> None:
                made[id(output)] = name, output

            hooks.append(module.register_forward_hook(after))
        elif isinstance(module, nn.BatchNorm2d):

            def before(_: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                if id(inputs[0]) in made:
                    found[made[id(inputs[0])][0]] = name

            hooks.append(module.register_forward_pre_hook(before))
    size = net.architecture.size
    with torch.no_grad():
        net(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return found


def _shape_prior(graph: onnx.GraphProto, values: dict[str, Tensor], path: str) -> ShapePrior | None:
    """Return the shape prior behind a network, if there is one."""
    constants = {
        node.name: values[key]
        for node in graph.node
        for key in node.input
        if key in values and node.name in _PRIOR.values()
    }
    if not constants.keys() >= {_PRIOR["mean"], _PRIOR["whiten"]}:
        return None
    tensors = {key: constants[node] for key, node in _PRIOR.items() if node in constants}
    count = tensors["mean"].numel()
    if "gain" not in tensors or "noise" not in tensors:  # without log-sigma there is nothing to solve
        tensors |= {"noise": torch.zeros(count, count), "typical": torch.zeros(count // 2)}
    return read_shape_prior(tensors, count // 2, f"network {path}")


def _calibration(log_sigma: Tensor, confidence: np.ndarray, radius: float) -> tuple[float, float]:
    """Return slope and offset of log-sigma that give a file's confidence, which is 1 - exp(-r^2 / (2 sigma^2))."""
    level, x = confidence.astype(np.float64).ravel(), log_sigma.double().numpy().ravel()
    clear = (level > _CLEAR) & (level < 1 - _CLEAR)
    if clear.sum() < 2 or np.ptp(x[clear]) < 1e-3:
        return 1.0, 0.0
    y = -0.5 * np.log(-2 * np.log1p(-level[clear]) / radius**2)
    slope, offset = np.polyfit(x[clear], y, 1)
    return float(slope), float(offset)


def set_statistics(net: LandmarkNet, images: Tensor, batch: int = 32) -> None:
    """Give a network's batch normalisations the mean and variance of what they see, without changing what it computes.

    Args:
        net: in evaluation mode; changed in place.
        images: (n, 3, S, S) RGB in [0, 1], such as it will be trained on.
        batch: images per call of the network.
    """
    layers = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    with _moments(layers) as moments, torch.no_grad():
        for some in images.split(batch):
            net(some)
    for layer, (count, total, squares) in moments.items():
        if not count:
            continue
        mean = total / count
        variance = (squares / count - mean.square()).clamp_min(0)
        assert layer.running_mean is not None and layer.running_var is not None
        with torch.no_grad():
            scale = layer.weight.double() / (layer.running_var.double() + layer.eps).sqrt()
            shift = layer.bias.double() - scale * layer.running_mean.double()
            layer.weight.copy_(scale * (variance + layer.eps).sqrt())
            layer.bias.copy_(shift + scale * mean)
            layer.running_mean.copy_(mean)
            layer.running_var.copy_(variance)


@contextmanager
def _moments(layers: list[nn.BatchNorm2d]) -> Iterator[dict[nn.BatchNorm2d, list[Any]]]:
    """Collect the number, sums and sums of squares of each channel that layers are given meanwhile."""
    sums: dict[nn.BatchNorm2d, list[Any]] = {layer: [0, 0.0, 0.0] for layer in layers}

    def add(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.BatchNorm2d)
        x, own = inputs[0].double(), sums[layer]
        own[0] += x.numel() // x.shape[1]
        own[1] = own[1] + x.sum((0, 2, 3))
        own[2] = own[2] + x.square().sum((0, 2, 3))

    hooks = [layer.register_forward_pre_hook(add) for layer in layers]
    try:
        yield sums
    finally:
        for hook in hooks:
            hook.remove()
