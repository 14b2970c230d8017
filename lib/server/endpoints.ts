import type { FastifyInstance } from "fastify";
import { chatCompletions } from "./chat/chat-completions.js";
import { completions } from "./completions/completions.js";
import type { ServerContext } from "./context.js";
import { conversations } from "./conversations/conversations.js";
import { models } from "./models.js";
import { responses } from "./responses/responses.js";
import { tokenize } from "./tokenize/tokenize.js";

/** Adds routes. They read `context` only while they answer: the model may still be loading. */
export type Endpoint = (app: FastifyInstance, context: ServerContext) => void | Promise<void>;

/** The routes that need a key where there are keys, count against limits, and wait for the model. */
export const endpoints: readonly Endpoint[] = [
  models,
  chatCompletions,
  completions,
  tokenize,
  responses,
  conversations,
];
