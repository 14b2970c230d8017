import type { FastifyInstance } from "fastify";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Engine } from "../../../lib/engine.js";
import { createServer } from "../../../lib/server/index.js";

/** Every 400 of the API names the field that caused it, by its exact path. */

let engine: Engine;
let app: FastifyInstance;
beforeAll(async () => {
  engine = await Engine.load("synthetic:wide", { backend: "cpu", threads: 1, contextLength: 2048 });
  app = await createServer({ engine, modelName: "gpt-oss-20b" });
});
afterAll(async () => {
  await app.close();
  await engine.close();
});

type Refusal = [fields: object, param: string | null, code?: string];

async function expectRefusals(url: string, base: object, refusals: readonly Refusal[]): Promise<void> {
  for (const [fields, param, code = "invalid_value"] of refusals) {
    const answer = await app.inject({ method: "POST", url, payload: { ...base, ...fields } });
    const { error } = answer.json();
    const asked = JSON.stringify(fields).slice(0, 200);
    expect([asked, answer.statusCode, error?.param, error?.code]).toEqual([asked, 400, param, code]);
    expect(error).toEqual({ message: expect.any(String), type: "invalid_request_error", param, code });
    // Messages use the request's names for fields, not the engine's.
    expect(error.message).not.toMatch(/constraint|topP|minTokens|maxTokens|logitBias|cacheSalt|must have required/);
  }
}

const user = { role: "user", content: "Hi" };
const unsupported = "unsupported_parameter";
const missing = "missing_required_parameter";
/** The grammar does not support look-behind. */
const lookBehind = { type: "string", pattern: "^(?<=a).*$" };
const deep = (levels: number) => JSON.parse(`${'{"a":'.repeat(levels)}1${"}".repeat(levels)}`);

const common: readonly Refusal[] = [
  [{ model: undefined }, "model"],
  [{ model: 7 }, "model"],
  [{ temperature: "1" }, "temperature"],
  [{ temperature: 2.1 }, "temperature"],
  [{ top_p: -0.1 }, "top_p"],
  [{ top_p: 1.1 }, "top_p"],
  [{ top_k: -2 }, "top_k"],
  [{ min_p: 2 }, "min_p"],
  [{ presence_penalty: 3 }, "presence_penalty"],
  [{ frequency_penalty: 3 }, "frequency_penalty"],
  [{ repetition_penalty: 0 }, "repetition_penalty"],
  [{ seed: 1.5 }, "seed"],
  [{ seed: 2 ** 64 }, "seed"],
  [{ seed: -(2 ** 64) }, "seed"],
  [{ n: 9 }, "n"],
  [{ stream: 1 }, "stream"],
  [{ stream_options: { include_usage: 1 } }, "stream_options.include_usage"],
  [{ stop: ["a", 1] }, "stop[1]"],
  [{ stop: ["a", "\ud800"] }, "stop[1]"],
  [{ stop_token_ids: [1, -1] }, "stop_token_ids[1]"],
  [{ logit_bias: { 1: 101 } }, "logit_bias[1]"],
  [{ logit_bias: { 999999: 1 } }, "logit_bias[999999]"],
  [{ logit_bias: { abc: 1 } }, "logit_bias.abc"],
  [{ logit_bias: { "-1": 1 } }, "logit_bias.-1"],
  [{ logit_bias: { "\ud800": 1 } }, "logit_bias"],
  [{ logit_bias: Object.fromEntries(Array.from({ length: 4097 }, (_, id) => [id, 1])) }, "logit_bias"],
  [{ min_tokens: 6, max_tokens: 5 }, "min_tokens"],
  [{ priority: 1001 }, "priority"],
  [{ cache_salt: "x".repeat(1025) }, "cache_salt"],
  [{ cache_salt: "\udfff" }, "cache_salt"],
  [{ structured_outputs: {} }, "structured_outputs"],
  [{ structured_outputs: { regex: 7 } }, "structured_outputs.regex"],
  [{ structured_outputs: { regex: "(?<=a)b" } }, "structured_outputs.regex"],
  [{ structured_outputs: { regex: "\ud800" } }, "structured_outputs.regex"],
  [{ structured_outputs: { choice: [] } }, "structured_outputs.choice"],
  [{ structured_outputs: { choice: ["a", "\ud800"] } }, "structured_outputs.choice[1]"],
  [{ structured_outputs: { json: 7 } }, "structured_outputs.json"],
  [{ structured_outputs: { json: lookBehind } }, "structured_outputs.json"],
  [{ structured_outputs: { grammar: "root ::= a" } }, "structured_outputs.grammar", unsupported],
  [{ structured_outputs: { json_object: true, regex: "a" } }, "structured_outputs.regex"],
  [{ guided_json: "{" }, "guided_json"],
  [{ guided_json: '{"enum": ["\\ud800"]}' }, "guided_json.enum[0]"],
  [{ guided_json: lookBehind }, "guided_json"],
  [{ guided_regex: "(?<=a)b" }, "guided_regex"],
  [{ guided_choice: [] }, "guided_choice"],
  [{ guided_choice: [1] }, "guided_choice[0]"],
  [{ guided_grammar: "root ::= a" }, "guided_grammar", unsupported],
  [{ guided_json: {}, guided_regex: "a" }, "guided_regex"],
  [{ response_format: { type: "json_object" }, guided_regex: "a" }, "guided_regex"],
  [{ response_format: "json" }, "response_format"],
  [{ response_format: {} }, "response_format.type"],
  [{ response_format: { type: "xml" } }, "response_format.type"],
  [{ response_format: { type: "json_schema" } }, "response_format.json_schema.schema", missing],
  [{ response_format: { type: "json_schema", json_schema: "x" } }, "response_format.json_schema"],
  [{ response_format: { type: "json_schema", json_schema: { schema: 1 } } }, "response_format.json_schema.schema"],
  [
    { response_format: { type: "json_schema", json_schema: { schema: {}, name: "a\nb" } } },
    "response_format.json_schema.name",
  ],
  [
    { response_format: { type: "json_schema", json_schema: { schema: {}, description: 1 } } },
    "response_format.json_schema.description",
  ],
  [
    { response_format: { type: "json_schema", json_schema: { schema: {}, strict: "yes" } } },
    "response_format.json_schema.strict",
  ],
  [
    { response_format: { type: "json_schema", json_schema: { schema: lookBehind, strict: true } } },
    "response_format.json_schema.schema",
  ],
  [{ response_format: { type: "json_schema", schema: lookBehind, strict: true } }, "response_format.schema"],
  [
    { response_format: { type: "json_schema", schema: {}, json_schema: { schema: {} } } },
    "response_format.schema",
    unsupported,
  ],
  [{ response_format: { type: "text", schema: {} } }, "response_format.schema", unsupported],
  [{ response_format: { type: "text", json_schema: { schema: {} } } }, "response_format.json_schema", unsupported],
  [
    { response_format: { type: "json_object", json_schema: { schema: {} } } },
    "response_format.json_schema",
    unsupported,
  ],
  [{ json_schema: { type: "object" } }, "json_schema", unsupported],
  [{ schema: { type: "object" } }, "schema", unsupported],
  [{ format: "json" }, "format", unsupported],
  [{ grammar: "root ::= a" }, "grammar", unsupported],
  [{ regex: "a" }, "regex", unsupported],
  [{ metadata: { a: "\ud800" } }, "metadata.a"],
  [{ metadata: { "\ud800": "a" } }, "metadata"],
  [{ user: "\ud800" }, "user"],
  [{ max_tokens: 0 }, "max_tokens"],
  [{ max_tokens: 2048 }, "max_tokens", "context_length_exceeded"],
  [{ something: deep(200) }, "something.a.a"],
];

describe("a refused chat completion names", () => {
  const chat = (refusals: readonly Refusal[]) =>
    expectRefusals("/v1/chat/completions", { model: "gpt-oss-20b", messages: [user] }, refusals);

  it("a field that it has in common with completions", () => chat(common));

  it("a field of a message", () =>
    chat([
      [{ messages: undefined }, "messages"],
      [{ messages: [] }, "messages"],
      [{ messages: "Hi" }, "messages"],
      [{ messages: [user, "Hi"] }, "messages[1]"],
      [{ messages: [{ content: "Hi" }] }, "messages[0].role"],
      [{ messages: [{ role: "narrator", content: "Hi" }] }, "messages[0].role"],
      [{ messages: [{ role: "user" }] }, "messages[0].content"],
      [{ messages: [{ role: "user", content: 7 }] }, "messages[0].content"],
      [{ messages: [{ role: "user", content: [{ type: "text", text: 1 }] }] }, "messages[0].content[0].text"],
      [
        { messages: [{ role: "user", content: [{ type: "text", text: "a" }, { type: "image_url" }] }] },
        "messages[0].content[1].type",
        unsupported,
      ],
      [{ messages: [{ role: "user", content: "a", name: 1 }] }, "messages[0].name"],
      [{ messages: [{ role: "user", content: "a", name: "\ud800" }] }, "messages[0].name"],
      [{ messages: [user, { role: "tool", content: "x" }] }, "messages[1].tool_call_id"],
      [{ messages: [user, { role: "tool", content: "x", tool_call_id: "y" }] }, "messages[1].tool_call_id"],
      [{ messages: [user, { role: "tool", content: "x", tool_call_id: "\ud800" }] }, "messages[1].tool_call_id"],
      [{ messages: [user, { role: "tool", content: "x", name: "a b" }] }, "messages[1].name"],
      [{ messages: [user, { role: "function", content: "x" }] }, "messages[1].name"],
      [{ messages: [user, { role: "assistant", tool_calls: {} }] }, "messages[1].tool_calls"],
      [{ messages: [user, { role: "assistant", tool_calls: [{}] }] }, "messages[1].tool_calls[0].function.name"],
      [
        { messages: [user, { role: "assistant", tool_calls: [{ function: { name: "\ud800" } }] }] },
        "messages[1].tool_calls[0].function.name",
      ],
      [
        { messages: [user, { role: "assistant", tool_calls: [{ id: 1, function: { name: "f" } }] }] },
        "messages[1].tool_calls[0].id",
      ],
      [
        { messages: [user, { role: "assistant", tool_calls: [{ function: { name: "f", arguments: 1 } }] }] },
        "messages[1].tool_calls[0].function.arguments",
      ],
      [
        // Empty instructions are not a message for the model, but they are one of the request.
        {
          messages: [
            { role: "system", content: "" },
            user,
            { role: "assistant", tool_calls: [{ function: { name: "f", arguments: [] } }] },
          ],
        },
        "messages[2].tool_calls[0].function.arguments",
      ],
      [{ messages: [user, { role: "assistant", function_call: { name: 1 } }] }, "messages[1].function_call.name"],
      [{ messages: [user, { role: "assistant", content: "a", reasoning: 1 }] }, "messages[1].reasoning"],
      [{ messages: [user, { role: "assistant", refusal: 1 }] }, "messages[1].refusal"],
      [{ messages: [{ role: "user", content: "word ".repeat(3000) }] }, "messages", "context_length_exceeded"],
      [
        { messages: [{ role: "user", content: "word ".repeat(3000) }], max_tokens: 2 },
        "messages",
        "context_length_exceeded",
      ],
    ]));

  it("a field of a tool or of the choice among tools", () => {
    const tool = (fields: object) => ({ type: "function", function: { name: "f", ...fields } });
    const choice = (tool_choice: unknown) => ({ tools: [tool({})], tool_choice });
    return chat([
      [{ tools: {} }, "tools"],
      [{ tools: [null] }, "tools[0]"],
      [{ tools: [{ function: { name: "f" } }] }, "tools[0].type", missing],
      [{ tools: [{ type: "web_search" }] }, "tools[0].type", unsupported],
      [{ tools: [{ type: "function" }] }, "tools[0].function", missing],
      [{ tools: [{ type: "function", name: "f" }] }, "tools[0].function", missing],
      [{ tools: [tool({ name: "two words" })] }, "tools[0].function.name"],
      [{ tools: [tool({ name: "\ud800" })] }, "tools[0].function.name"],
      [{ tools: [tool({}), tool({})] }, "tools[1].function.name"],
      [{ tools: [tool({ description: 1 })] }, "tools[0].function.description"],
      [{ tools: [tool({ parameters: 1 })] }, "tools[0].function.parameters"],
      [{ tools: [tool({ strict: "yes" })] }, "tools[0].function.strict"],
      [
        {
          tools: [
            tool({ name: "g" }),
            tool({ strict: true, parameters: { type: "object", properties: { a: lookBehind } } }),
          ],
        },
        "tools[1].function.parameters",
      ],
      [
        { tools: [tool({ parameters: { type: "object", properties: { a: { enum: ["\ud800"] } } } })] },
        "tools[0].function.parameters.properties.a.enum[0]",
      ],
      [
        { tools: [tool({ parameters: { type: "object", properties: { "\ud800": {} } } })] },
        "tools[0].function.parameters.properties",
      ],
      [{ tools: [tool({ parameters: deep(150) })] }, "tools[0].function"],
      [
        { tools: Array.from({ length: 1025 }, (_, i) => tool({ name: `f${i}` })) }, // at most 1,024 are allowed
        "tools",
        "invalid_value",
      ],
      [{ tool_choice: "required" }, "tool_choice"],
      [choice("any"), "tool_choice"],
      [choice("\ud800"), "tool_choice"],
      [choice({}), "tool_choice.type", missing],
      [choice({ type: "web_search" }), "tool_choice.type", unsupported],
      [choice({ type: "function" }), "tool_choice.function.name", missing],
      [choice({ type: "function", function: { name: "g" } }), "tool_choice.function.name"],
      [choice({ type: "function", name: "g" }), "tool_choice.name"],
      [choice({ type: "allowed_tools" }), "tool_choice.tools", missing],
      [choice({ type: "allowed_tools", tools: [{ name: "f" }], mode: "all" }), "tool_choice.mode"],
      [choice({ type: "allowed_tools", allowed_tools: { tools: [] } }), "tool_choice.allowed_tools.tools"],
      [
        choice({ type: "allowed_tools", allowed_tools: { mode: "auto", tools: [{ function: { name: "g" } }] } }),
        "tool_choice.allowed_tools.tools[0].function.name",
      ],
    ]);
  });

  it("any other field", () =>
    chat([
      [{ max_completion_tokens: 0 }, "max_completion_tokens"],
      [{ max_completion_tokens: 2048 }, "max_completion_tokens", "context_length_exceeded"],
      [{ min_tokens: 6, max_completion_tokens: 5 }, "min_tokens"],
      [{ top_logprobs: 2 }, "top_logprobs"],
      [{ logprobs: true, top_logprobs: 21 }, "top_logprobs"],
      [{ logprobs: 3 }, "logprobs"],
      [{ prompt_logprobs: 1, stream: true }, "prompt_logprobs", unsupported],
      [{ prompt_logprobs: 21 }, "prompt_logprobs"],
      [{ reasoning_effort: "extreme" }, "reasoning_effort"],
      [{ reasoning: { effort: "extreme" } }, "reasoning.effort"],
      [{ reasoning: { max_tokens: -1 } }, "reasoning.max_tokens"],
      [{ reasoning: { max_tokens: 2 ** 40 } }, "reasoning.max_tokens"],
      [{ chat_template_kwargs: { reasoning_effort: 7 } }, "chat_template_kwargs.reasoning_effort"],
      [{ chat_template_kwargs: { model_identity: 7 } }, "chat_template_kwargs.model_identity"],
      [{ include_reasoning: "no" }, "include_reasoning"],
      [{ modalities: "text" }, "modalities"],
      [{ modalities: ["text", "audio"] }, "modalities", unsupported],
      [{ text: { format: { type: "json_object" } } }, "text", unsupported],
    ]));
});

describe("a refused completion names", () => {
  const complete = (refusals: readonly Refusal[]) =>
    expectRefusals("/v1/completions", { model: "gpt-oss-20b", prompt: "Hi" }, refusals);

  it("a field that it has in common with chat completions", () =>
    // The prompt does not contain its schema, so nothing is relaxed.
    complete([
      ...common,
      [{ response_format: { type: "json_schema", schema: lookBehind } }, "response_format.schema"],
    ]));

  it("any other field", () =>
    complete([
      [{ prompt: undefined }, "prompt"],
      [{ prompt: 7 }, "prompt"],
      [{ prompt: [] }, "prompt"],
      [{ prompt: "" }, "prompt"],
      [{ prompt: ["a", ""] }, "prompt[1]"],
      [{ prompt: ["a", 7] }, "prompt[1]"],
      [{ prompt: [1, "x"] }, "prompt[1]"],
      [{ prompt: [[1], [1, 999_999]] }, "prompt[1][1]"],
      [{ prompt: Array(129).fill("a") }, "prompt"],
      [{ prompt: "word ".repeat(3000) }, "prompt", "context_length_exceeded"],
      [{ prompt: ["a", "word ".repeat(3000)] }, "prompt[1]", "context_length_exceeded"],
      [{ logprobs: 21 }, "logprobs"],
      [{ suffix: "end" }, "suffix", unsupported],
      [{ best_of: 3 }, "best_of", unsupported],
      [{ prompt_logprobs: 1, stream: true }, "prompt_logprobs", unsupported],
      [{ prompt_logprobs: true }, "prompt_logprobs"],
      [{ echo: 1 }, "echo"],
      [{ guided_regex: "a", stop_token_ids: [1] }, "stop_token_ids"],
      [{ guided_regex: "a", ignore_eos: true }, "ignore_eos"],
      [{ parse_special: 1 }, "parse_special"],
      [{ skip_special_tokens: 1 }, "skip_special_tokens"],
      [{ return_tokens_as_token_ids: 1 }, "return_tokens_as_token_ids"],
    ]));
});

describe("a refused response names", () => {
  const respond = (refusals: readonly Refusal[]) =>
    expectRefusals("/v1/responses", { model: "gpt-oss-20b", input: "Hi" }, refusals);

  it("a field of the format", () => {
    const format = (format: unknown) => ({ text: { format } });
    const schema = (fields: object) => format({ type: "json_schema", name: "a", schema: {}, ...fields });
    return respond([
      [{ text: "json" }, "text"],
      [{ text: { verbosity: "loud" } }, "text.verbosity"],
      [format("json"), "text.format"],
      [format({}), "text.format.type", missing],
      [format({ type: "xml" }), "text.format.type"],
      [schema({ name: undefined }), "text.format.name", missing],
      [schema({ name: "a b" }), "text.format.name"],
      [schema({ schema: undefined }), "text.format.schema", missing],
      [schema({ schema: 1 }), "text.format.schema"],
      [schema({ description: 1 }), "text.format.description"],
      [schema({ strict: 1 }), "text.format.strict"],
      [schema({ schema: lookBehind, strict: true }), "text.format.schema"],
      [schema({ schema: { const: "\ud800" } }), "text.format.schema.const"],
      [format({ type: "json_schema", json_schema: { name: "a", schema: {} } }), "text.format.json_schema", unsupported],
      [format({ type: "text", schema: {} }), "text.format.schema", unsupported],
      [{ text: { schema: {} } }, "text.schema", unsupported],
      [{ response_format: { type: "json_object" } }, "response_format", unsupported],
      [{ guided_json: {} }, "guided_json", unsupported],
      [{ structured_outputs: { regex: "a" } }, "structured_outputs", unsupported],
      [{ json_schema: {} }, "json_schema", unsupported],
    ]);
  });

  it("a field of a tool or of the choice among tools", () => {
    const tool = (fields: object) => ({ type: "function", name: "f", ...fields });
    const choice = (tool_choice: unknown) => ({ tools: [tool({})], tool_choice });
    return respond([
      [{ tools: {} }, "tools"],
      [{ tools: [7] }, "tools[0]"],
      [{ tools: [{ name: "f" }] }, "tools[0].type", missing],
      [{ tools: [tool({ name: "a b" })] }, "tools[0].name"],
      [{ tools: [tool({ name: "\ud800" })] }, "tools[0].name"],
      [{ tools: [tool({}), tool({})] }, "tools[1].name"],
      [{ tools: [tool({ description: 1 })] }, "tools[0].description"],
      [{ tools: [tool({ parameters: 1 })] }, "tools[0].parameters"],
      [{ tools: [tool({ strict: 1 })] }, "tools[0].strict"],
      [
        // The index is the request's: hosted tools count.
        {
          tools: [
            { type: "web_search" },
            tool({ strict: true, parameters: { type: "object", properties: { a: lookBehind } } }),
          ],
        },
        "tools[1].parameters",
      ],
      [
        { tools: [tool({ parameters: { properties: { a: { pattern: "\udc00" } } } })] },
        "tools[0].parameters.properties.a.pattern",
      ],
      [{ tool_choice: "required" }, "tool_choice"],
      [choice({}), "tool_choice.type", missing],
      [choice({ type: "function" }), "tool_choice.name", missing],
      [choice({ type: "function", function: { name: "g" } }), "tool_choice.function.name"],
      [choice({ type: "allowed_tools" }), "tool_choice.tools", missing],
      [choice("always"), "tool_choice"],
      [choice({ type: "function", name: "g" }), "tool_choice.name"],
      [choice({ type: "web_search" }), "tool_choice.type", unsupported],
      [choice({ type: "allowed_tools", mode: "all" }), "tool_choice.mode"],
      [choice({ type: "allowed_tools", mode: "auto", tools: [] }), "tool_choice.tools"],
      [
        choice({ type: "allowed_tools", mode: "auto", tools: [{ type: "function", name: "g" }] }),
        "tool_choice.tools[0].name",
      ],
    ]);
  });

  it("any other field", () =>
    respond([
      [{ model: undefined }, "model"],
      [{ model: "\ud800" }, "model"],
      [{ input: undefined }, "input", missing],
      [{ input: 5 }, "input"],
      [{ input: "word ".repeat(3000) }, "input", "context_length_exceeded"],
      [{ input: [{ role: "user", content: [{ type: "input_image" }] }] }, "input[0].content[0].type", unsupported],
      [{ input: [{ type: "function_call", call_id: "\ud800", name: "f", arguments: "{}" }] }, "input[0].call_id"],
      [{ input: [{ type: "function_call", call_id: "c", name: "\ud800", arguments: "{}" }] }, "input[0].name"],
      [{ input: [{ role: "user", content: "a", id: "\ud800" }] }, "input[0].id"],
      [
        // Truncation drops the call with its turn and keeps its result, whose place in the request is then unknown.
        {
          truncation: "auto",
          input: [
            { role: "user", content: "word ".repeat(2000) },
            { type: "function_call", call_id: "c", name: "f", arguments: "{}" },
            { role: "user", content: "word ".repeat(100) },
            { type: "function_call_output", call_id: "c", output: "o" },
          ],
        },
        "input",
      ],
      [{ instructions: 1 }, "instructions"],
      [{ max_output_tokens: 0 }, "max_output_tokens"],
      [{ max_output_tokens: 2048 }, "max_output_tokens", "context_length_exceeded"],
      [{ temperature: 3 }, "temperature"],
      [{ top_p: -0.1 }, "top_p"],
      [{ top_logprobs: 21 }, "top_logprobs"],
      [{ seed: 1.5 }, "seed"],
      [{ seed: 2 ** 64 }, "seed"],
      [{ reasoning: { effort: "extreme" } }, "reasoning.effort"],
      [{ truncation: "some" }, "truncation"],
      [{ include: [1] }, "include[0]"],
      [{ include: ["message.output_text.logprobs", "bogus"] }, "include[1]"],
      [{ reasoning: { max_tokens: -1 } }, "reasoning.max_tokens"],
      [{ reasoning: { max_tokens: 1.5 } }, "reasoning.max_tokens"],
      [{ reasoning: { max_tokens: 2 ** 40 } }, "reasoning.max_tokens"],
      [{ metadata: { a: 1 } }, "metadata.a"],
      [{ metadata: { a: "\ud800" } }, "metadata.a"],
      [{ metadata: { ["x".repeat(65)]: "a" } }, `metadata.${"x".repeat(65)}`],
      [{ metadata: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`k${i}`, "v"])) }, "metadata"],
      [{ user: "\ud800" }, "user"],
      [{ background: true, store: false }, "background"],
      [{ conversation: 5 }, "conversation"],
      [{ conversation: { id: "\ud800" } }, "conversation.id"],
      [{ prompt: { id: "p" } }, "prompt", unsupported],
    ]));
});

describe("refused work on tokens names", () => {
  it("a field of /tokenize", () =>
    expectRefusals("/tokenize", {}, [
      [{}, "prompt"],
      [{ prompt: 7 }, "prompt"],
      [{ prompt: "a", messages: [user] }, "prompt"],
      [{ messages: [] }, "messages"],
      [{ messages: [{ role: "user", content: [{ type: "image_url" }] }] }, "messages[0].content[0].type", unsupported],
      [{ messages: [user], continue_final_message: true }, "messages[0].role"],
      [{ messages: [user], continue_final_message: 1 }, "continue_final_message"],
      [{ messages: [user], tools: [{ type: "function", function: { name: "a b" } }] }, "tools[0].function.name"],
      [{ messages: [user], cache_salt: "\ud800" }, "cache_salt"],
      [{ messages: [user], response_format: { type: "xml" } }, "response_format.type"],
      [{ prompt: "a", parse_special: 1 }, "parse_special"],
    ]));

  it("a field of /detokenize", () =>
    expectRefusals("/detokenize", {}, [
      [{}, "tokens"],
      [{ tokens: "a" }, "tokens"],
      [{ tokens: [1, "x"] }, "tokens[1]"],
      [{ tokens: [-1] }, "tokens[0]"],
    ]));
});

describe("a refused list of allowed tools", () => {
  it("is called empty where it is empty", async () => {
    const tools = [{ type: "function", name: "f" }];
    const tool_choice = { type: "allowed_tools", mode: "auto", tools: [] };
    const payload = { model: "gpt-oss-20b", input: "Hi", tools, tool_choice };
    const { error } = (await app.inject({ method: "POST", url: "/v1/responses", payload })).json();
    expect(error.message).toBe("'tool_choice.tools' is empty: name at least one tool.");
  });
});

describe("whatever stands in the place of any value of a request", () => {
  const parameters = { type: "object", properties: { a: { type: "string", enum: ["x"] } }, required: ["a"] };
  const requests: [url: string, body: object][] = [
    [
      "/v1/chat/completions",
      {
        messages: [
          { role: "user", content: [{ type: "text", text: "t" }], name: "n" },
          {
            role: "assistant",
            reasoning: "r",
            tool_calls: [{ id: "c", type: "function", function: { name: "f", arguments: "{}" } }],
          },
          { role: "tool", tool_call_id: "c", content: "o" },
        ],
        tools: [{ type: "function", function: { name: "f", description: "d", strict: true, parameters } }],
        tool_choice: { type: "function", function: { name: "f" } },
        response_format: { type: "json_schema", json_schema: { name: "a", strict: true, schema: parameters } },
        logit_bias: { 1: 1 },
        reasoning: { effort: "low", max_tokens: 1 },
        chat_template_kwargs: { model_identity: "x" },
        metadata: { a: "b" },
      },
    ],
    [
      "/v1/completions",
      {
        prompt: ["a", "b"],
        structured_outputs: { json: parameters },
        stop: ["a"],
        stop_token_ids: [300],
        cache_salt: "s",
      },
    ],
    [
      "/v1/responses",
      {
        input: [
          { role: "user", content: [{ type: "input_text", text: "t" }] },
          { type: "reasoning", summary: [{ type: "summary_text", text: "x" }] },
          { type: "function_call", call_id: "c", name: "f", arguments: "{}" },
          { type: "function_call_output", call_id: "c", output: "o" },
        ],
        tools: [{ type: "web_search" }, { type: "function", name: "f", strict: true, parameters }],
        tool_choice: { type: "function", name: "f" },
        text: { format: { type: "json_schema", name: "a", schema: parameters, strict: true }, verbosity: "low" },
        reasoning: { effort: "low", summary: "auto" },
      },
    ],
  ];
  const values = [null, true, -1, 1.5, "", "\ud800", "a b", [], {}, [null], ["a"], { type: "x" }, { "\ud800": 1 }];

  it.each(requests)(
    "of %s, it is taken, or refused with 400 and a field",
    async (url, fields) => {
      const body = {
        model: "gpt-oss-20b",
        [url === "/v1/responses" ? "max_output_tokens" : "max_tokens"]: 1,
        ...fields,
      };
      for (const path of pathsOf(body)) {
        for (const value of values) {
          const answer = await app.inject({ method: "POST", url, payload: replaced(body, path, value) });
          const { error } = answer.json();
          const told = [path.join("."), value, answer.statusCode, typeof error?.param];
          const expected = answer.statusCode === 200 ? [200, typeof error?.param] : [400, "string"];
          // An unknown model name gets 404.
          if (path[0] !== "model") expect(told).toEqual([path.join("."), value, ...expected]);
        }
      }
    },
    120_000,
  );
});

function pathsOf(value: unknown, path: string[] = []): string[][] {
  if (typeof value !== "object" || value === null) return [path];
  const below = Object.entries(value).flatMap(([name, member]) => pathsOf(member, [...path, name]));
  return path.length > 0 ? [path, ...below] : below;
}

function replaced(body: object, path: readonly string[], value: unknown): object {
  const copy: Record<string, unknown> = structuredClone(body) as Record<string, unknown>;
  const holder = path.slice(0, -1).reduce((at, name) => at[name] as Record<string, unknown>, copy);
  holder[path.at(-1)!] = value;
  return copy;
}
