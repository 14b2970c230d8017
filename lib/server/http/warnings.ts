import type { FastifyReply } from "fastify";
import type { OnceLog } from "./once-log.js";

/** What a client should know of an answer that is as good as it can be, and not what was asked for. */
export interface Warning {
  /** The field of the request that has not the effect it should. */
  param: string;
  message: string;
}

/** A header comes before the answer, streamed or whole; it has the same form in every endpoint. */
export const warningsHeader = "x-gpt-oss-warnings";

/** Proxies take 8 KiB of headers and more. */
const limits = { warnings: 16, characters: 200 };

/** Tells the client with each answer, and the log once. */
export function warn(reply: FastifyReply, log: OnceLog, warnings: readonly Warning[]): void {
  if (warnings.length === 0) return;
  for (const { param, message } of warnings) {
    log.warn(
      message,
      { param: cut(param), reason: cut(message) },
      "a part of a request has not the effect it asks for",
    );
  }
  reply.header(warningsHeader, headerText(warnings));
}

/** JSON in ASCII. */
function headerText(warnings: readonly Warning[]): string {
  const told = warnings.slice(0, limits.warnings).map(({ param, message }) => {
    return { param: cut(param), message: cut(message) };
  });
  const left = warnings.length - told.length;
  const text = JSON.stringify(left > 0 ? [...told, { param: null, message: `and ${left} more` }] : told);
  return text.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

function cut(text: string): string {
  return text.length > limits.characters ? `${text.slice(0, limits.characters - 1)}…` : text;
}
