import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { TurnEvent } from "../../chat/turn-event.js";
import { throwIfAborted } from "../../common/abort.js";
import { Breather } from "../../common/breather.js";
import { GptOssError } from "../../errors.js";
import { checkedBody } from "../bodies/checked-body.js";
import { responseCheck } from "../bodies/kinds.js";
import type { ServerContext } from "../context.js";
import { disconnectSignal } from "../http/disconnect.js";
import { ApiError } from "../http/errors.js";
import { sendJson } from "../http/json-pieces.js";
import { OnceLog } from "../http/once-log.js";
import { streamAnswer, streamFailure } from "../http/stream-answer.js";
import { warn } from "../http/warnings.js";
import { ticketOf } from "../limits/tickets.js";
import { type Tenant, tenantOf } from "../tenants/tenant.js";
import { strayText } from "../turn/stray-text.js";
import type { Turn } from "../turn/turn.js";
import { messagesOf } from "./conversation.js";
import { inputTokens } from "./input-tokens.js";
import type { StreamEvent } from "./objects.js";
import { type Conversation, readConversation } from "./read-conversation.js";
import { type ReadRequest, type ResponseBody, readRequest } from "./request.js";
import { ResponseWriter } from "./response-writer.js";
import { retrieval } from "./retrieval.js";
import { dropOldestTurns, isTooLong, withinContext } from "./truncation.js";

/** Registers `/v1/responses`, the count of its input's tokens, and the endpoints of stored responses. */
export function responses(app: FastifyInstance, context: ServerContext): void {
  const endpoint = new ResponsesEndpoint(context);
  app.post<{ Body: ResponseBody }>("/v1/responses", checkedBody(responseCheck, context), (request, reply) =>
    endpoint.create(request.body, tenantOf(request), disconnectSignal(request, reply), reply),
  );
  inputTokens(app, context);
  retrieval(app);
}

/** Divisor for the first attempt at dropping turns: up to this many items lose one turn, twice as many lose two. */
const manyItems = 512;

class ResponsesEndpoint {
  readonly #context: ServerContext;
  readonly #log: OnceLog;

  constructor(context: ServerContext) {
    this.#context = context;
    this.#log = new OnceLog(context.logger);
  }

  async create(body: ResponseBody, tenant: Tenant, signal: AbortSignal, reply: FastifyReply): Promise<unknown> {
    const breather = new Breather();
    const request = readRequest(body, this.#context, tenant.responses.isOn);
    const conversation = await readConversation(body, tenant, this.#context.clock);
    if (messagesOf(conversation.items).length === 0) throw nothingToAnswer();
    await breather.rest();
    const turn = await this.#start(request, conversation, signal, reply.request);
    warn(reply, this.#log, [...request.ignoredTools, ...conversation.warnings, ...turn.relaxed]);
    const seal = request.sealsReasoning ? tenant.seal : null;
    const writer = new ResponseWriter(request.settings, request.turn.tools, this.#context.clock, seal);
    if (request.stream) {
      const told = this.#told(turn, writer, conversation, signal);
      return streamAnswer(reply, told, {
        keepAliveMilliseconds: this.#context.keepAliveMilliseconds,
        nameOf: ({ type }) => type,
        hold: (held) => turn.hold(held),
      });
    }
    for await (const event of turn) this.#accept(writer, event, conversation);
    if (!writer.ended) throw unfinished(signal);
    return sendJson(reply, writer.response);
  }

  /** A request that cannot run fails here, while the HTTP status can still report it. */
  async #start(
    request: ReadRequest,
    { tenant, items, date }: Conversation,
    signal: AbortSignal,
    asked: FastifyRequest,
  ): Promise<Turn> {
    const shared = { ticket: ticketOf(asked), ...strayText(asked.log) };
    const { truncation } = request.settings;
    let read = withinContext(items, this.#context.contextLength, truncation);
    const breather = new Breather();
    // The number doubles each time: otherwise a conversation of many small turns would be rendered once for each of
    // them. A very long conversation starts with more, because each rendering takes time.
    for (let drop = Math.ceil(read.length / manyItems); ; drop *= 2) {
      try {
        const messages = messagesOf(read);
        return await this.#context.startTurn({ ...request.turn, tenant, messages, date, signal, ...shared });
      } catch (error) {
        const mayDrop = isTooLong(error) && truncation === "auto";
        const shorter = mayDrop ? dropOldestTurns(read, drop) : null;
        if (shorter === null) throw error;
        read = shorter;
        await breather.rest();
        throwIfAborted(signal);
      }
    }
  }

  /** Stores the response before the client sees its end, so that the client's next request finds it. */
  #accept(writer: ResponseWriter, event: TurnEvent, { tenant, items, date }: Conversation): StreamEvent[] {
    const told = writer.accept(event);
    if (writer.ended && writer.response.store) {
      const { response, output } = writer;
      const isKept = tenant.responses.put({ response, context: items, output, date });
      if (!isKept) this.#context.logger.warn("there is no room in the store for a response");
    }
    return told;
  }

  /** Yields all events of a stream. After the stream has begun, a failure is an event, too. */
  async *#told(
    events: AsyncIterable<TurnEvent>,
    writer: ResponseWriter,
    conversation: Conversation,
    signal: AbortSignal,
  ): AsyncGenerator<StreamEvent, void, undefined> {
    yield* writer.opening();
    try {
      for await (const event of events) {
        yield* this.#accept(writer, event, conversation);
        if (signal.aborted) break;
      }
      if (!writer.ended) throw unfinished(signal);
    } catch (error) {
      streamFailure(error, this.#context.logger, signal);
      if (!writer.ended) yield* writer.failed(error);
    }
  }
}

function nothingToAnswer(): ApiError {
  return new ApiError(400, "There is nothing to answer: 'input' is empty.", {
    param: "input",
    code: "missing_required_parameter",
  });
}

function unfinished(signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  return new GptOssError("INTERNAL", "The turn ended without an end event.");
}
