import { describe, expect, it } from "vitest";
import { final, turn } from "../../support/scripted-turns.js";
import { asking, type Json } from "../../support/server.js";
import { turnServer } from "../../support/turn-server.js";

/** Results of tools in chats: what is no text becomes a note. */

const picture = { type: "image_url", image_url: { url: "data:image/png;base64,AAAA" } };
const call = { id: "c", type: "function", function: { name: "look", arguments: "{}" } };
const made = { role: "assistant", content: null, tool_calls: [call] };
const before = [{ role: "user", content: "Look." }, made];

async function answer(messages: readonly object[]) {
  await using server = await turnServer([turn([final("A cat.")])]);
  const payload = asking({ messages });
  const {
    statusCode,
    headers,
    payload: text,
  } = await server.app.inject({
    method: "POST",
    url: "/v1/chat/completions",
    payload,
  });
  const told = headers["x-gpt-oss-warnings"];
  return {
    status: statusCode,
    json: JSON.parse(text) as Json,
    warnings: told === undefined ? [] : JSON.parse(told as string),
    messages: statusCode === 200 ? server.player.last.messages : [],
    logged: server.warnings,
  };
}

describe("the result of a tool", () => {
  it.each([
    [picture, "[an image, which cannot be shown here]"],
    [{ type: "input_image", image_url: "data:," }, "[an image, which cannot be shown here]"],
    [{ type: "file", file: { file_id: "f" } }, "[a file, which cannot be shown here]"],
    [{ type: "input_audio", input_audio: { data: "", format: "mp3" } }, "[a sound, which cannot be played here]"],
  ])("has a note for %j", async (part, note) => {
    const content = [{ type: "text", text: "Seen: " }, part];
    const { status, messages, warnings } = await answer([...before, { role: "tool", tool_call_id: "c", content }]);
    expect(status).toBe(200);
    expect(messages[2]).toEqual({ role: "tool", tool_call_id: "c", content: `Seen: ${note}` });
    expect(warnings).toEqual([
      {
        param: "messages[2].content[1]",
        message: "gpt-oss reads text only: an image, file or sound in a tool's output became a note",
      },
    ]);
  });

  it("has it in the old role, too", async () => {
    const { status, messages } = await answer([...before, { role: "function", name: "look", content: [picture] }]);
    expect(status).toBe(200);
    expect(messages[2]).toMatchObject({
      role: "tool",
      name: "look",
      content: "[an image, which cannot be shown here]",
    });
  });

  it("knows the members of such parts", async () => {
    const { logged } = await answer([...before, { role: "tool", tool_call_id: "c", content: [picture] }]);
    expect(logged.flat().filter((line) => JSON.stringify(line).includes("image_url"))).toEqual([]);
  });

  it.each([{ type: "video" }, { type: "text" }, 7, null])("is refused with the part %j", async (part) => {
    const { status, json } = await answer([...before, { role: "tool", tool_call_id: "c", content: [picture, part] }]);
    expect([status, json.error.param]).toEqual([400, expect.stringMatching(/^messages\[2\]\.content\[1\]/)]);
  });

  it.each(["user", "system", "assistant"])("differs from a message of the role %s", async (role) => {
    const { status, json } = await answer([{ role, content: [picture] }]);
    expect([status, json.error.param, json.error.code]).toEqual([
      400,
      "messages[0].content[0].type",
      "unsupported_parameter",
    ]);
  });
});
