// OpenAI's API as part of a Fastify app, under /ai, beside another route of the app.
// Shown: `gptOssPlugin`, an engine that loads while the port already listens, and an end that lets requests finish.
// Run: PORT=8080 node examples/fastify-plugin.mjs [MODEL], then: curl localhost:8080/ai/v1/models
import { fastify } from "fastify";
import { Engine } from "gpt-oss-node";
import { gptOssPlugin } from "gpt-oss-node/server";

// A promise: until it resolves, /ai/ready and the API answer 503.
const engine = Engine.load(process.argv[2] ?? "demo");

const app = fastify();
await app.register(gptOssPlugin, { engine, prefix: "/ai", modelName: "my-model" });
app.get("/", async () => ({ info: (await engine).info.model }));

console.log(await app.listen({ port: Number(process.env.PORT ?? 8080), host: "127.0.0.1" }));

process.once("SIGTERM", async () => {
  await app.drain();
  await app.close();
  await (await engine).close();
});
