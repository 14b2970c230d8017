import { existsSync } from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import { textWidth } from "../../lib/cli/terminal/text-width.js";
import { Terminal } from "../support/terminal.js";

/** A person's view and input. */

const open: Terminal[] = [];
afterEach(async () => {
  for (const terminal of open.splice(0)) await terminal.vanish();
});

function chat(args: string[] = [], options: ConstructorParameters<typeof Terminal>[1] = {}): Terminal {
  const terminal = new Terminal(["chat", ...args], options);
  open.push(terminal);
  return terminal;
}

/** The editor's prompt: it clears the rest of the screen first. */
const prompt = "\u001b[0J> ";
const endless = ["--temperature", "100", "--seed", "1"]; // at this temperature it never ends by itself

async function ready(args: string[] = [], options: ConstructorParameters<typeof Terminal>[1] = {}): Promise<Terminal> {
  const terminal = chat(args, options);
  await terminal.until(prompt);
  return terminal;
}

describe("a chat at a terminal", () => {
  it("sets reasoning back, and breaks lines at words", async () => {
    const terminal = await ready([], { columns: 30 });
    const from = terminal.raw.length;
    await terminal.ask("Who are you?\r", prompt);
    expect(terminal.raw.slice(from)).toMatch(/\[2m[^\n]+/);
    const label = terminal.text.split("\n").slice(1, 5);
    expect(label.slice(0, 2)).toEqual(["demo model: answers about 130", "questions; it is not gpt-oss."]);
    for (const line of terminal.text.split("\n")) expect(line.length).toBeLessThanOrEqual(30);
  });

  it("has no colour where none is wanted", async () => {
    for (const env of [{ NO_COLOR: "1" }, { FORCE_COLOR: "0" }]) {
      const terminal = await ready([], { env });
      const text = await terminal.ask("What is 7 + 8?\r", "7 + 8 = 15");
      expect(terminal.raw).not.toContain("\u001b[2m");
      expect(text).toContain("[analysis] ");
    }
  });

  it("sends nothing to a dumb terminal that it would show", async () => {
    const terminal = chat([], { env: { TERM: "dumb" } });
    await terminal.until("> ");
    await terminal.ask("What is 7 + 8?\r", "7 + 8 = 15");
    expect(terminal.raw.slice(0, terminal.raw.indexOf("[exit"))).not.toContain("\u001b");
  });

  it("takes a pasted text of several lines as one message, which is sent with Enter", async () => {
    const terminal = await ready();
    const from = terminal.raw.length;
    terminal.paste("What is the\ncapital of\tJapan?");
    await terminal.until("What is the␊capital of␉Japan?", from);
    const answer = await terminal.ask("\r", prompt);
    expect(answer).not.toContain("Unknown");
    const stats = await terminal.ask("/stats\r", "KV cache");
    expect(stats).toMatch(/last answer/);
    expect(terminal.text.match(/^> ./gm)).toHaveLength(2); // one message and one command
  });

  it("takes lines between quotes as one message, which Ctrl-C gives up", async () => {
    const terminal = await ready();
    await terminal.ask('"""What is the capital\r', "... ");
    await terminal.ask(' of Japan?"""\r', "Tokyo");
    await terminal.until(prompt, terminal.raw.lastIndexOf("Tokyo"));
    await terminal.ask('"""What is\r', "... ");
    await terminal.ask("\u0003", prompt);
    expect(await terminal.ask("What is 7 + 8?\r", "7 + 8 = 15")).toBeTruthy();
  });

  it("completes commands and their values with Tab", async () => {
    const terminal = await ready();
    await terminal.ask("/ef\tl\t\r", "Reasoning effort: low");
    const both = await terminal.ask("/s\t\t", "/stats");
    expect(both).toContain("/system");
    await terminal.ask("\u0003/st\t\r", "KV cache");
  });

  it("keeps what is typed during an answer until the next prompt", async () => {
    const terminal = await ready();
    const text = await terminal.ask("Who are you?\r/effort\r", "Reasoning effort: medium");
    expect(text).toMatch(/> \/effort\nReasoning effort: medium/);
  });

  it("stops an answer at Ctrl-C, discards what is typed, and leaves when nothing is", async () => {
    const terminal = await ready(endless);
    const from = terminal.raw.length;
    terminal.type("Tell me a story.\r");
    await terminal.until(/story\.[\s\S]{40}/, from);
    await terminal.ask("\u0003", "(stopped)");
    await terminal.until(prompt, terminal.raw.indexOf("(stopped)"));
    await terminal.ask("/quit", "/quit");
    terminal.type("\u0003");
    await terminal.ask("/effort\r", "Reasoning effort: medium"); // and not /quit/effort
    terminal.type("\u0003");
    expect(await terminal.ended()).toBe(0);
    open.length = 0;
    expect(terminal.raw.slice(terminal.raw.indexOf("[exit"))).toMatch(/ icanon /); // restored settings
    expect(terminal.raw.lastIndexOf("\u001b[?2004l")).toBeGreaterThan(terminal.raw.lastIndexOf("\u001b[?2004h"));
  });

  it("is no failure where a command or a message was refused: the person has seen it", async () => {
    const terminal = await ready(["--context", "64"]);
    await terminal.ask("/bogus\r", "Unknown command /bogus");
    await terminal.ask("/effort max\r", "Expected low, medium or high");
    await terminal.ask(`${"What is 7 + 8? ".repeat(20)}\r`, "CONTEXT_OVERFLOW");
    terminal.type("/quit\r");
    expect(await terminal.ended()).toBe(0);
    open.length = 0;
  });

  it("leaves at Ctrl-D", async () => {
    const terminal = await ready();
    terminal.type("\u0004");
    expect(await terminal.ended()).toBe(0);
    open.length = 0;
  });

  it("ends at Ctrl-C while the model loads", async () => {
    const terminal = chat(["synthetic:small", "--kv-bytes", "64MiB", "--context", "256"]);
    await terminal.until("Loading synthetic:small");
    terminal.type("\u0003");
    expect(await terminal.ended()).toBe(130);
    open.length = 0;
    expect(terminal.text).not.toContain("gpt-oss: ");
  });

  it("breaks lines for the width that the window has by now", async () => {
    const terminal = await ready(endless, { columns: 100 });
    terminal.type("Tell me a story.\r");
    await terminal.until(/story\.[\s\S]{400}/);
    terminal.resize(20);
    // Text of the old width can still be on its way.
    const lastLines = () => terminal.text.split("\n").slice(-20, -1).map(textWidth);
    await expect.poll(() => Math.max(...lastLines()), { timeout: 20_000 }).toBeLessThanOrEqual(20);
    await terminal.ask("\u0003", "(stopped)");
  });

  it("asks before it drops the oldest turns, and goes on", async () => {
    const terminal = await ready(["--context", "120", "--effort", "low"]);
    for (const number of [1, 2]) {
      await terminal.ask(`What is ${number} + 8?\r`, prompt);
    }
    await terminal.ask("What is 3 + 8?\r", "and go on? [Y/n] ");
    expect(terminal.text).toMatch(/The context has 120 tokens, and the conversation takes \d+\./);
    const refused = await terminal.ask("n\r", prompt);
    expect(refused).toMatch(/\(the context of 120 tokens is full\)|CONTEXT_OVERFLOW/);
    await terminal.ask("What is 4 + 8?\r", "and go on? [Y/n] ");
    const dropped = await terminal.ask("\r", prompt);
    expect(dropped).toMatch(/\(dropped the oldest/);
    expect(dropped).toContain(" = ");
  });

  it("ends with its window", async () => {
    const terminal = await ready();
    const pid = terminal.pid();
    expect(existsSync(`/proc/${pid}`)).toBe(true);
    await terminal.vanish();
    open.length = 0;
    await expect.poll(() => existsSync(`/proc/${pid}`), { timeout: 20_000 }).toBe(false);
  });
});

describe("generate at a terminal", () => {
  it("shows several answers one after the other, each with its number", async () => {
    const terminal = new Terminal(["generate", "--prompt", "What is 7 + 8?", "--n", "2", "--no-reasoning"]);
    expect(await terminal.ended()).toBe(0);
    expect(terminal.text).toContain("[1 of 2]\n7 + 8 = 15\n\n[2 of 2]\n7 + 8 = 15\n");
  });
});
