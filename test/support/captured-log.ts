import type { FastifyBaseLogger } from "fastify";

const levels = ["fatal", "error", "warn", "info", "debug", "trace", "silent"] as const;
type Level = (typeof levels)[number];

/** The lines of a log, each as the logger's arguments. */
export interface CapturedLog {
  logger: FastifyBaseLogger;
  /** All lines, in order. */
  all: unknown[][];
  of: Readonly<Record<Level, unknown[][]>>;
}

/** A logger whose lines a test reads. */
export function capturedLog(): CapturedLog {
  const all: unknown[][] = [];
  const of = Object.fromEntries(levels.map((level) => [level, [] as unknown[][]])) as Record<Level, unknown[][]>;
  const write = (level: Level, line: unknown[]) => {
    all.push(line);
    of[level].push(line);
  };
  const methods = levels.map((level) => [level, (...line: unknown[]) => write(level, line)] as const);
  const logger = Object.fromEntries(methods) as unknown as FastifyBaseLogger;
  Object.assign(logger, { level: "trace", child: () => logger });
  return { logger, all, of };
}
