import type { CompleterResult } from "node:readline";
import { nearest } from "../../common/unknown-option.js";

/** The commands of a chat: name, argument and meaning. */
export interface ChatCommand {
  name: string;
  /** As help shows it. */
  argument?: string;
  /** Values that it takes, where they can be listed. */
  values?: readonly string[];
  help: string;
}

const chatCommands = [
  {
    name: "effort",
    argument: "low|medium|high",
    values: ["low", "medium", "high"],
    help: "amount of reasoning before the answer; without a value, show it",
  },
  {
    name: "system",
    argument: "TEXT|none",
    values: ["none"],
    help: "instructions for the model; without a value, show them",
  },
  { name: "reset", help: "forget the conversation" },
  { name: "stats", help: "numbers of the last answer, and counters of the engine" },
  { name: "help", help: "show this list" },
  { name: "quit", help: "leave; Ctrl-D does the same, and Ctrl-C when nothing is typed and no answer runs" },
] as const satisfies readonly ChatCommand[];

type CommandName = (typeof chatCommands)[number]["name"];

const commands: readonly ChatCommand[] = chatCommands;

export function helpText(): string {
  const usages = commands.map(({ name, argument = "" }) => `/${name} ${argument}`);
  const width = Math.max(...usages.map((usage) => usage.length)) + 2;
  return [
    ...commands.map(({ help }, i) => usages[i]!.padEnd(width) + help),
    'Lines from """ to """ are one message; pasted lines are, too. Tab completes commands.',
  ].join("\n");
}

export interface ParsedCommand {
  /** null: there is no such command */
  name: CommandName | null;
  /** As it was typed. */
  word: string;
  value: string;
}

/** @returns null for what is a message */
export function parseCommand(line: string): ParsedCommand | null {
  const [, word, rest = ""] = /^\/(\S*)(?:\s+(.*))?$/.exec(line) ?? [];
  if (word === undefined) return null;
  const name = word === "exit" ? "quit" : chatCommands.find((command) => command.name === word)?.name;
  return { name: name ?? null, word, value: rest.trim() };
}

export function unknownCommand(word: string): string {
  const near = nearest(
    word,
    commands.map(({ name }) => name),
  );
  return `Unknown command /${word}; ${near === null ? "/help lists all" : `did you mean /${near}?`}`;
}

/** Completes a line for Tab: the commands that begin so, or the values of the command. */
export function complete(line: string): CompleterResult {
  const [, word, blank, begun = ""] = /^\/(\S*)(\s+)?(.*)$/.exec(line) ?? [];
  if (word === undefined) return [[], line];
  if (blank !== undefined) {
    const { values = [] } = commands.find(({ name }) => name === word) ?? {};
    return [values.filter((value) => value.startsWith(begun)), begun];
  }
  const found = commands.filter(({ name }) => name.startsWith(word));
  return [found.map(({ name, argument }) => `/${name}${argument === undefined ? "" : " "}`), line];
}
