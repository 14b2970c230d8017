import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import type { TransferProgress } from "../../../lib/pull/index.js";
import { failure } from "../../support/failure.js";
import { gitSha1, hashOf, sha256 } from "../../support/hub.js";
import { large, modelFiles, neededFiles, rangeBytes, setting } from "../../support/pull.js";

const here = setting();
const repositoryFolder = () => path.join(here.cache, "models--openai--gpt-oss-20b");
const filesBelow = (folder: string) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
    .sort();

function expectBytes(folder: string): void {
  const { files } = here.hub.repositories.get("openai/gpt-oss-20b")!;
  for (const name of neededFiles)
    expect(readFileSync(path.join(folder, name)).equals(files[name]!.bytes), name).toBe(true);
}

describe("a download to the cache", () => {
  it("has the layout of huggingface_hub, and the needed files only", async () => {
    const { commit, files } = here.hub.repositories.get("openai/gpt-oss-20b")!;
    const pulled = await here.pull();
    const snapshot = path.join(repositoryFolder(), "snapshots", commit);
    expect(pulled).toMatchObject({
      repository: "openai/gpt-oss-20b",
      revision: "main",
      commit,
      folder: snapshot,
      path: snapshot,
    });
    expect(filesBelow(snapshot)).toEqual(neededFiles);
    expectBytes(snapshot);
    for (const name of neededFiles) {
      const { bytes, isLarge } = files[name]!;
      expect(readlinkSync(path.join(snapshot, name))).toBe(`../../blobs/${isLarge ? sha256(bytes) : gitSha1(bytes)}`);
    }
    expect(readFileSync(path.join(repositoryFolder(), "refs", "main"), "utf8")).toBe(commit);
    expect(readdirSync(repositoryFolder()).sort()).toEqual(["blobs", "refs", "snapshots"]);
    expect(pulled.totalBytes).toBe(pulled.files.reduce((sum, { bytes }) => sum + bytes, 0));
    expect(pulled.downloadedBytes).toBe(pulled.totalBytes);
    expect(pulled.files.every(({ name, hash, state }) => hash === hashOf(files[name]!) && state === "downloaded")).toBe(
      true,
    );
  });

  it("asks for ranges, each byte once", async () => {
    await here.pull();
    const ranges = here.hub.seen
      .filter(({ host, url }) => host === "files" && url.includes("00000"))
      .map(({ range }) => range);
    const expected = [0, 1, 2, 3, 4, 5, 6, 7].map(
      (at) => `bytes=${at * rangeBytes}-${Math.min((at + 1) * rangeBytes, 7300) - 1}`,
    );
    expect(ranges.sort()).toEqual(expected.sort());
  });

  it("fetches nothing a second time, and says so", async () => {
    await here.pull();
    here.hub.seen.length = 0;
    const again = await here.pull();
    expect(again.downloadedBytes).toBe(0);
    expect(new Set(again.files.map(({ state }) => state))).toEqual(new Set(["present"]));
    expect(here.hub.seen.filter(({ url }) => url.includes("/resolve/"))).toEqual([]);
  });

  it("takes what another revision shares with it", async () => {
    await here.pull();
    const { files } = here.hub.repositories.get("openai/gpt-oss-20b")!;
    here.hub.add("openai/gpt-oss-20b", { ...files, "config.json": '{"model_type":"gpt_oss","new":1}' }, "b".repeat(40));
    here.hub.repositories.get("openai/gpt-oss-20b")!.revisions = { "refs/pr/1": "b".repeat(40) };
    const pulled = await here.pull({ revision: "refs/pr/1" });
    const fetched = pulled.files.filter(({ state }) => state !== "present").map(({ name }) => name);
    expect(fetched).toEqual(["config.json"]);
    expect(readFileSync(path.join(repositoryFolder(), "refs/refs/pr/1"), "utf8")).toBe("b".repeat(40));
  });

  it("repairs only the file that is damaged", async () => {
    const { folder } = await here.pull();
    const name = "model-00001-of-00001.safetensors";
    const blob = path.join(folder, readlinkSync(path.join(folder, name)));
    writeFileSync(blob, Buffer.alloc(4100));
    const pulled = await here.pull();
    expect(pulled.files.filter(({ state }) => state !== "present")).toMatchObject([{ name, state: "repaired" }]);
    expect(pulled.downloadedBytes).toBe(4100);
    expectBytes(folder);
  });

  it("replaces a link that leads to another blob, and a file of the wrong size", async () => {
    const { folder } = await here.pull();
    const config = path.join(folder, "config.json");
    const other = readlinkSync(path.join(folder, "LICENSE"));
    writeFileSync(path.join(folder, readlinkSync(config)), "short");
    await import("node:fs/promises").then(({ rm }) => rm(config));
    symlinkSync(other, config);
    const pulled = await here.pull();
    expect(pulled.files.filter(({ state }) => state === "repaired").map(({ name }) => name)).toEqual(["config.json"]);
    expectBytes(folder);
  });

  it("resolves short names", async () => {
    for (const repository of ["20b", "gpt-oss-20b", "OpenAI/gpt-oss-20b/"]) {
      expect((await here.pull({ repository })).repository).toBe("openai/gpt-oss-20b");
    }
  });

  it("reads the names and addresses that other commands read", async () => {
    const commit = "c".repeat(40);
    here.hub.add("me/many", { "m-Q4_K_M.gguf": large(1500, 1), "m-Q8_0.gguf": large(1600, 2) }, commit);
    here.hub.repositories.get("me/many")!.revisions = { v1: commit };
    for (const repository of [
      "me/many@v1:m-Q8_0.gguf",
      "me/many@v1:q8_0",
      "https://huggingface.co/me/many/blob/v1/m-Q8_0.gguf",
    ]) {
      const { revision, files } = await here.pull({ repository });
      expect({ revision, names: files.map(({ name }) => name) }).toEqual({ revision: "v1", names: ["m-Q8_0.gguf"] });
    }
    const same = await here.pull({ repository: "me/many@v1:m-Q8_0.gguf", revision: "v1", file: "m-Q8_0.gguf" });
    expect(same.revision).toBe("v1");
    const address = await here.pull({ repository: "https://huggingface.co/openai/gpt-oss-20b" });
    expect(address).toMatchObject({ repository: "openai/gpt-oss-20b", revision: "main" });
    expect((await here.pull({ repository: `20b@${address.commit}` })).revision).toBe(address.commit);
  });

  it("lists many pages", async () => {
    here.hub.pageLength = 1;
    expect((await here.pull()).files).toHaveLength(neededFiles.length);
  });

  it("works with empty files, and with two names of the same bytes", async () => {
    const same = large(5000, 9);
    here.hub.add("a/b", { "generation_config.json": "", "model.safetensors": same, "copy.safetensors": same });
    const { folder, totalBytes } = await here.pull({ repository: "a/b" });
    expect(totalBytes).toBe(10_000);
    for (const name of ["model.safetensors", "copy.safetensors"]) {
      expect(readFileSync(path.join(folder, name)).equals(same.bytes)).toBe(true);
    }
    expect(readFileSync(path.join(folder, "generation_config.json"), "utf8")).toBe("");
  });
});

describe("a download to a folder", () => {
  it("has plain files and a record in the form of sha256sum", async () => {
    const dir = path.join(here.folder, "models", "20b");
    const pulled = await here.pull({ dir });
    expect(pulled.path).toBe(dir);
    expectBytes(dir);
    expect(filesBelow(dir)).toEqual([...neededFiles, "SHA256SUMS"].sort());
    expect(neededFiles.every((name) => lstatSync(path.join(dir, name)).isFile())).toBe(true);
    const sums = readFileSync(path.join(dir, "SHA256SUMS"), "utf8").trim().split("\n");
    expect(sums).toEqual(neededFiles.map((name) => `${sha256(readFileSync(path.join(dir, name)))}  ${name}`));
    expect(existsSync(here.cache)).toBe(false);
  });

  it("keeps the record of files that are whole, and repairs the others", async () => {
    const dir = path.join(here.folder, "m");
    await here.pull({ dir });
    const before = readFileSync(path.join(dir, "SHA256SUMS"), "utf8");
    writeFileSync(path.join(dir, "tokenizer.json"), "damaged");
    const pulled = await here.pull({ dir });
    expect(pulled.files.filter(({ state }) => state === "repaired").map(({ name }) => name)).toEqual([
      "tokenizer.json",
    ]);
    expect(readFileSync(path.join(dir, "SHA256SUMS"), "utf8")).toBe(before);
  });

  it("copies what the cache of this machine has, and fetches what is damaged there", async () => {
    const { folder } = await here.pull();
    const shard = path.join(folder, "model-00000-of-00001.safetensors");
    writeFileSync(path.join(folder, readlinkSync(shard)), Buffer.alloc(7300));
    here.hub.seen.length = 0;
    const pulled = await here.pull({ dir: path.join(here.folder, "m") });
    expect(pulled.downloadedBytes).toBe(7300);
    expect(pulled.files.filter(({ state }) => state === "copied")).toHaveLength(neededFiles.length - 1);
    expectBytes(pulled.folder);
  });

  it("refuses a folder that is a file", async () => {
    const dir = path.join(here.folder, "file");
    writeFileSync(dir, "");
    expect(await failure(here.pull({ dir }))).toMatchObject({ code: "INVALID_ARGUMENT", field: "dir" });
  });
});

describe("the choice of files", () => {
  const gguf = (...names: string[]) => Object.fromEntries(names.map((name, i) => [name, large(1500 + i, i)]));

  it("takes the only model, or the MXFP4 one, with all parts of a split file", async () => {
    here.hub.add("a/one", { "README.md": "", ...gguf("m-Q8_0.gguf") });
    const one = await here.pull({ repository: "a/one" });
    expect(one.files.map(({ name }) => name)).toEqual(["m-Q8_0.gguf"]);
    expect(one.path).toBe(path.join(one.folder, "m-Q8_0.gguf"));
    here.hub.add(
      "a/many",
      gguf("m-Q4_K_M.gguf", "sub/m-mxfp4-00002-of-00002.gguf", "sub/m-mxfp4-00001-of-00002.gguf", "m-F16.gguf"),
    );
    const many = await here.pull({ repository: "a/many" });
    expect(many.files.map(({ name }) => name)).toEqual([
      "sub/m-mxfp4-00001-of-00002.gguf",
      "sub/m-mxfp4-00002-of-00002.gguf",
    ]);
    expect(many.path).toBe(path.join(many.folder, "sub/m-mxfp4-00001-of-00002.gguf"));
  });

  it("asks which of several", async () => {
    here.hub.add("a/many", gguf("m-Q4_K_M.gguf", "m-Q8_0.gguf", "big-00001-of-00002.gguf", "big-00002-of-00002.gguf"));
    const error = await failure(here.pull({ repository: "a/many" }));
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", field: "file" });
    expect(error.message).toBe(
      "a/many has 3 models; choose one with file (--file): big-00001-of-00002.gguf, m-Q4_K_M.gguf, m-Q8_0.gguf",
    );
    const chosen = await here.pull({ repository: "a/many", file: "big-00002-of-00002.gguf" });
    expect(chosen.files).toHaveLength(2);
    expect(await failure(here.pull({ repository: "a/many", file: "nothing.gguf" }))).toMatchObject({
      code: "INVALID_ARGUMENT",
      field: "file",
    });
  });

  it("takes a file by its quantization, which must be that of one", async () => {
    here.hub.add("a/many", gguf("m-Q4_K_M.gguf", "m-Q8_0.gguf", "sub/m-Q8_0-00001-of-00001.gguf", "m-F16.gguf"));
    const chosen = await here.pull({ repository: "a/many", file: "f16" });
    expect(chosen.files.map(({ name }) => name)).toEqual(["m-F16.gguf"]);
    const error = await failure(here.pull({ repository: "a/many:Q8_0" }));
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", field: "file" });
    expect(error.message).toBe(
      'a/many has 2 models called "Q8_0"; choose one with file (--file): m-Q8_0.gguf, sub/m-Q8_0-00001-of-00001.gguf',
    );
    const whole = await here.pull({ repository: "a/many:sub/m-Q8_0-00001-of-00001.gguf" });
    expect(whole.path).toBe(path.join(whole.folder, "sub/m-Q8_0-00001-of-00001.gguf"));
  });

  it("refuses a split file with a missing part", async () => {
    here.hub.add("a/part", gguf("m-00001-of-00003.gguf", "m-00003-of-00003.gguf"));
    const error = await failure(here.pull({ repository: "a/part" }));
    expect(error).toMatchObject({ code: "MODEL_FORMAT" });
    expect(error.message).toContain("expected 3 parts in the repository, found 2");
  });

  it("takes original/ where nothing else is", async () => {
    const { "original/model.safetensors": weights, LICENSE } = modelFiles();
    here.hub.add("a/original", {
      "config.json": "{}",
      LICENSE: LICENSE!,
      "original/config.json": "{}",
      "original/model.safetensors": weights!,
    });
    const { files, folder, path: model } = await here.pull({ repository: "a/original" });
    expect(files.map(({ name }) => name)).toEqual(["LICENSE", "original/config.json", "original/model.safetensors"]);
    expect(model).toBe(path.join(folder, "original"));
  });
});

describe("progress", () => {
  it("is told from the list to the last byte", async () => {
    const told: TransferProgress[] = [];
    const { totalBytes } = await here.pull({ onProgress: (progress) => told.push(progress) });
    expect(told.at(-1)).toMatchObject({ phase: "download", loadedBytes: totalBytes, totalBytes });
    expect(told.every(({ loadedBytes }) => loadedBytes >= 0 && loadedBytes <= totalBytes)).toBe(true);
    told.length = 0;
    await here.pull({ onProgress: (progress) => told.push(progress) });
    expect(told.find(({ phase }) => phase === "check")).toMatchObject({ totalBytes, loadedBytes: 0 });
  });

  it("ends the download by an exception, which the caller gets", async () => {
    const own = new Error("stop here");
    const onProgress = () => {
      throw own;
    };
    expect(await failure(here.pull({ onProgress }))).toBe(own);
  });

  it("ends by the signal, with its reason", async () => {
    const reason = new Error("no more");
    expect(await failure(here.pull({ signal: AbortSignal.abort(reason) }))).toBe(reason);
    const controller = new AbortController();
    here.hub.fault = ({ count }) => {
      if (count === 6) controller.abort(reason);
      return undefined;
    };
    expect(await failure(here.pull({ signal: controller.signal }))).toBe(reason);
    here.hub.fault = () => undefined;
    expectBytes((await here.pull()).folder);
  });
});

describe("an error of the disk", () => {
  it.each([
    ["EIO", "DOWNLOAD"],
    ["EMFILE", "RESOURCE_LIMIT"],
    ["EDQUOT", "RESOURCE_LIMIT"],
  ])("%s is %s, and the next call goes on", async (systemCode, code) => {
    const write = async () => {
      throw Object.assign(new Error(`${systemCode}: no`), { code: systemCode, syscall: "write" });
    };
    const error = await failure(here.pull({}, { write }));
    expect(error).toMatchObject({ code, message: expect.stringContaining(systemCode) });
    expect(error.message).toMatch(/the same call goes on where this one stopped$/);
    expectBytes((await here.pull()).folder);
  });
});

describe("the room on the disk", () => {
  it("is asked first, and what is there counts", async () => {
    const freeBytes = async () => 64e6 + 5000;
    const error = await failure(here.pull({}, { freeBytes }));
    expect(error.code).toBe("RESOURCE_LIMIT");
    expect(error.message).toMatch(/^The download needs 65 MB and the disk of .* has 65 MB free; free some, or/);
    expect(here.hub.requestedRanges).toEqual([]);
    mkdirSync(path.join(here.folder, "m"));
    const { files } = here.hub.repositories.get("openai/gpt-oss-20b")!;
    for (const name of neededFiles.filter((name) => files[name]!.isLarge)) {
      writeFileSync(path.join(here.folder, "m", name), files[name]!.bytes);
    }
    expect((await here.pull({ dir: path.join(here.folder, "m") }, { freeBytes })).downloadedBytes).toBeLessThan(500);
  });
});
