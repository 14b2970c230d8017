import type { FastifyInstance } from "fastify";
import { chatCompletions } from "./chat/chat-completions.js";
import { completions } from "./completions/completions.js";
import type { ServerContext } from "./context.js";
import { models } from "./models.js";
import { responses } from "./responses/responses.js";
import { tokenize } from "./tokenize/tokenize.js";

/** Adds routes; what it reads of `context`, it reads while it answers: the model may still be on its way. */
export type Endpoint = (app: FastifyInstance, context: ServerContext) => void | Promise<void>;

/** All that asks for a key where there are keys, counts against limits, and waits for the model. */
export const endpoints: readonly Endpoint[] = [models, chatCompletions, completions, tokenize, responses];
