import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { demoModelPath } from "../../lib/demo-model/index.js";
import { selfSigned } from "../support/certificate.js";
import { finish, goldenModel, listen, type Run, run, start } from "../support/cli.js";
import { type FakeFile, FakeHub } from "../support/hub.js";
import { large, modelFiles, neededFiles } from "../support/pull.js";
import { Terminal } from "../support/terminal.js";

/** `gpt-oss pull` and `gpt-oss verify` as processes, with a hub on this machine. */

let hub: FakeHub;
let home: string;
let env: NodeJS.ProcessEnv;
const homes: string[] = [];
const terminals: Terminal[] = [];

beforeEach(async () => {
  hub = await FakeHub.start();
  hub.add("openai/gpt-oss-20b", modelFiles());
  home = mkdtempSync(path.join(tmpdir(), "gpt-oss-pull-"));
  homes.push(home);
  const none = {
    HF_TOKEN: "",
    HF_HUB_CACHE: "",
    HF_HUB_OFFLINE: "",
    HTTP_PROXY: "",
    HTTPS_PROXY: "",
    http_proxy: "",
    https_proxy: "",
  };
  env = { ...none, HF_ENDPOINT: hub.endpoint, HF_HOME: home, FORCE_COLOR: undefined };
});
afterEach(async () => {
  for (const terminal of terminals.splice(0)) await terminal.vanish();
  await hub.close();
});
afterAll(() => {
  for (const folder of homes) rmSync(folder, { recursive: true, force: true });
});

const gptOss = (...args: string[]): Promise<Run> => run(args, "", env);

function filesOf(folder: string): Record<string, FakeFile> {
  const names = readdirSync(folder).filter((name) => /\.(json|safetensors)$/.test(name));
  const file = (name: string) => ({
    bytes: readFileSync(path.join(folder, name)),
    isLarge: name.endsWith(".safetensors"),
  });
  return Object.fromEntries(names.map((name) => [name, file(name)]));
}

/** Polls until a condition of the disk holds. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 20));
}

describe("gpt-oss pull", () => {
  it("downloads, says where to, and gives a result for programs", async () => {
    const { code, stdout, stderr } = await gptOss("pull", "20b");
    const { commit } = hub.repositories.get("openai/gpt-oss-20b")!;
    const snapshot = path.join(home, "hub", "models--openai--gpt-oss-20b", "snapshots", commit);
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: `openai/gpt-oss-20b at ${commit.slice(0, 12)}: 9 files, 14.0 kB, all checked\n${snapshot}\n`,
    });
    expect(stderr).toMatch(
      new RegExp(`^Downloading to ${snapshot}: 14\\.0 kB\\n(Downloading: \\d+ %\\n)*Downloading: 100 %\\n$`),
    );
    const again = await gptOss("pull", "openai/gpt-oss-20b", "--json");
    expect(JSON.parse(again.stdout)).toMatchObject({
      repository: "openai/gpt-oss-20b",
      commit,
      folder: snapshot,
      downloadedBytes: 0,
    });
    expect(again.stderr).toMatch(/^Checking 14\.0 kB in .*\n/);
  });

  it("brings a checkpoint that gpt-oss inspect opens", async () => {
    hub.add("me/tiny", filesOf(goldenModel));
    const { code, stdout } = await gptOss("pull", "me/tiny", "--dir", path.join(home, "tiny"));
    expect(code).toBe(0);
    const folder = stdout.trim().split("\n").at(-1)!;
    const inspected = await gptOss("inspect", folder, "--json");
    expect(inspected.code).toBe(0);
    expect(JSON.parse(inspected.stdout)).toMatchObject({ layout: "huggingface", path: folder });
    const cached = await gptOss("pull", "me/tiny", "--json");
    expect((await gptOss("inspect", (JSON.parse(cached.stdout) as { path: string }).path)).code).toBe(0);
  });

  it("stops at Ctrl-C with exit code 130, and goes on with the next call", async () => {
    hub.add("a/b", { "model.safetensors": large(2 ** 24, 1) });
    hub.fault = () => ({ stallAfter: 2 ** 23 });
    const child = start(["pull", "a/b"], env);
    const heard = listen(child.stderr);
    const finished = finish(child);
    await heard.until("Downloading: 50 %");
    child.kill("SIGINT");
    const { code, stdout } = await finished;
    expect({ code, stdout }).toEqual({ code: 130, stdout: "" });
    expect(heard.text).toMatch(/\nStopped; the same command goes on from here\n$/);
    hub.fault = () => undefined;
    const again = await gptOss("pull", "a/b", "--json");
    expect((JSON.parse(again.stdout) as { downloadedBytes: number }).downloadedBytes).toBeLessThanOrEqual(2 ** 23);
  });

  it("goes on where a killed process was", async () => {
    const weights = large(24 * 2 ** 20, 1);
    hub.add("a/b", { "model.safetensors": weights });
    hub.fault = () => ({ stallAfter: 2 ** 24 });
    const child = start(["pull", "a/b", "--dir", path.join(home, "m")], env);
    const partials = path.join(home, "m", ".gpt-oss");
    const record = () => path.join(partials, readdirSync(partials)[0]!, "ranges");
    const written = () =>
      existsSync(partials) &&
      readdirSync(partials).length > 0 &&
      existsSync(record()) &&
      readFileSync(record(), "utf8").split("\n").length > 4;
    const finished = finish(child);
    await until(written);
    child.kill("SIGKILL");
    await finished;
    hub.fault = () => undefined;
    hub.seen.length = 0;
    const { code } = await gptOss("pull", "a/b", "--dir", path.join(home, "m"));
    expect(code).toBe(0);
    expect(Number(/^bytes=(\d+)-/.exec(hub.requestedRanges[0]!)![1])).toBeGreaterThanOrEqual(3 * 4 * 2 ** 20);
    expect(readFileSync(path.join(home, "m", "model.safetensors")).equals(weights.bytes)).toBe(true);
    expect(existsSync(partials)).toBe(false);
  });

  it("is run twice at once without harm", async () => {
    const weights = large(2 ** 24, 1);
    hub.add("a/b", { "model.safetensors": weights });
    const both = await Promise.all([gptOss("pull", "a/b", "--json"), gptOss("pull", "a/b", "--json")]);
    expect(both.map(({ code }) => code)).toEqual([0, 0]);
    const [{ path: model }] = both.map(({ stdout }) => JSON.parse(stdout) as { path: string }) as [{ path: string }];
    expect(readFileSync(path.join(model, "model.safetensors")).equals(weights.bytes)).toBe(true);
  });

  it.each<[string[], number, RegExp]>([
    [
      ["pull", "llama"],
      2,
      /^gpt-oss: Expected a repository such as "openai\/gpt-oss-20b", or .* received "llama" \(string\) \(INVALID_ARGUMENT\)$/,
    ],
    [["pull", "gpt-oss-12b"], 2, /; did you mean openai\/gpt-oss-120b\? \(INVALID_ARGUMENT\)$/],
    [
      ["pull", "openai/gpt-oss-20"],
      1,
      /^gpt-oss: no repository openai\/gpt-oss-20 exists on the hub; did you mean openai\/gpt-oss-20b\? \(MODEL_NOT_FOUND\)$/,
    ],
    [["pull", "20b", "--revision", "v2"], 1, /has no revision "v2"; .* \(MODEL_NOT_FOUND\)$/],
    [["pull", "20b", "--revision", "../x"], 2, /for revision but received "\.\.\/x" \(string\) \(INVALID_ARGUMENT\)$/],
    [
      ["pull", "20b", "--file", "a.gguf"],
      2,
      /^gpt-oss: Expected the name of a \.gguf file of openai\/gpt-oss-20b \(it has none\) for file/,
    ],
    [
      ["pull", "20b", "--dir", ""],
      2,
      /^gpt-oss: Expected a folder for dir but received "" \(string\) \(INVALID_ARGUMENT\)$/,
    ],
    [["pull", "20b", "--dir", "a", "--bundle", "b"], 2, /^gpt-oss: Expected one of --dir and --bundle/],
    [["pull"], 2, /missing required argument 'repository'/],
    [["verify", "nothing/here"], 1, /found no "nothing\/here" .* \(MODEL_NOT_FOUND\)$/],
    [["verify", goldenModel], 1, /^gpt-oss: No checksum is known for .* \(UNSUPPORTED\)$/],
  ])("%j ends with %i", async (args, code, message) => {
    const found = await gptOss(...args);
    expect({ code: found.code, stdout: found.stdout }).toEqual({ code, stdout: "" });
    expect(found.stderr.trimEnd()).toMatch(message);
    expect(found.stderr.trimEnd().split("\n")).toHaveLength(1);
  });

  it("says that it is offline", async () => {
    env.HF_HUB_OFFLINE = "1";
    const { code, stderr } = await gptOss("pull", "20b");
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr:
        "gpt-oss: HF_HUB_OFFLINE is set, so nothing is downloaded; remove it from the environment to pull (DOWNLOAD)\n",
    });
  });

  it("shows no warning of its proxy", async () => {
    env.HTTP_PROXY = "http://127.0.0.1:9";
    expect((await gptOss("pull", "20b")).stderr).not.toContain("Warning");
  });

  it("trusts a company's certificate, and no redirect to http", async () => {
    const certificate = selfSigned();
    const secure = await FakeHub.start(certificate);
    try {
      const { bytes } = large(3000, 1);
      secure.add("a/small", { "model.safetensors": { bytes, isLarge: false } });
      secure.add("a/elsewhere", { "model.safetensors": { bytes, isLarge: true } });
      env.HF_ENDPOINT = secure.endpoint;
      const unknown = await gptOss("pull", "a/small");
      expect(unknown.code).toBe(1);
      expect(unknown.stderr).toMatch(
        /^gpt-oss: localhost:\d+ has no valid certificate \(.*SELF_SIGNED.*\); NODE_EXTRA_CA_CERTS names a file with further ones \(DOWNLOAD\)\n$/,
      );
      env.NODE_EXTRA_CA_CERTS = path.join(home, "ca.pem");
      writeFileSync(env.NODE_EXTRA_CA_CERTS, certificate.cert);
      expect((await gptOss("pull", "a/small")).code).toBe(0);
      const refused = await gptOss("pull", "a/elsewhere");
      expect(refused.code).toBe(1);
      expect(refused.stderr).toContain("gpt-oss: the hub leads to http://127.0.0.1:");
      expect(refused.stderr).toContain(", which is not encrypted; expected https (DOWNLOAD)\n");
      expect(secure.seen.filter(({ host }) => host === "files")).toEqual([]);
    } finally {
      await secure.close();
    }
  });

  it("shows one line with rate and time on a terminal", async () => {
    hub.add("a/b", { "a-file-with-a-long-name-that-does-not-fit.safetensors": large(2 ** 24, 1) });
    hub.fault = () => ({ stallAfter: 2 ** 23 });
    const terminal = new Terminal(["pull", "a/b"], { env, columns: 60 });
    terminals.push(terminal);
    await terminal.until(/Downloading \d+ % of 16\.8 MB, \d+(\.\d+)? [kM]B\/s, \d+ s left/);
    await terminal.until(/Downloading 50 %/);
    const lines = terminal.raw.split("\r").filter((line) => line.includes("Downloading 50 %"));
    for (const line of lines) expect(line.replace("\u001b[2K", "").length).toBeLessThan(60);
    terminal.type("\u0003");
    await terminal.until("[exit 130]");
    expect(terminal.text).toContain("Stopped; the same command goes on from here");
  });
});

describe("gpt-oss verify", () => {
  it("names a damaged file, and pull repairs just that one", async () => {
    await gptOss("pull", "20b");
    const whole = await gptOss("verify", "20b");
    expect({ code: whole.code, lines: whole.stdout.match(/^whole /gm)!.length }).toEqual({
      code: 0,
      lines: neededFiles.length,
    });
    const { commit } = hub.repositories.get("openai/gpt-oss-20b")!;
    const snapshot = path.join(home, "hub", "models--openai--gpt-oss-20b", "snapshots", commit);
    const name = "model-00000-of-00001.safetensors";
    writeFileSync(path.join(snapshot, readlinkSync(path.join(snapshot, name))), Buffer.alloc(7300));
    const damaged = await gptOss("verify", "openai/gpt-oss-20b");
    expect(damaged.code).toBe(1);
    expect(damaged.stdout).toContain(`\nDAMAGED    ${name}, 7.30 kB\n`);
    expect(damaged.stderr).toContain(
      `found 1 of 9 otherwise: ${name} (damaged); "gpt-oss pull" with the repository repairs this (MODEL_FORMAT)\n`,
    );
    const json = await gptOss("verify", snapshot, "--json");
    expect({ code: json.code, isWhole: (JSON.parse(json.stdout) as { isWhole: boolean }).isWhole }).toEqual({
      code: 1,
      isWhole: false,
    });
    hub.seen.length = 0;
    expect((await gptOss("pull", "20b")).stdout).toContain(`\nrepaired: ${name}\n`);
    expect(hub.seen.filter(({ host }) => host === "files")).toHaveLength(1);
    expect((await gptOss("verify", "20b")).code).toBe(0);
  });
});

describe("a bundle", () => {
  it("is carried to an empty folder, and answers there without a network or npm", async () => {
    hub.add("me/demo", filesOf(await demoModelPath()));
    const made = await gptOss("pull", "me/demo", "--bundle", path.join(home, "made"));
    expect(made.stderr).not.toMatch(/^gpt-oss:/m);
    expect(made.stdout).toContain("README.txt in it says how to use it");
    await hub.close();
    const carried = path.join(home, "elsewhere", "carried");
    await import("node:fs/promises").then(({ mkdir }) => mkdir(path.dirname(carried)));
    renameSync(path.join(home, "made"), carried);
    const commands = [
      ...readFileSync(path.join(carried, "README.txt"), "utf8").matchAll(/^ {2}(\S.*?)(?: {3,}\(.*)?$/gm),
    ].map(([, command]) => command!);
    const needs = /^This folder needs .* Node 20\.17 or later \(of Node 22: 22\.9 or later\) on\n(.*), the kind/m;
    const [, system] = needs.exec(readFileSync(path.join(carried, "README.txt"), "utf8"))!;
    expect(system).toMatch(
      process.platform === "linux" ? /^linux-\w+ with glibc 2\.(2[89]|[3-9]\d) or later$/ : /^\w+-\w+$/,
    );
    expect(commands).toEqual([
      "sha256sum -c --quiet SHA256SUMS",
      "node gpt-oss.mjs inspect model",
      "node gpt-oss.mjs chat model",
    ]);
    const bin = path.dirname(process.execPath);
    const alone = {
      PATH: `${bin}:/usr/bin:/bin`,
      HOME: path.join(home, "nobody"),
      npm_config_offline: "true",
      HF_HUB_OFFLINE: "1",
    };
    const { execFileSync } = await import("node:child_process");
    const shell = (command: string) =>
      execFileSync("sh", ["-c", command], { cwd: carried, env: alone, input: "What is 7 + 8?\n", encoding: "utf8" });
    expect(shell(commands[0]!)).toBe("");
    expect(shell(commands[1]!)).toContain("Hugging Face layout");
    // At its default temperature, the model sometimes gives another answer.
    expect(shell(`${commands[2]} --temperature 0`)).toContain("7 + 8 = 15");
    expect(
      shell(
        "node --input-type=module -e \"import('./package/node_modules/gpt-oss-node/dist/index.js').then(m => console.log(typeof m.pullModel))\"",
      ),
    ).toBe("function\n");
  });

  it("needs a folder of its own, or one that it began", async () => {
    writeFileSync(path.join(home, "mine.txt"), "");
    const { code, stderr } = await gptOss("pull", "20b", "--bundle", home);
    expect(code).toBe(2);
    expect(stderr).toMatch(
      /^gpt-oss: Expected a new or empty folder for --bundle, found "mine\.txt" in .*; name another one \(INVALID_ARGUMENT\)\n$/,
    );
  });
});
