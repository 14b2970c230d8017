"""Inputs of single operations that are easy to implement wrongly, with the oracle's results.

Each function returns {tensor name: array}. Inputs are float32 values (even when stored as float64). So an engine in
float32 starts from exactly the inputs of the expected results.
"""
import numpy as np

import make_checkpoint
import oracle

CONFIG = oracle.Config(make_checkpoint.huggingface_config(make_checkpoint.TINY))  # for its RoPE and its limits


def normal(seed, *dims):
    return np.random.default_rng([2880, seed]).standard_normal(dims, np.float32)


def mxfp4():
    """Every byte value once per scale. The scales are the ends of the range, the usual ones, and some in between."""
    scale = [0, 1, 2, 60, 100, 112, 117, 118, 119, 120, 121, 122, 126, 127, 128, 140, 200, 251, 252, 253, 254, 255]
    blocks = np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(16, 16), (len(scale), 16, 16))
    scales = np.repeat(np.array(scale, np.uint8)[:, None], 16, 1)
    return {"blocks": blocks, "scales": scales, "expect_f64": oracle.dequantize_mxfp4(blocks, scales, np.float64),
            "expect_f32": oracle.dequantize_mxfp4(blocks, scales, np.float32)}


def swiglu():
    """`grid` pairs each edge as gate with each edge as linear. `random` has a standard deviation of 4, so that 4 % of
    the gates and 8 % of the linear values are clamped."""
    edge = np.array([-10000, -100, -30, -8, -7.0001, -7, -6.9999, -1, -0.001, -0.0,
                     0, 0.001, 1, 2.5, 6.9999, 7, 7.0001, 8, 30, 10000], np.float32)
    grid = np.empty((len(edge), 2 * len(edge)), np.float32)
    grid[:, 0::2], grid[:, 1::2] = edge[:, None], edge
    out = {}
    for name, x in (("grid", grid), ("random", 4 * normal(1, 16, 64))):
        out[name] = x
        for suffix, dtype in (("f64", np.float64), ("f32", np.float32)):
            out[f"{name}_expect_{suffix}"] = oracle.swiglu(x.astype(dtype), CONFIG.alpha, CONFIG.limit)
    return out


def rope():
    """Positions near the window, the original context and the end of the long one, where rounded angles err most."""
    positions = np.array([0, 1, 2, 3, 5, 17, 127, 128, 129, 1000, 4095, 4096, 4097, 8191, 16384, 32767, 65535, 100000,
                          131070, 131071], np.int32)
    x = normal(2, len(positions), 2, CONFIG.head_dim).astype(np.float64)
    out = {"positions": positions, "x": x, "concentration": np.array([oracle.rope_frequencies(CONFIG, np.float64)[0]])}
    for suffix, dtype in (("f64", np.float64), ("f32", np.float32)):
        cos, sin = oracle.rope_cos_sin(CONFIG, positions, dtype)
        out["inv_freq_" + suffix] = oracle.rope_frequencies(CONFIG, dtype)[1]
        out["cos_" + suffix], out["sin_" + suffix] = cos, sin
        out["rotated_" + suffix] = oracle.rope_apply(x.astype(dtype), cos, sin)
    return out


def attention():
    """One head over 40 positions. The sinks range from none to one with nearly all the probability. The windows are
    none, 1 (a query sees only itself) and 7."""
    q, k, v = (scale * normal(seed, 40, 1, 64).astype(np.float64) for seed, scale in ((3, 1.5), (4, 1.5), (5, 1)))
    sinks = np.array([-1e30, -5, 0, 1.5, 4, 20])
    out = {"q": q, "k": k, "v": v, "sinks": sinks}
    for window in (0, 1, 7):
        out[f"expect_window{window}_f64"] = np.stack(
            [oracle.attention(q, k, v, sinks[n:n + 1], window, 0) for n in range(len(sinks))])
    return out


def router():
    """`plain` has no ties among its 32 experts. `ties` has mostly ties: all equal, equal at the border of the 4, signed
    zeros, pairs, one clear winner, large values."""
    plain = 2 * normal(6, 24, 32).astype(np.float64)
    ordered = np.sort(plain, -1)
    assert np.diff(ordered[:, -6:]).min() > 1e-3, "near ties in the plain rows: take another seed"
    ties = np.array([[0, 0, 0, 0, 0, 0, 0, 0],
                     [1, 1, 1, 1, 1, 0, 0, 0],
                     [0, 3, 2, 1, 1, 1, -1, -2],
                     [-0.0, 0, -1, -2, 0, -0.0, -3, -4],
                     [5, 5, 4, 4, 3, 3, 2, 2],
                     [-9, -9, -9, -9, -9, 8, -9, -9],
                     [100, -100, 100, -100, 100, -100, 100, 99.5]], np.float64)
    out = {}
    for name, logits in (("plain", plain), ("ties", ties)):
        index, weight = oracle.route(logits, 4)
        out |= {name: logits, name + "_index": index.astype(np.int32), name + "_weight": weight}
    return out


def rmsnorm():
    """Ordinary rows, rows so small that epsilon dominates, a zero row and large rows."""
    size = np.array([1, 1, 1, 1, 1, 1, 1e-4, 1e-4, 0, 1e3, 1e3], np.float32)
    x = size[:, None] * normal(7, len(size), 160)
    weight = 1 + np.float32(0.2) * normal(8, 160)
    exact = oracle.rms_norm(x.astype(np.float64), weight.astype(np.float64), CONFIG.eps)
    return {"x": x, "weight": weight, "expect_f64": exact, "expect_f32": oracle.rms_norm(x, weight, CONFIG.eps)}


CASES = [mxfp4, swiglu, rope, attention, router, rmsnorm]
