import { afterEach, describe, expect, it, vi } from "vitest";
import { addon } from "../../../lib/binding.js";
import {
  type CompletionOptions,
  ConversationRenderer,
  type Message,
  type RenderOptions,
  renderConversationForCompletion,
  renderMessage,
} from "../../../lib/harmony/index.js";
import { formatTokens } from "../../../lib/harmony/tokens.js";
import { tokenizer } from "../../../lib/tokenizer/tokenizer.js";
import { changeConversation, oneOf, randomConversation } from "../../fuzz/conversations.js";
import { seededRandom } from "../../support/random.js";

const encode = vi.spyOn(addon(), "tokenizerEncode");
afterEach(() => encode.mockClear());

const special = (text: string) => [...tokenizer.encode(text, { allowedSpecial: "all" })];
const user = (content: string): Message => ({ role: "user", content });
const final = (content: string): Message => ({ role: "assistant", channel: "final", content });

function rendered(renderer: ConversationRenderer, messages: Message[], options: CompletionOptions = {}): number[] {
  return [...renderer.renderForCompletion(messages, "assistant", options).tokens];
}

function encodedTexts(): string[] {
  return encode.mock.calls.map(([text]) => text);
}

describe("a conversation that grows", () => {
  it("encodes only new messages", () => {
    const renderer = new ConversationRenderer();
    const messages = [user("first question"), final("first answer"), user("second question")];
    rendered(renderer, messages);
    expect(encodedTexts()).toEqual(expect.arrayContaining(["first question", "first answer", "second question"]));
    encode.mockClear();
    rendered(renderer, [...structuredClone(messages), final("second answer"), user("third question")]);
    expect(encodedTexts()).toEqual(["assistant", "assistant", "final", "second answer", "user", "third question"]);
  });

  it("encodes the system message again when functions appear", () => {
    const renderer = new ConversationRenderer();
    const content = { type: "system_content", channel_config: { valid_channels: ["final"], channel_required: true } };
    const messages = [{ role: "system", content: [content] }, user("a")] as Message[];
    rendered(renderer, messages);
    const functions = { name: "functions", tools: [{ name: "f", description: "" }] };
    messages.push({ role: "developer", content: [{ type: "developer_content", tools: { functions } }] });
    expect(rendered(renderer, messages)).toEqual([...renderConversationForCompletion(messages)]);
  });

  it("shares nothing between salts", () => {
    const renderer = new ConversationRenderer();
    rendered(renderer, [user("secret")], { cacheSalt: "a" });
    for (const cacheSalt of ["b", undefined, "a"]) {
      encode.mockClear();
      rendered(renderer, [user("secret")], { cacheSalt });
      expect(encodedTexts().includes("secret")).toBe(cacheSalt !== "a");
    }
  });

  it("is rendered like a new one after any change, in 3,000 random steps", () => {
    const random = seededRandom(21);
    for (const maxBytes of [0, 4000, 32 * 2 ** 20]) {
      const renderer = new ConversationRenderer({ maxBytes });
      let messages: Message[] = [];
      for (let step = 0; step < 1000; step++) {
        if (step % 10 === 0) messages = randomConversation(random);
        else changeConversation(random, messages);
        const options: RenderOptions = {
          autoDropAnalysis: oneOf(random, [true, false, "past"]),
          toolCallOrder: oneOf(random, ["recipient-first", "channel-first"]),
        };
        const role = oneOf(random, ["assistant", "user"] as const);
        const { tokens } = renderer.renderForCompletion(messages, role, {
          ...options,
          cacheSalt: oneOf(random, ["", "a"]),
        });
        const whole = renderConversationForCompletion(messages, role, options);
        if (Buffer.compare(Buffer.from(tokens.buffer), Buffer.from(whole.buffer)) !== 0) {
          expect([...tokens]).toEqual([...whole]);
        }
        encode.mockClear();
      }
    }
  });

  it("returns new arrays", () => {
    const renderer = new ConversationRenderer();
    const { tokens } = renderer.renderForCompletion([user("a")]);
    const before = [...tokens];
    tokens.fill(0);
    expect(rendered(renderer, [user("a")])).toEqual(before);
  });
});

describe("a message that the model wrote", () => {
  // The parts of "Hello": no encoder produces them, but a model may.
  const hello = [39, 68, 75, 75, 78];
  const { start, channel, message, end, call, constrain } = formatTokens;
  const [assistant, finalWord] = [173781, 17196];
  const written = [channel, finalWord, message, ...hello];
  const asked = [user("Say hello")];

  function remembered(message: Message, tokens: number[], options: CompletionOptions = {}) {
    const renderer = new ConversationRenderer();
    const { scope } = renderer.renderForCompletion(asked, "assistant", options);
    const kept = renderer.remember(scope, message, tokens);
    return { renderer, kept };
  }

  it("decodes to Hello in five tokens", () => {
    expect(tokenizer.decode(hello)).toBe("Hello");
    expect([...tokenizer.encode("Hello")]).not.toEqual(hello);
  });

  it.each([
    ["return", [...written, formatTokens.return]],
    ["end", [...written, end]],
    ["nothing, cut off", written],
    ["its own start", [start, assistant, ...written, end]],
  ])("goes back as it was written, closed by <|end|>: %s", (_, tokens) => {
    const { renderer, kept } = remembered(final("Hello"), tokens);
    expect(kept).toBe(true);
    const history = [...asked, final("Hello"), user("Again")];
    const expected = [
      ...renderMessage(asked[0]!),
      ...[start, assistant, ...written, end],
      ...renderMessage(user("Again")),
      ...[start, assistant],
    ];
    expect(rendered(renderer, history)).toEqual(expected);
    expect(rendered(renderer, history, { originalTokens: false })).toEqual([
      ...renderConversationForCompletion(history),
    ]);
  });

  it("of a tool call keeps the channel before the recipient", () => {
    const text = "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>";
    const made: Message = {
      role: "assistant",
      channel: "commentary",
      recipient: "functions.f",
      content_type: "<|constrain|>json",
      content: "{}",
    };
    const { renderer, kept } = remembered(made, special(text));
    expect(kept).toBe(true);
    const result: Message = {
      role: "tool",
      name: "functions.f",
      recipient: "assistant",
      channel: "commentary",
      content: "1",
    };
    for (const toolCallOrder of ["recipient-first", "channel-first"] as const) {
      const ids = rendered(renderer, [...asked, made, result], { toolCallOrder });
      expect(tokenizer.decode(ids)).toContain(
        `Say hello<|end|><|start|>assistant${text}<|start|>functions.f to=assistant`,
      );
    }
    const plain = rendered(renderer, [...asked, made, result], { originalTokens: false });
    expect(tokenizer.decode(plain)).toContain(
      "<|start|>assistant to=functions.f<|channel|>commentary <|constrain|>json",
    );
    expect(plain.filter((id) => id === constrain || id === call)).toHaveLength(2);
  });

  it.each<[string, Message[], CompletionOptions]>([
    ["text", [...asked, final("Hello!")], {}],
    ["channel", [...asked, { ...final("Hello"), channel: "commentary" }], {}],
    ["recipient", [...asked, { ...final("Hello"), recipient: "functions.f" }], {}],
    ["content type", [...asked, { ...final("Hello"), content_type: "json" }], {}],
    ["role", [...asked, { ...final("Hello"), role: "user" }], {}],
    ["name", [...asked, { ...final("Hello"), name: "x" }], {}],
    ["question", [user("Say hallo"), final("Hello")], {}],
    ["place", [...asked, user("Well?"), final("Hello")], {}],
    ["salt", [...asked, final("Hello")], { cacheSalt: "other" }],
  ])("is encoded from its text when it has another %s", (_, messages, options) => {
    const { renderer } = remembered(final("Hello"), written);
    expect(rendered(renderer, messages, options)).toEqual([...renderConversationForCompletion(messages)]);
  });

  it("is encoded from its text when the object was changed afterwards", () => {
    const answer = final("Hello");
    const { renderer } = remembered(answer, written);
    answer.content = "Hellooo";
    expect(rendered(renderer, [...asked, answer])).toEqual([...renderConversationForCompletion([...asked, answer])]);
  });

  it("stays known when system, developer or effort change", () => {
    const { renderer } = remembered(final("Hello"), written);
    const developer: Message = { role: "developer", content: [{ type: "developer_content", instructions: "Be kind" }] };
    const ids = rendered(renderer, [developer, ...asked, final("Hello")]);
    expect(ids.join()).toContain(hello.join());
  });

  it.each<[string, Message, string]>([
    ["control tokens inside", final("ab"), "<|channel|>final<|message|>a<|constrain|>b"],
    [
      "control tokens inside that are text to the reference",
      final("a<|constrain|>b"),
      "<|channel|>final<|message|>a<|constrain|>b",
    ],
    [
      "a reserved id in the header",
      { ...final("a"), channel: "final<|reserved_200014|>" },
      "<|channel|>final<|reserved_200014|><|message|>a",
    ],
    ["no message token", final("a"), "<|channel|>final a"],
    ["another text", final("b"), "<|channel|>final<|message|>a"],
    ["two messages", final("a"), "<|channel|>final<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>a"],
    ["the start of the next message", final("a"), "<|channel|>final<|message|>a<|start|>"],
    ["a recipient that was repaired", { ...final("a"), recipient: "functions.f" }, "<|channel|>final to=f<|message|>a"],
    ["a user's message", user("a"), "<|start|>user<|message|>a<|end|>"],
    ["two channels", final("a"), "<|channel|>final<|channel|>x<|message|>a"],
    ["nothing", final(""), ""],
  ])("is not kept when the reference would read it otherwise: %s", (_, message, text) => {
    const { renderer, kept } = remembered(message, special(text));
    expect(kept).toBe(false);
    const history = [...asked, message];
    expect(rendered(renderer, history)).toEqual([...renderConversationForCompletion(history)]);
  });
});

describe("refusals", () => {
  it.each([
    [{ maxBytes: -1 }, /maxBytes/],
    [{ bytes: 1 }, /bytes/],
    [{ sharedWith: {} }, /sharedWith/],
    [{ maxBytes: 1, sharedWith: new ConversationRenderer() }, /sharedWith/],
  ])("%j", (options, expected) => {
    expect(() => new ConversationRenderer(options as object)).toThrow(expected);
  });

  it.each([
    [{ cacheSalt: 1 }, /cacheSalt/],
    [{ originalTokens: "yes" }, /originalTokens/],
    [{ toolCallOrder: "any" }, /"recipient-first" or "channel-first" for toolCallOrder/],
    [{ autoDropAnalysis: "all" }, /a boolean or "past" for autoDropAnalysis/],
    [{ salt: "" }, /salt/],
    [null, /an object/],
  ])("%j", (options, expected) => {
    const renderer = new ConversationRenderer();
    expect(() => renderer.renderForCompletion([], "assistant", options as object)).toThrow(expected);
  });
});
