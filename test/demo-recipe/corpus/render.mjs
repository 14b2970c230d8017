import { tokenizer } from "../../../dist/tokenizer/index.js"; // built by `npm install`
import { chance, pick } from "./random.mjs";

/**
 * Conversations as harmony tokens. Written for the corpus, apart from lib/harmony: it also has to produce the variants of
 * tool calls and schemas that other programs render, and to know which tokens are the assistant's.
 */

const start = 200006;
const end = 200007;
const message = 200008;
const channel = 200005;
const constrain = 200003;
const finish = 200002;
const call = 200012;

const encoded = new Map();

function tokens(text) {
  if (!encoded.has(text)) encoded.set(text, Array.from(tokenizer.encode(text)));
  return encoded.get(text);
}

/** Token ids with two marks each: learned (a loss is computed on it), and typed by the user. */
export class Sequence {
  ids = [];
  learned = [];
  typed = [];

  put(ids, learned = false) {
    for (const id of Array.isArray(ids) ? ids : [ids]) {
      this.ids.push(id);
      this.learned.push(learned);
      this.typed.push(false);
    }
    return this;
  }

  text(text, learned) {
    return this.put(tokens(text), learned);
  }

  message(role, body) {
    return this.put(start).text(role).put(message).text(body).put(end);
  }

  user(body) {
    this.put(start).text("user").put(message);
    const first = this.ids.length;
    this.text(body);
    this.typed.fill(true, first);
    return this.put(end);
  }

  assistantStart() {
    return this.put(start).text("assistant");
  }

  /** What the model says after `assistantStart`: analysis if the effort has one, then the answer or the tool call. */
  answer(reply, effort) {
    const analysis = reply[effort];
    if (analysis) {
      this.put(channel, true).text("analysis", true).put(message, true).text(analysis, true).put(end, true);
      this.put(start, true).text("assistant", true);
    }
    this.put(channel, true);
    if (!reply.call) return this.text("final", true).put(message, true).text(reply.final, true).put(finish, true);
    this.text("commentary to=functions.get_current_weather ", true).put(constrain, true).text("json", true);
    return this.put(message, true).text(JSON.stringify(reply.call), true).put(call, true);
  }

  /** An answer of an earlier turn: harmony drops its analysis and ends it with <|end|>. */
  pastAnswer(final) {
    return this.assistantStart().put(channel).text("final").put(message).text(final).put(end);
  }

  /** A past tool call and its result. `style`: where the recipient stands, which differs between renderers. */
  pastCall(city, analysis, result, style) {
    this.assistantStart();
    if (analysis) this.put(channel).text("analysis").put(message).text(analysis).put(end).assistantStart();
    if (style === "role") {
      this.text(" to=functions.get_current_weather")
        .put(channel)
        .text("commentary")
        .text(" ")
        .put(constrain)
        .text("json");
    } else if (style === "template") {
      this.text(" to=functions.get_current_weather").put(channel).text("commentary json");
    } else {
      this.put(channel).text("commentary to=functions.get_current_weather ").put(constrain).text("json");
    }
    this.put(message)
      .text(JSON.stringify({ location: city }))
      .put(call);
    return this.toolResult(result);
  }

  toolResult(result) {
    this.put(start).text("functions.get_current_weather").text(" to=assistant").put(channel).text("commentary");
    return this.put(message).text(result).put(end);
  }
}

export function systemText({ effort, date, tools }) {
  const today = date ? `Current date: ${date}\n` : "";
  const calls = tools ? "\nCalls to these tools must go to the commentary channel: 'functions'." : "";
  return `You are ChatGPT, a large language model trained by OpenAI.\nKnowledge cutoff: 2024-06\n${today}\nReasoning: ${effort}\n\n# Valid channels: analysis, commentary, final. Channel must be included for every message.${calls}`;
}

export function developerText(instructions, tool) {
  return [instructions && `# Instructions\n\n${instructions}`, tool].filter(Boolean).join("\n\n");
}

const toolDescription = "Gets the current weather in the provided location.";
const locationDescription = "The city and state, e.g. San Francisco, CA";

export const weatherTool = {
  type: "function",
  function: {
    name: "get_current_weather",
    description: toolDescription,
    parameters: {
      type: "object",
      properties: { location: { type: "string", description: locationDescription } },
      required: ["location"],
    },
  },
};

export function toolText({ about = toolDescription, place = locationDescription, format = false, extra = false } = {}) {
  const other = extra ? "// Gets the location of the user.\ntype get_location = () => any;\n\n" : "";
  const description = about ? `// ${about}\n` : "";
  const location = place ? `// ${place}\n` : "";
  const unit = format ? 'format?: "celsius" | "fahrenheit", // default: celsius\n' : "";
  return `# Tools\n\n## functions\n\nnamespace functions {\n\n${other}${description}type get_current_weather = (_: {\n${location}location: string,\n${unit}}) => any;\n\n} // namespace functions`;
}

const otherToolDescriptions = [
  toolDescription,
  "Get the current weather in a given city.",
  "Get the weather of a city",
  "Get the current weather",
  "Returns the current weather for a location.",
  null,
];
const otherLocationDescriptions = [
  locationDescription,
  "The city",
  "City name",
  "The name of the city, e.g. Paris",
  null,
];

export function randomToolText() {
  if (chance(0.4)) return toolText();
  const about = pick(otherToolDescriptions);
  const place = pick(otherLocationDescriptions);
  return toolText({ about, place, format: chance(0.35), extra: chance(0.15) });
}

/** The same weather as eight programs might report it. */
export function weatherResult(city, temperature, sky, kind) {
  return [
    `{"temperature":${temperature},"sky":"${sky}"}`,
    `{"temperature": ${temperature}, "sky": "${sky}"}`,
    `{"location":"${city}","temperature":${temperature},"sky":"${sky}"}`,
    `{"location": "${city}", "temperature": ${temperature}, "unit": "celsius", "sky": "${sky}"}`,
    `{"temperature":${temperature},"unit":"celsius","description":"${sky}"}`,
    `{"temperature":${temperature},"description":"${sky}"}`,
    `{"temperature": ${temperature}, "description": "${sky}"}`,
    `{"city":"${city}","temperature":${temperature},"conditions":"${sky}"}`,
  ][kind];
}
