import { describe, expect, it } from "vitest";
import { seededRandom } from "../../support/random.js";
import { final, reasoning, turn } from "../../support/scripted-turns.js";
import type { Json } from "../../support/server.js";
import { bearer } from "../../support/server-operations.js";
import { SteeredTurn } from "../../support/steered-turn.js";
import { turnServer } from "../../support/turn-server.js";

/** Two tenants do everything at once, in a store that loses what it holds. */

const events = turn([reasoning("They greet."), final("Hello there!")]);
const keys = ["alice", "bob"];
/** What a client can be told. Nothing of it is a fault of the server. */
const told = [200, 400, 404, 409, 413];

describe("many requests at once", () => {
  it.each([1, 2, 3, 4, 5, 6])(
    "leave no lock, no place and no work behind (seed %i)",
    async (seed) => {
      const random = seededRandom(seed);
      const below = (count: number) => Math.floor(random() * count);
      const turns: SteeredTurn[] = [];
      await using server = await turnServer([], {
        store: { responses: 12, bytes: 60_000 },
        server: { apiKeys: keys, drainMilliseconds: 600_000 }, // a place that is left over makes the test too long
        startTurn: async (request) => {
          const steered = new SteeredTurn(events);
          turns.push(steered);
          return Object.assign(steered.script(request), {
            promptTokens: new Uint32Array(),
            relaxed: [],
            hold: () => {},
          });
        },
      });
      const ids = { responses: [] as string[], conversations: [] as string[] };
      const some = (list: string[], prefix: string) => list[below(list.length)] ?? `${prefix}_1`;
      const statuses = new Set<number>();
      const send = async (method: "GET" | "POST" | "DELETE", url: string, payload?: object, key = keys[below(2)]!) => {
        const { statusCode, body } = await server.app.inject({
          method,
          url: `/v1/${url}`,
          headers: bearer(key),
          ...(payload && { payload }),
        });
        statuses.add(statusCode);
        const json = body.startsWith("{") ? (JSON.parse(body) as Json) : null;
        if (json?.object === "response") ids.responses.push(json.id);
        if (json?.object === "conversation") ids.conversations.push(json.id);
        return statusCode;
      };
      const response = () => some(ids.responses, "resp");
      const conversation = () => some(ids.conversations, "conv");
      const message = { role: "user", content: "x".repeat(200) };
      const ask = () => ({
        model: "gpt-oss-20b",
        input: [message],
        background: below(3) > 0,
        stream: below(2) > 0,
        ...(below(2) > 0 && { conversation: conversation() }),
      });
      const acts = [
        () => send("POST", "responses", ask()),
        () => send("POST", "responses", ask()),
        () => send("POST", "responses", { ...ask(), conversation: null, previous_response_id: response() }),
        () => send("GET", `responses/${response()}`),
        () => send("GET", `responses/${response()}?stream=true&starting_after=${below(20)}`),
        () => send("POST", `responses/${response()}/cancel`),
        () => send("DELETE", `responses/${response()}`),
        () => send("POST", "conversations", { items: [message] }),
        () => send("POST", `conversations/${conversation()}/items`, { items: [message] }),
        () => send("GET", `conversations/${conversation()}/items`),
        () => send("DELETE", `conversations/${conversation()}`),
      ];
      const asked: Promise<number>[] = [];
      for (let step = 0; step < 300; step++) {
        asked.push(acts[below(acts.length)]!());
        turns[below(turns.length)]?.release(below(6));
        if (below(25) === 0) turns[below(turns.length)]?.fail(new Error("broken"));
        if (below(4) === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      // Further turns begin while the others end.
      const ending = setInterval(() => {
        for (const steered of turns) steered.release();
      }, 1);
      await Promise.all(asked);
      await expect.poll(() => turns.every(({ isOver }) => isOver)).toBe(true);
      expect([...statuses].filter((status) => !told.includes(status) && status !== 500)).toEqual([]);
      expect([...statuses]).toEqual(expect.arrayContaining([200, 404]));
      // A turn that the test broke is the only fault: 500 for those who wait for its whole answer.
      for (const [line] of server.failures as [{ err: Error }][]) expect(line.err.message).toBe("broken");

      for (const id of ids.conversations) {
        for (const key of keys) {
          const body = { model: "gpt-oss-20b", input: "Hi", conversation: id };
          expect([200, 404]).toContain(await send("POST", "responses", body, key));
        }
      }
      clearInterval(ending);
      await server.app.drain(); // waits for everything that has a place among the running
    },
    60_000,
  );
});
