import { describe, expect, it } from "vitest";
import { seededRandom } from "../../support/random.js";
import { final, reasoning, turn } from "../../support/scripted-turns.js";
import { turnServer } from "../../support/turn-server.js";

const hello = turn([reasoning("They greet."), final("Hello!")]);
const ask = { model: "gpt-oss-20b", input: "Hi" };

describe("any body at all", () => {
  const bodies = (messageId: string) => [
    ask,
    {
      ...ask,
      input: [
        { role: "user", content: [{ type: "input_text", text: "Hi" }] },
        { type: "reasoning", summary: [], content: [{ type: "reasoning_text", text: "T" }], encrypted_content: "gAAA" },
        { type: "function_call", call_id: "c1", name: "f", arguments: "{}", id: "fc_1" },
        { type: "function_call_output", call_id: "c1", output: [{ type: "input_image" }] },
        { type: "mcp_call", name: "f", arguments: "{}", output: "o" },
        { type: "code_interpreter_call", code: "1", outputs: [{ type: "logs", logs: "1" }] },
        { type: "file_search_call", queries: ["q"], results: [{ text: "t" }] },
        { type: "shell_call", call_id: "c2", action: { commands: ["ls"] } },
        { type: "shell_call_output", call_id: "c2", output: [] },
        { type: "local_shell_call", call_id: "c3", action: {} },
        { type: "local_shell_call_output", id: "c3", output: "o" },
        { type: "web_search_call", id: "ws_1" },
        { role: "assistant", content: "Wait.", phase: "commentary" },
        { type: "item_reference", id: messageId },
      ],
      tools: [{ type: "function", name: "get_weather", parameters: { type: "object" } }, { type: "web_search" }],
      tool_choice: { type: "allowed_tools", mode: "auto", tools: [{ type: "function", name: "get_weather" }] },
      text: { format: { type: "json_schema", name: "a", schema: {} }, verbosity: "low" },
      reasoning: { effort: "low", summary: "auto" },
      include: ["reasoning.encrypted_content"],
      metadata: { a: "b" },
    },
    {
      ...ask,
      input: [
        { role: "user", content: "Hi" },
        { type: "custom_tool_call", call_id: "c1", namespace: "n", name: "t", input: "x" },
        { type: "custom_tool_call_output", call_id: "c1", output: "o" },
        { type: "function_call", call_id: "c2", namespace: "n", name: "f", arguments: "{}" },
        { type: "function_call_output", call_id: "c2", output: "o" },
      ],
      tools: [
        { type: "custom", name: "t", format: { type: "grammar", syntax: "lark", definition: 'start: "a"' } },
        {
          type: "namespace",
          name: "n",
          description: "N",
          tools: [
            { type: "function", name: "f" },
            {
              type: "custom",
              name: "t",
              description: "T",
              format: { type: "grammar", syntax: "regex", definition: "a" },
            },
          ],
        },
      ],
      tool_choice: { type: "allowed_tools", mode: "auto", tools: [{ type: "custom", namespace: "n", name: "t" }] },
    },
  ];
  const values = [
    null,
    true,
    0,
    -1,
    1.5,
    1e300,
    "",
    "x",
    "\ud800",
    [],
    {},
    [[]],
    [null],
    { type: null },
    { type: "x" },
  ];

  it.each(["", "null", "[]", "5", '"x"', "{", '{"__proto__":{}}', "\u0000"])("%j is refused", async (payload) => {
    await using server = await turnServer([hello]);
    const headers = { "content-type": "application/json" };
    const { statusCode, body } = await server.app.inject({ method: "POST", url: "/v1/responses", headers, payload });
    expect(statusCode).toBe(400);
    expect(JSON.parse(body).error).toMatchObject({ message: expect.any(String), type: "invalid_request_error" });
  });

  it("is answered with less than 500", async () => {
    await using server = await turnServer([hello]);
    const stored = (await server.post(ask)).json;
    const seeds = bodies(stored.output[1]!.id).map((body) => ({ ...body, previous_response_id: stored.id }));
    const random = seededRandom(7);
    const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
    const statuses = new Set<number>();
    for (let round = 0; round < 3000; round++) {
      const body = structuredClone(pick(seeds)) as Record<string, unknown>;
      for (let change = 0; change <= random() * 3; change++) mutate(body, pick, values);
      const { status, json, text } = await server.post(body);
      statuses.add(status);
      expect(status, `${JSON.stringify(body)} -> ${text}`).toBeLessThan(500);
      expect(text).not.toContain("for messages["); // rendering must refuse no conversation
      if (status >= 400) expect(json.error.message).toEqual(expect.any(String));
    }
    expect([...statuses].sort()).toEqual([200, 400, 404]);
  });
});

/** Puts another value somewhere into the body. */
function mutate(body: Record<string, unknown>, pick: <T>(list: readonly T[]) => T, values: readonly unknown[]): void {
  let place: Record<string, unknown> = body;
  for (;;) {
    const key = pick(Object.keys(place));
    const value = place[key];
    const isDeeper = typeof value === "object" && value !== null && Object.keys(value).length > 0;
    if (isDeeper && pick([true, true, false])) {
      place = value as Record<string, unknown>;
      continue;
    }
    place[key] = structuredClone(pick(values));
    return;
  }
}
