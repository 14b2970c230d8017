import type { FastifyInstance } from "fastify";
import { adapterOf, namesOf } from "./bodies/model-name.js";
import type { ServerContext } from "./context.js";

/** Lists the model under each of its names, alone and with each adapter. */
export function models(app: FastifyInstance, context: ServerContext): void {
  const model = (id: string) => ({
    id,
    object: "model",
    created: context.created,
    owned_by: "openai",
    root: context.modelNames[0],
    parent: context.modelNames.includes(id) ? null : id.slice(0, id.lastIndexOf(":")),
    max_model_len: context.contextLength,
    permission: [],
  });

  app.get("/v1/models", async () => ({ object: "list", data: namesOf(context).map(model) }));

  // Names such as openai/gpt-oss-20b contain a slash.
  app.get<{ Params: { "*": string } }>("/v1/models/*", async ({ params: { "*": id } }) => {
    adapterOf(context, id);
    return model(id);
  });
}
