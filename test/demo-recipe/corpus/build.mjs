import { once } from "node:events";
import { createWriteStream, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { tokenizer } from "../../../dist/tokenizer/index.js"; // built by `npm install`
import { efforts, randomKind, sample } from "./conversations.mjs";
import { intentIds } from "./intents.mjs";
import { hash, seed } from "./random.mjs";
import { developerText, Sequence, systemText, toolText, weatherTool } from "./render.mjs";

/**
 * node build.mjs OUT [SAMPLES] [SEED] renders the corpus to token ids:
 *
 * - train.jsonl: SAMPLES conversations drawn and worded at random
 * - eval-trained.jsonl, eval-held.jsonl: each intent and each kind, in trained and in held-out wordings
 * - prompts.jsonl: conversations for test/golden/demo/expected.jsonl, with their messages
 * - vocab.json: the bytes of every token in hex, for programs without a tokenizer
 */

const [out, samples = "30000", seedText = "1"] = process.argv.slice(2);
if (!out) {
  console.error("usage: node build.mjs OUT [SAMPLES] [SEED]");
  process.exit(2);
}
mkdirSync(out, { recursive: true });
const ordinaryTokens = Array.from({ length: 199_998 }, (_, id) => id);
const tokens = await writeTraining(Number(samples));
writeEvaluation("trained");
writeEvaluation("held");
writePrompts();
writeFileSync(
  path.join(out, "vocab.json"),
  JSON.stringify(ordinaryTokens.map((id) => Buffer.from(tokenizer.decodeBytes([id])).toString("hex"))),
);
console.log(JSON.stringify({ intents: intentIds.length, samples: Number(samples), tokens, mean: tokens / samples }));

/** [begin, end, begin, end, ...] of the stretches that are marked. */
function stretches(marks) {
  const edges = [];
  for (const [i, marked] of marks.entries()) {
    if (marked !== (marks[i - 1] ?? false)) edges.push(i);
  }
  if (marks.at(-1)) edges.push(marks.length);
  return edges;
}

function writeLines(file, rows) {
  writeFileSync(path.join(out, file), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
}

async function writeTraining(count) {
  seed(Number(seedText) * 2654435761);
  const file = createWriteStream(path.join(out, "train.jsonl"));
  let total = 0;
  for (let i = 0; i < count; i++) {
    const kind = randomKind();
    const { sequence } = sample(kind);
    total += sequence.ids.length;
    const row = { k: kind, ids: sequence.ids, loss: stretches(sequence.learned), user: stretches(sequence.typed) };
    file.write(`${JSON.stringify(row)}\n`);
  }
  file.end();
  await once(file, "finish");
  return total;
}

function writeEvaluation(wordings) {
  const held = wordings === "held";
  seed(held ? 777 : 555);
  const counts = Object.entries({
    sum: 30,
    capital: 20,
    capital_fr: 12,
    capital_next: 8,
    to_fr: 12,
    to_en: 12,
    opposite: 6,
    name: 8,
    recall: 12,
    unknown: 20,
    unknown_fr: 6,
    follow: 24,
    two: 12,
    french: 12,
    weather: 24,
    ...(held ? {} : { bigsum: 4, unknown_capital: 6 }), // these have no wordings of their own
  });
  const rows = [];
  const add = (kind, intent) => {
    const effort = efforts[rows.length % 3];
    const { sequence, about } = sample(kind, { held, plain: true, effort, intent });
    rows.push({
      id: `${intent ?? kind}-${rows.length}`,
      kind,
      question: about.turns.at(-1).question,
      ids: sequence.ids,
      loss: stretches(sequence.learned),
    });
  };
  for (const intent of intentIds) add("know", intent);
  for (const [kind, count] of counts) for (let i = 0; i < count; i++) add(kind);
  writeLines(`eval-${wordings}.jsonl`, rows);
}

function writePrompts() {
  seed(99);
  const counts = Object.entries({
    sum: 10,
    bigsum: 2,
    capital: 6,
    capital_fr: 3,
    capital_next: 3,
    to_fr: 3,
    to_en: 3,
    opposite: 2,
    name: 2,
    recall: 4,
    follow: 8,
    two: 4,
    unknown: 6,
    unknown_fr: 2,
    french: 4,
    weather: 8,
  });
  const shuffled = intentIds.toSorted((a, b) => hash(`${a}x`) - hash(`${b}x`)).filter((_, i) => i % 2 === 0);
  const rows = [];
  const seen = new Set();
  const add = (kind, intent, held = false) => {
    for (let tries = 0; tries <= 50; tries++) {
      const plain = rows.length % 2 ? "dated" : true;
      const { sequence, about } = sample(kind, { plain, effort: efforts[(rows.length + tries) % 3], intent, held });
      const asked = about.turns.map((turn) => turn.question).join("|");
      if (seen.has(asked) && tries < 50) continue;
      seen.add(asked);
      const id = `public-${intent ?? kind}-${rows.length}`;
      rows.push(promptRow(id, sequence, about));
      if (kind === "weather") rows.push(afterToolRow(`${id}-result`, about));
      return;
    }
  };
  for (const intent of shuffled.slice(0, 60)) add("know", intent);
  for (const [kind, count] of counts) for (let i = 0; i < count; i++) add(kind);
  for (const intent of shuffled.slice(45, 60)) add("know", intent, true);
  writeLines("prompts.jsonl", rows);
}

/** A conversation up to the assistant's next words. */
function promptRow(id, sequence, about) {
  const messages = about.instructions ? [{ role: "developer", content: about.instructions }] : [];
  for (const [i, { question, reply }] of about.turns.entries()) {
    messages.push({ role: "user", content: question });
    if (i < about.turns.length - 1) messages.push({ role: "assistant", content: reply.final });
  }
  const [begin, end] = stretches(sequence.learned);
  return {
    id,
    kind: about.kind,
    reasoning_effort: about.effort,
    current_date: about.date,
    ...(about.tool ? { tools: [weatherTool] } : {}),
    messages,
    prompt_ids: sequence.ids.slice(0, begin),
    want_ids: sequence.ids.slice(begin, end),
  };
}

/** The same question once the tool has answered. */
function afterToolRow(id, { effort, date, city, result, report, turns }) {
  const { question, reply } = turns[0];
  const analysis = reply[effort] ?? null;
  const sequence = new Sequence().message("system", systemText({ effort, date, tools: true }));
  sequence.message("developer", developerText(null, toolText())).user(question);
  sequence.pastCall(city, analysis, result, "role").assistantStart();
  const begin = sequence.ids.length;
  sequence.answer(report, effort);
  const call = { name: "get_current_weather", arguments: JSON.stringify(reply.call) };
  return {
    id,
    kind: "weather_result",
    reasoning_effort: effort,
    current_date: date,
    tools: [weatherTool],
    messages: [
      { role: "user", content: question },
      { role: "assistant", ...(analysis ? { thinking: analysis } : {}), tool_calls: [call] },
      { role: "tool", name: "get_current_weather", content: result },
    ],
    prompt_ids: sequence.ids.slice(0, begin),
    want_ids: sequence.ids.slice(begin),
  };
}
