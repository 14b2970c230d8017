import type { FastifyBaseLogger } from "fastify";
import { packageVersion } from "../version.js";
import { LargeBodies } from "./bodies/large-bodies.js";
import type { ServerContext } from "./context.js";
import { ClientLimits } from "./limits/limits.js";
import { StalledReaders } from "./limits/stalled-readers.js";
import { Drain } from "./operations/drain.js";
import { EngineSource } from "./operations/engine-source.js";
import { EngineHealth } from "./operations/health.js";
import { ServerMetrics } from "./operations/metrics.js";
import type { CheckedPluginOptions } from "./options.js";
import { BackgroundResponses } from "./responses/background.js";
import { Gate } from "./tenants/gate.js";
import { startTurn } from "./turn/start.js";

/** The parts of one server. */
export interface ServerParts {
  options: CheckedPluginOptions;
  source: EngineSource;
  health: EngineHealth;
  drain: Drain;
  gate: Gate;
  limits: ClientLimits;
  stalledReaders: StalledReaders;
  metrics: ServerMetrics;
  largeBodies: LargeBodies;
  background: BackgroundResponses;
  version: string;
  context: ServerContext;
}

/** @throws GptOssError INVALID_ARGUMENT when the keys are not usable. */
export function buildParts(options: CheckedPluginOptions, logger: FastifyBaseLogger): ServerParts {
  const source = new EngineSource(options.engine);
  const largeBodies = new LargeBodies();
  const drain = new Drain(options.drainMilliseconds);
  const background = new BackgroundResponses(drain);
  return {
    options,
    source,
    health: new EngineHealth(source, options),
    drain,
    gate: new Gate(options),
    limits: new ClientLimits(options),
    stalledReaders: new StalledReaders(options.readerMilliseconds),
    metrics: new ServerMetrics(source, options.modelNames[0]!),
    largeBodies,
    background,
    version: packageVersion(),
    context: buildContext(options, { source, largeBodies, background, logger }),
  };
}

function buildContext(
  { modelNames, clock, strictRequests, priorityRange }: CheckedPluginOptions,
  { source, ...parts }: Pick<ServerParts, "source" | "largeBodies" | "background"> & { logger: FastifyBaseLogger },
): ServerContext {
  return {
    get engine() {
      return source.require();
    },
    get contextLength() {
      return source.require().info.limits.contextLength;
    },
    created: Math.floor(clock().getTime() / 1000),
    modelNames,
    get adapterNames() {
      return source
        .require()
        .adapters()
        .map(({ name }) => name);
    },
    clock,
    ...parts,
    strictRequests,
    priorityRange,
    startTurn: (request) => startTurn(source.require(), request),
  };
}
