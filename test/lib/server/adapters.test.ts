import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Engine } from "../../../lib/engine.js";
import { createServer, type ServerOptions } from "../../../lib/server/index.js";
import { reply, ScriptedEngine } from "../../../lib/testing/index.js";
import { writeAdapter } from "../../support/adapter-files.js";

/** Adapters as names of models: which ones exist, and what reaches the engine. */

let folder: string;
let engine: ScriptedEngine;

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-adapters-"));
  engine = new ScriptedEngine([reply("Hello.")]);
  const { hidden, experts } = engine.info.model;
  const router = { module: "model.layers.0.mlp.router", a: new Float32Array(hidden), b: new Float32Array(experts) };
  for (const name of ["support", "legal.v2"]) {
    await engine.loadAdapter(name, writeAdapter(path.join(folder, name), 1, [router]));
  }
});
afterAll(async () => {
  await engine.close();
  rmSync(folder, { recursive: true });
});

async function withServer<T>(
  body: (app: Awaited<ReturnType<typeof createServer>>) => Promise<T>,
  options: Partial<ServerOptions> = {},
): Promise<T> {
  const app = await createServer({ engine, modelName: ["gpt-oss-20b", "best"], logger: false, ...options });
  try {
    return await body(app);
  } finally {
    await app.close();
  }
}

const messages = [{ role: "user", content: "Hi" }];
const asks = [
  { url: "/v1/chat/completions", payload: { messages } },
  { url: "/v1/completions", payload: { prompt: "Hi", max_tokens: 1 } },
  { url: "/v1/responses", payload: { input: "Hi" } },
];

describe("adapters in a server", () => {
  it("are listed as models, with the model as their parent", () =>
    withServer(async (app) => {
      const { data } = (await app.inject("/v1/models")).json() as { data: { id: string; parent: string | null }[] };
      expect(data.map(({ id, parent }) => [id, parent])).toEqual([
        ["gpt-oss-20b", null],
        ["best", null],
        ["gpt-oss-20b:legal.v2", "gpt-oss-20b"],
        ["gpt-oss-20b:support", "gpt-oss-20b"],
        ["best:legal.v2", "best"],
        ["best:support", "best"],
      ]);
      const one = await app.inject("/v1/models/gpt-oss-20b:support");
      expect(one.json()).toMatchObject({ id: "gpt-oss-20b:support", root: "gpt-oss-20b" });
    }));

  it.each(asks)("$url chooses the adapter, and answers under its name", ({ url, payload }) =>
    withServer(async (app) => {
      for (const [model, adapter] of [
        ["gpt-oss-20b:support", "support"],
        ["best:legal.v2", "legal.v2"],
        ["gpt-oss-20b", undefined],
      ]) {
        const answer = await app.inject({ method: "POST", url, payload: { ...payload, model } });
        expect(answer.statusCode).toBe(200);
        expect(answer.json()).toMatchObject({ model });
        expect(engine.requests.at(-1)!.options.adapter).toBe(adapter);
      }
    }),
  );

  it.each(asks)("$url answers 404 for a name that does not exist", ({ url, payload }) =>
    withServer(async (app) => {
      for (const model of [
        "gpt-oss-20b:other",
        "other:support",
        ":support",
        "gpt-oss-20b:",
        "support",
        "gpt-oss-20b:support:support",
      ]) {
        const answer = await app.inject({ method: "POST", url, payload: { ...payload, model } });
        expect(answer.statusCode).toBe(404);
        expect(answer.json()).toMatchObject({ error: { param: "model", code: "model_not_found" } });
      }
      const { error } = (await app.inject("/v1/models/x")).json() as { error: { message: string } };
      expect(error.message).toContain("use gpt-oss-20b or best or gpt-oss-20b:legal.v2");
    }),
  );

  it("come and go while the server runs", () =>
    withServer(async (app) => {
      const payload = { messages, model: "best:new" };
      const ask = async () => (await app.inject({ method: "POST", url: "/v1/chat/completions", payload })).statusCode;
      expect(await ask()).toBe(404);
      await engine.loadAdapter("new", path.join(folder, "support"));
      expect(await ask()).toBe(200);
      engine.unloadAdapter("new");
      expect(await ask()).toBe(404);
    }));

  it("are not there while the model loads: a request with one is told to come back", () => {
    let loaded = (_: Engine) => {};
    const loading = new Promise<Engine>((resolve) => {
      loaded = resolve;
    });
    return withServer(
      async (app) => {
        expect((await app.inject("/v1/models")).statusCode).toBe(503);
        const payload = { messages, model: "best:support" };
        const early = await app.inject({ method: "POST", url: "/v1/chat/completions", payload });
        expect(early.statusCode).toBe(503);
        loaded(engine);
        await loading;
        const late = await app.inject({ method: "POST", url: "/v1/chat/completions", payload });
        expect(late.statusCode).toBe(200);
      },
      { engine: loading },
    );
  });
});
