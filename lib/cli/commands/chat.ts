import { Command } from "commander";
import { complete } from "../chat/commands.js";
import { type EnteredText, MessageReader } from "../chat/message-reader.js";
import { ChatSession, type SessionFlags } from "../chat/session.js";
import { getModel } from "../get-model.js";
import { chosenModel, loadModel } from "../load-model.js";
import { adapterOfRequests } from "../options/adapters.js";
import { addEngineOptions, type EngineFlags, engineOptions, modelArgument } from "../options/engine.js";
import { addAnswerOptions, addSamplingOptions, type SamplingFlags, samplingOptions } from "../options/request.js";
import type { LineInput } from "../terminal/line-input.js";
import { PipedInput, pipedStdin } from "../terminal/piped-input.js";
import { TerminalInput } from "../terminal/terminal-input.js";

interface ChatFlags extends EngineFlags, SamplingFlags, SessionFlags {
  yes?: true;
}

export function chatCommand(): Command {
  const command = new Command("chat")
    .description(
      'Chat with a model. Each line is a message; lines from """ to """ are one message. Lines that begin with / are commands: see /help.',
    )
    .argument("[model]", modelArgument)
    .option("--system <text>", "instructions for the model")
    .option("--drop-oldest", "when the context is full, drop the oldest turns without asking")
    .option("--yes", "download a model that is missing without asking");
  addEngineOptions(addSamplingOptions(addAnswerOptions(command)), "1");
  return command.action(chat);
}

async function chat(modelName: string | undefined, flags: ChatFlags): Promise<void> {
  const chosen = chosenModel(modelName);
  const sampling = { ...samplingOptions(flags, chosen.isDemo), ...adapterOfRequests(flags) };
  const options = { maxSequences: 1, ...engineOptions(flags) };
  const isTerminal = process.stdin.isTTY === true && process.stdout.isTTY === true;
  const piped = isTerminal ? null : pipedStdin();
  await getModel(chosen, flags.yes === true, isTerminal);
  const model = await loadModel(chosen, options, "chat");
  await using _ = model.engine;

  const stop = () => session.stop();
  const input: LineInput =
    piped === null ? new TerminalInput(process.stdin, process.stdout, stop) : new PipedInput(piped);
  const session = new ChatSession({
    model,
    sampling,
    flags,
    confirm: isTerminal ? (question) => confirm(input, question) : null,
  });
  const interrupt = () => {
    if (!session.stop()) input.interrupt();
  };
  process.on("SIGINT", interrupt);
  try {
    await converse(session, input, isTerminal);
  } finally {
    process.off("SIGINT", interrupt);
    input.close();
  }
}

async function converse(session: ChatSession, input: LineInput, isTerminal: boolean): Promise<void> {
  const reader = new MessageReader();
  for (;;) {
    const line = await input.ask({ prompt: reader.isOpen ? "... " : "> ", remembers: true, complete });
    if (line.kind === "interrupt" && reader.isOpen) {
      reader.discard();
      continue;
    }
    if (line.kind === "interrupt") return;
    const entered = line.kind === "line" ? reader.take(line.text) : rest(reader, isTerminal);
    if (entered !== null && (await session.take(entered)) === "quit") return;
    if (line.kind === "end") return;
  }
}

/** A file can end without the last quotes. A person who leaves before them does not send the message. */
function rest(reader: MessageReader, isTerminal: boolean): EnteredText | null {
  return isTerminal ? null : reader.end();
}

async function confirm(input: LineInput, question: string): Promise<boolean> {
  const line = await input.ask({ prompt: question, remembers: false });
  return line.kind === "line" && /^\s*(y(es)?)?\s*$/i.test(line.text);
}
