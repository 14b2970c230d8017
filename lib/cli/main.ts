#!/usr/bin/env node
import { Command, CommanderError } from "commander";
import { packageVersion } from "../version.js";
import { chatCommand } from "./commands/chat.js";
import { doctorCommand } from "./commands/doctor.js";
import { generateCommand } from "./commands/generate.js";
import { inspectCommand } from "./commands/inspect.js";
import { serveCommand } from "./commands/serve.js";
import { exitCodeOf, exitCodes, reportError, UsageError } from "./exit.js";

const program = new Command("gpt-oss")
  .description("gpt-oss-20b and gpt-oss-120b on this machine. Without a model, an embedded tiny demo model answers.")
  .version(packageVersion());

for (const command of [chatCommand(), generateCommand(), serveCommand(), inspectCommand(), doctorCommand()])
  program.addCommand(command);

for (const command of [program, ...program.commands]) {
  command.exitOverride().configureOutput({ outputError: (text) => reportError(new UsageError(usageSentence(text))) });
}

// A reader that has seen enough, as `head` has, is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(exitCodes.success);
  throw error;
});

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof CommanderError)) reportError(error);
  process.exitCode = exitCodeOf(error);
}

/** Commander's complaint, which may have a suggestion on a second line, as one sentence. */
function usageSentence(text: string): string {
  return `${text
    .trim()
    .replace(/^error: /, "")
    .replaceAll("\n", " ")}; --help shows what there is`;
}
