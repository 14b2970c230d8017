import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request as httpsRequest } from "node:https";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { selfSigned } from "../support/certificate.js";
import { rawConnection } from "../support/server-operations.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const program = path.join(root, "dist", "cli", "main.js");

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-serve-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** `gpt-oss serve` in a separate process. */
class Server {
  readonly child: ChildProcessWithoutNullStreams;
  readonly ended: Promise<number | null>;
  stdout = "";
  stderr = "";

  constructor(args: string[]) {
    const env = { ...process.env, GPT_OSS_MODEL: undefined, GPT_OSS_BACKEND: "cpu" };
    this.child = spawn(process.execPath, [program, "serve", ...args], { env });
    this.child.stdout.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += text;
    });
    this.child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
    });
    this.ended = once(this.child, "close").then(([code]) => code as number | null);
  }

  /** The URL that the server prints once it listens. */
  async url(): Promise<string> {
    await expect.poll(() => this.stdout, { timeout: 30_000 }).toMatch(/^Listening on (\S+)\n/);
    return /^Listening on (\S+)\n/.exec(this.stdout)![1]!;
  }

  /** The same, after the model has loaded. */
  async ready(): Promise<string> {
    const url = await this.url();
    await expect.poll(async () => (await fetch(`${url}/ready`)).status, { timeout: 30_000 }).toBe(200);
    return url;
  }

  /** Lines of the server's log. */
  log(): { msg: string; [field: string]: unknown }[] {
    const lines = this.stderr.split("\n").filter((line) => line.startsWith("{"));
    return lines.map((line) => JSON.parse(line) as { msg: string });
  }
}

async function run(...args: string[]) {
  const server = new Server(args);
  const code = await server.ended;
  return { code, stdout: server.stdout, stderr: server.stderr };
}

describe("gpt-oss serve", () => {
  it("seals reasoning with the first secret of a file, and opens it with each", { timeout: 120_000 }, async () => {
    const [older, newer] = ["o".repeat(32), "n".repeat(32)];
    const fileOf = (name: string, ...secrets: string[]) => {
      const file = path.join(folder, name);
      writeFileSync(file, secrets.map((secret) => `${secret}\n`).join(""));
      return file;
    };
    const serving = (file: string) => new Server(["--port", "0", "--model-name", "demo", "--reasoning-key-file", file]);
    const respond = async (url: string, input: unknown) => {
      const body = JSON.stringify({ model: "demo", input, include: ["reasoning.encrypted_content"], temperature: 0 });
      const headers = { "content-type": "application/json" };
      const answer = await fetch(`${url}/v1/responses`, { method: "POST", headers, body });
      expect(answer.status).toBe(200);
      const { output } = (await answer.json()) as { output: { type: string; encrypted_content?: string }[] };
      return { output, warned: answer.headers.get("x-gpt-oss-warnings") };
    };
    const servers = [
      serving(fileOf("before", older)),
      serving(fileOf("both", newer, older)),
      serving(fileOf("after", newer)),
    ];
    const [before, both, after] = await Promise.all(servers.map((server) => server.ready()));
    const question = { role: "user", content: "What is 2 + 2?" };
    const carried = async (url: string) => {
      const { output } = await respond(url, [question]);
      expect(output[0]).toMatchObject({ type: "reasoning", encrypted_content: expect.any(String) });
      // Without its text: only who opens the ciphertext reads it.
      return [question, { ...output[0], content: [], summary: [] }, ...output.slice(1), question];
    };
    const [old, young] = [await carried(before!), await carried(both!)];
    expect((await respond(both!, old)).warned).toBeNull();
    expect((await respond(both!, young)).warned).toBeNull();
    expect((await respond(after!, young)).warned).toBeNull();
    expect((await respond(after!, old)).warned).toContain("sealed elsewhere");
    for (const server of servers) server.child.kill("SIGTERM");
    expect(await Promise.all(servers.map(({ ended }) => ended))).toEqual([0, 0, 0]);
  });

  it("listens, serves the demo model, logs, and ends with SIGTERM", async () => {
    const server = new Server(["--port", "0", "--model-name", "first", "--model-name", "second"]);
    const url = await server.ready();
    expect(server.stderr).toContain("demo model: answers about 130 questions; it is not gpt-oss");
    for (const route of ["/health", "/live", "/ping"]) expect((await fetch(url + route)).status).toBe(200);
    const models = (await (await fetch(`${url}/v1/models`)).json()) as { data: { id: string }[] };
    expect(models.data.map(({ id }) => id)).toEqual(["first", "second"]);
    expect(await (await fetch(`${url}/metrics`)).text()).toContain('vllm:num_requests_running{model_name="first"');
    server.child.kill("SIGTERM");
    expect(await server.ended).toBe(0);
    const messages = server.log().map(({ msg }) => msg);
    expect(messages).toContain("loading the model");
    expect(messages).toContain("found the model");
    expect(messages).toContain("the model is ready");
    expect(server.stderr.trimEnd().split("\n")).toHaveLength(messages.length); // every line is one of the log
    expect(server.log().find(({ path }) => path === "/v1/models")).toMatchObject({ method: "GET", status: 200 });
    expect(server.stdout).toBe(`Listening on ${url}\n`);
  });

  it("takes the options of the engine, and the model's name from its folder", async () => {
    const model = path.join(root, "test", "golden", "models", "a");
    const engine = ["--context-length", "200", "--max-sequences", "3", "--max-queue", "5", "--max-batch-tokens", "64"];
    const access = ["--strict-requests", "--share-prefixes", "--trust-proxy", "127.0.0.0/8,::1"];
    const cache = ["--kv-dtype", "bf16", "--kv-bytes", "8MiB", "--no-prefix-cache", "--numerics", "exact"];
    const server = new Server([model, "--port", "0", "--threads", "1", ...engine, ...cache, ...access]);
    const url = await server.ready();
    const body = JSON.stringify({ model: "a", prompt: "Hi", max_token: 1 });
    const refused = await fetch(`${url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
    });
    expect([refused.status, await refused.json()]).toMatchObject([400, { error: { param: "max_token" } }]);
    const models = (await (await fetch(`${url}/v1/models`)).json()) as { data: object[] };
    expect(models.data).toMatchObject([{ id: "a", max_model_len: 200 }]);
    expect(await (await fetch(`${url}/metrics`)).text()).toContain('cache_dtype="bf16",enable_prefix_caching="false"');
    const ready = server.log().find(({ msg }) => msg === "the model is ready");
    expect(ready).toMatchObject({
      limits: { contextLength: 200, maxSequences: 3, maxQueue: 5, maxBatchTokens: 64 },
      numerics: "exact",
    });
    server.child.kill("SIGINT");
    expect(await server.ended).toBe(0);
  });

  it("asks for the keys of a file, and reads it again on SIGHUP", async () => {
    const file = path.join(folder, "keys");
    writeFileSync(file, "alpha\n");
    const server = new Server(["--port", "0", "--api-key-file", file]);
    const url = await server.ready();
    const status = async (key: string) =>
      (await fetch(`${url}/v1/models`, { headers: { authorization: `Bearer ${key}` } })).status;
    expect([await status("alpha"), await status("beta")]).toEqual([200, 401]);
    writeFileSync(file, "beta\n");
    server.child.kill("SIGHUP");
    await expect.poll(() => status("beta")).toBe(200);
    expect(await status("alpha")).toBe(401);
    writeFileSync(file, "");
    server.child.kill("SIGHUP");
    await expect.poll(() => server.stderr).toContain("the old keys stay valid");
    expect(await status("beta")).toBe(200);
    server.child.kill("SIGTERM");
    expect(await server.ended).toBe(0);
    for (const key of ["alpha", "beta"]) expect(server.stderr).not.toContain(key);
  });

  it("serves HTTPS", async () => {
    const { cert, key } = selfSigned();
    const [certFile, keyFile] = [path.join(folder, "cert.pem"), path.join(folder, "key.pem")];
    writeFileSync(certFile, cert);
    writeFileSync(keyFile, key);
    const server = new Server(["--port", "0", "--tls-cert", certFile, "--tls-key", keyFile]);
    const url = new URL(await server.url());
    expect(url.protocol).toBe("https:");
    const status = await new Promise((resolve, reject) => {
      const options = { host: url.hostname, port: url.port, path: "/live", servername: "localhost", ca: cert };
      httpsRequest(options, (response) => resolve(response.resume().statusCode))
        .on("error", reject)
        .end();
    });
    expect(status).toBe(200);
    server.child.kill("SIGTERM");
    expect(await server.ended).toBe(0);
  });

  it("does not wait for connections that say nothing, and quits at once when told twice", async () => {
    const server = new Server(["--port", "0"]);
    const { port } = new URL(await server.ready());
    const silent = await rawConnection(Number(port));
    const begun = await rawConnection(Number(port));
    begun.say("POST /v1/models HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n");
    server.child.kill("SIGTERM");
    server.child.kill("SIGINT");
    expect([0, 130]).toContain(await server.ended);
    silent.socket.destroy();
    begun.socket.destroy();
  });

  it("ends when it is told to while the model loads", async () => {
    const server = new Server(["synthetic:small", "--port", "0", "--kv-bytes", "64MiB", "--context", "512"]);
    const url = await server.url();
    expect((await fetch(`${url}/live`)).status).toBe(200);
    server.child.kill("SIGTERM");
    expect(await server.ended).toBe(0);
  });

  it("warns when everybody may use it", async () => {
    const server = new Server(["--host", "0.0.0.0", "--port", "0"]);
    await server.ready();
    const warning = expect.stringMatching(/^everybody who can reach this host can use the model/);
    expect(server.log()).toContainEqual(expect.objectContaining({ level: 40, host: "0.0.0.0", msg: warning }));
    server.child.kill("SIGTERM");
    expect(await server.ended).toBe(0);
  });
});

describe("gpt-oss serve says in one sentence", () => {
  it.each([
    [["--port", "eighty"], "Expected an integer"],
    [["--port", "65536"], "Expected a port from 0 to 65535"],
    [["--colour"], "unknown option '--colour'"],
    [["--kv-dtype", "f64"], "--kv-dtype"],
    [["--tls-cert", "cert.pem"], "--tls-cert and --tls-key need each other"],
    [
      ["--tls-cert", "/no/cert.pem", "--tls-key", "/no/key.pem"],
      "The certificate /no/cert.pem of --tls-cert cannot be",
    ],
    [["--cors", "example.com"], "cors"],
    [["--max-sequences", "0", "--port", "0"], "maxSequences"],
    [["--kv-bytes", "4Gi", "--port", "0"], "kvCache.bytes"],
    [["--context-length", "131073", "--port", "0"], "contextLength 131073 is more than the model's"],
    [["--api-key-file", "/nonexistent/keys"], "/nonexistent/keys"],
    [["--reasoning-key-file", "/nonexistent/key"], "/nonexistent/key of --reasoning-key-file cannot be read"],
    [
      ["--reasoning-key-file", path.join(root, "package.json")],
      "Expected a secret of 32 to 4096 characters in each line, at most 8 lines, in the file",
    ],
    [["--trust-proxy", "demo"], "trustProxy"],
    [["--trust-proxy", "99"], "trustProxy"],
    [["a", "b"], "too many arguments"],
  ])("that %j is wrong usage", async (args, words) => {
    const { code, stdout, stderr } = await run(...args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    const sentence = stderr.split("\n").filter((line) => line.startsWith("gpt-oss: "));
    expect(sentence).toHaveLength(1);
    expect(sentence[0]).toContain(words);
  });

  it("that a port is in use", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as { port: number };
    const { code, stdout, stderr } = await run("--port", String(port), "--log-level", "silent");
    other.close();
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toContain(`gpt-oss: Port ${port} of 127.0.0.1 is in use; choose another with --port, or 0`);
  });

  it("that there is no such address or model", async () => {
    const address = await run("--host", "203.0.113.1", "--port", "0", "--log-level", "silent");
    expect([address.code, address.stderr]).toEqual([
      1,
      expect.stringContaining("This machine has no address 203.0.113.1"),
    ]);
    const model = await run("/nonexistent/model", "--port", "0", "--log-level", "silent");
    expect([model.code, model.stderr]).toEqual([1, expect.stringContaining("(MODEL_NOT_FOUND)")]);
    const cache = await run("--kv-bytes", "1", "--port", "0", "--log-level", "silent");
    expect([cache.code, cache.stderr]).toEqual([1, expect.stringContaining("(OUT_OF_MEMORY)")]);
    const backend = await run("--backend", "metal", "--port", "0", "--log-level", "silent");
    expect([backend.code, backend.stderr]).toEqual([1, expect.stringContaining('backend "metal"')]);
    for (const { stdout, stderr } of [address, model, cache, backend]) {
      expect(stdout).toBe("");
      expect(stderr.split("\n").filter((line) => line.startsWith("gpt-oss: "))).toHaveLength(1);
    }
  });
});
