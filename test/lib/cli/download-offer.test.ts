import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type Offer, offerLines, offerQuestion } from "../../../lib/cli/download-offer.js";
import { nearestMisfit } from "../../../lib/cli/plan-text.js";
import { planModel } from "../../../lib/plan/index.js";
import { bytesOnDisk } from "../../../lib/pull/disk-space.js";
import { knownRepository } from "../../../lib/pull/known-models.js";
import { failure } from "../../support/failure.js";

const offer: Offer = {
  known: knownRepository("120b")!,
  folder: "/cache",
  freeBytes: 100e9,
  storedBytes: 0,
  misfit: null,
};

describe("the offer to download a model", () => {
  it("says what it needs, and asks", () => {
    expect(offerLines(offer)).toEqual([
      "openai/gpt-oss-120b is not on this machine, or not complete: 117 billion parameters, 65.2 GB to download; 70 GB of memory or more, or a GPU with 80 GB.",
    ]);
    expect(offerQuestion(offer)).toBe("Download it to /cache, where 100 GB are free? [y/N] ");
  });

  it("is none for a disk without room", async () => {
    expect(await failure(() => offerQuestion({ ...offer, freeBytes: 65e9 }))).toMatchObject({
      code: "RESOURCE_LIMIT",
      message:
        "The download needs 65.2 GB and the disk of /cache has 65.0 GB free; free some, or choose a folder on another disk with HF_HUB_CACHE or dir (--dir)",
    });
  });

  it("counts what is there already", () => {
    expect(offerQuestion({ ...offer, freeBytes: 5.3e9, storedBytes: 60e9 })).toContain("where 5.30 GB are free? [y/N]");
    expect(offerQuestion({ ...offer, freeBytes: 0, storedBytes: 70e9 })).toContain("[y/N]");
  });

  it("says that the memory does not suffice", async () => {
    const plan = await planModel("120b", { memory: "16GB", backend: "cpu" });
    expect(plan.fits).toBe(false);
    const [, line] = offerLines({ ...offer, misfit: nearestMisfit(plan) });
    expect(line).toMatch(
      /^It does not fit in the memory of this machine: with 1 conversation of 4096 tokens it takes 6\d\.\d GB on a CPU, and 16\.0 GB are free\. "gpt-oss plan openai\/gpt-oss-120b" says what helps\.$/,
    );
  });
});

describe("the bytes of a folder", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-offer-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  it("are those that its files take: a hole takes none", async () => {
    mkdirSync(path.join(folder, "a", "b"), { recursive: true });
    writeFileSync(path.join(folder, "a", "b", "whole"), Buffer.alloc(100_000, 1));
    writeFileSync(path.join(folder, "a", "sparse"), "");
    truncateSync(path.join(folder, "a", "sparse"), 10e6);
    expect(await bytesOnDisk(folder)).toBe(100_000);
    expect(await bytesOnDisk(path.join(folder, "nothing"))).toBe(0);
  });
});
