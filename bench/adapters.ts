// npm run bench:adapters: the decode of one stream and of eight with no adapter, with one for all, and with eight, on
// random weights.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { Engine } from "../lib/index.js";
import { type Factors, writeAdapter } from "../test/support/adapter-files.js";
import { presets, writeCheckpoint } from "../test/support/checkpoint.js";
import { seededRandom } from "../test/support/random.js";
import { counts, UsageError } from "./support/arguments.js";
import { commit, machine } from "./support/machine.js";
import { summarize } from "./support/statistics.js";

const help = `Usage: npm run bench:adapters -- [options]

  --model NAME     a checkpoint or a synthetic model (default: random weights of the shape "small")
  --rank N         rank of the adapters (default: 16)
  --rounds N       rounds; each measures every case once (default: 7)
  --tokens N       tokens of an answer (default: 48)
  --threads N      threads of the engine (default: one per core)
`;

type Info = Engine["info"]["model"];

/** Small random factors of attention, and of all experts if asked for. */
function factorsOf(c: Info, rank: number, withExperts: boolean, seed: number): Factors[] {
  const random = seededRandom(seed);
  const values = (count: number) => Float32Array.from({ length: count }, () => (random() - 0.5) / 64);
  const q = c.heads * c.headDim;
  const kv = c.kvHeads * c.headDim;
  const matrices: [string, number, number][] = [
    ["self_attn.q_proj", c.hidden, q],
    ["self_attn.k_proj", c.hidden, kv],
    ["self_attn.v_proj", c.hidden, kv],
    ["self_attn.o_proj", q, c.hidden],
  ];
  for (let e = 0; withExperts && e < c.experts; e++) {
    matrices.push([`mlp.experts.gate_up_projs.${e}`, c.hidden, 2 * c.intermediate]);
    matrices.push([`mlp.experts.down_projs.${e}`, c.intermediate, c.hidden]);
  }
  return Array.from({ length: c.layers }, (_, layer) =>
    matrices.map(([name, inputs, outputs]) => ({
      module: `model.layers.${layer}.${name}`,
      a: values(rank * inputs),
      b: values(outputs * rank),
    })),
  ).flat();
}

interface Times {
  /** Milliseconds of a step. */
  step: number;
  /** CPU milliseconds of the whole process for each token, prompts included. */
  cpu: number;
}

/** Decodes `names.length` streams, each with its adapter; "": none. */
async function decode(engine: Engine, names: readonly string[], tokens: number): Promise<Times> {
  const before = process.cpuUsage();
  const runs = names.map((adapter, i) => {
    const prompt = Array.from({ length: 4 }, (_, k) => (k * 97 + i * 31) % 500);
    return engine.generate(prompt, {
      maxTokens: tokens,
      temperature: 0,
      ignoreEos: true,
      ...(adapter !== "" && { adapter }),
    }).result;
  });
  const done = await Promise.all(runs);
  const { user, system } = process.cpuUsage(before);
  return {
    step: summarize(done.map(({ timings }) => timings.decodeMilliseconds / (tokens - 1))).median,
    cpu: (user + system) / 1000 / (tokens * names.length),
  };
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      help: { type: "boolean" },
      model: { type: "string", default: "small" },
      rank: { type: "string", default: "16" },
      rounds: { type: "string", default: "7" },
      tokens: { type: "string", default: "48" },
      threads: { type: "string" },
    },
  });
  if (values.help) {
    process.stdout.write(help);
    return;
  }
  const [rank, rounds, tokens] = [values.rank, values.rounds, values.tokens].map((n, i) => {
    return counts(["rank", "rounds", "tokens"][i]!, n, i === 2 ? 2 : 1)[0]!;
  }) as [number, number, number];
  const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-bench-adapters-"));
  try {
    let model = values.model;
    if (model === "small") {
      model = path.join(folder, "model");
      writeCheckpoint(model, presets.small);
    }
    await using engine = await Engine.load(model, {
      backend: "cpu",
      contextLength: 1024,
      prefixCache: false,
      ...(values.threads !== undefined && { threads: counts("threads", values.threads)[0]! }),
    });
    const { backend, isa, numerics, threads, model: config } = engine.info;
    const loaded: Record<string, number> = {};
    for (const kind of ["attention", "experts"]) {
      for (let i = 0; i < 8; i++) {
        const at = path.join(folder, "adapter");
        writeAdapter(at, rank, factorsOf(config, rank, kind === "experts", i + 1));
        loaded[kind] = (await engine.loadAdapter(`${kind}-${i}`, at)).bytes;
      }
    }
    const eight = Array.from({ length: 8 }, (_, i) => i);
    const cases: { streams: number; adapters: number; kind: string; names: string[] }[] = [
      { streams: 1, adapters: 0, kind: "none", names: [""] },
      { streams: 8, adapters: 0, kind: "none", names: eight.map(() => "") },
    ];
    for (const kind of ["attention", "experts"]) {
      cases.push({ streams: 1, adapters: 1, kind, names: [`${kind}-0`] });
      cases.push({ streams: 8, adapters: 1, kind, names: eight.map(() => `${kind}-0`) });
      cases.push({ streams: 8, adapters: 8, kind, names: eight.map((i) => `${kind}-${i}`) });
    }
    const times = cases.map((): Times[] => []);
    for (let round = 0; round <= rounds; round++) {
      for (const [i, { names }] of cases.entries()) {
        const taken = await decode(engine, names, tokens);
        if (round > 0) times[i]!.push(taken); // the first round warms up
      }
    }
    for (const [i, { streams, adapters, kind }] of cases.entries()) {
      const base = times[cases.findIndex((other) => other.streams === streams && other.adapters === 0)]!;
      const line = {
        bench: "adapters",
        commit: commit(),
        machine: machine(),
        model: values.model,
        ...{ backend, isa, threads, numerics, rank, streams, adapters, kind },
        adapterBytes: loaded[kind] ?? 0,
        tokensPerSecond: summarize(times[i]!.map(({ step }) => (1000 * streams) / step)),
        cpuMillisecondsPerToken: summarize(times[i]!.map(({ cpu }) => cpu)),
        timesTheCpuTimeWithout: summarize(times[i]!.map(({ cpu }, round) => cpu / base[round]!.cpu)),
      };
      process.stdout.write(`${JSON.stringify(line)}\n`);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

main().catch((error: unknown) => {
  if (!(error instanceof UsageError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 2;
});
