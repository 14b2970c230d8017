import { existsSync, readdirSync, readFileSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import path from "node:path";
import { describe, expect, it } from "vitest";
import type { TransferProgress } from "../../../lib/pull/index.js";
import { failure } from "../../support/failure.js";
import { drip, type Fault, refuse } from "../../support/hub.js";
import { large, rangeBytes, setting } from "../../support/pull.js";

/** What goes wrong on the way, and what comes of it. */

const here = setting();
const weights = "model.safetensors";
const size = 5 * rangeBytes + 300;

/** A repository with one file of weights, which comes in six ranges. */
function addModel(): Buffer {
  const file = large(size, 7);
  here.hub.add("a/b", { "config.json": "{}", [weights]: file });
  return file.bytes;
}

/** Applies a fault to the weights: to the answers for which `when` is true. */
function breakWeights(
  fault: Fault,
  when: (range: string | undefined, time: number) => boolean = () => true,
): () => number {
  let times = 0;
  let broken = 0;
  here.hub.fault = ({ name, range }) => {
    if (name !== weights || !when(range, times++)) return undefined;
    broken++;
    return fault;
  };
  return () => broken;
}

const pull = (onProgress?: (progress: TransferProgress) => void) => here.pull({ repository: "a/b", onProgress });

describe("a download recovers from", () => {
  it.each<[string, Fault]>([
    ["a connection that is cut in the middle", { cutAfter: 100 }],
    ["a connection that is cut before the first byte", { cutAfter: 0 }],
    ["a connection that breaks behind the last byte", { extra: 0, cutAfter: rangeBytes }],
    ["an answer that ends early", { fewer: 10 }],
    ["an answer that is too long", { extra: 10 }],
    ["a stall", { stallAfter: 100 }],
    ["a byte now and then", { drip: 1 }],
    ["500", { status: 500 }],
    ["503 with a time to wait", { status: 503, headers: { "retry-after": "0" } }],
    ["429 with the hub's limit", { status: 429, headers: { ratelimit: '"resolvers";r=0;t=0' } }],
    ["403 of the host of the files, whose addresses expire", { status: 403 }],
    ["another range than the one that was asked for", { contentRange: `bytes 1-2/${size}` }],
    ["an entity tag that changed for one range", { etag: '"version-2"' }],
  ])("%s", async (_, fault) => {
    const bytes = addModel();
    here.machine.limits.stallMilliseconds = 200;
    const broken = breakWeights(fault, (_, time) => time === 2 || time === 4);
    const notes: string[] = [];
    const { folder, totalBytes, downloadedBytes } = await pull(({ note }) => note !== undefined && notes.push(note));
    expect(broken()).toBe(2);
    expect(notes.length).toBeGreaterThanOrEqual(2);
    expect(notes[0]).toMatch(/^model\.safetensors: .*; try 2 of 6 in \d+ s$/);
    expect(readFileSync(path.join(folder, weights)).equals(bytes)).toBe(true);
    expect(downloadedBytes - totalBytes).toBeLessThanOrEqual(2 * rangeBytes + 20);
  });

  it("nothing, where a host is slow and keeps sending", async () => {
    const bytes = addModel();
    here.machine.limits.stallMilliseconds = 100;
    breakWeights({ drip: 100 }); // 5 kB a second
    const notes: string[] = [];
    const { folder } = await pull(({ note }) => note !== undefined && notes.push(note));
    expect(notes).toEqual([]);
    expect(readFileSync(path.join(folder, weights)).equals(bytes)).toBe(true);
  });

  it.each<[string, (response: ServerResponse) => void]>([
    ["sends a byte now and then", (response) => drip(response, Buffer.alloc(100_000, " "), 1)],
    ["breaks in the middle", (response) => response.write('{"sha":', () => response.destroy())],
  ])("a list that %s", async (_, answer) => {
    addModel();
    here.machine.limits.stallMilliseconds = 200;
    let isFirst = true;
    here.hub.intercept = (_, response) => {
      if (!isFirst) return false;
      isFirst = false;
      response.writeHead(200, { "content-type": "application/json" });
      answer(response);
      return true;
    };
    const notes: string[] = [];
    expect((await pull(({ note }) => note !== undefined && notes.push(note))).files).toHaveLength(2);
    expect(notes).toEqual([expect.stringMatching(/^the list of the files of a\/b: .*; try 2 of 3 in \d+ s$/)]);
  });

  it("a server without ranges, which is asked once", async () => {
    const bytes = addModel();
    const broken = breakWeights({ noRanges: true });
    const { folder } = await pull();
    expect(broken()).toBe(1);
    expect(readFileSync(path.join(folder, weights)).equals(bytes)).toBe(true);
  });

  it("a server without ranges whose first answer is cut", async () => {
    const bytes = addModel();
    here.hub.fault = ({ name, count }) => {
      if (name !== weights) return undefined;
      return count < 2 ? { noRanges: true, cutAfter: 2500 } : { noRanges: true };
    };
    const { folder, downloadedBytes, totalBytes } = await pull();
    expect(readFileSync(path.join(folder, weights)).equals(bytes)).toBe(true);
    expect(downloadedBytes).toBe(totalBytes); // what was there is not written again
  });

  it("a server that loses its ranges between two calls", async () => {
    const bytes = addModel();
    breakWeights({ status: 500 }, (range) => range?.startsWith("bytes=3000-") === true);
    await failure(pull());
    breakWeights({ noRanges: true });
    const { folder } = await pull();
    expect(readFileSync(path.join(folder, weights)).equals(bytes)).toBe(true);
  });

  it("a disk that takes fewer bytes than it is given", async () => {
    const bytes = addModel();
    const write = (file: FileHandle, [first]: Buffer[], position: number) =>
      file.write(first!, 0, Math.min(7, first!.length), position);
    const { folder } = await here.pull({ repository: "a/b" }, { write });
    expect(readFileSync(path.join(folder, weights)).equals(bytes)).toBe(true);
  });

  it("one flipped bit: the file is fetched again, once", async () => {
    const bytes = addModel();
    const broken = breakWeights({ flip: 2345 }, (range, time) => range === "bytes=2000-2999" && time < 6);
    const notes: string[] = [];
    const { folder, downloadedBytes } = await pull(({ note }) => note !== undefined && notes.push(note));
    expect(broken()).toBe(1);
    expect(downloadedBytes).toBe(2 * size + 2);
    expect(notes).toEqual([expect.stringMatching(/^model\.safetensors arrived with hash .*; it is fetched again$/)]);
    expect(readFileSync(path.join(folder, weights)).equals(bytes)).toBe(true);
  });
});

describe("a wait that is none", () => {
  it.each(["-5", "NaN", "1.5", "1e19", "soon", "Monday"])("%s: the pause is the usual one", async (wait) => {
    addModel();
    Object.assign(here.machine.limits, { connections: 1, firstPauseMilliseconds: 200 });
    breakWeights({ status: 503, headers: { "retry-after": wait } }, (_, time) => time === 0);
    const begun = performance.now();
    await pull();
    expect(performance.now() - begun).toBeGreaterThanOrEqual(150);
  });
});

describe("a download gives up", () => {
  it("on a bit that is always flipped, names the file, and keeps nothing of it", async () => {
    addModel();
    breakWeights({ flip: 2345 });
    const error = await failure(pull());
    expect(error.code).toBe("DOWNLOAD");
    expect(error.message).toMatch(
      /^model\.safetensors arrived with hash \w{64}, expected \w{64}, twice; the data was thrown away/,
    );
    const repository = path.join(here.cache, "models--a--b");
    expect(readdirSync(path.join(repository, "blobs"))).toHaveLength(1); // config.json
    expect(existsSync(path.join(repository, ".gpt-oss"))).toBe(false);
    expect(existsSync(path.join(repository, "refs"))).toBe(false);
  });

  it.each<[string, Fault, RegExp]>([
    [
      "a connection that is always cut",
      { cutAfter: 0 },
      /the connection to .* failed .*, 6 times; the same call goes on/,
    ],
    ["a server that is always busy", { status: 503 }, /answered 503, 6 times/],
    [
      "a wait that is too long",
      { status: 429, headers: { "retry-after": "3600" } },
      /asks to wait 3600 s; try again then/,
    ],
    ...["10000000000000000000", "9".repeat(400), "Fri, 31 Dec 9999 23:59:59 GMT"].map(
      (wait): [string, Fault, RegExp] => [
        `a wait without sense, ${wait.slice(0, 30)}`,
        { status: 429, headers: { "retry-after": wait } },
        /answered 429, and the server asks to wait more than a day; try again then$/,
      ],
    ),
    [
      "a total that is not the listed size",
      { total: size + 1 },
      /lists 5300 bytes, and the server says that it has 5301/,
    ],
    [
      "a whole file of another length",
      { noRanges: true, total: size - 1 },
      /lists 5300 bytes, and the server says that it has 5299/,
    ],
    ["answers that are always too long", { extra: 1 }, /sent more bytes than it was asked for, 6 times/],
    ["answers that are always short", { fewer: rangeBytes }, /ended the answer too early, 6 times/],
    ["a compressed answer", { headers: { "content-encoding": "gzip" } }, /compressed the file \(gzip\)/],
    ["an answer that is no part of the file", { status: 204 }, /expected status 206 or 200 but received 204/],
  ])("on %s", async (_, fault, message) => {
    addModel();
    here.machine.limits.connections = 1;
    breakWeights(fault);
    const error = await failure(pull());
    expect(error.code).toBe("DOWNLOAD");
    expect(error.message).toMatch(message);
  });

  it("on a stall that does not end", async () => {
    addModel();
    Object.assign(here.machine.limits, { stallMilliseconds: 50, connections: 1, tries: 2 });
    breakWeights({ stallAfter: 0 });
    expect((await failure(pull())).message).toMatch(/sent nothing for too long, 2 times/);
  });

  it("on a host that sends next to nothing", async () => {
    addModel();
    Object.assign(here.machine.limits, { stallMilliseconds: 100, connections: 1, tries: 2 });
    breakWeights({ drip: 1 });
    const { host } = new URL(here.hub.filesOrigin);
    expect((await failure(pull())).message).toBe(
      `${weights}: ${host} sent less than 1000 bytes a second for too long, 2 times; the same call goes on where this one stopped`,
    );
  });

  it("on a file that is of another version than the list", async () => {
    addModel();
    here.hub.intercept = (request, response) => {
      if (!request.url!.includes("/resolve/") || !request.url!.endsWith(weights)) return false;
      response
        .writeHead(302, { location: `${here.hub.filesOrigin}/a/b/${weights}`, "x-linked-etag": `"${"0".repeat(64)}"` })
        .end();
      return true;
    };
    expect(await failure(pull())).toMatchObject({
      code: "DOWNLOAD",
      message: expect.stringContaining("another version than it listed"),
    });
  });

  it("on a file that was listed and is gone", async () => {
    addModel();
    here.hub.intercept = (request, response) => {
      if (!request.url!.endsWith(`/${weights}`)) return false;
      refuse(response, 404, "EntryNotFound", "Entry not found");
      return true;
    };
    expect((await failure(pull())).message).toContain("the hub lists it and does not have it any more (404)");
  });

  it("on a list that another host refuses, and says that it is the list", async () => {
    here.hub.intercept = (_, response) => {
      response.writeHead(302, { location: `${here.hub.filesOrigin}/elsewhere` }).end();
      return true;
    };
    const { host } = new URL(here.hub.filesOrigin);
    const notes: string[] = [];
    const error = await failure(pull(({ note }) => note !== undefined && notes.push(note)));
    const sentence = `the list of the files of a/b: ${host} refused it with 403`;
    expect(error).toMatchObject({
      code: "DOWNLOAD",
      message: `${sentence}, 3 times; the same call goes on where this one stopped`,
    });
    expect(notes[0]).toBe(`${sentence}; try 2 of 3 in 1 s`);
  });

  it("on a host that is not there", async () => {
    here.machine.env = { ...here.machine.env, HF_ENDPOINT: "http://127.0.0.1:9" };
    expect(await failure(pull())).toMatchObject({
      code: "DOWNLOAD",
      message: expect.stringContaining("(ECONNREFUSED), 3 times"),
    });
  });
});

describe("the hub's refusals", () => {
  function answer(status: number, code: string, message = "no", headers = {}): void {
    here.hub.intercept = (_, response) => {
      for (const [name, value] of Object.entries(headers)) response.setHeader(name, value as string);
      refuse(response, status, code, message);
      return true;
    };
  }

  it.each<[number, string, string, RegExp]>([
    [401, "", "DOWNLOAD", /^a\/b does not exist, or needs a token: check the name, or set HF_TOKEN/],
    [401, "RepoNotFound", "DOWNLOAD", /^a\/b does not exist, or needs a token/],
    [401, "GatedRepo", "DOWNLOAD", /^a\/b is gated: accept its conditions/],
    [403, "GatedRepo", "DOWNLOAD", /^a\/b is gated: accept its conditions/],
    [403, "", "DOWNLOAD", /^a\/b is not open to everybody: accept its licence .* and set HF_TOKEN/],
    [404, "RepoNotFound", "MODEL_NOT_FOUND", /^no repository a\/b exists on the hub$/],
    [404, "", "MODEL_NOT_FOUND", /^no repository a\/b exists on the hub$/],
    [404, "RevisionNotFound", "MODEL_NOT_FOUND", /^a\/b has no revision "main"; name a branch/],
    [429, "", "DOWNLOAD", /answered 429 \(no\), 3 times/],
    [502, "", "DOWNLOAD", /answered 502 \(no\), 3 times/],
    [418, "", "DOWNLOAD", /^a\/b: .* answered 418 \(no\)$/],
  ])("%i %s", async (status, code, expected, message) => {
    answer(status, code);
    const error = await failure(pull());
    expect(error.code).toBe(expected);
    expect(error.message).toMatch(message);
  });

  it("of a file: gated repositories show their list", async () => {
    addModel();
    here.hub.intercept = (request, response) => {
      if (!request.url!.includes("/resolve/")) return false;
      refuse(response, 401, "GatedRepo", "Access to model a/b is restricted");
      return true;
    };
    expect((await failure(pull())).message).toMatch(/^a\/b is gated/);
  });

  it.each([
    [{}, /^a\/b is not open to everybody: accept its licence .* set HF_TOKEN to a token of that account \(.*403/],
    [{ HF_TOKEN: "mine" }, /^a\/b refuses this token: .*403/],
  ])("of a file with %j says what is needed", async (env, message) => {
    addModel();
    here.hub.intercept = (request, response) => {
      if (!request.url!.includes("/resolve/")) return false;
      refuse(response, 403, "", "no");
      return true;
    };
    const error = await failure(here.pull({ repository: "a/b" }, { env: { ...here.machine.env, ...env } }));
    expect(error).toMatchObject({ code: "DOWNLOAD", message: expect.stringMatching(message) });
  });

  it.each<[string, string | Buffer]>([
    ["a web page", "<html>Log in to the network</html>"],
    ["JSON of another kind", "[1, 2]"],
    ["no commit", '{"sha":"main"}'],
    ["nothing", ""],
  ])("that are %s are no hub", async (_, body) => {
    here.hub.intercept = (_, response) => {
      response.writeHead(200, { "content-type": "text/html" }).end(body);
      return true;
    };
    expect(await failure(pull())).toMatchObject({
      code: "DOWNLOAD",
      message: expect.stringMatching(/does not answer as a Hugging Face hub does .*; check HF_ENDPOINT$/),
    });
  });
});
