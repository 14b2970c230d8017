#!/usr/bin/env python3
"""An independent reference: the logits of Hugging Face's GptOssForCausalLM, which shares no code with oracle.py.

Needs numpy, torch and transformers (5 or later), but no network. Runs on a GPU if torch has one.

  python3 second_oracle.py CHECKPOINT --out CASES [--prompts 300,129,40,8,1] [--seed 1] [--dtype float64] [--oracle]
  python3 second_oracle.py --golden test/golden [--dtype float64]

The first command writes one file per prompt, in the form of test/golden/cases: `tokens`, `positions`, `router_gap` and
`logits_f32`, or `logits_f64` with --dtype float64. --oracle adds the `logits_f64` of oracle.py. `logits_bf16` are the
logits of the same model in bf16; they show the effect of rounding alone. So the results of compare.ts for an engine do
not depend on our interpretation of the model. The second command checks our oracle: it compares with the stored float64
logits and exits with 1 beyond the tolerance.

Memory holds one module at a time, and one expert, dequantised by transformers' function. At the released shape that is
0.1 GB in float32, plus the embedding or the head, 2.3 GB with 201,088 rows. transformers always rounds to float32 in
RMSNorm and RoPE. With --dtype float64 these two functions are replaced, so that two correct results differ only in the
order of their sums.
"""
import argparse
import ctypes
import json
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import modeling_rope_utils  # noqa: E402
from transformers.integrations.mxfp4 import convert_moe_packed_tensors  # noqa: E402

import oracle  # noqa: E402
import safetensors_io  # noqa: E402
from make_golden import difference  # noqa: E402

# `float32` of test/golden/README.md; the long prompt has the one for float32 angles. In float64 as in check_golden.py.
TOLERANCE, LONG_TOLERANCE, FLOAT64_TOLERANCE = 1e-5, 1e-4, 1e-9


class PackedExperts:
    """Replaces transformers' tensor of all experts, which would take 3.2 GB for a layer of the 20b and 12.7 GB for one
    of the 120b. It dequantises one expert at each access; each layer accesses an expert once."""

    def __init__(self, of, name):
        self.of, self.name = of, name

    def __getitem__(self, expert):
        packed = (self.of.file.raw(self.name + part)[int(expert)] for part in ("_blocks", "_scales"))
        packed = (torch.from_numpy(part)[None].to(self.of.device) for part in packed)
        return convert_moe_packed_tensors(*packed, dtype=self.of.dtype)[0]


class Float64Torch:
    """torch with another dtype for the YaRN table of transformers."""

    def __getattr__(self, name):
        return torch.float64 if name in ("float", "float32") else getattr(torch, name)


def float64_rms_norm(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def float64_rope(self, x, position_ids):
    angle = position_ids[..., None].double() * self.inv_freq
    return angle.cos() * self.attention_scaling, angle.sin() * self.attention_scaling


class SecondOracle:
    """transformers' model of a checkpoint in the Hugging Face layout, whose modules are filled just before they run."""

    def __init__(self, folder, file, dtype, device):
        self.file, self.dtype, self.device = file, dtype, device
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
            settings = json.load(f)
        del settings["quantization_config"]
        config = transformers.GptOssConfig.from_dict(settings)
        # Plain loops over heads and experts: a fused variant may round or pad differently.
        config._attn_implementation = config._experts_implementation = "eager"
        with torch.device("meta"):
            self.model = transformers.GptOssForCausalLM(config).to(dtype).eval()
        inner = self.model.model
        if dtype is torch.float64:
            modeling_rope_utils.torch = Float64Torch()
            for module in self.model.modules():
                if isinstance(module, type(inner.norm)):
                    module.forward = float64_rms_norm.__get__(module)
        inner.rotary_emb = type(inner.rotary_emb)(config).to(device)  # no file has its tables
        if dtype is torch.float64:
            modeling_rope_utils.torch = torch
            inner.rotary_emb.forward = float64_rope.__get__(inner.rotary_emb)
        self.gaps = []
        parts = {"model.embed_tokens.": inner.embed_tokens, "model.norm.": inner.norm, "lm_head.": self.model.lm_head}
        parts |= {f"model.layers.{n}.": layer for n, layer in enumerate(inner.layers)}
        for prefix, module in parts.items():
            module.register_forward_pre_hook(lambda module, _, prefix=prefix: self.fill(module, prefix))
            module.register_forward_hook(self.empty)
        for n, layer in enumerate(inner.layers):
            layer.mlp.router.register_forward_hook(self.see_router)
            for name in ("gate_up_proj", "down_proj"):
                delattr(layer.mlp.experts, name)
                setattr(layer.mlp.experts, name, PackedExperts(self, f"model.layers.{n}.mlp.experts.{name}"))

    def tensor(self, name):
        bits = torch.from_numpy(self.file.raw(name))
        return bits.view(torch.bfloat16).to(self.device, self.dtype)

    def fill(self, module, prefix):
        weights = {name: self.tensor(prefix + name) for name, _ in module.named_parameters()}
        module.load_state_dict(weights, strict=True, assign=True)

    def empty(self, module, *_):
        module.to("meta")
        # glibc keeps freed blocks of up to 32 MiB, such as an expert in bf16: 0.7 GB for each layer
        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
            trim(0)

    def see_router(self, router, inputs, _):
        x = inputs[0].reshape(-1, inputs[0].shape[-1])
        logits = torch.nn.functional.linear(x, router.weight, router.bias)
        top = torch.topk(logits.double(), router.top_k + 1, dim=-1).values
        self.gaps.append((top[:, -2] - top[:, -1]).cpu().numpy())

    @torch.inference_mode()
    def run(self, prompts):
        """Returns (logits at the stored positions, router gap [layers, T]) of each {"tokens", "positions"}. Shorter
        prompts are padded at their end, which earlier tokens do not see."""
        length = max(len(prompt["tokens"]) for prompt in prompts)
        batch = np.zeros((len(prompts), length), np.int64)
        for row, prompt in enumerate(prompts):
            batch[row, :len(prompt["tokens"])] = prompt["tokens"]
        self.gaps = []
        hidden = self.model.model(torch.from_numpy(batch).to(self.device), use_cache=False).last_hidden_state
        wanted = torch.cat([hidden[row, torch.tensor(prompt["positions"], device=self.device)]
                            for row, prompt in enumerate(prompts)])
        logits = self.model.lm_head(wanted).cpu()
        logits = (logits if self.dtype is torch.float64 else logits.float()).numpy()
        gaps = np.stack(self.gaps).reshape(len(self.gaps), len(prompts), length)
        parts = np.split(logits, np.cumsum([len(prompt["positions"]) for prompt in prompts])[:-1])
        return [(part, gaps[:, row, :len(prompt["tokens"])]) for row, (part, prompt) in enumerate(zip(parts, prompts))]


class FrugalOracle(oracle.Model):
    """oracle.py with one expert in memory at a time: all experts of a layer of the 20b take 6.4 GB in float64."""

    def expert(self, *which):
        self.weights = {}
        return super().expert(*which)


def make_prompts(lengths, config, seed):
    """Makes random prompts. The stored positions are both ends, the edges of the window, and some in between."""
    draw = np.random.Generator(np.random.SFC64(seed))
    prompts = []
    for length in lengths:
        edges = range(config.window - 2, config.window + 3)
        places = {0, 1, length - 2, length - 1, *edges, *range(15, length, 16)}
        prompts.append({"tokens": draw.integers(0, config.vocab, length).astype(np.int32),
                        "positions": sorted(p for p in places if 0 <= p < length)})
    return prompts


def write_cases(o, device, dtype):
    config = oracle.Config.load(o.checkpoint)
    prompts = make_prompts([int(n) for n in o.prompts.split(",")], config, o.seed)
    file = safetensors_io.Reader(o.checkpoint)
    results, rounded = (SecondOracle(o.checkpoint, file, kind, device).run(prompts) for kind in (dtype, torch.bfloat16))
    os.makedirs(o.out, exist_ok=True)
    for prompt, (logits, gap), (logits_bf16, _) in zip(prompts, results, rounded):
        tensors = {"tokens": prompt["tokens"], "positions": np.array(prompt["positions"], np.int32),
                   "router_gap": gap[:, prompt["positions"]],
                   # least of all earlier positions: near a tie there, another expert may have changed keys and values
                   "router_gap_before": np.minimum.accumulate(gap, -1)[:, prompt["positions"]],
                   f"logits_{'f64' if dtype is torch.float64 else 'f32'}": logits, "logits_bf16": logits_bf16}
        said = ""
        if o.oracle:
            reference = FrugalOracle(o.checkpoint, "float64").forward(prompt["tokens"], prompt["positions"])
            d = difference(logits, reference)
            said = f"  from oracle.py in float64: max_rel {d['max_rel']:.2e}  rms_rel {d['rms_rel']:.2e}"
            tensors["logits_f64"] = reference
        name = f"prompt-{len(prompt['tokens'])}.safetensors"
        safetensors_io.save(os.path.join(o.out, name), tensors)
        print(f"{name:24s} {len(prompt['positions'])} positions, logits within {np.abs(logits).max():.2f}, rms "
              f"{np.sqrt((logits.astype(np.float64) ** 2).mean()):.2f}, least router gap {gap.min():.1e}; bf16: "
              f"rms_rel {difference(logits_bf16, logits)['rms_rel']:.1e}{said}", flush=True)


def check_golden(folder, device, dtype):
    with open(os.path.join(folder, "manifest.json"), encoding="utf-8") as f:
        cases = json.load(f)["cases"]
    failed = []
    for case in cases:
        stored = safetensors_io.Reader(os.path.join(folder, case["file"]))
        model = os.path.join(folder, case["model"])
        prompt = {"tokens": stored.raw("tokens"), "positions": stored.raw("positions").tolist()}
        reference = np.array(stored.raw("logits_f64"))
        (logits, gap), = SecondOracle(model, safetensors_io.Reader(model), dtype, device).run([prompt])
        d = difference(logits, reference)
        gap_error = np.abs(gap[:, prompt["positions"]] - stored.raw("router_gap")).max()
        p, q = (x.astype(np.float64) - np.logaddexp.reduce(x.astype(np.float64), -1, keepdims=True)
                for x in (reference, logits))
        kl = (np.exp(p) * (p - q)).sum(-1).mean()
        print(f"{case['file']:28s} max_rel {d['max_rel']:.2e}  rms_rel {d['rms_rel']:.2e}  KL {kl:.1e}  top-1 agree "
              f"{d['top1_agree']:.3f}  router gaps off by {gap_error:.1e} of {case['min_router_gap']:.1e}", flush=True)
        tolerance = LONG_TOLERANCE if len(prompt["tokens"]) > 1000 else TOLERANCE
        if d["max_rel"] > (FLOAT64_TOLERANCE if dtype is torch.float64 else tolerance) or d["top1_agree"] < 1:
            failed.append(case["file"])
    if failed:
        sys.exit(f"too far from the stored float64 logits: {', '.join(failed)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", nargs="?")
    parser.add_argument("--out", metavar="CASES")
    parser.add_argument("--golden", metavar="GOLDEN")
    parser.add_argument("--prompts", default="300,129,40,8,1", metavar="LENGTHS")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--oracle", action="store_true", help="oracle.py's float64 logits, too: minutes at real shapes")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    o = parser.parse_args()
    if (o.golden is None) == (o.checkpoint is None or o.out is None):
        parser.error("expected CHECKPOINT --out CASES, or --golden GOLDEN")
    if o.oracle and o.dtype == "float64":
        parser.error("--oracle and --dtype float64 would write the same tensor")
    torch.set_float32_matmul_precision("highest")  # no TF32
    torch.backends.cudnn.allow_tf32 = False
    dtype = getattr(torch, o.dtype)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {o.dtype} on {o.device}", flush=True)
    if o.golden:
        check_golden(o.golden, o.device, dtype)
    else:
        write_cases(o, o.device, dtype)


if __name__ == "__main__":
    main()
