import { text as readText } from "node:stream/consumers";
import { Command, Option } from "commander";
import { UsageError } from "../exit.js";
import { answer } from "../generate/answers.js";
import { continuePlain } from "../generate/plain.js";
import { type CompletionRequest, checkFormat, readSchema } from "../generate/request.js";
import { chosenModel, loadModel } from "../load-model.js";
import { adapterOfRequests } from "../options/adapters.js";
import { addEngineOptions, type EngineFlags, engineOptions, modelArgument } from "../options/engine.js";
import {
  type AnswerFlags,
  addAnswerOptions,
  addSamplingOptions,
  checkRequest,
  type SamplingFlags,
  samplingOptions,
} from "../options/request.js";
import { integer, repeated, tokenIds } from "../options/values.js";
import { pipedStdin } from "../terminal/piped-input.js";

interface GenerateFlags extends EngineFlags, SamplingFlags, AnswerFlags {
  prompt?: string;
  tokens?: number[];
  raw?: true;
  system?: string;
  stop?: string[];
  stopTokens?: number[];
  n?: number;
  logprobs?: number;
  schema?: string;
  json?: true;
}

export function generateCommand(): Command {
  const command = new Command("generate")
    .description("Write one completion of --prompt, of --tokens or of the text on stdin.")
    .argument("[model]", modelArgument)
    .option("--prompt <text>", "the question")
    .addOption(
      new Option("--tokens <ids>", "token ids to continue, as they are")
        .argParser(tokenIds)
        .conflicts(["prompt", "raw"]),
    )
    .option("--raw", "continue the prompt as plain text, not as a conversation")
    .option("--system <text>", "instructions for the model")
    .option("--stop <text>", "end the answer before this text; can be repeated", repeated)
    .option("--stop-tokens <ids>", "token ids that end the completion; needs --raw or --tokens", tokenIds)
    .option("--n <n>", "number of completions; the prompt is computed once", integer)
    .option("--logprobs <n>", "number of likeliest tokens to show for each position; needs --json", integer)
    .option("--schema <json>", "the answer is JSON of this schema, which is JSON text or a file")
    .option("--json", "print one JSON object instead of text");
  addEngineOptions(addSamplingOptions(addAnswerOptions(command)), "as many as --n");
  return command.action(generate);
}

async function generate(modelName: string | undefined, flags: GenerateFlags): Promise<void> {
  const isPlain = flags.raw === true || flags.tokens !== undefined;
  refuseCombinations(flags, isPlain);
  const chosen = chosenModel(modelName);
  const request = completionRequest(flags, chosen.isDemo);
  const options = { maxSequences: request.n, ...engineOptions(flags) };
  const prompt = flags.tokens ?? flags.prompt ?? (await promptFromStdin());
  if (request.format !== null) await checkFormat(request.format);
  const model = await loadModel(chosen, options, "generate");
  await using _ = model.engine;
  if (typeof prompt !== "string" || isPlain) {
    await continuePlain(model, prompt, { ...request, stopTokens: flags.stopTokens });
  } else {
    const { effort, reasoning, system: instructions } = flags;
    await answer(model, { ...request, prompt, instructions, effort, reasoning });
  }
}

function refuseCombinations({ stopTokens, system, logprobs, json }: GenerateFlags, isPlain: boolean): void {
  if (stopTokens !== undefined && !isPlain) throw new UsageError("--stop-tokens needs --raw or --tokens");
  if (system !== undefined && isPlain) throw new UsageError("--system cannot be used with --raw or --tokens");
  if (logprobs !== undefined && !json) throw new UsageError("--logprobs needs --json");
}

function completionRequest(flags: GenerateFlags, isDemo: boolean): CompletionRequest {
  const { n = 1, stop = [], stopTokens, logprobs = null, schema, json = false, speed = false } = flags;
  const sampling = { ...samplingOptions(flags, isDemo), ...adapterOfRequests(flags) };
  checkRequest({ n, stop, ...(logprobs !== null && { logprobs }), ...(stopTokens !== undefined && { stopTokens }) });
  return { sampling, n, stop, logprobs, format: schema === undefined ? null : readSchema(schema), json, speed };
}

/** All of stdin without its last end of line, as a shell's `$(...)` gives it. */
async function promptFromStdin(): Promise<string> {
  const text = process.stdin.isTTY ? "" : (await readText(pipedStdin())).replace(/\r?\n$/, "");
  if (text === "") throw new UsageError("Expected --prompt TEXT, --tokens IDS or text on stdin");
  return text;
}
