"""LoRA adapters in PEFT's files: read, applied beside the products or merged into the weights, and made at random.

Names are those of the engine's weights: "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.router", "lm_head", and
("model.layers.0.mlp.experts.gate_up_proj", e) for expert e. The change of a matrix is scale · B A, with B [out, rank]
and A [rank, in].
"""
import json
import math
import os

import numpy as np

import safetensors_io

FP4 = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0], np.float32)


class Adapter:
    """The factors of an adapter: `factors[name]` is (A, B, scale) in float32."""

    def __init__(self, folder, config, extra_scale=1.0):
        with open(os.path.join(folder, "adapter_config.json"), encoding="utf-8") as f:
            self.settings = json.load(f)
        self.config, self.extra_scale, self.factors = config, extra_scale, {}
        file = safetensors_io.Reader(os.path.join(folder, "adapter_model.safetensors"))
        halves = {}
        for name in file.tensors:
            module, half = name.removeprefix("base_model.model.").rsplit(".lora_", 1)
            halves.setdefault(module, {})[half.removesuffix(".weight")] = file.get(name, np.float32)
        for module, half in halves.items():
            self.add(module, half["A"], half["B"])

    def setting(self, pattern, module, default):
        for key, value in (self.settings.get(pattern) or {}).items():
            if module == key or module.endswith("." + key):
                return value
        return default

    def scale(self, module, rank):
        alpha = self.setting("alpha_pattern", module, self.settings["lora_alpha"])
        root = math.sqrt(rank) if self.settings.get("use_rslora") else rank
        return np.float32(np.float32(alpha / root) * np.float32(self.extra_scale))

    def add(self, module, a, b):
        c = self.config
        if module.endswith((".mlp.experts", ".mlp.experts.base_layer")):
            base = module.removesuffix(".base_layer")
            rank = len(a) // c.experts
            # PEFT: A [experts · rank, in], B [out, rank · experts] with the experts inside.
            a, b = a.reshape(c.experts, rank, -1), b.reshape(len(b), rank, c.experts).transpose(2, 0, 1)
            gate_up, down = (c.hidden, 2 * c.intermediate), (c.intermediate, c.hidden)
            sizes = (a.shape[2], b.shape[1])
            # A square matrix does not tell its orientation; the golden files name it.
            transposed = self.settings.get("_transposed", False)
            sizes = sizes[::-1] if transposed else sizes
            assert sizes in (gate_up, down), (module, sizes)
            name = base + (".gate_up_proj" if sizes == gate_up else ".down_proj")
            for e in range(c.experts):
                pair = (b[e].T, a[e].T) if transposed else (a[e], b[e])
                self.factors[name, e] = (*pair, self.scale(base, rank))
        elif "_projs." in module:
            name, expert = module.rsplit(".", 1)
            self.factors[name.removesuffix("s"), int(expert)] = (a, b, self.scale(module, len(a)))
        else:
            self.factors[module.removesuffix(".linear")] = (a, b, self.scale(module, len(a)))

    def term(self, name, x):
        """scale · B (A x) for rows x; 0 where the adapter leaves the matrix alone."""
        if name not in self.factors:
            return 0
        a, b, scale = self.factors[name]
        return (x @ a.astype(x.dtype).T) * x.dtype.type(scale) @ b.astype(x.dtype).T

    def merged(self, name, weight):
        """W + scale · B A in float32, summed in the order of the rank."""
        a, b, scale = self.factors[name]
        b, total = b * scale, np.zeros(weight.shape, np.float32)
        for k in range(len(a)):
            total += b[:, k:k + 1] * a[k:k + 1]
        return weight.astype(np.float32) + total


def round_to_e2m1(scaled):
    """The nearest of 0 ½ 1 1½ 2 3 4 6, ties to the even code."""
    above = np.searchsorted(FP4, scaled).clip(1, 7)
    low, high = FP4[above - 1], FP4[above]
    nearer_high = (scaled - low > high - scaled) | ((scaled - low == high - scaled) & (above % 2 == 0))
    return np.where(scaled >= 6, FP4[7], np.where(nearer_high, high, low))


def round_to_mxfp4(x):
    """The values of x [.., 32 · n] after MXFP4. The scale is 2^(exponent of the greatest of 32 - 2), as the OCP MX
    specification says; where the greatest is above 6 of it, the next scale is taken if its squared error is smaller."""
    blocks = x.astype(np.float32).reshape(-1, 32)
    most = np.abs(blocks).max(1, keepdims=True)
    exponent = np.where(most > 0, np.frexp(most)[1] - 1 - 2, 0)

    def rounded(exponent):
        scale = np.exp2(exponent).astype(np.float32)
        scaled = np.abs(blocks) / scale
        value, error = round_to_e2m1(scaled), np.zeros(most.shape, np.float32)
        for i in range(32):  # in the order of the engine: float32 sums decide between the scales
            error += (value[:, i:i + 1] - scaled[:, i:i + 1]) ** 2
        return value * scale, error

    (value, error), (coarser, next_error) = rounded(exponent), rounded(exponent + 1)
    use_next = (most / np.exp2(exponent).astype(np.float32) > 6) & (4 * next_error < error)
    return np.copysign(np.where(use_next, coarser, value), blocks).astype(np.float32).reshape(x.shape)


def write_adapter(folder, config, seed, *, experts, rank, dtype="BF16", rank_pattern=None, alpha_pattern=None,
                  use_rslora=False, lm_head=False, transposed=False):
    """A random adapter of every matrix. experts: "fused" for PEFT's target_parameters, or the numbers of the experts that
    get one each (Unsloth's names). transposed: as PEFT writes the experts of transformers 4."""
    random = np.random.Generator(np.random.SFC64([seed, 1]))
    c, tensors = config, {}
    q, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim

    def factors(n_in, n_out, r):
        a, b = random.standard_normal((r, n_in)) / math.sqrt(n_in), random.standard_normal((n_out, r)) * 0.25
        return a.astype(np.float32), b.astype(np.float32)

    def put(module, a, b):
        for half, x in (("A", a), ("B", b)):
            bits = safetensors_io.f32_to_bf16(np.ascontiguousarray(x))
            tensors[f"base_model.model.{module}.lora_{half}.weight"] = bits if dtype == "BF16" else \
                safetensors_io.bf16_to_f32(bits)

    for n in range(c.layers):
        layer = f"model.layers.{n}."
        for which, n_in, n_out in (("q", c.hidden, q), ("k", c.hidden, kv), ("v", c.hidden, kv), ("o", q, c.hidden)):
            put(f"{layer}self_attn.{which}_proj",
                *factors(n_in, n_out, (rank_pattern or {}).get(which + "_proj", rank)))
        router = "mlp.router" if experts == "fused" else "mlp.router.linear"
        put(layer + router, *factors(c.hidden, c.experts, rank))
        for module, name, n_in, n_out in (("mlp.experts.base_layer", "gate_up_projs", c.hidden, 2 * c.intermediate),
                                          ("mlp.experts", "down_projs", c.intermediate, c.hidden)):
            if experts == "fused":
                both = [factors(n_in, n_out, rank) for _ in range(c.experts)]
                both = [(b.T, a.T) if transposed else (a, b) for a, b in both]
                a, b = np.stack([a for a, _ in both]), np.stack([b for _, b in both])
                put(layer + module, a.reshape(c.experts * rank, -1),
                    b.transpose(1, 2, 0).reshape(b.shape[1], rank * c.experts))
            else:
                for e in experts:
                    put(f"{layer}mlp.experts.{name}.{e}", *factors(n_in, n_out, rank))
    if lm_head:
        put("lm_head", *factors(c.hidden, c.vocab, rank))
    os.makedirs(folder, exist_ok=True)
    safetensors_io.write(os.path.join(folder, "adapter_model.safetensors"),
                         [(name, dtype, x.shape, lambda x=x: [x]) for name, x in tensors.items()])
    settings = {"base_model_name_or_path": "golden", "bias": "none", "fan_in_fan_out": False, "inference_mode": True,
                "init_lora_weights": True, "lora_alpha": 2 * rank, "lora_dropout": 0.0, "modules_to_save": None,
                "peft_type": "LORA", "peft_version": "0.19.1", "r": rank, "rank_pattern": rank_pattern or {},
                "alpha_pattern": alpha_pattern or {}, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"],
                "target_parameters": ["mlp.router.weight", "mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
                "task_type": "CAUSAL_LM", "use_dora": False, "use_rslora": use_rslora}
    if transposed:
        settings["_transposed"] = True
    with open(os.path.join(folder, "adapter_config.json"), "w", encoding="utf-8") as f:
        json.dump(settings, f, indent=1)
        f.write("\n")
