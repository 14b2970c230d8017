import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { Engine, type GptOssError } from "../../lib/index.js";

/** The instruction sets of this architecture, whether this machine has them or not. */
export const isas =
  process.arch === "arm64" ? ["scalar", "neon", "neonbf16"] : ["scalar", "avx2", "avx512", "avx512bf16", "amx"];

/** Whether this machine has the instruction set. */
async function isHere(isa: string): Promise<boolean> {
  vi.stubEnv("GPT_OSS_ISA", isa);
  try {
    await using engine = await Engine.load("synthetic:tiny", { backend: "cpu" });
    return engine.info.isa === isa;
  } catch (error) {
    if ((error as GptOssError).code === "UNSUPPORTED") return false;
    throw error;
  } finally {
    vi.unstubAllEnvs();
  }
}

/** Describes `tests` under each instruction set of this machine, and names those that it lacks. `what` is tested. */
export async function describeOnEachIsa(what: string, tests: (isa: string) => void): Promise<void> {
  for (const isa of isas) {
    if (!(await isHere(isa))) {
      it(`${isa}: ${what} NOT RUN, this machine does not have it; asking for it is refused`, async () => {
        expect(await isHere(isa)).toBe(false);
      });
      continue;
    }
    describe(isa, () => {
      beforeAll(() => {
        vi.stubEnv("GPT_OSS_ISA", isa);
      });
      afterAll(() => {
        vi.unstubAllEnvs();
      });
      tests(isa);
    });
  }
}
