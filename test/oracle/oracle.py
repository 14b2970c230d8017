#!/usr/bin/env python3
"""The forward pass of gpt-oss in numpy, in float64 or float32: the reference for every backend.

Slow but simple: each step of the model is one short function, and comments give each shape. Reads a checkpoint
folder in the Hugging Face layout (config.json and *.safetensors).

  python3 oracle.py CHECKPOINT --tokens 1,2,3 --dtype float64 --top 5
  python3 oracle.py CHECKPOINT --tokens @prompt.json --greedy 32
  python3 oracle.py CHECKPOINT --tokens 1,2,3 --out logits.safetensors --dump activations.safetensors

T tokens, S keys, H query heads, KV key-value heads, D = head_dim, E experts, I = intermediate.
"""
import argparse
import json
import math
import os

import numpy as np

import lora
import safetensors_io

# E2M1: bit 3 is the sign.
FP4 = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0])


class Config:
    """The values of a Hugging Face config.json that the model needs."""

    def __init__(self, c):
        rope = c["rope_scaling"]
        self.layers, self.hidden, self.vocab = c["num_hidden_layers"], c["hidden_size"], c["vocab_size"]
        self.intermediate = c["intermediate_size"]
        self.heads, self.kv_heads, self.head_dim = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        self.experts, self.top_k = c["num_local_experts"], c["num_experts_per_tok"]
        self.window, self.layer_types = c["sliding_window"], c["layer_types"]
        self.eps, self.limit, self.alpha = c["rms_norm_eps"], c["swiglu_limit"], 1.702
        self.theta, self.factor = float(c["rope_theta"]), float(rope["factor"])
        self.beta_fast, self.beta_slow = rope["beta_fast"], rope["beta_slow"]
        self.original_context = rope["original_max_position_embeddings"]
        # gpt-oss does not round the ends of the YaRN ramp; a config that rounds them is a different model
        assert rope["truncate"] is False, "gpt-oss has truncate: false"

    @staticmethod
    def load(folder):
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
            return Config(json.load(f))


def rms_norm(x, weight, eps):
    """x [T, hidden]"""
    return x / np.sqrt(np.mean(x * x, -1, keepdims=True, dtype=x.dtype) + x.dtype.type(eps)) * weight


def linear(x, weight, bias=0):
    """x [T, in], weight [out, in]"""
    return x @ weight.T + bias


def rope_frequencies(config, dtype):
    """YaRN: (concentration, inv_freq [D/2]). Fast pairs keep their angle, and slow ones are divided by the
    factor. A ramp joins them between the pairs that turn beta_fast and beta_slow times over the original context."""
    half = config.head_dim // 2

    def pair_that_turns(times):
        return half * math.log(config.original_context / (times * 2 * math.pi)) / math.log(config.theta)

    low, high = pair_that_turns(config.beta_fast), pair_that_turns(config.beta_slow)
    frequency = dtype(config.theta) ** (np.arange(0, config.head_dim, 2).astype(dtype) / dtype(config.head_dim))
    ramp = np.clip((np.arange(half).astype(dtype) - dtype(low)) / dtype(high - low), 0, 1)
    inv_freq = 1 / (dtype(config.factor) * frequency) * ramp + 1 / frequency * (1 - ramp)
    return 0.1 * math.log(config.factor) + 1, inv_freq.astype(dtype)


def rope_cos_sin(config, positions, dtype):
    """Returns cos, sin [T, D/2], multiplied by the concentration. In float32 the angle is also rounded to float32, as
    in OpenAI's torch reference; in float64 it is exact."""
    concentration, inv_freq = rope_frequencies(config, dtype)
    angle = np.asarray(positions).astype(dtype)[:, None] * inv_freq
    return np.cos(angle) * dtype(concentration), np.sin(angle) * dtype(concentration)


def rope_apply(x, cos, sin):
    """x [T, heads, D]. The partner of element i is i + D/2: halves, not neighbours."""
    a, b = np.split(x, 2, -1)
    cos, sin = cos[:, None], sin[:, None]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def attention(q, k, v, sinks, window, start):
    """q [T, H, D] at positions start .. start + T - 1; k, v [S, KV, D] from position 0; sinks [H]. Returns [T, H * D].
    Position i sees j where i - window < j <= i, or every j <= i if window is 0. Query head h reads key-value head
    h // (H / KV). The sink is one more logit of the softmax, unscaled and without a value."""
    T, H, D = q.shape
    S, KV, _ = k.shape
    group, out = H // KV, np.empty_like(q)
    rows = max(1, int(2e7 // (group * S)))  # queries at a time: scores stay below 160 MB
    for first in range(0, T, rows):
        last = min(T, first + rows)
        from_key, to_key = (max(0, start + first - window + 1) if window else 0), start + last
        i = np.arange(start + first, start + last)[:, None]
        j = np.arange(from_key, to_key)
        unseen = (j > i) | ((j <= i - window) if window else False)
        for kv_head in range(KV):
            heads = slice(kv_head * group, (kv_head + 1) * group)
            keys, values = k[from_key:to_key, kv_head], v[from_key:to_key, kv_head]
            score = np.einsum("tgd,sd->gts", q[first:last, heads], keys, optimize=True) / q.dtype.type(math.sqrt(D))
            score[:, unseen] = -np.inf
            sink = sinks[heads][:, None, None]
            top = np.maximum(score.max(-1, keepdims=True), sink)
            weight = np.exp(score - top)
            weight /= weight.sum(-1, keepdims=True) + np.exp(sink - top)
            out[first:last, heads] = np.einsum("gts,sd->tgd", weight, values, optimize=True)
    return out.reshape(T, H * D)


def dequantize_mxfp4(blocks, scales, dtype):
    """blocks uint8 [..., G, 16], scales uint8 [..., G] -> [..., G * 32]. The low nibble of byte j is element 2j, the
    high nibble is element 2j + 1; value = fp4 * 2^(scale - 127). Scale 255 is NaN by the OCP MX specification."""
    out = np.empty(blocks.shape[:-1] + (32,), dtype)
    values = FP4.astype(dtype)
    out[..., 0::2], out[..., 1::2] = values[blocks & 15], values[blocks >> 4]
    with np.errstate(over="ignore"):
        out = np.ldexp(out, scales.astype(np.int32)[..., None] - 127)
    out[scales == 255] = np.nan
    return out.reshape(*blocks.shape[:-2], -1)


def fine_tuned(weight, expert):
    """What another training could make of the dequantised weight [out, in] of one expert: bf16 values that MXFP4 does
    not hold. A value keeps its two leading bits of mantissa and gets six others, which follow from its index among all
    experts; zeros stay."""
    bits = safetensors_io.f32_to_bf16(weight)
    index = np.arange(weight.size, dtype=np.uint32).reshape(weight.shape) + np.uint32(expert * weight.size)
    more = ((index * np.uint32(2654435761)) >> np.uint32(26)).astype(np.uint16)
    return safetensors_io.bf16_to_f32(np.where(weight == 0, bits, bits | more)).astype(weight.dtype)


def swiglu(x, alpha, limit):
    """x [..., 2 * I]: gate at even, linear at odd indices. The gate is clamped from above only."""
    gate, up = np.minimum(x[..., 0::2], limit), np.clip(x[..., 1::2], -limit, limit)
    with np.errstate(over="ignore"):  # exp of a very negative gate overflows: the quotient is correctly -0
        return (gate / (1 + np.exp(-x.dtype.type(alpha) * gate)) * (up + 1)).astype(x.dtype)


def route(logits, k):
    """logits [T, E] -> (expert [T, k], weight [T, k]): the k largest logits, the lower index first on a tie. The
    softmax covers only those k."""
    expert = np.argsort(-logits, -1, kind="stable")[:, :k]
    top = np.take_along_axis(logits, expert, -1)
    weight = np.exp(top - top[:, :1])
    return expert, weight / weight.sum(-1, keepdims=True)


class Model:
    """One sequence: `forward` appends tokens to it, `reset` starts a new one.

    round_activations = "bf16" rounds the output of each step, like an engine with bf16 activations and float32 sums.
    Set `taps` to a dict to receive every activation under the names listed in README.md.

    adapter: a LoRA adapter's folder. Its terms are added beside the products; merged = True adds them to the weights,
    which become bf16 or MXFP4 again.

    experts: "mxfp4" as stored, "bf16" for fine_tuned() ones, "rounded" for fine_tuned() ones that are MXFP4 again."""

    def __init__(self, folder, dtype, round_activations=None, adapter=None, merged=False, adapter_scale=1.0,
                 experts="mxfp4"):
        self.config, self.file, self.dtype = Config.load(folder), safetensors_io.Reader(folder), np.dtype(dtype).type
        self.round = safetensors_io.round_to_bf16 if round_activations == "bf16" else lambda x: x
        self.weights, self.taps = {}, None
        self.adapter = lora.Adapter(adapter, self.config, adapter_scale) if adapter else None
        self.merged, self.experts = merged, experts
        self.reset()

    def reset(self):
        self.position, self.cache = 0, [None] * self.config.layers

    def weight(self, name):
        if name not in self.weights:
            weight, matrix = self.file.get(name, self.dtype), name.removesuffix(".weight")
            if self.merged and matrix in self.adapter.factors:
                weight = safetensors_io.round_to_bf16(self.adapter.merged(matrix, weight)).astype(self.dtype)
            self.weights[name] = weight
        return self.weights[name]

    def term(self, name, x):
        """What the adapter adds to a product with the rows of x, unless it is merged."""
        return 0 if self.adapter is None or self.merged else self.adapter.term(name, x)

    def expert(self, layer, expert, which):
        """Returns (weight [out, in], bias [out]) of one expert, dequantised at its first use."""
        base, key = f"model.layers.{layer}.mlp.experts.{which}_proj", (layer, expert, which)
        if key not in self.weights:
            blocks, scales = self.file.raw(base + "_blocks")[expert], self.file.raw(base + "_scales")[expert]
            weight = dequantize_mxfp4(blocks, scales, self.dtype)
            if self.experts != "mxfp4":
                weight = fine_tuned(weight, expert)
            if self.experts == "rounded":
                weight = lora.round_to_mxfp4(weight).astype(self.dtype)
            if self.merged and (base, expert) in self.adapter.factors:
                to_stored = safetensors_io.round_to_bf16 if self.experts == "bf16" else lora.round_to_mxfp4
                weight = to_stored(self.adapter.merged((base, expert), weight)).astype(self.dtype)
            self.weights[key] = weight
        return self.weights[key], self.weight(base + "_bias")[expert]

    def tap(self, name, x):
        if self.taps is not None:
            self.taps[name] = np.array(x)
        return x

    def attention_block(self, n, x):
        c, layer = self.config, f"model.layers.{n}."

        def project(which, t):
            base = f"{layer}self_attn.{which}_proj"
            y = linear(t, self.weight(base + ".weight"), self.weight(base + ".bias"))
            return self.round(y + self.term(base, t))

        t = self.tap(f"{n}.attn_norm", self.round(rms_norm(x, self.weight(layer + "input_layernorm.weight"), c.eps)))
        q, k, v = (project(which, t).reshape(len(x), -1, c.head_dim) for which in "qkv")
        cos, sin = rope_cos_sin(c, self.position + np.arange(len(x)), self.dtype)
        q = self.tap(f"{n}.q_rope", self.round(rope_apply(q, cos, sin)))
        k = self.tap(f"{n}.k_rope", self.round(rope_apply(k, cos, sin)))
        self.tap(f"{n}.v", v)
        if self.cache[n] is not None:
            k, v = (np.concatenate([old, new]) for old, new in zip(self.cache[n], (k, v)))
        self.cache[n] = k, v
        window = c.window if c.layer_types[n] == "sliding_attention" else 0
        t = attention(q, k, v, self.weight(layer + "self_attn.sinks"), window, self.position)
        t = self.tap(f"{n}.attn", self.round(t))
        return self.round(x + self.tap(f"{n}.attn_out", project("o", t)))

    def moe_block(self, n, x):
        c, layer = self.config, f"model.layers.{n}."
        t = self.round(rms_norm(x, self.weight(layer + "post_attention_layernorm.weight"), c.eps))
        self.tap(f"{n}.mlp_norm", t)
        logits = linear(t, self.weight(layer + "mlp.router.weight"), self.weight(layer + "mlp.router.bias"))
        logits = self.tap(f"{n}.router_logits", self.round(logits + self.term(layer + "mlp.router", t)))
        expert, weight = route(logits, c.top_k)
        self.tap(f"{n}.expert_index", expert.astype(np.int32))
        self.tap(f"{n}.expert_weight", weight)
        y = np.zeros_like(x)
        for e in np.unique(expert):
            row, slot = np.nonzero(expert == e)
            base = layer + "mlp.experts."
            gate_up = linear(t[row], *self.expert(n, e, "gate_up")) + self.term((base + "gate_up_proj", e), t[row])
            h = self.round(swiglu(self.round(gate_up), c.alpha, c.limit))
            h = self.round(linear(h, *self.expert(n, e, "down")) + self.term((base + "down_proj", e), h))
            y[row] += weight[row, slot][:, None] * h  # rows are distinct: a token chooses an expert at most once
        return self.round(x + self.tap(f"{n}.mlp_out", self.round(y)))

    def forward(self, tokens, keep=None):
        """Returns logits [len(keep), vocab] after each kept token; keep: indices into tokens, by default all."""
        x = self.weight("model.embed_tokens.weight")[np.asarray(tokens)]
        for n in range(self.config.layers):
            x = self.tap(f"{n}.out", self.moe_block(n, self.attention_block(n, x)))
        self.position += len(tokens)
        x = x if keep is None else x[keep]
        x = self.tap("final_norm", self.round(rms_norm(x, self.weight("model.norm.weight"), self.config.eps)))
        return linear(x, self.weight("lm_head.weight")) + self.term("lm_head", x)

    def greedy(self, logits, steps):
        """Continues from the logits [vocab] of the last token. Ties go to the lower id; end tokens do not stop it."""
        out = []
        for _ in range(steps):
            first, second = np.argsort(-logits, kind="stable")[:2]
            margin, total = logits[first] - logits[second], np.logaddexp.reduce(logits.astype(np.float64))
            out.append({"token": int(first), "second": int(second), "margin": float(margin),
                        "logprob": float(logits[first] - total)})
            logits = self.forward([first])[-1]
        return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--tokens", required=True, help="1,2,3 or @file.json holding a list")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--round", choices=["bf16"], help="round activations as a bf16 engine does")
    parser.add_argument("--adapter", metavar="FOLDER", help="a LoRA adapter")
    parser.add_argument("--merge", action="store_true", help="merge the adapter into the weights")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="print the N best next tokens")
    parser.add_argument("--greedy", type=int, default=0, metavar="N", help="continue for N tokens")
    parser.add_argument("--out", metavar="FILE.safetensors", help="the tokens and their logits")
    parser.add_argument("--dump", metavar="FILE.safetensors", help="every activation of the prompt")
    o = parser.parse_args()
    if o.tokens.startswith("@"):
        with open(o.tokens[1:], encoding="utf-8") as f:
            tokens = json.load(f)
    else:
        tokens = [int(token) for token in o.tokens.split(",")]
    model = Model(o.checkpoint, o.dtype, o.round, o.adapter, o.merge)
    model.taps = {} if o.dump else None
    logits = model.forward(tokens)
    if o.dump:
        safetensors_io.save(o.dump, model.taps)
        model.taps = None
    if o.out:
        safetensors_io.save(o.out, {"tokens": np.array(tokens, np.int32), "logits": logits})
    last = logits[-1]
    for token in np.argsort(-last, kind="stable")[:o.top]:
        print(f"{token:7d}  logit {last[token]:+.6f}  logprob {last[token] - np.logaddexp.reduce(last):+.6f}")
    if o.greedy:
        steps = model.greedy(last, o.greedy)
        print("greedy", [s["token"] for s in steps], "least margin", min(s["margin"] for s in steps))


if __name__ == "__main__":
    main()
