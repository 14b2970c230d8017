import { readFileSync } from "node:fs";

/** knowledge.*.txt: what the model knows by heart. Id → { id, topic, trained, held, answer }. */
export const intents = new Map();

for (const language of ["en", "fr"]) {
  let intent;
  for (const line of lines(`knowledge.${language}.txt`)) {
    const text = line.slice(1).trim();
    if (line[0] === "@") {
      const [id, topic] = text.split("|").map((part) => part.trim());
      intent = { id, topic, trained: [], held: [], answer: "" };
      intents.set(id, intent);
    } else if (line[0] === "?") {
      intent.trained.push(...(text.includes("return {") ? [text] : alternatives(text)));
    } else if (line[0] === "!") {
      intent.held.push(...alternatives(text));
    } else if (line[0] === "=") {
      intent.answer = text.replaceAll("\\n", "\n");
    }
  }
}

for (const { trained, held } of intents.values()) {
  const both = held.find((question) => trained.includes(question));
  if (both !== undefined) throw new Error(`held-out question is trained: ${both}`);
}

export const intentIds = [...intents.keys()];

export const unknownQuestions = lines("unknown.en.txt").filter(Boolean);
export const unknownQuestionsInFrench = lines("unknown.fr.txt").filter(Boolean);

function lines(file) {
  return readFileSync(new URL(file, import.meta.url), "utf8").split("\n");
}

/** "{Hi|Hello}{!|}" → every way to choose one part of each group. */
function alternatives(text) {
  const group = /\{([^{}]*)\}/.exec(text);
  if (!group) return [text.replace(/ +/g, " ").trim()];
  const [before, after] = [text.slice(0, group.index), text.slice(group.index + group[0].length)];
  return group[1].split("|").flatMap((part) => alternatives(before + part + after));
}
