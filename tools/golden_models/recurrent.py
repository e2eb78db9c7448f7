"""Recurrent networks: LSTM and GRU with and without given states, in both directions, stacked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from .catalog import GoldenModel
from .classification import ConvNorm
from .weights import normal, tokens, trained_looking


class LstmStates(nn.Module):
    """One LSTM layer; its states are inputs and outputs, as a streaming application needs them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, hidden)

    def forward(
        self, x: torch.Tensor, h0: torch.Tensor, c0: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        y, (h, c) = self.lstm(x, (h0, c0))
        return y, h, c


class GruStates(nn.Module):
    """One GRU layer with its state as input and output."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, hidden)

    def forward(self, x: torch.Tensor, h0: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.gru(x, h0)


class Stacked(nn.Module):
    """Two bidirectional layers from zero states, batch first; a linear head on every step."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU], width: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.recurrent = kind(width, hidden, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(2 * hidden, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.recurrent(x)
        return self.head(y)


class TextLstm(nn.Module):
    """Token ids -> embedding -> LSTM -> logits from the last hidden state."""

    def __init__(self, vocabulary: int, width: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, hidden, batch_first=True)
        self.head = nn.Linear(hidden, classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        _, (h, _) = self.lstm(self.words(tokens))
        return self.head(h[-1])


class LineReader(nn.Module):
    """CRNN (Shi et al. 2017): convolutions squeeze the height to 1, an LSTM reads the columns both ways."""

    def __init__(self, width: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            ConvNorm(1, width, 3),
            nn.MaxPool2d(2, 2),
            ConvNorm(width, 2 * width, 3),
            nn.MaxPool2d((2, 1), (2, 1)),
            ConvNorm(2 * width, 2 * width, (4, 1), padding=0),
        )
        self.lstm = nn.LSTM(2 * width, hidden, bidirectional=True)
        self.head = nn.Linear(2 * hidden, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.features(x).squeeze(2).permute(2, 0, 1)
        y, _ = self.lstm(y)
        return self.head(y).log_softmax(-1)


class VanillaRnn(nn.Module):
    """h' = tanh(W x + b + U h + c), the final state as second output."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.rnn = nn.RNN(width, hidden, batch_first=True)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.rnn(x)


def _entry(
    name: str,
    small: Callable[[], nn.Module],
    full: Callable[[], nn.Module],
    shapes: dict[str, Sequence[int]],
    full_shapes: dict[str, Sequence[int]],
    outputs: tuple[str, ...],
    exporters: tuple[str, ...] = ("ts17", "dyn"),
) -> GoldenModel:
    def inputs(is_full: bool) -> list[dict[str, torch.Tensor]]:
        chosen = full_shapes if is_full else shapes
        return [{key: normal(*shape, seed=91 + i) for i, (key, shape) in enumerate(chosen.items())}]

    def build(is_full: bool) -> nn.Module:
        # Only networks with batch norm need a sample, and those have one input.
        return trained_looking(full if is_full else small, 9, *inputs(is_full)[0].values())

    return GoldenModel(name, build, inputs, outputs, exporters=exporters)


def _text(name: str, sizes: Sequence[tuple[int, int]], dynamic: dict[int, str] | None) -> GoldenModel:
    def build(is_full: bool) -> nn.Module:
        return trained_looking(partial(TextLstm, *((20000, 128, 256, 5) if is_full else (60, 12, 16, 5))), 10)

    def inputs(is_full: bool) -> list[dict[str, torch.Tensor]]:
        vocabulary, factor = (20000, 8) if is_full else (60, 1)
        return [
            {"tokens": tokens(n, factor * length, vocabulary=vocabulary, seed=95 + i)}
            for i, (n, length) in enumerate(sizes)
        ]

    return GoldenModel(name, build, inputs, ("logits",), {"tokens": dynamic} if dynamic else {})


MODELS: tuple[GoldenModel, ...] = (
    _entry(
        "lstm_states",
        partial(LstmStates, 10, 16),
        partial(LstmStates, 80, 512),
        {"x": (7, 2, 10), "h0": (1, 2, 16), "c0": (1, 2, 16)},
        {"x": (100, 1, 80), "h0": (1, 1, 512), "c0": (1, 1, 512)},
        ("y", "hn", "cn"),
    ),
    _entry(
        "gru_states",
        partial(GruStates, 10, 16),
        partial(GruStates, 80, 512),
        {"x": (7, 2, 10), "h0": (1, 2, 16)},
        {"x": (100, 1, 80), "h0": (1, 1, 512)},
        ("y", "hn"),
    ),
    _entry(
        "lstm_stacked",
        partial(Stacked, nn.LSTM, 10, 12, 6),
        partial(Stacked, nn.LSTM, 80, 256, 40),
        {"x": (2, 9, 10)},
        {"x": (1, 100, 80)},
        ("logits",),
    ),
    _entry(
        "gru_stacked",
        partial(Stacked, nn.GRU, 10, 12, 6),
        partial(Stacked, nn.GRU, 80, 256, 40),
        {"x": (2, 9, 10)},
        {"x": (1, 100, 80)},
        ("logits",),
    ),
    _entry(
        "rnn",
        partial(VanillaRnn, 10, 12),
        partial(VanillaRnn, 80, 256),
        {"x": (2, 6, 10)},
        {"x": (1, 20, 80)},
        ("y", "hn"),
    ),
    _entry(
        "crnn",
        partial(LineReader, 8, 16, 20),
        partial(LineReader, 64, 256, 96),
        {"x": (1, 1, 16, 40)},
        {"x": (1, 1, 16, 320)},
        ("log_probabilities",),
    ),
    _text("text_lstm", ((2, 10),), None),
    _text("text_lstm_dynamic", ((2, 10), (1, 4), (3, 17)), {0: "batch", 1: "length"}),
)
