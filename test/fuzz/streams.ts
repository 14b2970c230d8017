import { readFileSync } from "node:fs";
import { renderConversation } from "../../lib/harmony/index.js";
import { formatTokens } from "../../lib/harmony/tokens.js";
import { firstSpecialToken, lastSpecialToken } from "../../lib/tokenizer/special-tokens.js";
import { tokenText } from "../../lib/tokenizer/token-table.js";
import { tokenizer } from "../../lib/tokenizer/tokenizer.js";
import { below, oneOf, type Random, randomConversation } from "./conversations.js";

/** Random streams of token ids, and valid streams with faults. */

const golden = new URL("../golden/", import.meta.url);
const special = (text: string) => [...tokenizer.encode(text, { allowedSpecial: "all" })];

function rows<T>(file: string): T[] {
  const lines = readFileSync(new URL(file, golden), "utf8").trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line) as T);
}

/** The recorded inputs of the reference, and the answers of the demo model. */
const recorded: readonly (readonly number[])[] = [
  ...rows<{ tokens: number[] }>("harmony/cases/stream.jsonl").map(({ tokens }) => tokens),
  ...rows<{ ids?: number[] }>("harmony/cases/render.jsonl").flatMap(({ ids }) => (ids ? [ids] : [])),
  ...rows<{ completion_ids: number[] }>("demo/expected.jsonl").map(({ completion_ids }) => completion_ids),
  special(readFileSync(new URL("harmony/upstream/test_streamable_parser.txt", golden), "utf8").trimEnd()),
];

const controls: readonly number[] = Object.values(formatTokens);
const markup = special(
  'assistant analysis final commentary to= to=functions.f json functions.f \n \t user tool system {"a":1} python code',
);
/** Tokens that are not whole characters: parts of characters, and bytes that are never valid UTF-8. */
const halves = Array.from({ length: firstSpecialToken }, (_, id) => id).filter((id) => tokenText(id) === null);
const spaces = Array.from({ length: firstSpecialToken }, (_, id) => id).filter((id) => tokenText(id)?.trim() === "");

/** Weights of: control tokens, words of headers, parts of characters, white space, any token, ids beyond the table. */
type Mix = readonly [number, number, number, number, number, number];

const mixes: readonly Mix[] = [
  [3, 4, 0, 1, 2, 0],
  [1, 1, 1, 1, 6, 0],
  [1, 0, 8, 0, 1, 0],
  [4, 0, 1, 4, 0, 0],
  [1, 4, 1, 4, 1, 1],
  [1, 1, 20, 1, 20, 0],
  [0, 1, 0, 0, 0, 0],
];

function randomToken(random: Random, mix: Mix): number {
  let at = random() * mix.reduce((sum, weight) => sum + weight, 0);
  const kind = mix.findIndex((weight) => {
    at -= weight;
    return at < 0;
  });
  switch (kind) {
    case 0:
      return oneOf(random, controls);
    case 1:
      return oneOf(random, markup);
    case 2:
      return oneOf(random, halves);
    case 3:
      return oneOf(random, spaces);
    case 4:
      return below(random, lastSpecialToken + 1);
    default:
      return random() < 0.5 ? lastSpecialToken + 1 + below(random, 1000) : below(random, 2 ** 32);
  }
}

/** Mostly short, sometimes thousands of tokens. */
function randomLength(random: Random): number {
  return Math.floor(random() < 0.02 ? 2000 * random() : random() < 0.5 ? 1 + 30 * random() : 1 + 200 * random());
}

function randomTokens(random: Random): number[] {
  const mix = oneOf(random, mixes);
  return Array.from({ length: randomLength(random) }, () => randomToken(random, mix));
}

/** One to eight faults: deleted, duplicated, swapped, inserted, replaced, cut off, joined with another stream. */
function mutate(random: Random, tokens: number[]): void {
  const mix = oneOf(random, mixes);
  for (let faults = 1 + below(random, 8); faults > 0; faults--) {
    const at = below(random, tokens.length + 1);
    const length = 1 + below(random, 4);
    switch (below(random, 8)) {
      case 0:
        tokens.splice(at, length);
        break;
      case 1:
        tokens.splice(at, 0, ...tokens.slice(at, at + 20 * length));
        break;
      case 2: {
        const other = below(random, tokens.length);
        const [a, b] = [tokens[at], tokens[other]];
        if (a !== undefined && b !== undefined) [tokens[at], tokens[other]] = [b, a];
        break;
      }
      case 3:
      case 4:
        tokens.splice(at, 0, oneOf(random, controls));
        break;
      case 5:
        tokens.splice(at, length, ...Array.from({ length }, () => randomToken(random, mix)));
        break;
      case 6:
        if (random() < 0.3) tokens.length = at;
        break;
      default:
        if (random() < 0.3) tokens.splice(at, 0, ...validTokens(random).slice(-50));
    }
  }
}

function validTokens(random: Random): number[] {
  if (random() < 0.5) return [...oneOf(random, recorded)];
  return [...renderConversation(randomConversation(random, 1), { autoDropAnalysis: random() < 0.5 })];
}

export function randomStream(random: Random): number[] {
  const kind = random();
  if (kind < 0.4) return randomTokens(random);
  const tokens = validTokens(random);
  // With and without its first header, as in a prompt and in a completion.
  if (random() < 0.3) tokens.splice(0, 2);
  if (kind < 0.95) mutate(random, tokens);
  return tokens;
}
