"""The landscape over a LoRA adapter alone: the weights below it stay where they are.

    pip install transformers peft
    python examples/lora.py

`directions.parameters` chooses what moves, by patterns of the parameters' names.
"""

from __future__ import annotations

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformer import language_model, texts

import lossgrid


def adapted() -> PeftModel:
    """The language model with an adapter of rank 2 at its attention."""
    torch.manual_seed(1)
    adapter = LoraConfig(
        r=2, target_modules=["c_attn"], fan_in_fan_out=True, init_lora_weights=False
    )
    return get_peft_model(language_model(), adapter)


if __name__ == "__main__":
    surface = lossgrid.landscape(
        adapted(), texts(), loss="next_token", points=21, directions={"parameters": "*lora*"}
    )
    print(surface, surface.minimum())
    surface.save("out/lora.png")
    print("figure: out/lora.png")
