#!/usr/bin/env python3
"""Packs a trained checkpoint into demo-model.safetensors, in the format that README.md describes.

  python3 export.py CHECKPOINT.pt OUT

Every tensor gets the name and type it has in a Hugging Face checkpoint of gpt-oss; embedding and output matrix hold only
the rows that `tokens` lists.
"""
import json
import os
import struct
import sys

import numpy as np
import torch

from model import FP4, mxfp4_parts

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "oracle"))
from make_checkpoint import huggingface_config  # noqa: E402


def bf16_bits(x):
    return x.detach().to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)


def mxfp4_bytes(weight):
    """weight [E, rows, cols] -> blocks uint8 [E, rows, cols/32, 16] (low nibble: even element), scales uint8
    [E, rows, cols/32]."""
    values, exponents = mxfp4_parts(weight.detach())
    values, exponents = values.numpy(), exponents.numpy()[..., 0]
    magnitude = np.searchsorted(FP4.numpy(), np.abs(values)).astype(np.uint8)
    code = magnitude | ((values < 0).astype(np.uint8) << 3)
    return code[..., 0::2] | code[..., 1::2] << 4, (exponents + 127).astype(np.uint8)


def tensors(checkpoint):
    """{name: (dtype, array)}"""
    c, weights = checkpoint["config"], checkpoint["model"]
    q, kv = c["num_attention_heads"] * c["head_dim"], c["num_key_value_heads"] * c["head_dim"]
    out = {"tokens": ("I32", np.array(checkpoint["kept"], np.int32))}

    def dense(name, x):
        out[name] = ("BF16", bf16_bits(x))

    dense("model.embed_tokens.weight", weights["embed"])
    dense("lm_head.weight", weights["head"])
    dense("model.norm.weight", weights["norm"])
    for n in range(c["num_hidden_layers"]):
        layer, block = f"model.layers.{n}.", f"blocks.{n}."
        dense(layer + "input_layernorm.weight", weights[block + "norm1"])
        for which, begin, end in (("q", 0, q), ("k", q, q + kv), ("v", q + kv, q + 2 * kv)):
            dense(f"{layer}self_attn.{which}_proj.weight", weights[block + "qkv"][begin:end])
            dense(f"{layer}self_attn.{which}_proj.bias", weights[block + "qkv_b"][begin:end])
        dense(layer + "self_attn.o_proj.weight", weights[block + "o"])
        dense(layer + "self_attn.o_proj.bias", weights[block + "o_b"])
        dense(layer + "self_attn.sinks", weights[block + "sinks"])
        dense(layer + "post_attention_layernorm.weight", weights[block + "norm2"])
        dense(layer + "mlp.router.weight", weights[block + "router"])
        dense(layer + "mlp.router.bias", weights[block + "router_b"])
        for which, ours in (("gate_up", "up"), ("down", "down")):
            blocks, scales = mxfp4_bytes(weights[block + ours])
            out[f"{layer}mlp.experts.{which}_proj_blocks"] = ("U8", blocks)
            out[f"{layer}mlp.experts.{which}_proj_scales"] = ("U8", scales)
            dense(f"{layer}mlp.experts.{which}_proj_bias", weights[block + ours + "_b"])
    return out


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    checkpoint = torch.load(sys.argv[1])
    out = tensors(checkpoint)
    header = {"__metadata__": {"format": "gpt-oss-demo-pack", "version": "1",
                               "config": json.dumps(huggingface_config(checkpoint["config"])),
                               "note": "Tiny demo model with the gpt-oss architecture. It is not gpt-oss."}}
    position = 0
    for name, (dtype, x) in out.items():
        header[name] = {"dtype": dtype, "shape": list(x.shape), "data_offsets": [position, position + x.nbytes]}
        position += x.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(sys.argv[2], "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, x in out.values():
            f.write(np.ascontiguousarray(x).tobytes())
    print(f"{len(checkpoint['kept'])} tokens, {os.path.getsize(sys.argv[2])} bytes")


if __name__ == "__main__":
    main()
