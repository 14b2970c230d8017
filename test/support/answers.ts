import { expect } from "vitest";
import type { Script } from "../../lib/testing/index.js";
import { assembled, chat, ids, type Json, post, type ScriptedServer, scriptedServer, stream } from "./server.js";

/** Text of the model, written in its format. */
export const weather = { type: "function", function: { name: "get_weather", parameters: { type: "object" } } };
export const tools = [weather];
export const analysis = (text: string) => `<|channel|>analysis<|message|>${text}<|end|><|start|>assistant`;
export const preamble = (text: string) => `<|channel|>commentary<|message|>${text}<|end|><|start|>assistant`;
export const final = (text: string) => `<|channel|>final<|message|>${text}<|return|>`;
export const call = (args: string, header = "commentary to=functions.get_weather <|constrain|>json") =>
  `<|channel|>${header}<|message|>${args}<|call|>`;

/** Answers to one request, one for each completion, in whole and streamed form. */
export async function answers(
  completions: readonly (string | number[] | Script)[],
  fields: object = {},
): Promise<Json[]> {
  const scripts = completions.map((completion): Script => {
    if (typeof completion === "string") return { tokens: ids(completion) };
    return Array.isArray(completion) ? { tokens: completion } : completion;
  });
  await using server = await scriptedServer(scripts.flatMap((script) => [script, script]));
  const out: Json[] = [];
  for (const _ of scripts) {
    const whole = await chat(server.app, fields);
    expect(whole.status).toBe(200);
    const frames = await stream(server.app, { stream_options: { include_usage: true }, ...fields });
    expect(frames.at(-1)).toBe("[DONE]");
    for (const choice of whole.body.choices) {
      expect(withoutIds(assembled(frames.slice(0, -1), choice.index))).toEqual(withoutIds(choice));
    }
    const { prompt_tokens_details: _cached, ...usage } = frames.at(-2).usage;
    expect(whole.body.usage).toMatchObject(usage);
    out.push({ ...whole.body.choices[0], choices: whole.body.choices, usage: whole.body.usage, frames });
  }
  return out;
}

export async function answer(completion: string | number[] | Script, fields: object = {}): Promise<Json> {
  const [only] = await answers([completion], fields);
  return only;
}

/** Removes call ids, which are new each time, and treats empty logprobs and null as equal. */
export function withoutIds(choice: Json): Json {
  const copy = structuredClone(choice);
  for (const made of copy.message.tool_calls ?? []) made.id = "";
  copy.logprobs = copy.logprobs?.content ?? [];
  return copy;
}

export const user = (content: string) => ({ role: "user", content });

/** The prompt of a conversation, as text. */
export async function prompt(fields: object): Promise<string> {
  await using server = await scriptedServer([{ tokens: ids(final("x")) }]);
  return await renderedBy(server, fields); // before the server closes
}

export async function renderedBy(server: ScriptedServer, fields: object): Promise<string> {
  return server.engine.tokenizer.decode(await promptIds(server, fields));
}

export async function promptIds(server: ScriptedServer, fields: object): Promise<number[]> {
  const { status, body } = await post(server.app, "/tokenize", fields);
  expect(status).toBe(200);
  return body.tokens;
}
