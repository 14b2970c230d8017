import type { Message, ToolNamespaces } from "../../lib/harmony/index.js";

/** Random conversations, plausible and not: inputs that renderers and parsers must handle. */

export type Random = () => number;

export const below = (random: Random, n: number) => Math.floor(random() * n);
export const oneOf = <T>(random: Random, items: readonly T[]): T => items[below(random, items.length)]!;

const words = [
  "The weather in 東京 is größer than 𠜎.",
  " and so on",
  "\n\n",
  "👨‍👩‍👧‍👦",
  "<|start|>",
  "<|end|>",
  "<|message|>",
  "<|channel|>final",
  "<|constrain|>json",
  "<|return|>",
  "<|call|>",
  "<|endoftext|>",
  "<|reserved_200000|>",
  "<|",
  "|>",
  " to=functions.f",
  "assistant",
  "analysis",
  '{"a":1,"b":[null,"x"]}',
  "\ufeff",
  "\u0085",
  "\u200b",
  "\ud800",
  "\udc00",
  "\u0000",
  "  \t ",
  "x",
  "1234567",
];

export function randomText(random: Random): string {
  if (random() < 0.05) return "";
  return Array.from({ length: 1 + below(random, 8) }, () => oneOf(random, words)).join("");
}

function randomTools(random: Random): ToolNamespaces | null {
  if (random() < 0.4) return null;
  const name = random() < 0.7 ? "functions" : randomText(random);
  const parameters = {
    type: "object",
    description: randomText(random),
    properties: { [randomText(random)]: { type: "string", enum: [randomText(random)], default: randomText(random) } },
  };
  const tools = Array.from({ length: below(random, 3) }, () => ({
    name: random() < 0.5 ? "f" : randomText(random),
    description: randomText(random),
    parameters: random() < 0.5 ? parameters : null,
  }));
  return { [name]: { name, description: random() < 0.5 ? randomText(random) : null, tools } };
}

function systemMessage(random: Random): Message {
  const content = {
    type: "system_content" as const,
    model_identity: random() < 0.8 ? randomText(random) : null,
    reasoning_effort: oneOf(random, ["low", "medium", "high", null] as const),
    conversation_start_date: random() < 0.5 ? "2025-06-28" : null,
    channel_config: random() < 0.7 ? { valid_channels: ["analysis", "final"], channel_required: random() < 0.5 } : null,
    tools: randomTools(random),
  };
  return { role: "system", content: [content] };
}

function developerMessage(random: Random): Message {
  const instructions = random() < 0.8 ? randomText(random) : null;
  return { role: "developer", content: [{ type: "developer_content", instructions, tools: randomTools(random) }] };
}

const assistant = (channel: string, content: string): Message => ({ role: "assistant", channel, content });

/** A user's question and the replies: analysis, calls with results, an answer. Any of them may be missing. */
export function randomTurn(random: Random): Message[] {
  const turn: Message[] = [];
  if (random() < 0.9) {
    turn.push({ role: "user", content: randomText(random), ...(random() < 0.1 && { name: randomText(random) }) });
  }
  if (random() < 0.1) turn.push(developerMessage(random));
  for (let calls = below(random, 3); calls > 0; calls--) {
    if (random() < 0.7) turn.push(assistant("analysis", randomText(random)));
    const name =
      random() < 0.8 ? "functions.f" : oneOf(random, ["python", "browser.search", `functions.${randomText(random)}`]);
    const content_type = oneOf(random, ["<|constrain|>json", "json", "code", null]);
    turn.push({
      ...assistant(random() < 0.8 ? "commentary" : "analysis", randomText(random)),
      recipient: name,
      content_type,
    });
    const parts = Array.from({ length: below(random, 3) }, () => ({ type: "text" as const, text: randomText(random) }));
    if (random() < 0.8)
      turn.push({ role: "tool", name, recipient: "assistant", channel: "commentary", content: parts });
  }
  if (random() < 0.7) turn.push(assistant("analysis", randomText(random)));
  if (random() < 0.1) turn.push(assistant("commentary", randomText(random)));
  if (random() < 0.8) turn.push(assistant("final", randomText(random)));
  if (random() < 0.05) turn.push({ role: "assistant", content: randomText(random), recipient: "all" });
  return turn;
}

export function randomConversation(random: Random, turns = 1 + below(random, 4)): Message[] {
  const messages: Message[] = [];
  if (random() < 0.8) messages.push(systemMessage(random));
  if (random() < 0.6) messages.push(developerMessage(random));
  for (let turn = 0; turn < turns; turn++) messages.push(...randomTurn(random));
  return messages;
}

/** Changes a conversation as callers do: appends, changes an object in place, drops, moves, replaces by a copy. */
export function changeConversation(random: Random, messages: Message[]): void {
  const at = below(random, messages.length);
  const message = messages[at];
  const kind = random();
  if (message === undefined || kind < 0.4) {
    messages.push(...randomTurn(random));
  } else if (kind < 0.5) {
    messages[at] = structuredClone(message);
  } else if (kind < 0.6) {
    messages.splice(at, 1 + below(random, 2));
  } else if (kind < 0.65) {
    messages.splice(below(random, messages.length), 0, message);
  } else if (kind < 0.75) {
    message.channel = oneOf(random, ["analysis", "commentary", "final", null]);
  } else if (kind < 0.8 && message.role === "assistant") {
    message.recipient = oneOf(random, ["functions.f", "functions.g", "all", null]);
  } else if (typeof message.content === "string") {
    message.content = random() < 0.5 ? `${message.content}x` : randomText(random);
  } else {
    const part = message.content[0];
    if (part?.type === "text") part.text = randomText(random);
    if (part?.type === "system_content") part.reasoning_effort = oneOf(random, ["low", "medium", "high"]);
    if (part?.type === "developer_content") part.tools = randomTools(random);
  }
}
