import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { readmeText } from "../../../lib/pull/bundle.js";

/** README.txt of a bundle: its commands are copied into a shell. */

describe("a command of a bundle's README", () => {
  it.each([
    "model",
    "model/gpt-oss-20b-MXFP4.gguf",
    "model/Q8_0/a model.gguf",
    "model/模型 #1?.gguf",
    "model/it's $HOME.gguf",
  ])("has %s as one word", (name) => {
    const pulled = { repository: "me/x", commit: "a".repeat(40), path: `/made/${name}` };
    const text = readmeText(pulled, "/made", "linux-x64");
    const [, words] = /^ {2}node gpt-oss\.mjs chat (.*)$/m.exec(text)!;
    expect(execFileSync("sh", ["-c", `printf '%s|' ${words}`], { encoding: "utf8" })).toBe(`${name}|`);
    expect(words!.startsWith("'")).toBe(/[^\w./-]/.test(name));
  });
});
