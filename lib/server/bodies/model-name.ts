import type { ServerContext } from "../context.js";
import { ApiError } from "../http/errors.js";

export type ModelNames = Pick<ServerContext, "modelNames" | "adapterNames">;

/** Every name that a request can use: those of the model, and each of these with each adapter after a colon. */
export function namesOf({ modelNames, adapterNames }: ModelNames): string[] {
  return [...modelNames, ...modelNames.flatMap((model) => adapterNames.map((adapter) => `${model}:${adapter}`))];
}

/**
 * Reads the name of a model in a request.
 *
 * @returns the adapter that it names; undefined: none
 * @throws ApiError 404 unless the server offers the model under this name
 */
export function adapterOf(names: ModelNames, model: string): string | undefined {
  if (names.modelNames.includes(model)) return undefined;
  const colon = model.lastIndexOf(":");
  const adapter = model.slice(colon + 1);
  if (colon > 0 && names.modelNames.includes(model.slice(0, colon)) && names.adapterNames.includes(adapter)) {
    return adapter;
  }
  throw new ApiError(404, `The model ${JSON.stringify(model)} does not exist; use ${listed(namesOf(names))}`, {
    param: "model",
    code: "model_not_found",
  });
}

/** At most eight names: a server can have many adapters, and GET /v1/models lists them all. */
function listed(names: readonly string[]): string {
  const most = 8;
  const shown = names.slice(0, most).join(" or ");
  return names.length > most ? `${shown}, or one of ${names.length - most} others of GET /v1/models` : shown;
}
