import type { FastifyInstance } from "fastify";
import { Breather } from "../../common/breather.js";
import { encodeLong } from "../../tokenizer/encode-within.js";
import { everySpecialId } from "../../tokenizer/special-tokens.js";
import { tokenText } from "../../tokenizer/token-table.js";
import { tokenizer } from "../../tokenizer/tokenizer.js";
import { checkedBody } from "../bodies/checked-body.js";
import { detokenizeCheck, tokenizeCheck } from "../bodies/kinds.js";
import { adapterOf } from "../bodies/model-name.js";
import { conversationOf } from "../chat/request.js";
import { readIds } from "../completions/request.js";
import type { ServerContext } from "../context.js";
import { disconnectSignal } from "../http/disconnect.js";
import { badRequest, withFieldNames } from "../http/error-response.js";
import { sendJson } from "../http/json-pieces.js";
import { type Tenant, tenantOf } from "../tenants/tenant.js";
import { renderTurn } from "../turn/prompt.js";
import { mostCharacters, mostTokens, type TokenizeBody } from "./request.js";

/** Tokens of `<|start|>assistant`, which asks the model to continue. */
const generationPrompt = 2;

/** POST /tokenize and /detokenize. */
export async function tokenize(app: FastifyInstance, context: ServerContext): Promise<void> {
  const tokenizing = checkedBody(tokenizeCheck, context);
  app.post<{ Body: TokenizeBody }>("/tokenize", tokenizing, (request, reply) =>
    withFieldNames({}, async () => {
      const { body } = request;
      if (body.model !== undefined) adapterOf(context, body.model);
      const tokens = await tokensOf(body, context, tenantOf(request), disconnectSignal(request, reply));
      return sendJson(reply, {
        count: tokens.length,
        max_model_len: context.contextLength,
        tokens,
        ...(body.return_token_strs === true && { token_strs: textsOf(tokens) }),
      });
    }),
  );

  const detokenizing = checkedBody(detokenizeCheck, context);
  app.post<{ Body: { model?: string; tokens: unknown } }>("/detokenize", detokenizing, (request, reply) =>
    withFieldNames({ fieldNames: { ids: "tokens" } }, async () => {
      const { body } = request;
      if (body.model !== undefined) adapterOf(context, body.model);
      const ids = await readIds(body.tokens, "tokens", context.engine);
      return sendJson(reply, { prompt: await decoded(ids) });
    }),
  );
}

/** Yields the text of each token. */
function* textsOf(tokens: Uint32Array): Generator<string, void, undefined> {
  for (const id of tokens) yield tokenText(id) ?? tokenizer.decode([id]);
}

/** Number of ids to decode before the event loop gets a turn. */
const sliceOfIds = 8192;

/** @throws ApiError when the text is longer than the limit */
async function decoded(ids: Uint32Array): Promise<string> {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const breather = new Breather();
  let text = "";
  for (let at = 0; at < ids.length; at += sliceOfIds) {
    text += decoder.decode(tokenizer.decodeBytes(ids.subarray(at, at + sliceOfIds)), { stream: true });
    if (text.length > mostCharacters) {
      throw badRequest("tokens", `The text of these tokens has more than ${mostCharacters} characters`);
    }
    await breather.rest();
  }
  return text + decoder.decode();
}

async function tokensOf(
  body: TokenizeBody,
  context: ServerContext,
  tenant: Tenant,
  signal: AbortSignal,
): Promise<Uint32Array> {
  const { prompt, messages } = body;
  if (messages === undefined) {
    if (prompt === undefined) throw badRequest("prompt", "Either prompt or messages is required");
    const special = body.parse_special === true ? { special: everySpecialId } : {};
    const tokens = await encodeLong(prompt, mostTokens, { signal, ...special });
    if (tokens === null) throw badRequest("prompt", `The prompt has more than ${mostTokens} tokens`);
    return tokens;
  }
  if (prompt !== undefined) throw badRequest("prompt", "prompt and messages cannot be used together");
  const conversation = conversationOf({ ...body, messages }, context);
  const { tokens } = await renderTurn(
    { ...conversation, tenant, signal, ...(body.cache_salt !== undefined && { cacheSalt: body.cache_salt }) },
    mostTokens,
  );
  const isClosed = body.add_generation_prompt === false && conversation.continued === undefined;
  return isClosed ? tokens.subarray(0, -generationPrompt) : tokens;
}
