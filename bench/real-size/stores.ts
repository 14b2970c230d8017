import { createHash } from "node:crypto";
import {
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";

/** Puts the files of a checkpoint where a Hugging Face cache and Ollama would have them. Links cost no disk. */

const revision = "0".repeat(40);

/** The name with which the product finds the checkpoint, while HF_HUB_CACHE is `hub`. */
export function placeInHub(hub: string, checkpoint: string): string {
  const name = "synthetic/gpt-oss-20b";
  const repository = path.join(hub, "models--synthetic--gpt-oss-20b");
  const snapshot = path.join(repository, "snapshots", revision);
  if (existsSync(snapshot)) return name;
  const blobs = path.join(repository, "blobs");
  for (const folder of [blobs, snapshot, path.join(repository, "refs")]) mkdirSync(folder, { recursive: true });
  for (const file of readdirSync(checkpoint)) {
    const from = path.join(checkpoint, file);
    if (!statSync(from).isFile()) continue;
    // the hub names small files by git's hash, and large ones by SHA-256
    const blob = file.endsWith(".safetensors")
      ? hashOf(from, "sha256")
      : hashOf(from, "sha1", `blob ${statSync(from).size}\0`);
    linkSync(from, path.join(blobs, blob));
    symlinkSync(path.join("..", "..", "blobs", blob), path.join(snapshot, file));
  }
  writeFileSync(path.join(repository, "refs", "main"), revision);
  return name;
}

/** The name with which the product finds the file, while OLLAMA_MODELS is `models`. */
export function placeInOllama(models: string, gguf: string): string {
  const name = "gpt-oss-synthetic:20b";
  const manifest = path.join(models, "manifests", "registry.ollama.ai", "library", "gpt-oss-synthetic", "20b");
  if (existsSync(manifest)) return name;
  const hash = hashOf(gguf, "sha256");
  mkdirSync(path.join(models, "blobs"), { recursive: true });
  mkdirSync(path.dirname(manifest), { recursive: true });
  linkSync(gguf, path.join(models, "blobs", `sha256-${hash}`));
  const layer = {
    mediaType: "application/vnd.ollama.image.model",
    digest: `sha256:${hash}`,
    size: statSync(gguf).size,
  };
  writeFileSync(manifest, JSON.stringify({ schemaVersion: 2, layers: [layer] }));
  return name;
}

function hashOf(file: string, algorithm: "sha256" | "sha1", before = ""): string {
  const hash = createHash(algorithm).update(before);
  const buffer = Buffer.alloc(1 << 22);
  const fd = openSync(file, "r");
  try {
    for (let bytes = readSync(fd, buffer); bytes > 0; bytes = readSync(fd, buffer))
      hash.update(buffer.subarray(0, bytes));
  } finally {
    closeSync(fd);
  }
  return hash.digest("hex");
}
