import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../lib/package-root.js";
import type { Allowance } from "./allowances.js";
import { checkedRun } from "./checked-run.js";
import { Checker, type OpenApiDocument } from "./checker.js";
import { type Exchange, eventsOf } from "./exchange.js";
import { report } from "./report.js";

/** The checker of `npm run test:openapi`, with a small document of our own. */

const named = (name: string) => ({ $ref: `#/components/schemas/${name}` });
const text = { type: "string" };
const answers = (content: object) => ({ responses: { 200: { content } } });
const document = {
  paths: {
    "/responses": {
      post: answers({
        "application/json": { schema: named("Response") },
        "text/event-stream": { schema: named("Event") },
      }),
    },
    "/responses/{response_id}": { get: answers({ "application/json": { schema: named("Response") } }) },
    "/responses/fixed": { get: answers({ "application/json": { schema: named("Whole") } }) },
    "/models/{model}": { get: answers({ "application/json": { schema: named("Model") } }) },
  },
  components: {
    schemas: {
      ErrorResponse: {
        type: "object",
        required: ["error"],
        properties: {
          error: {
            type: "object",
            required: ["message"],
            properties: { message: text, param: { ...text, nullable: true } },
          },
        },
      },
      Model: { type: "object", required: ["id"], properties: { id: text } },
      Whole: { type: "object", required: ["count"], properties: { count: { type: "integer" } } },
      Response: {
        allOf: [
          named("Settings"),
          {
            type: "object",
            required: ["id", "output"],
            properties: {
              id: text,
              output: { type: "array", items: named("Item") },
              usage: { ...named("Whole"), nullable: true },
            },
          },
        ],
      },
      Settings: {
        type: "object",
        properties: {
          note: { anyOf: [{ ...text, enum: ["a", "b"] }, { type: "null" }] },
          metadata: { type: "object" },
        },
      },
      Item: { oneOf: [named("Message"), named("Call")], discriminator: { propertyName: "type" } },
      Message: { type: "object", required: ["type", "text"], properties: { type: { const: "message" }, text } },
      Call: {
        type: "object",
        required: ["type", "inner"],
        properties: { type: { enum: ["call"] }, inner: { type: "array", items: { $recursiveRef: "#" } } },
      },
      Event: { anyOf: [named("Begun"), named("Said")] },
      Begun: {
        type: "object",
        required: ["type", "response"],
        properties: { type: { enum: ["begun"] }, response: named("Response") },
      },
      Said: { type: "object", required: ["type", "text"], properties: { type: { enum: ["said"] }, text } },
    },
  },
} as OpenApiDocument;

const sent: Exchange = {
  method: "POST",
  url: "/v1/responses",
  status: 200,
  type: "application/json; charset=utf-8",
  body: "",
  complete: true,
};
const response = {
  id: "r",
  output: [{ type: "message", text: "Hi" }],
  note: null,
  usage: { count: 1 },
  metadata: { a: 1 },
};
const message = response.output[0];

/** The violations of one exchange, in one line each. */
function check(exchange: Partial<Exchange>, allowances: readonly Allowance[] = []): string[] {
  const checker = new Checker(document, allowances);
  checker.check({ ...sent, ...exchange });
  return checker.violations.map((found) => [found.operation, found.field, found.keyword].join(" | "));
}

const checkBody = (body: object) => check({ body: JSON.stringify(body) });

function checkEvents(events: readonly (string | object)[], exchange: Partial<Exchange> = {}): string[] {
  const frame = (event: string | object) =>
    typeof event === "string"
      ? event
      : `event: ${(event as { type: string }).type}\ndata: ${JSON.stringify(event)}\n\n`;
  return check({ type: "text/event-stream", body: events.map(frame).join(""), ...exchange });
}

describe("a right answer has no violations", () => {
  it.each([
    [response],
    [{ ...response, usage: null, note: "a" }],
    [{ id: "r", output: [{ type: "call", inner: [{ type: "call", inner: [] }] }] }],
  ])("%j", (body) => expect(checkBody(body)).toEqual([]));

  it("of a path with parameters, of one without, and of a model whose name has a slash", () => {
    const get = { ...sent, method: "GET" };
    expect(check({ ...get, url: "/v1/responses/r?include=x", body: JSON.stringify(response) })).toEqual([]);
    expect(check({ ...get, url: "/v1/responses/fixed", body: '{"count":1}' })).toEqual([]);
    expect(check({ ...get, url: "/v1/models/openai/gpt-oss-20b", body: '{"id":"x"}' })).toEqual([]);
  });

  it("that is an error", () => {
    expect(check({ status: 404, url: "/v1/nothing", body: '{"error":{"message":"No","param":null}}' })).toEqual([]);
  });

  it("that streams, with comments, an error in place of the next event, and the end", () => {
    const events = [{ type: "begun", response }, ": keep-alive\n\n", { type: "said", text: "Hi" }];
    expect(checkEvents([...events, "data: [DONE]\n\n"])).toEqual([]);
    expect(checkEvents([...events, 'data: {"error":{"message":"No"}}\n\n'])).toEqual([]);
  });

  it("whose reader left within it", () => {
    expect(check({ body: '{"id":', complete: false })).toEqual([]);
    expect(check({ type: "", body: "", complete: false })).toEqual([]);
    expect(checkEvents([{ type: "said", text: "Hi" }, 'data: {"ty'], { complete: false })).toEqual([]);
  });

  it("of a path outside the document", () => {
    expect(check({ method: "GET", url: "/health", type: "text/plain", body: "ok" })).toEqual([]);
  });
});

describe("a wrong answer is a violation:", () => {
  it.each([
    [{ output: [] }, "post /responses | id | required"],
    [{ ...response, id: 7 }, "post /responses | id | type"],
    [{ ...response, id: null }, "post /responses | id | type"],
    [{ ...response, note: "c" }, "post /responses | note | enum"],
    [{ ...response, ours: 1 }, "post /responses | ours | unevaluatedProperties"],
    [{ ...response, usage: { count: "1" } }, "post /responses | usage.count | type"],
    [{ ...response, usage: { count: 1, ours: 1 } }, "post /responses | usage.ours | unevaluatedProperties"],
    [{ ...response, output: [message, { type: "message" }] }, "post /responses | output[].text | required"],
    [{ ...response, output: [{ ...message, ours: 1 }] }, "post /responses | output[].ours | unevaluatedProperties"],
    [{ ...response, output: [{ type: "other" }] }, "post /responses | output[].type | enum"],
    [
      { ...response, output: [{ type: "call", inner: [{ type: "call" }] }] },
      "post /responses | output[].inner[].inner | required",
    ],
  ])("%j", (body, violation) => expect(checkBody(body)).toEqual([violation]));

  it.each<[exchange: Partial<Exchange>, violation: string]>([
    [{ body: "{" }, "post /responses |  | json"],
    [{ type: "text/html", body: "<p>" }, "post /responses |  | content"],
    [{ url: "/v1/other", body: "{}" }, "post /other |  | paths"],
    [{ method: "GET", body: "{}" }, "get /responses |  | paths"],
    [{ status: 500, body: '{"error":"No"}' }, "any error | error | type"],
    [{ status: 500, body: '{"error":{"param":null}}' }, "any error | error.message | required"],
    [{ status: 500, type: "text/plain", body: "No" }, "any error |  | content"],
    [{ status: 404, url: "/tokenize", body: "{}" }, "any error | error | required"],
  ])("%j", (exchange, violation) => expect(check(exchange)).toEqual([violation]));

  it.each<[events: (string | object)[], violation: string]>([
    [[{ type: "unknown" }], "post /responses stream unknown | type | enum"],
    [[{ type: "said" }], "post /responses stream said | text | required"],
    [[{ type: "said", text: "Hi", ours: 1 }], "post /responses stream said | ours | unevaluatedProperties"],
    [[{ type: "begun", response: { ...response, id: 7 } }], "post /responses stream begun | response.id | type"],
    [['event: begun\ndata: {"type":"said","text":"Hi"}\n\n'], "post /responses stream | type | event"],
    [['data: {"error":7}\n\n'], "any error | error | type"],
    [[{ type: "said", text: "Hi" }, "data: {}"], "post /responses stream |  | stream"],
  ])("the events %j", (events, violation) => expect(checkEvents(events)).toEqual([violation]));

  it("a stream where the document has none", () => {
    const get = { method: "GET", url: "/v1/models/x" };
    expect(checkEvents([{ type: "said", text: "Hi" }], get)).toEqual(["get /models/{model} stream |  | schema"]);
  });
});

describe("an allowance", () => {
  const ours = { ...sent, body: JSON.stringify({ ...response, output: [{ ...message, ours: 1 }] }) };

  it.each<[allowance: Omit<Allowance, "reason">, isAllowed: boolean]>([
    [{ field: "ours" }, true],
    [{ field: "output[].ours" }, true],
    [{ field: "output[].ours", operation: "post /responses" }, true],
    [{ field: "output[].ours", operation: "post /responses stream" }, false],
    [{ field: "urs" }, false],
    [{ field: "output[].ours", keywords: ["type"] }, false],
  ])("%j permits a field: %j", (allowance, isAllowed) => {
    expect(check(ours, [{ ...allowance, reason: "a test" }])).toHaveLength(isAllowed ? 0 : 1);
  });

  it("that no answer needs is told", () => {
    const checker = new Checker(document, [
      { field: "ours", reason: "is needed" },
      { field: "theirs", reason: "is not" },
    ]);
    checker.check(ours);
    expect(report(checker, { isWhole: true })).toMatchObject({ isRight: false });
    expect(report(checker, { isWhole: true }).text).toContain(
      "NOT NEEDED: the allowance of any operation: theirs (is not)",
    );
    expect(report(checker, { isWhole: false })).toMatchObject({ isRight: true });
  });
});

describe("the report", () => {
  const reported = (...exchanges: Partial<Exchange>[]) => {
    const checker = new Checker(document, []);
    for (const exchange of exchanges) checker.check({ ...sent, ...exchange });
    return report(checker, { isWhole: true });
  };

  it("names each kind of violation once, with an example, and counts what was checked", () => {
    const wrong = { body: '{"id":7,"output":[]}' };
    expect(reported(wrong, wrong, { body: JSON.stringify(response) })).toEqual({
      isRight: false,
      text: [
        "       3  post /responses",
        "VIOLATION post /responses: id must be string (2 times), as in 7",
        "3 bodies and events, 1 kinds of violations\n",
      ].join("\n"),
    });
  });

  it("is right when all is, and wrong when nothing was checked", () => {
    expect(reported({ body: JSON.stringify(response) })).toMatchObject({ isRight: true });
    expect(reported().isRight).toBe(false);
  });
});

describe("the recorder", () => {
  it("writes down what a server on Fastify sends, whole or in pieces, and how it ended", () => {
    const folder = mkdtempSync(path.join(tmpdir(), "recorded-"));
    try {
      const program = `
        import { fastify } from "fastify";
        const app = fastify();
        app.get("/whole", () => ({ a: "é" }));
        app.get("/wrong", () => { throw Object.assign(new Error("No"), { statusCode: 418 }); });
        app.get("/pieces", (_, reply) => {
          reply.hijack();
          reply.raw.setHeader("content-type", "text/event-stream");
          reply.raw.write("data: 1\\n\\n");
          reply.raw.end("data: 2\\n\\n");
        });
        app.get("/cut", (_, reply) => { reply.hijack(); reply.raw.write("data: 1"); reply.raw.destroy(); });
        for (const url of ["/whole?q=1", "/wrong", "/pieces"]) await app.inject(url);
        const address = await app.listen({ host: "127.0.0.1", port: 0 });
        for (const url of ["/pieces", "/cut"]) await fetch(address + url).then((got) => got.text()).catch(() => {});
        await app.close();
      `;
      const preload = pathToFileURL(path.join(packageRoot, "test/openapi/record.mjs")).href;
      const ran = spawnSync(process.execPath, ["--import", preload, "--input-type=module", "--eval", program], {
        cwd: packageRoot,
        env: { ...process.env, OPENAPI_RECORD: folder },
        encoding: "utf8",
      });
      expect(ran.stderr).toBe("");
      const [file] = readdirSync(folder);
      const lines = readFileSync(path.join(folder, file!), "utf8").trimEnd().split("\n");
      const json = "application/json; charset=utf-8";
      const pieces = {
        ...sent,
        method: "GET",
        url: "/pieces",
        type: "text/event-stream",
        body: "data: 1\n\ndata: 2\n\n",
      };
      expect(lines.map((line) => JSON.parse(line))).toEqual([
        { ...sent, method: "GET", url: "/whole?q=1", type: json, body: '{"a":"é"}' },
        { ...sent, method: "GET", url: "/wrong", type: json, status: 418, body: expect.stringContaining("No") },
        pieces,
        pieces,
        { ...sent, method: "GET", url: "/cut", type: "", body: "data: 1", complete: false },
      ]);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it("leaves out comments, and what follows the last whole event", () => {
    expect(eventsOf('event: a\ndata: {}\n\n: wait\n\ndata: 1\n\ndata: {"b')).toEqual([
      { name: "a", data: "{}" },
      { name: undefined, data: "1" },
    ]);
  });
});

describe("a run", () => {
  const program = `
    import { fastify } from "fastify";
    await fastify().get("/v1/no", (_, reply) => reply.code(404).send({ error: { message: "No" } })).inject("/v1/no");
  `;

  /** Checks what a program answers, with a document that requires this member of an error. */
  async function run(required: string, end = "") {
    const folder = mkdtempSync(path.join(tmpdir(), "document-"));
    try {
      const file = path.join(folder, "document.yaml");
      const schema =
        "{ type: object, required: [error], properties: { error: { $ref: '#/components/schemas/Error' } } }";
      const error = `{ type: object, required: [${required}], properties: { message: {}, ours: {} } }`;
      writeFileSync(file, `paths: {}\ncomponents:\n  schemas:\n    ErrorResponse: ${schema}\n    Error: ${error}\n`);
      const node = ["--input-type=module", "--eval", program + end];
      return await checkedRun(file, node, { isWhole: true, allowances: [] });
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  it("is right when all answers are", async () => {
    const text = "       1  any error\n1 bodies and events, 0 kinds of violations\n";
    expect(await run("message")).toEqual({ isRight: true, text });
  });

  it("is wrong when an answer is wrong, and says where", async () => {
    const { isRight, text } = await run("ours");
    expect(text).toContain("VIOLATION any error: error.ours must have required property 'ours' (1 times), as in {");
    expect(isRight).toBe(false);
  });

  it("is wrong when the program fails", async () => {
    expect(await run("message", "process.exit(1);")).toMatchObject({ isRight: false });
  });
});
