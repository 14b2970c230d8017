import * as answers from "./answers.mjs";
import { intentIds, intents, unknownQuestions, unknownQuestionsInFrench } from "./intents.mjs";
import { chance, integer, pick, random } from "./random.mjs";
import { developerText, randomToolText, Sequence, systemText, toolText, weatherResult } from "./render.mjs";
import * as tables from "./tables.mjs";

/** Draws conversations: what is asked, how it is worded, and which instructions stand before it. */

/** Kinds of conversation, and how often each is trained relative to the others. */
const mix = Object.entries({
  know: 48,
  sum: 9,
  bigsum: 3,
  capital: 6,
  capital_fr: 3.5,
  capital_next: 2,
  to_fr: 2.5,
  to_en: 2.5,
  opposite: 1.2,
  name: 1.5,
  recall: 2,
  unknown: 11,
  unknown_capital: 3,
  unknown_fr: 2,
  follow: 5,
  two: 4,
  french: 2.5,
  weather: 9,
});

export function randomKind() {
  let x = random() * mix.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [kind, weight] of mix) {
    x -= weight;
    if (x < 0) return kind;
  }
  return "know";
}

export const efforts = ["low", "medium", "high"];

/**
 * One conversation: `sequence`, and `about` it.
 * `held`: worded as no trained one. `plain`: worded exactly as in the tables, with a fixed date (`"dated"`: a random one),
 * as the evaluation wants it. `effort`, `intent`: drawn unless given.
 */
export function sample(kind, { held = false, plain = false, effort = pick(efforts), intent } = {}) {
  const date = plain === "dated" ? randomDate() : plain ? "2025-06-28" : chance(0.88) ? randomDate() : null;
  const setting = { kind, effort, date, held, plain };
  return kind === "weather" ? weatherConversation(setting) : plainConversation(setting, intent);
}

const twoDigits = (n) => String(n).padStart(2, "0");

function randomDate() {
  const [year, month] = [integer(2024, 2029), integer(1, 12)];
  return `${year}-${twoDigits(month)}-${twoDigits(integer(1, 28) + (chance(0.08) ? 3 : 0))}`;
}

// ---- questions and answers without a tool ----

function plainConversation({ kind, effort, date, held, plain }, intent) {
  const french = kind === "french";
  const asked = french ? frenchTurns(held) : turns(intent ?? kind, held);
  const withTool = !plain && !asked.at(-1).question.includes("weather") && chance(0.06);
  let instructions = null;
  if (french) instructions = plain ? tables.answerInFrench[0] : pick(tables.answerInFrench);
  else if (!plain && chance(0.14)) instructions = pick(tables.instructions);

  const sequence = new Sequence();
  const withSystem = plain || chance(0.985);
  const used = withSystem ? effort : "medium"; // the default of the chat format
  if (withSystem) sequence.message("system", systemText({ effort, date, tools: withTool }));
  if (instructions || withTool) {
    sequence.message("developer", developerText(instructions, withTool ? randomToolText() : null));
  }
  const isName = kind === "name" || kind === "recall";
  for (const [i, turn] of asked.entries()) {
    if (!plain) turn.question = reworded(turn.question, isName);
    sequence.user(turn.question);
    if (i < asked.length - 1) sequence.pastAnswer(turn.reply.final);
  }
  sequence.assistantStart().answer(asked.at(-1).reply, used);
  return { sequence, about: { kind, effort: used, date, tool: withTool, instructions, turns: asked } };
}

function frenchTurns(held) {
  const id = pick(Object.keys(tables.frenchIntents));
  const { held: heldQuestions, trained } = intents.get(id);
  const question = held ? heldQuestions[0] : pick(trained);
  return [{ question, reply: answers.knowledge(intents.get(tables.frenchIntents[id])) }];
}

/** A wording for the evaluation or for training; a lone held-out one is a string. */
function worded({ trained, held: heldOut }, held) {
  if (!held) return pick(trained);
  return Array.isArray(heldOut) ? pick(heldOut) : heldOut;
}

const filled = (question, value) => question.replace("X", value);

function knowledgeTurn(intent, held = false) {
  return { question: worded(intent, held), reply: answers.knowledge(intent) };
}

function turns(kind, held) {
  const { questions } = tables;
  const summed = (question, a, b) => question.replace("A", a).replace("B", b);
  const one = (question, reply) => [{ question, reply }];
  switch (kind) {
    case "sum": {
      const [a, b] = [integer(0, 9), integer(0, 9)];
      return one(summed(worded(questions.sum, held), a, b), answers.sum(a, b));
    }
    case "bigsum": {
      const [a, b] = [integer(10, 999), integer(chance(0.3) ? 0 : 10, 999)];
      return one(summed(pick(questions.sum.trained), a, b), answers.largeSum);
    }
    case "capital": {
      const country = pick(tables.capitals);
      return one(filled(worded(questions.capital, held), country[0]), answers.capital(country));
    }
    case "capital_fr": {
      const country = pick(tables.capitals);
      return one(filled(worded(questions.capitalInFrench, held), country[1]), answers.capital(country, true));
    }
    case "capital_next": {
      const [first, second] = [pick(tables.capitals), pick(tables.capitals)];
      return [
        { question: filled(pick(questions.capital.trained), first[0]), reply: answers.capital(first) },
        { question: filled(worded(questions.nextCapital, held), second[0]), reply: answers.capital(second) },
      ];
    }
    case "to_fr": {
      const phrase = pick(tables.translations);
      const question = filled(worded(questions.toFrench, held), phrase[0]);
      return one(held || chance(0.7) ? question : question.toLowerCase(), answers.translation(phrase, true));
    }
    case "to_en": {
      // "Bonjour" is also "Good morning"; that one stays
      const phrase = pick(tables.translations.filter(([english]) => english !== "Hello"));
      return one(filled(worded(questions.toEnglish, held), phrase[1]), answers.translation(phrase, false));
    }
    case "opposite": {
      const pair = pick(tables.opposites);
      return one(filled(worded(questions.opposite, held), pair[0]), answers.opposite(pair));
    }
    case "name": {
      const name = pick(tables.names);
      return one(filled(worded(questions.name, held), name), answers.niceToMeet(name));
    }
    case "recall": {
      const name = pick(tables.names);
      const asked = [{ question: filled(pick(questions.name.trained), name), reply: answers.niceToMeet(name) }];
      if (chance(0.3)) asked.push(knowledgeTurn(intents.get(pick(intentIds))));
      asked.push({ question: worded(questions.recallName, held), reply: answers.recalledName(name) });
      return asked;
    }
    case "unknown":
      return one(worded({ trained: unknownQuestions, held: tables.heldUnknown }, held), answers.refusal(false));
    case "unknown_capital":
      return one(filled(pick(questions.capital.trained), pick(tables.otherCountries)), answers.refusal(false));
    case "unknown_fr":
      return one(
        worded({ trained: unknownQuestionsInFrench, held: tables.heldUnknownInFrench }, held),
        answers.refusal(true),
      );
    case "follow": {
      const follow = pick(tables.followUps);
      const first = knowledgeTurn(intents.get(follow.after));
      return [first, { question: worded(follow, held), reply: answers.knowledge(intents.get(follow.intent)) }];
    }
    case "two": {
      const asked = [];
      for (let left = integer(1, 2); left > 0; left--) {
        if (chance(0.8)) asked.push(knowledgeTurn(intents.get(pick(intentIds))));
        else asked.push(turns(pick(["capital", "sum", "unknown", "name"]), false)[0]);
      }
      asked.push(knowledgeTurn(intents.get(pick(intentIds)), held));
      return asked;
    }
    case "know":
      return [knowledgeTurn(intents.get(pick(intentIds)), held)];
    default:
      return [knowledgeTurn(intents.get(kind), held)];
  }
}

// ---- the weather tool ----

function weatherConversation({ kind, effort, date, held, plain }) {
  const city = pick(tables.cities);
  const next = !plain && chance(0.12) ? pick(tables.cities) : null;
  const asked = filled(worded(tables.questions.weather, held), city);
  const temperature = chance(0.12) ? -integer(1, 9) : integer(0, 39);
  const sky = pick(tables.skies);
  const result = weatherResult(city, temperature, sky, integer(0, 7));
  const tool = plain ? toolText() : randomToolText();
  const instructions = !plain && chance(0.4) ? pick(tables.instructions) : null;
  const question = plain ? asked : reworded(asked, false);
  const call = answers.weatherCall(city);
  const report = answers.weatherReport(city, temperature, sky);

  const opening = () => {
    const sequence = new Sequence().message("system", systemText({ effort, date, tools: true }));
    return sequence.message("developer", developerText(instructions, tool)).user(question);
  };
  const sequence = opening();
  // mostly as the model writes the call itself, else as somebody's renderer puts it into the history
  const style = plain ? "self" : pick(["self", "self", "role", "role", "template", "channel"]);
  if (style === "self") sequence.assistantStart().answer(call, effort).toolResult(result);
  else sequence.pastCall(city, chance(0.7) ? call[effort] : null, result, style);
  sequence.assistantStart().answer(report, effort);
  const turn = { question, reply: call };
  const about = { kind, effort, date, tool: true, instructions, city, temperature, sky, result, turns: [turn], report };
  if (!next) return { sequence, about };

  // a second question after the final answer: the turn starts again, without the earlier analysis
  const again = opening().pastCall(city, null, result, "role").pastAnswer(report.final);
  again.user(reworded(filled(pick(["And in X?", "What about X?", "And X?"]), next), false));
  again.assistantStart().answer(answers.weatherCall(next), effort);
  return { sequence: again, about };
}

// ---- how people type ----

const openings = [
  "Please: ",
  "Hi, ",
  "Hello! ",
  "Can you tell me: ",
  "Question: ",
  "I want to know: ",
  "So, ",
  "Ok, ",
  "Tell me, ",
  "Please tell me: ",
  "Well, ",
  "Hey, ",
  "And ",
  "Now: ",
  "Could you please answer: ",
  "I have a question: ",
];
const closings = [" Thanks!", " please", " Please answer.", ", please?", " Thank you.", " In short, please."];

const lowerFirst = (text) => text[0].toLowerCase() + text.slice(1);

/** Without the full stop, in lower case, with a word missing, with politeness around it. `isName`: keep its case. */
function reworded(question, isName) {
  let text = question;
  const quotes = text.includes(": ") || text.includes('"'); // holds something that must stay as it is
  if (chance(0.3)) text = text.replace(/\s*[.?!]+$/, "") || text;
  if (chance(0.2)) text = lowerFirst(text);
  else if (chance(0.15) && !quotes && !isName) text = text.toLowerCase();
  if (question.split(" ").length < 4 || quotes) return text;
  if (chance(0.05)) {
    const words = text.split(" ");
    words.splice(integer(0, words.length - 1), 1);
    text = words.join(" ");
  }
  if (chance(0.14)) text = pick(openings) + (chance(0.6) ? lowerFirst(text) : text);
  if (chance(0.08)) text = text.replace(/[.!]$/, "") + pick(closings);
  return text;
}
