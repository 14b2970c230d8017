/** Harmful requests over all routes: each is large, deep or has many parts. */

export interface HostileRequest {
  name: string;
  method: "GET" | "POST" | "DELETE" | "OPTIONS";
  path: string;
  headers?: Record<string, string>;
  /** A text is sent as it is, any other value as JSON. Called when the request is sent. */
  body?: () => unknown;
  /**
   * The number of earlier requests of the chain. Each continues the response before it; only the last request is
   * measured.
   */
  chain?: number;
}

/** Returns the body of a request that continues a response. */
export function continued(body: unknown, previousId: string | null): unknown {
  return previousId === null ? body : { ...(body as object), previous_response_id: previousId };
}

/** The size of a table. `scale` 1: as large as the server accepts; a test sends the same requests, smaller. */
export interface Scale {
  scale: number;
}

/** The name of the model in all requests. */
export const servedModel = "served";

/** True for bodies that are sent unchanged. */
export function isText(body: unknown): body is string | Buffer {
  return typeof body === "string" || Buffer.isBuffer(body);
}

const chat = "/v1/chat/completions";
const completions = "/v1/completions";
const responses = "/v1/responses";

export function hostileRequests({ scale }: Scale): HostileRequest[] {
  const many = (count: number) => Math.max(2, Math.ceil(count * scale));
  const list = <T>(count: number, make: (index: number) => T): T[] =>
    Array.from({ length: many(count) }, (_, i) => make(i));
  const text = (piece: string, bytes: number) => piece.repeat(many(bytes / piece.length));
  const user = (content: unknown) => ({ messages: [{ role: "user", content }], max_tokens: 1 });
  const post = (name: string, path: string, body: () => unknown, headers?: Record<string, string>): HostileRequest => ({
    name,
    method: "POST",
    path,
    body: () => {
      const made = body();
      return isText(made) ? made : { model: servedModel, ...(made as object) };
    },
    ...(headers && { headers }),
  });
  const schema = (name: string, made: () => unknown): HostileRequest[] => [
    post(`schema as a format: ${name}`, chat, () => ({ ...user("x"), ...format(made()) })),
    post(`schema of a tool: ${name}`, chat, () => ({ ...user("x"), tools: [tool("f", made())] })),
    post(`schema of a strict tool: ${name}`, chat, () => ({ ...user("x"), tools: [tool("f", made(), true)] })),
  ];
  const nested = (open: string, close: string, levels: number) => `${open.repeat(levels)}1${close.repeat(levels)}`;

  return [
    // Text
    post("30 MB of blanks in a chat", chat, () => user(text(" ", 30e6))),
    post("30 MB of letters in a chat", chat, () => user(text("a", 30e6))),
    post("30 MB of lines in a chat", chat, () => user(text("\n", 15e6))),
    post("10 MB of lone surrogates in a chat", chat, () => user(text("\ud800", 2e6))),
    post("30 MB of blanks in a completion", completions, () => ({ prompt: text(" ", 30e6), max_tokens: 1 })),
    post("30 MB of letters in an input", responses, () => ({ input: text("ab", 30e6), max_output_tokens: 1 })),
    post("30 MB of instructions", responses, () => ({ input: "x", instructions: text("a ", 30e6) })),
    post("30 MB of blanks after the JSON", chat, () => `${JSON.stringify(user("x"))}${text(" ", 30e6)}`),
    post("a model name of 30 MB", chat, () => ({ ...user("x"), model: text("m", 30e6) })),
    post("a user name of 30 MB", chat, () => ({ ...user("x"), user: text("u", 30e6) })),
    // Messages and items
    post("250,000 messages", chat, () => ({ messages: list(150_000, () => ({ role: "user", content: "x" })) })),
    post("170,000 messages of every role", chat, () => ({
      messages: list(120_000, (i) => ({ role: ["user", "assistant", "system"][i % 3], content: "x" })),
    })),
    post("16,000 messages", chat, () => ({ messages: list(16_000, () => ({ role: "user", content: "x" })) })),
    post("16,000 parts of one message", chat, () => user(list(16_000, () => ({ type: "text", text: "x" })))),
    post("100,000 empty messages", chat, () => ({ messages: list(100_000, () => ({ role: "system", content: "" })) })),
    post("100,000 parts of one message", chat, () => user(list(100_000, () => ({ type: "text", text: "" })))),
    post("100,000 images", chat, () => user(list(100_000, () => ({ type: "image_url", image_url: { url: "x" } })))),
    post("100,000 calls in one message", chat, () => ({
      messages: [
        { role: "user", content: "x" },
        {
          role: "assistant",
          tool_calls: list(60_000, (i) => ({
            id: `c${i}`,
            type: "function",
            function: { name: "f", arguments: "{}" },
          })),
        },
      ],
    })),
    post("16,000 items, truncation auto", responses, () => ({
      input: list(16_000, (i) => ({ role: i % 2 ? "assistant" : "user", content: "x" })),
      truncation: "auto",
      max_output_tokens: 1,
    })),
    post("4,000 calls", responses, () => ({
      input: list(4000, (i) => ({ type: "function_call", call_id: `c${i}`, name: "f", arguments: "{}" })),
      max_output_tokens: 1,
    })),
    post("100,000 items, truncation auto", responses, () => ({
      input: list(100_000, (i) => ({ role: i % 2 ? "assistant" : "user", content: "x" })),
      truncation: "auto",
      max_output_tokens: 1,
    })),
    {
      ...post("the end of a chain of 400 responses", responses, () => ({ input: "x", max_output_tokens: 1 })),
      chain: many(400),
    },
    post("100,000 reasoning items", responses, () => ({
      input: list(100_000, () => ({ type: "reasoning", summary: [] })),
    })),
    post("100,000 calls without their results", responses, () => ({
      input: list(60_000, (i) => ({ type: "function_call", call_id: `c${i}`, name: "f", arguments: "{}" })),
      truncation: "auto",
    })),
    post("100,000 items of made-up types", responses, () => ({ input: list(100_000, (i) => ({ type: `t${i}` })) })),
    post("100,000 references", responses, () => ({
      input: list(100_000, (i) => ({ type: "item_reference", id: `msg_${i}` })),
    })),
    // Tools
    post("4,000 tools", chat, () => ({ ...user("x"), tools: list(4000, (i) => tool(`f${i}`, {})) })),
    post("100,000 tools", chat, () => ({ ...user("x"), tools: list(60_000, (i) => tool(`f${i}`, null)) })),
    post("300,000 made-up tool types", responses, () => ({
      input: "x",
      tools: list(250_000, (i) => ({ type: `made_up_${i}` })),
      max_output_tokens: 1,
    })),
    post("a tool type of 10 MB", responses, () => ({ input: "x", tools: [{ type: text("t", 10e6) }] })),
    post("a tool description of 30 MB", chat, () => ({
      ...user("x"),
      tools: [{ type: "function", function: { name: "f", description: text("\n", 15e6) } }],
    })),
    post("a tool name of 10 MB", chat, () => ({ ...user("x"), tools: [tool(text("f", 10e6), {})] })),
    post("100,000 allowed tools", responses, () => ({
      input: "x",
      tools: [{ type: "function", name: "f", parameters: {} }],
      tool_choice: {
        type: "allowed_tools",
        mode: "auto",
        tools: list(100_000, () => ({ type: "function", name: "f" })),
      },
    })),
    // Schemas
    ...schema("2^n merges", () => ({
      $defs: Object.fromEntries(
        list(40, (i) => [`d${i}`, i === 0 ? { type: "string" } : { allOf: [ref(i - 1), ref(i - 1)] }]),
      ),
      type: "object",
      properties: { x: ref(many(40) - 1) },
    })),
    ...schema("1,000 times one $ref in allOf", () => ({
      $defs: { d0: { type: "object", properties: { a: { type: "string" } } } },
      type: "object",
      allOf: list(1000, () => ref(0)),
    })),
    ...schema("a chain of 19,000 $refs", () => ({
      $defs: Object.fromEntries(list(19_000, (i) => [`d${i}`, i === 0 ? { type: "string" } : ref(i - 1)])),
      type: "object",
      properties: { x: ref(many(19_000) - 1) },
    })),
    ...schema("a chain of 12,000 $refs", () => ({
      $defs: Object.fromEntries(list(12_000, (i) => [`d${i}`, i === 0 ? { type: "string" } : ref(i - 1)])),
      type: "object",
      properties: { x: ref(many(12_000) - 1) },
    })),
    ...schema("338 KB of merged required", () => ({
      type: "object",
      allOf: list(40, () => ({ required: list(2000, (i) => `p${i}`) })),
    })),
    ...schema("4,000 consts in oneOf", () => ({
      type: "object",
      properties: { x: { oneOf: list(4000, (i) => ({ const: i })) } },
    })),
    ...schema("a union of 1,000 objects", () => ({
      type: "object",
      properties: {
        x: {
          oneOf: list(1000, (i) => ({ type: "object", properties: { k: { const: i } }, required: ["k"] })),
        },
      },
    })),
    ...schema("50,000 required names", () => ({ type: "object", required: list(50_000, (i) => `p${i}`) })),
    ...schema("an enum of 100,000", () => ({
      type: "object",
      properties: { x: { enum: list(100_000, (i) => `value ${i}`) } },
    })),
    ...schema("12,000 properties", () => ({
      type: "object",
      properties: Object.fromEntries(list(12_000, (i) => [`p${i}`, { type: "null" }])),
    })),
    ...schema("an enum of 60,000", () => ({
      type: "object",
      properties: { x: { enum: list(60_000, (i) => `value ${i}`) } },
    })),
    ...schema("100,000 properties", () => ({
      type: "object",
      properties: Object.fromEntries(list(100_000, (i) => [`p${i}`, { type: "null" }])),
    })),
    ...schema("a deep one", () => ({ type: "object", properties: { x: JSON.parse(nested('{"items":', "}", 100)) } })),
    ...schema("a costly pattern", () => ({
      type: "object",
      properties: { x: { type: "string", pattern: `.*[a-mA-M .,].{${many(2000)}}` } },
      required: ["x"],
    })),
    ...schema("many patterns", () => ({
      type: "object",
      properties: Object.fromEntries(
        list(1000, (i) => [`p${i}`, { type: "string", pattern: `^(a|b){1,${i + 1}}[^x]{0,200}$` }]),
      ),
    })),
    ...schema("a pattern of 1 MB", () => ({
      type: "object",
      properties: { x: { type: "string", pattern: text("(a|b)?", 1e6) } },
    })),
    ...schema("counts of 10^9", () => ({
      type: "object",
      properties: {
        x: { type: "array", minItems: 1e9, items: { type: "string", maxLength: 1e9, pattern: "^(ab){1,9}" } },
      },
      minProperties: 1e9,
    })),
    ...schema("numbers of many digits", () => ({
      type: "object",
      properties: { x: { type: "number", minimum: Number(`-${"9".repeat(300)}`), multipleOf: 1e-300 } },
    })),
    post("structured outputs: 65,000 choices", completions, () => ({
      prompt: "x",
      max_tokens: 1,
      structured_outputs: { choice: list(65_000, (i) => `choice ${i}`) },
    })),
    post("structured outputs: 400,000 choices", completions, () => ({
      prompt: "x",
      max_tokens: 1,
      structured_outputs: { choice: list(400_000, (i) => `c${i}`) },
    })),
    post("structured outputs: a regex of 10 MB", completions, () => ({
      prompt: "x",
      max_tokens: 1,
      structured_outputs: { regex: text("[a-z]", 10e6) },
    })),
    post("structured outputs: a costly regex", completions, () => ({
      prompt: "x",
      max_tokens: 50,
      structured_outputs: { regex: `.*[a-mA-M .,].{${many(2000)}}` },
    })),
    post("structured outputs: a schema of 10 MB", completions, () => ({
      prompt: "x",
      max_tokens: 1,
      structured_outputs: { json: { type: "string", enum: list(250_000, (i) => `a value of the enumeration ${i}`) } },
    })),
    post("a format with a description of 10 MB", chat, () => ({
      ...user("x"),
      response_format: {
        type: "json_schema",
        json_schema: { name: "r", description: text("\n", 5e6), schema: { type: "string" } },
      },
    })),
    // JSON
    post("10 MB of nested arrays", chat, () => nested("[", "]", many(5e6))),
    post("10 MB of nested objects", chat, () => nested('{"a":', "}", many(1.6e6))),
    post("10 MB of small arrays", chat, () => `{"messages":[${text("[],", 10e6)}[]]}`),
    post("10 MB of numbers", chat, () => `{"messages":[${text("1,", 8e6)}1]}`),
    post("500,000 keys", chat, () => Object.fromEntries(list(400_000, (i) => [`k${i}`, 1]))),
    post("500,000 times one key", chat, () => `{${list(400_000, () => '"messages":1').join(",")}}`),
    post("10 MB of one string of escapes", chat, () => `{"model":"${text("\\u0041", 10e6)}"}`),
    post("10 MB of backslashes", chat, () => `{"model":"${text("\\\\", 10e6)}`),
    post("10 MB of digits", chat, () => `{"max_tokens":${text("1", 10e6)}}`),
    post("wide integers in a schema", chat, () => ({
      ...user("x"),
      ...JSON.parse(
        JSON.stringify(format({ enum: ["WIDE"] })).replace(
          '"WIDE"',
          list(60_000, () => "12345678901234567890").join(","),
        ),
      ),
    })),
    post("bytes that are no JSON", chat, () => Buffer.alloc(many(10e6), 0xff)),
    post("an unknown field of 1 MB", chat, () => ({ ...user("x"), [text("f", 1e6)]: 1 })),
    // Lists of options
    post("100,000 biased tokens", chat, () => ({
      ...user("x"),
      logit_bias: Object.fromEntries(list(100_000, (i) => [String(i), 1])),
    })),
    post("1,000,000 stop tokens", completions, () => ({
      prompt: "x",
      max_tokens: 1,
      stop_token_ids: list(1e6, (i) => i),
    })),
    post("200,000 stop texts", chat, () => ({ ...user("x"), stop: list(200_000, (i) => `s${i}`) })),
    post("a stop text of 10 MB", chat, () => ({ ...user("x"), stop: text("s", 10e6) })),
    post("a cache salt of 10 MB", chat, () => ({ ...user("x"), cache_salt: text("s", 10e6) })),
    post("metadata of 100,000 keys", responses, () => ({
      input: "x",
      metadata: Object.fromEntries(list(100_000, (i) => [`k${i}`, "v"])),
    })),
    post("100,000 things to include", responses, () => ({ input: "x", include: list(100_000, (i) => `x${i}`) })),
    // Prompts
    post("4,000,000 tokens as a prompt", completions, () => ({ prompt: list(4e6, () => 1), max_tokens: 1 })),
    post("30,000 tokens as a prompt", completions, () => ({ prompt: list(30_000, (i) => i), max_tokens: 1 })),
    post("128 prompts, n 8", completions, () => ({
      prompt: list(128, (i) => `prompt ${i}`),
      n: 8,
      max_tokens: 1,
    })),
    post("100,000 prompts", completions, () => ({ prompt: list(100_000, () => "x"), max_tokens: 1 })),
    post("100,000 prompts of one token", completions, () => ({ prompt: list(100_000, () => [1]), max_tokens: 1 })),
    // Tokens and texts
    post("tokenize: 30 MB of blanks", "/tokenize", () => ({ prompt: text(" ", 30e6) })),
    post("tokenize: 16 MB of blanks", "/tokenize", () => ({ prompt: text(" ", 16e6) })),
    post("tokenize: 30 MB of letters", "/tokenize", () => ({ prompt: text("a", 30e6) })),
    post("tokenize: 10 MB, with strings", "/tokenize", () => ({ prompt: text("a b", 10e6), return_token_strs: true })),
    post("tokenize: 16,000 messages", "/tokenize", () => ({
      messages: list(16_000, () => ({ role: "user", content: "x" })),
    })),
    post("tokenize: 100,000 messages", "/tokenize", () => ({
      messages: list(100_000, () => ({ role: "user", content: "x" })),
    })),
    post("tokenize: special tokens", "/tokenize", () => ({ prompt: text("<|start|>", 20e6), parse_special: true })),
    post("detokenize: 1,000,000 tokens", "/detokenize", () => ({ tokens: list(1e6, () => 1000) })),
    post("detokenize: the longest tokens", "/detokenize", () => ({ tokens: list(4e6, () => 199_997) })),
    post("detokenize: 24 MB of blanks", "/detokenize", () => ({ tokens: list(4e6, () => 72_056) })),
    post("detokenize: halves of characters", "/detokenize", () => ({ tokens: list(4e6, () => 188) })),
    post("detokenize: a list of lists", "/detokenize", () => ({ tokens: list(250_000, () => []) })),
    // The rest
    post("chat without a body", chat, () => ""),
    { name: "a long path", method: "GET", path: `/v1/models/${"m".repeat(many(12_000))}` },
    { name: "a long query", method: "GET", path: `/v1/models?${"q=1&".repeat(many(3000))}` },
    { name: "a long id", method: "GET", path: `/v1/responses/${"r".repeat(many(12_000))}` },
    {
      name: "items of an unknown response",
      method: "GET",
      path: `/v1/responses/resp_x/input_items?limit=${"9".repeat(many(3000))}`,
    },
    {
      name: "many headers",
      method: "GET",
      path: "/v1/models",
      headers: Object.fromEntries(list(1500, (i) => [`x-${i}`, "1"])),
    },
    { name: "a long header", method: "GET", path: "/v1/models", headers: { "x-long": "h".repeat(many(60_000)) } },
    {
      name: "a long key",
      method: "GET",
      path: "/v1/models",
      headers: { authorization: `Bearer ${"k".repeat(many(12_000))}` },
    },
    {
      name: "a body at a route that has none",
      method: "DELETE",
      path: "/v1/responses/resp_x",
      body: () => text(" ", 30e6),
    },
    { name: "OPTIONS with a body", method: "OPTIONS", path: chat, body: () => text(" ", 1e6) },
    { name: "metrics", method: "GET", path: "/metrics" },
    { name: "an unknown path with 30 MB", method: "POST", path: "/v1/nothing", body: () => text("a", 30e6) },
  ];
}

const ref = (n: number) => ({ $ref: `#/$defs/d${n}` });

function tool(name: string, parameters: unknown, strict = false): object {
  return { type: "function", function: { name, parameters, strict } };
}

function format(schema: unknown): { response_format: object } {
  return { response_format: { type: "json_schema", json_schema: { name: "r", schema, strict: true } } };
}
