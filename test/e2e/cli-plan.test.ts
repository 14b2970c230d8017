import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { ModelPlan } from "../../lib/index.js";
import { goldenModel, run } from "../support/cli.js";
import { ggufStart, ModelHome } from "../support/model-home.js";

/** `gpt-oss plan` as a process. test/lib/plan has the numbers, test/docs/plan.test.ts a table of errors. */

const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-plan-"));
copyFileSync(path.join(goldenModel, "config.json"), path.join(folder, "config.json"));
afterAll(() => rmSync(folder, { recursive: true }));

const jsonOf = (text: string) => JSON.parse(text) as ModelPlan;

describe("plan", () => {
  it("shows what a model takes on both backends, and how many conversations fit", async () => {
    const { code, stdout, stderr } = await run(["plan", "120b", "--memory", "84.5GB"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const [cpu, cuda] = stdout.split("On a GPU with CUDA, ");
    expect(cpu).toMatch(/^gpt-oss-120b: 117 billion parameters, 36 layers, context of up to 131072 tokens\n/);
    expect(cpu).toMatch(/\nOn a CPU, \w+, 84\.5 GB free:\n/);
    expect(cpu).toMatch(/\n {2}weights +65\.2 GB {2}in the mapped files/);
    expect(cuda).toMatch(
      /^84\.5 GB free:\n\n {2}weights +65\.3 GB\n {2}workspace +370 MB {2}64 sequences, 2048 tokens/,
    );
    expect(cuda).toMatch(/\n {2}left +18\.3 GB {2}for the KV cache\n/);
    expect(cuda).toMatch(/\n {2}KV cache +18\.3 GB {2}bf16, 396352 tokens, context of 131072\n/);
    expect(cuda).toMatch(/\n {2}KV cache +4096 +8192 +16384 +32768 +65536 +131072\n {2}bf16 +96 +48 +24 +12 +6 +3\n/);
    expect(cuda).toMatch(/\n {2}fp8 +190 +96 +48 +24 +12 +6\n\nIt fits\.\n$/);
  });

  it("knows a released model by each of its names, without files", async () => {
    const args = ["--memory", "84.5GB", "--backend", "cuda", "--json"];
    const home = new ModelHome(); // an empty one
    const [short, ollama] = await Promise.all(
      ["120b", "gpt-oss:120b"].map((name) => run(["plan", name, ...args], "", home.env)),
    );
    home.remove();
    expect(ollama).toEqual(short);
    expect(short).toMatchObject({ code: 0, stderr: "" });
  });

  it("takes the release where its name means several models here, and says so", async () => {
    const home = new ModelHome();
    const none = new ModelHome();
    const names = ["gpt-oss-120b-F16.gguf", "gpt-oss-120b-Q8_0.gguf"];
    home.snapshot("unsloth/gpt-oss-120b-GGUF", Object.fromEntries(names.map((name) => [name, ggufStart("gpt-oss")])));
    const args = ["--memory", "84.5GB", "--backend", "cuda"];
    const [found, released, json, repository] = await Promise.all([
      run(["plan", "120b", ...args], "", home.env),
      run(["plan", "120b", ...args], "", none.env),
      run(["plan", "gpt-oss-120b", ...args, "--json"], "", home.env),
      run(["plan", "unsloth/gpt-oss-120b-GGUF", ...args], "", home.env),
    ]);
    for (const one of [home, none]) one.remove();
    const note = (name: string) =>
      `"${name}" means several models of this machine, so this is the plan of OpenAI's release; "gpt-oss models" lists them`;
    const [first, ...rest] = released.stdout.split("\n");
    expect(found).toEqual({ ...released, stdout: [first, `${note("120b")}.`, ...rest].join("\n") });
    expect(found.code).toBe(0);
    expect(jsonOf(json.stdout)).toMatchObject({ name: "gpt-oss-120b", note: note("gpt-oss-120b"), fits: true });
    expect(repository).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/^gpt-oss: Expected one of .*INVALID_ARGUMENT/),
    });
  });

  it("needs a config alone, and without --memory plans for this machine", async () => {
    const { code, stdout } = await run(["plan", folder, "--backend", "cpu"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`^${path.basename(folder)}: `));
    expect(stdout).toMatch(/\nOn a CPU, [^\n]+ GB free \([^\n]+\):\n/);
  });

  it("counts adapters, those of requests and merged ones", async () => {
    const model = path.resolve("test/golden/models/a");
    const args = ["plan", model, "--memory", "1GB", "--backend", "cpu"];
    const adapters = ["--adapter", `one=${path.resolve("test/golden/adapters/a.peft")}`];
    const memoryOf = async (more: string[]) =>
      jsonOf((await run([...args, ...more, "--json"])).stdout).backends[0]!.memory;
    const without = await memoryOf([]);
    const beside = await memoryOf(adapters);
    expect(without.adapterBytes).toBe(0);
    expect(beside.adapterBytes).toBeGreaterThan(0);
    expect(beside.packedBytes).toBe(without.packedBytes + beside.adapterBytes);
    const merged = await memoryOf([...adapters, "--merge-adapters"]);
    expect(merged.adapterBytes).toBe(0);
    expect(merged.packedBytes).toBeGreaterThan(beside.packedBytes);
    expect((await run([...args, ...adapters])).stdout).toMatch(/\n {2}copies +[^\n]+norms and biases, adapters\n/);
  });

  it("says what helps if it does not fit, and exits with 1", async () => {
    const args = ["plan", "20b", "--memory", "16GB", "--backend", "cuda", "--context", "32768"];
    const { code, stdout, stderr } = await run(args);
    expect(code).toBe(1);
    expect(stdout.slice(stdout.indexOf("It does not fit"))).toBe(
      "It does not fit: with 1 conversation of 32768 tokens it takes 16.2 GB on a GPU, and 16.0 GB are free. " +
        "What helps, with the least loss first:\n  have 16.2 GB free, 191 MB more\n  --batch-tokens 256\n" +
        "  --sequences 1\n  --kv-dtype fp8\n  --context 26624\n",
    );
    expect(stderr).toBe(
      "gpt-oss: gpt-oss-20b does not fit: with 1 conversation of 32768 tokens it takes 16.2 GB on a GPU, " +
        "and 16.0 GB are free; have 16.2 GB free, 191 MB more, or --batch-tokens 256 (OUT_OF_MEMORY)\n",
    );
    for (const helps of [
      ["--batch-tokens", "256"],
      ["--sequences", "1"],
      ["--kv-dtype", "fp8"],
      ["--context", "26624"],
    ]) {
      expect((await run([...args, ...helps])).code, helps.join(" ")).toBe(0);
    }
  });

  it("--kernels adds the kernels of Metal", async () => {
    const args = ["plan", "20b", "--memory", "36GB", "--backend", "metal"];
    const [without, with_] = await Promise.all([run(args), run([...args, "--kernels"])]);
    expect(without.stdout).not.toContain("experts_gate_up");
    expect(with_.stdout).toMatch(/^ {2}One token after 4095: [\d.]+ GB must move\.$/m);
    expect(with_.stdout).toMatch(/^ {2}experts_gate_up +24 {2}4 x 360 x 1 of 128 +849 MB$/m);
    expect(with_.stdout).toMatch(/^ {2}The first 512 tokens of a prompt: [\d.]+ GB must move\.$/m);
  });

  it("--json prints the numbers, also if it does not fit", async () => {
    const fits = await run(["plan", "20b", "--memory", "24GB", "--json"]);
    expect(fits.code).toBe(0);
    expect(jsonOf(fits.stdout)).toMatchObject({ name: "gpt-oss-20b", fits: true, leftOut: [] });
    const not = await run(["plan", "120b", "--memory", "24GB", "--json"]);
    expect(not.code).toBe(1);
    const plan = jsonOf(not.stdout);
    expect(plan).toMatchObject({ fits: false, backends: [{ backend: "cpu" }, { backend: "cuda", fits: false }] });
    for (const { wanted, memory } of plan.backends) expect(wanted.bytes).toBeGreaterThan(memory.availableBytes);
    expect(not.stderr).toMatch(/^gpt-oss: gpt-oss-120b does not fit: .*, or take gpt-oss-20b \(OUT_OF_MEMORY\)\n$/);
  });

  it("takes the short and the long names of options", async () => {
    const args = ["plan", "20b", "--memory", "64GB", "--backend", "cpu", "--isa", "scalar", "--json"];
    const short = ["--context", "9000", "--sequences", "3", "--batch-tokens", "100", "--kv-dtype", "bf16"];
    const long = [
      "--context-length",
      "9000",
      "--max-sequences",
      "3",
      "--max-batch-tokens",
      "100",
      "--kv-dtype",
      "bf16",
    ];
    const [a, b, lower] = await Promise.all([
      run([...args, ...short]),
      run([...args, ...long]),
      run([...args, ...short, "--memory", "64gb"]),
    ]);
    expect(a.stdout).toBe(b.stdout);
    expect(lower.stdout).toBe(a.stdout);
    expect(jsonOf(a.stdout).backends[0]).toMatchObject({
      isa: "scalar",
      kvCacheDtype: "bf16",
      wanted: { conversations: 3, contextLength: 9000 },
      limits: { contextLength: 9000, maxSequences: 3, maxBatchTokens: 100 },
    });
  });

  it.each([
    [["plan"], /missing required argument 'model'/],
    [["plan", "20b", "--memory"], /argument missing/],
    [["plan", "20b", "--memory", "much"], /Expected a size such as "80GB" or "64GiB", .* received "much" \(string\) /],
    [["plan", "20b", "--kv-dtype", "q4"], /Allowed choices are f32, bf16, fp8/],
    [["plan", "20b", "--context", "many"], /Expected an integer/],
    [["plan", "20b", "--context", "131073", "--memory", "1TB"], /131073 is more than the model's 131072 tokens/],
    [
      ["plan", "20b", "--backend", "tpu"],
      /Expected "auto", "cpu", "cuda", "cuda:N" or "metal" for backend but received "tpu"/,
    ],
  ])("is used wrongly: %j", async (args, message) => {
    const { code, stdout, stderr } = await run(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(message);
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
  });
});
