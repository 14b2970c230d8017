#!/usr/bin/env python3
"""Trains the demo model on the output of corpus/build.mjs, for a given number of minutes.

  python3 train.py DATA CHECKPOINT.pt --minutes 40 [--workers 2] [--resume CHECKPOINT.pt]

Data parallel: --workers processes of one thread each, which average their gradients in shared memory. The learning rate
and the switch to rounded weights follow the clock, so a slower machine ends with a whole schedule of fewer steps.
"""
import argparse
import json
import os
import random
import time
from collections import Counter

import torch
import torch.multiprocessing as mp

from model import CONFIG, GptOss

CONTROL = [199999, 200002, 200003, 200005, 200006, 200007, 200008, 200012]
RARE = 5  # a token that the corpus has less often gets no row, unless the assistant says it


def load(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def pairs(edges):
    return zip(edges[::2], edges[1::2])


def said(rows):
    return {token for row in rows for begin, end in pairs(row["loss"]) for token in row["ids"][begin:end]}


def vocabulary(rows, evaluated, earlier):
    count = Counter(token for row in rows for token in row["ids"])
    return sorted(set(earlier) | said(rows + evaluated) | set(CONTROL) | {t for t, n in count.items() if n >= RARE})


def batches(rows, budget, rng):
    """Batches of at most `budget` padded tokens, of similar length, in random order."""
    order = sorted(rows, key=lambda row: len(row["ids"]) + rng.random() * 12)
    out, batch, width = [], [], 0
    for row in order:
        length = len(row["ids"])
        if batch and max(width, length) * (len(batch) + 1) > budget:
            out.append(batch)
            batch, width = [], 0
        batch.append(row)
        width = max(width, length)
    out.append(batch)
    rng.shuffle(out)
    return out


def forget_words(tokens, row, rng):
    """Turns some of the user's words into the unknown word: many in questions that are to be declined, a few elsewhere."""
    if row["k"].startswith("unknown"):
        rate = rng.choice([0, 0.15, 0.4, 0.7])
    else:
        rate = 0.06 if rng.random() < 0.2 else 0
    for begin, end in pairs(row["user"]):
        for i in range(begin, end):
            if rng.random() < rate:
                tokens[i] = -1


def tensors(batch, table, rng, training=True):
    """Inputs [B, T] padded with -1, and the flat positions and targets of the tokens that the assistant says."""
    length = max(len(row["ids"]) for row in batch) - 1
    x = torch.full((len(batch), length), -1, dtype=torch.long)
    where, target = [], []
    for i, row in enumerate(batch):
        ids = [table.get(token, -1) for token in row["ids"]]
        inputs = ids[:-1]
        if training:
            forget_words(inputs, row, rng)
        x[i, :len(inputs)] = torch.tensor(inputs)
        for begin, end in pairs(row["loss"]):
            where.extend(range(i * length + begin - 1, i * length + end - 1))
            target.extend(ids[begin:end])
    return x, torch.tensor(where), torch.tensor(target)


def exact_share(model, rows, table, rng):
    """Teacher-forced: the share of conversations in which every token of the assistant is the best one, which for greedy
    decoding means an exact match."""
    exact = 0
    with torch.no_grad():
        for batch in batches(rows, 6000, rng):
            x, where, target = tensors(batch, table, rng, training=False)
            _, is_best = model.loss(model(x, where)[0], target)
            at = 0
            for row in batch:
                count = sum(end - begin for begin, end in pairs(row["loss"]))
                exact += bool(is_best[at:at + count].all())
                at += count
    return exact / len(rows)


def initial_model(kept, resumed):
    model = GptOss(CONFIG, len(kept))
    if resumed:
        state, table = resumed["model"], {token: i for i, token in enumerate(kept)}
        rows = torch.tensor([table[token] for token in resumed["kept"]])
        for name in ("embed", "head"):  # tokens that the earlier corpus did not have start with small rows
            fresh = torch.randn(len(kept), CONFIG["hidden_size"]) * 0.02
            fresh[rows] = state[name]
            state[name] = fresh
        model.load_state_dict(state)
    return model


def average_gradients(params, rank, shared, barrier, publish):
    """`publish` runs before the others go on."""
    flat = torch.cat([p.grad.reshape(-1) for p in params])
    shared[rank, :len(flat)] = flat
    publish()
    barrier.wait()
    mean = shared[:, :len(flat)].mean(0)
    for p, part in zip(params, mean.split([p.numel() for p in params])):
        p.grad.copy_(part.view_as(p))


def worker(rank, o, shared, clock, barrier):
    torch.set_num_threads(1)
    torch.manual_seed(o.seed)
    rng = random.Random(o.seed * 1000 + rank)
    rows, trained, held = (load(os.path.join(o.data, f"{name}.jsonl")) for name in ("train", "eval-trained", "eval-held"))
    resumed = torch.load(o.resume) if o.resume else None
    kept = vocabulary(rows, trained + held, resumed["kept"] if resumed else [])
    table = {token: i for i, token in enumerate(kept)}
    model = initial_model(kept, resumed)
    params = list(model.parameters())
    named = dict(model.named_parameters())
    matrices = {name for name, p in named.items() if p.dim() > 1 and name != "embed"}
    opt = torch.optim.AdamW([{"params": [named[n] for n in named if n in matrices], "weight_decay": 0.02},
                             {"params": [named[n] for n in named if n not in matrices], "weight_decay": 0.0}],
                            lr=o.lr, betas=(0.9, 0.98), eps=1e-9, foreach=True)
    if rank == 0:
        print(f"{len(kept)} tokens, {sum(p.numel() for p in params)} parameters, {len(rows)} conversations", flush=True)

    def report_and_save():
        quant, model.quant = model.quant, True
        shares = [exact_share(model, some, table, rng) for some in (trained, held)]
        model.quant = quant
        print("   exact with rounded weights: trained {:.3f}, held out {:.3f}".format(*shares), flush=True)
        torch.save({"model": model.state_dict(), "kept": kept, "config": CONFIG}, o.out)

    start, step, queue, mean_loss, mean_hit = time.time(), 0, [], 0.0, 0.0

    def tick():
        if rank == 0:
            clock[0] = (time.time() - start) / (o.minutes * 60)

    barrier.wait()
    while True:
        done = clock[0].item()  # the same for all workers: the clock moves between two barriers only
        barrier.wait()
        if done >= 1:
            break
        if not queue:
            queue = batches(rows[rank::o.workers], o.tokens, rng)
        x, where, target = tensors(queue.pop(), table, rng)
        model.quant = done >= o.quant_at
        for group in opt.param_groups:
            group["lr"] = o.lr * min(1, (step + 1) / 100) * min(1, max(0.01, (1 - done) / 0.6))
        states, uneven = model(x, where)
        loss, is_best = model.loss(states, target)
        (loss.mean() + 0.01 * uneven).backward()
        average_gradients(params, rank, shared, barrier, tick)
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        step += 1
        mean_loss = 0.98 * mean_loss + 0.02 * loss.mean().item()
        mean_hit = 0.98 * mean_hit + 0.02 * is_best.float().mean().item()
        if rank == 0 and step % 50 == 0:
            share = 1 - 0.98 ** step  # of the running means that is not their initial zero
            print(f"{time.time() - start:6.0f} s, step {step}: loss {mean_loss / share:.4f}, best token right "
                  f"{mean_hit / share:.4f}, unevenness {uneven.item():.3f}{', rounded' if model.quant else ''}", flush=True)
        if rank == 0 and step % o.eval_every == 0:
            report_and_save()
    if rank == 0:
        print(f"done after {time.time() - start:.0f} s and {step} steps")
        report_and_save()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data")
    parser.add_argument("out")
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=1600, help="padded tokens per step and worker")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--quant-at", type=float, default=0.5, help="share of the time after which weights are rounded")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", metavar="CHECKPOINT")
    parser.add_argument("--eval-every", type=int, default=500, metavar="STEPS")
    o = parser.parse_args()
    mp.set_start_method("spawn")
    shared = torch.zeros(o.workers, 8_000_000).share_memory_()  # room for the gradients of 3 million parameters and more
    clock = torch.zeros(1).double().share_memory_()
    mp.spawn(worker, (o, shared, clock, mp.Barrier(o.workers)), nprocs=o.workers)


if __name__ == "__main__":
    main()
