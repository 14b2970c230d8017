#!/usr/bin/env node
import { Command, CommanderError } from "commander";
import { packageVersion } from "../version.js";
import { allCommands } from "./commands/all.js";
import { exitCodeOf, explained, Interrupted, UsageError } from "./exit.js";
import { reportError, watchStdio, writeNote, writeOut } from "./stdio.js";

watchStdio();

const program = new Command("gpt-oss")
  .description("Run gpt-oss-20b and gpt-oss-120b on this machine. Without a model, the embedded demo model answers.")
  .version(packageVersion())
  .addHelpText(
    "after",
    `
Exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted.
An error is one sentence on stderr with its code at the end.
With --json, stdout has results only.
Environment: GPT_OSS_MODEL is the default model, GPT_OSS_BACKEND the default
backend, GPT_OSS_ISA the instruction set of the CPU.
NO_COLOR and FORCE_COLOR are honoured.`,
  );

for (const command of allCommands()) program.addCommand(command);

const withInner = (command: Command): Command[] => [command, ...command.commands.flatMap(withInner)];
for (const command of withInner(program)) {
  command.exitOverride().configureOutput({
    writeOut,
    writeErr: writeNote,
    outputError: (text) => reportError(new UsageError(usageSentence(text))),
  });
}

try {
  await program.parseAsync();
} catch (thrown) {
  const error = explained(thrown);
  if (!(error instanceof CommanderError || error instanceof Interrupted)) reportError(error);
  process.exitCode = exitCodeOf(error);
}

/** Commander's error as one sentence; it may have a suggestion on a second line. */
function usageSentence(text: string): string {
  return `${text
    .trim()
    .replace(/^error: /, "")
    .replaceAll("\n", " ")
    .replace(/\.$/, "")}; --help shows what there is`;
}
