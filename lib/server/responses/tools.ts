import { readTools } from "../bodies/tool-fields.js";
import type { Warning } from "../http/warnings.js";
import type { DeclaredFunction } from "../turn/turn.js";
import { repeatedTools } from "./repeated.js";

/** The tools of a response. */
export interface ReadTools {
  /** The client's tools, as functions for the model. */
  functions: DeclaredFunction[];
  /** The client's tools as the response repeats them. */
  declared: unknown[];
  /** Warnings for tools that this server cannot run, one for each type. */
  ignored: Warning[];
}

/**
 * Reads the client's tools. Tools of other types run on OpenAI's servers. Agents declare them in any case, so they
 * are ignored instead of refused.
 *
 * @throws ApiError that names the field
 */
export function readResponseTools(tools: readonly unknown[] | null | undefined): ReadTools {
  const ignored = new Map<string, Warning>();
  const functions = readTools(tools, "flat", (type, param) => {
    if (ignored.has(type)) return;
    const message = `tools of type ${JSON.stringify(type)} have no backend here and are ignored`;
    ignored.set(type, { param, message });
  });
  return { functions, declared: repeatedTools(tools ?? []), ignored: [...ignored.values()] };
}
