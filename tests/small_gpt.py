"""The files of both published GPTs in their form, small."""

import json

import torch
from safetensors.torch import save
from transformers import GPT2Config, GPT2Model, OpenAIGPTConfig, OpenAIGPTModel

TOKENS = {
    "openai-gpt": ["<unk>", "a", "b", "a</w>", "b</w>", "ab</w>", ".</w>"],
    "gpt2": ["a", "b", ".", "Ġ", "Ġa", "ab", "<|endoftext|>"],
}
MERGES = {"openai-gpt": "a b</w>", "gpt2": "a b\nĠ a"}
SMALL = {"n_layer": 2, "n_embd": 8, "n_head": 2, "n_positions": 32, "vocab_size": 7}
BODIES = {"openai-gpt": (OpenAIGPTModel, OpenAIGPTConfig), "gpt2": (GPT2Model, GPT2Config)}


def files(name: str) -> dict[str, bytes]:
    """Content by file name; the masks of old versions are among the weights."""
    torch.manual_seed(7)
    body, config = BODIES[name]
    state = {key: value.contiguous() for key, value in body(config(**SMALL)).state_dict().items()}
    state |= {f"h.{i}.attn.bias": torch.ones(1, 1, 32, 32) for i in range(2)}
    return {
        "vocab.json": json.dumps({token: i for i, token in enumerate(TOKENS[name])}).encode(),
        "merges.txt": f"#version: 0.2\n{MERGES[name]}\n".encode(),
        "model.safetensors": save(state),
    }
