import { existsSync, mkdirSync, readdirSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { makeBundle } from "../../../lib/pull/bundle.js";
import { freeBytes } from "../../../lib/pull/disk-space.js";
import { failure } from "../../support/failure.js";
import { setting } from "../../support/pull.js";

/** The folders of a download: refused where they cannot be made, and not left behind by one that brought nothing. */

const here = setting();
const noRoom = { freeBytes: async () => 0 };

describe.runIf(existsSync("/proc/self"))("a folder that cannot be made", () => {
  it("ends a download to it", async () => {
    expect(await failure(here.pull({ dir: "/proc/none/m" }))).toMatchObject({
      code: "INVALID_ARGUMENT",
      field: "dir",
      message: "The folder /proc/none/m cannot be made or written (ENOENT); name another folder",
    });
  });

  it("ends a download to the cache there", async () => {
    const env = { ...here.machine.env, HF_HOME: "/proc/none" };
    expect(await failure(here.pull({}, { env }))).toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/^The folder \/proc\/none\/hub\/.* cannot be made .*; set HF_HUB_CACHE, or name/),
    });
  });

  it("ends a bundle", async () => {
    const given = { repository: "openai/gpt-oss-20b" };
    expect(await failure(makeBundle("/proc/none/b", given, here.machine))).toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("The folder /proc/none/b"),
    });
  });
});

describe("a download that brings nothing", () => {
  it("leaves no folder that it made", async () => {
    const dir = path.join(here.folder, "a", "b");
    expect(await failure(here.pull({ dir }, noRoom))).toMatchObject({ code: "RESOURCE_LIMIT" });
    expect(await failure(here.pull({}, noRoom))).toMatchObject({ code: "RESOURCE_LIMIT" });
    const given = { repository: "openai/gpt-oss-20b" };
    const bundle = path.join(here.folder, "bundle");
    expect(await failure(makeBundle(bundle, given, { ...here.machine, ...noRoom }))).toMatchObject({
      code: "RESOURCE_LIMIT",
    });
    expect(readdirSync(here.folder)).toEqual([]);
  });

  it("leaves a folder that was there", async () => {
    const dir = path.join(here.folder, "mine");
    mkdirSync(dir);
    await failure(here.pull({ dir }, noRoom));
    expect(readdirSync(here.folder)).toEqual(["mine"]);
    expect(readdirSync(dir)).toEqual([]);
  });

  it("leaves what has arrived, for the next call", async () => {
    const dir = path.join(here.folder, "m");
    here.hub.fault = ({ name }) => (name.endsWith(".safetensors") ? { status: 404 } : undefined);
    expect(await failure(here.pull({ dir }))).toMatchObject({ code: "DOWNLOAD" });
    expect(readdirSync(dir)).toContain("config.json");
    here.hub.fault = () => undefined;
    const { files } = await here.pull({ dir });
    expect(files.find(({ name }) => name === "config.json")!.state).toBe("present");
  });
});

it("the free room is known before the folder is there", async () => {
  const free = await freeBytes(path.join(here.folder, "not", "yet"));
  expect(free).toBeGreaterThan(0);
  expect(Number.isSafeInteger(free)).toBe(true);
});
