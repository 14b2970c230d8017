import type { FastifyInstance } from "fastify";
import type { ServerContext } from "../../lib/server/context.js";
import type { ServerOptions } from "../../lib/server/options.js";
import { ScriptedEngine, type ScriptedEngineOptions, type Scripts } from "../../lib/testing/index.js";
import { tokenizer } from "../../lib/tokenizer/tokenizer.js";
import { productServer } from "./product-server.js";

/** A server whose model writes a test's text, for requests without a socket. */

export interface ScriptedServer extends AsyncDisposable {
  app: FastifyInstance;
  engine: ScriptedEngine;
}

export interface ScriptedServerOptions extends ScriptedEngineOptions {
  server?: Partial<ServerOptions>;
  context?: Partial<ServerContext>;
}

export async function scriptedServer(
  scripts: Scripts,
  { server = {}, context = {}, ...options }: ScriptedServerOptions = {},
): Promise<ScriptedServer> {
  const engine = new ScriptedEngine(scripts, options);
  const app = await productServer(
    {
      engine,
      modelName: "gpt-oss-20b",
      clock: () => new Date("2025-06-28T12:00:00Z"),
      priorityRange: [-1000, 1000],
      ...server,
    },
    { context },
  );
  await app.ready();
  const close = async () => {
    app.server.closeAllConnections();
    await app.close();
    await engine.close();
  };
  return { app, engine, [Symbol.asyncDispose]: close };
}

/** Token ids of a text in which control tokens are written out. */
export function ids(text: string): number[] {
  return [...tokenizer.encode(text, { allowedSpecial: "all" })];
}

/** The fields of an answer that a test checks; any shape. */
// biome-ignore lint/suspicious/noExplicitAny: a test names the fields that it expects
export type Json = any;

export interface Answer {
  status: number;
  body: Json;
}

export async function post(app: FastifyInstance, url: string, payload: object): Promise<Answer> {
  const response = await app.inject({ method: "POST", url, payload });
  return { status: response.statusCode, body: JSON.parse(response.payload) };
}

/** A request with one question. */
export function asking(fields: object = {}): object {
  return { model: "gpt-oss-20b", messages: [{ role: "user", content: "Hi" }], ...fields };
}

export function chat(app: FastifyInstance, fields: object = {}): Promise<Answer> {
  return post(app, "/v1/chat/completions", asking(fields));
}

/** The values of a stream, with "[DONE]" unchanged. Throws unless every frame is a comment or one line of data. */
export function framesOf(payload: string): Json[] {
  if (!payload.endsWith("\n\n")) throw new Error(`The stream breaks off: ${JSON.stringify(payload.slice(-200))}`);
  const frames = payload.split("\n\n").slice(0, -1);
  return frames.flatMap((frame) => {
    if (frame.startsWith(":")) return [];
    if (!frame.startsWith("data: ") || frame.includes("\n")) throw new Error(`No frame: ${JSON.stringify(frame)}`);
    const text = frame.slice("data: ".length);
    return [text === "[DONE]" ? text : JSON.parse(text)];
  });
}

export async function stream(app: FastifyInstance, fields: object = {}, url = "/v1/chat/completions"): Promise<Json[]> {
  const response = await app.inject({ method: "POST", url, payload: asking({ stream: true, ...fields }) });
  if (response.statusCode !== 200) throw new Error(response.payload);
  return framesOf(response.payload);
}

/** The message that a client builds from the chunks of one choice, and the finish reason. */
export function assembled(frames: readonly Json[], index = 0): Json {
  const message: Json = { role: undefined, content: null, refusal: null };
  const out: Json = { index, message, logprobs: null };
  for (const frame of frames) {
    for (const choice of frame.choices ?? []) {
      if (choice.index !== index) continue;
      const { role, content, reasoning, reasoning_content, tool_calls = [] } = choice.delta;
      if (role !== undefined) message.role = role;
      else if (content !== undefined) message.content = (message.content ?? "") + content;
      if (reasoning !== undefined) {
        message.reasoning = (message.reasoning ?? "") + reasoning;
        message.reasoning_content = (message.reasoning_content ?? "") + reasoning_content;
      }
      for (const { index: at, id, type, function: called } of tool_calls) {
        message.tool_calls ??= [];
        if (id === undefined) message.tool_calls[at].function.arguments += called.arguments;
        else message.tool_calls[at] = { id, type, function: { ...called } };
      }
      if (choice.logprobs !== null) {
        out.logprobs ??= { content: [], refusal: null };
        out.logprobs.content.push(...choice.logprobs.content);
      }
      if (choice.finish_reason !== null) {
        out.finish_reason = choice.finish_reason;
        out.stop_reason = choice.stop_reason;
      }
    }
  }
  return out;
}
