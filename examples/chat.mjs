// A chat of several turns. Each line of stdin is a question; the answer is printed as the model writes it.
// Shown: streaming with `for await`, the history of a conversation, and the usage of each turn.
// Run: printf 'What is the capital of Greece?\nAnd of Brazil?\n' | node examples/chat.mjs [MODEL]
import { createInterface } from "node:readline";
import { Engine } from "gpt-oss-node";

const engine = await Engine.load(process.argv[2] ?? "demo");
try {
  /** @type {import("gpt-oss-node").ChatMessage[]} */
  const messages = [];
  for await (const question of createInterface({ input: process.stdin })) {
    messages.push({ role: "user", content: question });
    const run = engine.chat(messages, { reasoningEffort: "low", temperature: 0 });
    for await (const event of run) {
      // The channel "analysis" has the reasoning, "final" has the text for the user.
      if (event.type === "delta" && event.channel === "final") process.stdout.write(event.text);
    }
    const answer = await run.result;
    messages.push(...answer.messages);
    console.log(`\n(${answer.usage.promptTokens} tokens read, ${answer.usage.cachedTokens} of them from the cache)`);
  }
} finally {
  await engine.close();
}
