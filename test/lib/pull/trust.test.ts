import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import path from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { failure } from "../../support/failure.js";
import { large, setting } from "../../support/pull.js";

/** What a server or the environment can and cannot make the program do. */

const here = setting();
const servers: Server[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

async function serve(server: Server): Promise<string> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const set = (env: NodeJS.ProcessEnv) => ({ env: { ...here.machine.env, ...env } });

describe("the token", () => {
  it.each<[string, NodeJS.ProcessEnv]>([
    ["HF_TOKEN", { HF_TOKEN: " secret-1\n", HUGGING_FACE_HUB_TOKEN: "other" }],
    ["HUGGING_FACE_HUB_TOKEN", { HUGGING_FACE_HUB_TOKEN: "secret-1" }],
  ])("of %s goes to the hub, and not to the host of the files", async (_, env) => {
    await here.pull({}, set(env));
    const sent = (host: string) =>
      new Set(here.hub.seen.filter((one) => one.host === host).map((one) => one.authorization));
    expect(sent("hub")).toEqual(new Set(["Bearer secret-1"]));
    expect(sent("files")).toEqual(new Set([undefined]));
  });

  it("is read from its file, also from one that HF_TOKEN_PATH names", async () => {
    writeFileSync(path.join(here.folder, "token"), "from-home\n");
    await here.pull();
    expect(here.hub.seen[0]!.authorization).toBe("Bearer from-home");
    writeFileSync(path.join(here.folder, "other"), "from-path\n");
    here.hub.seen.length = 0;
    await here.pull({}, set({ HF_TOKEN_PATH: path.join(here.folder, "other") }));
    expect(here.hub.seen[0]!.authorization).toBe("Bearer from-path");
  });

  it("that cannot be one is refused, and is in no message", async () => {
    const error = await failure(here.pull({}, set({ HF_TOKEN: "two\nlines" })));
    expect(error.code).toBe("INVALID_ARGUMENT");
    expect(error.message).toBe("Expected a token of one line without spaces in HF_TOKEN; set it anew");
  });

  it("does not follow a page of the list to another host", async () => {
    const headers: (string | undefined)[] = [];
    const other = await serve(
      createServer((request, response) => {
        headers.push(request.headers.authorization);
        response.end("[]");
      }),
    );
    here.hub.intercept = (request, response) => {
      if (!request.url!.includes("/tree/")) return false;
      response.writeHead(200, { link: `<${other}/more>; rel="next"` }).end("[]");
      return true;
    };
    await failure(here.pull({}, set({ HF_TOKEN: "secret" })));
    expect(headers).toEqual([undefined]);
  });
});

describe("a redirect", () => {
  const redirect = (location: string) => {
    here.hub.intercept = (request, response) => {
      if (!request.url!.endsWith("/config.json")) return false;
      response.writeHead(307, { location }).end();
      return true;
    };
  };

  it.each([
    ["ftp://127.0.0.1/x", /not encrypted; expected https/],
    ["file:///etc/passwd", /not encrypted; expected https/],
    ["http://user:password@127.0.0.1/x", /leads to http:\/\/127\.0\.0\.1 with a name or password in the address/],
    ["http://:password@127.0.0.1/x", /with a name or password in the address; expected none/],
    ["http://[", /leads nowhere/],
  ])("to %s is refused", async (location, message) => {
    redirect(location);
    expect(await failure(here.pull())).toMatchObject({ code: "DOWNLOAD", message: expect.stringMatching(message) });
  });

  it("that goes round is refused", async () => {
    const { commit } = here.hub.repositories.get("openai/gpt-oss-20b")!;
    redirect(`/openai/gpt-oss-20b/resolve/${commit}/config.json`);
    expect((await failure(here.pull())).message).toMatch(/more than 5 redirects/);
  });

  it("to the new name of a repository is followed", async () => {
    here.hub.add("new/name", { "config.json": "{}", "model.safetensors": large(10, 1) });
    here.hub.intercept = (request, response) => {
      if (!request.url!.includes("old/name")) return false;
      response.writeHead(307, { location: request.url!.replace("old/name", "new/name") }).end();
      return true;
    };
    expect((await here.pull({ repository: "old/name" })).files).toHaveLength(2);
  });
});

describe("names in the list", () => {
  it.each([
    "../evil.json",
    "a/../../evil.json",
    "/etc/evil.json",
    "a//b.json",
    "./config.json",
    "..\\evil.json",
    "nul\0.json",
    "line\nbreak.json",
    "",
    `${"x".repeat(300)}.json`,
  ])("like %j are refused before anything is written", async (name) => {
    here.hub.add("a/b", { "model.safetensors": large(10, 1), [name]: "evil" });
    const error = await failure(here.pull({ repository: "a/b" }));
    expect(error).toMatchObject({ code: "DOWNLOAD", message: expect.stringContaining("no safe name for a file here") });
    expect(readdirSync(here.folder)).toEqual([]);
  });

  it("that collide are refused", async () => {
    here.hub.add("a/b", { "model.safetensors": large(10, 1), "Config.json": "1", "config.json": "2" });
    expect((await failure(here.pull({ repository: "a/b" }))).message).toMatch(/which cannot both be files here$/);
  });

  it.each<[string, object]>([
    ["a hash that is a path", { path: "model.safetensors", size: 1, oid: "../../../evil" }],
    ["a negative size", { path: "model.safetensors", size: -1, oid: "0".repeat(40) }],
    ["a size that is a text", { path: "model.safetensors", size: "1", oid: "0".repeat(40) }],
    ["a name that is a number", { path: 5, size: 1, oid: "0".repeat(40) }],
    ["no hash", { path: "model.safetensors", size: 1 }],
  ])("with %s are refused", async (_, entry) => {
    here.hub.intercept = (request, response) => {
      if (!request.url!.includes("/tree/")) return false;
      response.end(JSON.stringify([{ type: "file", ...entry }]));
      return true;
    };
    expect(await failure(here.pull())).toMatchObject({
      code: "DOWNLOAD",
      message: expect.stringContaining("does not answer as"),
    });
    expect(existsSync(here.cache)).toBe(false);
  });

  it("without end are refused", async () => {
    let pages = 0;
    here.hub.intercept = (request, response) => {
      if (!request.url!.includes("/tree/")) return false;
      const next = `<${here.hub.endpoint}/api/models/a/b/tree/x?cursor=${++pages}>; rel="next"`;
      response.writeHead(200, { link: next }).end("[]");
      return true;
    };
    expect((await failure(here.pull())).message).toContain("has more than 1000 pages");
  });
});

describe("the environment", () => {
  it.each<[NodeJS.ProcessEnv, string, RegExp]>([
    [{ HF_HUB_OFFLINE: "1" }, "DOWNLOAD", /^HF_HUB_OFFLINE is set, so nothing is downloaded/],
    [{ HF_ENDPOINT: "hub.example" }, "INVALID_ARGUMENT", /for HF_ENDPOINT but received "hub\.example"$/],
    [{ HF_ENDPOINT: "ftp://hub.example" }, "INVALID_ARGUMENT", /for HF_ENDPOINT but received/],
    [
      { HTTPS_PROXY: "socks5://user:secret@host" },
      "INVALID_ARGUMENT",
      /^Expected an address such as http:\/\/proxy:3128 for HTTPS_PROXY; other/,
    ],
  ])("%j", async (env, code, message) => {
    const error = await failure(here.pull({}, set(env)));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    expect(here.hub.seen).toEqual([]);
  });

  it.each<[NodeJS.ProcessEnv, string]>([
    [{ HF_HUB_CACHE: "1", HUGGINGFACE_HUB_CACHE: "2", HF_HOME: "3", XDG_CACHE_HOME: "4" }, "1"],
    [{ HF_HUB_CACHE: "", HUGGINGFACE_HUB_CACHE: "2", HF_HOME: "3", XDG_CACHE_HOME: "4" }, "2"],
    [{ HF_HOME: "3", XDG_CACHE_HOME: "4" }, "3/hub"],
    [{ HF_HOME: "", XDG_CACHE_HOME: "4" }, "4/huggingface/hub"],
  ])("%j chooses the cache", async (given, expected) => {
    const env = Object.fromEntries(Object.entries(given).map(([name, to]) => [name, to && path.join(here.folder, to)]));
    const { folder } = await here.pull({}, set(env));
    expect(path.relative(here.folder, folder)).toMatch(
      new RegExp(`^${expected}/models--openai--gpt-oss-20b/snapshots/`),
    );
  });
});

describe("a proxy", () => {
  /** A proxy that makes tunnels, and asks for a password where one is set. */
  async function proxy(password?: string): Promise<{ address: string; hosts: string[] }> {
    const hosts: string[] = [];
    const server = createServer();
    server.on("connect", (request, socket) => {
      hosts.push(request.url!);
      if (password !== undefined && request.headers["proxy-authorization"] !== password) {
        socket.end("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
        return;
      }
      const [host, port] = request.url!.split(":");
      const to = connect(Number(port), host, () => {
        socket.write("HTTP/1.1 200 OK\r\n\r\n");
        to.pipe(socket).pipe(to);
      });
      for (const one of [to, socket]) one.on("error", () => {});
    });
    return { address: await serve(server), hosts };
  }

  it("is used for the hub and for the files", async () => {
    const { address, hosts } = await proxy();
    await here.pull({}, set({ HTTP_PROXY: address, HF_TOKEN: "secret" }));
    const expected = [here.hub.endpoint, here.hub.filesOrigin].map((origin) => origin.slice("http://".length));
    expect(new Set(hosts)).toEqual(new Set(expected));
  });

  it("is left out for the hosts of NO_PROXY", async () => {
    const { address, hosts } = await proxy();
    await here.pull({}, set({ http_proxy: address, no_proxy: "127.0.0.1" }));
    expect(hosts).toEqual([]);
  });

  it("that is not there is named as a reason", async () => {
    const error = await failure(here.pull({}, set({ HTTP_PROXY: "http://127.0.0.1:9" })));
    expect(error.message).toContain(
      "failed (ECONNREFUSED, perhaps to the proxy of HTTP_PROXY or HTTPS_PROXY), 3 times",
    );
  });

  it("gets its password, and its refusal is told", async () => {
    const { address } = await proxy(`Basic ${Buffer.from("me:pass").toString("base64")}`);
    await here.pull({}, set({ HTTP_PROXY: address.replace("://", "://me:pass@") }));
    const error = await failure(here.pull({}, set({ HTTP_PROXY: address })));
    expect(error).toMatchObject({ code: "DOWNLOAD", message: expect.stringContaining("407") });
  });
});

describe("the options", () => {
  it.each<[object, string | undefined]>([
    [{ repository: "gpt-oss-30b" }, "repository"],
    [{ repository: "a/b/c" }, "repository"],
    [{ repository: "a/.." }, "repository"],
    [{ repository: "a--b/c" }, "repository"],
    [{ repository: "datasets/a/b" }, "repository"],
    [{ repository: 5 }, "repository"],
    [{ repository: "" }, "repository"],
    [{ repository: "https://example.com/a/b" }, "repository"],
    [{ repository: "a/b@../c" }, "repository"],
    [{ repository: "./a/b" }, "repository"],
    [{ repository: "gpt-oss:20b" }, "repository"],
    [{ repository: "a/b@v1", revision: "v2" }, "revision"],
    [{ repository: "a/b@-v" }, "revision"],
    [{ repository: "a/b:m.gguf", file: "n.gguf" }, "file"],
    [{ repository: "a/b:\0" }, "file"],
    [{ revision: "../main" }, "revision"],
    [{ revision: "a/../b" }, "revision"],
    [{ revision: "" }, "revision"],
    [{ revision: "-x" }, "revision"],
    [{ dir: "" }, "dir"],
    [{ dir: 5 }, "dir"],
    [{ file: "" }, "file"],
    [{ onProgress: 5 }, "onProgress"],
    [{ signal: 5 }, "signal"],
    [{ direcotry: "a" }, "direcotry"],
  ])("%j are refused", async (options, field) => {
    const pulling = async () => here.pull(options);
    expect(await failure(pulling)).toMatchObject({ code: "INVALID_ARGUMENT", field });
    expect(here.hub.seen).toEqual([]);
  });

  it("name a branch that does not exist", async () => {
    expect(await failure(here.pull({ revision: "v9" }))).toMatchObject({ code: "MODEL_NOT_FOUND", field: "revision" });
  });

  it("name a repository without weights", async () => {
    here.hub.add("a/b", { "config.json": "{}", "pytorch_model.bin": large(10, 1) });
    expect(await failure(here.pull({ repository: "a/b" }))).toMatchObject({
      code: "UNSUPPORTED",
      message: "a/b has no .safetensors and no .gguf files, which this version loads; it has .bin files",
    });
  });
});
