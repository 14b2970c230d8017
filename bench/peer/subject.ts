import type { DenseType } from "./convert.js";

/** What is measured: either engine, behind the few calls that the bench makes. */
export interface Subject {
  /** Versions, kernels and settings, as the engine tells them. */
  readonly about: Record<string, unknown>;
  /** Room for so many sequences of so many tokens each; what it costs is not part of a measurement of speed. */
  open(sequences: number, tokens: number): Promise<Session>;
}

export interface Session extends AsyncDisposable {
  /** Greedy continuations of all prompts at once, none of which ends early; `arrived` at each token. */
  generate(prompts: number[][], tokens: number, arrived: (sequence: number, token: number) => void): Promise<void>;
  /** Logits after each of the last so many tokens, each a row over the vocabulary. */
  logits(tokens: number[], last: number): Promise<Float32Array[]>;
}

export interface SubjectOptions {
  /** A folder for this engine, a GGUF for the peer. */
  model: string;
  vocab: number;
  dense: DenseType;
  threads: number;
  /** Tokens that the longest sequence has, and sequences at once. */
  contextLength: number;
  sequences: number;
  kvBytes: number;
  /** Options of Engine.load, set by hand. */
  extra: Record<string, unknown>;
}

export type SubjectName = "ours" | "peer";
