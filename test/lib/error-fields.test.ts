import path from "node:path";
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Engine } from "../../lib/engine.js";
import { aboutField, fromNative, GptOssError } from "../../lib/errors.js";
import { ConversationRenderer, renderConversation } from "../../lib/harmony/index.js";
import { tokenizer } from "../../lib/tokenizer/index.js";
import { failure } from "../support/failure.js";

/** The `field` of an error is the caller's own name of an argument or option. */

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.load("synthetic:wide", { backend: "cpu", threads: 1, contextLength: 256 });
});
afterAll(() => engine.close());

type Case = [field: string | undefined, call: () => unknown];

async function expectFields(cases: readonly Case[]): Promise<void> {
  for (const [field, call] of cases) {
    const error = await failure(call);
    expect([error.field, error.message]).toEqual([field, error.message]);
    expect(error).toBeInstanceOf(GptOssError);
    expect(Object.hasOwn(error, "field")).toBe(field !== undefined);
  }
}

const generate = (options: object) => () => engine.generate([1], options as never).result;
/** The grammar does not support look-behind. */
const lookBehind = { type: "string", pattern: "^(?<=a).*$" };
const throwing = () =>
  Object.defineProperty({}, "a", {
    enumerable: true,
    get: () => {
      throw new Error("no");
    },
  });

describe("an error of generate is about", () => {
  it("an option that TypeScript checks", () =>
    expectFields([
      ["temperature", generate({ temperature: -1 })],
      ["topP", generate({ topP: 0 })],
      ["seed", generate({ seed: -1 })],
      ["minTokens", generate({ maxTokens: 2, minTokens: 3 })],
      ["stop", generate({ stop: 7 })],
      ["stop", generate({ stop: Array(1025).fill("a") })],
      ["stop[1]", generate({ stop: ["a", ""] })],
      ["stopTokens[1]", generate({ stopTokens: [1, -1] })],
      ["stopTokens", generate({ stopTokens: { length: -1 } })],
      ["logitBias", generate({ logitBias: { "999999": 1 } })],
      ["logitBias[5]", generate({ logitBias: { 5: 101 } })],
      ["logitBias", generate({ logitBias: throwing() })],
      ["adapter", generate({ adapter: "a:b" })],
      ["adapter", generate({ adapter: "unknown" })],
      ["cacheSalt", generate({ cacheSalt: "x".repeat(1025) })],
      ["signal", generate({ signal: {} })],
      ["logitsProcessor", generate({ logitsProcessor: 1 })],
      ["constraint.kind", generate({ constraint: { kind: "x" } })],
      ["constraint.format.pattern", generate({ constraint: { kind: "text", format: { type: "regex", pattern: 1 } } })],
      ["constraint.extra", generate({ constraint: { kind: "harmony", extra: 1 } })],
      ["constraint.names[0]", generate({ constraint: { kind: "harmony", names: ["f"] } })],
      ["constraint.toolChoice", generate({ constraint: { kind: "harmony", toolChoice: "required" } })],
      [
        "constraint.tools[1].name",
        generate({ constraint: { kind: "harmony", tools: [{ name: "f" }, { name: "f" }] } }),
      ],
      ["temprature", generate({ temprature: 1 })],
      [undefined, generate([])],
      ["prompt", () => engine.generate(7 as never)],
      ["prompt[1]", () => engine.generate([1, -1])],
      ["prompt", () => engine.generate("word ".repeat(300))],
      ["tokens", () => engine.logits(7 as never)],
      ["last", () => engine.logits([1], { last: 2 })],
    ]));

  it("an option that the addon checks, at once or later", () =>
    expectFields([
      ["prompt", () => engine.generate([])],
      ["prompt[1]", () => engine.generate([1, 999_999])],
      ["tokens", () => engine.logits([])],
      ["tokens[0]", () => engine.logits([999_999])],
      ["constraint.format", generate({ constraint: { kind: "text", format: { type: "regex", pattern: "(?<=a)" } } })],
      ["constraint.final", generate({ constraint: { kind: "harmony", final: { type: "regex", pattern: "(?<=a)" } } })],
      [
        "constraint.tools[1].parameters",
        generate({
          constraint: { kind: "harmony", tools: [{ name: "g" }, { name: "f", parameters: parametersOf() }] },
        }),
      ],
      [
        "stopTokens",
        generate({ stopTokens: [], ignoreEos: true, constraint: { kind: "text", format: { type: "json_object" } } }),
      ],
      ["stopTokens", generate({ stopTokens: [1], constraint: { kind: "text", format: { type: "json_object" } } })],
    ]));

  it("the result of a caller's function", () =>
    expectFields([
      ["logitsProcessor", generate({ maxTokens: 1, logitsProcessor: () => new Float32Array(1) })],
      [
        "logitsProcessor",
        generate({
          maxTokens: 1,
          logitsProcessor: () => {
            throw 7; // not an error
          },
        }),
      ],
    ]));

  function parametersOf() {
    return { type: "object", properties: { a: lookBehind } };
  }
});

describe("another error is about", () => {
  const user = { role: "user", content: "Hi" } as const;

  it("a message", () =>
    expectFields([
      ["messages", () => engine.chat(7 as never)],
      ["messages[1].role", () => engine.chat([user, { role: "narrator" } as never])],
      ["messages[1].content", () => engine.chat([user, { role: "user", content: 7 } as never])],
      ["messages[1].tool_call_id", () => engine.chat([user, { role: "tool", content: "x", tool_call_id: "c" }])],
      ["messages[1].name", () => engine.chat([user, { role: "tool", content: "x" }])],
      ["messages", () => engine.chat([{ role: "user", content: "word ".repeat(300) }])],
      ["messages", () => engine.prepareChat([{ role: "user", content: "word ".repeat(20_000) }])],
      ["messages[0].role", () => renderConversation([{ role: "narrator" } as never])],
      ["sharedWith", () => new ConversationRenderer({ sharedWith: {} as never })],
    ]));

  it("an option of a chat", () =>
    expectFields([
      ["tools[0].type", () => engine.chat([user], { tools: [{ type: "x" } as never] })],
      ["toolChoice", () => engine.chat([user], { toolChoice: "required" })],
      ["toolChoice.extra", () => engine.chat([user], { toolChoice: { type: "function", extra: 1 } as never })],
      [
        "responseFormat.json_schema",
        () => engine.chat([user], { responseFormat: { type: "text", json_schema: 1 } as never }),
      ],
      ["reasoningBudget", () => engine.chat([user], { reasoningBudget: -1 })],
      ["topK", () => engine.chat([user], { topK: -1 })],
    ]));

  it("the option of a chat behind a part of the addon's constraint", async () => {
    const tool = (name: string, parameters: object) => ({
      type: "function" as const,
      function: { name, description: "", parameters: { type: "object", ...parameters }, strict: true },
    });
    const schema = { type: "object", properties: { a: lookBehind } };
    const refused = tool("f", { properties: { a: lookBehind } });
    const strict = { type: "json_schema", json_schema: { name: "x", strict: true, schema } } as const;
    await expectFields([
      ["tools[1].function.parameters", () => engine.chat([user], { tools: [tool("g", {}), refused] }).result],
      ["tools[0].function.parameters", () => engine.chat([user], { tools: [refused] }).accepted],
      ["responseFormat.json_schema.schema", () => engine.chat([user], { responseFormat: strict }).result],
      [
        "constraint.format",
        () =>
          engine.chat([user], { constraint: { kind: "text", format: { type: "regex", pattern: "(?<=a)" } } }).result,
      ],
    ]);
  });

  it("a text or ids", () =>
    expectFields([
      ["text", () => tokenizer.encode(7 as never)],
      ["texts[1]", () => tokenizer.encodeBatch(["a", 7 as never])],
      ["allowedSpecial[0]", () => tokenizer.encode("a", { allowedSpecial: ["x"] })],
      ["ids[1]", () => tokenizer.decode([1, -1])],
      ["ids[1]", () => tokenizer.decode(new Uint32Array([1, 999_999]))],
    ]));

  it("an option of Engine.load", () =>
    expectFields([
      ["model", () => Engine.load("")],
      ["model", () => Engine.load("synthetic:tiny?seed=x")],
      ["threads", () => Engine.load("synthetic:tiny", { threads: 0 })],
      ["kvCache.dtype", () => Engine.load("synthetic:tiny", { kvCache: { dtype: "f16" as never } })],
      ["kvCache.dtype", () => Engine.load("synthetic:tiny", { backend: "cpu", kvCache: { dtype: "fp8" } })],
      ["contextLength", () => Engine.load("synthetic:tiny", { backend: "cpu", contextLength: 2 ** 30 })],
      ["backend", () => Engine.load("synthetic:tiny", { backend: "metal" })],
      ["handle", () => Engine.attach(7 as never)],
    ]));
});

describe("the field of an error", () => {
  it("comes from the addon, and only where it has one", () => {
    const made = (more: object) => fromNative(Object.assign(new Error("m"), { code: "UNSUPPORTED", ...more }));
    expect(made({ field: "backend" })).toMatchObject({ field: "backend", code: "UNSUPPORTED" });
    expect(Object.hasOwn(made({}) as object, "field")).toBe(false);
  });

  it("can be renamed", () => {
    const error = new GptOssError("UNSUPPORTED", "m", { field: "a" });
    expect(aboutField(error, (field) => field)).toBe(error);
    expect(aboutField(error, () => "b")).toMatchObject({ code: "UNSUPPORTED", message: "m", field: "b", cause: error });
    expect(aboutField(error, () => null)).not.toHaveProperty("field");
    const without = new GptOssError("UNSUPPORTED", "m");
    expect(aboutField(without, () => "b")).toBe(without);
  });

  it("is present in an attached thread", async () => {
    const worker = new Worker(
      `const { parentPort, workerData } = require("node:worker_threads");
       import(workerData.built).then(async ({ Engine }) => {
         const engine = Engine.attach(workerData.handle);
         const constraint = { kind: "text", format: { type: "regex", pattern: "(?<=a)" } };
         const { code, field } = await engine.generate([1], { constraint }).result.catch((error) => error);
         parentPort.postMessage({ code, field });
         await engine.close();
       });`,
      { eval: true, workerData: { handle: engine.share(), built: path.resolve("dist/index.js") } },
    );
    const told = await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
    expect(told).toEqual({ code: "INVALID_ARGUMENT", field: "constraint.format" });
    await worker.terminate();
  });
});
