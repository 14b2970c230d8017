// npm run test:node-versions [-- [--packages FOLDER] VERSION ...]: the packed packages, installed once, on several versions of Node. npm has
// the binaries as packages. Default: the oldest that `engines` promises of 20 and 22, and the newest of 22 and 24.
import path from "node:path";
import { project, report, run, smokeResult, tools, withPackedPackages } from "../support/packed-project.mjs";

const binary = `node-${process.platform}-${process.arch}`;

/** Whether this Node can `require` ES modules without an option. */
function requiresModules(version) {
  const [major, minor] = version.slice(1).split(".").map(Number);
  return major > 22 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19);
}

await withPackedPackages(async ({ names, folder, registry }) => {
  const versions = names.length > 0 ? names : ["20.17.0", "22.9.0", "22", "24"];
  const cwd = project(folder, "project");
  const env = { ...process.env, npm_config_cache: path.join(folder, "cache") };
  await run("npm", ["install", "gpt-oss-node", "--ignore-scripts", "--registry", registry], { cwd, env });
  await report(
    versions.map((version) => [
      `Node ${version}`,
      async () => {
        const node = path.join(tools(`node-versions/${version}`, `${binary}@${version}`), binary, "bin/node");
        const found = smokeResult(await run(node, ["smoke-program.mjs"], { cwd }));
        const expected = requiresModules(found.node) ? true : null;
        if (found.required !== expected)
          throw new Error(`expected required ${expected} but received ${found.required}`);
        return `${found.node} answers${found.required ? ", and requires the package" : "; it cannot require ES modules"}`;
      },
    ]),
  );
});
