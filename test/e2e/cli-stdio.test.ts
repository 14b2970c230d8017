import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { finish, listen, runShell, start, startShell } from "../support/cli.js";

/** The program's behaviour when its output cannot be written, its input cannot be read, or a signal stops it. */

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-stdio-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const commands = [
  "gpt-oss --help",
  "gpt-oss --version",
  "gpt-oss chat --help",
  "gpt-oss inspect demo",
  "gpt-oss inspect demo --json",
  "gpt-oss doctor",
  "gpt-oss doctor --json",
  "echo hi | gpt-oss chat",
  "gpt-oss generate --prompt hi",
  "gpt-oss generate --prompt hi --json",
  "gpt-oss generate --raw --prompt hi --max-tokens 2",
  "gpt-oss serve --port 0 --log-level silent",
];

/** Errors only, without the lines about the model and its reasoning. */
function complaints(stderr: string): string[] {
  return stderr.split("\n").filter((line) => line !== "" && !/^(demo model: |\[analysis\] )/.test(line));
}

describe("stdout", () => {
  it.each(commands)("on a full disk is one sentence: %s", async (command) => {
    const { code, stderr } = await runShell(`set -o pipefail; ${command} > /dev/full`);
    expect(complaints(stderr)).toEqual([
      "gpt-oss: The output could not be written: ENOSPC: no space left on device, write (ENOSPC)",
    ]);
    expect(code).toBe(1);
  });

  it.each(commands)("that nobody reads is the end, quietly: %s", async (command) => {
    // The reader exits before the first word.
    const { code, stderr } = await runShell(`set -o pipefail; { exec 3>&1; ${command} > >(exit 0); }`);
    expect(complaints(stderr)).toEqual([]);
    expect(code).toBe(0);
  });

  it("that takes only a part is a failure, and no file that looks whole", async () => {
    const file = path.join(folder, "part.json");
    const { code, stderr } = await runShell(`trap '' XFSZ; ulimit -f 1; gpt-oss inspect demo --json > ${file}`);
    expect(readFileSync(file)).toHaveLength(1024);
    expect(complaints(stderr)).toEqual([expect.stringMatching(/^gpt-oss: The output could not .* \(EFBIG\)$/)]);
    expect(code).toBe(1);
  });

  it("that is closed loses what there is, and nothing else", async () => {
    const { code, stderr } = await runShell("gpt-oss generate --prompt hi >&-");
    expect({ code, complaints: complaints(stderr) }).toEqual({ code: 0, complaints: [] });
  });
});

describe("stderr", () => {
  it.each(["2>/dev/full", "2>&-", "2> >(exit 0)"])("that takes nothing does not matter: %s", async (redirection) => {
    const answered = await runShell(`gpt-oss generate --prompt "What is 7 + 8?" ${redirection}`);
    expect(answered).toMatchObject({ code: 0, stdout: "7 + 8 = 15\n" });
    const refused = await runShell(`gpt-oss frobnicate ${redirection}`);
    expect(refused).toMatchObject({ code: 2, stdout: "" });
  });

  it("of a server that takes nothing does not keep it from answering", async () => {
    const child = startShell('exec "$NODE" "$PROGRAM" serve --port 0 2>/dev/full');
    const stdout = listen(child.stdout);
    await stdout.until("\n");
    const url = /http:\S+/.exec(stdout.text)![0];
    for (let i = 0; i < 3; i++) expect((await fetch(`${url}/v1/models`)).status).toBe(200);
    child.kill("SIGTERM");
    expect((await once(child, "close"))[0]).toBe(0);
  });
});

describe("stdin", () => {
  it.each(["chat", "generate"])("of %s that is a folder is one sentence", async (command) => {
    const { code, stdout, stderr } = await runShell(`gpt-oss ${command} < /tmp`);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toBe("gpt-oss: The input is a folder, which cannot be read (EISDIR)\n");
  });

  it("that cannot be read is one sentence", async () => {
    const file = path.join(folder, "for-writing");
    for (const command of ["chat", "generate"]) {
      const { code, stderr } = await runShell(`gpt-oss ${command} 0>${file}`);
      expect(code).toBe(1);
      expect(complaints(stderr)).toEqual([expect.stringMatching(/^gpt-oss: .*\(EBADF\)$/)]);
    }
  });

  it("that is closed is empty", async () => {
    expect(await runShell("gpt-oss chat <&-")).toMatchObject({ code: 0, stdout: "" });
    expect(await runShell("gpt-oss generate <&-")).toMatchObject({ code: 2, stdout: "" });
  });

  it("may end anywhere, also within a character", async () => {
    const file = path.join(folder, "cut");
    writeFileSync(file, Buffer.from("What is 7 + 8?\né").subarray(0, -1));
    const { code, stdout } = await runShell(`gpt-oss chat < ${file}`);
    expect(code).toBe(0);
    expect(stdout.split("\n")[0]).toBe("7 + 8 = 15");
  });
});

describe("a signal", () => {
  const large = ["synthetic:small", "--kv-bytes", "64MiB", "--context", "256"];

  it.each(["chat", "generate"])("while %s loads ends it without a stack trace", async (command) => {
    for (const delay of [0, 100, 300, 600, 900]) {
      const child = start([command, ...large]);
      const done = finish(child, "hi\n");
      await new Promise((resolve) => setTimeout(resolve, delay));
      child.kill("SIGINT");
      const { code, stderr } = await done;
      // Before the program starts, the signal itself ends the process. After loading, a chat only stops its answer.
      expect(command === "chat" ? [130, null, 0] : [130, null]).toContain(code);
      expect(complaints(stderr).filter((line) => line !== "(stopped)")).toEqual([]);
    }
  });

  it("while answers are piped stops one, and the next one ends all", async () => {
    const child = start(["chat", "--temperature", "100", "--seed", "1"]);
    const [stdout, stderr] = [listen(child.stdout), listen(child.stderr)];
    const closed = once(child, "close");
    child.stdin.write("Tell me a story.\n");
    await Promise.race([stdout.until(/\S/), stderr.until(/\[.*\S.*\n?/)]);
    child.kill("SIGINT");
    await stderr.until("(stopped)");
    child.kill("SIGINT");
    expect((await closed)[0]).toBe(0);
  });

  it("that the terminal is gone ends a chat", async () => {
    const child = start(["chat"]);
    const stderr = listen(child.stderr);
    const closed = once(child, "close");
    await stderr.until("demo model");
    child.kill("SIGHUP");
    expect(await closed).toEqual([null, "SIGHUP"]);
  });
});
