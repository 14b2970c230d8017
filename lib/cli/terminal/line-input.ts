import type { CompleterResult } from "node:readline";

export type Line = { kind: "line"; text: string } | { kind: "interrupt" | "end" };

export interface Question {
  prompt: string;
  /** Whether earlier lines can be fetched, and this one later. */
  remembers: boolean;
  complete?: (line: string) => CompleterResult;
}

/** Where lines come from: a person at a terminal, or a pipe. */
export interface LineInput {
  ask(question: Question): Promise<Line>;
  /** Ends the question that is asked. */
  interrupt(): void;
  close(): void;
}
