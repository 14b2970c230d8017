import { Counter, collectDefaultMetrics, Histogram, Registry } from "prom-client";
import { EngineMetrics } from "./engine-metrics.js";
import type { EngineSource } from "./engine-source.js";
import { RequestMetrics } from "./request-metrics.js";

const durationBuckets = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

/** The process_* and nodejs_* metrics. One registry for all servers of the process. */
let processRegistry: Registry | undefined;

function ofProcess(): Registry {
  if (!processRegistry) {
    processRegistry = new Registry();
    collectDefaultMetrics({ register: processRegistry });
  }
  return processRegistry;
}

/**
 * The metrics of `/metrics`, under vLLM's names, which dashboards and routers know. Endpoints do not report anything:
 * the engine counts, and publishes the outcome of each request on `diagnostics_channel`.
 */
export class ServerMetrics {
  readonly contentType = Registry.PROMETHEUS_CONTENT_TYPE;
  readonly #registry = new Registry();
  readonly #source: EngineSource;
  readonly #engine: EngineMetrics;
  readonly #requests: RequestMetrics;
  readonly #http: { total: Counter; seconds: Histogram; stalled: Counter };

  constructor(source: EngineSource, modelName: string) {
    const labels = { model_name: modelName, engine: "0" };
    const registers = [this.#registry];
    this.#source = source;
    this.#engine = new EngineMetrics(this.#registry, labels);
    this.#requests = new RequestMetrics(this.#registry, labels, () => source.engine);
    this.#http = {
      total: new Counter({
        name: "http_requests_total",
        help: "Answered requests; 499: the client did not wait",
        labelNames: ["handler", "method", "status"],
        registers,
      }),
      seconds: new Histogram({
        name: "http_request_duration_seconds",
        help: "From the headers of a request to the end of its answer",
        labelNames: ["handler", "method"],
        buckets: durationBuckets,
        registers,
      }),
      stalled: new Counter({
        name: "http_stalled_readers_total",
        help: "Connections that were cut because the client did not read its answer",
        registers,
      }),
    };
    ofProcess();
  }

  /** Counts a finished request. `handler` is a route, never a path that a client invented. */
  answered(handler: string, method: string, status: number, seconds: number): void {
    this.#http.total.inc({ handler, method, status: String(status) });
    this.#http.seconds.observe({ handler, method }, seconds);
  }

  /** Counts a client that was cut because it did not read. */
  cutReader(): void {
    this.#http.stalled.inc();
  }

  async text(): Promise<string> {
    const { engine } = this.#source;
    try {
      if (engine) this.#engine.update(engine);
    } catch {
      // /health reports an engine that does not answer. The last values stay here.
    }
    return `${await this.#registry.metrics()}${await ofProcess().metrics()}`;
  }

  close(): void {
    this.#requests.close();
  }
}
