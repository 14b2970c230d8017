import type { ServerContext } from "../context.js";
import { ApiError } from "../http/errors.js";

/** @throws ApiError 404 unless the server offers the model under this name */
export function checkModel({ modelNames }: Pick<ServerContext, "modelNames">, model: string): void {
  if (modelNames.includes(model)) return;
  throw new ApiError(404, `The model ${JSON.stringify(model)} does not exist; use ${modelNames.join(" or ")}`, {
    param: "model",
    code: "model_not_found",
  });
}
