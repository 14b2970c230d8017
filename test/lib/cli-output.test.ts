import { describe, expect, it } from "vitest";
import type { ChatEvent } from "../../lib/chat.js";
import { AnswerPrinter } from "../../lib/cli/answer-printer.js";
import { bytesText, harmless, Output } from "../../lib/cli/output.js";

class Sink {
  written = "";
  constructor(readonly isTTY: boolean) {}
  write(text: string): boolean {
    this.written += text;
    return true;
  }
}

function output(isTTY: boolean, env: NodeJS.ProcessEnv = {}): { sink: Sink; out: Output } {
  const sink = new Sink(isTTY);
  return { sink, out: new Output(sink as unknown as NodeJS.WriteStream, env) };
}

const hostile = "a\u001b]0;title\u0007\u001b[2J\rb\r\n\tc\u009b31m\u007f é東";
const shown = "a␛]0;title␇␛[2Jb\n\tc\ufffd31m␡ é東";

describe("what a model writes", () => {
  it("cannot command a terminal", () => {
    expect(harmless(hostile)).toBe(shown);
    const { sink, out } = output(true);
    out.text(hostile);
    expect(sink.written).toBe(shown);
    out.dim(hostile);
    expect(sink.written).toBe(`${shown}\u001b[2m${shown}\u001b[22m`);
  });

  it("reaches a pipe as it is", () => {
    const { sink, out } = output(false);
    out.text(hostile);
    out.dim(hostile);
    out.status("Loading");
    expect(sink.written).toBe(hostile + hostile);
  });

  it("is not dimmed under NO_COLOR or on a dumb terminal", () => {
    for (const env of [{ NO_COLOR: "1" }, { TERM: "dumb" }]) {
      const { sink, out } = output(true, env);
      out.dim("x\u001b");
      expect(sink.written).toBe("x␛");
    }
  });
});

describe("an answer", () => {
  const delta = (channel: string | null, text: string, more: object = {}): ChatEvent =>
    ({ type: "delta", role: "assistant", channel, recipient: null, contentType: null, text, ...more }) as ChatEvent;
  const end = { type: "message", message: { role: "assistant", content: "" } } as ChatEvent;
  const events = [
    delta("analysis", "Let me "),
    delta("analysis", "think.\n\nYes"),
    delta("analysis", ".\n"),
    end,
    delta("commentary", "{", { recipient: "functions.f" }),
    delta("commentary", "}", { recipient: "functions.f" }),
    end,
    delta("commentary", "One moment."),
    end,
    delta(null, "Hm?", { role: "user" }),
    end,
    delta("final", "It "),
    delta("final", "is."),
    end,
  ];

  function printed(isTTY: boolean, showsReasoning: boolean): string {
    const { sink, out } = output(isTTY);
    const printer = new AnswerPrinter(out, showsReasoning);
    for (const event of events) printer.print(event);
    return sink.written;
  }

  const rest = "[commentary to functions.f] {}\nOne moment.\n[user] Hm?\nIt is.\n";

  it("has every line of its reasoning marked in a pipe", () => {
    expect(printed(false, true)).toBe(`[analysis] Let me think.\n[analysis] \n[analysis] Yes.\n${rest}`);
    expect(printed(false, false)).toBe(rest);
  });

  it("has its reasoning set back on a terminal", () => {
    const text = printed(true, true);
    expect(text.startsWith("\u001b[2mLet me \u001b[22m\u001b[2mthink.\n\nYes\u001b[22m")).toBe(true);
    expect(text.endsWith("It is.\n")).toBe(true);
  });
});

it.each([
  [0, "0 bytes"],
  [999, "999 bytes"],
  [1000, "1.00 kB"],
  [105_154_504, "105 MB"],
  [13_761_264_768, "13.8 GB"],
])("%d bytes are %s", (bytes, text) => expect(bytesText(bytes)).toBe(text));
