import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { addon } from "../../../lib/binding.js";
import type { ChatMessage } from "../../../lib/chat/chat.js";
import { Engine } from "../../../lib/engine.js";
import type { GenerateOptions } from "../../../lib/generation/generate-options.js";
import type { LogitsProcessor } from "../../../lib/generation/logits-processor.js";
import * as harmony from "../../../lib/harmony/index.js";
import { tokenizer } from "../../../lib/tokenizer/tokenizer.js";

/**
 * Values of a caller that lie, throw or change while they are read. They must give a typed error, never hang or be
 * dropped silently.
 */

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.load("synthetic:tiny", { contextLength: 64, kvCache: { bytes: "2MiB" } });
});
afterAll(() => engine.close());
const vocab = 512;

// biome-ignore lint/suspicious/noExplicitAny: what a caller without types gives
type Wrong = any;

function detached<T extends Float32Array | Uint32Array>(array: T): T {
  structuredClone(array.buffer, { transfer: [array.buffer as ArrayBuffer] });
  return array;
}

/** An array whose `length` differs from the length of its memory. */
function lying<T extends object>(array: T, length: number): T {
  return Object.defineProperty(array, "length", { value: length });
}

class Subclass extends Float32Array {
  override get length(): number {
    return vocab;
  }
}

const boom = () => {
  throw "boom";
};
const throwing = (keys: string[]) =>
  Object.defineProperties({}, Object.fromEntries(keys.map((key) => [key, { get: boom, enumerable: true }])));
/** Every read of it throws a value that is not an error. */
const trap: Wrong = new Proxy({}, { get: boom, has: boom, ownKeys: boom, getPrototypeOf: boom });
const trapList: Wrong = new Proxy([1], { get: boom });
const revoked: Wrong = (() => {
  const { proxy, revoke } = Proxy.revocable([], {});
  revoke();
  return proxy;
})();
async function refusal(call: () => unknown): Promise<{ name: string; code: string; message: string }> {
  try {
    await call();
  } catch (error) {
    const { name, code, message } = error as { name: string; code: string; message: string };
    return { name, code, message };
  }
  return { name: "none", code: "none", message: "nothing was thrown" };
}

const refused = (message: RegExp) => ({
  name: "GptOssError",
  code: "INVALID_ARGUMENT",
  message: expect.stringMatching(message),
});

describe("the result of a logitsProcessor", () => {
  const results: [string, LogitsProcessor][] = [
    ["few logits whose length lies", () => lying(new Float32Array(3), vocab)],
    ["a subclass whose length lies", () => new Subclass(3)],
    ["memory that is detached", () => detached(new Float32Array(vocab))],
    ["its own logits, detached", (logits) => void detached(logits)],
    [
      "a resizable buffer made smaller",
      () => {
        const buffer: Wrong = new (ArrayBuffer as Wrong)(4 * vocab, { maxByteLength: 8 * vocab });
        const logits = new Float32Array(buffer, 0, vocab);
        buffer.resize(8);
        return logits;
      },
    ],
    ["another element type", () => new Float64Array(vocab) as Wrong],
    ["integers", () => new Uint32Array(vocab) as Wrong],
    ["a plain array", () => new Array(vocab).fill(0) as Wrong],
    ["a Proxy", (logits) => new Proxy(logits, {})],
    ["an object with that prototype", () => Object.create(Float32Array.prototype)],
    ["a throw of no error", boom],
    ["a throw of nothing", () => Promise.reject(undefined)],
    ["a Proxy whose traps throw", () => trap],
  ];

  it.each(results)("%s: the request is refused by name", async (_, logitsProcessor) => {
    const failure = await refusal(() => engine.generate([1], { maxTokens: 2, logitsProcessor }).result);
    expect(failure).toEqual(refused(/logitsProcessor/));
  });

  it("enough logits with a wrong length property are accepted", async () => {
    const logitsProcessor = () => lying(new Float32Array(vocab).fill(0).fill(9, 7, 8), 3);
    const { tokens } = await engine.generate([1], { maxTokens: 2, temperature: 0, logitsProcessor }).result;
    expect(tokens).toEqual([7, 7]);
  });

  it("logits in shared memory are accepted", async () => {
    const logitsProcessor = () => new Float32Array(new SharedArrayBuffer(4 * vocab)).fill(9, 7, 8);
    const { tokens } = await engine.generate([1], { maxTokens: 2, temperature: 0, logitsProcessor }).result;
    expect(tokens).toEqual([7, 7]);
  });

  it("an error that it throws arrives unchanged", async () => {
    const thrown = new RangeError("mine");
    const run = engine.generate([1], {
      logitsProcessor: () => {
        throw thrown;
      },
    });
    await expect(run.result).rejects.toBe(thrown);
  });

  it("the addon refuses too few logits", () => {
    const native = addon().loadEngineNow("synthetic:tiny", nativeOptions, () => {});
    expect(() => native.supplyLogits(1, 0, lying(new Float32Array(3), vocab))).toThrow("3 logits where 512");
    expect(() => native.supplyLogits(1, 0, [] as Wrong)).toThrow("expected a Float32Array");
    expect(() => native.supplyLogits(1, 0, detached(new Float32Array(vocab)))).toThrow("is detached");
    return native.close();
  });
});

const nativeOptions = {
  backend: "cpu",
  threads: 1,
  contextLength: 64,
  maxSequences: 2,
  maxQueue: 2,
  maxBatchTokens: 0,
  kvBytes: 2 ** 21,
  kvDtype: "auto",
  prefixCache: true,
  numerics: "auto",
  denseWeights: "bf16",
  expertWeights: "mxfp4",
  packedWeights: "memory",
  repeatable: false,
  adapters: [] as never[],
} as const;

describe("token ids", () => {
  const lists: [string, () => Wrong][] = [
    ["a length of 10^12", () => ({ length: 1e12 })],
    ["a length that is none", () => ({ length: { valueOf: () => 3 } })],
    [
      "a Proxy of length 10^12",
      () => new Proxy([], { get: (target, key) => (key === "length" ? 1e12 : target[key as Wrong]) }),
    ],
    ["an element with a valueOf", () => [{ valueOf: () => 1 }]],
    ["a getter that throws", () => Object.defineProperty([1], 0, { get: boom })],
    ["a length that throws", () => throwing(["length"])],
    ["a Proxy whose traps throw", () => trapList],
    ["a revoked Proxy", () => revoked],
    ["memory that is detached", () => detached(Uint32Array.of(1, 2))],
    ["a hole", () => new Array(3)],
  ];
  const readers: [string, (list: Wrong) => unknown][] = [
    ["generate", (list) => engine.generate(list, { maxTokens: 1 }).result],
    ["logits", (list) => engine.logits(list)],
    ["stopTokens", (stopTokens) => engine.generate([1], { stopTokens, maxTokens: 1 }).result],
    ["decode", (list) => tokenizer.decode(list)],
    ["decodeBytes", (list) => tokenizer.decodeBytes(list)],
  ];

  describe.each(readers)("of %s", (_, read) => {
    it.each(lists)("%s", async (_, list) => {
      expect(await refusal(() => read(list()))).toEqual(refused(/prompt|stopTokens|ids/));
    });
  });

  it("a wrong length property of a typed array is ignored", async () => {
    const ids = lying(Uint32Array.of(1, 2, 3), 1e9);
    expect(engine.generate(ids, { maxTokens: 1 }).promptTokens).toEqual(Uint32Array.of(1, 2, 3));
    expect(tokenizer.decode(lying(tokenizer.encode("one two"), 0))).toBe("one two");
  });

  it("later writes of the caller have no effect", async () => {
    const ids = Uint32Array.of(1, 2, 3);
    const run = engine.generate(ids, { maxTokens: 1 });
    ids.fill(99);
    expect(run.promptTokens).toEqual(Uint32Array.of(1, 2, 3));
  });

  it("of an array with replaced methods, the elements count", () => {
    expect(tokenizer.decode(Object.assign([64], { [Symbol.iterator]: boom, map: boom }))).toBe(tokenizer.decode([64]));
  });
});

describe("options", () => {
  const generate = (options: Wrong) => () => engine.generate([1], { maxTokens: 1, ...options }).result;
  const chat = (options: Wrong) => () =>
    engine.chat([{ role: "user", content: "x" }], { maxTokens: 1, ...options }).result;
  const calls: [string, () => unknown, RegExp][] = [
    ["generate, all of them throw", () => engine.generate([1], throwing(["maxTokens"])), /generate/],
    ["generate, a Proxy", () => engine.generate([1], trap), /options of generate/],
    ["generate, a revoked Proxy", () => engine.generate([1], revoked), /options of generate/],
    ["logits, a number as signal", () => engine.logits([1], { signal: 5 as Wrong }), /signal/],
    ["logits, options as tokens", () => engine.logits({ signal: 5 } as Wrong), /prompt/],
    ["logits, null", () => engine.logits([1], null as Wrong), /options of logits/],
    ["logits, a getter", () => engine.logits([1], throwing(["last"])), /options of logits/],
    ["load, a getter", () => Engine.load("synthetic:tiny", throwing(["threads"])), /options of Engine.load/],
    ["load, kvCache", () => Engine.load("synthetic:tiny", { kvCache: throwing(["bytes"]) }), /kvCache/],
    ["load, a callback", () => Engine.load("synthetic:tiny", { onProgress: boom }), /onProgress threw "boom"/],
    ["attach, a getter", () => Engine.attach(throwing(["handle"]) as Wrong), /handle/],
    ["attach, a Proxy", () => Engine.attach(trap), /handle/],
    [
      "stop, an endless iterator",
      generate({ stop: Object.assign(["", "x"], { [Symbol.iterator]: boom }) }),
      /stop\[0\]/,
    ],
    ["stop, a Proxy", generate({ stop: trapList }), /stop/],
    ["stop, holes", generate({ stop: new Array(3) }), /stop\[0\]/],
    ["stop, 4 thousand million holes", generate({ stop: new Array(2 ** 32 - 1) }), /stop has more than/],
    ["logitBias, a Proxy of a Map", generate({ logitBias: new Proxy(new Map(), {}) }), /logitBias/],
    ["logitBias, a getter", generate({ logitBias: throwing(["1"]) }), /logitBias/],
    ["logitBias, a valueOf", generate({ logitBias: { 1: { valueOf: () => 1 } } }), /logitBias/],
    ["temperature, a valueOf", generate({ temperature: { valueOf: () => 1 } }), /temperature/],
    [
      "signal, one that throws",
      generate({ signal: { aborted: false, addEventListener: boom, removeEventListener: boom } }),
      /signal/,
    ],
    ["signal, a Proxy", generate({ signal: trap }), /signal/],
    ["constraint, a getter", generate({ constraint: throwing(["kind"]) }), /constraint/],
    ["constraint, a schema", generate({ constraint: schema(throwing(["type"])) }), /constraint/],
    [
      "constraint, a class",
      generate({
        constraint: schema(
          new (class {
            get [Symbol.toStringTag]() {
              return boom();
            }
            toJSON = boom;
          })(),
        ),
      }),
      /schema/,
    ],
    [
      "constraint, choices",
      generate({ constraint: { kind: "text", format: { type: "choice", choices: trapList } } }),
      /constraint/,
    ],
    ["tools, a Proxy", chat({ tools: trapList }), /tools/],
    ["tools, a getter", chat({ tools: [{ type: "function", function: throwing(["name"]) }] }), /tools/],
    ["toolChoice", chat({ toolChoice: throwing(["type"]) }), /toolChoice/],
    ["responseFormat", chat({ responseFormat: throwing(["type"]) }), /responseFormat/],
    ["encode", () => tokenizer.encode("x", throwing(["allowedSpecial"])), /options of encode/],
    ["encode, a list", () => tokenizer.encode("x", { allowedSpecial: trapList }), /allowedSpecial/],
    ["encodeInto", () => tokenizer.encodeInto("x", detached(new Uint32Array(8))), /target/],
    ["encodeInto, a Proxy", () => tokenizer.encodeInto("x", new Proxy(new Uint32Array(8), {})), /target/],
    ["encodeBatch", () => tokenizer.encodeBatch(trapList), /texts/],
    ["encodeBatch, 4 thousand million holes", () => tokenizer.encodeBatch(new Array(2 ** 32 - 1)), /texts/],
    ["encodeBatch, a revoked Proxy", () => tokenizer.encodeBatch(revoked), /texts/],
    ["cancel, no choice", () => engine.generate([1], { maxTokens: 1 }).cancel(1), /index/],
    ["cancel, a text", () => engine.generate([1], { maxTokens: 1 }).cancel("0" as Wrong), /index/],
  ];
  it.each(calls)("%s", async (_, call, message) => {
    expect(await refusal(call)).toEqual(refused(message));
  });

  it("a value that changes is read once", async () => {
    let reads = 0;
    const options = Object.defineProperty({}, "maxTokens", {
      enumerable: true,
      get: () => (++reads === 1 ? 2 : "many"),
    }) as GenerateOptions;
    const { tokens } = await engine.generate([1], options).result;
    expect([tokens.length <= 2, reads]).toEqual([true, 1]);
  });

  it("stop strings that change later stay as they were checked", async () => {
    let reads = 0;
    const stop = Object.defineProperty(["x"], 0, { get: () => (++reads === 1 ? "x" : 5) });
    await engine.generate([1], { maxTokens: 2, stop }).result;
    expect(reads).toBe(1);
  });
});

function schema(of: object): Wrong {
  return { kind: "text", format: { type: "json_schema", schema: of } };
}

describe("messages", () => {
  const lists: [string, Wrong][] = [
    ["a Proxy whose traps throw", trapList],
    ["a revoked Proxy", revoked],
    ["4 thousand million holes", new Array(2 ** 32 - 1)],
    ["a hole", new Array(1)],
    ["a message whose role throws", [throwing(["role"])]],
    [
      "a message whose content throws",
      [Object.defineProperty({ role: "user" }, "content", { get: boom, enumerable: true })],
    ],
    ["a part that throws", [{ role: "user", content: [throwing(["type"])] }]],
    ["a part that is a Proxy", [{ role: "user", content: [trap] }]],
    [
      "arguments whose toJSON throws",
      [{ role: "assistant", tool_calls: [{ name: "f", arguments: { toJSON: boom } }] }],
    ],
    ["arguments with a bigint", [{ role: "assistant", tool_calls: [{ name: "f", arguments: { x: 1n } }] }]],
    [
      "an instance whose fields throw",
      [
        new (class {
          get role() {
            return boom();
          }
        })(),
      ],
    ],
  ];
  const readers: [string, (list: readonly ChatMessage[]) => unknown][] = [
    ["chat", (list) => engine.chat(list, { maxTokens: 1 }).result],
    ["prepareChat", (list) => engine.prepareChat(list)],
    ["renderConversation", (list) => harmony.renderConversation(list as Wrong)],
    ["ConversationRenderer", (list) => new harmony.ConversationRenderer().renderForCompletion(list as Wrong)],
  ];
  describe.each(readers)("of %s", (_, read) => {
    it.each(lists)("%s", async (_, list) => {
      expect(await refusal(() => read(list))).toEqual(refused(/messages|conversation/));
    });
  });

  it("an array with replaced methods is read by its elements", () => {
    const list: Wrong = Object.assign([{ role: "user", content: "x" }], {
      map: () => [],
      [Symbol.iterator]: boom,
      entries: boom,
    });
    expect(harmony.renderConversation(list)).toEqual(harmony.renderConversation([{ role: "user", content: "x" }]));
  });
});
