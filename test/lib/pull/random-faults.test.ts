import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { type Fault, hashOf, sha256 } from "../../support/hub.js";
import { large, rangeBytes, setting } from "../../support/pull.js";
import { seededRandom } from "../../support/random.js";

/** Calls among random faults and stops: what is there at the end is right, and nothing else is left. */

const here = setting();
const size = 7 * rangeBytes + 123;

function randomFault(random: () => number): Fault | undefined {
  const some = Math.floor(random() * rangeBytes);
  const faults: (Fault | undefined)[] = [
    ...Array<undefined>(6).fill(undefined),
    { cutAfter: some },
    { fewer: 1 + (some % 50) },
    { extra: 1 + some },
    { status: 503 },
    { flip: some },
    { noRanges: true },
    { noRanges: true, cutAfter: some * 5 },
    { etag: '"other"' },
  ];
  return faults[Math.floor(random() * faults.length)];
}

describe("a download among random faults", () => {
  it.each([1, 2, 3, 4, 5, 6])("ends with the right bytes: %i", async (seed) => {
    const random = seededRandom(seed);
    const file = large(size, seed);
    here.hub.add("a/b", { "config.json": "{}", "model.safetensors": file });
    for (let round = 0; round < 5; round++) {
      const controller = new AbortController();
      const stopAt = random() < 0.5 ? Math.floor(random() * 12) : Number.POSITIVE_INFINITY;
      let answers = 0;
      here.hub.fault = () => {
        if (answers++ === stopAt) controller.abort(new Error("stopped"));
        return randomFault(random);
      };
      const pulled = await here.pull({ repository: "a/b", signal: controller.signal }).catch((error: unknown) => error);
      const blob = path.join(here.cache, "models--a--b", "blobs", hashOf(file));
      if (existsSync(blob)) expect(sha256(readFileSync(blob))).toBe(hashOf(file));
      else expect(pulled).toBeInstanceOf(Error);
    }
    here.hub.fault = () => undefined;
    const { folder } = await here.pull({ repository: "a/b" });
    expect(readFileSync(path.join(folder, "model.safetensors")).equals(file.bytes)).toBe(true);
    expect(existsSync(path.join(here.cache, "models--a--b", ".gpt-oss"))).toBe(false);
  });
});
