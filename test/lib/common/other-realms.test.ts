import { execFileSync } from "node:child_process";
import path from "node:path";
import vm from "node:vm";
import { describe, expect, it } from "vitest";
import { GptOssError, invalidArgument } from "../../../lib/errors.js";
import { tokenizer } from "../../../lib/tokenizer/index.js";

const program = path.resolve(import.meta.dirname, "../../support/other-realm.mjs");

describe("in a separate realm, as in jest and vm,", () => {
  it("the package makes values of that realm, and accepts values of any realm", () => {
    const told = execFileSync(process.execPath, ["--experimental-vm-modules", "--no-warnings", program], {
      encoding: "utf8",
    });
    const seen = JSON.parse(told) as Record<string, boolean>;
    expect(Object.keys(seen).length).toBeGreaterThan(35);
    expect(Object.entries(seen).filter(([, ok]) => !ok)).toEqual([]);
  });
});

describe("a value of another realm", () => {
  const made = vm.createContext({ GptOssError });
  const foreign = <T>(code: string) => vm.runInContext(code, made) as T;

  it("is accepted as an array, typed or not", () => {
    expect(tokenizer.decode(foreign<number[]>("[64]"))).toBe("a");
    expect(tokenizer.decode(foreign<Uint32Array>("new Uint32Array([64])"))).toBe("a");
    expect(tokenizer.decode(foreign<Uint16Array>("new Uint16Array([64])"))).toBe("a");
    expect(() => tokenizer.decode(foreign("new DataView(new ArrayBuffer(4))"))).toThrow(GptOssError);
  });

  it("is refused before the addon when it only imitates an array", () => {
    const pretender = Object.create(Uint32Array.prototype) as Uint32Array;
    expect(() => tokenizer.decode(pretender)).toThrow(GptOssError);
    expect(() => tokenizer.encodeInto("a", pretender)).toThrow("Expected a Uint32Array for target");
  });

  it("is a GptOssError by its name and code", () => {
    const make = (name: string, code: string) => `Object.assign(new Error("x"), { name: "${name}", code: "${code}" })`;
    expect(foreign(make("GptOssError", "CLOSED"))).toBeInstanceOf(GptOssError);
    expect(foreign(make("GptOssError", "ENOENT"))).not.toBeInstanceOf(GptOssError);
    expect(foreign(make("Error", "CLOSED"))).not.toBeInstanceOf(GptOssError);
    expect({ name: "GptOssError", code: "CLOSED" }).not.toBeInstanceOf(GptOssError);
    expect(null).not.toBeInstanceOf(GptOssError);
    expect(foreign<GptOssError>(`new GptOssError("CLOSED", "x")`)).toBeInstanceOf(GptOssError);
    class Special extends GptOssError {}
    expect(new Special("CLOSED", "x")).toBeInstanceOf(GptOssError);
    expect(invalidArgument("a", "b", 1)).not.toBeInstanceOf(Special);
  });
});
