import { GptOssError } from "../errors.js";
import { isOnlyPath, repositoryName, repositoryToPull } from "../models/index.js";
import { pullModel } from "../pull/index.js";
import { offerLines, offerOf, offerQuestion } from "./download-offer.js";
import { Interrupted } from "./exit.js";
import { type ChosenModel, resolveChosen } from "./load-model.js";
import { Output } from "./output.js";
import { TerminalInput } from "./terminal/terminal-input.js";
import { withTransfer } from "./transfer-status.js";

/** What `pullModel` needs to get a model that is missing. */
interface Download {
  repository: string;
  revision?: string;
  file?: string;
}

/**
 * Downloads a model that is missing: at once if the user has agreed, or after a question to the person at the terminal.
 *
 * @param isTerminal there is a person who can be asked
 * @throws GptOssError as `resolveModel`, where there is nothing to download or the person does not want it; as
 *   `pullModel`. Interrupted after Ctrl-C.
 */
export async function getModel(chosen: ChosenModel, hasAgreed: boolean, isTerminal: boolean): Promise<void> {
  try {
    await resolveChosen(chosen);
  } catch (error) {
    const download = downloadFor(error, chosen.model);
    if (download === null) throw error;
    if (!hasAgreed) {
      // The size of one file of a repository is not known.
      const offer = isTerminal && download.file === undefined ? await offerOf(download.repository) : null;
      if (offer === null) throw error;
      for (const line of offerLines(offer)) Output.stderr().line(line);
      if (!(await agrees(offerQuestion(offer)))) throw declined(download);
    }
    await withTransfer(Output.stderr(), "Stopped; the same command goes on from here", (watch) =>
      pullModel({ ...download, ...watch }),
    );
  }
}

/** @returns null where the error has another reason, or where a download would not give a model of this name */
export function downloadFor(error: unknown, model: string): Download | null {
  if (!(error instanceof GptOssError) || error.code !== "MODEL_NOT_FOUND" || isOnlyPath(model)) return null;
  const name = repositoryName(model);
  const repository = name && repositoryToPull(name);
  if (repository === null) return null;
  const { revision, selection } = name!;
  return { repository, ...(revision !== null && { revision }), ...(selection !== null && { file: selection }) };
}

async function agrees(question: string): Promise<boolean> {
  const input = new TerminalInput(process.stdin, process.stdout, () => {});
  const interrupt = () => input.interrupt();
  process.on("SIGINT", interrupt);
  try {
    const line = await input.ask({ prompt: question, remembers: false });
    if (line.kind === "interrupt") throw new Interrupted();
    return line.kind === "line" && /^\s*y(es)?\s*$/i.test(line.text);
  } finally {
    process.off("SIGINT", interrupt);
    input.close();
  }
}

function declined({ repository }: Download): GptOssError {
  const message = `${repository} was not downloaded; "gpt-oss pull ${repository}" gets it`;
  return new GptOssError("MODEL_NOT_FOUND", message, { field: "model" });
}
