import { Command } from "commander";
import { GptOssError } from "../../errors.js";
import { makeBundle } from "../../pull/bundle.js";
import { type PulledModel, pullModel } from "../../pull/index.js";
import { knownModels, nearRepository } from "../../pull/known-models.js";
import { bytesText, counted, Output } from "../output.js";
import { withTransfer } from "../transfer-status.js";

const table = knownModels
  .map(
    ({ repository, parameters, downloadBytes, memory }) =>
      `  ${repository}\n    ${parameters}, ${bytesText(downloadBytes)} to download;\n    ${memory}`,
  )
  .join("\n");

export function pullCommand(): Command {
  return new Command("pull")
    .description("Download a model from the Hugging Face hub and check it. The same command resumes and repairs.")
    .argument("<repository>", "repository such as openai/gpt-oss-20b, owner/name@revision:file; 20b, 120b")
    .option("--dir <folder>", "plain folder for the files (default: the Hugging Face cache)")
    .option("--revision <name>", "branch, tag or commit (default: main)")
    .option("--file <name>", "one .gguf file of a repository that has several, or its quantization")
    .option("--bundle <folder>", "new folder with model and program, for a machine without a network")
    .option("--json", "print one JSON object instead of text")
    .addHelpText(
      "after",
      `
Models:
${table}
Environment: HF_TOKEN, HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE,
HTTPS_PROXY and NO_PROXY are honoured.`,
    )
    .action(pull);
}

interface PullFlags {
  dir?: string;
  revision?: string;
  file?: string;
  bundle?: string;
  json?: true;
}

async function pull(repository: string, { json, dir, bundle, ...flags }: PullFlags): Promise<void> {
  if (dir !== undefined && bundle !== undefined) {
    const message = "Expected one of --dir and --bundle but received both; a bundle has the model in its own folder";
    throw new GptOssError("INVALID_ARGUMENT", message, { field: "bundle" });
  }
  const notes = Output.stderr();
  const options = { repository, dir, ...flags };
  const result = await withTransfer(notes, "Stopped; the same command goes on from here", (watch) =>
    bundle === undefined ? pullModel({ ...options, ...watch }) : makeBundle(bundle, { ...options, ...watch }),
  ).catch((error: unknown) => {
    throw withSuggestion(error, repository);
  });
  const out = Output.stdout();
  if (json) out.line(JSON.stringify(result));
  else tell(result, out, bundle);
}

function tell(
  { repository, commit, files, totalBytes, downloadedBytes, path }: PulledModel,
  out: Output,
  bundle?: string,
): void {
  const count = (state: string) => files.filter((file) => file.state === state);
  const repaired = count("repaired").map(({ name }) => name);
  out.line(
    `${repository} at ${commit.slice(0, 12)}: ${counted(files.length, "file")}, ${bytesText(totalBytes)}, all checked`,
  );
  if (repaired.length > 0) out.line(`repaired: ${repaired.join(", ")}`);
  if (downloadedBytes === 0) out.line("everything was there already");
  out.line(bundle === undefined ? path : `${bundle} is ready; README.txt in it says how to use it`);
}

/** A name that is not on the hub may be misspelt. */
function withSuggestion(error: unknown, repository: string): unknown {
  const isUnknown = error instanceof GptOssError && error.field === "repository";
  const near = isUnknown ? nearRepository(repository) : null;
  if (near === null || !isUnknown) return error;
  return new GptOssError(error.code, `${error.message}; did you mean ${near}?`, { cause: error, field: error.field });
}
