import { Command } from "commander";
import { GptOssError } from "../../errors.js";
import { type VerifiedFile, type VerifiedModel, verifyModel } from "../../pull/index.js";
import { bytesText, Output } from "../output.js";
import { withTransfer } from "../transfer-status.js";

export function verifyCommand(): Command {
  return new Command("verify")
    .description("Hash the files of a model again, and say which are damaged. Exits with 1 if one is.")
    .argument("<model>", "folder, file, or the name of a model on this machine")
    .option("--json", "print one JSON object instead of text")
    .addHelpText("after", '\n"gpt-oss pull" with the same repository repairs a damaged file, and fetches no\nother.')
    .action(verify);
}

const sources = {
  "huggingface-cache": "the names of the blobs in the Hugging Face cache",
  "huggingface-local-dir": "the records of hf download",
  ollama: "the name of Ollama's blob",
  SHA256SUMS: "SHA256SUMS",
};

const pullAgain = '"gpt-oss pull" with the repository repairs this';
const remedies = {
  "huggingface-cache": pullAgain,
  "huggingface-local-dir": `${pullAgain}, with --dir and this folder`,
  // Ollama does not hash a blob again that is there already.
  ollama: 'remove what is damaged, and "ollama pull" with the model\'s name loads it again',
  SHA256SUMS: `copy it again, or ${pullAgain}, with --dir and this folder`,
};

async function verify(model: string, { json }: { json?: true }): Promise<void> {
  const result = await withTransfer(Output.stderr(), "Stopped", (watch) => verifyModel(model, watch));
  const out = Output.stdout();
  if (json) out.line(JSON.stringify(result));
  else print(result, out);
  const wrong = result.files.filter(({ state }) => state !== "whole");
  if (wrong.length === 0) return;
  const names = wrong.map(({ name, state }) => `${name} (${state})`).join(", ");
  throw new GptOssError(
    "MODEL_FORMAT",
    `Expected whole files, found ${wrong.length} of ${result.files.length} otherwise: ${names}; ${remedies[result.source]}`,
  );
}

function print({ folder, source, files }: VerifiedModel, out: Output): void {
  out.line(`${folder}, hashes from ${sources[source]}`);
  for (const file of files) out.line(`${described(file).padEnd(11)}${file.name}${sizeText(file)}`);
}

function described({ state }: VerifiedFile): string {
  return state === "whole" ? "whole" : state.toUpperCase();
}

function sizeText({ bytes }: VerifiedFile): string {
  return bytes === null ? "" : `, ${bytesText(bytes)}`;
}
