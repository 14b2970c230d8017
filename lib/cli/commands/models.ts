import { Command } from "commander";
import { type FoundModel, listModels, sourceWords, unreadableFolders } from "../../models/index.js";
import { bytesText, Output } from "../output.js";

export function modelsCommand(): Command {
  return new Command("models")
    .description("List the gpt-oss models that other programs keep on this machine, each with the name to load it by.")
    .option("--json", "print one JSON object instead of text")
    .addHelpText(
      "after",
      `
Searched are the Hugging Face cache (HF_HUB_CACHE, HF_HOME), LM Studio's folder
and Ollama's folder (OLLAMA_MODELS). Nothing is changed there.`,
    )
    .action(models);
}

async function models(flags: { json?: true }): Promise<void> {
  const found = await listModels();
  const unreadable = await unreadableFolders();
  const out = Output.stdout();
  if (flags.json) {
    out.line(JSON.stringify({ models: found, unreadable }));
    return;
  }
  const notes = Output.stderr();
  const where = unreadable.length > 0 ? "in the folders that can be read" : "on this machine";
  if (found.length > 0) print(out, found);
  else notes.line(`No model is ${where}. "gpt-oss pull openai/gpt-oss-20b" gets one.`);
  for (const { source, path, problem } of unreadable)
    notes.line(`Not read: ${path} (${sourceWords(source)}): ${problem}`);
}

function print(out: Output, found: readonly FoundModel[]): void {
  const heading = ["name", "source", "size", "format"];
  const rows = found.map(({ name, source, bytes, format, problem }) => [
    name,
    sourceWords(source),
    bytesText(bytes),
    problem === null ? format : `${format}; ${problem}`,
  ]);
  const widths = heading.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)));
  for (const row of [heading, ...rows]) {
    out.line(row.map((cell, column) => (column < 3 ? cell.padEnd(widths[column]! + 2) : cell)).join(""));
  }
}
