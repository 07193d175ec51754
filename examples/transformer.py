"""The landscape of a language model from the transformers package, with padded texts.

    pip install transformers
    python examples/transformer.py

The model has random weights, so that nothing is downloaded; `GPT2LMHeadModel.from_pretrained` goes
just as well. A dict of inputs becomes the model's named arguments.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

import lossgrid

VOCABULARY, TOKENS = 50, 12


def language_model() -> GPT2LMHeadModel:
    """Two layers of GPT-2."""
    torch.manual_seed(0)
    size = {"n_positions": TOKENS, "n_embd": 32, "n_layer": 2, "n_head": 2}
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, bos_token_id=0, eos_token_id=0, **size)
    )


def texts(samples: int = 64) -> tuple[dict[str, Tensor], Tensor]:
    """Token numbers; every second text is short, and its padding does not count."""
    tokens = torch.randint(
        VOCABULARY, (samples, TOKENS), generator=torch.Generator().manual_seed(0)
    )
    there = torch.ones_like(tokens)
    there[::2, TOKENS // 2 :] = 0
    targets = tokens.masked_fill(there == 0, -100)
    return {"input_ids": tokens, "attention_mask": there}, targets


if __name__ == "__main__":
    surface = lossgrid.landscape(language_model(), texts(), loss="next_token", points=21)
    print(surface, surface.minimum())
    surface.save("out/transformer.png")
    print("figure: out/transformer.png")
