// node fake-client.mjs BASE_URL QUESTION FAULT: a coding agent for the tests of the runs. It makes one mistake, FAULT.
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

const [baseUrl, question, fault] = process.argv.slice(2);
const names = fault === "no tool" ? ["view"] : ["view", "apply_patch"];
const tools = names.map((name) => ({ type: "function", function: { name, parameters: { type: "object" } } }));
const messages = [{ role: "user", content: question }];

const post = async (route, body) => {
  const headers = { "content-type": "application/json" };
  return (await fetch(`${baseUrl}${route}`, { method: "POST", headers, body: JSON.stringify(body) })).json();
};

if (fault === "another API") await post("/completions", { model: "gpt-oss-20b", prompt: question });
if (fault === "a refusal") await post("/chat/completions", { messages: "none" });
for (;;) {
  const { choices } = await post("/chat/completions", { model: "gpt-oss-20b", messages, tools });
  const { content, reasoning_content, tool_calls = [] } = choices[0].message;
  if (tool_calls.length === 0) {
    if (fault !== "no answer") console.log(content);
    break;
  }
  // Without the reasoning and with another id the server cannot know what the model thought.
  const forgets = fault === "no reasoning";
  const calls = tool_calls.map((call) => ({ ...call, id: forgets ? `other-${messages.length}` : call.id }));
  messages.push({ role: "assistant", content, tool_calls: calls, ...(!forgets && { reasoning_content }) });
  for (const { id, function: called } of calls)
    messages.push({ role: "tool", tool_call_id: id, content: done(called) });
}
if (fault === "another file") writeFileSync("other.txt", "");
process.exit(fault === "exit code" ? 3 : 0);

function done({ name, arguments: given }) {
  const args = JSON.parse(given);
  if (name === "view") return readFileSync(args.path, "utf8");
  const line = (mark) => args.input.split("\n").find((text) => text.startsWith(mark) && !text.startsWith("***"));
  const file = path.resolve(/Update File: (.*)/.exec(args.input)[1]);
  const text = readFileSync(file, "utf8").replace(line("-").slice(1), () => line("+").slice(1));
  writeFileSync(file, fault === "wrong bytes" ? text.replace("ö", "o") : text);
  return "done";
}
