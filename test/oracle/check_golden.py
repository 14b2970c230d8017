#!/usr/bin/env python3
"""Recomputes every model case of a golden set and prints the difference from the stored float64 logits.

  python3 check_golden.py GOLDEN [--dtype float64] [--round bf16] [--tolerance 1e-9]

Exits with 1 if the difference of any case exceeds the tolerance (max |x - ref| / max |ref|).
"""
import argparse
import json
import os
import sys

import numpy as np

import oracle
import safetensors_io
from make_golden import difference


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("golden")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float64")
    parser.add_argument("--round", choices=["bf16"])
    parser.add_argument("--tolerance", type=float, default=1e-9)
    o = parser.parse_args()
    with open(os.path.join(o.golden, "manifest.json"), encoding="utf-8") as f:
        cases = json.load(f)["cases"]
    worst = 0.0
    for case in cases:
        stored = safetensors_io.Reader(os.path.join(o.golden, case["file"]))
        model = oracle.Model(os.path.join(o.golden, case["model"]), o.dtype, o.round)
        logits = model.forward(stored.raw("tokens"), stored.raw("positions"))
        d = difference(logits, np.array(stored.raw("logits_f64")))
        worst = max(worst, d["max_rel"])
        print(f"{case['file']:28s} max_rel {d['max_rel']:.2e}  rms_rel {d['rms_rel']:.2e}  "
              f"top-1 agree {d['top1_agree']:.3f}")
    if worst > o.tolerance:
        sys.exit(f"furthest off by {worst:.2e}, above the tolerance of {o.tolerance:.0e}")


if __name__ == "__main__":
    main()
