// npm run test:package-managers [-- [--packages FOLDER] NAME ...]: each package manager installs the packed packages, and the installed package
// answers a prompt. npm has the other package managers as packages.
import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { project, report, run, smokeResult, tools, withPackedPackages } from "../support/packed-project.mjs";

await withPackedPackages(async ({ names, folder, registry }) => {
  const modules = tools("package-managers", "pnpm", "yarn", "@yarnpkg/cli-dist");
  const pnpm = path.join(modules, "pnpm/bin/pnpm.mjs");
  const yarn1 = path.join(modules, "yarn/bin/yarn.js");
  const yarn4 = path.join(modules, "@yarnpkg/cli-dist/bin/yarn.js");
  const env = { ...process.env, npm_config_cache: path.join(folder, "npm-cache"), HOME: path.join(folder, "home") };

  const smoke = async (args, cwd) => {
    const { node } = smokeResult(await run(process.execPath, [...args, "smoke-program.mjs"], { cwd, env }));
    return `answers on Node ${node}`;
  };
  const yarnrc = (linker) => ({
    ".yarnrc.yml": `npmRegistryServer: "${registry}"
unsafeHttpWhitelist: ["127.0.0.1"]
nodeLinker: ${linker}
enableTelemetry: false
enableGlobalCache: false
`,
    "yarn.lock": "",
  });

  const managers = {
    async npm() {
      const cwd = project(folder, "npm");
      await run("npm", ["install", "gpt-oss-node", "--registry", registry], { cwd, env });
      return smoke([], cwd);
    },
    async pnpm() {
      const cwd = project(folder, "pnpm", { ".npmrc": `registry=${registry}\n` });
      const stores = ["--store-dir", path.join(folder, "pnpm-store")];
      const { stdout } = await run(process.execPath, [pnpm, "add", "gpt-oss-node", ...stores], { cwd, env });
      if (/approve-builds|Ignored build scripts/.test(stdout)) throw new Error(`it asks for permission: ${stdout}`);
      return smoke([], cwd);
    },
    async yarn1() {
      const cwd = project(folder, "yarn1");
      const stores = ["--cache-folder", path.join(folder, "yarn1-cache"), "--registry", registry, "--ignore-engines"];
      await run(process.execPath, [yarn1, "add", "gpt-oss-node", ...stores], { cwd, env });
      return smoke([], cwd);
    },
    async "yarn4-node-modules"() {
      const cwd = project(folder, "yarn4-node-modules", yarnrc("node-modules"));
      await run(process.execPath, [yarn4, "add", "gpt-oss-node"], { cwd, env });
      return smoke([], cwd);
    },
    async "yarn4-pnp"() {
      const cwd = project(folder, "yarn4-pnp", yarnrc("pnp"));
      await run(process.execPath, [yarn4, "add", "gpt-oss-node"], { cwd, env });
      if (existsSync(path.join(cwd, "node_modules"))) throw new Error("there is a node_modules folder");
      const unplugged = readdirSync(path.join(cwd, ".yarn/unplugged"));
      return `${await smoke([yarn4, "node"], cwd)}, ${unplugged.length} packages unpacked`;
    },
  };
  const unknown = names.filter((name) => !(name in managers));
  if (unknown.length > 0) throw new Error(`Expected ${Object.keys(managers).join(", ")} but received ${unknown}`);
  await report(Object.entries(managers).filter(([name]) => names.length === 0 || names.includes(name)));
});
