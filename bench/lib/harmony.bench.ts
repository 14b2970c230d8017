// The harmony parsers and renderers, on one core.
import type { NewRow } from "../../lib/bench/rows.js";
import { functionCallMessage } from "../../lib/harmony/builders.js";
import {
  ConversationRenderer,
  developerMessage,
  type FunctionTool,
  type Message,
  parseMessagesFromCompletionTokens,
  RecoveringParser,
  renderConversation,
  renderConversationForCompletion,
  StreamableParser,
  systemMessage,
} from "../../lib/harmony/index.js";
import { type LibBench, type LibBenches, rowsOf, timesOf } from "./bench.js";

/** Of each call in a round; they take longer than those of the tokenizer. */
const milliseconds = 200;

/** Messages of 300 characters, as an assistant writes them. */
function written(text: string): Uint32Array {
  const messages: Message[] = [];
  for (let at = 0; at + 300 <= text.length; at += 300) {
    const content = text.slice(at, at + 300);
    if (messages.length % 4 === 3) messages.push(functionCallMessage("get_weather", JSON.stringify({ text: content })));
    else messages.push({ role: "assistant", channel: messages.length % 4 === 2 ? "final" : "analysis", content });
  }
  return renderConversation(messages, { autoDropAnalysis: false, toolCallOrder: "channel-first" }).subarray(0, 60_000);
}

/** Token by token, and all at once. */
function* parse({ corpus, rounds }: LibBench): Generator<NewRow> {
  let characters = 0; // something that depends on every delta
  for (const name of ["english", "code", "mixed"]) {
    const ids = written(corpus[name]!);
    const calls = {
      recovering: () => {
        const parser = new RecoveringParser({ headerOpen: false });
        for (const token of ids) {
          for (const event of parser.push(token)) if (event.type === "delta") characters += event.text.length;
        }
        parser.end();
      },
      strict: () => {
        const parser = new StreamableParser();
        for (const token of ids) {
          parser.process(token);
          characters += parser.lastContentDelta?.length ?? 0;
        }
        if (parser.state === "Content") parser.processEos();
      },
      whole: () => {
        characters += parseMessagesFromCompletionTokens(ids).length;
      },
    };
    const times = timesOf(calls, rounds, milliseconds);
    yield* rowsOf({ name: "parse", parameters: { text: name }, tokens: ids.length, unit: "us", times });
  }
  if (characters === 0) throw new Error("nothing was parsed");
}

const tools: FunctionTool[] = Array.from({ length: 8 }, (_, i) => ({
  type: "function",
  function: {
    name: `look_up_${i}`,
    description: "Looks up what is known of a place at a time.",
    parameters: {
      type: "object",
      properties: {
        place: { type: "string", description: "City and country, for example Rome, Italy" },
        unit: { type: "string", enum: ["celsius", "fahrenheit"], default: "celsius" },
        days: { type: "integer", description: "How many days to look ahead" },
      },
      required: ["place"],
    },
  },
}));

function conversation(text: string, scale: number): Message[] {
  let at = 0;
  const next = (length: number) => {
    at += length * scale;
    return text.slice(at - length * scale, at);
  };
  const messages: Message[] = [systemMessage(), developerMessage({ instructions: next(800), tools })];
  const say = (channel: string, content: string): Message => ({ role: "assistant", channel, content });
  for (let turn = 0; turn < 10; turn++) {
    messages.push(
      { role: "user", content: next(300) },
      say("analysis", next(500)),
      functionCallMessage("look_up_0", JSON.stringify({ place: next(20) })),
      { role: "tool", name: "functions.look_up_0", recipient: "assistant", channel: "commentary", content: next(600) },
      say("final", next(1000)),
    );
  }
  return messages;
}

const shapes = [
  ["english", 1],
  ["mixed", 1],
  ["mixed", 8],
] as const;
/** Ten turns of five messages, after a system message and a developer message with tools. */
function* render({ corpus, rounds }: LibBench): Generator<NewRow> {
  for (const [name, scale] of shapes) {
    const messages = conversation(corpus[name]!.slice(10_000), scale);
    const options = { autoDropAnalysis: "past" } as const;
    const renderer = new ConversationRenderer();
    renderer.renderForCompletion(messages, "assistant", options);
    let turn = 0;
    const calls = {
      whole: () => renderConversationForCompletion(messages, "assistant", options),
      again: () => renderer.renderForCompletion(messages, "assistant", options),
      nextTurn: () => {
        const question: Message = { role: "user", content: `${turn++} ${messages[2]!.content}` };
        return renderer.renderForCompletion([...messages, question], "assistant", options);
      },
    };
    const parameters = { text: name, messages: messages.length };
    const times = timesOf(calls, rounds, milliseconds);
    yield* rowsOf({ name: "render", parameters, tokens: calls.whole().length, unit: "us", times });
  }
}

export const harmonyBenches: LibBenches = { parse, render };
