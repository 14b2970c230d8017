import type { FastifyBaseLogger } from "fastify";
import type { Engine } from "../engine.js";
import type { LargeBodies } from "./bodies/large-bodies.js";
import type { PriorityGrant } from "./limits/priority.js";
import type { BackgroundResponses } from "./responses/background.js";
import type { Turn, TurnRequest } from "./turn/turn.js";

/** The objects that every endpoint uses. */
export interface ServerContext {
  /** Throws a 503 while the model loads. Routes are added before that, so read it only while you answer a request. */
  readonly engine: Engine;
  /** Unix seconds of the server's start: `created` of the models. */
  created: number;
  /** The names of the model in requests. Answers use the first one. */
  modelNames: readonly string[];
  /** The adapters that requests can name after a colon. Like `engine`, it throws while the model loads. */
  readonly adapterNames: readonly string[];
  /** Returns the current time. */
  clock: () => Date;
  /** Maximum tokens of one sequence, prompt and output together. Like `engine`, it throws while the model loads. */
  readonly contextLength: number;
  /** Logs faults and unknown fields. */
  logger: FastifyBaseLogger;
  /**
   * Default: the event loop's thread reads bodies of any size.
   *
   * @internal
   */
  largeBodies?: LargeBodies;
  /**
   * The background responses in progress.
   *
   * @internal
   */
  background: BackgroundResponses;
  /**
   * Hands a turn to the engine.
   *
   * @internal
   */
  startTurn(request: TurnRequest): Promise<Turn>;
  /** Refuses unknown fields in a request's body, instead of ignoring them. Default false. */
  strictRequests?: boolean;
  /** The priorities that a body may ask for. Default [0, 0]. */
  priorityRange?: PriorityGrant;
  /** Milliseconds of silence after which a stream gets a comment, so that proxies keep it open. Default 15,000. */
  keepAliveMilliseconds?: number;
}
