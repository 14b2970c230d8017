import type { DenseType } from "./convert.js";

/** A measured engine: the few calls that the bench makes. */
export interface Subject {
  /** Versions, kernels and settings, as the engine reports them. */
  readonly about: Record<string, unknown>;
  /** Reserves room for `sequences` sequences of `tokens` tokens each. A measurement of speed does not include it. */
  open(sequences: number, tokens: number): Promise<Session>;
}

export interface Session extends AsyncDisposable {
  /** Greedy continuations of all prompts at once; none ends early. `arrived` is called at each token. */
  generate(prompts: number[][], tokens: number, arrived: (sequence: number, token: number) => void): Promise<void>;
  /** Logits after each of the `last` last tokens; each row covers the vocabulary. */
  logits(tokens: number[], last: number): Promise<Float32Array[]>;
}

export interface SubjectOptions {
  /** A folder for this engine, a GGUF for the peer. */
  model: string;
  vocab: number;
  dense: DenseType;
  threads: number;
  /** The length of the longest sequence, and the number of concurrent sequences. */
  contextLength: number;
  sequences: number;
  kvBytes: number;
  /** Options of Engine.load from the command line. */
  extra: Record<string, unknown>;
}

export type SubjectName = "ours" | "peer";
