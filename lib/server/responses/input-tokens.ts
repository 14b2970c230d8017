import type { FastifyInstance } from "fastify";
import { checkedBody } from "../bodies/checked-body.js";
import { inputTokensCheck } from "../bodies/kinds.js";
import type { ServerContext } from "../context.js";
import { disconnectSignal } from "../http/disconnect.js";
import { withFieldNames } from "../http/error-response.js";
import { OnceLog } from "../http/once-log.js";
import { warn } from "../http/warnings.js";
import { tenantOf } from "../tenants/tenant.js";
import { mostTokens } from "../tokenize/request.js";
import { renderTurn } from "../turn/prompt.js";
import { messagesOf } from "./conversation.js";
import { readConversation } from "./read-conversation.js";
import { type ResponseBody, readRequest } from "./request.js";

/** The tokens of the prompt that a response with this body would have. An input may be empty, and exceed the context. */
export function inputTokens(app: FastifyInstance, context: ServerContext): void {
  const log = new OnceLog(context.logger);
  const checked = checkedBody(inputTokensCheck, context);
  app.post<{ Body: Partial<ResponseBody> }>("/v1/responses/input_tokens", checked, async (request, reply) => {
    const body = { ...request.body, model: request.body.model ?? context.modelNames[0]! };
    const tenant = tenantOf(request);
    const signal = disconnectSignal(request, reply);
    const { turn, ignoredTools } = readRequest(body, context, false);
    const { items, date, warnings } = await readConversation(body, tenant, context.clock);
    const { tokens } = await withFieldNames(turn, () =>
      renderTurn({ ...turn, tenant, messages: messagesOf(items), date, signal }, mostTokens),
    );
    warn(reply, log, [...ignoredTools, ...warnings]);
    return { object: "response.input_tokens", input_tokens: tokens.length };
  });
}
