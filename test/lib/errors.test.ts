import { describe, expect, it } from "vitest";
import { addon } from "../../lib/binding.js";
import {
  errorCodes,
  fromNative,
  GptOssError,
  invalidArgument,
  nativeCall,
  nativeErrorCodes,
} from "../../lib/errors.js";

describe("errors", () => {
  it("have the same codes in C++ and TypeScript", () => {
    expect(addon().errorCodes()).toEqual([...nativeErrorCodes]);
    expect(errorCodes).toEqual([...nativeErrorCodes, "DOWNLOAD", "SERVER"]);
  });

  it("state the expected and the received value", () => {
    expect(invalidArgument("maxSequences", "an integer in [1, 64]", "8").message).toBe(
      'Expected an integer in [1, 64] for maxSequences but received "8" (string)',
    );
    expect(invalidArgument("x", "y", null).message).toContain("received null");
    expect(invalidArgument("x", "y", []).message).toContain("received an array");
    expect(invalidArgument("x", "y", () => 1).message).toContain("received a function");
    expect(invalidArgument("x", "y", Object.create(null)).message).toContain("an object");
    expect(invalidArgument("x", "y", "a".repeat(1000)).message.length).toBeLessThan(200);
  });

  it("of the addon become GptOssErrors with their code, and keep their cause", () => {
    const failing = () =>
      nativeCall(() => {
        throw Object.assign(new Error("no room"), { code: "OUT_OF_MEMORY" });
      });
    expect(failing).toThrowError(GptOssError);
    const foreign = new Error("something else");
    expect(fromNative(foreign)).toBe(foreign);
    const converted = fromNative(Object.assign(new Error("m"), { code: "CLOSED" })) as GptOssError;
    expect(converted.code).toBe("CLOSED");
    expect(converted.cause).toBeInstanceOf(Error);
  });
});
