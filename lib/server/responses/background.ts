import type { FastifyBaseLogger } from "fastify";
import { ApiError, notReady } from "../http/errors.js";
import { streamFailure } from "../http/stream-answer.js";
import type { Drain, RunningRequest } from "../operations/drain.js";
import type { Turn } from "../turn/turn.js";
import { EventHistory } from "./event-history.js";
import type { ResponseObject, StreamEvent } from "./objects.js";
import type { ResponseWriter } from "./response-writer.js";
import type { ResponseStore } from "./store.js";
import { storeFull } from "./store-full.js";
import type { ResponseWork, StoredResponse } from "./stored.js";
import { unfinished } from "./unfinished.js";

/** Time for stopped work to end when the server closes. */
const graceMilliseconds = 2000;
/** Bytes by which a response grows between two counts. */
const countedBytes = 2 ** 16;

/** A background response that is about to begin. */
export interface BackgroundTask {
  turn: Turn;
  writer: ResponseWriter;
  /** Aborts the turn. */
  controller: AbortController;
  store: ResponseStore;
  /** The parts that are stored beside the response. */
  context: Pick<StoredResponse, "context" | "date">;
  /** Keeps the events for readers. */
  streams: boolean;
  /** Called once, before anybody sees the end. */
  atEnd: () => void;
  logger: FastifyBaseLogger;
}

/** The background responses of one server that are in progress. */
export class BackgroundResponses {
  readonly #drain: Drain;
  readonly #running = new Set<BackgroundResponse>();
  #closed = false;

  constructor(drain: Drain) {
    this.#drain = drain;
    drain.onStart(() => {
      for (const response of [...this.#running]) response.endUnseen();
    });
  }

  /** Number of responses in progress. */
  get running(): number {
    return this.#running.size;
  }

  /**
   * Stores the response, and begins its work.
   *
   * @throws ApiError 503 while the server shuts down, 413 if the store has no room
   */
  begin(task: BackgroundTask): BackgroundResponse {
    if (this.#closed) throw notReady("The server is shutting down", 5);
    this.#drain.refuseNew();
    const response = new BackgroundResponse(task, this.#drain);
    if (!response.isStored) {
      throw storeFull("this background response");
    }
    this.#running.add(response);
    void response.work(task.turn).finally(() => this.#running.delete(response));
    return response;
  }

  /** Ends all work. Resolves when it has ended, or after a short time. */
  async close(): Promise<void> {
    this.#closed = true;
    const ends = [...this.#running].map((response) => {
      response.fail(notReady("The server was closed before this response had ended", 5));
      return response.over;
    });
    let late: NodeJS.Timeout | undefined;
    const grace = new Promise((resolve) => {
      late = setTimeout(resolve, graceMilliseconds);
    });
    await Promise.race([Promise.all(ends), grace]);
    clearTimeout(late);
  }
}

/** A response that is written whether or not a client reads it. */
export class BackgroundResponse implements ResponseWork {
  readonly isStored: boolean;
  /** Resolves when the work has ended. */
  readonly over: Promise<void>;
  readonly #writer: ResponseWriter;
  readonly #store: ResponseStore;
  readonly #context: BackgroundTask["context"];
  readonly #logger: FastifyBaseLogger;
  readonly #events: EventHistory | null;
  readonly #drain: Drain;
  /** What the work alone needs. Null after its end: a finished response is kept without it. */
  #work: { controller: AbortController; place: RunningRequest; atEnd: () => void } | null;
  #isOver!: () => void;
  #isRemoved = false;
  #followers = 0;
  /** Bytes that the store has counted. */
  #counted = 0;

  constructor({ writer, controller, store, context, streams, atEnd, logger }: BackgroundTask, drain: Drain) {
    this.#writer = writer;
    this.#store = store;
    this.#context = context;
    this.#logger = logger;
    this.#drain = drain;
    this.over = new Promise((resolve) => {
      this.#isOver = resolve;
    });
    this.#events = streams ? new EventHistory() : null;
    this.#events?.push(writer.opening());
    const place = drain.begin();
    this.#work = { controller, place, atEnd };
    this.isStored = store.put(this.#stored());
    if (this.isStored) place.onAbort((reason) => this.fail(reason));
    else place.end();
  }

  get isRunning(): boolean {
    return !this.#writer.ended;
  }

  get follow(): ResponseWork["follow"] {
    const events = this.#events;
    return events === null ? null : (after, signal) => this.#follow(events, after, signal);
  }

  /** Never rejects. */
  async work(turn: Turn): Promise<void> {
    const writer = this.#writer;
    const { signal } = this.#work!.controller;
    try {
      for await (const event of turn) {
        if (writer.ended) break; // leaving the loop frees the sequences
        this.#tell(writer.accept(event));
      }
      if (!writer.ended) throw unfinished(signal);
    } catch (error) {
      if (!writer.ended) {
        streamFailure(error, this.#logger, signal);
        this.#tell(writer.failed(error));
      } else if (!signal.aborted) {
        this.#logger.error({ err: error }, "the end of a background response failed");
      }
    } finally {
      this.#work = null;
      this.#isOver();
    }
  }

  cancel(): void {
    this.#end((writer) => writer.cancelled(), new ApiError(499, "The response was cancelled"));
  }

  fail(reason: unknown): void {
    this.#end((writer) => writer.failed(reason), reason);
  }

  discard(): void {
    this.#isRemoved = true;
    this.cancel();
  }

  removed(): void {
    if (!this.isRunning) return;
    this.#isRemoved = true;
    this.#logger.warn("a background response ends: the store has no room for it, or its key is gone");
    this.fail(new ApiError(503, "The store lost the response before it had ended", { code: "store_full" }));
  }

  /** Ends the work if nobody reads it: after the shutdown, nobody can. */
  endUnseen(): void {
    if (this.#followers === 0) this.fail(notReady("The server was shut down before this response had ended", 5));
  }

  #end(told: (writer: ResponseWriter) => StreamEvent[], reason: unknown): void {
    if (this.#writer.ended) return;
    const { controller } = this.#work!;
    this.#tell(told(this.#writer));
    controller.abort(reason);
  }

  async *#follow(
    events: EventHistory,
    after: number,
    signal: AbortSignal,
  ): AsyncGenerator<StreamEvent, void, undefined> {
    this.#followers++;
    try {
      yield* events.after(after, signal);
    } finally {
      this.#followers--;
      if (this.#drain.isDraining) this.endUnseen();
    }
  }

  #tell(told: readonly StreamEvent[]): void {
    this.#events?.push(told);
    if (this.#writer.ended) this.#finish();
    else this.#count();
  }

  /** Stores the response before its readers see the end: they get a turn of the event loop later. */
  #finish(): void {
    const { place, atEnd } = this.#work!;
    place.end();
    if (!this.#isRemoved && !this.#store.put(this.#stored())) {
      this.#logger.warn("there is no room in the store for a response");
    }
    atEnd();
    this.#events?.end();
  }

  #count(): void {
    const bytes = this.#bytes;
    const more = bytes - this.#counted;
    if (more < countedBytes) return;
    this.#counted = bytes;
    this.#store.grow(this.#writer.response.id, more);
  }

  get #bytes(): number {
    return this.#writer.bytes + (this.#events?.bytes ?? 0);
  }

  #stored(): StoredResponse {
    const writer = this.#writer;
    const stored = { ...this.#context, work: this, eventBytes: this.#events?.bytes ?? 0 };
    if (writer.ended) return { ...stored, response: writer.response, output: writer.output };
    this.#counted = this.#bytes;
    return {
      ...stored,
      get response(): ResponseObject {
        return writer.soFar;
      },
      output: [],
    };
  }
}
