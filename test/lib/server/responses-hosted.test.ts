import type OpenAI from "openai";
import { describe, expect, it } from "vitest";
import type { OpenAIMessage } from "../../../lib/chat/messages.js";
import { final, reasoning, turn } from "../../support/scripted-turns.js";
import { turnServer } from "../../support/turn-server.js";

/** Histories with items of OpenAI's hosted tools. */

type Input = OpenAI.Responses.ResponseInputItem;

const ask = { model: "gpt-oss-20b" };
const hello = turn([reasoning("They greet."), final("Hello!")]);
const user = { role: "user", content: "Hi" };
const preface = { role: "assistant", content: "I look." };
const answer = { role: "assistant", content: "Found it." };
const image = "[an image, which cannot be shown here]";

const message = (callId: string, name: string, argumentsText: string) => ({
  role: "assistant",
  content: null,
  tool_calls: [{ id: callId, type: "function", function: { name, arguments: argumentsText } }],
});
const result = (callId: string, content: string) => ({ role: "tool", tool_call_id: callId, content });

/** Messages of the model and warnings, for `items` between two messages of the assistant. */
async function read(items: readonly object[]) {
  await using server = await turnServer([hello]);
  const { status, text, headers } = await server.post({ ...ask, input: [user, preface, ...items, answer, user] });
  expect(status, text).toBe(200);
  const messages = server.player.last.messages;
  expect([messages[0], messages[1], ...messages.slice(-2)]).toEqual([
    user,
    { role: "assistant", channel: "commentary", content: "I look." },
    answer,
    user,
  ]);
  const warnings = headers["x-gpt-oss-warnings"] as string | undefined;
  return { messages: messages.slice(2, -2), warnings: warnings === undefined ? [] : JSON.parse(warnings) };
}

/** The list of a response's input, for `items` after a message. */
async function list(items: readonly object[]) {
  await using server = await turnServer([hello]);
  const { json, text } = await server.post({ ...ask, input: [user, ...items] });
  expect(json.id, text).toBeDefined();
  return (await server.get(`${json.id}/input_items?order=asc&limit=100`)).json.data.slice(1);
}

const unread: readonly Input[] = [
  { type: "web_search_call", id: "ws_1", status: "completed", action: { type: "search", query: "x" } } as Input,
  { type: "file_search_call", id: "fs_1", status: "completed", queries: ["x"] },
  { type: "file_search_call", id: "fs_1", status: "completed", queries: ["x"], results: null },
  { type: "file_search_call", id: "fs_1", status: "completed", queries: ["x"], results: [] },
  { type: "image_generation_call", id: "ig_1", status: "completed", result: "aaaa" },
  { type: "computer_call", id: "cu_1", call_id: "c", status: "completed", pending_safety_checks: [] },
  { type: "computer_call_output", call_id: "c", output: { type: "computer_screenshot", image_url: "data:," } },
  { type: "code_interpreter_call", id: "ci_1", container_id: "x", status: "completed", code: null, outputs: null },
  { type: "mcp_list_tools", id: "ml_1", server_label: "x", tools: [] },
  { type: "mcp_approval_request", id: "mr_1", name: "f", arguments: "{}", server_label: "x" },
  { type: "mcp_approval_response", approval_request_id: "mr_1", approve: true },
  { type: "tool_search_call", id: "ts_1", call_id: "c1", arguments: {} },
  { type: "tool_search_output", id: "to_1", call_id: "c1", tools: [] },
  { type: "additional_tools", role: "developer", tools: [] },
  { type: "program", id: "p_1", call_id: "c", code: "1", fingerprint: "x" },
  { type: "program_output", id: "po_1", call_id: "c", result: "1", status: "completed" },
  { type: "compaction", encrypted_content: "x" },
  { type: "compaction_trigger" },
  { type: "shell_call_output", call_id: "none", output: [] },
  { type: "local_shell_call_output", id: "none", output: "{}" },
  { type: "apply_patch_call_output", call_id: "none", status: "completed" },
];

describe("items without anything to read", () => {
  it.each(unread)("$type is passed over, and the client is told once", async (item) => {
    expect(await read([item, item])).toEqual({
      messages: [],
      warnings: [{ param: "input[2]", message: `items of type '${item.type}' are passed over` }],
    });
  });

  it("are no conversation by themselves", async () => {
    await using server = await turnServer([hello]);
    for (const item of unread) {
      const refused = { status: 400, json: { error: { param: "input", code: "missing_required_parameter" } } };
      expect(await server.post({ ...ask, input: [item] })).toMatchObject(refused);
    }
  });

  it("are listed as they came, except for one that only a request can have", async () => {
    const listed = unread.filter(({ type }) => type !== "compaction_trigger");
    expect(await list(unread)).toMatchObject(listed);
  });
});

describe("calls with their results in one item", () => {
  const rows: [item: object, name: string, argumentsText: string, output: string | null][] = [
    [
      { type: "mcp_call", id: "mc_1", server_label: "x", name: "ask_wiki", arguments: '{"q":1}', output: "42" },
      "ask_wiki",
      '{"q":1}',
      "42",
    ],
    [{ type: "mcp_call", name: "f", arguments: "{}", output: "" }, "f", "{}", ""],
    [{ type: "mcp_call", name: "f", arguments: "{}", output: null, error: "no such page" }, "f", "{}", "no such page"],
    [{ type: "mcp_call", name: "f", arguments: "{}", error: { code: 404 } }, "f", "{}", '{"code":404}'],
    [{ type: "mcp_call", name: "f", arguments: "{}", output: null }, "f", "{}", null],
    [
      {
        type: "code_interpreter_call",
        id: "ci_1",
        code: "print(1)",
        outputs: [
          { type: "logs", logs: "1" },
          { type: "image", url: "https://x" },
        ],
      },
      "code_interpreter",
      '{"code":"print(1)"}',
      `1\n${image}`,
    ],
    [{ type: "code_interpreter_call", code: "1", outputs: [] }, "code_interpreter", '{"code":"1"}', ""],
    [{ type: "code_interpreter_call", code: "1", outputs: null }, "code_interpreter", '{"code":"1"}', null],
    [
      {
        type: "file_search_call",
        queries: ["sky"],
        results: [{ file_id: "f", filename: "a.txt", score: 0.5, text: "Blue." }],
      },
      "file_search",
      '{"queries":["sky"]}',
      '[{"filename":"a.txt","text":"Blue."}]',
    ],
  ];

  it.each(rows)("%j", async (item, name, argumentsText, output) => {
    const { messages, warnings } = await read([item]);
    const made = messages[0] as OpenAIMessage;
    const id = made.tool_calls![0]!.id!;
    const expected = [message(id, name, argumentsText), ...(output === null ? [] : [result(id, output)])];
    expect({ messages, warnings }).toEqual({ messages: expected, warnings: [] });
  });

  it("do not answer for the id that a client gave them", async () => {
    await using server = await turnServer([hello]);
    const item = { type: "mcp_call", id: "c", call_id: "c", name: "f", arguments: "{}", output: "1" };
    const output = { type: "function_call_output", call_id: "c", output: "2" };
    const refused = { status: 400, json: { error: { param: "input[2].call_id", code: "invalid_value" } } };
    expect(await server.post({ ...ask, input: [user, item, output] })).toMatchObject(refused);
  });

  it("stay in a stored conversation", async () => {
    await using server = await turnServer([hello]);
    const item = { type: "mcp_call", name: "f", arguments: "{}", output: "42" };
    const { id } = (await server.post({ ...ask, input: [user, item] })).json;
    await server.post({ ...ask, input: "And?", previous_response_id: id });
    expect(server.player.last.messages).toMatchObject([
      user,
      { tool_calls: [{ function: { name: "f" } }] },
      { role: "tool", content: "42" },
      { reasoning: "They greet." },
      { content: "Hello!" },
      { content: "And?" },
    ]);
  });
});

describe("calls that the client ran", () => {
  const outcome = [{ stdout: "a.txt\n", stderr: "", outcome: { type: "exit", exit_code: 0 } }];
  const rows: [call: Record<string, unknown>, output: object, name: string, argumentsText: string, text: string][] = [
    [
      { type: "shell_call", call_id: "c", action: { commands: ["ls"], timeout_ms: 9 }, status: "completed" },
      { type: "shell_call_output", call_id: "c", output: outcome },
      "shell",
      '{"commands":["ls"],"timeout_ms":9}',
      JSON.stringify(outcome),
    ],
    [
      { type: "shell_call", call_id: "c", action: { commands: ["ls"] } },
      { type: "shell_call_output", call_id: "c", output: "a.txt" },
      "shell",
      '{"commands":["ls"]}',
      "a.txt",
    ],
    [
      { type: "local_shell_call", id: "l", call_id: "c", action: { type: "exec", command: ["ls"], env: {} } },
      { type: "local_shell_call_output", id: "c", output: "a.txt" },
      "local_shell",
      '{"type":"exec","command":["ls"],"env":{}}',
      "a.txt",
    ],
    [
      { type: "local_shell_call", call_id: "c", action: { type: "exec", command: ["ls"] } },
      { type: "local_shell_call_output", id: "lo_1", call_id: "c", output: "a.txt" },
      "local_shell",
      '{"type":"exec","command":["ls"]}',
      "a.txt",
    ],
    [
      { type: "apply_patch_call", call_id: "c", operation: { type: "delete_file", path: "a" }, status: "completed" },
      { type: "apply_patch_call_output", call_id: "c", status: "failed", output: "no such file" },
      "apply_patch",
      '{"type":"delete_file","path":"a"}',
      "no such file",
    ],
    [
      { type: "apply_patch_call", call_id: "c", operation: { type: "delete_file", path: "a" } },
      { type: "apply_patch_call_output", call_id: "c", status: "completed" },
      "apply_patch",
      '{"type":"delete_file","path":"a"}',
      "completed",
    ],
  ];

  it.each(rows)("%j, %j", async (made, output, name, argumentsText, text) => {
    const expected = [message("c", name, argumentsText), result("c", text)];
    expect(await read([made, output])).toEqual({ messages: expected, warnings: [] });
    expect((await read([made])).messages).toEqual(expected.slice(0, 1));
  });

  it("are answered in a later request", async () => {
    await using server = await turnServer([hello]);
    const [made, output] = rows[0]!;
    const { id } = (await server.post({ ...ask, input: [user, made] })).json;
    await server.post({ ...ask, input: [output], previous_response_id: id });
    expect(server.player.last.messages.at(-1)).toEqual(result("c", JSON.stringify(outcome)));
  });
});

describe("hosted items that are not as documented", () => {
  const shell = { type: "shell_call", call_id: "c", action: { commands: [] } };
  const rows: [items: object[], param: string][] = [
    [[{ type: "mcp_call", arguments: "{}" }], "[1].name"],
    [[{ type: "mcp_call", name: "a b", arguments: "{}" }], "[1].name"],
    [[{ type: "mcp_call", name: "<|call|>", arguments: "{}" }], "[1].name"],
    [[{ type: "mcp_call", name: "f" }], "[1].arguments"],
    [[{ type: "mcp_call", name: "f", arguments: {} }], "[1].arguments"],
    [[{ type: "mcp_call", name: "f", arguments: "{}", output: 7 }], "[1].output"],
    [[{ type: "code_interpreter_call", code: 7 }], "[1].code"],
    [[{ type: "code_interpreter_call", code: "1", outputs: "x" }], "[1].outputs"],
    [[{ type: "code_interpreter_call", code: "1", outputs: [null] }], "[1].outputs[0]"],
    [[{ type: "code_interpreter_call", code: "1", outputs: [{ type: "x" }] }], "[1].outputs[0]"],
    [[{ type: "code_interpreter_call", code: "1", outputs: [{ type: "logs" }] }], "[1].outputs[0].logs"],
    [[{ type: "file_search_call", queries: 7 }], "[1].queries"],
    [[{ type: "file_search_call", queries: [7] }], "[1].queries[0]"],
    [[{ type: "file_search_call", queries: [], results: {} }], "[1].results"],
    [[{ type: "file_search_call", queries: [], results: [7] }], "[1].results[0]"],
    [[{ type: "shell_call", action: {} }], "[1].call_id"],
    [[{ type: "shell_call", call_id: "", action: {} }], "[1].call_id"],
    [[{ type: "shell_call", call_id: "c" }], "[1].action"],
    [[{ type: "local_shell_call", call_id: "c", action: [] }], "[1].action"],
    [[{ type: "apply_patch_call", call_id: "c", operation: "x" }], "[1].operation"],
    [[shell, { type: "shell_call_output", output: [] }], "[2].call_id"],
    [[shell, { type: "shell_call_output", call_id: "c" }], "[2].output"],
    [[shell, { type: "local_shell_call_output", call_id: 7, output: "" }], "[2].call_id"],
    [[shell, { type: "local_shell_call_output", call_id: "c", output: {} }], "[2].output"],
    [[shell, { type: "apply_patch_call_output", call_id: "c", output: 7 }], "[2].output"],
    [[{ type: "web_search_call", id: 7 }], "[1].id"],
    [[{ type: "no_such_call" }], "[1].type"],
    [[{ type: "toString" }], "[1].type"],
    [[{ type: "__proto__" }], "[1].type"],
  ];

  it.each(rows)("%j is refused", async (items, param) => {
    await using server = await turnServer([hello]);
    const { status, json } = await server.post({ ...ask, input: [user, ...items, user] });
    expect([status, json.error]).toMatchObject([400, { type: "invalid_request_error", param: `input${param}` }]);
  });
});

describe("an output of a function", () => {
  const made = { type: "function_call", call_id: "c", name: "look", arguments: "{}" };
  const picture = { type: "input_image", image_url: "data:image/png;base64,AAAA", detail: "auto" };

  it.each(["function_call_output", "custom_tool_call_output"])("has notes for what is no text: %s", async (type) => {
    const output = [{ type: "input_text", text: "Seen: " }, picture, { type: "input_file", file_id: "f" }];
    const { messages, warnings } = await read([made, { type, call_id: "c", output }]);
    expect(messages[1]).toEqual(result("c", `Seen: ${image}[a file, which cannot be shown here]`));
    expect(warnings).toEqual([
      {
        param: "input[3].output[1]",
        message: "gpt-oss reads text only: an image, file or sound in a tool's output became a note",
      },
    ]);
  });

  it("is refused where a part is neither", async () => {
    await using server = await turnServer([hello]);
    for (const part of [{ type: "video" }, { type: "input_text" }, null, 7]) {
      const output = { type: "function_call_output", call_id: "c", output: [picture, part] };
      const { status, json } = await server.post({ ...ask, input: [user, made, output] });
      expect([status, json.error.param]).toEqual([400, expect.stringMatching(/^input\[2\]\.output\[1\]/)]);
    }
  });

  it("differs from a user's message, in which an image is refused", async () => {
    await using server = await turnServer([hello]);
    const { status, json } = await server.post({ ...ask, input: [{ role: "user", content: [picture] }] });
    expect([status, json.error.param, json.error.code]).toEqual([
      400,
      "input[0].content[0].type",
      "unsupported_parameter",
    ]);
  });
});

describe("the list of an input has the members that a request may leave out:", () => {
  const call = { call_id: "c", name: "f" };
  const calls = [
    { type: "function_call", ...call, arguments: "{}" },
    { type: "custom_tool_call", ...call, call_id: "d", input: "x" },
  ];
  const done = { status: "completed" };
  it.each<[item: object, added: object]>([
    [calls[0]!, done],
    [calls[1]!, done],
    [{ ...calls[0], status: "incomplete" }, {}],
    [{ ...calls[0], status: null }, done],
    [{ type: "function_call_output", call_id: "c", output: "1" }, done],
    [{ type: "custom_tool_call_output", call_id: "d", output: "1" }, done],
    [{ type: "reasoning", content: [{ type: "reasoning_text", text: "t" }] }, { summary: [] }],
    [
      { type: "computer_call_output", call_id: "c", output: { type: "computer_screenshot", image_url: "data:," } },
      done,
    ],
    [
      { type: "tool_search_call", arguments: {} },
      { execution: "server", call_id: null, ...done },
    ],
    [{ type: "tool_search_output", call_id: "t", execution: "client", tools: [] }, { ...done }],
    [
      { type: "shell_call", call_id: "s", action: { commands: ["ls"] } },
      { action: { commands: ["ls"], timeout_ms: null, max_output_length: null }, environment: null, ...done },
    ],
    [
      { type: "shell_call_output", call_id: "s", output: [] },
      { max_output_length: null, ...done },
    ],
    [{ type: "local_shell_call_output", id: "l", output: "1" }, { call_id: "l" }],
    [{ type: "mcp_approval_response", approval_request_id: "m", approve: true }, { request_id: "m" }],
    [
      { role: "user", content: ["a", { type: "text", text: "b" }] },
      {
        content: [
          { type: "input_text", text: "a" },
          { type: "input_text", text: "b" },
        ],
      },
    ],
    [
      { role: "assistant", content: "a" },
      { content: [{ type: "output_text", text: "a", annotations: [], logprobs: [] }], ...done },
    ],
    [
      { role: "assistant", content: [{ type: "refusal", refusal: "No" }], status: "incomplete" },
      { content: [{ type: "refusal", refusal: "No" }] },
    ],
  ])("%j", async (item, added) => {
    const [listed] = (await list([...calls, item])).slice(-1);
    expect(listed).toEqual({ type: "message", ...item, ...added, id: expect.any(String) });
  });
});
