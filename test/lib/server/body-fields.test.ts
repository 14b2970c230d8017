import { afterEach, describe, expect, it } from "vitest";
import { checkFields, fields, type Members, misplaced } from "../../../lib/server/bodies/fields.js";
import {
  chatFields,
  completionFields,
  responseFields,
  tokenizeFields,
} from "../../../lib/server/bodies/known-fields.js";
import { chatSchema, conversationSchema } from "../../../lib/server/chat/request.js";
import { completionSchema } from "../../../lib/server/completions/request.js";
import { createServer, type ServerOptions } from "../../../lib/server/index.js";
import { responseSchema } from "../../../lib/server/responses/request.js";
import { ScriptedEngine } from "../../../lib/testing/index.js";
import { capturedLog } from "../../support/captured-log.js";
import { ids, type Json, post } from "../../support/server.js";

const hello = ids("<|channel|>final<|message|>Hello!<|return|>");
const user = { role: "user", content: "Hi" };
const model = "gpt-oss-20b";

const open: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0)) await close();
});

/** A server, its engine, and the warnings in its log. */
async function server(options: Partial<ServerOptions> = {}) {
  const engine = new ScriptedEngine([{ tokens: hello }]);
  const { logger, of } = capturedLog();
  const warnings: Json[] = of.warn;
  const app = await createServer({ engine, modelName: model, logger, ...options });
  open.push(async () => {
    await app.close();
    await engine.close();
  });
  return { app, engine, warnings, prompt: () => engine.tokenizer.decode(engine.requests.at(-1)!.promptTokens) };
}

describe("lone surrogates", () => {
  const parameters = {
    type: "object",
    title: "T\ud800",
    $comment: "C\ud800",
    properties: {
      // A property may have the same name as an annotation.
      description: { type: "string", description: "D\ud800", examples: ["E\ud800", { a: "\udfff" }] },
      title: { type: "string", "x-note": { deep: ["X\ud800"] }, default: "\ud800" },
    },
  };

  it("in what is prose are U+FFFD, as the tokenizer reads them", async () => {
    const { app, prompt } = await server();
    const tools = [{ type: "function", function: { name: "f", description: "F\ud800", parameters } }];
    const format = {
      type: "json_schema",
      json_schema: { name: "a", description: "R\ud800", schema: { title: "\ud800" } },
    };
    const messages = [
      { role: "system", content: "S\ud800" },
      { role: "user", content: [{ type: "text", text: "U\udc00!" }] },
      { role: "assistant", tool_calls: [{ id: "c", function: { name: "f", arguments: '{"a":"\ud800"}' } }] },
      { role: "tool", tool_call_id: "c", content: "O\ud800" },
    ];
    const { status } = await post(app, "/v1/chat/completions", { model, messages, tools, response_format: format });
    expect(status).toBe(200);
    for (const text of ["F\ufffd", "D\ufffd", "S\ufffd", "U\ufffd!", "O\ufffd", "R\ufffd"])
      expect(prompt()).toContain(text);

    const respond = await post(app, "/v1/responses", {
      model,
      input: [{ role: "user", content: "I\ud800" }],
      instructions: "J\ud800",
      tools: [{ type: "function", name: "f", description: "F\ud800", parameters }],
    });
    expect([respond.status, respond.body.instructions]).toEqual([200, "J\ufffd"]);
    expect(respond.body.tools[0].parameters.properties.description.examples).toEqual(["E\ufffd", { a: "\ufffd" }]);
    expect(prompt()).toContain("I\ufffd");

    expect((await post(app, "/v1/completions", { model, prompt: "P\ud800" })).status).toBe(200);
    expect(prompt()).toBe("P\ufffd");
    const { body } = await post(app, "/tokenize", { prompt: "P\ud800" });
    expect(body.tokens).toEqual(ids("P\ufffd"));
  });

  it("in values that matter are refused by name", async () => {
    const { app } = await server();
    const refused: [schema: object, path: string][] = [
      [{ enum: ["a", "\ud800"] }, ".enum[1]"],
      [{ const: { description: "\ud800" } }, ".const.description"],
      [{ pattern: "\ud800" }, ".pattern"],
      [{ required: ["\ud800"] }, ".required[0]"],
      [{ $ref: "#/\ud800" }, ".$ref"],
      [{ properties: { "\ud800": {} } }, ".properties"],
      [{ patternProperties: { "\ud800": {} } }, ".patternProperties"],
      [{ $defs: { a: { anyOf: [{}, { enum: ["\ud800"] }] } } }, ".$defs.a.anyOf[1].enum[0]"],
      [{ items: { not: { pattern: "\ud800" } } }, ".items.not.pattern"],
      [{ dependentRequired: { a: ["\ud800"] } }, ".dependentRequired.a[0]"],
      [{ dependencies: { a: ["\ud800"] } }, ".dependencies.a[0]"],
    ];
    for (const [schema, path] of refused) {
      const format = { type: "json_schema", json_schema: { name: "a", schema } };
      const { status, body } = await post(app, "/v1/chat/completions", {
        model,
        messages: [user],
        response_format: format,
      });
      const param = `response_format.json_schema.schema${path}`;
      expect([status, body.error.param, body.error.code]).toEqual([400, param, "invalid_value"]);
      expect(body.error.message).toContain("lone surrogate");
    }
  });

  it("that make up a pair are a character", async () => {
    const { app, prompt } = await server();
    await post(app, "/v1/chat/completions", { model, messages: [{ role: "user", content: "\ud83d\ude00" }] });
    expect(prompt()).toContain("😀");
  });
});

describe("fields that are not known", () => {
  const asked = {
    "/v1/chat/completions": { model, messages: [user] },
    "/v1/completions": { model, prompt: "Hi" },
    "/v1/responses": { model, input: "Hi" },
    "/tokenize": { prompt: "Hi" },
    "/detokenize": { tokens: [1] },
  };
  const unknown: [url: keyof typeof asked, fields: object, param: string, name?: string][] = [
    ["/v1/chat/completions", { max_token: 5 }, "max_token"],
    ["/v1/chat/completions", { messages: [user, { ...user, cache: 1 }] }, "messages[1].cache", "messages[].cache"],
    ["/v1/chat/completions", { stream_options: { usage: true } }, "stream_options.usage"],
    ["/v1/chat/completions", { response_format: { type: "text", x: 1 } }, "response_format.x"],
    ["/v1/chat/completions", { structured_outputs: { regex: "a", rgx: "a" } }, "structured_outputs.rgx"],
    [
      "/v1/chat/completions",
      { tools: [{ type: "function", function: { name: "f", paramaters: {} } }] },
      "tools[0].function.paramaters",
      "tools[].function.paramaters",
    ],
    ["/v1/chat/completions", { reasoning: { efort: "low" } }, "reasoning.efort"],
    ["/v1/completions", { messages: [user] }, "messages"],
    ["/v1/responses", { max_tokens: 5 }, "max_tokens"],
    ["/v1/responses", { text: { form: "x" } }, "text.form"],
    ["/v1/responses", { tools: [{ type: "function", name: "f", params: {} }] }, "tools[0].params", "tools[].params"],
    ["/tokenize", { text: "a" }, "text"],
    ["/detokenize", { ids: [1] }, "ids"],
    ["/detokenize", { constructor: 1 }, "constructor"],
  ];

  it("have no effect, and the log hears of each once", async () => {
    const { app, warnings } = await server();
    for (const [url, given, param, name = param] of unknown) {
      for (let i = 0; i < 3; i++)
        expect([param, (await post(app, url, { ...asked[url], ...given })).status]).toEqual([param, 200]);
      expect(warnings.splice(0)).toEqual([[{ path: url, field: name }, expect.stringContaining("is not known")]]);
    }
  });

  it("are bounded in the log", async () => {
    const { app, warnings } = await server();
    for (let i = 0; i < 5; i++) {
      const many = Object.fromEntries(Array.from({ length: 100 }, (_, j) => [`${"x".repeat(1000)}${i}_${j}`, 1]));
      await post(app, "/detokenize", { ...asked["/detokenize"], ...many });
    }
    expect(warnings).toHaveLength(201);
    expect(warnings.at(-1)).toEqual([expect.stringContaining("further ones are left out")]);
    expect(Math.max(...warnings.map((line) => JSON.stringify(line).length))).toBeLessThan(300);
  });

  it("are refused by a strict server", async () => {
    const { app } = await server({ strictRequests: true });
    for (const [url, given, param] of unknown) {
      const { status, body } = await post(app, url, { ...asked[url], ...given });
      expect([status, body.error?.param, body.error?.code]).toEqual([400, param, "unknown_parameter"]);
    }
    // A null field counts as absent.
    expect((await post(app, "/detokenize", { tokens: [1], ids: null })).status).toBe(200);
  });

  it("are none of those that OpenAI's API has", async () => {
    const { app, warnings } = await server({ strictRequests: true });
    const common = { metadata: { a: "b" }, user: "u", service_tier: "auto", store: false };
    const ours = { ...common, safety_identifier: "s", prompt_cache_key: "k", prompt_cache_retention: "24h" };
    const chat = {
      ...ours,
      verbosity: "low",
      prediction: { type: "content", content: "x" },
      parallel_tool_calls: true,
      modalities: ["text"],
      web_search_options: {},
      stream_options: { include_usage: true, include_obfuscation: false },
      reasoning_effort: "low",
      logit_bias: { 1: 1 },
      tools: [
        { type: "function", function: { name: "f", description: "d", parameters: { type: "object" }, strict: true } },
      ],
      tool_choice: {
        type: "allowed_tools",
        allowed_tools: { mode: "auto", tools: [{ type: "function", function: { name: "f" } }] },
      },
      messages: [
        { role: "system", content: "s", name: "n" },
        { role: "user", content: [{ type: "text", text: "t" }] },
        {
          role: "assistant",
          content: null,
          refusal: null,
          annotations: [],
          audio: null,
          reasoning: "r",
          tool_calls: [{ id: "c", type: "function", index: 0, function: { name: "f", arguments: "{}" } }],
        },
        { role: "tool", tool_call_id: "c", content: "o" },
      ],
    };
    const respond = {
      ...ours,
      include: ["message.output_text.logprobs"],
      stream_options: { include_obfuscation: false },
      text: { verbosity: "low", format: { type: "text" } },
      reasoning: { effort: "low", summary: "auto" },
      tools: [{ type: "web_search", filters: { allowed_domains: ["a"] } }],
      truncation: "auto",
      max_tool_calls: 3,
      client_metadata: { "x-codex-turn-metadata": "{}" }, // of Codex, not of OpenAI's document
    };
    const told = async (url: keyof typeof asked, given: object) => {
      const { status, body } = await post(app, url, { ...asked[url], ...given });
      expect([url, status, body.error]).toEqual([url, 200, url === "/v1/responses" ? null : undefined]);
      return body;
    };
    const { choices } = await told("/v1/chat/completions", chat);
    // A client may send the server's answer back.
    await told("/v1/chat/completions", { messages: [user, choices[0].message, user] });
    const { output } = await told("/v1/responses", respond);
    await told("/v1/responses", { input: [user, ...output, user] });
    await told("/v1/completions", { ...common, safety_identifier: "s" });
    await told("/tokenize", { add_special_tokens: true, model });
    expect(warnings.filter(([line]) => "field" in line)).toEqual([]);
  });

  it("are not those that a schema checks", () => {
    const names = (schema: { properties: object }) => Object.keys(schema.properties);
    const all: [object: { properties: object }, known: Members][] = [
      [chatSchema, chatFields],
      [completionSchema, completionFields],
      [responseSchema, responseFields],
      [conversationSchema, tokenizeFields],
    ];
    for (const [schema, known] of all) expect(names(schema).filter((name) => !Object.hasOwn(known, name))).toEqual([]);
  });
});

describe("checkFields", () => {
  const check = (body: Record<string, unknown>, known: Members): string[] => {
    const unknown: string[] = [];
    checkFields(body, known, (param) => unknown.push(param));
    return unknown;
  };

  it("takes a million numbers in a moment, and a property named __proto__ as any other", () => {
    const started = performance.now();
    check({ prompt: Array.from({ length: 1_000_000 }, (_, id) => id) }, fields("any", "prompt"));
    expect(performance.now() - started).toBeLessThan(2000);
    const body = JSON.parse('{"a": {"__proto__": "\\ud800"}}');
    expect(check(body, fields("any", "a"))).toEqual([]);
    expect(Object.entries(body.a)).toEqual([["__proto__", "\ufffd"]]);
    expect(check(JSON.parse('{"__proto__": 1, "toString": 1}'), {})).toEqual(["__proto__", "toString"]);
  });

  it("refuses what belongs somewhere else, and says where", () => {
    expect(() => check({ a: 1 }, misplaced("a", "use b"))).toThrow("'a' is not supported here: use b");
    expect(check({ a: null }, misplaced("a", "use b"))).toEqual([]);
  });
});
