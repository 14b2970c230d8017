import { readFileSync } from "node:fs";
import path from "node:path";
import { Worker } from "node:worker_threads";
import { encode as peerEncode } from "gpt-tokenizer/encoding/o200k_base";
import { describe, expect, it, vi } from "vitest";
import { packageRoot } from "../../../lib/binding.js";
import { GptOssError } from "../../../lib/errors.js";
import { tokenizer } from "../../../lib/tokenizer/index.js";
import { tokenBytes, tokenText } from "../../../lib/tokenizer/token-table.js";
import { packVocabulary } from "../../../native/tokenizer/pack-vocabulary.mjs";

interface Golden {
  id: string;
  text: string;
  ids: number[];
}

function goldens(name: string): Golden[] {
  const file = path.join(packageRoot, "test/golden/harmony/cases", name);
  return readFileSync(file, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Golden);
}

/** Reproducible random integers in [0, n): mulberry32. */
function randomIntegers(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % n;
  };
}

/** Lone surrogates replaced by U+FFFD. */
const wellFormed = (text: string) => Buffer.from(text).toString();

const ids = (text: string, allowedSpecial?: "all" | string[]) =>
  Array.from(tokenizer.encode(text, allowedSpecial === undefined ? {} : { allowedSpecial }));

describe("goldens of the reference", () => {
  it.each(goldens("tokenizer.jsonl"))("$id ordinary", ({ text, ids: expected }) => {
    expect(ids(text)).toEqual(expected);
    expect(tokenizer.count(text)).toBe(expected.length);
    expect(tokenizer.decode(expected)).toBe(wellFormed(text));
  });

  it.each(goldens("tokenizer-special.jsonl"))("$id with special tokens", ({ text, ids: expected }) => {
    expect(ids(text, "all")).toEqual(expected);
    expect(tokenizer.decode(expected)).toBe(text);
  });
});

describe("special tokens", () => {
  const file = path.join(packageRoot, "test/golden/harmony/special-tokens.json");
  const expected = JSON.parse(readFileSync(file, "utf8")) as { id: number; text: string }[];

  it("are the 1,091 of the reference", () => {
    expect(Object.entries(tokenizer.specialTokens)).toEqual(expected.map(({ id, text }) => [text, id]));
    expect(tokenizer.name).toBe("o200k_harmony");
    expect(tokenizer.vocabSize).toBe(201088);
  });

  it("are recognised only where allowed", () => {
    for (const { id, text } of expected) {
      expect(ids(text, "all")).toEqual([id]);
      expect(ids(text, [text])).toEqual([id]);
      expect(ids(text).length).toBeGreaterThan(1);
      expect(tokenizer.decode([id])).toBe(text);
    }
    expect(ids("<|start|>")).toEqual([27, 91, 5236, 91, 29]);
    expect(ids("<|start|>", [])).toEqual([27, 91, 5236, 91, 29]);
    expect(ids("<|start|><|end|>", ["<|end|>"])).toEqual([27, 91, 5236, 91, 29, 200007]);
  });

  it("cut the text into parts that are encoded separately", () => {
    expect(ids("a <|channel|> b", "all")).toEqual([...ids("a "), 200005, ...ids(" b")]);
    expect(ids("<|<|start|>|>", "all")).toEqual([...ids("<|"), 200006, ...ids("|>")]);
  });
});

describe("agreement with gpt-tokenizer", () => {
  // Ranges where gpt-tokenizer is right: without U+0085 and U+FEFF, which it puts in the wrong class, and without
  // U+017F.
  const alphabets: Record<string, (random: (n: number) => number) => number> = {
    ascii: (random) => (random(8) === 0 ? 10 : 32 + random(95)),
    words: (random) => [32, 39, 46, 65 + random(26), 97 + random(26), 97 + random(26), 97 + random(26)][random(7)]!,
    latin: (random) => (random(3) === 0 ? 0xa0 + random(0xdf) : 32 + random(95)),
    cyrillic: (random) => (random(4) === 0 ? 32 : 0x410 + random(64)),
    cjk: (random) => [0x4e00 + random(0x5000), 0x3041 + random(80), 0xac00 + random(11000), 0x3001, 97][random(5)]!,
    whitespace: (random) => [32, 32, 10, 13, 9, 0xa0, 0x2028, 0x3000, 97, 49, 47][random(11)]!,
  };
  it.each(Object.keys(alphabets))("on random %s", (name) => {
    const random = randomIntegers(name.length);
    for (let i = 0; i < 300; i++) {
      const text = String.fromCodePoint(...Array.from({ length: random(120) }, () => alphabets[name]!(random)));
      expect(ids(text), JSON.stringify(text)).toEqual(peerEncode(text, { disallowedSpecial: new Set() }));
    }
  });
});

describe("encodeInto", () => {
  const text = "<|start|>Hello, Größe 漢字 and unbelievableness";
  const expected = ids(text);

  it("fills an existing array and returns the number of tokens of the text", () => {
    for (const length of [expected.length, expected.length + 3]) {
      const target = new Uint32Array(length).fill(7);
      expect(tokenizer.encodeInto(text, target)).toBe(expected.length);
      expect(Array.from(target)).toEqual([...expected, ...Array(length - expected.length).fill(7)]);
    }
  });

  it("returns the needed number when the tokens do not fit, and stays inside the array", () => {
    for (let length = 0; length < expected.length; length++) {
      const memory = new Uint32Array(expected.length + 2).fill(7);
      expect(tokenizer.encodeInto(text, memory.subarray(1, 1 + length))).toBe(expected.length);
      expect(Array.from(memory)).toEqual([7, ...expected.slice(0, length), ...memory.subarray(1 + length)]);
      expect(memory.subarray(1 + length).every((id) => id === 7)).toBe(true);
    }
  });

  it("supports special tokens where they are allowed, and the empty text", () => {
    const target = new Uint32Array(2);
    expect(tokenizer.encodeInto("<|start|>a", target, { allowedSpecial: "all" })).toBe(2);
    expect(Array.from(target)).toEqual([200006, 64]);
    expect(tokenizer.encodeInto("", target)).toBe(0);
    expect(Array.from(target)).toEqual([200006, 64]);
  });
});

describe("encodeAsync and encodeBatch", () => {
  const long = "The quick brown fox jumps over the lazy dog; 速い茶色の狐。\n".repeat(5000); // 0.4 MB

  it("give the same tokens as encode, for short and long texts", async () => {
    for (const text of ["", "a", "x".repeat(8191), "x ".repeat(4096), "x".repeat(8193), long, "\ud800".repeat(9000)]) {
      expect(await tokenizer.encodeAsync(text)).toEqual(tokenizer.encode(text));
    }
    const special = `<|start|>${long}<|end|>`;
    const options = { allowedSpecial: ["<|end|>"] };
    expect(await tokenizer.encodeAsync(special, options)).toEqual(tokenizer.encode(special, options));
  });

  it("keep the order of a batch", async () => {
    expect(await tokenizer.encodeBatch([])).toEqual([]);
    expect(await tokenizer.encodeBatch(["", "b", ""])).toEqual(["", "b", ""].map((text) => tokenizer.encode(text)));
    const random = randomIntegers(9);
    const texts = Array.from(
      { length: 200 },
      (_, i) => `${i} ${long.slice(0, random(10) === 0 ? 90_000 : random(9000))}`,
    );
    expect(await tokenizer.encodeBatch(texts)).toEqual(texts.map((text) => tokenizer.encode(text)));
  });

  it("let the event loop run meanwhile", async () => {
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    // If the work ran on this thread, no number of calls would let a timer run. A single call may be too short on a
    // busy machine.
    for (let call = 0; turns === 0 && call < 100; call++) await tokenizer.encodeAsync(long);
    clearInterval(timer);
    expect(turns).toBeGreaterThan(0);
  });

  it("reject with the signal's reason, before and while they run", async () => {
    const reason = Object.assign(new Error("enough"), { code: "DEVICE" }); // our code, but not our error type
    const before = AbortSignal.abort(reason);
    for (const text of ["a", long]) {
      await expect(tokenizer.encodeAsync(text, { signal: before })).rejects.toBe(reason);
      await expect(tokenizer.encodeBatch([text], { signal: before })).rejects.toBe(reason);
    }
    const controller = new AbortController();
    const running = tokenizer.encodeBatch([long, long, long, long, long, long], { signal: controller.signal });
    setImmediate(() => controller.abort(reason));
    await expect(running).rejects.toBe(reason);
    const unused = new AbortController();
    const removed = vi.spyOn(unused.signal, "removeEventListener");
    expect(await tokenizer.encodeAsync(long, { signal: unused.signal })).toEqual(tokenizer.encode(long));
    expect(removed).toHaveBeenCalled();
  });

  it("stop in the middle of one long piece", async () => {
    const controller = new AbortController();
    const running = tokenizer.encodeAsync("ab".repeat(4_000_000), { signal: controller.signal }); // over a second
    setTimeout(() => controller.abort(), 10);
    await expect(running).rejects.toMatchObject({ name: "AbortError" });
  });

  it("may still run when their thread ends", async () => {
    const addon = JSON.stringify(path.join(packageRoot, "build/Release/gpt_oss.node"));
    const source = `
      const { promise } = require(${addon}).tokenizerEncodeAsync(["many words ".repeat(500_000)]);
      promise.then(() => {}, () => {});
      require("node:worker_threads").parentPort.postMessage("started");
      setInterval(() => {}, 1000);`;
    const worker = new Worker(source, { eval: true });
    await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
    expect(await worker.terminate()).toBe(1);
  });
});

describe("control tokens", () => {
  const specialTexts = Object.keys(tokenizer.specialTokens);
  const pieces = [
    ...specialTexts.slice(0, 14),
    ...["<", "|", ">", "<|", "|>", "||", "<|start", "start|>", "start", "end", "message", "channel", "call", "return"],
    ...["reserved_", "2000", "14", "constrain", "startoftext", "endoftext", "<|reserved_", "<|START|>", "＜|start|＞"],
    ...["\ud83d", "\ude00", "\ufeff", "\u200b", "\u0000", " ", "\n", "\t", "é", "漢", "'s", "a"],
  ];

  it("never come from ordinary text of any parts", () => {
    const random = randomIntegers(11);
    const target = new Uint32Array(4096);
    for (let i = 0; i < 20_000; i++) {
      const parts = Array.from({ length: 1 + random(12) }, () => {
        const kind = random(8);
        if (kind === 0) return specialTexts[random(specialTexts.length)]!;
        if (kind === 1) return specialTexts[random(specialTexts.length)]!.slice(random(4), 3 + random(12));
        // The text of any token, special ones too: a merge across the border of two texts might find it.
        if (kind === 2) return tokenizer.decode([random(201_089)]);
        return pieces[random(pieces.length)]!;
      });
      const text = parts.join("");
      const encoded = tokenizer.encode(text);
      if (encoded.some((id) => id >= 199_998)) expect.fail(`${JSON.stringify(text)} became ${encoded}`);
      if (tokenizer.decode(encoded) !== wellFormed(text)) expect.fail(`${JSON.stringify(text)} is not kept`);
      const needed = tokenizer.encodeInto(text, target);
      if (target.subarray(0, needed).some((id) => id >= 199_998)) expect.fail(`${JSON.stringify(text)} in encodeInto`);
    }
  });

  it("come from the allowed ones only, and the text around them is ordinary", () => {
    const random = randomIntegers(12);
    for (let i = 0; i < 5000; i++) {
      const text = Array.from({ length: 1 + random(12) }, () => pieces[random(pieces.length)]!).join("");
      const allowed = specialTexts.slice(0, 14).filter(() => random(3) === 0);
      const expected = text
        .split(new RegExp(`(${[...allowed, "$^"].map((t) => t.replaceAll("|", "\\|")).join("|")})`))
        .flatMap((part) => (allowed.includes(part) ? [tokenizer.specialTokens[part]!] : ids(part)));
      expect(ids(text, allowed), JSON.stringify({ text, allowed })).toEqual(expected);
    }
  });
});

describe("every text", () => {
  it("survives encode and decode, lone surrogates as U+FFFD, and is counted", async () => {
    const random = randomIntegers(7);
    for (let i = 0; i < 500; i++) {
      const limit = [0x80, 0x800, 0x10000, 0x110000][i % 4]!; // UTF-16 units below 0x10000 make lone surrogates
      const text = Array.from({ length: random(60) }, () => String.fromCodePoint(random(limit))).join("");
      const encoded = tokenizer.encode(text);
      expect(tokenizer.decode(encoded)).toBe(wellFormed(text));
      expect(tokenizer.count(text)).toBe(encoded.length);
      if (i % 50 === 0) expect(await tokenizer.encodeAsync(text)).toEqual(encoded);
    }
  });

  it("may be one piece of 100,000 characters of any kind", () => {
    const random = randomIntegers(3);
    const repeated = [
      "a",
      "A",
      "é",
      " ",
      "\n",
      "\r\n",
      "0",
      "!",
      "\u00a0",
      "\u0301",
      "漢",
      "한",
      "😀",
      "\u200d",
      "\u{12000}",
    ];
    const letters = Array.from({ length: 100_000 }, () => String.fromCharCode(97 + random(26))).join("");
    for (const text of [...repeated.map((unit) => unit.repeat(100_000)), letters]) {
      const encoded = tokenizer.encode(text);
      expect(tokenizer.count(text)).toBe(encoded.length);
      expect(tokenizer.decode(encoded) === text).toBe(true);
    }
  });

  it("may be 100 MB long", () => {
    const text = "All work and no play makes Jack a dull boy.\n".repeat(2_300_000);
    const encoded = tokenizer.encode(text);
    expect(encoded.length).toBe(2_300_000 * ids("All work and no play makes Jack a dull boy.\n").length);
    expect(tokenizer.decode(encoded) === text).toBe(true);
    expect(tokenizer.count(text)).toBe(encoded.length);
    expect(tokenizer.encodeInto(text, new Uint32Array(10))).toBe(encoded.length);
    const wide = "速い茶色の狐。".repeat(5_000_000); // 105 MB of UTF-8, in one piece per sentence
    expect(tokenizer.count(wide)).toBe(5_000_000 * ids("速い茶色の狐。").length);
  });

  it("may be too long for a JavaScript string, which decode reports", () => {
    const [spaces] = tokenizer.encode(" ".repeat(64));
    const ids = new Uint32Array(540_000_000 / tokenizer.decode([spaces!]).length).fill(spaces!);
    expect(() => tokenizer.decode(ids)).toThrow(
      expect.objectContaining({
        name: "GptOssError",
        code: "INVALID_ARGUMENT",
        message: expect.stringContaining("540000000 bytes"),
      }),
    );
  });

  it("is the same in a worker thread", async () => {
    const addon = JSON.stringify(path.join(packageRoot, "build/Release/gpt_oss.node"));
    const source = `require("node:worker_threads").parentPort.postMessage(require(${addon}).tokenizerEncode("Hello, World!"))`;
    const worker = new Worker(source, { eval: true });
    const encoded = await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
    expect(encoded).toEqual(tokenizer.encode("Hello, World!"));
  });
});

describe("decode", () => {
  it("takes arrays and typed arrays", () => {
    for (const given of [
      [24912, 2375],
      Uint32Array.of(24912, 2375),
      Int32Array.of(24912, 2375),
      Float64Array.of(24912, 2375),
    ]) {
      expect(tokenizer.decode(given)).toBe("hello world");
    }
    expect(tokenizer.decode([])).toBe("");
    expect(tokenizer.decode(new Uint8Array([64]))).toBe("a");
  });

  it("keeps bytes in decodeBytes and replaces broken ones in decode", () => {
    const [first, ...rest] = tokenizer.encode("🦭"); // its bytes are spread over several tokens
    expect(rest.length).toBeGreaterThan(0);
    expect(tokenizer.decode([first!])).toBe("\ufffd");
    expect(Buffer.from(tokenizer.decodeBytes([first!, ...rest])).toString()).toBe("🦭");
    expect(tokenizer.decode(tokenizer.encode("\ufeffbom"))).toBe("\ufeffbom");
  });
});

describe("stream", () => {
  function streamed(tokens: ArrayLike<number>): string[] {
    const stream = tokenizer.stream();
    return [...Array.from(tokens, (id) => stream.push(id)), stream.end()];
  }

  it("never emits half a character", () => {
    const random = randomIntegers(11);
    for (let i = 0; i < 200; i++) {
      const text = Array.from({ length: 20 }, () =>
        String.fromCodePoint([97, 0x1f300 + random(0x500), 0x12000 + random(900)][random(3)]!),
      );
      const parts = streamed(tokenizer.encode(text.join("")));
      expect(parts.join("")).toBe(text.join(""));
      for (const part of parts) expect(part).not.toMatch(/\ufffd/);
    }
  });

  it("replaces invalid UTF-8, like decode", () => {
    const random = randomIntegers(5);
    for (let i = 0; i < 300; i++) {
      // The first 256 ids are single bytes, so most of these sequences are malformed.
      const tokens = Array.from({ length: random(12) }, () => (random(4) === 0 ? random(201089) : random(256)));
      expect(streamed(tokens).join(""), String(tokens)).toBe(tokenizer.decode(tokens));
    }
  });

  it("flushes an incomplete character at the end and can be reused", () => {
    const stream = tokenizer.stream();
    const [first] = tokenizer.encode("🦭");
    expect(stream.push(first!)).toBe("");
    expect(stream.end()).toBe("\ufffd");
    expect(stream.push(64)).toBe("a");
    expect(stream.end()).toBe("");
  });

  it("keeps a byte order mark and decodes special tokens", () => {
    expect(streamed(tokenizer.encode("\ufeffbom")).join("")).toBe("\ufeffbom");
    expect(streamed([200006, 64])).toEqual(["<|start|>", "a", ""]);
  });
});

describe("the table of tokens", () => {
  it("has the bytes of every token, and the text of those that are whole characters", () => {
    const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    let without = 0;
    for (let id = 0; id < tokenizer.vocabSize + 1; id++) {
      const bytes = tokenizer.decodeBytes([id]);
      if (Buffer.compare(tokenBytes(id), bytes) !== 0) expect.fail(`the bytes of ${id} differ`);
      const text = tokenText(id);
      if (text === null) expect(() => strict.decode(bytes), String(id)).toThrow(TypeError);
      else if (text !== strict.decode(bytes)) expect.fail(`the text of ${id} differs`);
      if (tokenText(id) !== text) expect.fail(`the text of ${id} is another one the second time`);
      without += Number(text === null);
    }
    expect(without).toBeGreaterThan(128);
  });

  it.each([-1, 1.5, Number.NaN, 201_089, undefined, "64", "length"])("refuses %s", (id) => {
    for (const look of [tokenText, tokenBytes]) {
      expect(() => look(id as number)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    }
  });
});

describe("refusals", () => {
  const wrong = (value: unknown) => value as never;
  const table: [string, () => unknown, string][] = [
    [
      "a text that is no string",
      () => tokenizer.encode(wrong(7)),
      "Expected a string for text but received 7 (number)",
    ],
    ["a missing text", () => tokenizer.count(wrong(undefined)), "Expected a string for text but received undefined"],
    ["a String object", () => tokenizer.encode(wrong(new String("a"))), "Expected a string for text"],
    ["a target that is a plain array", () => tokenizer.encodeInto("a", wrong([])), "Expected a Uint32Array for target"],
    [
      "a target of bytes",
      () => tokenizer.encodeInto("a", wrong(new Uint8Array(8))),
      "for target but received an object",
    ],
    ["a signal for encode", () => tokenizer.encode("a", wrong({ signal: null })), 'Unknown option "signal"'],
    ["an unknown option", () => tokenizer.encode("a", wrong({ allowSpecial: "all" })), 'Unknown option "allowSpecial"'],
    ["options null", () => tokenizer.encode("a", wrong(null)), "Expected an object for the options of encode"],
    [
      "allowedSpecial of another word",
      () => tokenizer.encode("a", { allowedSpecial: wrong("none") }),
      "for allowedSpecial",
    ],
    ["allowedSpecial null", () => tokenizer.encode("a", { allowedSpecial: wrong(null) }), "but received null"],
    [
      "a special token that is none",
      () => tokenizer.encode("a", { allowedSpecial: ["<|end|>", "<|nope|>"] }),
      "for allowedSpecial[1]",
    ],
    [
      "a name of Object.prototype",
      () => tokenizer.encode("a", { allowedSpecial: ["constructor"] }),
      "for allowedSpecial[0]",
    ],
    [
      "ids that are a string",
      () => tokenizer.decode(wrong("64")),
      "Expected an array or typed array of token ids for ids",
    ],
    ["ids null", () => tokenizer.decode(wrong(null)), "for ids but received null"],
    ["ids as an object", () => tokenizer.decodeBytes({ length: 1, 0: 64 }), "for ids but received an object"],
    [
      "a negative id",
      () => tokenizer.decode([64, -1]),
      "Expected an integer in [0, 201088] for ids[1] but received -1",
    ],
    ["a fraction", () => tokenizer.decode([1.5]), "for ids[0] but received 1.5"],
    ["NaN", () => tokenizer.decode(Float32Array.of(Number.NaN)), "for ids[0] but received NaN"],
    ["an id as a string", () => tokenizer.decode(wrong(["64"])), 'for ids[0] but received "64" (string)'],
    ["an id as a bigint", () => tokenizer.decode(wrong([64n])), "for ids[0] but received 64 (bigint)"],
    ["bigint arrays", () => tokenizer.decode(wrong(BigInt64Array.of(64n))), "for ids[0] but received 64 (bigint)"],
    ["an id past the last", () => tokenizer.decode([0, 0, 201089]), "for ids[2] but received 201089"],
    ["the same in a Uint32Array", () => tokenizer.decode(Uint32Array.of(0, 0, 201089)), "token id 201089 at index 2"],
    ["the same in a stream", () => tokenizer.stream().push(201089), "for id but received 201089"],
    ["nothing in a stream", () => tokenizer.stream().push(wrong(undefined)), "for id but received undefined"],
  ];
  it.each(table)("%s", (_, call, message) => {
    expect(call).toThrow(GptOssError);
    expect(call).toThrow(message);
    expect(call).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });

  it.each<[string, () => Promise<unknown>]>([
    ["encodeAsync of a number", () => tokenizer.encodeAsync(wrong(7))],
    ["encodeAsync with an unknown option", () => tokenizer.encodeAsync("a", wrong({ abort: 1 }))],
    ["encodeAsync with a signal that is none", () => tokenizer.encodeAsync("a", { signal: wrong({}) })],
    ["encodeBatch of a string", () => tokenizer.encodeBatch(wrong("abc"))],
    ["encodeBatch of numbers", () => tokenizer.encodeBatch(["a", wrong(7)])],
    ["encodeBatch of a sparse array", () => tokenizer.encodeBatch(wrong(Array(2)))],
    ["encodeBatch without anything", () => tokenizer.encodeBatch(wrong(undefined))],
  ])("come as rejections: %s", async (_, call) => {
    await expect(call()).rejects.toMatchObject({ name: "GptOssError", code: "INVALID_ARGUMENT" });
  });
});

describe("the data in the addon", () => {
  it("is packed from the official file", () => {
    const committed = readFileSync(path.join(packageRoot, "native/tokenizer/o200k_base.bin"));
    expect(packVocabulary().equals(committed)).toBe(true);
  });

  it("has the Unicode classes of this Node, except for code points that either lacks or Unicode has changed", () => {
    const header = readFileSync(path.join(packageRoot, "native/tokenizer/unicode_classes.h"), "utf8");
    const blocks = [...header.matchAll(/"([0-7]+)"/g)].map((match) => match[1]!);
    const index = header
      .slice(header.indexOf("kClassIndex[]"))
      .match(/\{([\d,\s]+)\}/)![1]!
      .split(",")
      .map(Number);
    const classes = [
      /[\p{Lu}\p{Lt}]/u,
      /\p{Ll}/u,
      /[\p{Lm}\p{Lo}]/u,
      /\p{M}/u,
      /\p{N}/u,
      /[\r\n]/u,
      /\p{White_Space}/u,
    ];
    const changed: number[] = [];
    for (let codePoint = 0; codePoint < 0x110000; codePoint++) {
      if (codePoint >= 0xd800 && codePoint < 0xe000) continue;
      const character = String.fromCodePoint(codePoint);
      const expected = classes.findIndex((pattern) => pattern.test(character)) + 1;
      const actual = Number(blocks[index[codePoint >> 7]!]![codePoint & 127]);
      // Code points newer than Unicode 16.0 are "other" in the table. An older Node leaves some unassigned.
      if (actual !== expected && actual !== 0 && !/\p{Cn}/u.test(character)) changed.push(codePoint);
    }
    expect(changed).toEqual(Number(process.versions.unicode) <= 16 ? [] : [0x0295]);
  });
});
