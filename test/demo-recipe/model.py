"""A small gpt-oss in PyTorch for training on a CPU, with its experts rounded to MXFP4 and the rest to bf16 on the way.

Embedding and output matrix have rows for the tokens of the corpus alone. Any other token of the vocabulary has a zero row
in both: it reads as "unknown word", and its logit is exactly 0. The loss counts those absent tokens (`absent`), so the
model learns to keep the logits of its own tokens far above 0.

B sequences, T tokens, H hidden, D = head_dim, NH query and NK key-value heads, E experts.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

CONFIG = dict(num_hidden_layers=4, num_local_experts=8, vocab_size=201088, hidden_size=128, intermediate_size=128,
              head_dim=64, num_attention_heads=8, num_key_value_heads=2, sliding_window=128)
TOP_K = 4
FP4 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
LIMIT, ALPHA = 7.0, 1.702


def mxfp4_parts(w):
    """w [..., n * 32] -> (signed FP4 values [..., n, 32], exponents [..., n, 1]); the weight is value * 2^exponent."""
    blocks = w.reshape(*w.shape[:-1], -1, 32)
    largest = blocks.abs().amax(-1, keepdim=True).clamp_min(1e-30)
    # the largest magnitude ends up in (3.5, 7] and saturates at 6
    exponent = torch.ceil(torch.log2(largest / 7)).clamp(-126, 127)
    x = blocks * torch.exp2(-exponent)
    step = torch.where(x.abs() < 2, 0.5, torch.where(x.abs() < 4, 1.0, 2.0))
    return torch.copysign((torch.round(x.abs() / step) * step).clamp_max(6), x), exponent


def mxfp4(w):
    value, exponent = mxfp4_parts(w)
    return (value * torch.exp2(exponent)).reshape(w.shape)


def bf16(w):
    return w.to(torch.bfloat16).float()


def straight_through(w, rounded):
    """The rounded weight going forward, the identity going back."""
    return w + (rounded(w.detach()) - w.detach())


class SinkSoftmax(torch.autograd.Function):
    """Softmax over the last dimension with one more logit, the sink, in the denominator only."""

    @staticmethod
    def forward(ctx, score, sink):  # score [..., T], -inf where unseen; sink broadcasts to [..., 1]
        top = torch.maximum(score.amax(-1, keepdim=True), sink)
        p = (score - top).exp_()
        total = p.sum(-1, keepdim=True) + (sink - top).exp()
        p /= total
        ctx.save_for_backward(p, (sink - top).exp() / total)
        ctx.sink_shape = sink.shape
        return p

    @staticmethod
    def backward(ctx, grad):
        p, p_sink = ctx.saved_tensors
        dot = (p * grad).sum(-1, keepdim=True)
        return (grad - dot).mul_(p), (-dot * p_sink).sum_to_size(ctx.sink_shape)


class SwiGLU(torch.autograd.Function):
    """(linear + 1) * gate * sigmoid(alpha * gate) of interleaved, clamped columns; the gate is clamped from above only."""

    @staticmethod
    def forward(ctx, x):
        gate, linear = x[..., 0::2].clamp(max=LIMIT), x[..., 1::2].clamp(-LIMIT, LIMIT)
        s = torch.sigmoid(ALPHA * gate)
        ctx.save_for_backward(x, s)
        return gate * s * (linear + 1)

    @staticmethod
    def backward(ctx, grad):
        x, s = ctx.saved_tensors
        gate, linear = x[..., 0::2].clamp(max=LIMIT), x[..., 1::2].clamp(-LIMIT, LIMIT)
        out = torch.empty_like(x)
        out[..., 0::2] = grad * (linear + 1) * (s + ALPHA * gate * s * (1 - s)) * (x[..., 0::2] <= LIMIT)
        out[..., 1::2] = grad * gate * s * (x[..., 1::2].abs() <= LIMIT)
        return out


def rms_norm(x, w):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * w


def yarn(c, length):
    """cos, sin [length, D/2] with gpt-oss's constants: theta 150000, factor 32, 4096 positions."""
    half = c["head_dim"] // 2
    frequency = 150000.0 ** (torch.arange(0, c["head_dim"], 2).double() / c["head_dim"])
    low, high = (half * math.log(4096 / (turns * 2 * math.pi)) / math.log(150000.0) for turns in (32.0, 1.0))
    ramp = ((torch.arange(half).double() - low) / (high - low)).clamp(0, 1)
    angle = torch.arange(length).double()[:, None] * (ramp / (32.0 * frequency) + (1 - ramp) / frequency)
    concentration = 0.1 * math.log(32.0) + 1.0
    return (angle.cos() * concentration).float(), (angle.sin() * concentration).float()


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        hidden, inter, experts = c["hidden_size"], c["intermediate_size"], c["num_local_experts"]
        q, kv = c["num_attention_heads"] * c["head_dim"], c["num_key_value_heads"] * c["head_dim"]

        def normal(*shape, std):
            return nn.Parameter(torch.randn(*shape) * std)

        self.norm1, self.norm2 = nn.Parameter(torch.ones(hidden)), nn.Parameter(torch.ones(hidden))
        self.qkv, self.qkv_b = normal(q + 2 * kv, hidden, std=hidden ** -0.5), normal(q + 2 * kv, std=0.02)
        self.o, self.o_b = normal(hidden, q, std=0.3 * q ** -0.5), normal(hidden, std=0.02)
        self.sinks = nn.Parameter(torch.zeros(c["num_attention_heads"]))
        self.router, self.router_b = normal(experts, hidden, std=hidden ** -0.5), normal(experts, std=0.02)
        self.up = normal(experts, 2 * inter, hidden, std=1.2 * hidden ** -0.5)
        self.up_b = normal(experts, 2 * inter, std=0.02)
        self.down = normal(experts, hidden, inter, std=0.3 * inter ** -0.5)
        self.down_b = normal(experts, hidden, std=0.02)


class GptOss(nn.Module):
    def __init__(self, c, kept, margin=6.0, max_length=1024):
        """kept: how many tokens have a row; margin: how far above the absent tokens the best logit has to stay."""
        super().__init__()
        self.c, self.kept = c, kept
        hidden = c["hidden_size"]
        self.embed = nn.Parameter(torch.randn(kept, hidden) * 0.5)
        self.head = nn.Parameter(torch.randn(kept, hidden) * hidden ** -0.5)
        self.norm = nn.Parameter(torch.ones(hidden))
        self.blocks = nn.ModuleList(Block(c) for _ in range(c["num_hidden_layers"]))
        self.absent = math.log(c["vocab_size"] - kept) + margin  # their logit 0, times how many they are
        cos, sin = yarn(c, max_length)
        self.register_buffer("cos", cos, False)
        self.register_buffer("sin", sin, False)
        i = torch.arange(max_length)
        for name, window in (("full", max_length), ("window", c["sliding_window"])):
            unseen = (i[None] > i[:, None]) | (i[None] <= i[:, None] - window)
            self.register_buffer(name, torch.zeros(max_length, max_length).masked_fill_(unseen, -1e30), False)
        self.quant = False

    def dense(self, w):
        return straight_through(w, bf16) if self.quant else w

    def expert(self, w):
        return straight_through(w, mxfp4) if self.quant else w

    def forward(self, tokens, positions=None):
        """tokens [B, T], -1 where a token has no row. Returns the normed states [B * T, H], or those at `positions` only,
        and the load-balancing loss."""
        batch, length = tokens.shape
        unknown = self.embed.new_zeros(1, self.c["hidden_size"])
        rows = torch.where(tokens < 0, self.kept, tokens).reshape(-1)
        x = F.embedding(rows, torch.cat([self.dense(self.embed), unknown]))
        balance = 0.0
        for n, block in enumerate(self.blocks):
            x = x + self.attention(block, x, batch, length, self.window if n % 2 == 0 else self.full)
            if positions is not None and n == len(self.blocks) - 1:
                x = x[positions]
            y, uneven = self.experts(block, rms_norm(x, self.dense(block.norm2)))
            x, balance = x + y, balance + uneven
        return rms_norm(x, self.dense(self.norm)), balance / len(self.blocks)

    def attention(self, block, x, batch, length, mask):
        c, w = self.c, self.dense
        dim, heads, kv_heads = c["head_dim"], c["num_attention_heads"], c["num_key_value_heads"]
        group = heads // kv_heads
        qkv = F.linear(rms_norm(x, w(block.norm1)), w(block.qkv), w(block.qkv_b))
        qkv = qkv.view(batch, length, heads + 2 * kv_heads, dim)
        a, b = qkv[:, :, :heads + kv_heads].split(dim // 2, -1)
        cos, sin = self.cos[:length, None], self.sin[:length, None]
        qk = torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
        q = qk[:, :, :heads].view(batch, length, kv_heads, group, dim).permute(0, 2, 3, 1, 4)
        q = q.reshape(batch * kv_heads, group * length, dim)
        k = qk[:, :, heads:].permute(0, 2, 3, 1).reshape(batch * kv_heads, dim, length)
        v = qkv[:, :, heads + kv_heads:].permute(0, 2, 1, 3).reshape(batch * kv_heads, length, dim)
        score = torch.bmm(q * dim ** -0.5, k).view(batch, kv_heads, group, length, length) + mask[:length, :length]
        p = SinkSoftmax.apply(score, w(block.sinks).view(1, kv_heads, group, 1, 1))
        out = torch.bmm(p.view(batch * kv_heads, group * length, length), v)
        out = out.view(batch, kv_heads, group, length, dim).permute(0, 3, 1, 2, 4).reshape(batch * length, heads * dim)
        return F.linear(out, w(block.o), w(block.o_b))

    def experts(self, block, t):
        """The weighted sum of the chosen experts, and how unevenly they are chosen (1 = evenly)."""
        count = self.c["num_local_experts"]
        logits = F.linear(t, self.dense(block.router), self.dense(block.router_b))
        top, index = logits.topk(TOP_K, -1)
        weight = torch.zeros_like(logits).scatter(1, index, top.softmax(-1))
        chosen = torch.zeros_like(logits).scatter(1, index, 1.0).mean(0)
        uneven = count * (chosen * logits.softmax(-1).mean(0)).sum() / TOP_K
        up, down = self.expert(block.up), self.expert(block.down)
        up_b, down_b = self.dense(block.up_b), self.dense(block.down_b)
        y = weight @ down_b
        for e in range(count):
            rows = (weight[:, e] > 0).nonzero()[:, 0]
            h = SwiGLU.apply(F.linear(t.index_select(0, rows), up[e], up_b[e]))
            y = y.index_add(0, rows, F.linear(h, down[e]) * weight[:, e].index_select(0, rows)[:, None])
        return y, uneven

    def loss(self, states, target):
        """(cross entropy, whether the best token is the target), each [N]."""
        logits = F.linear(states, self.dense(self.head))
        logits = torch.cat([logits, logits.new_full((len(logits), 1), self.absent)], -1)
        return F.cross_entropy(logits, target, reduction="none"), logits.argmax(-1) == target
