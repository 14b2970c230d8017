// A registry of npm on 127.0.0.1, so that package managers install the packages of a release before it is published.
// It has what packages/lay-out.mjs packed, and of the other packages those that this checkout has in node_modules.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { nameOf, platformManifest, platforms } from "../../packages/platforms.mjs";

const root = path.resolve(import.meta.dirname, "../..");
const read = (file) => JSON.parse(readFileSync(file, "utf8"));

/** Starts a registry. `packages` is a folder that `lay-out.mjs --pack` filled. */
export async function startRegistry(packages) {
  const known = new Map(); // name -> version -> { manifest, tarball() }
  const add = (manifest, tarball) => {
    const { name, version } = manifest;
    known.set(name, { ...known.get(name), [version]: { manifest, tarball: once(tarball) } });
  };

  for (const [folder, { dev }] of Object.entries(read(path.join(root, "package-lock.json")).packages)) {
    const full = path.join(root, folder);
    if (folder === "" || dev || !existsSync(full)) continue;
    add(read(path.join(full, "package.json")), () => tarballOf(full));
  }
  const main = read(path.join(packages, "gpt-oss-node/package.json"));
  for (const name of ["gpt-oss-node", ...platforms.map((platform) => platform.name)]) {
    const archive = path.join(packages, `${name === "gpt-oss-node" ? "" : "gpt-oss-node-"}${name}-${main.version}.tgz`);
    if (existsSync(archive)) add(read(path.join(packages, name, "package.json")), () => readFileSync(archive));
  }
  // Those for other machines: a package manager reads what they are for, and does not load them.
  for (const platform of platforms) {
    if (!known.has(nameOf(platform))) add(platformManifest(main, platform), () => undefined);
  }

  const asked = [];
  const server = createServer((request, response) => {
    const [name, archive] = decodeURIComponent(request.url.slice(1).split("?")[0]).split("/-/");
    asked.push(decodeURIComponent(request.url));
    const versions = known.get(name);
    if (!versions) return response.writeHead(404).end("{}");
    if (archive) {
      const tarball = versions[archive.replace(/\.tgz$/, "")]?.tarball();
      return tarball ? response.end(tarball) : response.writeHead(404).end();
    }
    const packument = {
      name,
      // package managers refuse what was published only just now
      time: Object.fromEntries(Object.keys(versions).map((version) => [version, "2020-01-01T00:00:00.000Z"])),
      "dist-tags": { latest: Object.keys(versions).at(-1) },
      versions: Object.fromEntries(Object.entries(versions).map(([version, entry]) => [version, described(entry)])),
    };
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(packument));
  });
  const described = ({ manifest, tarball }) => {
    const bytes = tarball() ?? Buffer.alloc(0);
    const dist = {
      tarball: `${url}/${manifest.name}/-/${manifest.version}.tgz`,
      shasum: createHash("sha1").update(bytes).digest("hex"),
      integrity: `sha512-${createHash("sha512").update(bytes).digest("base64")}`,
    };
    return { ...manifest, dist };
  };
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${server.address().port}`;
  return {
    url,
    /** The paths that were asked for. */
    asked,
    close: () => new Promise((resolve) => server.close(resolve).closeAllConnections()),
  };
}

function once(make) {
  let made;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/** The archive of an installed package, as its registry has it: all files are in a folder "package". */
function tarballOf(folder) {
  const parent = mkdtempSync(path.join(tmpdir(), "gpt-oss-archive-"));
  try {
    symlinkSync(folder, path.join(parent, "package"));
    // -h: the folder behind the link; --exclude: other packages
    const args = ["-czh", "-f", "-", "--exclude", "package/node_modules", "-C", parent, "package"];
    const { status, stdout, stderr } = spawnSync("tar", args, { maxBuffer: 2 ** 28 });
    if (status !== 0) throw new Error(`tar: ${stderr}`);
    return stdout;
  } finally {
    rmSync(parent, { recursive: true });
  }
}
