import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, it } from "vitest";
import { packageRoot } from "../../lib/binding.js";

/** A process at its limit of open files gets an error that names this limit, not one about a missing file. */

const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-open-files-"));
afterAll(() => rmSync(folder, { recursive: true }));

/**
 * Runs `before`. Returns the value, or the error's code, of each expression of `then`. Before each of them, files are
 * opened up to the limit: another thread of the process may have closed one.
 */
function outOfFiles(imports: string, before: string, then: readonly string[]): string[] {
  const script = `
    import fs from "node:fs";
    ${imports}
    ${before}
    const told = ${JSON.stringify(then)}.map((text) => new Function("scope", "with (scope) return " + text));
    let last = 0;
    const fill = () => { for (;;) try { last = fs.openSync("/"); } catch { return; } };
    fill();
    const top = last;
    const seen = told.map((tell) => { fill(); try { return String(tell(scope)); } catch ({ code, message }) { return code + " " + message; } });
    for (let fd = top; fd > top - 8; fd--) fs.closeSync(fd);
    process.stdout.write(JSON.stringify(seen));`;
  const args = ["--import", "tsx", "--input-type=module", "-e", script];
  const { stdout, stderr } = spawnSync("bash", ["-c", 'ulimit -n 100; exec "$0" "$@"', process.execPath, ...args], {
    cwd: packageRoot,
    env: { ...process.env, FOLDER: folder },
    encoding: "utf8",
  });
  expect(stderr).toBe("");
  return JSON.parse(stdout) as string[];
}

const refused = /^RESOURCE_LIMIT .*EMFILE/;

it("the error does not call key files missing, and loaded keys stay", () => {
  writeFileSync(path.join(folder, "keys"), "first-key\n");
  const seen = outOfFiles(
    'import { ApiKeys } from "./lib/server/tenants/api-keys.ts";',
    `const file = process.env.FOLDER + "/keys";
     const scope = { ApiKeys, file, keys: new ApiKeys({ file }) };
     fs.writeFileSync(file, "second-key");`,
    [
      "keys.reload()",
      "new ApiKeys({ file })",
      'keys.identify("Bearer first-key") !== null',
      'keys.identify("Bearer second-key")',
    ],
  );
  expect(seen).toEqual([expect.stringMatching(refused), expect.stringMatching(refused), "true", "null"]);
});

it("the error does not call certificates and schemas wrong", () => {
  for (const name of ["cert", "key", "schema"]) writeFileSync(path.join(folder, name), "{}");
  const seen = outOfFiles(
    'import { readTls } from "./lib/cli/serve/tls-files.ts"; import { readSchema } from "./lib/cli/generate/request.ts";',
    "const scope = { readTls, readSchema, at: (name) => process.env.FOLDER + '/' + name };",
    ['readTls(at("cert"), at("key"))', 'readSchema(at("schema"))'],
  );
  expect(seen).toEqual([expect.stringMatching(refused), expect.stringMatching(refused)]);
});

it("the error does not call the tokenizer missing, which is in the addon and needs no file once it is loaded", () => {
  const imports = 'import { tokenizer } from "./lib/tokenizer/index.ts";';
  const encode = 'tokenizer.encode("Hello there").length';
  const decode = "tokenizer.decode([13225])";
  expect(outOfFiles(imports, "const scope = { tokenizer };", [encode])).toEqual([expect.stringMatching(refused)]);
  const loaded = `const scope = { tokenizer }; tokenizer.encode("x");`;
  expect(outOfFiles(imports, loaded, [encode, decode])).toEqual(["2", "Hello"]);
});
