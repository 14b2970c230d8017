import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readlinkSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type TransferProgress, type VerifiedModel, verifyModel } from "../../../lib/pull/index.js";
import { failure } from "../../support/failure.js";
import { gitSha1, sha256 } from "../../support/hub.js";
import { large, neededFiles, setting } from "../../support/pull.js";

const here = setting();
const weights = "model-00001-of-00001.safetensors";
const wrong = ({ files }: VerifiedModel) => files.filter(({ state }) => state !== "whole");

describe("a model in the Hugging Face cache", () => {
  const saved = process.env.HF_HUB_CACHE;
  beforeEach(() => {
    process.env.HF_HUB_CACHE = here.cache;
  });
  afterEach(() => {
    if (saved === undefined) delete process.env.HF_HUB_CACHE;
    else process.env.HF_HUB_CACHE = saved;
  });

  it("is whole after a download, by its path and by its names", async () => {
    const { folder, totalBytes, commit } = await here.pull();
    for (const name of [folder, "openai/gpt-oss-20b", "20b", `openai/gpt-oss-20b@${commit}`]) {
      const found = await verifyModel(name);
      expect(found).toMatchObject({ folder, source: "huggingface-cache", isWhole: true });
      expect(found.files.map(({ name }) => name)).toEqual(neededFiles);
      expect(found.files.reduce((sum, { bytes }) => sum + bytes!, 0)).toBe(totalBytes);
    }
  });

  it("with a damaged file names it, and pull repairs it", async () => {
    const { folder } = await here.pull();
    writeFileSync(path.join(folder, readlinkSync(path.join(folder, weights))), "damaged");
    const found = await verifyModel(folder);
    expect(found.isWhole).toBe(false);
    const expected = sha256(here.hub.repositories.get("openai/gpt-oss-20b")!.files[weights]!.bytes);
    expect(wrong(found)).toEqual([
      { name: weights, bytes: 7, state: "damaged", expected, found: sha256(Buffer.from("damaged")) },
    ]);
    await here.pull();
    expect((await verifyModel(folder)).isWhole).toBe(true);
  });

  it("without one of its files, or with a link that leads nowhere, is not whole", async () => {
    const { folder } = await here.pull();
    rmSync(path.join(folder, readlinkSync(path.join(folder, "config.json"))));
    rmSync(path.join(folder, weights));
    expect(wrong(await verifyModel(folder))).toMatchObject([
      { name: "config.json", state: "missing", bytes: null },
      { name: weights, state: "missing", expected: null }, // the index names it
    ]);
  });

  it("can be one blob", async () => {
    const { folder } = await here.pull();
    const blob = path.join(folder, readlinkSync(path.join(folder, weights)));
    expect(await verifyModel(blob)).toMatchObject({ isWhole: true, files: [{ bytes: 4100 }] });
    expect(await verifyModel(path.join(folder, weights))).toMatchObject({ isWhole: true, files: [{ name: weights }] });
  });

  it("is not found by the name of another", async () => {
    await here.pull();
    for (const name of ["openai/gpt-oss-120b", "openai/gpt-oss-20b@v9", "openai/gpt-oss-20b@../main", "nothing"]) {
      expect(await failure(verifyModel(name))).toMatchObject({ code: "MODEL_NOT_FOUND" });
    }
  });
});

describe("a model in a folder", () => {
  it("is checked by SHA256SUMS", async () => {
    const dir = path.join(here.folder, "m");
    await here.pull({ dir });
    expect(await verifyModel(dir)).toMatchObject({ source: "SHA256SUMS", isWhole: true });
    truncateSync(path.join(dir, weights), 4099);
    rmSync(path.join(dir, "config.json"));
    expect(wrong(await verifyModel(dir))).toMatchObject([
      { name: "config.json", state: "missing" },
      { name: weights, state: "damaged" },
    ]);
    await here.pull({ dir });
    expect((await verifyModel(dir)).isWhole).toBe(true);
  });

  it("without a record can get one by the command that the error names", async () => {
    const dir = path.join(here.folder, "own");
    mkdirSync(dir);
    writeFileSync(path.join(dir, "config.json"), "{}");
    writeFileSync(path.join(dir, weights), large(3000, 1).bytes);
    const { code, message } = await failure(verifyModel(dir));
    expect(code).toBe("UNSUPPORTED");
    const [, command] = /for a model of your own, "(.*)" in the folder/.exec(message)!;
    execFileSync("sh", ["-c", command!], { cwd: dir });
    expect(await verifyModel(dir)).toMatchObject({ source: "SHA256SUMS", isWhole: true, files: [{}, {}] });
    writeFileSync(path.join(dir, weights), "other");
    expect(wrong(await verifyModel(dir))).toMatchObject([{ name: weights, state: "damaged" }]);
  });

  it("with a record that is none is refused", async () => {
    for (const record of [
      "not a hash  a\n",
      `${"0".repeat(64)}  ../a\n`,
      `${"0".repeat(64)}  /a\n`,
      `${"0".repeat(64)}\n`,
    ]) {
      writeFileSync(path.join(here.folder, "SHA256SUMS"), record);
      const error = await failure(verifyModel(here.folder));
      expect(error.code).toBe("MODEL_FORMAT");
      expect(error.message).toContain("SHA256SUMS, line 1: expected a sha256, two spaces and a file of this folder");
    }
  });

  it("is checked by the records of hf download", async () => {
    const records = path.join(here.folder, ".cache", "huggingface", "download");
    mkdirSync(records, { recursive: true });
    const big = large(20 * 1024 * 1024, 5).bytes; // hashed on a thread
    const small = Buffer.from("{}");
    for (const [name, bytes, hash] of [
      ["model.safetensors", big, sha256(big)],
      ["config.json", small, gitSha1(small)],
    ] as const) {
      writeFileSync(path.join(here.folder, name), bytes);
      writeFileSync(path.join(records, `${name}.metadata`), `${"c".repeat(40)}\n${hash}\n1700000000.0\n`);
    }
    const told: TransferProgress[] = [];
    const options = { onProgress: (progress: TransferProgress) => told.push(progress) };
    expect(await verifyModel(here.folder, options)).toMatchObject({ source: "huggingface-local-dir", isWhole: true });
    expect(told.at(-1)).toMatchObject({ phase: "check", loadedBytes: big.length + 2, totalBytes: big.length + 2 });
    big[big.length - 1]! ^= 1;
    writeFileSync(path.join(here.folder, "model.safetensors"), big);
    expect(wrong(await verifyModel(here.folder))).toMatchObject([{ name: "model.safetensors", state: "damaged" }]);
  });

  it("with the parts of a split file is checked by any of them", async () => {
    const names = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "other.gguf"];
    const rows = names.map((name, i) => {
      const { bytes } = large(100 + i, i);
      writeFileSync(path.join(here.folder, name), bytes);
      return `${sha256(bytes)}  ${name}\n`;
    });
    writeFileSync(path.join(here.folder, "SHA256SUMS"), rows.join(""));
    const { files } = await verifyModel(path.join(here.folder, names[0]!));
    expect(files.map(({ name }) => name)).toEqual(names.slice(0, 2));
    writeFileSync(path.join(here.folder, "new.gguf"), "");
    const error = await failure(verifyModel(path.join(here.folder, "new.gguf")));
    expect(error).toMatchObject({ code: "UNSUPPORTED", message: expect.stringContaining("does not name it") });
  });

  it.runIf(process.platform === "linux")("with a file that cannot be read says so", async () => {
    symlinkSync("/proc/self/mem", path.join(here.folder, "model.safetensors")); // nobody reads its first byte
    writeFileSync(path.join(here.folder, "SHA256SUMS"), `${"0".repeat(64)}  model.safetensors\n`);
    expect(wrong(await verifyModel(here.folder))).toMatchObject([{ state: "unreadable", found: null }]);
  });

  it("without any record is refused, with the reason", async () => {
    writeFileSync(path.join(here.folder, "model.safetensors"), "");
    const error = await failure(verifyModel(here.folder));
    expect(error.code).toBe("UNSUPPORTED");
    expect(error.message).toBe(
      `No checksum is known for ${here.folder}: it lies in no Hugging Face cache, is no blob of Ollama, and has no SHA256SUMS beside it; "gpt-oss pull" with its repository, --dir and this folder compares it with the hub and replaces what differs; for a model of your own, "sha256sum * > SHA256SUMS" in the folder records it as it is`,
    );
  });
});

describe("a blob of Ollama", () => {
  it("is checked by its name", async () => {
    const { bytes } = large(3000, 3);
    const blob = path.join(here.folder, `sha256-${sha256(bytes)}`);
    writeFileSync(blob, bytes);
    expect(await verifyModel(blob)).toMatchObject({ source: "ollama", isWhole: true });
    bytes[5]! ^= 1;
    writeFileSync(blob, bytes);
    expect(wrong(await verifyModel(blob))).toMatchObject([{ state: "damaged" }]);
  });
});

describe("verifyModel", () => {
  it("ends by the signal and by an exception of onProgress", async () => {
    const dir = path.join(here.folder, "m");
    await here.pull({ dir });
    const reason = new Error("stop");
    expect(await failure(verifyModel(dir, { signal: AbortSignal.abort(reason) }))).toBe(reason);
    const onProgress = () => {
      throw reason;
    };
    expect(await failure(verifyModel(dir, { onProgress }))).toBe(reason);
  });

  it("ends while a thread hashes", async () => {
    writeFileSync(path.join(here.folder, "model.gguf"), "");
    truncateSync(path.join(here.folder, "model.gguf"), 2 ** 36); // takes no room, and minutes to hash
    writeFileSync(path.join(here.folder, "SHA256SUMS"), `${"0".repeat(64)}  model.gguf\n`);
    const controller = new AbortController();
    const reason = new Error("stop");
    const onProgress = ({ loadedBytes }: TransferProgress) => loadedBytes > 0 && controller.abort(reason);
    expect(await failure(verifyModel(here.folder, { signal: controller.signal, onProgress }))).toBe(reason);
  });

  it("waits for no named pipe", async () => {
    for (const name of ["SHA256SUMS", "model.safetensors.index.json"])
      execFileSync("mkfifo", [path.join(here.folder, name)]);
    expect(await failure(verifyModel(here.folder))).toMatchObject({ code: "UNSUPPORTED" });
    rmSync(path.join(here.folder, "SHA256SUMS"));
    execFileSync("mkfifo", [path.join(here.folder, "model.gguf")]);
    writeFileSync(path.join(here.folder, "SHA256SUMS"), `${"0".repeat(64)}  model.gguf\n`);
    expect(wrong(await verifyModel(here.folder))).toMatchObject([{ name: "model.gguf", state: "missing" }]);
  });

  it("reads no record that is as large as a model", async () => {
    writeFileSync(path.join(here.folder, "SHA256SUMS"), "");
    truncateSync(path.join(here.folder, "SHA256SUMS"), 2 ** 36);
    const error = await failure(verifyModel(here.folder));
    expect(error).toMatchObject({ code: "MODEL_FORMAT", message: expect.stringContaining("at most 67108864 bytes") });
  });

  it("follows no link to a folder, and ends in one that links to itself", async () => {
    copyFileSync(import.meta.filename, path.join(here.folder, "a"));
    symlinkSync(".", path.join(here.folder, "round"));
    expect(await failure(verifyModel(here.folder))).toMatchObject({ code: "UNSUPPORTED" });
  });

  it.each([[""], [5], ["a\0b"], [null]])("refuses %j", async (model) => {
    expect(await failure(verifyModel(model as string))).toMatchObject({ code: "INVALID_ARGUMENT", field: "model" });
  });

  it("refuses unknown options", async () => {
    expect(await failure(verifyModel("a", { signals: 1 } as object))).toMatchObject({
      code: "INVALID_ARGUMENT",
      field: "signals",
    });
  });
});
