"""The models that are measured: the bundled sample, and full-size exports of `tools/golden_models`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tools.benchmarks.environments import HOME, ROOT, python

CONVERSION = (
    "resnet18",
    "resnet50",
    "mobilenet_v2",
    "efficientnet",
    "unet_bilinear",
    "convnext",
    "densenet",
    "inception_v1",
    "inception_v3",
    "segformer",
    "vit",
    "swin",
    "mobilevit",
    "shufflenet_v2",
    "yolo",
    "ssd",
)


def folder() -> Path:
    """Where full-size models lie; BENCH_MODELS names another folder that holds them already."""
    found = Path(os.environ.get("BENCH_MODELS", HOME / "models"))
    found.mkdir(parents=True, exist_ok=True)
    return found


def full_size(name: str, exporter: str = "ts17") -> Path | None:
    """A full-size export, made with PyTorch where it is not there yet; None where the exporter can't."""
    path = folder() / f"{name}.{exporter}.onnx"
    if not path.exists():
        command = [
            str(python("torch")),
            "-m",
            "tools.golden_models",
            "--full",
            "--only",
            name,
            "--out",
            str(folder()),
        ]
        subprocess.run(command, cwd=ROOT, check=False)
    return path if path.exists() else None


def sample(size: int = 1024) -> Path:
    """The bundled full-size MobileStyleGAN."""
    path = folder() / f"mobilestylegan_{size}.onnx"
    if not path.exists():
        from graphrewrite.sources.sample import build_mobilestylegan

        path.write_bytes(build_mobilestylegan(size).SerializeToString())
    return path
