import { call, type EngineRequest, preamble, reply, type Script, think } from "../../lib/testing/index.js";
import { answer, edit, fileName, newLine, question } from "./task.js";

/** The model behind the clients: it writes its turns for the tools that a client offers. */

/** A step of the work. Each is one turn with reasoning, a preamble and a call. */
export type Step = "read" | "edit" | "note";

/** The name and the arguments of a call. */
type Call = [name: string, args: object];

/** The tools of the clients, the better ones of a step first. */
const callsOf: Record<Step, (file: string) => Call[]> = {
  read: (file) => [
    ["view", { path: file }],
    ["read", { filePath: file }],
    ["read_files", { files: [{ path: file }] }],
    ["exec_command", { cmd: `cat ${fileName}` }],
  ],
  edit: (file) => [
    ["apply_patch", { input: edit.patch }],
    ["edit", { filePath: file, oldString: edit.oldLine, newString: newLine }],
    ["exec_command", { cmd: `apply_patch <<'PATCH'\n${edit.patch}PATCH\n` }],
  ],
  note: () => [["mcp__desk__note", { text: newLine }]],
};

export const thoughtOf = (step: Step) => `It is time for the step ${step}.`;

/** A model for one run of one client. */
export class ScriptedModel {
  /** Prompts of the agent, in order. */
  readonly prompts: string[] = [];
  /** Calls that the model made, in order. */
  readonly calls: string[] = [];
  /** Prompts that a client sent beside the agent's, such as one for a title. */
  asides = 0;
  /** Why the model could not go on. */
  fault: string | null = null;
  readonly #steps: readonly Step[];
  readonly #repository: string;

  constructor(steps: readonly Step[], repository: string) {
    this.#steps = steps;
    this.#repository = repository;
  }

  /** Writes the turn for a request, as `ScriptedEngine` asks for it. */
  readonly write = (request: EngineRequest): Script => {
    const offered = toolsOf(request.text);
    if (!request.text.includes(question) || offered.length === 0) {
      this.asides++;
      return reply("A new second line");
    }
    this.prompts.push(request.text);
    const step = this.#steps[resultsIn(request.text)];
    if (step === undefined) return [think("All is done."), reply(answer)];
    const chosen = callsOf[step](`${this.#repository}/${fileName}`).find(([name]) => offered.includes(name));
    if (chosen === undefined) {
      this.fault = `no tool for the step ${step} among ${offered.join(", ")}`;
      return reply(this.fault);
    }
    this.calls.push(chosen[0]);
    return [think(thoughtOf(step)), preamble(`Now I ${step}.`), call(...chosen)];
  };
}

/** The functions that a prompt offers to the model. */
function toolsOf(prompt: string): string[] {
  const list = /namespace functions \{([\s\S]*?)\} \/\/ namespace functions/.exec(prompt)?.[1] ?? "";
  return [...list.matchAll(/^type (\S+) = /gm)].map(([, name]) => name!);
}

/** The results of calls in a prompt. */
function resultsIn(prompt: string): number {
  return prompt.split("<|start|>functions.").length - 1;
}
