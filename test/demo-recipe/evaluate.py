#!/usr/bin/env python3
"""What the expanded model says, greedily, through the numpy oracle in float32.

  python3 evaluate.py CHECKPOINT PACK DATA --rows eval-held.jsonl [--limit 20] [--show 5]
  python3 evaluate.py CHECKPOINT PACK DATA --expect expected.jsonl [--limit 20]

DATA is the output folder of corpus/build.mjs. --rows counts the conversations that come out token by token as the corpus has
them. --expect records what the model says to prompts.jsonl, and by how much the best token wins.
"""
import argparse
import json
import os
import sys
from collections import Counter

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "oracle"))
import oracle  # noqa: E402
import safetensors_io  # noqa: E402

RETURN, CALL, START = 200002, 200012, 200006
NAMES = {200002: "<|return|>", 200003: "<|constrain|>", 200005: "<|channel|>", 200006: "<|start|>",
         200007: "<|end|>", 200008: "<|message|>", 200012: "<|call|>"}
ROBUST_GAP = 0.5  # logits: more than rounding in another engine moves them


def lines(path, limit):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f][:limit]


def text(ids, vocabulary):
    pieces = (NAMES[i].encode() if i in NAMES else bytes.fromhex(vocabulary[i]) for i in ids)
    return b"".join(pieces).decode("utf-8", "replace")


def greedy(model, prompt, ids, limit=160):
    """ids: the token id of each logit. Returns the tokens with the stop token, the least gap between the best and the second
    best logit on the way, and the least best logit."""
    model.reset()
    logits = model.forward(prompt, [len(prompt) - 1])[-1]
    out, gaps, best = [], [], []
    while len(out) < limit:
        second, first = np.argsort(logits)[-2:]
        out.append(int(ids[first]))
        gaps.append(float(logits[first] - logits[second]))
        best.append(float(logits[first]))
        if out[-1] in (RETURN, CALL):
            break
        logits = model.forward([out[-1]])[-1]
    return out, min(gaps), min(best)


def last_message(ids):
    """What the user sees, or the tool call."""
    starts = [i for i, token in enumerate(ids) if token == START]
    return ids[starts[-1] + 2:] if starts else ids


def is_framed(ids):
    """Whether these are harmony messages, each with a channel, the last one ended by a stop token."""
    *before, last = "".join(NAMES.get(i, "x") for i in ids).split("<|start|>")
    messages = [m.lstrip("x") for m in (*before, last)]
    return (all(m.startswith("<|channel|>x") and m.count("<|message|>") == 1 for m in messages)
            and all(m.endswith("<|end|>") for m in messages[:-1]) and messages[-1].endswith(("<|return|>", "<|call|>")))


def count_rows(model, tokens, rows, vocabulary, show):
    # only the rows of the pack's tokens, and one zero row for all others: the same best logits, much faster
    head = model.file.get("lm_head.weight", np.float32)[tokens]
    model.weights["lm_head.weight"] = np.concatenate([head, np.zeros((1, head.shape[1]), np.float32)])
    ids = np.append(tokens, -1)
    total, exact, visible, framed, completions = Counter(), Counter(), Counter(), 0, 0
    lowest, gaps = np.inf, []
    for row in rows:
        is_exact = is_visible = True
        for begin, end in zip(row["loss"][::2], row["loss"][1::2]):
            want = row["ids"][begin:end]
            got, gap, best = greedy(model, row["ids"][:begin], ids)
            completions += 1
            framed += is_framed(got)
            lowest = min(lowest, best)
            if got == want:
                gaps.append(gap)
                continue
            is_exact = False
            is_visible &= last_message(got) == last_message(want)
            if show > 0:
                show -= 1
                print("MISS", row["id"], "|", row["question"], "|", text([i for i in got if i >= 0], vocabulary))
        total[row["kind"]] += 1
        exact[row["kind"]] += is_exact
        visible[row["kind"]] += is_visible
    for kind in sorted(total):
        print(f"  {kind:16s} {exact[kind]}/{total[kind]} exact, {visible[kind]}/{total[kind]} in the last message")
    print(f"exact {exact.total()}/{total.total()}, last message {visible.total()}/{total.total()}, "
          f"framing valid {framed}/{completions}, least best logit {lowest:.1f}")
    if gaps:
        print(f"gap of the exact ones: median {np.median(gaps):.2f}, tenth percentile {np.percentile(gaps, 10):.2f}")


def record_expected(model, rows, vocabulary, out):
    with open(out, "w", encoding="utf-8") as f:
        for row in rows:
            got, gap, _ = greedy(model, row["prompt_ids"], np.arange(model.config.vocab))
            want = row.pop("want_ids")
            row.update(completion_ids=got, text=text(got, vocabulary), min_gap=round(gap, 4), robust=gap > ROBUST_GAP,
                       as_trained=got == want)
            f.write(json.dumps(row, ensure_ascii=False) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint")
    parser.add_argument("pack")
    parser.add_argument("data")
    parser.add_argument("--rows", metavar="FILE", help="a file in DATA: eval-trained.jsonl or eval-held.jsonl")
    parser.add_argument("--expect", metavar="OUT", help="where to write the answers to DATA/prompts.jsonl")
    parser.add_argument("--limit", type=int, help="only the first conversations")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print the first misses")
    o = parser.parse_args()
    model = oracle.Model(o.checkpoint, np.float32)
    with open(os.path.join(o.data, "vocab.json"), encoding="utf-8") as f:
        vocabulary = json.load(f)
    if o.expect:
        record_expected(model, lines(os.path.join(o.data, "prompts.jsonl"), o.limit), vocabulary, o.expect)
    if o.rows:
        tokens = safetensors_io.Reader(o.pack).raw("tokens")
        count_rows(model, tokens, lines(os.path.join(o.data, o.rows), o.limit), vocabulary, o.show)


if __name__ == "__main__":
    main()
