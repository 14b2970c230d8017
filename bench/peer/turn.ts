// One turn of one engine, in a separate process: `main.ts` starts it, sends the task, and receives the results.
import { loadOurs } from "./ours.js";
import { loadPeer } from "./peer.js";
import { disturbanceSince, memory, processorTimes } from "./process.js";
import type { Subject, SubjectName, SubjectOptions } from "./subject.js";

export interface Measurements {
  /** Lengths of prompts. */
  prefill: number[];
  /** Counts of sequences that decode together. */
  sequences: number[];
  /** Tokens that each of them decodes after its first. */
  decodeTokens: number;
}

export type Task = { subject: SubjectName; options: SubjectOptions; seed: number } & (
  | { kind: "measure"; measurements: Measurements }
  /** For the comparison of outputs: logits over a prompt, and greedy continuations of its beginnings. */
  | { kind: "answer"; prompt: number[]; last: number; continuations: { prompt: number[]; tokens: number }[] }
);

export interface Turn {
  about: Record<string, unknown>;
  /** From the import of the package until the model is ready. */
  loadMilliseconds: number;
  /** From the start of the process to the first token of a short prompt. */
  firstTokenMilliseconds: number;
  /** Tokens per second, by the length of the prompt. */
  prefill: Record<string, number>;
  /** Tokens per second of all sequences together, by their count. */
  decode: Record<string, number>;
  memory: ReturnType<typeof memory>;
  disturbance: ReturnType<typeof disturbanceSince>;
}

export interface Answer {
  about: Record<string, unknown>;
  logits: Float32Array[];
  continuations: number[][];
}

export interface Failure {
  failure: string;
}

export const firstPromptTokens = 16;
export const decodePromptTokens = 32;

async function measure(subject: Subject, loadMilliseconds: number, task: Task & { kind: "measure" }): Promise<Turn> {
  const { prefill, sequences, decodeTokens } = task.measurements;
  const random = randomTokens(task.seed, task.options.vocab);
  await generate(subject, [random(firstPromptTokens)], 1);
  const firstTokenMilliseconds = performance.now(); // counts from the start of the process

  // The speed measurements below start when all pages of the weights have been touched.
  await generate(subject, [random(Math.min(...prefill))], 4);
  const turn: Turn = {
    about: subject.about,
    loadMilliseconds,
    firstTokenMilliseconds,
    prefill: {},
    decode: {},
    memory: memory(),
    disturbance: { others: 0, steal: 0 },
  };
  const before = processorTimes();
  for (const length of prefill) {
    turn.prefill[length] = (1000 * length) / (await generate(subject, [random(length)], 1));
  }
  for (const count of sequences) {
    const prompts = Array.from({ length: count }, () => random(decodePromptTokens));
    const first = await generate(subject, prompts, 1);
    const all = await generate(subject, prompts, decodeTokens + 1);
    turn.decode[count] = (1000 * count * decodeTokens) / (all - first);
  }
  turn.disturbance = disturbanceSince(before);
  turn.memory = memory();
  return turn;
}

/**
 * Milliseconds until each sequence has its `tokens` tokens. The decode time is the difference of two such values, not
 * the time between arrivals. An engine whose threads use the whole machine continues while its reader waits, and the
 * reader then finds many tokens at once.
 */
async function generate(subject: Subject, prompts: number[][], tokens: number): Promise<number> {
  await using session = await subject.open(prompts.length, Math.max(...prompts.map(({ length }) => length)) + tokens);
  const started = performance.now();
  await session.generate(prompts, tokens, () => {});
  return performance.now() - started;
}

async function answer(subject: Subject, task: Task & { kind: "answer" }): Promise<Answer> {
  const continuations: number[][] = [];
  for (const { prompt, tokens } of task.continuations) {
    const continuation: number[] = [];
    await using session = await subject.open(1, prompt.length + tokens);
    await session.generate([prompt], tokens, (_, token) => continuation.push(token));
    continuations.push(continuation);
  }
  await using session = await subject.open(1, task.prompt.length + 1);
  return { about: subject.about, logits: await session.logits(task.prompt, task.last), continuations };
}

/** Prompts of ordinary token ids, below the special tokens; the same prompts for both engines of a pair. */
export function randomTokens(seed: number, vocab: number): (count: number) => number[] {
  let state = seed >>> 0;
  const limit = Math.min(vocab - 8, 199_998);
  return (count) =>
    Array.from({ length: count }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return (state >>> 8) % limit;
    });
}

process.once("disconnect", () => process.exit(1)); // the run was interrupted
process.once("message", async (task: Task) => {
  process.send!(await take(task), () => process.exit(0)); // without cleanup: the time to close is not measured
});

async function take(task: Task): Promise<Turn | Answer | Failure> {
  try {
    const started = performance.now();
    const subject = await (task.subject === "ours" ? loadOurs : loadPeer)(task.options);
    const loadMilliseconds = performance.now() - started;
    return await (task.kind === "measure" ? measure(subject, loadMilliseconds, task) : answer(subject, task));
  } catch (error) {
    return { failure: (error as Error).message };
  }
}
