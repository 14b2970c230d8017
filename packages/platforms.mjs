// The packages of one platform each. gpt-oss-node names all of them as optional dependencies in its own version, and npm
// installs those whose os, cpu and libc fit. lib/platform-package.ts finds their files.

const MB = 1e6;

/**
 * `prebuilt` is the folder of prebuildify. `budget` bounds the file in bytes; a release that exceeds it fails.
 */
export const platforms = [
  {
    name: "linux-x64",
    os: "linux",
    cpu: "x64",
    libc: "glibc",
    prebuilt: "linux-x64",
    file: "gpt_oss.node",
    budget: 6 * MB,
    about: "the native addon of gpt-oss-node for Linux on x86-64 with glibc",
  },
  {
    name: "linux-arm64",
    os: "linux",
    cpu: "arm64",
    libc: "glibc",
    prebuilt: "linux-arm64",
    file: "gpt_oss.node",
    budget: 6 * MB,
    about: "the native addon of gpt-oss-node for Linux on 64-bit ARM with glibc",
  },
  {
    name: "darwin-arm64",
    os: "darwin",
    cpu: "arm64",
    prebuilt: "darwin-arm64",
    file: "gpt_oss.node",
    budget: 6 * MB,
    about: "the native addon of gpt-oss-node for macOS on Apple silicon",
  },
  {
    name: "linux-x64-cuda",
    os: "linux",
    cpu: "x64",
    libc: "glibc",
    prebuilt: "linux-x64",
    file: "libgptoss_cuda.so",
    budget: 4 * MB,
    about: "the CUDA module of gpt-oss-node for Linux on x86-64 with glibc",
  },
];

/** The bound of gpt-oss-node itself, unpacked. */
export const mainBudget = 14 * MB;

/**
 * What a published file may ask of Linux: glibc 2.28, as Node's own binaries do, and the libstdc++ of the systems with it
 * (GCC 8: Debian 10, RHEL 8).
 */
export const floor = { GLIBC: "2.28", GLIBCXX: "3.4.25", CXXABI: "1.3.11" };

export const nameOf = ({ name }) => `@gpt-oss-node/${name}`;

/** What all packages of a release share. */
const shared = ({ version, license, homepage, bugs, repository, engines }) => ({
  ...{ version, license, homepage, bugs, repository, engines },
});

/** The package.json of a platform's package. */
export function platformManifest(main, platform) {
  const { os, cpu, libc, file, about } = platform;
  return {
    name: nameOf(platform),
    description: about[0].toUpperCase() + about.slice(1),
    ...shared(main),
    main: file,
    files: [file, "LICENSE", "THIRD_PARTY.md"],
    os: [os],
    cpu: [cpu],
    ...(libc ? { libc: [libc] } : {}),
    preferUnplugged: true, // Yarn: a file in an archive cannot be loaded
    publishConfig: { access: "public" },
  };
}

/**
 * The package.json of gpt-oss-node as it is published: with the packages of the platforms, and without what only a
 * checkout has. The checkout's own cannot name those packages, because `npm ci` would ask for them before a release.
 */
export function mainManifest({ private: _, scripts, devDependencies, allowScripts, ...kept }) {
  const optionalDependencies = Object.fromEntries(platforms.map((platform) => [nameOf(platform), kept.version]));
  return { ...kept, optionalDependencies, publishConfig: { access: "public" } };
}
