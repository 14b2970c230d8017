import path from "node:path";
import { nearest } from "../common/unknown-option.js";

/** The models that this program runs. */
export interface KnownModel {
  repository: string;
  parameters: string;
  /** Size of the files in the Hugging Face layout. */
  downloadBytes: number;
  memory: string;
}

export const knownModels: readonly KnownModel[] = [
  {
    repository: "openai/gpt-oss-20b",
    parameters: "20.9 billion parameters",
    downloadBytes: 13.8e9,
    memory: "16 GB of memory or more",
  },
  {
    repository: "openai/gpt-oss-120b",
    parameters: "117 billion parameters",
    downloadBytes: 65.2e9,
    memory: "70 GB of memory or more, or a GPU with 80 GB",
  },
];

/** The model of a repository, by its full or short name, in any case: `openai/gpt-oss-20b`, `gpt-oss-20b`, `20b`. */
export function knownRepository(name: string): KnownModel | null {
  const wanted = name.toLowerCase().replace(/\/+$/, "");
  return knownModels.find(({ repository }) => namesOf(repository).includes(wanted)) ?? null;
}

/** The known repository whose name is near, for a suggestion. */
export function nearRepository(name: string): string | null {
  const near = nearest(
    name,
    knownModels.flatMap(({ repository }) => namesOf(repository).slice(0, 2)),
  );
  return near === null ? null : (knownRepository(near)?.repository ?? null);
}

function namesOf(repository: string): string[] {
  const short = path.posix.basename(repository);
  return [repository, short, short.slice("gpt-oss-".length)];
}
