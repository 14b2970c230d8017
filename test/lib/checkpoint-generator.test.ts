import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { checkpointBytes, presets, sized, writeCheckpoint } from "../support/checkpoint.js";
import { SafetensorsFile } from "../support/safetensors.js";

const root = mkdtempSync(path.join(tmpdir(), "gpt-oss-generator-"));
afterAll(() => rmSync(root, { recursive: true }));

let folders = 0;
function generate(options: Parameters<typeof writeCheckpoint>[1] = {}): string {
  const folder = path.join(root, String(folders++));
  writeCheckpoint(folder, { layers: 2, ...options });
  return folder;
}

const model = (folder: string) => new SafetensorsFile(path.join(folder, "model.safetensors"));

describe("writeCheckpoint", () => {
  it("writes a header whose tensors follow each other and fill the file", () => {
    const file = model(generate());
    let end = 0;
    for (const [name, tensor] of file.tensors) {
      const [from, to] = tensor.data_offsets;
      const elements = tensor.shape.reduce((a, b) => a * b, 1);
      expect(from, name).toBe(end);
      expect(to - from, name).toBe(elements * (tensor.dtype === "BF16" ? 2 : 1));
      end = to;
    }
    expect(end).toBe(file.dataBytes);
    expect(end).toBe(checkpointBytes({ ...presets.tiny, layers: 2 }));
  });

  it("writes the tensors of the released models, with their shapes", () => {
    const golden = new SafetensorsFile(path.resolve("test/golden/models/a/model.safetensors"));
    const file = model(generate({ layers: 4 }));
    const shapes = (f: SafetensorsFile) => [...f.tensors].map(([name, { dtype, shape }]) => [name, dtype, shape]);
    expect(shapes(file)).toEqual(shapes(golden));
  });

  it("is deterministic, and another seed gives another model", () => {
    const [first, again, other] = [generate(), generate(), generate({ seed: 2 })].map((folder) =>
      readFileSync(path.join(folder, "model.safetensors")),
    );
    expect(first!.equals(again!)).toBe(true);
    expect(first!.equals(other!)).toBe(false);
  });

  it("writes the same values in both layouts", () => {
    const huggingface = model(generate());
    const original = model(generate({ layout: "original" }));
    const same = (name: string, ...sources: string[]) =>
      expect(Buffer.concat(sources.map((s) => huggingface.bytes(s))).equals(original.bytes(name)), name).toBe(true);
    same("embedding.weight", "model.embed_tokens.weight");
    same("unembedding.weight", "lm_head.weight");
    for (const n of [0, 1]) {
      const layer = `model.layers.${n}.`;
      const part = (which: string) => ["q", "k", "v"].map((m) => `${layer}self_attn.${m}_proj.${which}`);
      same(`block.${n}.attn.qkv.weight`, ...part("weight"));
      same(`block.${n}.attn.qkv.bias`, ...part("bias"));
      same(`block.${n}.mlp.mlp1_weight.blocks`, `${layer}mlp.experts.gate_up_proj_blocks`);
      same(`block.${n}.mlp.mlp2_weight.scales`, `${layer}mlp.experts.down_proj_scales`);
    }
    expect(original.info("block.0.attn.qkv.weight").shape).toEqual([(16 + 2 + 2) * 64, 96]);
    expect(original.dataBytes).toBe(huggingface.dataBytes);
  });

  it("splits into shards that together hold every tensor once", () => {
    const whole = model(generate());
    const folder = generate({ shardBytes: 400_000 });
    const index = JSON.parse(readFileSync(path.join(folder, "model.safetensors.index.json"), "utf8"));
    const shards = readdirSync(folder).filter((name) => name.endsWith(".safetensors"));
    expect(shards[0]).toBe(`model-00000-of-${String(shards.length - 1).padStart(5, "0")}.safetensors`);
    expect(Object.keys(index.weight_map)).toEqual([...whole.tensors.keys()]);
    expect(index.metadata.total_size).toBe(whole.dataBytes);
    for (const shard of shards) {
      const file = new SafetensorsFile(path.join(folder, shard));
      expect(file.tensors.size === 1 || file.dataBytes <= 400_000).toBe(true);
      for (const name of file.tensors.keys()) {
        expect(index.weight_map[name]).toBe(shard);
        expect(Buffer.from(file.bytes(name)).equals(whole.bytes(name)), name).toBe(true);
      }
    }
  });

  it("draws values of the documented scale", () => {
    const file = model(generate());
    const moments = (name: string) => {
      const x = file.bf16(name);
      const mean = x.reduce((a, b) => a + b, 0) / x.length;
      return { mean, deviation: Math.sqrt(x.reduce((a, b) => a + (b - mean) ** 2, 0) / x.length) };
    };
    expect(moments("model.embed_tokens.weight").mean).toBeCloseTo(0, 1);
    expect(moments("model.embed_tokens.weight").deviation).toBeCloseTo(1, 1);
    expect(moments("model.norm.weight").mean).toBeCloseTo(1, 1);
    expect(moments("lm_head.weight").deviation).toBeCloseTo(2.5 / Math.sqrt(96), 1);
    const scales = new Set(file.bytes("model.layers.0.mlp.experts.gate_up_proj_scales"));
    expect(scales.size).toBe(3);
  });

  it("writes the numbers of the shape into both configs", () => {
    const read = (folder: string) => JSON.parse(readFileSync(path.join(folder, "config.json"), "utf8"));
    expect(read(generate({ contextLength: 8192, window: 7 }))).toMatchObject({
      model_type: "gpt_oss",
      num_hidden_layers: 2,
      max_position_embeddings: 8192,
      sliding_window: 7,
      layer_types: ["sliding_attention", "full_attention"],
    });
    expect(read(generate({ layout: "original" }))).toMatchObject({ num_hidden_layers: 2, num_experts: 8 });
  });
});

describe("sized", () => {
  it.each([
    [20e6, 2e6],
    [300e6, 2e6],
    [1e9, 35e6],
    [5e9, 35e6],
  ])("%d bytes, within %d", (bytes, within) => {
    expect(Math.abs(checkpointBytes(sized(bytes)) - bytes)).toBeLessThan(within);
  });

  it("returns the number of bytes that are written", () => {
    const folder = path.join(root, "sized");
    const { bytes } = writeCheckpoint(folder, sized(20e6));
    const overhead = statSync(path.join(folder, "model.safetensors")).size - bytes;
    expect(bytes).toBe(checkpointBytes(sized(20e6)));
    expect(overhead).toBeGreaterThan(0);
    expect(overhead).toBeLessThan(50_000);
  });
});
