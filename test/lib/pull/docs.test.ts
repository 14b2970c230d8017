import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { errorCodes } from "../../../lib/errors.js";
import { verifyModel } from "../../../lib/pull/index.js";
import type { Machine } from "../../../lib/pull/machine.js";
import { failure } from "../../support/failure.js";
import { type Fault, refuse } from "../../support/hub.js";
import { pages } from "../../support/markdown.js";
import { large, setting } from "../../support/pull.js";

/** docs/models.md, "When a download fails": each row happens as it says. */

const here = setting();
const { text } = pages.find(({ name }) => name === "docs/models.md")!;
const section = text.slice(text.indexOf("### When a download fails"));
const rows = [...section.matchAll(/^\| (.+?) \| `([A-Z_]+)` \| `(.*)` \|$/gm)].map(([, what, code, message]) => ({
  what: what!,
  code: code!,
  message: message!,
}));

const set = (env: NodeJS.ProcessEnv): Partial<Machine> => ({ env: { ...here.machine.env, ...env } });
const gguf = (...names: string[]) => Object.fromEntries(names.map((name) => [name, large(10, 1)]));

function several(): void {
  here.hub.add("me/several", gguf("m-Q4_K_M.gguf", "m-Q8_0.gguf"));
}

/** A download whose file of weights always goes wrong in the same way. */
function faulty(fault: Fault): Promise<unknown> {
  here.hub.add("a/b", { "model.safetensors": large(5300, 7) });
  here.hub.fault = () => fault;
  Object.assign(here.machine.limits, { connections: 1, stallMilliseconds: 50 });
  return here.pull({ repository: "a/b" });
}

/** A hub that refuses everything. */
function refusing(repository: string, status: number, code: string, env: NodeJS.ProcessEnv = {}): Promise<unknown> {
  here.hub.intercept = (_, response) => {
    refuse(response, status, code, "no");
    return true;
  };
  return here.pull({ repository }, set(env));
}

/** A hub that sends the file of weights elsewhere. */
function redirecting(location: (url: string) => string, headers: Record<string, string> = {}): Promise<unknown> {
  here.hub.add("a/b", { "model.safetensors": large(5300, 7) });
  here.hub.intercept = (request, response) => {
    if (!request.url!.includes("/resolve/")) return false;
    response.writeHead(302, { ...headers, location: location(request.url!) }).end();
    return true;
  };
  return here.pull({ repository: "a/b" });
}

function failing(code: string): () => Promise<never> {
  return async () => {
    throw Object.assign(new Error(code), { code, syscall: "write" });
  };
}

function listing(names: Record<string, string>): Promise<unknown> {
  here.hub.add("a/b", { "model.safetensors": large(10, 1), ...names });
  return here.pull({ repository: "a/b" });
}

const situations: Record<string, () => Promise<unknown>> = {
  "a name that is none": async () => here.pull({ repository: "llama" }),
  "a repository that does not exist": () => here.pull({ repository: "me/nothing" }),
  "a repository that needs a token": () => refusing("me/private", 401, ""),
  "a gated repository": () => refusing("me/gated", 403, "GatedRepo"),
  "a token that is wrong": () => refusing("me/private", 401, "", { HF_TOKEN: "wrong" }),
  "a token without access": () => refusing("me/private", 403, "", { HF_TOKEN: "mine" }),
  "a repository with access for some": () => refusing("me/private", 403, ""),
  "a revision that does not exist": () => here.pull({ revision: "v2" }),
  "two different revisions": async () => here.pull({ repository: "me/model@v1", revision: "v2" }),
  "a revision that is a path": async () => here.pull({ revision: "../main" }),
  "several GGUF models": () => {
    several();
    return here.pull({ repository: "me/several" });
  },
  "a file that is not there": () => {
    several();
    return here.pull({ repository: "me/several", file: "m.gguf" });
  },
  "a split file without a part": () => {
    here.hub.add("me/split", gguf("m-00001-of-00002.gguf"));
    return here.pull({ repository: "me/split" });
  },
  "weights in other formats": () => {
    here.hub.add("me/torch", { "pytorch_model.bin": large(10, 1) });
    return here.pull({ repository: "me/torch" });
  },
  "weights of another model": () => {
    here.hub.add("me/llama", { "config.json": '{"model_type":"llama"}', "model.safetensors": large(10, 1) });
    return here.pull({ repository: "me/llama" });
  },
  "a config that is no object": () => {
    here.hub.add("me/odd", { "config.json": "[1]", "model.safetensors": large(10, 1) });
    return here.pull({ repository: "me/odd" });
  },
  "a list with a name that leads out of the folder": () => listing({ "../evil.json": "" }),
  "a list with two names of one file": () => listing({ "Config.json": "", "config.json": "" }),
  "something that is no hub": () => {
    here.hub.intercept = (_, response) => {
      response.end("<html>");
      return true;
    };
    return here.pull();
  },
  "an address that is none": () => here.pull({}, set({ HF_ENDPOINT: "hub" })),
  "a token of two lines": () => here.pull({}, set({ HF_TOKEN: "a\nb" })),
  "another kind of proxy": () => here.pull({}, set({ HTTPS_PROXY: "socks5://host" })),
  "`HF_HUB_OFFLINE`": () => here.pull({}, set({ HF_HUB_OFFLINE: "1" })),
  "no server": () => here.pull({}, set({ HF_ENDPOINT: "http://127.0.0.1:9" })),
  "a connection that breaks again and again": () => faulty({ cutAfter: 0 }),
  "a stall": () => faulty({ stallAfter: 0 }),
  "a host that sends next to nothing": () => faulty({ drip: 1 }),
  "a server that is busy": () => faulty({ status: 503 }),
  "too many requests": () => faulty({ status: 429, headers: { "retry-after": "3600" } }),
  "bytes that were changed on the way": () => faulty({ flip: 0 }),
  "a file of another length": () => faulty({ total: 5301 }),
  "a file that changes meanwhile": () =>
    redirecting(() => `${here.hub.filesOrigin}/a/b/model.safetensors`, { "x-linked-etag": '"other"' }),
  "a redirect to an address without encryption": () => redirecting(() => "ftp://127.0.0.1/file"),
  "a redirect with a name or password": () => redirecting(() => "http://me:secret@127.0.0.1/file"),
  "redirects without end": () => redirecting((url) => url),
  "a disk without room": () => here.pull({}, { freeBytes: async () => 1000 }),
  "a disk that is full in the middle": () => here.pull({}, { write: failing("ENOSPC") }),
  "a disk without symbolic links": () => here.pull({}, { symlink: failing("EPERM") }),
  "a folder that is a file": () => {
    writeFileSync(path.join(here.folder, "file"), "");
    return here.pull({ dir: path.join(here.folder, "file") });
  },
  "verify: nothing there": () => verifyModel(path.join(here.folder, "nothing")),
  "verify: no hash is known": () => verifyModel(here.folder),
  "verify: the demo model": () => verifyModel("demo"),
  "verify: a synthetic model": () => verifyModel("synthetic:tiny"),
  "verify: a record that is none": () => {
    writeFileSync(path.join(here.folder, "SHA256SUMS"), "none\n");
    return verifyModel(here.folder);
  },
};

/** Three dots stand for any text. */
function pattern(message: string): RegExp {
  return new RegExp(
    `^${message
      .split("…")
      .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"))
      .join(".*")}$`,
  );
}

describe("the table of failures", () => {
  it("has a row for each situation that is tested, and no other", () => {
    expect(rows.map(({ what }) => what)).toEqual(Object.keys(situations));
    expect(rows.length).toBeGreaterThan(30);
  });

  it.each(rows)("$what", async ({ what, code, message }) => {
    const error = await failure(situations[what]!);
    expect(errorCodes).toContain(code);
    expect(error.code).toBe(code);
    expect(error.message).toMatch(pattern(message));
  });
});
