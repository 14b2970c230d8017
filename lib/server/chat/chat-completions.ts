import { randomUUID } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { LazyList, SpelledTokens } from "../../chat/spelled-tokens.js";
import type { TurnUsage } from "../../chat/turn-event.js";
import type { SpelledToken } from "../../chat/visible-text.js";
import { checkedBody } from "../bodies/checked-body.js";
import { withoutAbsent } from "../bodies/common-fields.js";
import { chatCheck } from "../bodies/kinds.js";
import { adapterOf } from "../bodies/model-name.js";
import type { ServerContext } from "../context.js";
import { completionStream } from "../http/completion-stream.js";
import { disconnectSignal } from "../http/disconnect.js";
import { sendJson } from "../http/json-pieces.js";
import { OnceLog } from "../http/once-log.js";
import { streamAnswer, streamFailure } from "../http/stream-answer.js";
import { warn } from "../http/warnings.js";
import { grantedPriority } from "../limits/priority.js";
import { ticketOf } from "../limits/tickets.js";
import { tenantOf } from "../tenants/tenant.js";
import { promptLogprobsField } from "../turn/prompt-logprobs.js";
import { strayText } from "../turn/stray-text.js";
import type { Turn, TurnRequest } from "../turn/turn.js";
import { ChatChoice, logprobEntry, type MessagePiece, type ToolCallPiece, usageOf } from "./answer.js";
import { type ChatBody, chatRequest, showsReasoning } from "./request.js";

/** POST /v1/chat/completions. */
export async function chatCompletions(app: FastifyInstance, context: ServerContext): Promise<void> {
  const log = new OnceLog(context.logger);
  const checks = checkedBody(chatCheck, context);
  app.post<{ Body: ChatBody }>("/v1/chat/completions", checks, async (request, reply) => {
    const { body } = request;
    const adapter = adapterOf(context, body.model);
    const signal = disconnectSignal(request, reply);
    const { warnings: unread, ...asked } = chatRequest(body, context, tenantOf(request), signal);
    const ticket = ticketOf(request);
    ticket.ask(asked.n, "n");
    const completion = new ChatCompletion(body, asked, context);
    const { priority, warnings } = grantedPriority(request, context);
    const turn = await context.startTurn({
      ...asked,
      ticket,
      ...strayText(request.log),
      ...withoutAbsent({ priority, adapter }),
    });
    warn(reply, log, [...warnings, ...unread, ...turn.relaxed]);
    if (!body.stream) return sendJson(reply, await completion.whole(turn));
    return streamAnswer(reply, completion.chunks(turn, signal), {
      keepAliveMilliseconds: context.keepAliveMilliseconds,
      hold: (held) => turn.hold(held),
    });
  });
}

class ChatCompletion {
  readonly #body: ChatBody;
  readonly #context: ServerContext;
  readonly #head: { id: string; created: number; model: string; service_tier: "default" };
  readonly #choices: ChatChoice[];
  readonly #usages: TurnUsage[] = [];
  /** What stands before the content that the model writes. Null: nothing; "": a message that goes on. */
  readonly #before: string | null;

  constructor(
    body: ChatBody,
    { n, tools, continued }: Pick<TurnRequest, "n" | "tools" | "continued">,
    context: ServerContext,
  ) {
    this.#body = body;
    this.#before = continued === undefined ? null : body.echo === true ? continued : "";
    this.#context = context;
    this.#head = {
      id: `chatcmpl-${randomUUID().replaceAll("-", "")}`,
      created: Math.floor(context.clock().getTime() / 1000),
      model: body.model,
      service_tier: "default",
    };
    const options = { showsReasoning: showsReasoning(body), hasOldCalls: body.functions !== undefined, tools };
    this.#choices = Array.from({ length: n }, () => new ChatChoice(options));
  }

  /** Returns the complete answer. */
  async whole(turn: Turn): Promise<object> {
    const choices = this.#choices.map(
      (_, index) => new WholeChoice(index, this.#body.logprobs ? (this.#body.top_logprobs ?? 0) : null),
    );
    if (this.#before !== null) for (const choice of choices) choice.add({ content: this.#before }, []);
    for await (const event of turn) {
      const step = this.#choices[event.choice]!.accept(event);
      if (step === null) continue;
      const choice = choices[event.choice]!;
      if ("end" in step) {
        choice.end = { finish_reason: step.end.finishReason, stop_reason: step.end.stopReason };
        this.#usages[event.choice] = step.end.usage;
      } else {
        choice.add(step.piece, step.tokens);
      }
    }
    const { id, ...head } = this.#head;
    const answers = choices.map((choice) => choice.toJSON());
    return {
      id,
      object: "chat.completion",
      ...head,
      choices: answers,
      usage: usageOf(this.#usages),
      ...(turn.promptLogprobs !== undefined && {
        prompt_logprobs: promptLogprobsField(turn.promptLogprobs, this.#body.prompt_logprobs ?? 0),
      }),
    };
  }

  /** Yields the answer in chunks while it is written. */
  chunks(turn: Turn, signal: AbortSignal): AsyncGenerator<unknown, void, undefined> {
    const { id, ...head } = this.#head;
    return completionStream({
      head: { id, object: "chat.completion.chunk", ...head },
      pieces: this.#pieces(turn),
      options: this.#body.stream_options,
      usage: () => usageOf(this.#usages),
      failed: (error) => streamFailure(error, this.#context.logger, signal),
    });
  }

  async *#pieces(turn: Turn): AsyncGenerator<object, void, undefined> {
    const piece = (index: number, delta: object, rest: object = {}) => {
      return { index, delta, logprobs: null, finish_reason: null, ...rest };
    };
    for (const index of this.#choices.keys()) yield piece(index, { role: "assistant", content: "" });
    if (this.#before) for (const index of this.#choices.keys()) yield piece(index, { content: this.#before });
    for await (const event of turn) {
      const { choice: index } = event;
      const step = this.#choices[index]!.accept(event);
      if (step === null) continue;
      if ("end" in step) {
        const { finishReason, stopReason, usage } = step.end;
        this.#usages[index] = usage;
        yield piece(index, {}, { finish_reason: finishReason, stop_reason: stopReason });
      } else {
        yield piece(index, step.piece, { logprobs: this.#logprobs(step.tokens) });
      }
    }
  }

  #logprobs(tokens: readonly SpelledToken[]): object | null {
    return tokens.length > 0 ? { content: tokens.map(logprobEntry), refusal: null } : null;
  }
}

/** A call with all its members. */
type WholeCall = { id: string } & (
  | { type: "function"; function: { name: string; arguments: string } }
  | { type: "custom"; custom: { name: string; input: string } }
);

/** Joins the pieces of one choice, as a client of the stream does. */
class WholeChoice {
  end: { finish_reason: string; stop_reason: string | number | null } | undefined;
  readonly #index: number;
  /** Null: no log probabilities were requested. */
  readonly #tokens: SpelledTokens | null;
  #content: string | null = null;
  #reasoning = "";
  #oldCall: { name: string; arguments: string } | undefined;
  readonly #calls: WholeCall[] = [];

  constructor(index: number, topLogprobs: number | null) {
    this.#index = index;
    this.#tokens = topLogprobs === null ? null : new SpelledTokens(topLogprobs);
  }

  add(piece: MessagePiece, tokens: readonly SpelledToken[]): void {
    const { content, reasoning, function_call: oldCall, tool_calls: calls = [] as never } = piece;
    if (content !== undefined) this.#content = (this.#content ?? "") + content;
    if (reasoning !== undefined) this.#reasoning += reasoning;
    for (const piece of calls) this.#call(piece);
    if (oldCall?.name !== undefined) this.#oldCall = { name: oldCall.name, arguments: "" };
    else if (oldCall !== undefined) this.#oldCall!.arguments += oldCall.arguments;
    this.#tokens?.push(tokens);
  }

  #call(piece: ToolCallPiece): void {
    const { index, id } = piece;
    const call = this.#calls[index];
    if ("custom" in piece) {
      const { name = "", input } = piece.custom;
      if (id !== undefined) this.#calls[index] = { id, type: "custom", custom: { name, input } };
      else if (call?.type === "custom") call.custom.input += input;
    } else {
      const { name = "", arguments: written } = piece.function;
      if (id !== undefined) this.#calls[index] = { id, type: "function", function: { name, arguments: written } };
      else if (call?.type === "function") call.function.arguments += written;
    }
  }

  toJSON(): object {
    return {
      index: this.#index,
      message: {
        role: "assistant",
        content: this.#content,
        refusal: null,
        ...(this.#reasoning !== "" && { reasoning: this.#reasoning, reasoning_content: this.#reasoning }),
        ...(this.#calls.length > 0 && { tool_calls: this.#calls }),
        ...(this.#oldCall !== undefined && { function_call: this.#oldCall }),
      },
      logprobs: this.#tokens && { content: new LazyList(this.#tokens, logprobEntry), refusal: null },
      ...this.end,
    };
  }
}
