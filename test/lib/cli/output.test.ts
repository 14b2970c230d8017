import { describe, expect, it } from "vitest";
import type { ChatEvent } from "../../../lib/chat/chat.js";
import { AnswerPrinter } from "../../../lib/cli/answer-printer.js";
import { hasColor } from "../../../lib/cli/color.js";
import { bytesText, Output } from "../../../lib/cli/output.js";
import { speedLine } from "../../../lib/cli/speed.js";
import { harmless } from "../../../lib/cli/terminal/harmless.js";

class Sink {
  written = "";
  constructor(
    readonly isTTY: boolean,
    readonly columns?: number,
  ) {}
  write(text: string): void {
    this.written += text;
  }
}

function output(isTTY: boolean, env: NodeJS.ProcessEnv = {}, columns?: number): { sink: Sink; out: Output } {
  const sink = new Sink(isTTY, columns);
  return { sink, out: new Output(sink, env) };
}

const plain = (text: string) => text.replaceAll("\u001b[2m", "").replaceAll("\u001b[22m", "");

const hostile = "a\u001b]0;title\u0007\u001b[2J\rb\r\n\tc\u009b31m\u007f é東";
const shown = "a␛]0;title␇␛[2Jb\n\tc\ufffd31m␡ é東";

describe("what a model writes", () => {
  it("cannot command a terminal", () => {
    expect(harmless(hostile)).toBe(shown);
    const { sink, out } = output(true);
    out.text(hostile);
    out.dim(hostile);
    out.flush();
    expect(plain(sink.written)).toBe(shown + shown);
    expect(sink.written.indexOf("\u001b[2m")).toBe(shown.length);
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
      out.flush();
      expect(sink.written).toBe("x␛");
    }
  });

  it("has its lines broken at words on a terminal, and only there", () => {
    const text = "one two three\n";
    const [terminal, pipe] = [output(true, {}, 8), output(false, {}, 8)];
    for (const { out } of [terminal, pipe]) {
      out.dim("one ");
      out.text("two three\n");
    }
    expect(plain(terminal.sink.written)).toBe("one two\nthree\n");
    expect(pipe.sink.written).toBe(text);
  });

  it("has no line of its progress mixed into it", () => {
    const { sink, out } = output(true, {}, 20);
    out.status("Loading 10 %");
    out.status("");
    out.line("eighteen characters");
    expect(sink.written).toBe("\r\u001b[2KLoading 10 %\r\u001b[2Keighteen characters\n");
  });
});

describe("colour", () => {
  it.each<[boolean, Record<string, string>, boolean]>([
    [true, {}, true],
    [false, {}, false],
    [true, { NO_COLOR: "1" }, false],
    [true, { NO_COLOR: "" }, true],
    [true, { TERM: "dumb" }, false],
    [false, { FORCE_COLOR: "1" }, true],
    [true, { FORCE_COLOR: "0" }, false],
    [false, { FORCE_COLOR: "" }, false],
    [true, { TERM: "dumb", FORCE_COLOR: "3" }, true],
    [true, { NO_COLOR: "1", FORCE_COLOR: "1" }, false],
  ])("terminal %s with %j: %s", (isTerminal, env, colored) => expect(hasColor(isTerminal, env)).toBe(colored));
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

  function printed(isTTY: boolean, showsReasoning: boolean) {
    const [out, notes] = [output(isTTY), output(isTTY)];
    const printer = new AnswerPrinter(out.out, notes.out, showsReasoning);
    for (const event of events) {
      if (event.type === "delta") printer.print(event);
      else printer.endMessage();
    }
    return { out: out.sink.written, notes: notes.sink.written };
  }

  it("is alone on stdout of a pipe, and what else there is stands marked on stderr", () => {
    const beside = "[commentary to functions.f] {}\n[user] Hm?\n";
    const thought = "[analysis] Let me think.\n[analysis] \n[analysis] Yes.\n";
    expect(printed(false, true)).toEqual({ out: "One moment.\nIt is.\n", notes: thought + beside });
    expect(printed(false, false)).toEqual({ out: "One moment.\nIt is.\n", notes: beside });
  });

  it("has its reasoning set back on a terminal", () => {
    const { out, notes } = printed(true, true);
    expect(notes).toBe("");
    expect(out.startsWith("\u001b[2mLet")).toBe(true);
    expect(plain(out)).toBe("Let me think.\n\nYes.\n[commentary to functions.f] {}\nOne moment.\n[user] Hm?\nIt is.\n");
    expect(out.endsWith("It is.\n")).toBe(true);
  });
});

it("tells how fast it was, without what was known before", () => {
  const speed = {
    promptTokens: 150,
    cachedTokens: 50,
    completionTokens: 21,
    firstMilliseconds: 500,
    totalMilliseconds: 2500,
  };
  expect(speedLine(speed)).toBe(
    "(prompt: 100 tokens (and 50 from the cache) in 0.50 s, 200.0 tokens/s; answer: 21 tokens in 2.00 s, 10.0 tokens/s)",
  );
  expect(speedLine({ ...speed, promptTokens: 51, completionTokens: 1 })).toMatch(
    /^\(prompt: 1 token \(and 50 .*; answer: 1 token in /,
  );
});

it.each([
  [0, "0 bytes"],
  [1, "1 byte"],
  [999, "999 bytes"],
  [1000, "1.00 kB"],
  [999_499, "999 kB"],
  [999_999, "1.00 MB"],
  [105_154_504, "105 MB"],
  [13_761_264_768, "13.8 GB"],
])("%d bytes are %s", (bytes, text) => expect(bytesText(bytes)).toBe(text));
