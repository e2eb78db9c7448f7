"""TensorFlow ops that no translation exists for, so that the report says what they are and what to do."""

from __future__ import annotations

from graphrewrite.registry import refusal

_OWN_PASS = "replace the node with a pass of your own (--passes default,my.py)"

refusal(
    "tflite",
    ["EagerPyFunc", "PyFunc", "PyFuncStateless"],
    "it calls a Python function of the process that exported the model; its code is not in the file",
    f"write the function in TensorFlow ops and export again, or {_OWN_PASS}",
)
refusal(
    "tflite",
    ["BipartiteMatch", "GatherTree"],
    "it is a TensorFlow op that ONNX has no operator for, and no exact translation is known",
    f"export without it (it usually is post-processing), or {_OWN_PASS}",
)
refusal(
    "tflite",
    [
        "AdjustHsvInYiq",
        "BlockLSTM",
        "BlockLSTMV2",
        "ImageProjectiveTransformV2",
        "ImageProjectiveTransformV3",
        "PeriodicResample",
        "Resampler",
    ],
    "it is a TensorFlow op, and the translation of `strip-tf-leftovers` does not hold for its operands or options",
    "`graphrewrite explain strip-tf-leftovers --node NAME` says why; fix the input shapes with --shape where they are unknown",
)
