import type { FastifyReply } from "fastify";
import type { OnceLog } from "./once-log.js";

/** A difference between the request and its answer that the client should know. */
export interface Warning {
  /** The field of the request that is not applied as asked. */
  param: string;
  message: string;
}

/** A header comes before the answer, streamed or whole, and has the same form in every endpoint. */
export const warningsHeader = "x-gpt-oss-warnings";

/** Proxies accept at least 8 KiB of headers. */
const limits = { warnings: 16, characters: 200 };

/** Sends the warnings with each answer, and logs each of them once. */
export function warn(reply: FastifyReply, log: OnceLog, warnings: readonly Warning[]): void {
  if (warnings.length === 0) return;
  for (const { param, message } of warnings) {
    log.warn(
      message,
      { param: cut(param), reason: cut(message) },
      "a part of a request does not have the effect that it asks for",
    );
  }
  reply.header(warningsHeader, headerText(warnings));
}

/** Returns JSON in ASCII. */
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
