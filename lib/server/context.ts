import type { FastifyBaseLogger } from "fastify";
import type { Engine } from "../engine.js";
import type { LargeBodies } from "./bodies/large-bodies.js";
import type { PriorityGrant } from "./limits/priority.js";
import type { Turn, TurnRequest } from "./turn/turn.js";

/** What every endpoint works with. */
export interface ServerContext {
  /** While the model loads, reading it throws a 503: routes are added before, so read it while you answer. */
  readonly engine: Engine;
  /** Unix seconds of the start, `created` of the models. */
  created: number;
  /** The names under which the model is asked for; the first is the one told. */
  modelNames: readonly string[];
  /** What time it is. */
  clock: () => Date;
  /** Tokens of one sequence, prompt and output together. As the engine, there only when the model is. */
  readonly contextLength: number;
  /** Where faults and unknown fields are logged. */
  logger: FastifyBaseLogger;
  /**
   * Default: a body of any size is read on the thread of the event loop.
   *
   * @internal
   */
  largeBodies?: LargeBodies;
  /**
   * Hands a turn to the engine.
   *
   * @internal
   */
  startTurn(request: TurnRequest): Promise<Turn>;
  /** A field of a request's body that is not known is refused, instead of left without effect. Default false. */
  strictRequests?: boolean;
  /** The values of `priority` that a body may ask for. Default [0, 0]. */
  priorityRange?: PriorityGrant;
  /** Silence after which a stream gets a comment, so that nobody between takes it for dead. Default 15,000. */
  keepAliveMilliseconds?: number;
}
