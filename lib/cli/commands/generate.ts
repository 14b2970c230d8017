import { text as readText } from "node:stream/consumers";
import { Command, Option } from "commander";
import { AnswerPrinter } from "../answer-printer.js";
import { exitCodes, UsageError } from "../exit.js";
import {
  type AnswerFlags,
  addAnswerOptions,
  addEngineOptions,
  addSamplingOptions,
  type EngineFlags,
  type LoadedModel,
  loadModel,
  modelArgument,
  type SamplingFlags,
  samplingOptions,
  tokenIds,
} from "../options.js";
import { Output } from "../output.js";

interface GenerateFlags extends EngineFlags, SamplingFlags, AnswerFlags {
  prompt?: string;
  tokens?: number[];
  raw?: true;
  system?: string;
  stopTokens?: number[];
  json?: true;
}

export function generateCommand(): Command {
  const command = new Command("generate")
    .description("One completion of --prompt, of --tokens, or of the text on stdin.")
    .argument("[model]", modelArgument)
    .option("--prompt <text>", "what to ask")
    .addOption(
      new Option("--tokens <ids>", "continue exactly these token ids").argParser(tokenIds).conflicts(["prompt", "raw"]),
    )
    .option("--raw", "continue the prompt as plain text, not as a conversation")
    .option("--system <text>", "instructions for the model")
    .option("--stop-tokens <ids>", "token ids that end the completion, with --raw or --tokens", tokenIds)
    .option("--json", "print one JSON object instead of text");
  addEngineOptions(addSamplingOptions(addAnswerOptions(command)));
  return command.action(generate);
}

async function generate(modelName: string | undefined, flags: GenerateFlags): Promise<void> {
  const isPlain = flags.raw === true || flags.tokens !== undefined;
  if (flags.stopTokens !== undefined && !isPlain) throw new UsageError("--stop-tokens needs --raw or --tokens");
  if (flags.system !== undefined && isPlain) throw new UsageError("--system has no place with --raw or --tokens");
  const prompt = flags.tokens ?? flags.prompt ?? (await promptFromStdin());
  const model = await loadModel(modelName, flags, "generate");
  await using _ = model.engine;
  if (typeof prompt !== "string" || isPlain) await continuePlain(model, prompt, flags);
  else await answer(model, prompt, flags);
}

/** All of stdin without its last end of line, as a shell's `$(...)` gives it. */
async function promptFromStdin(): Promise<string> {
  const text = process.stdin.isTTY ? "" : (await readText(process.stdin)).replace(/\r?\n$/, "");
  if (text === "") throw new UsageError("Expected --prompt TEXT, --tokens IDS or text on stdin");
  return text;
}

async function answer({ engine, model, isDemo }: LoadedModel, prompt: string, flags: GenerateFlags): Promise<void> {
  const run = engine.chat([{ role: "user", content: prompt }], {
    ...samplingOptions(flags, isDemo),
    reasoningEffort: flags.effort,
    ...(flags.system !== undefined && { developerInstructions: flags.system }),
  });
  const out = new Output(process.stdout);
  const result = await interruptible(run, async () => {
    const printer = new AnswerPrinter(out, flags.reasoning);
    for await (const event of run) if (!flags.json) printer.print(event);
    return run.result;
  });
  if (flags.json) out.line(JSON.stringify({ model, ...result }));
  else out.endLine();
}

async function continuePlain(
  { engine, model, isDemo }: LoadedModel,
  prompt: string | number[],
  flags: GenerateFlags,
): Promise<void> {
  const run = engine.generate(prompt, {
    ...samplingOptions(flags, isDemo),
    ...(flags.stopTokens !== undefined && { stopTokens: flags.stopTokens }),
  });
  const out = new Output(process.stdout);
  const result = await interruptible(run, async () => {
    for await (const { text } of run) if (!flags.json) out.text(text);
    return run.result;
  });
  if (flags.json) out.line(JSON.stringify({ model, ...result }));
  else if (out.isTerminal) out.endLine();
}

/** Ctrl-C ends the completion where it is; what there is of it counts, but the program ends as interrupted. */
async function interruptible<T>(run: { cancel(): void }, body: () => Promise<T>): Promise<T> {
  const interrupt = () => {
    process.exitCode = exitCodes.interrupted;
    run.cancel();
  };
  process.once("SIGINT", interrupt); // a second Ctrl-C ends the process at once
  try {
    return await body();
  } finally {
    process.off("SIGINT", interrupt);
  }
}
