import { aboutField } from "../errors.js";
import type { DeclaredTools } from "./declared-tools.js";
import type { CheckedChat } from "./options.js";

/**
 * Renames the field of an error: a part of the turn's constraint becomes the option of `Engine.chat` that it came
 * from. For a tool that a message declares, the field is `messages`.
 */
export function aboutChatOption(error: unknown, chat: CheckedChat, tools: DeclaredTools): unknown {
  if (chat.constraint !== undefined) return error; // the caller wrote the constraint, so its names are the caller's
  return aboutField(error, (field) => {
    if (field === "constraint.analysisTokens") return "reasoningBudget";
    if (field.startsWith("constraint.final")) return "responseFormat.json_schema.schema";
    const tool = /^constraint\.tools\[(\d+)\](.*)$/.exec(field);
    if (tool === null) return field;
    const name = tools.functions[Number(tool[1])]?.name;
    const index = (chat.conversation.tools ?? []).findIndex((given) => given.function.name === name);
    return index < 0 ? "messages" : `tools[${index}].function${tool[2]}`;
  });
}
