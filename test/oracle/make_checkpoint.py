#!/usr/bin/env python3
"""Makes random checkpoints with the architecture of gpt-oss. The same seed gives the same bytes.

  python3 make_checkpoint.py OUT [--seed 1] [--shape real] [--set num_hidden_layers=2] [--layout original] [--shard-bytes N]

The layouts hold the same values. The scales of the weights make mistakes visible: activations keep their size through
the layers, 1 .. 6 % of the gates are clamped, sinks weigh as much as some keys, and no expert is idle.
"""
import argparse
import json
import math
import os
import re
import zlib

import numpy as np

import safetensors_io

TINY = dict(num_hidden_layers=4, hidden_size=96, intermediate_size=96, num_attention_heads=16, num_key_value_heads=2,
            num_local_experts=8, vocab_size=512, sliding_window=128)
# Four layers of the 20b: sliding, full, sliding, full. 4.2 GB; 2.3 GB with a vocabulary of 32,768.
REAL = dict(num_hidden_layers=4, hidden_size=2880, intermediate_size=2880, num_attention_heads=64, num_key_value_heads=8,
            num_local_experts=32, vocab_size=201088, sliding_window=128)
SHAPES = {"tiny": TINY, "real": REAL}
DRAWS = 1 << 22  # random numbers at a time: making an embedding of 201,088 rows at once would take 9 GB
HEAD_DIM, TOP_K = 64, 4
FP4_RMS = math.sqrt(68.5 / 8)  # of a uniformly drawn nibble


class Weights:
    """Tensors by their Hugging Face name. Every tensor and every expert has a separate random stream, so their order
    and the layout do not affect the values."""

    def __init__(self, shape, seed):
        self.shape, self.seed = shape, seed
        hidden, inter, experts = shape["hidden_size"], shape["intermediate_size"], shape["num_local_experts"]
        heads, vocab = shape["num_attention_heads"], shape["vocab_size"]
        q, kv = heads * HEAD_DIM, shape["num_key_value_heads"] * HEAD_DIM
        # (dimensions, mean, standard deviation) of bf16 tensors
        self.layer = {
            "input_layernorm.weight": ((hidden,), 1, 0.15),
            "self_attn.q_proj.weight": ((q, hidden), 0, 0.95 / math.sqrt(hidden)),
            "self_attn.q_proj.bias": ((q,), 0, 0.3),
            "self_attn.k_proj.weight": ((kv, hidden), 0, 0.95 / math.sqrt(hidden)),
            "self_attn.k_proj.bias": ((kv,), 0, 0.3),
            "self_attn.v_proj.weight": ((kv, hidden), 0, 1 / math.sqrt(hidden)),
            "self_attn.v_proj.bias": ((kv,), 0, 0.3),
            "self_attn.sinks": ((heads,), 3, 2),  # near the log-sum-exp of 10 .. 300 keys
            "self_attn.o_proj.weight": ((hidden, q), 0, 1.5 / math.sqrt(q)),
            "self_attn.o_proj.bias": ((hidden,), 0, 0.2),
            "post_attention_layernorm.weight": ((hidden,), 1, 0.15),
            "mlp.router.weight": ((experts, hidden), 0, 1.5 / math.sqrt(hidden)),
            "mlp.router.bias": ((experts,), 0, 0.4),
            "mlp.experts.gate_up_proj": None,
            "mlp.experts.gate_up_proj_bias": ((experts, 2 * inter), 0, 0.5),
            "mlp.experts.down_proj": None,
            "mlp.experts.down_proj_bias": ((experts, hidden), 0, 0.2),
        }
        # (dimensions, rms of the output for an input of rms 1) of MXFP4 tensors
        self.mxfp4 = {
            "mlp.experts.gate_up_proj": ((experts, 2 * inter, hidden), 3.2),
            "mlp.experts.down_proj": ((experts, hidden, inter), 0.16),  # its input, after SwiGLU, has an rms of about 5
        }
        self.outer = {
            "model.embed_tokens.weight": ((vocab, hidden), 0, 1),
            "model.norm.weight": ((hidden,), 1, 0.15),
            "lm_head.weight": ((vocab, hidden), 0, 2.5 / math.sqrt(hidden)),
        }

    def spec(self, name):
        suffix = re.sub(r"^model\.layers\.\d+\.", "", name)
        return self.mxfp4.get(suffix) or self.layer.get(suffix) or self.outer[name]

    def stream(self, name, part=0):
        return np.random.Generator(np.random.SFC64([self.seed, zlib.crc32(name.encode()), part]))

    def dense(self, name):
        """Yields bit patterns of bf16, in pieces. The size of the pieces does not affect the values."""
        dims, mean, deviation = self.spec(name)
        stream, left = self.stream(name), math.prod(dims)
        while left > 0:
            x = stream.standard_normal(min(DRAWS, left), np.float32)
            left -= len(x)
            yield safetensors_io.f32_to_bf16(x * np.float32(deviation) + np.float32(mean))

    def expert(self, name, e):
        """Returns (blocks uint8 [rows, G, 16], scales uint8 [rows, G]). The nibbles are uniform. Half of the blocks
        have the scale for the target; a quarter each has the next lower or higher power of two."""
        (_, rows, cols), target = self.spec(name)
        stream = self.stream(name, e)
        blocks = np.frombuffer(stream.bytes(rows * cols // 2), np.uint8).reshape(rows, cols // 32, 16)
        mean_square = 0.5 + 0.25 * 0.25 + 0.25 * 4
        middle = 127 + round(math.log2(target / (FP4_RMS * math.sqrt(cols * mean_square))))
        draw = np.frombuffer(stream.bytes(rows * cols // 32), np.uint8).reshape(rows, cols // 32) & 3
        return blocks, np.array([middle - 1, middle, middle, middle + 1], np.uint8)[draw]


def huggingface_config(shape):
    """Returns a config.json like the released models. In a small vocabulary the last ids are the end and pad tokens."""
    vocab = shape["vocab_size"]
    end, pad = (200002, 199999) if vocab == 201088 else (vocab - 2, vocab - 1)
    return {
        "architectures": ["GptOssForCausalLM"], "attention_bias": True, "attention_dropout": 0.0, "eos_token_id": end,
        "experts_per_token": TOP_K, "head_dim": HEAD_DIM, "hidden_act": "silu", "hidden_size": shape["hidden_size"],
        "initial_context_length": 4096, "initializer_range": 0.02, "intermediate_size": shape["intermediate_size"],
        "layer_types": ["full_attention" if n % 2 else "sliding_attention" for n in range(shape["num_hidden_layers"])],
        "max_position_embeddings": 131072, "model_type": "gpt_oss", "num_attention_heads": shape["num_attention_heads"],
        "num_experts_per_tok": TOP_K, "num_hidden_layers": shape["num_hidden_layers"],
        "num_key_value_heads": shape["num_key_value_heads"], "num_local_experts": shape["num_local_experts"],
        "output_router_logits": False, "pad_token_id": pad,
        "quantization_config": {
            "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens",
                                       "lm_head"],
            "quant_method": "mxfp4"},
        "rms_norm_eps": 1e-05,
        "rope_scaling": {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0, "original_max_position_embeddings": 4096,
                         "rope_type": "yarn", "truncate": False},
        "rope_theta": 150000, "router_aux_loss_coef": 0.9, "sliding_window": shape["sliding_window"],
        "swiglu_limit": 7.0, "tie_word_embeddings": False, "transformers_version": "4.55.0.dev0", "use_cache": True,
        "vocab_size": vocab}


def original_config(shape):
    return {"num_hidden_layers": shape["num_hidden_layers"], "num_experts": shape["num_local_experts"],
            "experts_per_token": TOP_K, "vocab_size": shape["vocab_size"], "hidden_size": shape["hidden_size"],
            "intermediate_size": shape["intermediate_size"], "swiglu_limit": 7.0, "head_dim": HEAD_DIM,
            "num_attention_heads": shape["num_attention_heads"], "num_key_value_heads": shape["num_key_value_heads"],
            "sliding_window": shape["sliding_window"], "initial_context_length": 4096, "rope_theta": 150000,
            "rope_scaling_factor": 32.0, "rope_ntk_alpha": 1, "rope_ntk_beta": 32}


def dense_tensor(weights, name, *sources):
    """Returns one bf16 tensor. Several sources are stacked along the first dimension."""
    dims = [weights.spec(source)[0] for source in sources]
    shape = (sum(d[0] for d in dims), *dims[0][1:])
    return name, "BF16", shape, lambda: (piece for source in sources for piece in weights.dense(source))


def expert_tensors(weights, name, source):
    (experts, rows, cols), _ = weights.spec(source)
    groups = (experts, rows, cols // 32)

    def chunks(part):
        return lambda: (weights.expert(source, e)[part] for e in range(experts))

    return [(name + "blocks", "U8", (*groups, 16), chunks(0)), (name + "scales", "U8", groups, chunks(1))]


def huggingface_tensors(w):
    out = [dense_tensor(w, "model.embed_tokens.weight", "model.embed_tokens.weight")]
    for n in range(w.shape["num_hidden_layers"]):
        for name in (f"model.layers.{n}.{suffix}" for suffix in w.layer):
            out += expert_tensors(w, name + "_", name) if name.endswith("_proj") else [dense_tensor(w, name, name)]
    return out + [dense_tensor(w, name, name) for name in ("model.norm.weight", "lm_head.weight")]


def original_tensors(w):
    out = [dense_tensor(w, "embedding.weight", "model.embed_tokens.weight")]
    for n in range(w.shape["num_hidden_layers"]):
        block, layer = f"block.{n}.", f"model.layers.{n}."
        out.append(dense_tensor(w, block + "attn.norm.scale", layer + "input_layernorm.weight"))
        for part in ("weight", "bias"):
            qkv = (f"{layer}self_attn.{m}_proj.{part}" for m in "qkv")
            out.append(dense_tensor(w, block + "attn.qkv." + part, *qkv))
            out.append(dense_tensor(w, block + "attn.out." + part, f"{layer}self_attn.o_proj.{part}"))
            out.append(dense_tensor(w, block + "mlp.gate." + part, f"{layer}mlp.router.{part}"))
        out.append(dense_tensor(w, block + "attn.sinks", layer + "self_attn.sinks"))
        out.append(dense_tensor(w, block + "mlp.norm.scale", layer + "post_attention_layernorm.weight"))
        for mlp, which in (("mlp1", "gate_up"), ("mlp2", "down")):
            out += expert_tensors(w, f"{block}mlp.{mlp}_weight.", f"{layer}mlp.experts.{which}_proj")
            out.append(dense_tensor(w, f"{block}mlp.{mlp}_bias", f"{layer}mlp.experts.{which}_proj_bias"))
    out.append(dense_tensor(w, "norm.scale", "model.norm.weight"))
    return out + [dense_tensor(w, "unembedding.weight", "lm_head.weight")]


def write_checkpoint(folder, shape, seed, layout="huggingface", shard_bytes=4_800_000_000):
    """Writes the checkpoint, filling the shards in the order of the tensors. As in the released models, shard names
    count from 0 and contain the last index instead of the count."""
    weights = Weights(shape, seed)
    tensors = (huggingface_tensors if layout == "huggingface" else original_tensors)(weights)
    sizes = [safetensors_io.num_bytes(dtype, dims) for _, dtype, dims, _ in tensors]
    shards, room = [[]], shard_bytes
    for tensor, size in zip(tensors, sizes):
        if shards[-1] and size > room:
            shards.append([])
            room = shard_bytes
        shards[-1].append(tensor)
        room -= size
    last = len(shards) - 1
    files = [f"model-{i:05d}-of-{last:05d}.safetensors" for i in range(len(shards))] if last else ["model.safetensors"]
    os.makedirs(folder, exist_ok=True)
    for file, shard in zip(files, shards):
        safetensors_io.write(os.path.join(folder, file), shard, {"format": "pt"})
    if last:
        where = {tensor[0]: file for file, shard in zip(files, shards) for tensor in shard}
        index = {"metadata": {"total_size": sum(sizes)}, "weight_map": where}
        with open(os.path.join(folder, "model.safetensors.index.json"), "w", encoding="utf-8") as f:
            json.dump(index, f, indent=1)
    config = (huggingface_config if layout == "huggingface" else original_config)(shape)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f, indent=2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=INT", help=f"one of {', '.join(TINY)}")
    parser.add_argument("--layout", choices=["huggingface", "original"], default="huggingface")
    parser.add_argument("--shard-bytes", type=int, default=4_800_000_000)
    o = parser.parse_args()
    changes = dict(pair.split("=") for pair in o.set)
    if not set(changes) <= set(TINY):
        parser.error(f"--set takes {', '.join(TINY)}")
    shape = SHAPES[o.shape] | {key: int(value) for key, value in changes.items()}
    write_checkpoint(o.out, shape, o.seed, o.layout, o.shard_bytes)


if __name__ == "__main__":
    main()
