import type { FastifyInstance } from "fastify";
import { BodyCheck } from "../../lib/server/bodies/body-check.js";
import { checkedBody } from "../../lib/server/bodies/checked-body.js";
import { fields } from "../../lib/server/bodies/fields.js";
import type { ServerContext } from "../../lib/server/context.js";
import { type Endpoint, endpoints } from "../../lib/server/endpoints.js";
import { disconnectSignal } from "../../lib/server/http/disconnect.js";
import { models } from "../../lib/server/models.js";

/** Replaces the endpoints of the server in this process by some that a test controls. */

/** Requests to /v1/hold: each waits until the test releases it, or its client leaves. */
export const held: {
  signal: AbortSignal;
  release: (answer: unknown) => void;
  fail: (reason: unknown) => void;
}[] = [];

function hold(app: FastifyInstance): void {
  app.post("/v1/hold", (request, reply) => {
    const signal = disconnectSignal(request, reply);
    return new Promise((release, fail) => {
      signal.addEventListener("abort", () => fail(signal.reason));
      held.push({ signal, release, fail });
    });
  });
}

const schema = {
  type: "object",
  properties: {
    prompt: { type: "array", items: { type: "integer" } },
    n: { type: "integer", maximum: 8 },
    kind: { enum: ["a", "b"] },
    messages: { type: "array", items: { type: "object", required: ["role"] } },
  },
  required: ["prompt"],
};

const known = fields("any", "prompt n kind messages");

/** 8 tokens for each of n choices. */
function work(app: FastifyInstance, context: ServerContext): void {
  app.post<{ Body: { prompt: number[]; n?: number } }>(
    "/v1/work",
    checkedBody(new BodyCheck("work", schema, known), context),
    async (request) => {
      const { prompt, n = 1 } = request.body;
      const run = context.engine.generate(prompt, { n, maxTokens: 8, temperature: 0, ignoreEos: true });
      return (await run.result).usage;
    },
  );
}

(endpoints as Endpoint[]).splice(0, endpoints.length, models, hold, work);
