import { describe, expect, it } from "vitest";
import { GptOssError } from "../../../lib/errors.js";
import { type Blamed, namedRefusal } from "../../../lib/server/http/error-response.js";
import type { ApiError } from "../../../lib/server/http/errors.js";

/** How the field of an engine's error becomes the `param` of an endpoint's error. */

describe("the field of an error of the engine", () => {
  const format = { type: "regex", pattern: "a", at: "guided_regex" } as const;
  const tools = [{ name: "f", at: "tools[3].function.parameters" }];
  const chat: Blamed = { tools, format };
  const responses: Blamed = { tools, format, conversationAt: "input", fieldNames: { maxTokens: "max_output_tokens" } };
  const completions: Blamed = { format, fieldNames: { prompt: "prompt[1]", logprobs: "logprobs" } };
  const told = (field: string | undefined, request: Blamed, message = `Expected a for ${field} but received 1`) =>
    namedRefusal(new GptOssError("INVALID_ARGUMENT", message, { field }), request) as ApiError;

  it("is told by the name that the request has for it", () => {
    const named: [field: string, request: Blamed, param: string | null][] = [
      ["stopTokens[3]", chat, "stop_token_ids[3]"],
      ["maxTokens", chat, "max_tokens"],
      ["maxTokens", responses, "max_output_tokens"],
      ["messages[2].content", chat, "messages[2].content"],
      ["messages[2].content", responses, "input"],
      ["prompt", chat, "messages"],
      ["prompt", responses, "input"],
      ["prompt[7]", completions, "prompt[1][7]"],
      ["logprobs", chat, "top_logprobs"],
      ["logprobs", completions, "logprobs"],
      ["constraint.tools[0].parameters", chat, "tools[3].function.parameters"],
      ["constraint.tools[0].parameters", responses, "tools[3].function.parameters"],
      ["constraint.tools", chat, "tools"],
      ["constraint.final", chat, "guided_regex"],
      ["constraint.format.pattern", completions, "guided_regex"],
      ["constraint.analysisTokens", chat, "reasoning.max_tokens"],
      ["constraint.final", {}, null],
      ["constructor", chat, null],
      ["tenant", chat, null],
    ];
    for (const [field, request, param] of named) {
      const { param: found, message } = told(field, request);
      expect([field, found]).toEqual([field, param]);
      expect(message).toBe(`Expected a for ${param ?? field} but received 1`);
    }
  });

  it("is not looked for in the message", () => {
    const message = "Expected a number for temperature but received 1";
    expect(told(undefined, chat, message)).toMatchObject({ status: 400, param: null, message });
    expect(told("stop", chat, message)).toMatchObject({ param: "stop", message });
  });

  it("is none of the client's where the fault is none", () => {
    const full = new GptOssError("QUEUE_FULL", "full", { field: "maxQueue" });
    expect(namedRefusal(full, chat)).toBe(full);
    const other = new Error("other");
    expect(namedRefusal(other, chat)).toBe(other);
  });
});
