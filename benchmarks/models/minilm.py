"""all-MiniLM-L6-v2: texts to vectors of 384 numbers; 22.6 million weights.

Six transformer encoder layers of width 384 with 12 heads and 1536 hidden units, normalization
after each sum, GELU by the error function; then the mean over the tokens that count, and
division by the Euclidean norm. The first token type only; no pooler.

Source: Devlin et al., "BERT", arXiv:1810.04805; Wang et al., "MiniLM", arXiv:2002.10957;
Reimers and Gurevych, "Sentence-BERT", arXiv:1908.10084. Weights of sentence-transformers.
"""

import torch
from torch import nn
from torch.nn import functional

from benchmarks.models.weights import put
from benchmarks.tokens import model_folder

WIDTH, HIDDEN, HEADS, LAYERS = 384, 1536, 12, 6
VOCABULARY, POSITIONS = 30522, 512
_EPS = 1e-12


class Attention(nn.Module):
    """Each token looks at all that count."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.value, self.output = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(n, tokens, width) and (n, 1, 1, tokens) booleans to (n, tokens, width)."""
        q, k, v = (self._heads(part(x)) for part in (self.query, self.key, self.value))
        found = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        output: torch.Tensor = self.output(found.transpose(1, 2).flatten(2))
        return output

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        heads: torch.Tensor = x.view(*x.shape[:2], HEADS, WIDTH // HEADS)
        return heads.transpose(1, 2)


class Layer(nn.Module):
    """Attention and a hidden layer, each added and normalized."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention()
        self.norm1 = nn.LayerNorm(WIDTH, _EPS)
        self.hidden, self.output = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)
        self.norm2 = nn.LayerNorm(WIDTH, _EPS)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(n, tokens, width) to the same."""
        x = self.norm1(x + self.attention(x, mask))
        changed: torch.Tensor = self.norm2(x + self.output(functional.gelu(self.hidden(x))))
        return changed


class MiniLm(nn.Module):
    """Tokens to a vector of length 1."""

    positions: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.places = nn.Embedding(POSITIONS, WIDTH)
        self.types = nn.Embedding(2, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, _EPS)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.register_buffer("positions", torch.arange(POSITIONS)[None])

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """(n, tokens) numbers of word pieces and 1 or 0 each, to (n, 384)."""
        places = self.places(self.positions[:, : input_ids.shape[1]])
        x = self.norm(self.words(input_ids) + places + self.types.weight[0])
        mask = attention_mask[:, None, None, :] > 0
        for layer in self.layers:
            x = layer(x, mask)
        counted = attention_mask[:, :, None].to(x.dtype)
        mean = (x * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1e-9)
        return functional.normalize(mean, dim=1)


_NAMES = {
    r"embeddings\.position_ids": "positions",
    r"embeddings\.word_embeddings": "words",
    r"embeddings\.position_embeddings": "places",
    r"embeddings\.token_type_embeddings": "types",
    r"embeddings\.LayerNorm": "norm",
    r"encoder\.layer\.(\d+)\.attention\.self": r"layers.\1.attention",
    r"encoder\.layer\.(\d+)\.attention\.output\.dense": r"layers.\1.attention.output",
    r"encoder\.layer\.(\d+)\.attention\.output\.LayerNorm": r"layers.\1.norm1",
    r"encoder\.layer\.(\d+)\.intermediate\.dense": r"layers.\1.hidden",
    r"encoder\.layer\.(\d+)\.output\.dense": r"layers.\1.output",
    r"encoder\.layer\.(\d+)\.output\.LayerNorm": r"layers.\1.norm2",
}


def pretrained() -> MiniLm:
    """The network with its published weights."""
    from safetensors.numpy import load_file

    arrays = load_file(model_folder() / "model.safetensors")
    model = MiniLm()
    put(model, {n: a for n, a in arrays.items() if not n.startswith("pooler.")}, _NAMES)
    return model
