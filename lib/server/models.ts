import type { FastifyInstance } from "fastify";
import { checkModel } from "./bodies/model-name.js";
import type { ServerContext } from "./context.js";

/** Lists the model under each of its names. */
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

  // Names such as openai/gpt-oss-20b contain a slash.
  app.get<{ Params: { "*": string } }>("/v1/models/*", async ({ params: { "*": id } }) => {
    checkModel(context, id);
    return model(id);
  });
}
