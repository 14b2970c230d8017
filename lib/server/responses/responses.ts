import { setMaxListeners } from "node:events";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { TurnEvent } from "../../chat/turn-event.js";
import { onAbort, throwIfAborted } from "../../common/abort.js";
import { Breather } from "../../common/breather.js";
import { checkedBody } from "../bodies/checked-body.js";
import { responseCheck } from "../bodies/kinds.js";
import type { ServerContext } from "../context.js";
import { append, ConversationLock, ownItems } from "../conversations/stored.js";
import { disconnectSignal } from "../http/disconnect.js";
import { ApiError } from "../http/errors.js";
import { sendJson } from "../http/json-pieces.js";
import { OnceLog } from "../http/once-log.js";
import { type StreamOptions, streamAnswer, streamFailure } from "../http/stream-answer.js";
import { warn } from "../http/warnings.js";
import { keepTicket, ticketOf } from "../limits/tickets.js";
import { type Tenant, tenantOf } from "../tenants/tenant.js";
import { strayText } from "../turn/stray-text.js";
import type { Turn } from "../turn/turn.js";
import { messagesOf } from "./conversation.js";
import { inputTokens } from "./input-tokens.js";
import type { StreamEvent } from "./objects.js";
import { type Conversation, readConversation } from "./read-conversation.js";
import { type ReadRequest, type ResponseBody, readRequest, refuseUnstored } from "./request.js";
import { ResponseWriter } from "./response-writer.js";
import { retrieval } from "./retrieval.js";
import { dropOldestTurns, isTooLong, withinContext } from "./truncation.js";
import { unfinished } from "./unfinished.js";

/** Registers `/v1/responses`, the count of its input's tokens, and the endpoints of stored responses. */
export function responses(app: FastifyInstance, context: ServerContext): void {
  const endpoint = new ResponsesEndpoint(context);
  app.post<{ Body: ResponseBody }>("/v1/responses", checkedBody(responseCheck, context), (request, reply) =>
    endpoint.create(request.body, tenantOf(request), disconnectSignal(request, reply), reply),
  );
  inputTokens(app, context);
  retrieval(app, context);
}

/** Divisor for the first attempt at dropping turns: up to this many items lose one turn, twice as many lose two. */
const manyItems = 512;

/** The lock of the conversation that a response continues. `goesOn`: the work on the response releases it. */
interface HeldLock {
  readonly lock: ConversationLock | null;
  goesOn: boolean;
}

class ResponsesEndpoint {
  readonly #context: ServerContext;
  readonly #log: OnceLog;

  constructor(context: ServerContext) {
    this.#context = context;
    this.#log = new OnceLog(context.logger);
  }

  async create(body: ResponseBody, tenant: Tenant, signal: AbortSignal, reply: FastifyReply): Promise<unknown> {
    refuseUnstored(body, tenant.responses.isOn);
    const request = readRequest(body, this.#context, tenant.responses.isOn);
    const id = request.settings.conversation?.id;
    const lock = id === undefined ? null : new ConversationLock(tenant.responses, id);
    const held = { lock, goesOn: false };
    try {
      return await this.#answer(body, request, tenant, signal, reply, held);
    } finally {
      if (!held.goesOn) lock?.release();
    }
  }

  async #answer(
    body: ResponseBody,
    request: ReadRequest,
    tenant: Tenant,
    signal: AbortSignal,
    reply: FastifyReply,
    held: HeldLock,
  ): Promise<unknown> {
    const breather = new Breather();
    const conversation = await readConversation(body, tenant, this.#context.clock);
    if (messagesOf(conversation.items).length === 0) throw nothingToAnswer();
    await breather.rest();
    if (request.settings.background) return this.#inBackground(request, conversation, signal, reply, held);
    const turn = await this.#start(request, conversation, signal, reply.request);
    const writer = this.#writer(request, conversation, turn, reply);
    if (request.stream) {
      const told = this.#told(turn, writer, conversation, signal);
      return streamAnswer(reply, told, { ...this.#streaming, hold: (held) => turn.hold(held) });
    }
    for await (const event of turn) this.#accept(writer, event, conversation);
    if (!writer.ended) throw unfinished(signal);
    return sendJson(reply, writer.response);
  }

  /**
   * Answers as soon as the engine has accepted the request: a client that leaves before that cannot know the response.
   */
  async #inBackground(
    request: ReadRequest,
    conversation: Conversation,
    signal: AbortSignal,
    reply: FastifyReply,
    held: HeldLock,
  ): Promise<unknown> {
    const { tenant, items, date } = conversation;
    const ticket = ticketOf(reply.request);
    const controller = new AbortController();
    setMaxListeners(0, controller.signal); // every prompt of a request adds a listener
    const remain = onAbort(signal, (reason) => controller.abort(reason));
    try {
      const turn = await this.#start(request, conversation, controller.signal, reply.request);
      throwIfAborted(signal);
      const writer = this.#writer(request, conversation, turn, reply);
      const queued = writer.response;
      keepTicket(ticket);
      const response = this.#context.background.begin({
        turn,
        writer,
        controller,
        store: tenant.responses,
        context: { context: items, date },
        streams: request.stream,
        atEnd: () => {
          ticket.leave();
          this.#append(writer, conversation);
          held.lock?.release();
        },
        logger: this.#context.logger,
      });
      held.goesOn = true;
      if (response.follow === null) return sendJson(reply, queued);
      return streamAnswer(reply, response.follow(-1, signal), this.#streaming);
    } catch (error) {
      controller.abort(error);
      ticket.leave();
      throw error;
    } finally {
      remain();
    }
  }

  get #streaming(): StreamOptions<StreamEvent> {
    return { keepAliveMilliseconds: this.#context.keepAliveMilliseconds, nameOf: ({ type }) => type };
  }

  #writer(request: ReadRequest, { tenant, warnings }: Conversation, turn: Turn, reply: FastifyReply): ResponseWriter {
    warn(reply, this.#log, [...request.ignoredTools, ...warnings, ...turn.relaxed]);
    const seal = request.sealsReasoning ? tenant.seal : null;
    return new ResponseWriter(request.settings, request.turn.tools, this.#context.clock, seal);
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
  #accept(writer: ResponseWriter, event: TurnEvent, conversation: Conversation): StreamEvent[] {
    const told = writer.accept(event);
    if (!writer.ended) return told;
    const { tenant, items, date } = conversation;
    if (writer.response.store) {
      const { response, output } = writer;
      const isKept = tenant.responses.put({ response, context: items, output, date });
      if (!isKept) this.#context.logger.warn("there is no room in the store for a response");
    }
    this.#append(writer, conversation);
    return told;
  }

  /** Adds input and output to the stored conversation, unless the response broke off or the conversation is deleted. */
  #append(writer: ResponseWriter, { tenant, id, input }: Conversation): void {
    const { status } = writer.response;
    if (id === null || (status !== "completed" && status !== "incomplete")) return;
    const stored = tenant.responses.conversation(id);
    if (stored === undefined) {
      this.#context.logger.warn("a conversation was deleted, or pushed out of the store, before its response ended");
      return;
    }
    const added = ownItems(stored.items, [...input, ...writer.output]);
    const isKept = append(tenant.responses, stored, added);
    if (!isKept) this.#context.logger.warn("there is no room in the store for a conversation");
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
