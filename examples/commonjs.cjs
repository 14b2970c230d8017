// The package in a CommonJS program: `import()` loads it on each version of Node that the package supports.
// Shown: the same API without top-level await. From Node 20.19 and 22.12 on, `require("gpt-oss-node")` works as well.
// Run: node examples/commonjs.cjs [MODEL]
async function main() {
  const { Engine } = await import("gpt-oss-node");
  const engine = await Engine.load(process.argv[2] ?? "demo");
  try {
    const { content } = await engine.chat([{ role: "user", content: "What is 7 + 8?" }], { temperature: 0 }).result;
    console.log(content);
  } finally {
    await engine.close();
  }
}

main();
