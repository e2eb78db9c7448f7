"""Build, export and verify golden models, and list them in ``index.json``."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from .catalog import GoldenModel

FAMILIES = (
    "classification",
    "segmentation",
    "transformers",
    "recurrent",
    "norms",
    "signal",
    "volume",
    "detection",
    "mobilestylegan",
    "stylegan2",
    "stylegan3",
    "bisenet",
    "wavelet",
)

# The check of the converter's own fp32 results: max abs error over max(1, largest reference value).
TOLERANCE = 1e-4

Arrays = Mapping[str, np.ndarray]


class ExportDiffersError(Exception):
    """The exported file does not compute what the PyTorch module computes."""


def collect() -> list[GoldenModel]:
    """The models of every family module that is there."""
    models: list[GoldenModel] = []
    for family in FAMILIES:
        name = f"{__package__}.{family}"
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            continue
        models.extend(module.MODELS)
    return models


def reference(
    model: nn.Module, golden: GoldenModel, sample: Mapping[str, torch.Tensor]
) -> dict[str, np.ndarray]:
    """PyTorch's own outputs by name."""
    # Modules may write into their buffers or inputs; each run gets its own copies.
    with torch.no_grad():
        result = model(*(tensor.clone() for tensor in sample.values()))
    flat = [result] if isinstance(result, torch.Tensor) else list(result)
    if len(flat) != len(golden.output_names):
        raise ValueError(f"{golden.name}: {len(flat)} outputs, {len(golden.output_names)} names")
    return {name: tensor.numpy() for name, tensor in zip(golden.output_names, flat, strict=True)}


def export(model: nn.Module, golden: GoldenModel, exporter: str, full: bool, path: Path) -> None:
    """Export with the TorchScript exporter at opset 17 (``ts17``) or the dynamo exporter (``dyn``)."""
    sample = golden.inputs(full)[0]
    names = {"input_names": list(sample), "output_names": list(golden.output_names)}
    # Both exporters print progress and warn about traced constants; only errors are of interest here.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if exporter == "ts17":
            axes = {name: dict(axes) for name, axes in golden.dynamic.items()}
            torch.onnx.export(
                model,
                tuple(sample.values()),
                path,
                dynamo=False,
                opset_version=17,
                dynamic_axes=axes,
                **names,
            )
        elif exporter == "dyn":
            torch.onnx.export(
                model,
                tuple(sample.values()),
                path,
                dynamo=True,
                external_data=False,
                dynamic_shapes=_dynamic_shapes(golden, sample),
                verbose=False,
                **names,
            )
            _strip_torch_metadata(path)
        else:
            raise ValueError(f"{golden.name}: unknown exporter {exporter!r}; known: ts17, dyn")


def _dynamic_shapes(golden: GoldenModel, sample: Mapping[str, torch.Tensor]) -> tuple | None:
    if not golden.dynamic:
        return None
    symbols = {symbol for axes in golden.dynamic.values() for symbol in axes.values()}
    dims = {symbol: torch.export.Dim(symbol) for symbol in sorted(symbols)}
    return tuple(
        {axis: dims[symbol] for axis, symbol in golden.dynamic.get(name, {}).items()} or None
        for name in sample
    )


def _strip_torch_metadata(path: Path) -> None:
    """Keep the ``namespace`` of each node (its module path) and drop the rest of what torch records.

    The stack traces hold paths of the exporting machine, and together the records are half of a small file.
    """
    model = onnx.load(path)
    for node in model.graph.node:
        kept = [prop for prop in node.metadata_props if not prop.key.startswith("pkg.torch.")]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(model, path)


def errors(path: Path, samples: Sequence[tuple[Arrays, Arrays]]) -> list[float]:
    """Error of each sample in ONNX Runtime, optimisation off: max abs / max(1, max of the reference)."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    # An input the forward pass does not use is not in the file.
    known = {value.name for value in session.get_inputs()}
    found = []
    for inputs, outputs in samples:
        results = session.run(list(outputs), {name: array for name, array in inputs.items() if name in known})
        worst = 0.0
        for result, (name, expected) in zip(results, outputs.items(), strict=True):
            if result.shape != expected.shape or result.dtype != expected.dtype:
                raise ExportDiffersError(
                    f"{path.name}: {name} is {result.dtype}{result.shape}, PyTorch gives "
                    f"{expected.dtype}{expected.shape}"
                )
            scale = max(1.0, float(np.abs(expected).max(initial=0)))
            difference = np.abs(result.astype(np.float64) - expected.astype(np.float64)).max(initial=0)
            worst = max(worst, float(difference) / scale)
        found.append(worst)
    return found


def make(name: str, out: Path, full: bool, exporters: Sequence[str]) -> list[str]:
    """Write the files of one model; return a line of failure for each export that was not kept."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    golden = next(golden for golden in collect() if golden.name == name)
    torch.manual_seed(0)
    model = golden.build(full)
    tensors = golden.inputs(full)
    samples: list[tuple[Arrays, Arrays]] = [
        ({name: tensor.numpy() for name, tensor in sample.items()}, reference(model, golden, sample))
        for sample in tensors
    ]
    failures = []
    for exporter in golden.exporters:
        if exporter not in exporters:
            continue
        path = out / f"{golden.name}.{exporter}.onnx"
        unverified = path.with_name(f".unverified.{path.name}")
        started = time.perf_counter()
        try:
            export(model, golden, exporter, full, unverified)
            found = max(errors(unverified, samples))
            # Written so that NaN fails too.
            if not found <= TOLERANCE:
                raise ExportDiffersError(
                    f"{path.name}: error {found:.2g} against PyTorch, allowed {TOLERANCE:g}"
                )
            unverified.replace(path)
        except Exception as error:  # any exporter error is one line of the summary
            unverified.unlink(missing_ok=True)
            lines = str(error).strip().splitlines() or [""]
            failures.append(f"{golden.name}.{exporter}: {type(error).__name__}: {lines[0][:300]}")
            print(f"FAILED {failures[-1]}", flush=True)
            continue
        seconds = time.perf_counter() - started
        size = path.stat().st_size
        print(f"{path.name:40} {size / 1e3:10.1f} kB  error {found:.1e}  {seconds:5.1f} s", flush=True)
    arrays = {}
    for k, (inputs, outputs) in enumerate(samples):
        arrays |= {f"sample{k}.input.{name}": array for name, array in inputs.items()}
        arrays |= {f"sample{k}.output.{name}": array for name, array in outputs.items()}
        peak = max(float(np.abs(array).max(initial=0)) for array in outputs.values())
        spread = min(float(array.std()) for array in outputs.values())
        if k == 0:
            print(f"{golden.name:40} output peak {peak:.3g}, std {spread:.3g}", flush=True)
    np.savez_compressed(out / f"{golden.name}.npz", **arrays)
    return failures


def write_index(out: Path, models: Sequence[GoldenModel]) -> None:
    """Write ``index.json``: what a test needs to know without importing torch."""
    index = {}
    for golden in models:
        kept = [name for name in golden.exporters if (out / f"{golden.name}.{name}.onnx").exists()]
        if kept and (out / f"{golden.name}.npz").exists():
            index[golden.name] = {
                "passes": golden.passes,
                "exporters": kept,
                "outputs": list(golden.output_names),
                "dynamic": {
                    name: {str(axis): symbol for axis, symbol in axes.items()}
                    for name, axes in golden.dynamic.items()
                },
            }
    (out / "index.json").write_text(json.dumps(index, indent=1, sort_keys=True) + "\n", encoding="utf-8")
