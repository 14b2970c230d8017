import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { readReasoningKeys } from "../../../lib/cli/serve/reasoning-key.js";

const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-reasoning-key-"));
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => void vi.unstubAllEnvs());

const [ofFile, ofEnvironment] = ["f".repeat(32), "e".repeat(32)];
const file = path.join(folder, "key");

describe("readReasoningKeys", () => {
  it("reads the file, else the environment, else nothing", () => {
    vi.stubEnv("GPT_OSS_REASONING_KEY", "");
    expect(readReasoningKeys(undefined)).toBeUndefined();
    vi.stubEnv("GPT_OSS_REASONING_KEY", ofEnvironment);
    expect(readReasoningKeys(undefined)).toEqual([ofEnvironment]);
    writeFileSync(file, `${ofFile}\n`);
    expect(readReasoningKeys(file)).toEqual([ofFile]);
  });

  it("reads one secret in each line, and no comments", () => {
    const older = "o".repeat(32);
    const text = `# ${"c".repeat(40)}\n  ${ofFile}\r\n\n${older}\n`;
    writeFileSync(file, text);
    expect(readReasoningKeys(file)).toEqual([ofFile, older]);
    vi.stubEnv("GPT_OSS_REASONING_KEY", text);
    expect(readReasoningKeys(undefined)).toEqual([ofFile, older]);
    writeFileSync(file, `${ofFile}\nshort secret\n`);
    expect(() => readReasoningKeys(file)).toThrow("line 2");
    for (const text of ["", "\n", `${ofFile}\nshort secret\n`, `${ofFile}\n`.repeat(9)]) {
      writeFileSync(file, text);
      expect(() => readReasoningKeys(file)).toThrow(
        `Expected a secret of 32 to 4096 characters in each line, at most 8 lines, in the file ${file}`,
      );
    }
  });

  it("names the file or the variable that cannot be used, and quotes no secret", () => {
    const refused = (use: () => unknown) => {
      try {
        use();
      } catch (error) {
        return error as Error & { code: string };
      }
      throw new Error("was not refused");
    };
    vi.stubEnv("GPT_OSS_REASONING_KEY", "short secret");
    writeFileSync(file, "short secret");
    const errors = [refused(() => readReasoningKeys(undefined)), refused(() => readReasoningKeys(file))];
    errors.push(refused(() => readReasoningKeys(path.join(folder, "none"))));
    const places = ["GPT_OSS_REASONING_KEY", `the file ${file} of --reasoning-key-file`, path.join(folder, "none")];
    for (const [index, error] of errors.entries()) {
      expect(error).toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringContaining(places[index]!) });
      expect(error.message).not.toContain("short secret");
    }
  });
});
