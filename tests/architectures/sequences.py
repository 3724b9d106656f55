"""Networks on sequences without attention: convolutions in time, recurrent layers."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from architectures.parts import example, tokens, values


class GatedLayer(nn.Module):
    """A causal dilated convolution, tanh times sigmoid, then residual and skip.

    `fused` makes filter and gate by one convolution, and likewise residual and skip.
    """

    def __init__(self, channels, middle, skips, dilation, *, fused):
        super().__init__()
        self.dilation, self.fused = dilation, fused
        self.split = (channels, skips)
        if fused:
            self.conv = nn.Conv1d(channels, 2 * middle, 2, dilation=dilation)
            self.out = nn.Conv1d(middle, channels + skips, 1)
        else:
            self.filter = nn.Conv1d(channels, middle, 2, dilation=dilation)
            self.gate = nn.Conv1d(channels, middle, 2, dilation=dilation)
            self.residual = nn.Conv1d(middle, channels, 1)
            self.skip = nn.Conv1d(middle, skips, 1)

    def forward(self, x):
        padded = F.pad(x, (self.dilation, 0))
        if self.fused:
            a, b = self.conv(padded).chunk(2, dim=1)
            residual, skip = torch.split(self.out(a.tanh() * b.sigmoid()), self.split, dim=1)
        else:
            h = torch.tanh(self.filter(padded)) * torch.sigmoid(self.gate(padded))
            residual, skip = self.residual(h), self.skip(h)
        return x + residual, skip


class WaveNet(nn.Module):
    """WaveNet (arXiv:1609.03499)."""

    def __init__(self, *, fused, levels=32):
        super().__init__()
        self.enter = nn.Conv1d(1, 12, 1)
        self.layers = nn.ModuleList(
            GatedLayer(12, 16, 20, dilation, fused=fused) for dilation in (1, 2, 4)
        )
        self.out1 = nn.Conv1d(20, 24, 1)
        self.out2 = nn.Conv1d(24, levels, 1)

    def forward(self, x):
        x = self.enter(x)
        total = 0
        for layer in self.layers:
            x, skip = layer(x)
            total = total + skip
        return self.out2(F.relu(self.out1(F.relu(total))))


class TextCNN(nn.Module):
    """Convolutions of several widths over words, each pooled over time (arXiv:1408.5882)."""

    def __init__(self, vocabulary=30, classes=4):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 12)
        self.convs = nn.ModuleList(nn.Conv1d(12, c, k) for c, k in ((8, 2), (16, 3), (10, 4)))
        self.fc = nn.Linear(34, classes)

    def forward(self, ids):
        x = self.embedding(ids).transpose(1, 2)
        pooled = [F.relu(conv(x)).max(dim=2)[0] for conv in self.convs]
        return self.fc(torch.cat(pooled, 1))


class Tagger(nn.Module):
    """A bidirectional LSTM that labels every token (arXiv:1508.01991)."""

    def __init__(self, vocabulary=30, tags=7):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 12)
        self.lstm = nn.LSTM(12, 16, num_layers=2, bidirectional=True, batch_first=True)
        self.fc = nn.Linear(32, tags)

    def forward(self, ids):
        x, _ = self.lstm(self.embedding(ids))
        return self.fc(x)


class GRUClassifier(nn.Module):
    """A GRU reads frames, its last state is classified (arXiv:1406.1078)."""

    def __init__(self, classes=6):
        super().__init__()
        self.norm = nn.LayerNorm(10)
        self.enter = nn.Linear(10, 14)
        self.gru = nn.GRU(14, 24, batch_first=True)
        self.fc1 = nn.Linear(24, 20)
        self.fc2 = nn.Linear(20, classes)

    def forward(self, x):
        x = F.relu(self.enter(self.norm(x)))
        _, last = self.gru(x)
        return self.fc2(F.relu(self.fc1(last[-1])))


class SpeechRecognizer(nn.Module):
    """Convolutions over a spectrogram, then recurrent layers (arXiv:1512.02595)."""

    def __init__(self, symbols=12):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, stride=(2, 1), padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.lstm = nn.LSTM(8 * 6, 20, batch_first=True)
        self.fc = nn.Linear(20, symbols)

    def forward(self, spectrogram):
        x = F.hardtanh(self.norm(self.conv(spectrogram)), 0, 20)
        b, c, f, t = x.size()
        x = x.permute(0, 3, 1, 2).reshape(b, t, c * f)
        x, _ = self.lstm(x)
        return F.log_softmax(self.fc(x), dim=-1)


SEQUENCES = {
    "wavenet": example(lambda: WaveNet(fused=False), values(1, 40)),
    "wavenet_fused": example(lambda: WaveNet(fused=True), values(1, 40)),
    "text_cnn": example(TextCNN, tokens(30)),
    "lstm_tagger": example(Tagger, tokens(30)),
    "gru_classifier": example(GRUClassifier, values(15, 10)),
    "speech_recognizer": example(SpeechRecognizer, values(1, 12, 20)),
}
