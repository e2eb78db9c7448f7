"""Exports of Hugging Face's `transformers` modules, random weights, a block or two a stage: graphs that nobody here wrote.

python -m tools.benchmarks.hugging_face NAME OUT.onnx      (with an interpreter that has torch and transformers)
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

from tools.benchmarks.environments import ROOT, python

NAMES = ("segformer", "vit", "swin", "mobilevit")


def export(name: str, path: Path) -> Path:
    """Write `path` in the environment that has transformers; nothing is downloaded but the packages.

    Raises:
        CalledProcessError: the export failed; its error is on stderr.
    """
    command = [str(python("transformers")), "-m", "tools.benchmarks.hugging_face", name, str(path)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return path


def _export_here(name: str, path: str) -> None:
    import torch
    import transformers as hf

    networks = {
        "segformer": lambda: hf.SegformerForSemanticSegmentation(hf.SegformerConfig(depths=[1] * 4)),
        "vit": lambda: hf.ViTForImageClassification(hf.ViTConfig(num_hidden_layers=2)),
        "swin": lambda: hf.SwinForImageClassification(hf.SwinConfig(depths=[2, 1], num_heads=[3, 6])),
        "mobilevit": lambda: hf.MobileViTForImageClassification(hf.MobileViTConfig()),
    }
    torch.manual_seed(0)
    network = networks[name]().eval()

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.network(image).logits

    side = 256 if name == "mobilevit" else 224
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Logits().eval(),
            (torch.randn(1, 3, side, side),),
            path,
            dynamo=False,
            opset_version=17,
            input_names=["image"],
            output_names=["logits"],
        )


if __name__ == "__main__":
    _export_here(*sys.argv[1:])
