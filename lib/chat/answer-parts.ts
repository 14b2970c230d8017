import type { Message } from "../harmony/message.js";
import type { PartEnd, PartStart, TurnEvent } from "./turn-event.js";

/** The call of a function. */
export interface ToolCall {
  /** The id of the call. Its result is sent back with this id as `tool_call_id`. */
  id: string;
  /** The name of the function as it was declared, without the harmony namespace. */
  name: string;
  /** The JSON text that the model wrote, unchecked. "{}" where it wrote none. Cut off where the answer is cut off. */
  arguments: string;
}

/** Collects the parts of one choice under the names of OpenAI's API: reasoning, content and tool calls. */
export class AnswerParts {
  readonly messages: Message[] = [];
  readonly toolCalls: ToolCall[] = [];
  readonly #reasoning: string[] = [];
  readonly #final: string[] = [];
  readonly #preamble: string[] = [];
  #open: PartStart | null = null;

  get reasoning(): string {
    return this.#reasoning.join("\n");
  }

  /** The final messages. Without one, the preambles: the texts for the user that precede a tool call. */
  get content(): string {
    return (this.#final.length > 0 ? this.#final : this.#preamble).join("\n");
  }

  accept(event: TurnEvent): void {
    if (event.type === "part-start") this.#open = event;
    if (event.type === "part-end") this.#add(this.#open!, event);
  }

  #add(start: PartStart, { message, text }: PartEnd): void {
    this.messages.push(message);
    if (start.kind === "call") this.toolCalls.push({ id: start.callId, name: start.name, arguments: text });
    else if (start.kind === "reasoning") this.#reasoning.push(text);
    else (start.channel === "final" ? this.#final : this.#preamble).push(text);
  }
}
