import path from "node:path";
import { Command } from "commander";
import { nearest } from "../../common/unknown-option.js";
import { GptOssError } from "../../errors.js";
import { UsageError } from "../exit.js";
import { type KnownModel, knownModels, knownRepository } from "../known-models.js";
import { Output } from "../output.js";

const table = knownModels
  .map(
    ({ repository, parameters, download, memory }) =>
      `  ${repository.padEnd(20)}  ${parameters}, ${download} to download; ${memory}`,
  )
  .join("\n");

export function pullCommand(): Command {
  return new Command("pull")
    .description("Show the steps that get a model. This version downloads nothing itself, so it exits with 1.")
    .argument("<repository>", "repository of Hugging Face, such as openai/gpt-oss-20b")
    .option("--dir <folder>", "folder for the model (default: one of its name in this folder)")
    .addHelpText("after", `\nModels:\n${table}`)
    .action(pull);
}

function pull(repository: string, { dir }: { dir?: string }): void {
  const known = knownRepository(repository);
  if (known === null) throw new UsageError(unknownSentence(repository));
  if (dir === "") throw new UsageError("Expected a folder for --dir");
  const notes = Output.stderr();
  notes.line(stepsFor(known, dir ?? path.posix.basename(known.repository)));
  throw new GptOssError(
    "UNSUPPORTED",
    `This version downloads nothing itself; the steps above get ${known.repository}`,
  );
}

function unknownSentence(repository: string): string {
  const names = knownModels.map((known) => known.repository);
  const short = names.map((name) => path.posix.basename(name));
  const near = nearest(repository, names) ?? names[short.indexOf(nearest(repository, short) ?? "")];
  const hint = near === undefined ? `known are ${names.join(" and ")}` : `did you mean ${near}?`;
  return `Unknown repository ${JSON.stringify(repository)}; ${hint}`;
}

/** Subfolders are left out: they have the same weights in other formats. */
function stepsFor({ repository, parameters, download, memory }: KnownModel, dir: string): string {
  const folder = shellWord(dir);
  const model = path.isAbsolute(dir) || dir.startsWith(".") ? folder : shellWord(`./${dir}`);
  return `${repository}: ${parameters}, ${download} to download; ${memory}. These steps get it and start it:

  pip install -U huggingface_hub
  hf download ${repository} --exclude "*/*" --local-dir ${folder}
  gpt-oss chat ${model}
`;
}

function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
