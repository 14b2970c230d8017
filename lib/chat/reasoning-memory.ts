import { BoundedCache, type SharedBound } from "../common/bounded-cache.js";
import type { ChatMessage } from "./messages.js";

/** The number of characters kept for all conversations of a server together: a few thousand turns. */
export const reasoningCharacters = 16 * 2 ** 20;

/**
 * Stores the reasoning before a tool call by the id of the call. Within a loop of tool calls the model must see it
 * again, and many clients send the call back without it. Any client that sends the id gets the reasoning, so each
 * tenant has its own memory.
 */
export class ReasoningMemory {
  readonly #kept: BoundedCache<readonly string[]>;

  /** @param bound in characters */
  constructor(bound: SharedBound) {
    this.#kept = new BoundedCache(bound);
  }

  remember(callId: string, analysis: readonly string[]): void {
    if (analysis.length === 0) return;
    this.#kept.set(callId, analysis, sizeOf(callId, analysis));
  }

  /**
   * Returns the conversation with an analysis message restored for each reasoning before a remembered call. It stands
   * before the preamble of the call, as the model wrote it.
   */
  restore(messages: readonly ChatMessage[]): ChatMessage[] {
    const restored: ChatMessage[] = [];
    let turnHasReasoning = false;
    for (const message of messages) {
      if (message.role !== "assistant") turnHasReasoning = false;
      turnHasReasoning ||= hasReasoning(message);
      const analysis = turnHasReasoning ? undefined : this.#of(message);
      if (analysis !== undefined) {
        turnHasReasoning = true;
        const preambles = restored.length - 1 - restored.findLastIndex((earlier) => !isPreamble(earlier));
        restored.splice(restored.length - preambles, 0, ...analysis.map(thought));
      }
      restored.push(message);
    }
    return restored;
  }

  /** Clears the memory. It stores nothing from now on. */
  close(): void {
    this.#kept.close();
  }

  #of(message: ChatMessage): readonly string[] | undefined {
    for (const id of callIds(message)) {
      const analysis = this.#kept.get(id);
      if (analysis !== undefined) return analysis;
    }
    return undefined;
  }
}

function thought(text: string): ChatMessage {
  return { role: "assistant", channel: "analysis", content: [{ type: "text", text }] };
}

/** Whether it is a message to the user before a call. */
function isPreamble(message: ChatMessage): boolean {
  return message.role === "assistant" && "channel" in message && message.channel === "commentary" && !message.recipient;
}

function sizeOf(callId: string, analysis: readonly string[]): number {
  return analysis.reduce((sum, text) => sum + text.length, callId.length + 64);
}

function hasReasoning(message: ChatMessage): boolean {
  if (message.role !== "assistant") return false;
  if ("channel" in message && message.channel === "analysis") return true;
  return ["reasoning", "reasoning_content", "thinking"].some((key) => {
    const text = (message as unknown as Record<string, unknown>)[key];
    return typeof text === "string" && text !== "";
  });
}

function callIds(message: ChatMessage): string[] {
  if (message.role !== "assistant") return [];
  const calls = "tool_calls" in message ? (message.tool_calls ?? []) : [];
  const ids = calls.map(({ id }) => id);
  if ("id" in message) ids.push(message.id ?? undefined);
  return ids.filter((id) => id !== undefined);
}
