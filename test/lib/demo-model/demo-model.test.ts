import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import {
  closeSync,
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { readFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { packageRoot } from "../../../lib/binding.js";
import { expandPack } from "../../../lib/demo-model/expand.js";
import { demoModelLabel, demoModelPath, demoModelTrained } from "../../../lib/demo-model/index.js";

// The digest and size of the file that test/demo-recipe/expand.py writes from the same pack.
const modelSha256 = "fc28e828bef0cf315cf602f5d2978812c774698caab0b8b34b35bcb1a16f9d36";
const modelBytes = 105_154_504;

const root = mkdtempSync(path.join(tmpdir(), "gpt-oss-demo-model-"));
afterAll(() => rmSync(root, { recursive: true }));

let caches = 0;
/** An environment in which every possible cache folder is new. */
let environment: Record<string, string>;

beforeEach(() => {
  const cache = path.join(root, `cache-${caches++}`);
  environment = { XDG_CACHE_HOME: cache, HOME: cache, LOCALAPPDATA: cache };
  for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
});
afterEach(() => vi.unstubAllEnvs());

async function sha256(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/** Starts another process that expands the model into the same cache and prints the folder. */
function expandElsewhere(): { child: ChildProcess; output: Promise<string> } {
  const script =
    "import { demoModelPath } from './lib/demo-model/index.ts'; process.stdout.write(await demoModelPath())";
  const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script], {
    cwd: packageRoot,
    env: { ...process.env, ...environment },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const output = new Promise<string>((resolve) => {
    let text = "";
    child.stdout!.on("data", (chunk) => {
      text += chunk;
    });
    child.on("close", () => resolve(text));
  });
  return { child, output };
}

function overwrite(file: string, bytes: string, position: number): void {
  const open = openSync(file, "r+");
  writeSync(open, bytes, position);
  closeSync(open);
}

const files = (folder: string) => readdirSync(folder).sort();

describe("demoModelPath", () => {
  it("expands the pack into a checkpoint, once", async () => {
    const folder = await demoModelPath();
    const model = path.join(folder, "model.safetensors");
    expect(files(folder)).toEqual(["config.json", "model.safetensors"]);
    expect(await sha256(model)).toBe(modelSha256);
    expect(JSON.parse(await readFile(path.join(folder, "config.json"), "utf8"))).toMatchObject({
      model_type: "gpt_oss",
      vocab_size: 201088,
      num_hidden_layers: 4,
    });
    const { mtimeMs } = statSync(model);
    expect(await demoModelPath()).toBe(folder);
    expect(statSync(model).mtimeMs).toBe(mtimeMs);
  });

  it("leaves the rows of absent tokens as holes, where the file system has them", async () => {
    const info = statSync(path.join(await demoModelPath(), "model.safetensors"));
    expect(info.size).toBe(modelBytes);
    expect(info.blocks * 512).toBeLessThan(process.platform === "linux" ? 30_000_000 : 110_000_000);
  });

  it("works in several processes at once", async () => {
    const outputs = await Promise.all([expandElsewhere(), expandElsewhere(), expandElsewhere()].map((p) => p.output));
    const folder = await demoModelPath();
    expect(outputs).toEqual([folder, folder, folder]);
    expect(files(folder)).toEqual(["config.json", "model.safetensors"]);
    expect(await sha256(path.join(folder, "model.safetensors"))).toBe(modelSha256);
  });

  it("never uses a partial file as a model after the process was killed", async () => {
    const { child, output } = expandElsewhere();
    const parts = () =>
      existsSync(environment.XDG_CACHE_HOME!)
        ? readdirSync(environment.XDG_CACHE_HOME!, { recursive: true, encoding: "utf8" }).filter((f) =>
            f.includes("model."),
          )
        : [];
    while (parts().length === 0 && child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 1));
    child.kill("SIGKILL");
    await output;
    const whole = parts().filter((name) => name.endsWith(".safetensors"));
    for (const name of whole) expect(statSync(path.join(environment.XDG_CACHE_HOME!, name)).size).toBe(modelBytes);
    const folder = await demoModelPath();
    expect(files(folder)).toEqual(["config.json", "model.safetensors"]);
    expect(await sha256(path.join(folder, "model.safetensors"))).toBe(modelSha256);
  });

  it.each([
    ["a model file that is cut off", (folder: string) => truncateSync(path.join(folder, "model.safetensors"), 1000)],
    ["a missing model file", (folder: string) => rmSync(path.join(folder, "model.safetensors"))],
    ["a config that is cut off", (folder: string) => truncateSync(path.join(folder, "config.json"), 10)],
    ["a missing config", (folder: string) => rmSync(path.join(folder, "config.json"))],
    ["a wrong weight", (folder: string) => overwrite(path.join(folder, "model.safetensors"), "x", 53_000_001)],
    ["a wrong last byte", (folder: string) => overwrite(path.join(folder, "model.safetensors"), "x", modelBytes - 1)],
    ["a hole that is filled", (folder: string) => overwrite(path.join(folder, "model.safetensors"), "x", 30_000_000)],
  ])("rebuilds a cache with %s", async (_, damage) => {
    const folder = await demoModelPath();
    damage(folder);
    expect(await demoModelPath()).toBe(folder);
    expect(await sha256(path.join(folder, "model.safetensors"))).toBe(modelSha256);
    expect(JSON.parse(await readFile(path.join(folder, "config.json"), "utf8")).hidden_size).toBe(128);
  });

  it("deletes files that killed processes left an hour ago, but no file that another process may be writing", async () => {
    const folder = await demoModelPath();
    const [old, fresh] = ["model.safetensors.old.partial", "model.safetensors.fresh.partial"];
    for (const name of [old, fresh]) writeFileSync(path.join(folder, name!), "");
    const twoHoursAgo = Date.now() / 1000 - 7200;
    utimesSync(path.join(folder, old!), twoHoursAgo, twoHoursAgo);
    await demoModelPath();
    expect(files(folder)).toEqual(["config.json", "model.safetensors", fresh]);
  });

  it("deletes at once the files of ended processes of this machine", async () => {
    const folder = await demoModelPath();
    const host = hostname().replace(/[^A-Za-z0-9-]/g, "-");
    const ended = spawnSync(process.execPath, ["--version"]).pid;
    const name = (machine: string, pid: number) => `config.json.${machine}.${pid}.${randomUUID()}.partial`;
    const theirs = [name(host, process.pid), name("elsewhere", ended)];
    for (const file of [name(host, ended), ...theirs]) writeFileSync(path.join(folder, file), "");
    await demoModelPath();
    expect(files(folder)).toEqual([...theirs, "config.json", "model.safetensors"].sort());
  });

  it.runIf(process.platform === "linux").each(["/proc", "/dev/null"])(
    "goes to the temporary folder when the cache is to be under %s",
    async (place) => {
      const temporary = path.join(root, `temporary-${randomUUID()}`);
      mkdirSync(temporary);
      vi.stubEnv("XDG_CACHE_HOME", path.join(place, "a/b"));
      vi.stubEnv("TMPDIR", temporary);
      expect((await demoModelPath()).startsWith(temporary)).toBe(true);
    },
  );

  it("reports only that the process may not open more files", async () => {
    const script = `
      import fs from "node:fs";
      import { demoModelPath } from "./lib/demo-model/index.ts";
      for (;;) try { fs.openSync("/"); } catch { break; }
      await demoModelPath().catch(({ code, message }) => process.stdout.write(code + " " + message));`;
    const args = ["--import", "tsx", "--input-type=module", "-e", script];
    const { stdout } = spawnSync("bash", ["-c", 'ulimit -n 100; exec "$0" "$@"', process.execPath, ...args], {
      cwd: packageRoot,
      env: { ...process.env, ...environment },
      encoding: "utf8",
    });
    expect(stdout).toMatch(/^RESOURCE_LIMIT .*EMFILE/);
  });

  it("uses the temporary folder when the cache cannot be written", async () => {
    const file = path.join(root, "a-file");
    writeFileSync(file, "");
    const temporary = path.join(root, "temporary");
    for (const name of Object.keys(environment)) vi.stubEnv(name, file);
    for (const name of ["TMPDIR", "TEMP", "TMP"]) vi.stubEnv(name, temporary);
    const folder = await demoModelPath();
    expect(folder.startsWith(temporary)).toBe(true);
    expect(files(folder)).toEqual(["config.json", "model.safetensors"]);
  });

  it("names every folder it tried when none can be written", async () => {
    const file = path.join(root, "another-file");
    writeFileSync(file, "");
    for (const name of [...Object.keys(environment), "TMPDIR", "TEMP", "TMP"]) vi.stubEnv(name, file);
    await expect(demoModelPath()).rejects.toMatchObject({
      name: "GptOssError",
      code: "MODEL_NOT_FOUND",
      message: expect.stringMatching(/20 MB of disk.*another-file.*another-file/s),
    });
  });
});

describe("expandPack", () => {
  const pack = readFile(path.join(packageRoot, "lib/demo-model/demo-model.safetensors"));

  it("places each row of the token tables", async () => {
    const { pieces } = expandPack(await pack);
    const header = JSON.parse(Buffer.from(pieces[0]!.bytes.subarray(8)).toString("utf8"));
    expect(header["lm_head.weight"]).toMatchObject({ dtype: "BF16", shape: [201088, 128] });
    const at = pieces[0]!.bytes.length + header["lm_head.weight"].data_offsets[0] + 200002 * 256;
    const row = pieces.find(({ position, bytes }) => position <= at && at < position + bytes.length)!;
    const stopRow = row.bytes.subarray(at - row.position, at - row.position + 256);
    expect(stopRow.some((byte) => byte !== 0)).toBe(true);
  });

  it("has the documented number of trained parameters", async () => {
    const bytes = await pack;
    const end = 8 + Number(bytes.readBigUInt64LE(0));
    const { __metadata__, tokens, ...weights } = JSON.parse(bytes.toString("utf8", 8, end)) as Record<
      string,
      { shape: number[] }
    >;
    // A byte of MXFP4 blocks has two parameters. Scales are not parameters.
    const perElement = (name: string) => (name.endsWith("_blocks") ? 2 : name.endsWith("_scales") ? 0 : 1);
    const counts = Object.entries(weights).map(
      ([name, { shape }]) => perElement(name) * shape.reduce((product, size) => product * size, 1),
    );
    expect(tokens!.shape).toEqual([demoModelTrained.tokens]);
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(demoModelTrained.parameters);
  });

  it("covers the file from the front without overlaps", async () => {
    const { pieces } = expandPack(await pack);
    const sorted = [...pieces].sort((a, b) => a.position - b.position);
    for (const [i, piece] of sorted.slice(1).entries()) {
      expect(piece.position).toBeGreaterThanOrEqual(sorted[i]!.position + sorted[i]!.bytes.length);
    }
  });

  it.each([
    ["an empty file", (bytes: Buffer) => bytes.subarray(0, 0)],
    ["a cut header", (bytes: Buffer) => bytes.subarray(0, 100)],
    ["cut data", (bytes: Buffer) => bytes.subarray(0, bytes.length - 1)],
    ["another file", () => Buffer.from("\u0002\0\0\0\0\0\0\0{}")],
  ])("refuses %s", async (_, change) => {
    const damaged = change(await pack);
    expect(() => expandPack(damaged)).toThrowError(expect.objectContaining({ code: "MODEL_FORMAT" }));
  });
});

it("has a label that says that it is not gpt-oss", () => {
  expect(demoModelLabel).toContain("not gpt-oss");
});
