import { readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { difference } from "../support/compare.js";
import { SafetensorsFile } from "../support/safetensors.js";

/** Reads the tensors of a forward pass of the engine (GPT_OSS_DUMP) or of the oracle, and compares two passes. */

export interface Tap {
  shape: number[];
  values: Float64Array;
}

export type Taps = Map<string, Tap>;

/** The taps of a layer, in the order of computation. The taps of the head follow the last layer. */
const ofLayer = [
  ...["attn_norm", "q_rope", "k_rope", "v", "attn", "attn_out"],
  ...["mlp_norm", "router_logits", "expert_index", "expert_weight", "mlp_out", "out"],
];
const ofHead = ["final_norm", "logits"];

/** @param place a folder written through GPT_OSS_DUMP, or a file of `oracle.py --dump` */
export function readTaps(place: string): Taps {
  return statSync(place).isDirectory() ? ofEngine(place) : ofOracle(place);
}

function ofOracle(file: string): Taps {
  const tensors = new SafetensorsFile(file);
  const taps: Taps = new Map();
  for (const [name, { dtype, shape }] of tensors.tensors) {
    const values = dtype === "F64" ? tensors.f64(name) : dtype === "F32" ? tensors.f32(name) : tensors.i32(name);
    taps.set(name, { shape, values: Float64Array.from(values) });
  }
  return taps;
}

/** Returns the concatenated rows of all steps. */
function ofEngine(folder: string): Taps {
  const steps = readdirSync(folder).filter((name) => /^step-\d+$/.test(name));
  if (steps.length === 0) throw new Error(`${folder} has no step-0: expected a folder that GPT_OSS_DUMP has named`);
  steps.sort((a, b) => Number(a.slice(5)) - Number(b.slice(5)));
  const parts = new Map<string, Tap[]>();
  for (const step of steps) {
    for (const file of readdirSync(path.join(folder, step))) {
      const name = path.basename(file, ".npy");
      parts.set(name, [...(parts.get(name) ?? []), readNpy(path.join(folder, step, file))]);
    }
  }
  return new Map([...parts].map(([name, taps]) => [name, joined(taps)]));
}

function joined(parts: Tap[]): Tap {
  const rows = parts.reduce((sum, { shape }) => sum + shape[0]!, 0);
  const values = new Float64Array(parts.reduce((sum, part) => sum + part.values.length, 0));
  let at = 0;
  for (const part of parts) {
    values.set(part.values, at);
    at += part.values.length;
  }
  return { shape: [rows, ...parts[0]!.shape.slice(1)], values };
}

function readNpy(file: string): Tap {
  const bytes = readFileSync(file);
  const begin = 10 + bytes.readUInt16LE(8);
  const header = bytes.toString("latin1", 10, begin);
  const [, dtype, shape] = /'descr': '(<[fi]4)'.*'shape': \(([\d, ]*)\)/.exec(header) ?? [];
  if (dtype === undefined || shape === undefined) throw new Error(`${file} is no tensor of a dump: ${header}`);
  const data = new Uint8Array(bytes.subarray(begin)).buffer;
  const values = Float64Array.from(dtype === "<f4" ? new Float32Array(data) : new Int32Array(data));
  return {
    shape: shape
      .split(",")
      .filter((text) => text.trim())
      .map(Number),
    values,
  };
}

export interface Comparison {
  name: string;
  shape: number[];
  maxAbs: number;
  maxRel: number;
  /** The place of the largest difference, and both values there. */
  at: number[];
  values: [number, number];
  isOver: boolean;
}

/**
 * Compares the taps that both passes have, in the order of the forward pass. `maxRel` is the largest difference divided
 * by the largest value of the reference. Chosen experts must be equal.
 *
 * @throws Error when the prompts or shapes differ
 */
export function compareTaps(actual: Taps, reference: Taps, tolerance: number): Comparison[] {
  for (const name of ["tokens", "positions"]) {
    const [a, b] = [actual.get(name), reference.get(name)];
    if (a && b && a.values.join() !== b.values.join()) throw new Error(`the two have different ${name}`);
  }
  const names = [...actual.keys()].filter((name) => reference.has(name) && rank(name) !== undefined);
  if (names.length === 0) throw new Error("the two have no tensor in common");
  names.sort((a, b) => rank(a)! - rank(b)!);
  return names.map((name) => {
    const [shape, a, b] = sameRows(name, actual.get(name)!, reference.get(name)!);
    const { maxAbs, maxRel, index } = difference(a, b);
    const relative = maxAbs === 0 ? 0 : maxRel; // both may be all zeros
    const isOver = name.endsWith(".expert_index") ? maxAbs > 0 : !(relative <= tolerance);
    return { name, shape, maxAbs, maxRel: relative, at: place(index, shape), values: [a[index]!, b[index]!], isOver };
  });
}

function rank(name: string): number | undefined {
  const head = ofHead.indexOf(name);
  if (head >= 0) return 1e9 + head;
  const [, layer, tap] = /^(\d+)\.(\w+)$/.exec(name) ?? [];
  return tap !== undefined && ofLayer.includes(tap) ? Number(layer) * ofLayer.length + ofLayer.indexOf(tap) : undefined;
}

/** Returns the rows to compare. For the head, one pass may have only the last positions; only these are compared. */
function sameRows(name: string, a: Tap, b: Tap): [number[], Float64Array, Float64Array] {
  const rows = ofHead.includes(name) ? Math.min(a.shape[0]!, b.shape[0]!) : a.shape[0]!;
  const shape = [rows, ...a.shape.slice(1)];
  const count = shape.reduce((product, extent) => product * extent, 1);
  if ([rows, ...b.shape.slice(1)].join() !== shape.join() || (rows !== b.shape[0] && !ofHead.includes(name))) {
    throw new Error(`${name} is [${a.shape.join(", ")}] in one and [${b.shape.join(", ")}] in the other`);
  }
  return [shape, a.values.subarray(a.values.length - count), b.values.subarray(b.values.length - count)];
}

function place(index: number, shape: number[]): number[] {
  const at: number[] = [];
  for (const extent of shape.toReversed()) {
    at.unshift(index % extent);
    index = Math.floor(index / extent);
  }
  return at;
}
