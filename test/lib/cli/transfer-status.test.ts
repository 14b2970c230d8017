import { describe, expect, it } from "vitest";
import { Output } from "../../../lib/cli/output.js";
import { TransferStatus, timeText } from "../../../lib/cli/transfer-status.js";

function status(isTTY: boolean) {
  const written: string[] = [];
  const notes = new Output({ isTTY, columns: 100, write: (text) => written.push(text) }, {});
  let now = 0;
  const shown = new TransferStatus(notes, () => now);
  const show = (at: number, loadedBytes: number, more = {}) => {
    now = at;
    shown.show({ phase: "download", file: "model.safetensors", loadedBytes, totalBytes: 1e9, folder: "/m", ...more });
  };
  return { written, show };
}

describe("the line of a download", () => {
  it("has the share, the rate of the last seconds, and the time that is left", () => {
    const { written, show } = status(true);
    show(0, 100e6);
    show(1000, 200e6);
    expect(written.at(-1)).toBe("\r\u001b[2KDownloading 20 % of 1.00 GB, 100 MB/s, 8 s left: model.safetensors");
    for (let second = 2; second <= 8; second++) show(second * 1000, 200e6 + second * 10e6);
    expect(written.at(-1)).toContain("Downloading 28 % of 1.00 GB, 10.0 MB/s, 1 min 12 s left");
  });

  it("is a line for each tenth where nobody watches, and notes are lines of their own", () => {
    const { written, show } = status(false);
    show(0, 50e6);
    for (let at = 1; at <= 20; at++) show(at * 100, 50e6 * at);
    show(3000, 1e9, { note: "something happened" });
    const tenths = Array.from({ length: 10 }, (_, i) => `Downloading: ${10 * (i + 1)} %\n`);
    expect(written).toEqual(["Downloading to /m: 1.00 GB, 50.0 MB of it there\n", ...tenths, "something happened\n"]);
  });

  it("begins anew with each phase, and shows no share while the size is not known", () => {
    const { written, show } = status(true);
    show(0, 0, { phase: "list", totalBytes: 0, file: null, folder: null });
    expect(written.at(-1)).toBe("\r\u001b[2KListing …");
    show(10, 500e6, { phase: "check" });
    show(20, 0);
    expect(
      written
        .filter((text) => !text.startsWith("\r"))
        .map((text) => text.trim())
        .filter((text) => text !== ""),
    ).toEqual(["Checking 1.00 GB in /m", "Downloading to /m: 1.00 GB"]);
    expect(written.at(-1)).toBe("\r\u001b[2KDownloading 0 % of 1.00 GB: model.safetensors");
  });
});

describe("a time", () => {
  it.each([
    [0.2, "1 s"],
    [59, "59 s"],
    [61, "1 min 1 s"],
    [3600, "1 h 0 min"],
    [7325, "2 h 2 min"],
  ])("of %d s is %s", (seconds, text) => {
    expect(timeText(seconds)).toBe(text);
  });
});
