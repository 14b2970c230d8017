import { afterEach, describe, expect, it, vi } from "vitest";
import { GptOssError } from "../../../lib/errors.js";
import { ConversationRenderer } from "../../../lib/harmony/index.js";
import { ScriptedEngine } from "../../../lib/testing/index.js";
import { encodeLong, encodeWithin, leastTokens, longestTokenBytes } from "../../../lib/tokenizer/encode-within.js";
import { tokenizer } from "../../../lib/tokenizer/tokenizer.js";
import { encodedOnThread, held, megabytes, turnsDuring, words } from "../../support/long-texts.js";
import { seededRandom } from "../../support/random.js";

afterEach(() => vi.restoreAllMocks());

/** Returns the message of the error for a prompt that exceeds the context. */
function overflow(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(GptOssError);
    expect((error as GptOssError).message).toContain("the context holds");
    return (error as GptOssError).code;
  }
  return "nothing was thrown";
}

describe("the least number of tokens", () => {
  it("comes from the longest token of the vocabulary", () => {
    let longest = 0;
    for (let id = 0; id < tokenizer.vocabSize; id++) longest = Math.max(longest, tokenizer.decodeBytes([id]).length);
    expect(longest).toBe(longestTokenBytes);
    expect(tokenizer.count(" ".repeat(longestTokenBytes))).toBe(1);
  });

  it("never exceeds the true number", () => {
    const random = seededRandom(16);
    for (const alphabet of [" ", "-", " \n", "aé漢😀", "etaoin shrdlu", "\ud800x"]) {
      const letters = [...alphabet];
      for (const length of [0, 1, 128, 129, 5000]) {
        const text = Array.from({ length }, () => letters[Math.floor(random() * letters.length)]).join("");
        expect(leastTokens(text.length)).toBeLessThanOrEqual(tokenizer.count(text));
      }
    }
  });
});

describe("encoding within a number of tokens", () => {
  it("returns all tokens or null, on this thread and on another one", async () => {
    for (const text of ["", "Hello there", words(30_000), " ".repeat(30_000)]) {
      const ids = tokenizer.encode(text);
      for (const most of [ids.length, ids.length + 1, Number.POSITIVE_INFINITY]) {
        expect(encodeWithin(text, most)).toEqual(ids);
        expect(await encodeLong(text, most)).toEqual(ids);
      }
      if (ids.length === 0) continue;
      for (const most of [0, ids.length - 1]) {
        expect(encodeWithin(text, most)).toBeNull();
        expect(await encodeLong(text, most)).toBeNull();
      }
    }
  });
});

describe("an engine", () => {
  it("refuses a prompt that is certainly too long without encoding it", async () => {
    await using engine = new ScriptedEngine([{ tokens: [200002] }], { contextLength: 4096 });
    const onThread = encodedOnThread();
    for (const text of [" ".repeat(megabytes), words(megabytes)]) {
      expect(overflow(() => engine.generate(text))).toBe("CONTEXT_OVERFLOW");
      expect(overflow(() => engine.chat([{ role: "user", content: text }]))).toBe("CONTEXT_OVERFLOW");
      await expect(engine.prepareChat([{ role: "user", content: text }])).rejects.toMatchObject({
        code: "CONTEXT_OVERFLOW",
      });
    }
    expect(overflow(() => engine.generate(Array(4096).fill(0)))).toBe("CONTEXT_OVERFLOW");
    expect(overflow(() => engine.generate({ length: 2 ** 30 }))).toBe("CONTEXT_OVERFLOW");
    await expect(engine.logits({ length: 4097 })).rejects.toMatchObject({ code: "CONTEXT_OVERFLOW" });
    const many = Array.from({ length: 2000 }, () => ({ role: "user", content: "a" }) as const);
    expect(overflow(() => engine.chat(many))).toBe("CONTEXT_OVERFLOW");
    expect(onThread.units).toBeLessThan(1000);
    expect(engine.requests).toEqual([]);
  });

  it("stops encoding when the context is certainly exceeded", async () => {
    await using engine = new ScriptedEngine([{ tokens: [200002] }], { contextLength: 4096 });
    // 128 bytes for each token would fit; these have five.
    const text = words(4000 * longestTokenBytes);
    expect(leastTokens(text.length)).toBeLessThan(4096);
    expect(overflow(() => engine.generate(text))).toBe("CONTEXT_OVERFLOW");
    expect(overflow(() => engine.chat([{ role: "user", content: text }]))).toBe("CONTEXT_OVERFLOW");
  });

  it("accepts a prompt of its context less one token", async () => {
    await using engine = new ScriptedEngine([{ tokens: [200002] }], { contextLength: 256 });
    const [text, more] = [" a".repeat(255), " a".repeat(256)];
    expect(tokenizer.count(text)).toBe(255);
    expect((await engine.generate(text).result).usage.promptTokens).toBe(255);
    expect(overflow(() => engine.generate(more))).toBe("CONTEXT_OVERFLOW");
    const rest = 255 - engine.chat([{ role: "user", content: "" }], { currentDate: null }).promptTokens.length;
    const content = " a".repeat(rest);
    const chat = engine.chat([{ role: "user", content }], { currentDate: null });
    expect(chat.promptTokens.length).toBe(255);
    await chat.result;
    expect(overflow(() => engine.chat([{ role: "user", content: `${content} a` }], { currentDate: null }))).toBe(
      "CONTEXT_OVERFLOW",
    );
  });

  it("encodes no long text for a prepared chat", async () => {
    await using engine = new ScriptedEngine([{ tokens: [200002] }], { contextLength: 32_768 });
    const messages = [{ role: "user", content: `prepared ${words(60_000)}` }] as const;
    const onThread = encodedOnThread();
    await engine.prepareChat(messages);
    const prepared = onThread.units;
    const chat = engine.chat(messages);
    expect(onThread.longest).toBeLessThan(8192);
    expect(prepared).toBeLessThan(8192);
    expect(chat.promptTokens.length).toBeGreaterThan(10_000);
    await chat.result;
  });

  it("stops preparing at an abort, and stops the threads", async () => {
    await using engine = new ScriptedEngine([{ tokens: [200002] }]);
    const job = held();
    const stop = new AbortController();
    const preparing = engine.prepareChat([{ role: "user", content: `aborted ${words(60_000)}` }], {
      signal: stop.signal,
    });
    await job.begun;
    stop.abort(new RangeError("enough"));
    await expect(preparing).rejects.toThrow(RangeError);
    expect(job.cancelled).toBe(true);
  });
});

describe("a rendering on another thread", () => {
  it("equals the rendering on this one", async () => {
    const messages = [
      { role: "user", content: words(50_000) },
      { role: "assistant", channel: "final", content: [{ type: "text", text: " ".repeat(20_000) }] },
      { role: "user", content: "short" },
    ] as const;
    const conversation = { messages: structuredClone(messages) as never };
    const now = new ConversationRenderer().renderForCompletion(conversation);
    expect(await new ConversationRenderer().renderForCompletionAsync(conversation)).toEqual(now);
    const { length } = now.tokens;
    const fits = { contextLength: length + 1 };
    expect(await new ConversationRenderer().renderForCompletionAsync(conversation, "assistant", fits)).toEqual(now);
    for (const contextLength of [length, length >> 1, 1]) {
      const tight = new ConversationRenderer();
      expect(overflow(() => tight.renderForCompletion(conversation, "assistant", { contextLength }))).toBe(
        "CONTEXT_OVERFLOW",
      );
      await expect(tight.renderForCompletionAsync(conversation, "assistant", { contextLength })).rejects.toMatchObject({
        code: "CONTEXT_OVERFLOW",
      });
    }
  });

  it("lets the event loop run between many messages", async () => {
    const messages = Array.from({ length: 3000 }, (_, i) => ({ role: "user", content: `message ${i}` }) as const);
    const real = performance.now.bind(performance);
    let steps = 0;
    vi.spyOn(performance, "now").mockImplementation(() => real() + steps++); // each clock reading takes a millisecond
    const turns = await turnsDuring(new ConversationRenderer().renderForCompletionAsync({ messages }));
    expect(turns).toBeGreaterThan(100);
  });

  it("refuses an invalid signal and an invalid length", async () => {
    const renderer = new ConversationRenderer();
    const render = (options: object) => renderer.renderForCompletionAsync({ messages: [] }, "assistant", options);
    await expect(render({ signal: 1 })).rejects.toThrow("Expected an AbortSignal for signal");
    await expect(render({ contextLength: 0 })).rejects.toThrow("for contextLength");
    await expect(render({ signal: AbortSignal.abort("gone") })).rejects.toBe("gone");
    expect(() => renderer.renderForCompletion({ messages: [] }, "assistant", { signal: 1 } as object)).toThrow(
      'Unknown option "signal"',
    );
  });
});
