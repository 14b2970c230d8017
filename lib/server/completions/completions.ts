import type { FastifyInstance } from "fastify";
import { checkedBody } from "../bodies/checked-body.js";
import { readFormat } from "../bodies/format-fields.js";
import { completionCheck } from "../bodies/kinds.js";
import { adapterOf } from "../bodies/model-name.js";
import type { ServerContext } from "../context.js";
import { disconnectSignal } from "../http/disconnect.js";
import { type Blamed, withFieldNames } from "../http/error-response.js";
import { sendJson } from "../http/json-pieces.js";
import { OnceLog } from "../http/once-log.js";
import { streamAnswer } from "../http/stream-answer.js";
import { warn } from "../http/warnings.js";
import { grantedPriority } from "../limits/priority.js";
import { ticketOf } from "../limits/tickets.js";
import { tenantOf } from "../tenants/tenant.js";
import { askedPrompts, type CompletionBody, checkCompletion, completionOptions, readPrompts } from "./request.js";
import { TextCompletion } from "./text-completion.js";

/** POST /v1/completions: the model continues a text without the harmony format. */
export async function completions(app: FastifyInstance, context: ServerContext): Promise<void> {
  const log = new OnceLog(context.logger);
  const checks = checkedBody(completionCheck, context);
  app.post<{ Body: CompletionBody }>("/v1/completions", checks, async (request, reply) => {
    const { body } = request;
    const adapter = adapterOf(context, body.model);
    checkCompletion(body);
    const format = readFormat(body);
    const blamed: Blamed = { format, fieldNames: { logprobs: "logprobs" } };
    const { priority, warnings } = grantedPriority(request, context);
    const signal = disconnectSignal(request, reply);
    const completion = await withFieldNames(blamed, async () => {
      const asked = askedPrompts(body);
      const ticket = ticketOf(request);
      ticket.ask(asked.prompts.length * (body.n ?? 1), asked.prompts.length > 1 ? "prompt" : "n");
      const granted = { priority, client: ticket.client, adapter };
      const prompts = await readPrompts(body, asked, context.engine, signal);
      const options = completionOptions(body, format, context.engine, tenantOf(request), granted, signal);
      const started = new TextCompletion(body, prompts, context, options, blamed, ticket);
      await started.begin(signal);
      return started;
    });
    warn(reply, log, warnings);
    if (!body.stream) return sendJson(reply, await completion.whole());
    return streamAnswer(reply, completion.chunks(signal), {
      keepAliveMilliseconds: context.keepAliveMilliseconds,
      hold: (held) => completion.hold(held),
    });
  });
}
