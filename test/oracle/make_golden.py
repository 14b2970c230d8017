#!/usr/bin/env python3
"""Rewrites the golden models, model cases and kernel cases. The bytes are the same each time on one machine.

  python3 make_golden.py OUT          (npm run golden: OUT = test/golden; about 15 seconds)
"""
import json
import os
import shutil
import sys

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy loads OpenBLAS, because threads change the order of its sums

import numpy as np  # noqa: E402

import kernel_cases  # noqa: E402
import lora  # noqa: E402
import oracle  # noqa: E402
import safetensors_io  # noqa: E402
from make_checkpoint import TINY, write_checkpoint  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = {
    "a": {**TINY, "seed": 11},
    "b": {**TINY, "num_hidden_layers": 2, "hidden_size": 160, "num_attention_heads": 8, "num_local_experts": 32,
          "seed": 12},
    "c": {**TINY, "num_hidden_layers": 3, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
          "num_local_experts": 5, "vocab_size": 301, "sliding_window": 7, "seed": 13},
}
SHARD_BYTES = {"c": 280_000}  # three shards
TAPS = "c.short"  # the prompt whose activations are all stored
ADAPTERS = {
    "a.peft": {"seed": 54, "experts": "fused", "rank": 4},
    "a.transposed": {"seed": 54, "experts": "fused", "rank": 4, "transposed": True},  # the same change
    "c.unsloth": {"seed": 53, "experts": [0, 2, 3], "rank": 3, "dtype": "F32", "rank_pattern": {"q_proj": 5},
                  "alpha_pattern": {"v_proj": 1.5, "model.layers.1.self_attn.o_proj": 2}, "use_rslora": True,
                  "lm_head": True},
}
GREEDY_STEPS = 32
# Below these values a correct float32 engine could choose another expert or token: its logits err by up to 2e-4 of 8.
LEAST_ROUTER_GAP, LEAST_GREEDY_MARGIN = 4e-5, 2.5e-3

# Below this, an engine with bf16 activations could choose another expert: 2.5 times 0.012, times √2 (README.md).
LEAST_ADAPTED_GAP = 0.04


def run(folder, prompt, dtype, round_activations=None):
    """Returns (logits at the stored positions, greedy continuation, router gap [layers, T])."""
    model = oracle.Model(folder, dtype, round_activations)
    model.taps = {}
    logits = model.forward(prompt["tokens"], prompt["positions"])
    ordered = [np.sort(model.taps[f"{n}.router_logits"], -1) for n in range(model.config.layers)]
    gap = np.stack([o[:, -model.config.top_k] - o[:, -model.config.top_k - 1] for o in ordered])
    model.taps = None
    return logits, model.greedy(logits[-1], GREEDY_STEPS), gap


def difference(x, reference):
    x = x.astype(np.float64)
    return {"max_rel": float(np.abs(x - reference).max() / np.abs(reference).max()),
            "rms_rel": float(np.sqrt(((x - reference) ** 2).mean() / (reference ** 2).mean())),
            "top1_agree": float((x.argmax(-1) == reference.argmax(-1)).mean())}


def first_difference(greedy, reference):
    """Returns the first step at which two continuations differ, or their length if they are equal."""
    return next((i for i, (a, b) in enumerate(zip(greedy, reference)) if a["token"] != b["token"]), len(reference))


def model_case(out, name, prompt):
    """Writes one case and returns its entry in the manifest."""
    folder = os.path.join(out, "models", prompt["model"])
    logits, greedy, gap = run(folder, prompt, np.float64)
    logits_f32, greedy_f32, _ = run(folder, prompt, np.float32)
    logits_bf16, greedy_bf16, _ = run(folder, prompt, np.float32, "bf16")
    margin = min(step["margin"] for step in greedy)
    assert gap.min() >= LEAST_ROUTER_GAP and margin >= LEAST_GREEDY_MARGIN, (name, gap.min(), margin)
    assert first_difference(greedy_f32, greedy) == GREEDY_STEPS, f"{name}: float32 continues otherwise than float64"
    tensors = {"tokens": np.array(prompt["tokens"], np.int32), "positions": np.array(prompt["positions"], np.int32),
               "logits_f64": logits, "logits_f32": logits_f32, "router_gap": gap[:, prompt["positions"]]}
    for name_in_file, key, dtype in (("tokens", "token", np.int32), ("second", "second", np.int32),
                                     ("margin", "margin", np.float64), ("logprob", "logprob", np.float64)):
        tensors["greedy_" + name_in_file] = np.array([step[key] for step in greedy], dtype)
    file = f"cases/{name}.safetensors"
    safetensors_io.save(os.path.join(out, file), tensors)
    return {"file": file, "model": f"models/{prompt['model']}", "tokens": len(prompt["tokens"]),
            "min_router_gap": float(gap.min()), "min_greedy_margin": margin,
            "f32_vs_f64": difference(logits_f32, logits), "bf16_vs_f64": difference(logits_bf16, logits),
            "bf16_greedy_first_difference": first_difference(greedy_bf16, greedy)}


def tap_case(out, prompts):
    """Writes every activation of one prompt, computed in float64, and returns its entry in the manifest."""
    prompt = prompts[TAPS]
    model = oracle.Model(os.path.join(out, "models", prompt["model"]), np.float64)
    model.taps = {"tokens": np.array(prompt["tokens"], np.int32)}
    logits = model.forward(prompt["tokens"])
    file = f"taps/{TAPS}.safetensors"
    tensors = {**model.taps, "logits": logits}
    safetensors_io.save(os.path.join(out, file), {name: x.astype(np.float32) if x.dtype == np.float64 else x
                                                  for name, x in tensors.items()})
    return {"file": file, "model": f"models/{prompt['model']}"}


def router_gap(model):
    """The least difference of the last chosen and the next router logit in the taps."""
    ordered = [np.sort(model.taps[f"{n}.router_logits"], -1) for n in range(model.config.layers)]
    return min(float((o[:, -model.config.top_k] - o[:, -model.config.top_k - 1]).min()) for o in ordered)


def adapter_case(out, name, prompts):
    """Writes an adapter and the logits of its model with it, and returns its entry in the manifest."""
    folder, prompt = os.path.join(out, "adapters", name), prompts[name.split(".")[0] + ".short"]
    model_folder, tensors = os.path.join(out, "models", prompt["model"]), {}
    lora.write_adapter(folder, oracle.Config.load(model_folder), **ADAPTERS[name])
    base = oracle.Model(model_folder, np.float64).forward(prompt["tokens"])
    entry = {"file": f"adapters/{name}/expected.safetensors", "model": f"models/{prompt['model']}"}
    for kind, merged in (("beside", False), ("merged", True)):
        model = oracle.Model(model_folder, np.float64, adapter=folder, merged=merged)
        model.taps = {}
        logits = model.forward(prompt["tokens"])
        gap = router_gap(model)
        assert gap >= LEAST_ADAPTED_GAP, (name, kind, gap)
        bf16 = oracle.Model(model_folder, np.float32, "bf16", folder, merged).forward(prompt["tokens"])
        tensors[f"logits_{kind}_f64"] = logits
        entry[kind] = {"min_router_gap": gap, "change": difference(logits, base)["rms_rel"],
                       "bf16_vs_f64": difference(bf16, logits)}
    safetensors_io.save(os.path.join(out, entry["file"]), {"tokens": np.array(prompt["tokens"], np.int32), **tensors})
    return entry


def bf16_experts_case(out, name, prompts):
    """Writes the logits of a model whose experts are fine-tuned in bf16: as they are, rounded to MXFP4, and with an adapter.
    Returns its entry in the manifest."""
    adapter = os.path.join(out, "adapters", name)
    model_name = name.split(".")[0]
    prompt, folder = prompts[model_name + ".short"], os.path.join(out, "models", model_name)
    entry = {"file": f"bf16-experts/{name}.safetensors", "model": f"models/{model_name}"}
    tensors = {"tokens": np.array(prompt["tokens"], np.int32)}
    kinds = {"plain": {"experts": "bf16"}, "rounded": {"experts": "rounded"},
             "beside": {"experts": "bf16", "adapter": adapter},
             "merged": {"experts": "bf16", "adapter": adapter, "merged": True}}
    for kind, options in kinds.items():
        model = oracle.Model(folder, np.float64, **options)
        model.taps = {}
        logits = tensors[f"logits_{kind}_f64"] = model.forward(prompt["tokens"])
        gap = router_gap(model)
        assert gap >= LEAST_ADAPTED_GAP or kind == "rounded", (name, kind, gap)
        bf16 = oracle.Model(folder, np.float32, "bf16", **options).forward(prompt["tokens"])
        entry[kind] = {"min_router_gap": gap, "bf16_vs_f64": difference(bf16, logits)}
    entry["rounded"]["change"] = difference(tensors["logits_rounded_f64"], tensors["logits_plain_f64"])
    safetensors_io.save(os.path.join(out, entry["file"]), tensors)
    return entry


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = sys.argv[1]
    for part in ("models", "cases", "kernels", "taps", "adapters", "bf16-experts"):
        shutil.rmtree(os.path.join(out, part), ignore_errors=True)
        os.makedirs(os.path.join(out, part))
    for name, model in MODELS.items():
        shape = {key: value for key, value in model.items() if key != "seed"}
        layout = {"shard_bytes": SHARD_BYTES[name]} if name in SHARD_BYTES else {}
        write_checkpoint(os.path.join(out, "models", name), shape, model["seed"], **layout)
    for case in kernel_cases.CASES:
        safetensors_io.save(os.path.join(out, "kernels", case.__name__ + ".safetensors"), case())
    with open(os.path.join(HERE, "prompts.json"), encoding="utf-8") as f:
        prompts = json.load(f)
    manifest = {"models": MODELS, "cases": [model_case(out, name, prompt) for name, prompt in prompts.items()],
                "taps": [tap_case(out, prompts)],
                "adapters": [adapter_case(out, name, prompts) for name in ADAPTERS],
                "bf16_experts": [bf16_experts_case(out, "c.unsloth", prompts)],
                "kernels": [f"kernels/{case.__name__}.safetensors" for case in kernel_cases.CASES]}
    with open(os.path.join(out, "manifest.json"), "w", encoding="utf-8") as f:
        json.dump(manifest, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
