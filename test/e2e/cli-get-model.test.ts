import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { demoModelPath } from "../../lib/demo-model/index.js";
import { run } from "../support/cli.js";
import { GoldenModel, ggufBytes, ggufOf } from "../support/gguf.js";
import { FakeHub } from "../support/hub.js";
import { goldenFiles, ModelHome } from "../support/model-home.js";
import { Terminal } from "../support/terminal.js";

/** A chat with a model that is not on this machine: it offers to download it, from a hub that runs here. */

let hub: FakeHub;
let home: ModelHome;
let env: NodeJS.ProcessEnv;
const terminals: Terminal[] = [];

beforeEach(async () => {
  hub = await FakeHub.start();
  home = new ModelHome();
  const proxies = {
    HTTP_PROXY: "",
    HTTPS_PROXY: "",
    http_proxy: "",
    https_proxy: "",
    HF_HUB_OFFLINE: "",
    HF_TOKEN: "",
  };
  env = { ...home.env, ...proxies, HF_ENDPOINT: hub.endpoint };
});
afterEach(async () => {
  for (const terminal of terminals.splice(0)) await terminal.vanish();
  await hub.close();
  home.remove();
});

const filesOf = (files: Record<string, Buffer>) =>
  Object.fromEntries(
    Object.entries(files).map(([name, bytes]) => [name, { bytes, isLarge: name.endsWith(".safetensors") }]),
  );

const golden = () => filesOf(goldenFiles("c"));

async function demo() {
  const folder = await demoModelPath();
  const names = readdirSync(folder).filter((name) => /\.(json|safetensors)$/.test(name));
  return filesOf(Object.fromEntries(names.map((name) => [name, readFileSync(path.join(folder, name))])));
}

function chat(...args: string[]): Terminal {
  const terminal = new Terminal(["chat", ...args], { columns: 120, env });
  terminals.push(terminal);
  return terminal;
}

describe("a chat on a terminal with a model that is missing", () => {
  it("asks, downloads and answers", { timeout: 60_000 }, async () => {
    hub.add("openai/gpt-oss-20b", await demo());
    const terminal = chat("20b", "--temperature", "0"); // at 1, the demo model sometimes gives another answer
    await terminal.until("[y/N] ");
    const question = terminal.text;
    expect(question).toMatch(
      /^openai\/gpt-oss-20b is not on this machine, or not complete: 20\.9 billion parameters, 13\.8 GB to/m,
    );
    expect(question).toMatch(
      new RegExp(`^Download it to ${home.places.huggingFace}, where [\\d.]+ [GMT]B are free\\? \\[y/N\\] $`, "m"),
    );
    expect(hub.seen).toEqual([]);
    await terminal.ask("y\r", "> ");
    expect(await terminal.ask("What is 7 + 8?\r", "7 + 8 = 15")).not.toContain("[y/N]");
    terminal.type("/quit\r");
    expect(await terminal.ended()).toBe(0);
    expect(terminal.text).toContain("20b from Hugging Face cache: openai/gpt-oss-20b, main, commit ");
  });

  it("asks nothing where the disk has no room", async () => {
    env.HF_HUB_CACHE = "/proc/none"; // a file system without a free byte
    const terminal = chat("20b");
    expect(await terminal.ended()).toBe(1);
    const text = terminal.text.replaceAll(/\s+/g, " ");
    expect(text).toContain("openai/gpt-oss-20b is not on this machine, or not complete: 20.9 billion parameters");
    expect(text).toContain("The download needs 13.8 GB and the disk of /proc/none has 0 MB free; free some, or choose");
    expect(text).toContain("(RESOURCE_LIMIT)");
    expect(text).not.toContain("[y/N]");
    expect(hub.seen).toEqual([]);
  });

  it.each([
    ["n\r", 1],
    ["\r", 1],
    ["yess\r", 1],
    ["\u0004", 1],
    ["\u0003", 130],
  ])("downloads nothing after %j", async (keys, code) => {
    hub.add("openai/gpt-oss-20b", golden());
    const terminal = chat("openai/gpt-oss-20b");
    await terminal.until("[y/N] ");
    terminal.type(keys);
    expect(await terminal.ended()).toBe(code);
    const declined =
      'openai/gpt-oss-20b was not downloaded; "gpt-oss pull openai/gpt-oss-20b" gets it (MODEL_NOT_FOUND)';
    expect(terminal.text.includes(declined)).toBe(code === 1);
    expect(terminal.text).toMatch(/ icanon/); // the terminal is as it was
    expect(hub.seen).toEqual([]);
  });

  it("stops the download at Ctrl-C, and completes it later", { timeout: 60_000 }, async () => {
    hub.add("openai/gpt-oss-20b", golden());
    hub.fault = ({ name }) => (name.endsWith("00001-of-00002.safetensors") ? { stallAfter: 1000 } : undefined);
    const terminal = chat("20b");
    await terminal.until("[y/N] ");
    await terminal.ask("y\r", "Downloading ");
    terminal.type("\u0003");
    expect(await terminal.ended()).toBe(130);
    expect(terminal.text).toContain("Stopped; the same command goes on from here");
    hub.fault = () => undefined;
    const { code, stderr } = await run(["chat", "20b", "--yes"], "", env);
    expect({ code, stderr }).toMatchObject({ code: 0 });
  });

  it("does not ask for a model whose size it does not know", async () => {
    hub.add("me/tuned", golden());
    const terminal = chat("me/tuned");
    expect(await terminal.ended()).toBe(1);
    expect(terminal.text.replaceAll("\n", "")).toContain(
      '"gpt-oss pull me/tuned" gets it if Hugging Face has it (MODEL_NOT_FOUND)',
    );
  });
});

describe("a chat without a terminal", () => {
  it("downloads only with --yes", async () => {
    hub.add("me/tuned", golden());
    const refused = await run(["chat", "me/tuned"], "Hi\n", env);
    expect(refused).toMatchObject({ code: 1, stdout: "" });
    expect(refused.stderr).toContain('"gpt-oss pull me/tuned" gets it if Hugging Face has it (MODEL_NOT_FOUND)\n');
    expect(hub.seen).toEqual([]);
    const { code, stderr } = await run(["chat", "me/tuned", "--yes"], "", env);
    expect(code).toBe(0);
    expect(stderr).toMatch(
      /^Downloading to .*\n(.*\n)*me\/tuned from Hugging Face cache: me\/tuned, main, commit \w{40}\n$/,
    );
  });

  it("downloads nothing for a path, or for a name that the download would not have", async () => {
    for (const name of ["./20b", "gpt-oss:20b", "nothing"]) {
      const { code, stderr } = await run(["chat", name, "--yes"], "", env);
      expect(code).toBe(1);
      expect(stderr).toMatch(/ \(MODEL_NOT_FOUND\)\n$/);
    }
    expect(hub.seen).toEqual([]);
  });

  it("downloads the one file that a name selects", async () => {
    const file = (dense: "bf16" | "q8_0") => ({
      bytes: ggufBytes(ggufOf(new GoldenModel("c"), { dense })),
      isLarge: true,
    });
    hub.add("me/x", { "x-BF16.gguf": file("bf16"), "x-Q8_0.gguf": file("q8_0") });
    const refused = await run(["chat", "me/x:Q8_0"], "Hi\n", env);
    expect(refused).toMatchObject({ code: 1, stdout: "" });
    expect(refused.stderr).toContain('"gpt-oss pull me/x:Q8_0" gets it if Hugging Face has it (MODEL_NOT_FOUND)\n');
    const { code, stderr } = await run(["chat", "me/x:Q8_0", "--yes"], "", env);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(stderr).toMatch(/^me\/x:Q8_0 from Hugging Face cache: me\/x, main, commit \w{40}, x-Q8_0\.gguf$/m);
    expect(hub.seen.some((name) => JSON.stringify(name).includes("BF16"))).toBe(false);
  });

  it("says what the hub says", async () => {
    const { code, stderr } = await run(["chat", "me/nothing", "--yes"], "", env);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^gpt-oss: no repository me\/nothing .* \(MODEL_NOT_FOUND\)\n$/m);
  });
});
