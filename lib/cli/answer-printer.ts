import type { ChatEvent } from "../chat.js";
import type { Output } from "./output.js";

/**
 * Prints an answer as it comes. Its text stands as it is; reasoning is set back on a terminal, and elsewhere every line
 * of it, as of all that is not addressed to the user, begins with its channel in brackets: `[analysis] …`.
 */
export class AnswerPrinter {
  private label = "";

  constructor(
    private readonly out: Output,
    private readonly showsReasoning: boolean,
  ) {}

  print(event: ChatEvent): void {
    if (event.type === "delta") this.delta(event);
    else this.out.endLine();
  }

  private delta(event: Extract<ChatEvent, { type: "delta" }>): void {
    const isReasoning = event.channel === "analysis" && event.recipient === null;
    if (isReasoning && !this.showsReasoning) return;
    this.label = labelOf(event);
    if (isReasoning && this.out.isColored) this.out.dim(event.text);
    else if (this.label === "") this.out.text(event.text);
    else this.labelled(event.text);
  }

  private labelled(text: string): void {
    for (const line of text.split(/(?<=\n)/)) {
      this.out.dim(this.out.atLineStart ? `${this.label} ${line}` : line);
    }
  }
}

function labelOf({ role, channel, recipient }: Extract<ChatEvent, { type: "delta" }>): string {
  if (role !== "assistant") return `[${role}]`;
  if (recipient !== null) return `[${channel ?? "call"} to ${recipient}]`;
  return channel === "analysis" ? "[analysis]" : "";
}
