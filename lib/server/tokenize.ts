import type { FastifyInstance } from "fastify";
import { type ChatBody, conversationOf, conversationSchema } from "./chat-request.js";
import { readIds } from "./completion-request.js";
import type { ServerContext } from "./context.js";
import { badRequest, unsupported, withFieldNames } from "./error-response.js";
import { detokenizeFields, tokenizeFields } from "./known-fields.js";
import { checkModel } from "./model-name.js";
import { checkedBody } from "./schema.js";
import { renderTurn } from "./turn-prompt.js";

interface TokenizeBody extends Partial<ChatBody> {
  prompt?: string;
  parse_special?: boolean;
  add_generation_prompt?: boolean;
  continue_final_message?: boolean;
  return_token_strs?: boolean;
}

const tokenizeSchema = {
  type: "object",
  properties: {
    ...conversationSchema.properties,
    prompt: { type: "string" },
    parse_special: { type: "boolean" },
    add_generation_prompt: { type: "boolean" },
    continue_final_message: { type: "boolean" },
    return_token_strs: { type: "boolean" },
    cache_salt: { type: "string", maxLength: 1024 },
  },
};

/** `<|start|>assistant`, which asks the model to go on. */
const generationPrompt = 2;

/** POST /tokenize and /detokenize. */
export async function tokenize(app: FastifyInstance, context: ServerContext): Promise<void> {
  app.post<{ Body: TokenizeBody }>("/tokenize", checkedBody(tokenizeSchema, tokenizeFields, context), ({ body }) =>
    withFieldNames({}, () => {
      if (body.model !== undefined) checkModel(context, body.model);
      const tokens = tokensOf(body, context);
      const { tokenizer } = context.engine;
      return {
        count: tokens.length,
        max_model_len: context.contextLength,
        tokens: [...tokens],
        ...(body.return_token_strs === true && { token_strs: Array.from(tokens, (id) => tokenizer.decode([id])) }),
      };
    }),
  );

  const detokenizeSchema = {
    type: "object",
    required: ["tokens"],
    properties: { model: { type: "string" }, tokens: { type: "array" } },
  };
  const detokenizing = checkedBody(detokenizeSchema, detokenizeFields, context);
  app.post<{ Body: { model?: string; tokens: unknown } }>("/detokenize", detokenizing, ({ body }) =>
    withFieldNames({ fieldNames: { id: "tokens" } }, () => {
      if (body.model !== undefined) checkModel(context, body.model);
      return { prompt: context.engine.tokenizer.decode(readIds(body.tokens, "tokens", context.engine)) };
    }),
  );
}

function tokensOf(body: TokenizeBody, context: ServerContext): Uint32Array {
  const { tokenizer } = context.engine;
  const { prompt, messages } = body;
  if (messages === undefined) {
    if (prompt === undefined) throw badRequest("prompt", "Either prompt or messages is required");
    return tokenizer.encode(prompt, body.parse_special === true ? { allowedSpecial: "all" } : {});
  }
  if (prompt !== undefined) throw badRequest("prompt", "Only one of prompt and messages counts");
  if (body.continue_final_message === true) {
    throw badRequest("continue_final_message", "continue_final_message is not supported", unsupported);
  }
  const conversation = conversationOf({ ...body, messages }, context);
  const { tokens } = renderTurn({
    ...conversation,
    ...(body.cache_salt !== undefined && { cacheSalt: body.cache_salt }),
  });
  return body.add_generation_prompt === false ? tokens.subarray(0, -generationPrompt) : tokens;
}
