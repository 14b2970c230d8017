import { describe, expect, it } from "vitest";
import { type ChatMessage, renderChat } from "../../../lib/chat/chat.js";
import {
  ConversationRenderer,
  type FunctionTool,
  type Message,
  renderConversation,
  renderConversationForCompletion,
  renderConversationForTraining,
  renderMessage,
} from "../../../lib/harmony/index.js";
import { formatTokens } from "../../../lib/harmony/tokens.js";
import { firstSpecialToken, specialTokens } from "../../../lib/tokenizer/special-tokens.js";
import { seededRandom } from "../../support/random.js";

/** No text becomes a control token, whatever its author and its place in the conversation. */

const random = seededRandom(7);
const oneOf = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!;

const names = Object.keys(specialTokens);
const splinters = ["<|", "|>", "<", "|", ">", "<|end", "start|>", "</|end|>", "<|<|end|>|>", "<|END|>", "＜|end|＞"];
const around = [
  "",
  " ",
  "\n",
  "\u200b",
  "\ufeff",
  "\ud800",
  "é",
  "\u0000",
  "assistant",
  "final",
  " to=functions.f",
  '"',
  "}",
];

function hostile(): string {
  const pieces = Array.from({ length: 1 + Math.floor(random() * 12) }, () =>
    random() < 0.5
      ? oneOf(names.slice(0, 16))
      : random() < 0.1
        ? oneOf(names)
        : oneOf(random() < 0.5 ? splinters : around),
  );
  return pieces.join("");
}

/** A name that a header can address. */
function hostileName(): string {
  const name = hostile()
    .replace(/[\s<>]/g, "")
    .slice(0, 40);
  return name === "" ? "|start|" : name;
}

function hostileSchema(depth = 0): unknown {
  if (depth > 2) return { type: "string", enum: [hostile()], default: hostile() };
  const inner = () => hostileSchema(depth + 1);
  return {
    type: "object",
    title: hostile(),
    description: hostile(),
    properties: {
      [hostile()]: { type: "string", title: hostile(), description: hostile(), default: hostile(), enum: [hostile()] },
      [hostile()]: {
        oneOf: [inner(), { description: hostile(), type: [hostile()] }],
        default: { [hostile()]: hostile() },
      },
      [hostile()]: { type: "array", items: inner(), examples: [hostile()] },
    },
    required: [hostile()],
  };
}

const controlsOf = (ids: Iterable<number>) => [...ids].filter((id) => id >= firstSpecialToken);

const { start, channel, message, end, call, constrain } = formatTokens;
const plain = [start, message, end];
const onChannel = [start, channel, message, end];

describe("harmony messages", () => {
  /** Channels end with a dot, so that none is `final` or `analysis` by chance. Those have a special meaning. */
  function conversation(): Message[] {
    const tools = {
      [hostile()]: {
        name: hostile(),
        description: hostile(),
        tools: [{ name: hostile(), description: hostile(), parameters: hostileSchema() }],
      },
    };
    const parts = Array.from({ length: 3 }, () => ({ type: "text" as const, text: hostile() }));
    return [
      {
        role: "system",
        content: [
          {
            type: "system_content",
            model_identity: hostile(),
            knowledge_cutoff: hostile(),
            conversation_start_date: hostile(),
            channel_config: { valid_channels: [hostile(), hostile()], channel_required: true },
            tools,
          },
        ],
      },
      { role: "developer", content: [{ type: "developer_content", instructions: hostile(), tools }] },
      { role: "user", name: hostile(), content: parts },
      {
        role: "assistant",
        channel: `${hostile()}.`,
        recipient: hostile(),
        content_type: ` ${hostile()}`,
        content: hostile(),
      },
      { role: "tool", name: hostile(), recipient: hostile(), channel: `${hostile()}.`, content: parts },
      { role: "assistant", channel: `${hostile()}.`, content_type: `<|constrain|>${hostile()}`, content: hostile() },
    ];
  }
  const typed = [start, channel, constrain, message, end];
  const expected = [...plain, ...plain, ...plain, start, channel, message, call, ...onChannel, ...typed];

  it("in every rendering", () => {
    const renderer = new ConversationRenderer();
    for (let round = 0; round < 100; round++) {
      const messages = conversation();
      for (const toolCallOrder of ["recipient-first", "channel-first"] as const) {
        const options = { toolCallOrder };
        expect(controlsOf(renderConversation(messages, options))).toEqual(expected);
        expect(controlsOf(renderConversation(JSON.stringify(messages), options))).toEqual(expected);
        expect(controlsOf(renderConversationForTraining(messages, options))).toEqual(expected);
        expect(controlsOf(renderConversationForCompletion(messages, "user", options))).toEqual([...expected, start]);
        expect(controlsOf(messages.flatMap((one) => [...renderMessage(one, options)]))).toEqual(expected);
        for (let again = 0; again < 2; again++) {
          const { tokens } = renderer.renderForCompletion(messages, "assistant", options);
          expect(controlsOf(tokens)).toEqual([...expected, start]);
        }
      }
    }
  });
});

describe("chat messages", () => {
  it("with their tools, instructions and calls", () => {
    for (let round = 0; round < 300; round++) {
      const [name, id] = [hostileName(), hostile()];
      const tools: FunctionTool[] = [
        { type: "function", function: { name, description: hostile(), parameters: hostileSchema() } },
      ];
      const messages: ChatMessage[] = [
        { role: "system", content: hostile() },
        { role: "developer", content: [{ type: "text", text: hostile() }] },
        { role: "user", name: hostile(), content: [{ type: "text", text: hostile() }] },
        { role: "assistant", reasoning: `x${hostile()}`, content: `x${hostile()}` },
        { role: "user", content: hostile() },
        {
          role: "assistant",
          reasoning: `x${hostile()}`,
          content: `x${hostile()}`,
          tool_calls: [
            { id, function: { name, arguments: hostile() } },
            { function: { name, arguments: { [hostile()]: hostile() } } },
          ],
        },
        { role: "tool", tool_call_id: id, content: hostile() },
        { role: "developer", content: hostile() },
      ];
      const toolCallOrder = oneOf(["recipient-first", "channel-first"] as const);
      const options = { tools, developerInstructions: hostile(), modelIdentity: hostile(), knowledgeCutoff: hostile() };
      const { tokens } = renderChat(messages, { ...options, toolCallOrder });
      const called = [start, channel, constrain, message, call];
      expect(controlsOf(tokens)).toEqual([
        ...[...plain, ...plain, ...plain], // system, developer, user
        ...[...onChannel, ...plain], // final, user
        ...[...onChannel, ...onChannel, ...called, ...called, ...onChannel], // analysis, preamble, calls, result
        ...[...plain, start],
      ]);
    }
  });
});
