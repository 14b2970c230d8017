// The tokenizer beside two others from npm, on the same texts in the same process, in turns. bench/README.md explains
// each line.
import { spawnSync } from "node:child_process";
import { parseArgs } from "node:util";
import * as gptTokenizer from "gpt-tokenizer/encoding/o200k_base";
import { get_encoding } from "tiktoken";
import { Bench } from "tinybench";
import { tokenizer } from "../../lib/tokenizer/index.js";
import { tokenText } from "../../lib/tokenizer/token-table.js";
import { commit, machine } from "../support/machine.js";
import { type Summary, summarize } from "../support/statistics.js";
import { texts, traps, upTo, wellFormed } from "./texts.js";

const help = `Usage: npm run bench:tokenizer -- [options]

Encode and decode by language, prompts, single long pieces and loading, beside tiktoken and gpt-tokenizer.
A table on stderr, JSON lines on stdout.

  --only LIST      encode, fresh, decode, prompt, trap, count, async, load     [all of them]
  --rounds N       turns of each measurement                            [7]
  --peer-traps N   characters of the trap rows for the peers, who are quadratic: 100,000 take minutes  [10000]
  --help           this text
`;

interface Contender {
  name: string;
  encode(text: string): ArrayLike<number>;
  decode(ids: Uint32Array): string;
}

const tiktoken = get_encoding("o200k_base");
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
const ordinary = { disallowedSpecial: new Set<string>() };
const ours: Contender = {
  name: "ours",
  encode: (text) => tokenizer.encode(text),
  decode: (ids) => tokenizer.decode(ids),
};
const peers: Contender[] = [
  {
    name: "tiktoken",
    encode: (text) => tiktoken.encode_ordinary(text),
    decode: (ids) => utf8.decode(tiktoken.decode(ids)),
  },
  {
    name: "gpt-tokenizer",
    encode: (text) => gptTokenizer.encode(text, ordinary),
    decode: (ids) => gptTokenizer.decode(ids),
  },
];

/** CPU time of this process in milliseconds. The wall clock would also count other programs. */
const cpuMilliseconds = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

/** A round: milliseconds of one call of each contender, the median of its samples. The order rotates with the round. */
function round(calls: Record<string, () => unknown>, turn: number, milliseconds: number): Record<string, number> {
  // A sample lasts at least 2 ms, so that the clock's steps of 1 µs do not show.
  const bench = new Bench({
    now: cpuMilliseconds,
    time: milliseconds,
    iterations: 1,
    warmup: false,
    retainSamples: true,
  });
  const names = Object.keys(calls);
  const repeats: Record<string, number> = {};
  for (let i = 0; i < names.length; i++) {
    const name = names[(i + turn) % names.length]!;
    const call = calls[name]!;
    const started = cpuMilliseconds();
    call();
    const repeat = Math.min(1000, Math.max(1, Math.ceil(2 / Math.max(cpuMilliseconds() - started, 0.002))));
    repeats[name] = repeat;
    bench.add(name, () => {
      for (let k = 0; k < repeat; k++) call();
    });
  }
  bench.runSync();
  return Object.fromEntries(
    bench.tasks.map(({ name, result }) => {
      if (result.state !== "completed") throw new Error(`${name} did not complete: ${result.state}`);
      return [name, result.latency.p50 / repeats[name]!];
    }),
  );
}

function rounds(count: number, calls: Record<string, () => unknown>, milliseconds = 60): Record<string, number[]> {
  round(calls, 0, milliseconds); // caches, tiers of the compiler
  const times: Record<string, number[]> = {};
  for (let turn = 0; turn < count; turn++) {
    for (const [name, time] of Object.entries(round(calls, turn, milliseconds))) {
      times[name] ??= [];
      times[name].push(time);
    }
  }
  return times;
}

const about = { bench: "tokenizer", commit: commit(), machine: machine() };
const short = ({ median, min, max }: Summary) => `${median} (${min}–${max})`;

function report(row: { measure: string; [field: string]: unknown }): void {
  console.log(JSON.stringify({ ...about, ...row }));
  const { measure, ...fields } = row;
  const cells = Object.entries(fields).map(([name, value]) =>
    value !== null && typeof value === "object" && "median" in value
      ? `${name} ${short(value as Summary)}`
      : `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`,
  );
  console.error(`${measure.padEnd(8)} ${cells.join("  ")}`);
}

/** Speeds or times of all contenders, and how much faster ours is than the fastest peer of the same round. */
function compared(times: Record<string, number[]>, value: (milliseconds: number) => number) {
  const summaries = Object.fromEntries(
    Object.entries(times).map(([name, list]) => [name, summarize(list.map(value))]),
  ) as Record<string, Summary>;
  const others = Object.keys(times).filter((name) => name !== ours.name);
  const ratios = times[ours.name]!.map((time, i) => Math.min(...others.map((name) => times[name]![i]!)) / time);
  return { ...summaries, timesFastestPeer: summarize(ratios) };
}

/** The contenders that encode this text like the reference. The others are left out and named. */
function agreeing(text: string): Contender[] {
  const expected = tokenizer.encode(text);
  return [
    ours,
    ...peers.filter(({ name, encode }) => {
      const ids = encode(text);
      const same = ids.length === expected.length && expected.every((id, i) => id === ids[i]);
      if (!same) console.error(`${name} encodes this text differently and is left out`);
      return same;
    }),
  ];
}

const megabytes = (bytes: number) => (milliseconds: number) => bytes / 1000 / milliseconds;

function encodeRows(corpus: Record<string, string>, count: number): void {
  for (const [name, text] of Object.entries(corpus)) {
    const bytes = Buffer.byteLength(text);
    const calls = Object.fromEntries(agreeing(text).map((c) => [c.name, () => c.encode(text)]));
    const tokens = tokenizer.count(text);
    report({
      measure: "encode",
      text: name,
      bytes,
      tokens,
      unit: "MB/s",
      ...compared(rounds(count, calls), megabytes(bytes)),
    });
  }
}

/** Reads a character of each text, because V8 flattens a concatenated string only at the first read. */
function decodeRows(corpus: Record<string, string>, count: number): void {
  for (const [name, text] of Object.entries(corpus)) {
    const bytes = Buffer.byteLength(text);
    const ids = tokenizer.encode(text);
    const calls: Record<string, () => unknown> = Object.fromEntries(
      agreeing(text).map((c) => [c.name, () => c.decode(ids).charCodeAt(0)]),
    );
    report({
      measure: "decode",
      text: name,
      bytes,
      tokens: ids.length,
      unit: "MB/s",
      ...compared(rounds(count, calls), megabytes(bytes)),
    });
  }
  const ids = tokenizer.encode(corpus.mixed!);
  const times = rounds(count, {
    stream: () => {
      const stream = tokenizer.stream();
      for (const id of ids) stream.push(id);
    },
    tokenText: () => {
      for (const id of ids) tokenText(id);
    },
  });
  const perSecond = (list: number[]) => summarize(list.map((ms) => ids.length / 1e3 / ms));
  report({
    measure: "decode",
    text: "mixed, token by token",
    tokens: ids.length,
    unit: "Mtokens/s",
    stream: perSecond(times.stream!),
    tokenText: perSecond(times.tokenText!),
  });
}

/** Prompts from all over the text, one after the other, so that none is always in the caches. */
function promptRows(corpus: Record<string, string>, count: number): void {
  for (const name of ["english", "mixed", "code"]) {
    const text = corpus[name]!;
    for (const bytes of [1000, 10_000]) {
      const prompts: string[] = [];
      for (let at = 0; prompts.length < 64; at += prompts.at(-1)!.length) {
        const prompt = upTo(text.slice(at), bytes);
        if (Buffer.byteLength(prompt) < bytes - 3) break; // the rest is shorter
        prompts.push(prompt);
      }
      const calls = Object.fromEntries(
        agreeing(prompts.join("\n")).map((c) => {
          let i = 0;
          return [c.name, () => c.encode(prompts[i++ % prompts.length]!)];
        }),
      );
      report({ measure: "prompt", text: name, bytes, unit: "ms", ...compared(rounds(count, calls), (ms) => ms) });
    }
    const long = tokenizer.decode(tokenizer.encode(text.repeat(4)).slice(0, 100_000)).replace(/\ufffd+$/, "");
    const calls = Object.fromEntries(agreeing(long).map((c) => [c.name, () => c.encode(long)]));
    report({
      measure: "prompt",
      text: name,
      bytes: Buffer.byteLength(long),
      tokens: tokenizer.count(long),
      unit: "ms",
      ...compared(rounds(count, calls), (ms) => ms),
    });
  }
}

function countRows(corpus: Record<string, string>, count: number): void {
  const buffer = new Uint32Array(1 << 20);
  for (const name of ["english", "mixed"]) {
    const text = corpus[name]!;
    const times = rounds(count, {
      encode: () => tokenizer.encode(text),
      count: () => tokenizer.count(text),
      encodeInto: () => tokenizer.encodeInto(text, buffer),
    });
    const bytes = Buffer.byteLength(text);
    report({
      measure: "count",
      text: name,
      bytes,
      unit: "MB/s",
      ...Object.fromEntries(Object.entries(times).map(([call, list]) => [call, summarize(list.map(megabytes(bytes)))])),
    });
  }
}

function trapRows(count: number, peerCharacters: number): void {
  const short = traps(peerCharacters);
  for (const [name, text] of Object.entries(traps(100_000))) {
    const times: number[] = [];
    for (let turn = 0; turn < count; turn++) {
      const started = cpuMilliseconds();
      tokenizer.encode(text);
      times.push(cpuMilliseconds() - started);
    }
    const once = Object.fromEntries(
      peers.map((peer) => {
        const started = cpuMilliseconds();
        peer.encode(short[name]!);
        return [peer.name, Number((cpuMilliseconds() - started).toPrecision(4))];
      }),
    );
    report({
      measure: "trap",
      text: name,
      characters: 100_000,
      bytes: Buffer.byteLength(text),
      tokens: tokenizer.count(text),
      unit: "ms",
      ours: summarize(times),
      peersOnce: { characters: peerCharacters, ...once },
    });
  }
}

/** The second half of a text, right after its first half and after many other texts were encoded. */
function freshRows(corpus: Record<string, string>, count: number): void {
  for (const [name, text] of Object.entries(corpus)) {
    const middle = Math.floor(text.length / 2);
    const [before, after] = [wellFormed(text.slice(0, middle)), wellFormed(text.slice(middle))];
    const others = Object.values(corpus).filter((other) => other !== text && other !== corpus.mixed);
    const times: Record<string, number[]> = {};
    for (let turn = 0; turn < count; turn++) {
      for (const { name: contender, encode } of [ours, ...peers]) {
        gptTokenizer.clearMergeCache();
        for (const other of name === "mixed" ? [] : others) encode(other);
        encode(before);
        const started = cpuMilliseconds();
        encode(after);
        times[contender] ??= [];
        times[contender].push(cpuMilliseconds() - started);
      }
    }
    const bytes = Buffer.byteLength(after);
    report({ measure: "fresh", text: name, bytes, unit: "MB/s", ...compared(times, megabytes(bytes)) });
  }
}

/** The wall-clock time until one long prompt has its tokens, and how long the event loop is blocked meanwhile. */
async function asyncRows(corpus: Record<string, string>, count: number): Promise<void> {
  const text = tokenizer.decode(tokenizer.encode(corpus.mixed!.repeat(2)).slice(0, 100_000));
  const batch = Array.from({ length: 64 }, (_, i) => corpus.mixed!.slice(i * 8000, (i + 1) * 8000));
  const calls = {
    "encode, 100k tokens": async () => tokenizer.encode(text),
    "encodeAsync, 100k tokens": () => tokenizer.encodeAsync(text),
    "encodeBatch, 64 texts": () => tokenizer.encodeBatch(batch),
  };
  for (const [name, call] of Object.entries(calls)) {
    const milliseconds: number[] = [];
    const away: number[] = [];
    for (let turn = -1; turn < count; turn++) {
      let [running, last, longest] = [true, performance.now(), 0];
      const look = () => {
        const now = performance.now();
        longest = Math.max(longest, now - last);
        last = now;
        if (running) setImmediate(look);
      };
      setImmediate(look);
      await new Promise((resolve) => setTimeout(resolve, 5));
      longest = 0;
      const started = performance.now();
      await call();
      const done = performance.now();
      await new Promise((resolve) => setImmediate(resolve));
      running = false;
      if (turn < 0) continue;
      milliseconds.push(done - started);
      away.push(longest);
    }
    report({ measure: "async", text: name, unit: "ms", wall: summarize(milliseconds), eventLoopAway: summarize(away) });
  }
}

/** In a new process: the first token, which loads the vocabulary, and then the same in a worker thread. */
function loadRows(count: number): void {
  const source = `
    import { addon } from ${JSON.stringify(new URL("../../lib/binding.ts", import.meta.url).href)};
    import { createRequire } from "node:module";
    import { Worker } from "node:worker_threads";
    const path = addon().path;
    const cpu = () => { const { user, system } = process.cpuUsage(); return (user + system) / 1000; };
    let wall = performance.now(), started = cpu();
    addon().tokenizerCount("a");
    const first = { wall: performance.now() - wall, cpu: cpu() - started };
    const worker = new Worker(\`
      const { parentPort, workerData } = process.getBuiltinModule("node:worker_threads");
      const addon = process.getBuiltinModule("node:module").createRequire(workerData)(workerData);
      const started = performance.now();
      addon.tokenizerCount("a");
      parentPort.postMessage(performance.now() - started);
    \`, { eval: true, workerData: path });
    worker.once("message", (inWorker) => console.log(JSON.stringify({ ...first, inWorker })));
  `;
  const runs = Array.from({ length: count }, () => {
    const child = spawnSync(process.execPath, ["--import", "tsx", "--input-type=module", "-e", source], {
      encoding: "utf8",
    });
    if (child.status !== 0) throw new Error(child.stderr);
    return JSON.parse(child.stdout) as { wall: number; cpu: number; inWorker: number };
  });
  report({
    measure: "load",
    unit: "ms",
    firstToken: summarize(runs.map(({ cpu }) => cpu)),
    firstTokenWall: summarize(runs.map(({ wall }) => wall)),
    inASecondThread: summarize(runs.map(({ inWorker }) => inWorker)),
  });
}

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "encode,fresh,decode,prompt,trap,count,async,load" },
    rounds: { type: "string", default: "7" },
    "peer-traps": { type: "string", default: "10000" },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  console.log(help);
} else {
  const corpus = texts();
  const count = Number(values.rounds);
  const only = new Set(values.only.split(","));
  if (only.has("encode")) encodeRows(corpus, count);
  if (only.has("fresh")) freshRows(corpus, count);
  if (only.has("decode")) decodeRows(corpus, count);
  if (only.has("prompt")) promptRows(corpus, count);
  if (only.has("count")) countRows(corpus, count);
  if (only.has("trap")) trapRows(count, Number(values["peer-traps"]));
  if (only.has("async")) await asyncRows(corpus, count);
  if (only.has("load")) loadRows(count);
}
