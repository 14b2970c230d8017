// A loop of function calls: the model asks for the weather, this program looks it up, the model answers.
// Shown: declaring a tool, running its calls, and giving results back until the model has a final answer.
// Run: node examples/tools.mjs [MODEL]
import { Engine } from "gpt-oss-node";

/** @type {import("gpt-oss-node/harmony").FunctionTool[]} */
const tools = [
  {
    type: "function",
    function: {
      name: "get_current_weather",
      description: "Gets the current weather in the provided location.",
      parameters: {
        type: "object",
        properties: { location: { type: "string", description: "The city and state, e.g. San Francisco, CA" } },
        required: ["location"],
      },
    },
  },
];

/** @type {Record<string, (args: any) => unknown>} */
const functions = {
  get_current_weather: ({ location }) => ({ location, temperature: location === "Oslo" ? -3 : 21, sky: "sunny" }),
};

const engine = await Engine.load(process.argv[2] ?? "demo");
try {
  /** @type {import("gpt-oss-node").ChatMessage[]} */
  const messages = [{ role: "user", content: "What is the weather in Oslo?" }];
  // A bound on the turns: a model may call tools again and again.
  for (let turn = 0; turn < 5; turn++) {
    const answer = await engine.chat(messages, { tools, temperature: 0 }).result;
    messages.push(...answer.messages);
    if (answer.toolCalls.length === 0) {
      console.log(answer.content);
      break;
    }
    for (const { id, name, arguments: text } of answer.toolCalls) {
      console.log(`call: ${name}(${text})`);
      messages.push({ role: "tool", tool_call_id: id, content: JSON.stringify(run(name, text)) });
    }
  }
} finally {
  await engine.close();
}

/**
 * Returns an error to the model as the result, so that it can call again.
 *
 * @param {string} name
 * @param {string} text
 */
function run(name, text) {
  try {
    const called = functions[name];
    return called ? called(JSON.parse(text)) : { error: `There is no function ${name}` };
  } catch (error) {
    return { error: String(error) };
  }
}
