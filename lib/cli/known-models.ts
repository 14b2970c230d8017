import path from "node:path";

/** The models that this program runs. */
export interface KnownModel {
  repository: string;
  parameters: string;
  /** Size of the files in the Hugging Face layout. */
  download: string;
  memory: string;
}

export const knownModels: readonly KnownModel[] = [
  {
    repository: "openai/gpt-oss-20b",
    parameters: "20.9 billion parameters",
    download: "13.8 GB",
    memory: "16 GB of memory or more",
  },
  {
    repository: "openai/gpt-oss-120b",
    parameters: "117 billion parameters",
    download: "65.2 GB",
    memory: "70 GB of memory or more, or a GPU with 80 GB",
  },
];

/** The model of a repository, by its full or short name, in any case. */
export function knownRepository(name: string): KnownModel | null {
  const wanted = name.toLowerCase().replace(/\/+$/, "");
  return (
    knownModels.find(({ repository }) => wanted === repository || wanted === path.posix.basename(repository)) ?? null
  );
}
