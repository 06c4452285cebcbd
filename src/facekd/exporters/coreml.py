"""Core ML export: an .mlpackage for iPhones and Macs, whose input is an image; converted and checked without a Mac."""

from __future__ import annotations

import io
import json
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from facekd.errors import ModelError
from facekd.exporters import mil
from facekd.exporters.int8 import quiet
from facekd.exporters.onnx import ExportModule, Parity, card_of, parity, sample_crops
from facekd.files import atomic_folder
from facekd.networks.exported import load_network
from facekd.networks.predictor import TorchModel
from facekd.runtime.card import ModelCard
from facekd.runtime.output import NetworkOutput

_KEY = "facekd"  # of the card, among the metadata that a model's author defines
_WEIGHTS = Path("Data") / "com.apple.CoreML" / "weights" / "weight.bin"
# px, on faces: what float16 convolutions, and weights of 8 bits, may move a point.
_TOLERANCE = {"float16": 0.5, "float32": 0.01, "palette8": 2.0}


class _Pixels(nn.Module):
    """An export module that takes (1, 3, S, S) float pixels in [0, 255], as Core ML hands an image over."""

    def __init__(self, module: ExportModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.module.from_pixels(image).values())


def export(
    checkpoint: str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    figures: dict[str, Any] | None = None,
    precision: str = "float16",
) -> Parity:
    """Write an .mlpackage for iOS 16 and macOS 13 on, after checking that its program computes what torch computes.

    The program is computed in torch (`facekd.exporters.mil`): Core ML itself runs on a Mac or an iPhone alone.

    Args:
        checkpoint: a .safetensors file, or an .onnx file that this package wrote.
        out: the .mlpackage to write; one that is there is replaced.
        name: of the model, for its card; default: the file's stem.
        figures: measured errors, for the card.
        precision: of the convolutions: "float16", "float32", or "palette8": float16 with weights of 256 values each.
            What follows the convolutions is float32.

    Returns:
        How far program and network are apart.

    Raises:
        ModelError: not a network of ours, the converter is not installed, or the program does not compute what torch
            does, or has an operator that cannot be checked.
    """
    out = Path(out)
    net, metadata = load_network(checkpoint)
    module = ExportModule(net, metadata)
    size = net.architecture.size
    names = list(module.named(torch.zeros(1, size, size, 3, dtype=torch.uint8)))
    with atomic_folder(out) as temporary:
        model = _converted(module, size, names, precision)
        model.save(str(temporary))
        card = card_of(net, metadata, name or out.stem, figures or {}, temporary / _WEIGHTS)
        card = replace(card, made_with={**card.made_with, "precision": precision})
        model.short_description = f"Landmarks of a face ({card.markup.name}), by facekd; the card is in the metadata"
        model.user_defined_metadata[_KEY] = json.dumps(card.to_dict())
        shutil.rmtree(temporary)
        model.save(str(temporary))
        apart = _parity(TorchModel(net, metadata), temporary)
        if not max(apart.points, 10 * apart.confidence) < _TOLERANCE[precision]:
            raise ModelError(
                f"{out} would not compute what {checkpoint} does: points differ by {apart.points:.3g} px, confidence "
                f"by {apart.confidence:.3g}; nothing was written, try another precision or backbone"
            )
    return apart


def read_card(path: str | Path) -> ModelCard:
    """Read the card of an .mlpackage.

    Args:
        path: the package.

    Returns:
        The card; its checksum is that of the weights.

    Raises:
        ModelError: it holds none.
    """
    model = _coremltools().models.MLModel(str(path), skip_model_load=True)
    if _KEY not in model.user_defined_metadata:
        raise ModelError(f"{path} holds no model card; export it with `facekd export`")
    return ModelCard.from_dict(json.loads(model.user_defined_metadata[_KEY]))


def _converted(module: ExportModule, size: int, names: list[str], precision: str) -> Any:
    """Return the Core ML model of a module."""
    tools = _coremltools()
    with _silent(), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.export(_Pixels(module).eval(), (torch.zeros(1, 3, size, size),)).run_decompositions({})
        _without_aliases(program)
        rounding = (
            tools.precision.FLOAT32
            if precision == "float32"
            else tools.transform.FP16ComputePrecision(op_selector=_until_last_convolution())
        )
        model = tools.convert(
            program,
            inputs=[tools.ImageType("image", (1, 3, size, size), color_layout=tools.colorlayout.RGB)],
            outputs=[tools.TensorType(name, dtype=np.float32) for name in names],
            convert_to="mlprogram",
            minimum_deployment_target=tools.target.iOS16,
            compute_precision=rounding,
            skip_model_load=True,
        )
        if precision == "palette8":
            from coremltools.optimize import coreml as smaller

            each = smaller.OpPalettizerConfig(mode="kmeans", nbits=8)
            weights = smaller.OptimizationConfig(op_type_configs={"conv": each})
            model = smaller.palettize_weights(model, weights)
    return model


def _without_aliases(program: torch.export.ExportedProgram) -> None:
    """Take out operators that give what they are given, as dropout leaves them: the converter does not know them."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target is torch.ops.aten.alias.default:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    program.graph_module.recompile()


def _until_last_convolution() -> Callable[[Any], bool]:
    """Return what chooses a program's operators up to the last convolution; the program is looked at once."""
    chosen: set[str] = set()

    def choose(op: Any) -> bool:
        if not chosen:
            operators = list(op.enclosing_block.operations)
            last = max((at for at, each in enumerate(operators) if each.op_type == "conv"), default=0)
            chosen.update(each.name for each in operators[: last + 1])
        return op.name in chosen

    return choose


def _parity(torch_model: TorchModel, package: Path) -> Parity:
    """Compare a package's program with its network on the sample picture's faces."""
    crops = sample_crops(torch_model)
    images = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
    with _silent(), torch.inference_mode():
        found = [mil.evaluate(package, {"image": image[None]}) for image in images]
    together = {name: np.concatenate([np.asarray(one[name]) for one in found]) for name in found[0]}
    return parity(torch_model.predict(crops), NetworkOutput(**together))


def _coremltools() -> Any:
    """Import Core ML's tools; on other systems than macOS they log of what they cannot run."""
    try:
        with _silent():
            import coremltools
    except ImportError as error:
        raise ModelError(f"export to .mlpackage needs '{error.name}'; pip install 'facekd[export]'") from error
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    return coremltools


@contextmanager
def _silent() -> Iterator[None]:
    """Keep back what the converter writes of its progress."""
    with quiet(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield
