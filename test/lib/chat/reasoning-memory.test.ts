import { describe, expect, it } from "vitest";
import type { ChatMessage } from "../../../lib/chat/messages.js";
import { ReasoningMemory, reasoningCharacters } from "../../../lib/chat/reasoning-memory.js";
import { SharedBound } from "../../../lib/common/bounded-cache.js";

const memoryOf = (characters = reasoningCharacters) => new ReasoningMemory(new SharedBound({ size: characters }));

const user: ChatMessage = { role: "user", content: "Hi" };
const call = (id: string): ChatMessage => ({
  role: "assistant",
  content: null,
  tool_calls: [{ id, type: "function", function: { name: "f", arguments: "{}" } }],
});
const result = (id: string): ChatMessage => ({ role: "tool", tool_call_id: id, content: "12" });
const analysis = (text: string): ChatMessage => ({
  role: "assistant",
  channel: "analysis",
  content: [{ type: "text", text }],
});

describe("ReasoningMemory", () => {
  it("restores the reasoning before a call, message by message", () => {
    const memory = memoryOf();
    memory.remember("a", ["One.", "Two."]);
    memory.remember("b", ["Three."]);
    expect(memory.restore([user, call("a"), result("a"), call("b")])).toEqual([
      user,
      analysis("One."),
      analysis("Two."),
      call("a"),
      result("a"),
      analysis("Three."),
      call("b"),
    ]);
  });

  it("changes no message that has its reasoning, in it or before it, and no unknown one", () => {
    const memory = memoryOf();
    memory.remember("a", ["One."]);
    const complete: ChatMessage[][] = [
      [user, { ...call("a"), reasoning: "Mine." } as ChatMessage],
      [user, analysis("Mine."), call("a")],
      [
        user,
        { role: "assistant", reasoning: "Mine.", content: null },
        { role: "assistant", content: "So." },
        call("a"),
      ],
      [user, call("b")],
    ];
    for (const messages of complete) expect(memory.restore(messages)).toEqual(messages);
  });

  it("restores it once before several calls of one turn", () => {
    const memory = memoryOf();
    memory.remember("a", ["One."]);
    memory.remember("b", ["One."]);
    expect(memory.restore([user, call("a"), call("b")])).toEqual([user, analysis("One."), call("a"), call("b")]);
  });

  it("restores it before the preambles of the call, and behind all that is none", () => {
    const memory = memoryOf();
    memory.remember("a", ["One.", "Two."]);
    memory.remember("b", ["Three."]);
    const preamble = (content: string): ChatMessage => ({ role: "assistant", channel: "commentary", content });
    const answer: ChatMessage = { role: "assistant", content: "So." };
    const called: ChatMessage = { ...preamble("{}"), recipient: "functions.f" } as ChatMessage;
    const conversations: [given: ChatMessage[], restored: ChatMessage[]][] = [
      [
        [user, preamble("Wait."), call("a")],
        [user, analysis("One."), analysis("Two."), preamble("Wait."), call("a")],
      ],
      [
        [preamble("Wait."), preamble("Still."), call("b")],
        [analysis("Three."), preamble("Wait."), preamble("Still."), call("b")],
      ],
      [
        [user, answer, preamble("Wait."), call("b")],
        [user, answer, analysis("Three."), preamble("Wait."), call("b")],
      ],
      [
        [user, called, preamble("Wait."), call("b")],
        [user, called, analysis("Three."), preamble("Wait."), call("b")],
      ],
      [
        [user, preamble("First."), call("a"), result("a"), preamble("Then."), call("b"), result("b")],
        [
          ...[user, analysis("One."), analysis("Two."), preamble("First."), call("a"), result("a")],
          ...[analysis("Three."), preamble("Then."), call("b"), result("b")],
        ],
      ],
      [
        [user, preamble("Wait."), call("unknown")],
        [user, preamble("Wait."), call("unknown")],
      ],
    ];
    for (const [given, restored] of conversations) expect(memory.restore(given)).toEqual(restored);
  });

  it("evicts the least recently used reasoning", () => {
    const memory = memoryOf(400);
    for (const id of ["a", "b", "c"]) memory.remember(id, ["x".repeat(60)]);
    memory.restore([call("a")]);
    memory.remember("d", ["y".repeat(60)]);
    const known = ["a", "b", "c", "d"].filter((id) => memory.restore([call(id)]).length === 2);
    expect(known).toEqual(["a", "c", "d"]);
    memory.remember("e", ["z".repeat(1000)]);
    expect(["a", "c", "d", "e"].filter((id) => memory.restore([call(id)]).length === 2)).toEqual(["a", "c", "d"]);
  });
});
