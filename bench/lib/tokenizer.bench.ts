// The tokenizer beside two others from npm, on the same texts in the same process, in turns.
import { spawnSync } from "node:child_process";
import * as gptTokenizer from "gpt-tokenizer/encoding/o200k_base";
import { get_encoding } from "tiktoken";
import type { NewRow } from "../../lib/bench/rows.js";
import { measured } from "../../lib/bench/statistics.js";
import { tokenizer } from "../../lib/tokenizer/index.js";
import { tokenText } from "../../lib/tokenizer/token-table.js";
import { cpuMilliseconds, type LibBench, type LibBenches, rowsOf, type Times, timesOf } from "./bench.js";
import { traps, upTo, wellFormed } from "./texts.js";

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

/** The same call of all contenders that encode this text like the reference. The others are left out and named. */
function callsOf(text: string, call: (contender: Contender) => () => unknown, note: LibBench["note"]) {
  const expected = tokenizer.encode(text);
  const agreeing = peers.filter(({ name, encode }) => {
    const ids = encode(text);
    const same = ids.length === expected.length && expected.every((id, i) => id === ids[i]);
    if (!same) note(`${name} encodes this text differently and is left out`);
    return same;
  });
  return Object.fromEntries([ours, ...agreeing].map((contender) => [contender.name, call(contender)]));
}

/** What identifies a text, and its tokens. */
function textOf(name: string, text: string) {
  return { parameters: { text: name, bytes: Buffer.byteLength(text) }, tokens: tokenizer.count(text) };
}

const compared = ours.name;

function* encode({ corpus, rounds, note }: LibBench): Generator<NewRow> {
  for (const [name, text] of Object.entries(corpus)) {
    const calls = callsOf(text, (one) => () => one.encode(text), note);
    yield* rowsOf({ name: "encode", ...textOf(name, text), unit: "us", compared, times: timesOf(calls, rounds) });
  }
}

/** The second half of a text, right after its first half and after many other texts were encoded. */
function* fresh({ corpus, rounds }: LibBench): Generator<NewRow> {
  for (const [name, text] of Object.entries(corpus)) {
    const middle = Math.floor(text.length / 2);
    const [before, after] = [wellFormed(text.slice(0, middle)), wellFormed(text.slice(middle))];
    const others = Object.values(corpus).filter((other) => other !== text && other !== corpus.mixed);
    const times: Times = Object.fromEntries([ours, ...peers].map((one) => [one.name, []]));
    for (let turn = 0; turn < rounds; turn++) {
      for (const contender of [ours, ...peers]) {
        gptTokenizer.clearMergeCache();
        for (const other of name === "mixed" ? [] : others) contender.encode(other);
        contender.encode(before);
        const started = cpuMilliseconds();
        contender.encode(after);
        times[contender.name]!.push(cpuMilliseconds() - started);
      }
    }
    yield* rowsOf({ name: "fresh", ...textOf(name, after), unit: "us", compared, times });
  }
}

/** Reads a character of each text, because V8 flattens a concatenated string only at the first read. */
function* decode({ corpus, rounds, note }: LibBench): Generator<NewRow> {
  for (const [name, text] of Object.entries(corpus)) {
    const ids = tokenizer.encode(text);
    const calls = callsOf(text, (one) => () => one.decode(ids).charCodeAt(0), note);
    yield* rowsOf({ name: "decode", ...textOf(name, text), unit: "us", compared, times: timesOf(calls, rounds) });
  }
}

/** One token after the other. */
function* stream({ corpus, rounds }: LibBench): Generator<NewRow> {
  const text = corpus.mixed!;
  const ids = tokenizer.encode(text);
  const calls = {
    stream: () => {
      const stream = tokenizer.stream();
      for (const id of ids) stream.push(id);
    },
    tokenText: () => {
      for (const id of ids) tokenText(id);
    },
  };
  yield* rowsOf({ name: "stream", ...textOf("mixed", text), unit: "us", times: timesOf(calls, rounds) });
}

/** Prompts from all over the text, one after the other, so that none is always in the caches. */
function* prompt({ corpus, rounds, note }: LibBench): Generator<NewRow> {
  for (const name of ["english", "mixed", "code"]) {
    const text = corpus[name]!;
    for (const bytes of [1000, 10_000]) {
      const prompts: string[] = [];
      for (let at = 0; prompts.length < 64; at += prompts.at(-1)!.length) {
        const prompt = upTo(text.slice(at), bytes);
        if (Buffer.byteLength(prompt) < bytes - 3) break; // the rest is shorter
        prompts.push(prompt);
      }
      const callOf = (one: Contender) => {
        let i = 0;
        return () => one.encode(prompts[i++ % prompts.length]!);
      };
      const times = timesOf(callsOf(prompts.join("\n"), callOf, note), rounds);
      yield* rowsOf({ name: "prompt", parameters: { text: name, bytes }, unit: "us", compared, times });
    }
    const long = tokenizer.decode(tokenizer.encode(text.repeat(4)).slice(0, 100_000)).replace(/\ufffd+$/, "");
    const times = timesOf(
      callsOf(long, (one) => () => one.encode(long), note),
      rounds,
    );
    yield* rowsOf({ name: "prompt", ...textOf(name, long), unit: "us", compared, times });
  }
}

function* count({ corpus, rounds }: LibBench): Generator<NewRow> {
  const buffer = new Uint32Array(1 << 20);
  for (const name of ["english", "mixed"]) {
    const text = corpus[name]!;
    const calls = {
      encode: () => tokenizer.encode(text),
      count: () => tokenizer.count(text),
      encodeInto: () => tokenizer.encodeInto(text, buffer),
    };
    yield* rowsOf({ name: "count", ...textOf(name, text), unit: "us", times: timesOf(calls, rounds) });
  }
}

/** One long piece. The peers are quadratic there: they encode a shorter one, once. */
function* trap({ rounds, peerTraps }: LibBench): Generator<NewRow> {
  const short = traps(peerTraps);
  for (const [name, text] of Object.entries(traps(100_000))) {
    const millisecondsOf = (encode: Contender["encode"], text: string) => {
      const started = cpuMilliseconds();
      encode(text);
      return cpuMilliseconds() - started;
    };
    const times = { ours: Array.from({ length: rounds }, () => millisecondsOf(ours.encode, text)) };
    yield* rowsOf({ name: "trap", ...textOf(name, text), unit: "us", times });
    for (const peer of peers) {
      const once = { [peer.name]: [millisecondsOf(peer.encode, short[name]!)] };
      yield* rowsOf({ name: "trap", ...textOf(name, short[name]!), unit: "us", times: once });
    }
  }
}

/** The wall-clock time until one long prompt has its tokens, and how long the event loop is blocked meanwhile. */
async function* async({ corpus, rounds }: LibBench): AsyncGenerator<NewRow> {
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
    for (let turn = -1; turn < rounds; turn++) {
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
    yield {
      bench: "lib",
      name: "async",
      parameters: { call: name },
      values: {
        time: measured(milliseconds, "ms", "less"),
        eventLoopAway: measured(away, "ms", "less"),
      },
      about: { clock: "wall" },
    };
  }
}

/** In a new process: the first token, which loads the vocabulary, and then the same in a worker thread. */
function* load({ rounds }: LibBench): Generator<NewRow> {
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
  const runs = Array.from({ length: rounds }, () => {
    const child = spawnSync(process.execPath, ["--import", "tsx", "--input-type=module", "-e", source], {
      encoding: "utf8",
    });
    if (child.status !== 0) throw new Error(child.stderr);
    return JSON.parse(child.stdout) as { wall: number; cpu: number; inWorker: number };
  });
  const over = (key: keyof (typeof runs)[number]) =>
    measured(
      runs.map((run) => run[key]),
      "ms",
      "less",
    );
  yield {
    bench: "lib",
    name: "load",
    parameters: {},
    values: { time: over("cpu"), wall: over("wall"), inASecondThread: over("inWorker") },
    about: { clock: "process" },
  };
}

export const tokenizerBenches: LibBenches = { encode, fresh, decode, stream, prompt, count, trap, async, load };
