import { execFileSync } from "node:child_process";
import { appendFileSync, mkdirSync, readdirSync, readFileSync, renameSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import type { TransferProgress } from "../../../lib/pull/index.js";
import { thisMachine } from "../../../lib/pull/machine.js";
import { ownerOf, thisProcess } from "../../../lib/pull/owner.js";
import { Partial } from "../../../lib/pull/partial.js";
import { Ranges } from "../../../lib/pull/ranges.js";
import { failure } from "../../support/failure.js";
import { large, rangeBytes, setting } from "../../support/pull.js";
import { seededRandom } from "../../support/random.js";

const here = setting();
const weights = "model.safetensors";
const size = 8 * rangeBytes;
const partials = () => path.join(here.cache, "models--a--b", ".gpt-oss");

function addModel(): Buffer {
  const file = large(size, 7);
  here.hub.add("a/b", { [weights]: file });
  return file.bytes;
}

/** Lets ranges pass and breaks the one from byte 5000, so that a part of the file is there afterwards. */
async function leaveHalf(): Promise<void> {
  here.machine.limits.connections = 1;
  here.hub.fault = ({ range }) => (range?.startsWith("bytes=5000-") ? { status: 500 } : undefined);
  await failure(here.pull({ repository: "a/b" }));
  here.hub.fault = () => undefined;
  here.hub.seen.length = 0;
}

const files = () => here.hub.requestedRanges;

describe("a further call", () => {
  it("fetches only the ranges that are missing", async () => {
    const bytes = addModel();
    await leaveHalf();
    const notes: string[] = [];
    const onProgress = ({ note }: TransferProgress) => note !== undefined && notes.push(note);
    const { folder, downloadedBytes } = await here.pull({ repository: "a/b", onProgress });
    expect(notes).toEqual(["model.safetensors goes on at 62 %"]);
    expect(files()).toEqual(["bytes=5000-5999", "bytes=6000-6999", "bytes=7000-7999"]);
    expect(downloadedBytes).toBe(3000);
    expect(readFileSync(path.join(folder, weights)).equals(bytes)).toBe(true);
  });

  it("takes over what a dead process left, and reads no line that was cut off", async () => {
    const bytes = addModel();
    await leaveHalf();
    const [free] = readdirSync(partials());
    const dead = execFileSync(process.execPath, ["-p", "process.pid"], { encoding: "utf8" }).trim();
    const folder = path.join(partials(), free!.replace("free", thisProcess.replace(/-\d+-/, `-${dead}-`)));
    renameSync(path.join(partials(), free!), folder);
    appendFileSync(path.join(folder, "ranges"), "5000 60"); // of "5000 6000"
    const pulled = await here.pull({ repository: "a/b" });
    expect(files()[0]).toBe("bytes=5000-5999");
    expect(readFileSync(path.join(pulled.folder, weights)).equals(bytes)).toBe(true);
  });

  it("knows a process that has the id of a dead one", () => {
    const [host, id, start] = thisProcess.split("-");
    expect(ownerOf(thisProcess)).toEqual({ processId: process.pid, isAlive: true });
    expect(ownerOf(`${host}-${id}-${Number(start) + 1}`)?.isAlive).toBe(process.platform !== "linux");
    expect(ownerOf(`00000000-${id}-${start}`)?.isAlive).toBeNull();
    expect(ownerOf("free")).toBeNull();
  });

  it.each<[string, (folder: string) => void]>([
    ["a record of another size", (folder) => writeFileSync(path.join(folder, "ranges"), "size 7\n0 7\n")],
    ["a record with ranges behind the end", (folder) => appendFileSync(path.join(folder, "ranges"), "0 99999\n")],
    ["no record", (folder) => writeFileSync(path.join(folder, "ranges"), "")],
    ["data of another size", (folder) => truncateSync(path.join(folder, "data"), 100)],
  ])("begins anew with %s", async (_, damage) => {
    const bytes = addModel();
    await leaveHalf();
    damage(path.join(partials(), readdirSync(partials())[0]!));
    const { folder } = await here.pull({ repository: "a/b" });
    expect(files()).toHaveLength(8);
    expect(readFileSync(path.join(folder, weights)).equals(bytes)).toBe(true);
  });

  it("repairs data that was damaged between two calls", async () => {
    const bytes = addModel();
    await leaveHalf();
    const data = path.join(partials(), readdirSync(partials())[0]!, "data");
    const there = readFileSync(data);
    there[10]! ^= 1;
    writeFileSync(data, there);
    const { folder } = await here.pull({ repository: "a/b" });
    expect(readFileSync(path.join(folder, weights)).equals(bytes)).toBe(true);
  });
});

describe("two calls at once", () => {
  it("download the bytes once, and both have the model", async () => {
    const bytes = addModel();
    const notes: string[] = [];
    const pull = () =>
      here.pull({ repository: "a/b", onProgress: ({ note }) => note !== undefined && notes.push(note) });
    const [one, other] = await Promise.all([pull(), pull()]);
    expect(one.downloadedBytes + other.downloadedBytes).toBe(size);
    expect(new Set([one, other].map(({ files }) => files[0]!.state))).toEqual(new Set(["downloaded", "present"]));
    expect(notes).toEqual([`process ${process.pid} downloads model.safetensors; waiting for it`]);
    expect(readFileSync(path.join(one.folder, weights)).equals(bytes)).toBe(true);
  });

  it("go on when the first one is stopped", async () => {
    const bytes = addModel();
    const controller = new AbortController();
    here.hub.fault = ({ count }) => {
      if (count === 3) controller.abort(new Error("stopped"));
      return undefined;
    };
    const first = failure(here.pull({ repository: "a/b", signal: controller.signal }));
    const second = here.pull({ repository: "a/b" });
    expect((await first).message).toBe("stopped");
    expect(readFileSync(path.join((await second).folder, weights)).equals(bytes)).toBe(true);
  });
});

describe("a partial file", () => {
  it("has one owner, of many that want it", async () => {
    const parent = path.join(here.folder, "p");
    mkdirSync(parent);
    const { signal } = new AbortController();
    let open = 0;
    let most = 0;
    const use = async () => {
      const partial = await Partial.open(parent, "abc", 10, { signal, onWait: () => {}, write: thisMachine().write });
      most = Math.max(most, ++open);
      await partial.write([Buffer.from([partial.ranges.bytes])], partial.ranges.bytes);
      await partial.done({ start: partial.ranges.bytes, end: partial.ranges.bytes + 1 });
      open--;
      await partial.release();
    };
    await Promise.all(Array.from({ length: 6 }, use));
    expect(most).toBe(1);
    const partial = await Partial.open(parent, "abc", 10, { signal, onWait: () => {}, write: thisMachine().write });
    expect(partial.ranges.bytes).toBe(6);
    await partial.finish(path.join(here.folder, "done"));
    expect([...readFileSync(path.join(here.folder, "done"))]).toEqual([0, 1, 2, 3, 4, 5, 0, 0, 0, 0]);
    expect(readdirSync(parent)).toEqual([]);
  });
});

describe("ranges", () => {
  it("say what is there and what is missing", () => {
    const ranges = new Ranges();
    expect(ranges.missing(2500, 1000)).toEqual([
      { start: 0, end: 1000 },
      { start: 1000, end: 2000 },
      { start: 2000, end: 2500 },
    ]);
    for (const [start, end] of [
      [10, 20],
      [30, 40],
      [5, 5],
      [9, 3],
    ])
      ranges.add({ start: start!, end: end! });
    expect([ranges.bytes, ranges.prefix]).toEqual([20, 0]);
    expect(ranges.missing(40, 1000)).toEqual([
      { start: 0, end: 10 },
      { start: 20, end: 30 },
    ]);
    ranges.add({ start: 0, end: 10 });
    expect(ranges.prefix).toBe(20);
    ranges.add({ start: 15, end: 35 });
    expect([ranges.bytes, ranges.prefix, ranges.missing(40, 1)]).toEqual([40, 40, []]);
    ranges.keepTo(25);
    expect(ranges.missing(40, 1000)).toEqual([{ start: 25, end: 40 }]);
  });

  it("agree with a set of bytes", () => {
    const random = seededRandom(1);
    const ranges = new Ranges();
    const bytes = new Set<number>();
    for (let i = 0; i < 60; i++) {
      const start = Math.floor(random() * 200);
      const end = start + Math.floor(random() * 12);
      ranges.add({ start, end });
      for (let at = start; at < end; at++) bytes.add(at);
      const missing = ranges
        .missing(250, 7)
        .flatMap(({ start, end }) => Array.from({ length: end - start }, (_, k) => start + k));
      expect(missing).toEqual(Array.from({ length: 250 }, (_, at) => at).filter((at) => !bytes.has(at)));
      expect(ranges.bytes).toBe(bytes.size);
    }
  });
});
