// Modules that differ from the built module by a patch: every value of the knobs, and the variant that routes again.
import path from "node:path";
import { routeAgain as again, knobs as table, variantsOf } from "../knobs.mjs";
import { last } from "../process.mjs";
import { jsonLines } from "../results.mjs";
import { build, program, root } from "../session.mjs";
import { tryKnobs } from "../try-knobs.mjs";
import { buildVariants } from "../variants.mjs";
import { configure } from "./build.mjs";

/** CMake's folder of the built module, and the folder of its variants. */
export function placesOf(emulated) {
  const folder = emulated ? path.join(build, "Emulated") : build;
  return {
    target: emulated ? "gptoss_cuda_emulated" : "gptoss_cuda",
    library: path.join(folder, "libgptoss_cuda.so"),
    folder: path.join(folder, "knobs"),
  };
}

/** Returns the modules, or undefined if none can be built; then the step has given the reason. */
async function modules(session, variants, until) {
  const bench = program("oss_gpu_decode");
  if (!bench) return session.count({ failed: 1 }, "NOT RUN: oss_gpu_decode is not built");
  const from = Date.now();
  try {
    const built = await buildVariants(variants, {
      ...{ ...placesOf(session.emulated), root, build, program: bench, until },
      configure: () => configure(session, (until - Date.now()) / 1000),
    });
    const good = variants.filter(({ name }) => built.get(name).program).length;
    console.log(`${good} of ${variants.length} variants built in ${Math.round((Date.now() - from) / 1000)} s`);
    return built;
  } catch (error) {
    return session.count({ failed: 1 }, error.message);
  }
}

/** A decode step with each value of the knobs. */
function knobStep(name, batches, more) {
  const rounds = ["synthetic:120b", "synthetic:20b"].map((model) => ({ model, batches }));
  const tiny = [{ model: "synthetic:tiny", batches: [1], args: ["--prompt", "200", "--samples", "2", "--steps", "2"] }];
  return {
    ...{ name, least: 60, most: 500, asked: true, ...more },
    async run(session, seconds) {
      const { emulated } = session;
      if (emulated && name !== "knobs") return;
      const until = Date.now() + (seconds - 5) * 1000;
      // Two are enough to test the whole path.
      const variants = variantsOf(table).filter(
        ({ name }) => !emulated || ["experts-3-stages", "pages-of-a-split-2"].includes(name),
      );
      const built = await modules(session, variants, until);
      if (!built) return;
      const { passed, skipped, failures } = await tryKnobs(variants, {
        rounds: emulated ? tiny : (more?.rounds ?? rounds),
        built,
        until,
        addRow: (row) => session.addRow(row),
        run: async (file, args, seconds) => {
          const said = await session.run(file, args, { seconds, show: false });
          return { ...said, lines: jsonLines(said.text) };
        },
      });
      for (const failure of failures) console.log(`FAIL ${failure}`);
      session.count({ passed, skipped, failed: failures.length }, failures.join("\n"));
    },
  };
}
export const knobs = knobStep("knobs", [1]);
export const knobBatches = knobStep("knobs:batches", [8, 16]);
/** For a short lease: the largest model at batch 1 only. */
export const shortKnobs = knobStep("knobs", [1], {
  ...{ least: 30, most: 110, asked: false, rounds: [{ model: "synthetic:120b", batches: [1] }] },
});

/** Whether few_down chooses the same experts before its wait and after it. */
export const routeAgain = {
  name: "route-again",
  least: 20,
  most: 60,
  async run(session, seconds) {
    const until = Date.now() + seconds * 1000;
    const built = await modules(session, [again], until);
    if (!built) return;
    const { why } = built.get(again.name);
    if (why) return session.count({ failed: 1 }, `route-again does not build: ${why}`);
    const [model, batches, ...args] = session.emulated
      ? ["synthetic:tiny", [2], "--prompt", "20", "--samples", "1", "--steps", "2"]
      : ["synthetic:120b", [1, 8, 16], "--prompt", "256", "--samples", "3", "--steps", "48"];
    const says = {};
    for (const name of ["base", again.name]) {
      const left = (until - Date.now()) / 1000;
      const said = await session.run(built.get(name).program, [model, "--batches", batches.join(), ...args], {
        seconds: left,
        show: false,
      });
      if (!said.ok) {
        const what = said.late ? { skipped: 1 } : { failed: 1 };
        return session.count(what, `${said.late ? "NOT RUN" : "FAIL"} ${name}: ${last(said.text, 5)}`);
      }
      says[name] = jsonLines(said.text).map(({ batch, bits }) => `batch ${batch}: ${bits}`);
    }
    const same = says.base.join() === says[again.name].join();
    session.addRow({
      bench: "test",
      step: again.name,
      case: `${model}, batches ${batches}`,
      result: same ? "passed" : "failed",
    });
    session.count(
      same ? { passed: 1 } : { failed: 1 },
      same ? "" : `FAIL other bits: ${says.base} and ${says[again.name]}`,
    );
  },
};
