import { describe, expect, it } from "vitest";
import type { GptOssError } from "../../../lib/errors.js";
import {
  type GenerateOptions,
  generateOptionNames,
  nativeRequestOptions,
} from "../../../lib/generation/generate-options.js";

const model = { vocab: 512, stopTokens: [510], maskReserved: false };
const request = (options: GenerateOptions) => nativeRequestOptions({ seed: 1, ...options }, model).request;

describe("nativeRequestOptions", () => {
  it("has defaults for everything but the seed", () => {
    expect(request({})).toEqual({
      n: 1,
      maxTokens: 2 ** 31 - 1,
      minTokens: 0,
      stopTokens: Uint32Array.of(510),
      stop: [],
      sampling: {
        temperature: 1,
        topK: 0,
        topP: 1,
        minP: 0,
        repetitionPenalty: 1,
        presencePenalty: 0,
        frequencyPenalty: 0,
        seed: 1n,
        maskReserved: false,
      },
      bias: { tokens: new Uint32Array(), values: new Float32Array() },
      topLogprobs: 0,
      priority: 0,
      tenant: "",
      cacheSalt: "",
      adapter: "",
      processed: false,
      constraint: null,
    });
  });

  it("passes on the given values", () => {
    const logitsProcessor = () => {};
    const signal = new AbortController().signal;
    const checked = nativeRequestOptions(
      {
        n: 64,
        maxTokens: 9,
        minTokens: 9,
        ignoreEos: true,
        logprobs: 20,
        priority: -1000,
        tenant: "ö",
        cacheSalt: "ä",
        logitsProcessor,
        signal,
      },
      model,
    );
    expect(checked.request).toMatchObject({
      n: 64,
      maxTokens: 9,
      minTokens: 9,
      stopTokens: new Uint32Array(),
      topLogprobs: 20,
      priority: -1000,
      tenant: "ö",
      cacheSalt: "ä",
      processed: true,
    });
    expect(checked.logitsProcessor).toBe(logitsProcessor);
    expect(checked.signal).toBe(signal);
  });

  it("takes one stop string or several, up to the limits", () => {
    expect(request({ stop: "\n\n" }).stop).toEqual(["\n\n"]);
    expect(request({ stop: [] }).stop).toEqual([]);
    const most = Array.from({ length: 1024 }, (_, i) => `${i}`.padStart(64, "x"));
    expect(request({ stop: most }).stop).toEqual(most);
  });

  it("takes a bias as an object or a Map, -Infinity to ban", () => {
    const bias = { tokens: Uint32Array.of(3, 511), values: Float32Array.of(-100, Number.NEGATIVE_INFINITY) };
    expect(request({ logitBias: { 3: -100, 511: Number.NEGATIVE_INFINITY } }).bias).toEqual(bias);
    expect(
      request({
        logitBias: new Map([
          [3, -100],
          [511, Number.NEGATIVE_INFINITY],
        ]),
      }).bias,
    ).toEqual(bias);
    expect(request({ logitBias: JSON.parse('{"3":-100}') }).bias.tokens).toEqual(Uint32Array.of(3));
    expect(request({ logitBias: Object.create(null) }).bias.tokens).toHaveLength(0);
  });

  const many = (entries: number, value: (i: number) => unknown) =>
    Object.fromEntries(Array.from({ length: entries }, (_, i) => [i, value(i)]));

  it.each<[RegExp, object]>([
    [/\[1, 64\] for n but received 0/, { n: 0 }],
    [/\[1, 64\] for n but received 65/, { n: 65 }],
    [/n but received NaN/, { n: Number.NaN }],
    [/minTokens but received -1/, { minTokens: -1 }],
    [/\[0, 10\] for minTokens but received 11/, { minTokens: 11, maxTokens: 10 }],
    [/\[0, 20\] for logprobs but received 21/, { logprobs: 21 }],
    [/logprobs but received true/, { logprobs: true }],
    [/\[-1000, 1000\] for priority/, { priority: 1001 }],
    [/priority but received 0.5/, { priority: 0.5 }],
    [/cacheSalt but received 5/, { cacheSalt: 5 }],
    [/at most 1024 characters for cacheSalt but received 1025/, { cacheSalt: "x".repeat(1025) }],
    [/well-formed text for cacheSalt/, { cacheSalt: "\ud800" }],
    [/a function for logitsProcessor/, { logitsProcessor: {} }],
    [/a text or an array of texts for stop but received 5/, { stop: 5 }],
    [/stop but received null/, { stop: null }],
    [/not empty for stop but/, { stop: "" }],
    [/not empty for stop\[1\]/, { stop: ["a", ""] }],
    [/text for stop\[1\] but received 7/, { stop: ["a", 7] }],
    [/stop\[0\] but received undefined/, { stop: new Array(3) }],
    [/well-formed text for stop\[0\]/, { stop: ["\udc00"] }],
    [/at most 1024 texts for stop but received 100000/, { stop: Array.from({ length: 100_000 }, String) }],
    [/at most 65536 bytes of UTF-8 together for stop but received 65538/, { stop: "é".repeat(32_769) }],
    [/an object or a Map .* for logitBias but received null/, { logitBias: null }],
    [/logitBias but received an array/, { logitBias: [1] }],
    [/logitBias but received an object \(Set\)/, { logitBias: new Set([1]) }],
    [/logitBias but received an object \(Float32Array\)/, { logitBias: new Float32Array(4) }],
    [/a token id below 512 for an id of logitBias but received 512/, { logitBias: { 512: 1 } }],
    [/an id of logitBias but received "-1"/, { logitBias: { "-1": 1 } }],
    [/an id of logitBias but received "the"/, { logitBias: { the: 1 } }],
    [/an id of logitBias but received "01"/, { logitBias: { "01": 1 } }],
    [/an id of logitBias but received "1"/, { logitBias: new Map([["1", 1]]) }],
    [/\[-100, 100\], or -Infinity, for logitBias\[1\] but received 101/, { logitBias: { 1: 101 } }],
    [/logitBias\[1\] but received NaN/, { logitBias: { 1: Number.NaN } }],
    [/logitBias\[1\] but received Infinity/, { logitBias: { 1: Number.POSITIVE_INFINITY } }],
    [/logitBias\[1\] but received "5"/, { logitBias: { 1: "5" } }],
    [/at most 4096 entries for logitBias but received 4097/, { logitBias: many(4097, () => 1) }],
  ])("refuses with %s", (message, options) => {
    let error: GptOssError | undefined;
    try {
      request(options);
    } catch (thrown) {
      error = thrown as GptOssError;
    }
    expect(error?.code).toBe("INVALID_ARGUMENT");
    expect(error?.message).toMatch(message);
    expect(error?.message.length).toBeLessThan(300);
  });
});

describe("a missing value", () => {
  const names = [...generateOptionNames];

  it("counts as absent when it is undefined", () => {
    expect(request(Object.fromEntries(names.map((name) => [name, undefined])) as GenerateOptions)).toEqual({
      ...request({}),
      sampling: { ...request({}).sampling, seed: expect.any(BigInt) },
    });
  });

  it.each(names)("is refused when %s is null", (name) => {
    const refused = () => nativeRequestOptions({ [name]: null }, model);
    expect(refused).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    expect(refused).toThrow(name);
  });

  it("may be a length that an array cannot have", () => {
    for (const length of [2 ** 40, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => request({ stopTokens: { length } })).toThrow(
        /an integer in \[0, 4294967295\] for the length of stopTokens/,
      );
    }
  });
});
