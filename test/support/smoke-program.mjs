// Copied into a project in which gpt-oss-node is installed: what a user does first, by every entry point. Prints one JSON
// object.
import { createRequire } from "node:module";
import { Engine } from "gpt-oss-node";
import { renderConversation } from "gpt-oss-node/harmony";
import { createServer } from "gpt-oss-node/server";
import { ScriptedEngine } from "gpt-oss-node/testing";
import { tokenizer } from "gpt-oss-node/tokenizer";

const engine = await Engine.load("demo", { backend: "cpu" });
const { content } = await engine.chat([{ role: "user", content: "What is 7 + 8?" }], { temperature: 0 }).result;
const app = await createServer({ engine, modelName: "demo", logger: false });
const served = await app.inject({
  method: "POST",
  url: "/v1/chat/completions",
  payload: { model: "demo", temperature: 0, messages: [{ role: "user", content: "What is 7 + 8?" }] },
});
await app.close();
await engine.close();

const scripted = new ScriptedEngine([{ text: "Ahoy" }]);
const { text } = await scripted.generate("x").result;
await scripted.close();

// Node 20.19 and 22.12 are the first that `require` ES modules.
let required = null;
if (process.features.require_module) {
  const api = createRequire(import.meta.url)("gpt-oss-node");
  required = api.Engine === Engine;
}
const object = {
  node: process.version,
  answer: content,
  served: served.json().choices[0].message.content,
  tokens: [...tokenizer.encode("Ahoy, sailor!")].length,
  rendered: renderConversation([{ role: "user", content: [{ type: "text", text: "Hi" }] }]).length,
  scripted: text,
  required,
};
console.log(JSON.stringify(object));
