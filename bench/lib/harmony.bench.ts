// The harmony parsers and renderers. bench/README.md explains each line.
import { parseArgs } from "node:util";
import { Bench } from "tinybench";
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
import { commit, machine } from "../support/machine.js";
import { summarize } from "../support/statistics.js";
import { texts } from "./texts.js";

const { values } = parseArgs({ options: { rounds: { type: "string", default: "9" } } });
const rounds = Number(values.rounds);
if (!Number.isInteger(rounds) || rounds < 1) {
  process.stderr.write(`Expected an integer >= 1 for --rounds but received "${values.rounds}"\n`);
  process.exit(2);
}

/** CPU time of this process in milliseconds. The wall clock would also count other programs. */
const cpuMilliseconds = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

/** Milliseconds of one call of each function, one number per round; a round is the median of 200 ms. */
async function measured(calls: Record<string, () => unknown>, repeat: number): Promise<Record<string, number[]>> {
  const times: Record<string, number[]> = Object.fromEntries(Object.keys(calls).map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    const bench = new Bench({ now: cpuMilliseconds, time: 200, warmupTime: 50, retainSamples: true });
    for (const [name, call] of Object.entries(calls)) {
      bench.add(name, () => {
        for (let k = 0; k < repeat; k++) call();
      });
    }
    await bench.run();
    for (const task of bench.tasks) {
      if (!("latency" in task.result)) throw new Error(`${task.name} was not measured`);
      times[task.name]!.push(task.result.latency.p50 / repeat);
    }
  }
  return times;
}

const place = { ...machine(), commit: commit() };
function report(row: object): void {
  process.stdout.write(`${JSON.stringify({ bench: "harmony", ...row, machine: place })}\n`);
}

// --- parsing: messages of 300 characters, as an assistant writes them ---

function written(text: string): Uint32Array {
  const messages: Message[] = [];
  for (let at = 0; at + 300 <= text.length; at += 300) {
    const content = text.slice(at, at + 300);
    if (messages.length % 4 === 3) messages.push(functionCallMessage("get_weather", JSON.stringify({ text: content })));
    else messages.push({ role: "assistant", channel: messages.length % 4 === 2 ? "final" : "analysis", content });
  }
  return renderConversation(messages, { autoDropAnalysis: false, toolCallOrder: "channel-first" }).subarray(0, 60_000);
}

let characters = 0; // something that depends on every delta
const corpus = texts();
for (const name of ["english", "code", "mixed"]) {
  const tokens = written(corpus[name]!);
  const times = await measured(
    {
      recovering: () => {
        const parser = new RecoveringParser({ headerOpen: false });
        for (const token of tokens) {
          for (const event of parser.push(token)) if (event.type === "delta") characters += event.text.length;
        }
        parser.end();
      },
      strict: () => {
        const parser = new StreamableParser();
        for (const token of tokens) {
          parser.process(token);
          characters += parser.lastContentDelta?.length ?? 0;
        }
        if (parser.state === "Content") parser.processEos();
      },
      whole: () => {
        characters += parseMessagesFromCompletionTokens(tokens).length;
      },
    },
    1,
  );
  const perSecond = (list: number[]) => summarize(list.map((ms) => tokens.length / 1e3 / ms));
  const rows = Object.entries(times).map(([call, list]) => [call, perSecond(list)]);
  report({ measure: "parse", text: name, tokens: tokens.length, unit: "Mtokens/s", ...Object.fromEntries(rows) });
}

// --- rendering: ten turns of five messages, after a system message and a developer message with tools ---

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
  const times = await measured(calls, 10);
  const rows = Object.entries(times).map(([call, list]) => [call, summarize(list.map((ms) => ms * 1000))]);
  const tokens = calls.whole().length;
  report({ measure: "render", text: name, messages: messages.length, tokens, unit: "µs", ...Object.fromEntries(rows) });
}
if (characters === 0) throw new Error("nothing was parsed");
