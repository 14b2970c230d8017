import type { Output } from "./output.js";

/** A piece of what the model writes. */
export interface AnswerPiece {
  role: string;
  channel: string | null;
  recipient: string | null;
  text: string;
}

/**
 * Prints an answer as it comes. On a terminal its reasoning is dimmed. Elsewhere, text that is not for the user goes to
 * stderr, each line with its channel in brackets: `[analysis] …`.
 */
export class AnswerPrinter {
  private readonly beside: Output;

  constructor(
    private readonly out: Output,
    notes: Output,
    private readonly showsReasoning: boolean,
  ) {
    this.beside = out.isTerminal ? out : notes;
  }

  print(piece: AnswerPiece): void {
    const isReasoning = piece.role === "assistant" && piece.channel === "analysis" && piece.recipient === null;
    if (isReasoning && !this.showsReasoning) return;
    const label = labelOf(piece);
    if (label === "") this.out.text(piece.text);
    else if (isReasoning && this.out.isTerminal && this.out.isColored) this.out.dim(piece.text);
    else this.labelled(label, piece.text);
  }

  /** A message is complete. */
  endMessage(): void {
    this.beside.endLine();
    this.out.endLine();
  }

  private labelled(label: string, text: string): void {
    for (const line of text.split(/(?<=\n)/)) {
      this.beside.dim(this.beside.atLineStart ? `${label} ${line}` : line);
    }
  }
}

function labelOf({ role, channel, recipient }: AnswerPiece): string {
  if (role !== "assistant") return `[${role}]`;
  if (recipient !== null) return `[${channel ?? "call"} to ${recipient}]`;
  return channel === "analysis" ? "[analysis]" : "";
}
