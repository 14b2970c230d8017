import type { FastifyInstance } from "fastify";
import type { ServerContext } from "./context.js";
import { ApiError } from "./http/errors.js";

/** The model, by every name that it has. */
export function models(app: FastifyInstance, context: ServerContext): void {
  const model = (id: string) => ({
    id,
    object: "model",
    created: context.created,
    owned_by: "openai",
    root: context.modelNames[0],
    parent: null,
    max_model_len: context.contextLength,
    permission: [],
  });

  app.get("/v1/models", async () => ({ object: "list", data: context.modelNames.map(model) }));

  // Names such as openai/gpt-oss-20b have a slash.
  app.get<{ Params: { "*": string } }>("/v1/models/*", async ({ params: { "*": id } }) => {
    if (context.modelNames.includes(id)) return model(id);
    throw new ApiError(404, `There is no model "${id}"; there is ${context.modelNames.join(", ")}`, {
      code: "model_not_found",
      param: "model",
    });
  });
}
