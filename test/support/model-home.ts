import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { ModelPlaces } from "../../lib/models/places.js";

/** A home folder in which other programs keep models, in their layouts. */

/** The commit of a snapshot: forty times this digit. */
export const commitOf = (digit: string) => digit.repeat(40);

export const sha256 = (bytes: string | Buffer) => createHash("sha256").update(bytes).digest("hex");

export const goldenFiles = (model: "a" | "b" | "c") => {
  const folder = path.resolve("test/golden/models", model);
  return Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(path.join(folder, name))]));
};

/** The start of a GGUF file of this architecture; enough for what looks at files without loading them. */
export function ggufStart(architecture: string): Buffer {
  const text = (value: string) => {
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(Buffer.byteLength(value)));
    return Buffer.concat([length, Buffer.from(value)]);
  };
  const counts = Buffer.alloc(20);
  counts.writeUInt32LE(3);
  counts.writeBigUInt64LE(1n, 12);
  const type = Buffer.from([8, 0, 0, 0]);
  return Buffer.concat([Buffer.from("GGUF"), counts, text("general.architecture"), type, text(architecture)]);
}

type Files = Readonly<Record<string, string | Buffer>>;

interface Snapshot {
  digit?: string;
  /** References to the commit; `main` where this is absent. */
  refs?: readonly string[];
}

interface Layer {
  kind: string;
  content: string | Buffer;
}

export class ModelHome {
  readonly root = mkdtempSync(path.join(tmpdir(), "gpt-oss-home-"));
  readonly places: ModelPlaces = {
    huggingFace: path.join(this.root, ".cache/huggingface/hub"),
    lmStudio: path.join(this.root, ".lmstudio/models"),
    ollama: [path.join(this.root, ".ollama/models")],
  };

  /** The environment of a program whose user has this home. */
  get env(): NodeJS.ProcessEnv {
    const others = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"];
    const unset = Object.fromEntries(others.map((name) => [name, undefined]));
    return { ...unset, HOME: this.root, OLLAMA_MODELS: this.places.ollama[0] };
  }

  path(...parts: string[]): string {
    return path.join(this.root, ...parts);
  }

  write(file: string, content: string | Buffer): string {
    const whole = this.path(file);
    mkdirSync(path.dirname(whole), { recursive: true });
    writeFileSync(whole, content);
    return whole;
  }

  /** The folder of a repository in the cache. */
  repository(repository: string): string {
    return path.join(this.places.huggingFace!, `models--${repository.replace("/", "--")}`);
  }

  /** Puts a snapshot into the Hugging Face cache: blobs, links to them, and references. @returns its folder */
  snapshot(repository: string, files: Files, { digit = "a", refs = ["main"] }: Snapshot = {}): string {
    const folder = this.repository(repository);
    const snapshot = path.join(folder, "snapshots", commitOf(digit));
    mkdirSync(path.join(folder, "blobs"), { recursive: true });
    mkdirSync(snapshot, { recursive: true });
    for (const [name, content] of Object.entries(files)) {
      const blob = path.join(folder, "blobs", sha256(content));
      writeFileSync(blob, content);
      const link = path.join(snapshot, name);
      mkdirSync(path.dirname(link), { recursive: true });
      symlinkSync(path.relative(path.dirname(link), blob), link);
    }
    for (const ref of refs) {
      const file = path.join(folder, "refs", ref);
      mkdirSync(path.dirname(file), { recursive: true });
      writeFileSync(file, commitOf(digit));
    }
    return snapshot;
  }

  /** Puts files into LM Studio's folder. @returns the folder of the model */
  lmStudio(repository: string, files: Files): string {
    for (const [name, content] of Object.entries(files)) {
      this.write(path.join(".lmstudio/models", repository, name), content);
    }
    return path.join(this.places.lmStudio!, repository);
  }

  /** Puts a layer into Ollama's blobs. @returns its file */
  blob(content: string | Buffer): string {
    return this.write(`.ollama/models/blobs/sha256-${sha256(content)}`, content);
  }

  /** A manifest of these layers, whose blobs are made too. */
  manifest(layers: readonly Layer[]): object {
    return {
      schemaVersion: 2,
      mediaType: "application/vnd.docker.distribution.manifest.v2+json",
      layers: layers.map(({ kind, content }) => {
        this.blob(content);
        const size = Buffer.byteLength(content);
        return { mediaType: `application/vnd.ollama.image.${kind}`, digest: `sha256:${sha256(content)}`, size };
      }),
    };
  }

  /** Puts a model into Ollama's folder as versions before 0.40 do. @returns the file of the manifest */
  ollama(name: string, manifest: object, folder = "manifests"): string {
    return this.write(path.join(".ollama/models", folder, name), JSON.stringify(manifest));
  }

  /** The same as Ollama 0.40: the manifest is a blob, and its name a link to it. */
  ollamaV2(name: string, manifest: object): string {
    const blob = this.blob(JSON.stringify(manifest));
    const link = this.path(".ollama/models/manifests-v2", name);
    mkdirSync(path.dirname(link), { recursive: true });
    symlinkSync(path.relative(path.dirname(link), blob), link);
    return link;
  }

  copy(from: string, to: string): void {
    cpSync(from, this.path(to), { recursive: true });
  }

  remove(): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}
