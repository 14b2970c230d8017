import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { type Command, CommanderError } from "commander";
import { describe, expect, it } from "vitest";
import { allCommands } from "../../lib/cli/commands/all.js";
import { packageRoot } from "../../lib/package-root.js";
import { pages } from "../support/markdown.js";
import { shellCommands } from "../support/shell-words.js";

const optionsOf = (command: Command) => [...command.options.flatMap(({ long, short }) => [long, short]), "--help"];
const everyOption = new Set(allCommands().flatMap((command) => [command, ...command.commands].flatMap(optionsOf)));

const { scripts } = JSON.parse(readFileSync(path.join(packageRoot, "package.json"), "utf8")) as {
  scripts: Record<string, string>;
};

/** Pages where an option without a command belongs to gpt-oss, except options of bundlers and package managers. */
const aboutUs = /^(README|docs\/(benchmarks|cli|cpu|gpu|library|models|plan|server|fr\/.*|operations\/.*))\.md$/;
const foreign = /^--(external:|ignore-)/;

/** Returns the reason why a shell would not run these words as the page expects, or null. */
function wrong(words: readonly string[], isWhole: boolean): string | null {
  const [program, name = "", ...rest] = words;
  const [next = "", ...afterNext] = rest;
  const line = words.join(" ");
  const installed = /^node_modules\/gpt-oss-node\//; // the package as a user has it
  const lacks = (file: string) => !existsSync(path.join(packageRoot, file.replace(installed, "")));
  if (program === "npm" && name === "run") {
    const script = rest[0] ?? "";
    const known = Object.keys(scripts);
    const isKnown = /^[\w:]+:\{.*\}$/.test(script) || known.includes(script);
    return isKnown ? null : `${line}: no such script`;
  }
  if (program === "node" && name.includes("/") && !name.startsWith("-")) {
    return lacks(name) ? `${line}: no such file` : null;
  }
  if (program === "vitest") {
    const missing = rest.filter((file) => file.includes("/") && !/[A-Z]{3}/.test(file) && lacks(file));
    return missing.length > 0 ? `${line}: no such file` : null;
  }
  if (program !== "gpt-oss" || name === "" || name.startsWith("-")) return null;
  const command = allCommands().find((each) => each.name() === name); // a new one, because it remembers its options
  if (command === undefined) return `${line}: no such command`;
  const check = isWhole ? refusal : unknownOptions;
  if (command.commands.length === 0 || next === "" || next.startsWith("-")) return check(command, rest, line);
  const subcommand = command.commands.find((each) => each.name() === next);
  return subcommand === undefined ? `${line}: no such command` : check(subcommand, afterNext, line);
}

function unknownOptions(command: Command, words: readonly string[], line: string): string | null {
  const known = optionsOf(command);
  const unknown = words.filter((word) => word.startsWith("--") && !known.includes(word.replace(/=.*/, "")));
  return unknown.length > 0 ? `${line}: ${unknown.join(", ")} is not known` : null;
}

/** Returns the program's own error for these words, or null. */
function refusal(command: Command, words: readonly string[], line: string): string | null {
  const silent = () => {};
  try {
    command.exitOverride().configureOutput({ writeOut: silent, writeErr: silent }).action(silent);
    command.parse(words, { from: "user" });
    return null;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return null; // --help
    return `${line}: ${(error as Error).message}`;
  }
}

describe.each(pages.map((page) => [page.name, page] as const))("%s", (_, page) => {
  it("has command lines that its programs take", () => {
    const shell = page.blocks.filter(({ language }) => ["", "sh"].includes(language));
    const lines = shell.flatMap(({ code }) => shellCommands(code));
    expect(lines.flatMap((words) => wrong(words, true) ?? [])).toEqual([]);
  });

  it("names commands and options that there are", () => {
    const spans = page.spans.flatMap(shellCommands);
    expect(spans.flatMap((words) => wrong(words, false) ?? [])).toEqual([]);
    if (!aboutUs.test(page.name)) return;
    const options = spans.flatMap(([first = ""]) => (first.startsWith("--") ? [first.replace(/=.*/, "")] : []));
    expect(options.filter((option) => !everyOption.has(option) && !foreign.test(option))).toEqual([]);
  });
});

describe("the reader of command lines", () => {
  it("splits as a shell does", () => {
    expect(
      shellCommands("A=1 sudo x --a=\"b c\" 'd' # e\ny f#g \\\n  h | z && $ npx w > v\n# only a comment\n"),
    ).toEqual([["x", "--a=b c", "d"], ["y", "f#g", "h"], ["z"], ["w"], ["v"]]);
  });

  it.each([
    ["gpt-oss sing", "gpt-oss sing: no such command"],
    ["gpt-oss bench sing", "gpt-oss bench sing: no such command"],
    [
      "gpt-oss bench serve http://127.0.0.1:8080 --rat 1",
      "gpt-oss bench serve http://127.0.0.1:8080 --rat 1: error: unknown option '--rat'\n(Did you mean --rate?)",
    ],
    ["gpt-oss bench serve", "gpt-oss bench serve: error: missing required argument 'url'"],
    ["gpt-oss bench serve http://127.0.0.1:8080 --rate 1,2", null],
    ["gpt-oss serve --prot 1", "gpt-oss serve --prot 1: error: unknown option '--prot'\n(Did you mean --port?)"],
    ["gpt-oss serve --port", "gpt-oss serve --port: error: option '--port <n>' argument missing"],
    ["npm run sing", "npm run sing: no such script"],
    ["node test/sing.mjs", "node test/sing.mjs: no such file"],
    ["node node_modules/gpt-oss-node/native/build.mjs", null],
    ["node node_modules/gpt-oss-node/sing.mjs", "node node_modules/gpt-oss-node/sing.mjs: no such file"],
    ["npx vitest run test/sing.test.ts", "vitest run test/sing.test.ts: no such file"],
    ["gpt-oss chat --help", null],
    ["gpt-oss generate --prompt hello --json", null],
    ["npm run build && npm run test:{native,lib}", null],
  ])("knows what is wrong: %s", (line, complaint) => {
    expect(shellCommands(line).flatMap((words) => wrong(words, true) ?? [])).toEqual(
      complaint === null ? [] : [complaint],
    );
  });
});
