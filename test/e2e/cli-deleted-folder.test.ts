import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { runShell } from "../support/cli.js";

/** Commands in a working directory that was deleted. */

const home = mkdtempSync(path.join(tmpdir(), "gpt-oss-deleted-"));
afterAll(() => rmSync(home, { recursive: true }));

const env = { HF_HOME: home, HF_ENDPOINT: "http://127.0.0.1:9", HF_HUB_OFFLINE: "" };
const inDeleted = (command: string) =>
  runShell(`mkdir -p "$FOLDER" && cd "$FOLDER" && rmdir "$FOLDER" && gpt-oss ${command} </dev/null`, {
    ...env,
    FOLDER: path.join(home, command.replaceAll(/\W/g, "-")),
  });

const sentence =
  "gpt-oss: The working directory was deleted or cannot be read (ENOENT); change to another one with cd, and run the command again (INVALID_ARGUMENT)\n";

describe("in a working directory that was deleted", () => {
  it.each([
    "pull 20b --dir sub",
    "pull 20b --bundle sub",
    "chat nope",
    "generate nope --prompt x",
    "serve nope",
    "inspect nope",
    "plan nope",
    "verify nope",
  ])("gpt-oss %s says what to do", async (command) => {
    expect(await inDeleted(command)).toEqual({ code: 2, stdout: "", stderr: sentence });
  });

  it("an adapter in it is refused so, after the note about the model", async () => {
    const { code, stdout, stderr } = await inDeleted("generate demo --prompt x --adapter a=sub");
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(/^demo model: /);
    expect(stderr.endsWith(`\n${sentence}`)).toBe(true);
  });

  it("a command that needs none works", async () => {
    const { code, stdout } = await inDeleted("inspect demo --json");
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ source: "demo" });
  });
});
