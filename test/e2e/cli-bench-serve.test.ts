import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { rowsOf } from "../support/bench-rows.js";
import { selfSigned } from "../support/certificate.js";
import { finish as finished, type Run, run as runProgram, start } from "../support/cli.js";
import { done, event, OtherServer, stream, usage } from "../support/other-server.js";
import { Terminal } from "../support/terminal.js";

/** `gpt-oss bench serve` as a process. test/lib/bench has the measurement itself. */

let server: OtherServer;
let failing: OtherServer;
beforeAll(async () => {
  server = await OtherServer.start((_, response) => void stream(response, event("a"), event("b"), usage, done).end());
  failing = await OtherServer.start((_, response) => response.writeHead(429).end("busy"));
});
afterAll(() => {
  for (const one of [server, failing]) one.close();
});

/** These servers answer at once, so the load generator is often busy, and says so. */
function withoutBusy({ stderr, ...rest }: Run): Run {
  return { ...rest, stderr: stderr.replaceAll(/^The load generator itself was busy for \d+ % .*\n/gm, "") };
}
const run = async (...args: Parameters<typeof runProgram>) => withoutBusy(await runProgram(...args));

/** The rows of JSON lines, each of the documented schema. */
describe("bench serve", () => {
  it("prints a table", async () => {
    const { code, stdout, stderr } = await run([
      ...["bench", "serve", server.url, "--concurrency", "1,16", "--requests", "20", "--slo", "e2e=100000"],
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const lines = stdout.split("\n");
    expect(lines[0]).toBe(`other at ${server.url}/v1, chat`);
    expect(lines[2]).toMatch(/^concurrency +1 +16$/);
    for (const name of ["output tokens/s", "goodput requests/s", "TTFT mean ms", "TPOT median ms", "E2E p99 ms"])
      expect(stdout).toMatch(new RegExp(`^${name} +[\\d.]+ +[\\d.]+$`, "m"));
    expect(stdout).toMatch(/^completed requests +20 +20\nfailed requests +0 +0\ninput tokens +1000 +1000$/m);
    for (const line of lines) expect(line.length).toBeLessThan(80);
  });

  it("prints JSON lines alone with --json, and no key", async () => {
    const args = ["--rate", "200,400", "--requests", "10", "--max-concurrency", "4", "--api-key", "sk-very-secret"];
    const { code, stdout, stderr } = await run(["bench", "serve", server.url, ...args, "--json"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const rows = rowsOf(stdout);
    expect(rows.map(({ parameters }) => parameters.rate)).toEqual([200, 400]);
    expect(rows[0]).toMatchObject({ schema: 1, bench: "serve", name: "open-loop", about: { url: `${server.url}/v1` } });
    expect(server.seen.at(-1)!.headers.authorization).toBe("Bearer sk-very-secret");
    expect(stdout).not.toContain("secret");
  });

  it("takes the key of the environment where none is given", async () => {
    const args = ["bench", "serve", server.url, "--requests", "1", "--warmup", "0", "--endpoint", "completions"];
    await run([...args, "--header", "X-Team=a=b"], "", { OPENAI_API_KEY: "sk-environment" });
    const { url, headers } = server.seen.at(-1)!;
    expect(url).toBe("/v1/completions");
    expect(headers).toMatchObject({ authorization: "Bearer sk-environment", "x-team": "a=b" });
    await run(args, "", { OPENAI_API_KEY: "" });
    expect(server.seen.at(-1)!.headers.authorization).toBeUndefined();
  });

  it("exits with 1 where nothing succeeds, and says why", async () => {
    const args = ["bench", "serve", failing.url, "--requests", "5"];
    const first = "the first error was: the server answered 429: busy";
    expect(await run(args)).toEqual({
      ...{ code: 1, stdout: "" },
      stderr: `gpt-oss: no request of the warm-up succeeded; ${first} (SERVER)\n`,
    });
    const { code, stdout, stderr } = await run([...args, "--warmup", "0", "--json"]);
    expect(code).toBe(1);
    expect(rowsOf(stdout)[0]!.values.failed!.median).toBe(5);
    expect(stderr.split("\n")).toEqual([
      `5 of 5 requests failed; ${first}`,
      `gpt-oss: no request of closed loop, concurrency 1 succeeded; ${first} (SERVER)`,
      "",
    ]);
  });

  /** The command, stopped when its fourth request hangs, or its first one. */
  async function stopped(args: string[], answered: number) {
    let hang = () => {};
    const isHanging = new Promise<void>((resolve) => {
      hang = resolve;
    });
    const hanging = await OtherServer.start((_, response, count) => {
      stream(response, event("a"));
      if (count <= answered) response.end(usage + done);
      else hang();
    });
    const child = start(["bench", "serve", hanging.url, "--warmup", "0", "--concurrency", "1,2", ...args]);
    const result = finished(child);
    await isHanging;
    child.kill("SIGINT");
    return withoutBusy(await result.finally(() => hanging.close()));
  }

  it("prints at Ctrl-C what was measured, and exits with 130", async () => {
    const { code, stdout, stderr } = await stopped([], 3);
    expect({ code, stderr }).toEqual({ code: 130, stderr: "" });
    expect(stdout).toMatch(/^concurrency +1$/m);
    expect(stdout).toMatch(/^completed requests +3$/m);
    expect(stdout).toMatch(/\n\nInterrupted: the last level is not whole\.\n$/);
    const json = await stopped(["--json"], 3);
    expect({ ...json, stdout: rowsOf(json.stdout) }).toMatchObject({
      ...{ code: 130, stderr: "" },
      stdout: [{ parameters: { concurrency: 1 }, values: { completed: { median: 3 } }, about: { interrupted: true } }],
    });
  });

  it("prints nothing at Ctrl-C where nothing was measured", async () => {
    expect(await stopped(["--json"], 0)).toEqual({ code: 130, stdout: "", stderr: "" });
  });

  it("measures a server with TLS whose certificate it knows", async () => {
    const certificate = selfSigned();
    const secure = await OtherServer.start((_, response) => {
      stream(response, event("a"), usage, done).end();
    }, certificate);
    const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-bench-"));
    const file = path.join(folder, "ca.pem");
    writeFileSync(file, certificate.cert);
    const args = ["bench", "serve", secure.url, "--requests", "3", "--json"];
    const [known, unknown] = await Promise.all([run(args, "", { NODE_EXTRA_CA_CERTS: file }), run(args)]);
    secure.close();
    rmSync(folder, { recursive: true });
    expect({ ...known, stdout: rowsOf(known.stdout) }).toMatchObject({
      ...{ code: 0, stderr: "" },
      stdout: [{ values: { completed: { median: 3 } }, about: { url: `${secure.url}/v1` } }],
    });
    expect(unknown).toMatchObject({ code: 1, stdout: "" });
    expect(unknown.stderr).toMatch(/localhost:\d+ has no valid certificate \(.*SELF_SIGNED.*\); .* \(SERVER\)\n$/);
  });

  it("shows on a terminal how far it is", async () => {
    const terminal = new Terminal(["bench", "serve", server.url, "--requests", "7"], { columns: 80 });
    await terminal.until("[exit 0]");
    expect(terminal.raw).toContain("closed loop, concurrency 1: 0 of 7 requests, 0 tokens");
    expect(terminal.text).toMatch(/^completed requests +7$/m);
    await terminal.vanish();
  });

  it.each<[args: string[], message: RegExp]>([
    [[], /missing required argument 'url'/],
    [["localhost:1"], /Expected a URL such as http:\/\/127\.0\.0\.1:8080 for url/],
    [["http://a", "--concurrency", "0"], /Expected integers such as 1,4,8/],
    [["http://a", "--concurrency", "1,x"], /Expected integers such as 1,4,8/],
    [["http://a", "--rate", "0"], /Expected numbers such as 0\.5,2/],
    [["http://a", "--rate", "1,"], /Expected numbers such as 0\.5,2/],
    [["http://a", "--rate", "1", "--concurrency", "1"], /--concurrency cannot be used with --rate/],
    [["http://a", "--max-concurrency", "1"], /--max-concurrency needs --rate/],
    [["http://a", "--prompts", "a", "--input-tokens", "1"], /--prompts cannot be used with --input-tokens/],
    [["http://a", "--prompts", "/no/such/file"], /The prompts cannot be read: ENOENT/],
    [["http://a", "--header", "a"], /Expected --header NAME=VALUE/],
    [["http://a", "--body", "["], /The body is no JSON/],
    [["http://a", "--slo", "speed=1"], /Expected milliseconds such as ttft=500/],
    [["http://a", "--requests", "0"], /for requests but received 0/],
    [["http://a", "--endpoint", "responses"], /Allowed choices are chat, completions/],
    [["http://a", "--concurency", "1"], /unknown option '--concurency' \(Did you mean --concurrency\?\)/],
  ])("refuses wrong usage: %j", async (args, message) => {
    const { code, stdout, stderr } = await run(["bench", "serve", ...args]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(/^gpt-oss: [^\n]+ \((USAGE|INVALID_ARGUMENT)\)\n$/);
    expect(stderr).toMatch(message);
  });
});
