import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  assistantMessage,
  builtinTools,
  type Conversation,
  developerMessage,
  type FunctionTool,
  renderConversationForCompletion,
  renderMessage,
  stopTokens,
  stopTokensForAssistantActions,
  systemMessage,
  toolMessage,
  userMessage,
} from "../../../lib/harmony/index.js";
import { tokenizer } from "../../../lib/tokenizer/tokenizer.js";

const golden = new URL("../../golden/harmony/", import.meta.url);

function goldenText(file: string): string {
  return readFileSync(new URL(`upstream/${file}`, golden), "utf8").trimEnd();
}

function text(conversation: Conversation): string {
  return tokenizer.decode(renderConversationForCompletion(conversation));
}

describe("builders make the messages that the reference renders", () => {
  it("a conversation with defaults", () => {
    expect(text([systemMessage(), userMessage("What is 2 + 2?")])).toBe(goldenText("test_simple_convo.txt"));
  });

  it("built-in tools by name, with the reference's definitions", () => {
    expect(builtinTools).toEqual(JSON.parse(readFileSync(new URL("builtin-tools.json", golden), "utf8")));
    expect(text([systemMessage({ tools: ["browser"] })])).toContain(
      goldenText("test_browser_tool_only.txt").split("# Tools")[1]!.split("<|end|>")[0]!,
    );
    expect(text([systemMessage({ tools: ["browser", "python"] })])).toContain(
      goldenText("test_browser_and_python_tool.txt").split("# Tools")[1]!.split("<|end|>")[0]!,
    );
  });

  it("a tool call and its answer", () => {
    const tools: FunctionTool[] = [{ type: "function", function: { name: "f" } }];
    const conversation = [
      systemMessage({ modelIdentity: null, knowledgeCutoff: null, reasoningEffort: null, channels: null }),
      developerMessage({ instructions: "Be brief.", tools }),
      userMessage("Go"),
      assistantMessage({
        content: "{}",
        channel: "commentary",
        recipient: "functions.f",
        contentType: "<|constrain|>json",
      }),
      toolMessage({ name: "functions.f", content: "1" }),
      assistantMessage("Done."),
    ];
    expect(text(conversation)).toBe(
      "<|start|>system<|message|><|end|><|start|>developer<|message|># Instructions\n\nBe brief.\n\n# Tools\n\n" +
        "## functions\n\nnamespace functions {\n\ntype f = () => any;\n\n} // namespace functions<|end|>" +
        "<|start|>user<|message|>Go<|end|>" +
        "<|start|>assistant to=functions.f<|channel|>commentary <|constrain|>json<|message|>{}<|call|>" +
        "<|start|>functions.f to=assistant<|channel|>commentary<|message|>1<|end|>" +
        "<|start|>assistant<|channel|>final<|message|>Done.<|end|><|start|>assistant",
    );
  });

  it("messages without channel or recipient when they are null", () => {
    const bare = assistantMessage({ content: "x", channel: null });
    expect(tokenizer.decode(renderMessage(bare))).toBe("<|start|>assistant<|message|>x<|end|>");
    const result = toolMessage({ name: "python", content: "x", channel: null, recipient: null });
    expect(tokenizer.decode(renderMessage(result))).toBe("<|start|>python<|message|>x<|end|>");
  });

  it("refuse unknown options", () => {
    expect(() => systemMessage({ effort: "low" } as object)).toThrow(/"effort"/);
    expect(() => systemMessage({ tools: ["abacus" as "python"] })).toThrow(/abacus/);
    expect(() => developerMessage({ tools: [{ type: "retrieval" }] as unknown as FunctionTool[] })).toThrow(
      /tools\[0\]\.type/,
    );
  });
});

it("stop tokens are those of the format", () => {
  expect(stopTokens().sort()).toEqual([200002, 200007, 200012]);
  expect(stopTokensForAssistantActions().sort()).toEqual([200002, 200012]);
});
