// An answer that is a value of a JSON schema. The engine allows only tokens that keep to the schema.
// Shown: `responseFormat`, the value in `parsed`, and the error for a schema that is not supported.
// Run: node examples/structured-output.mjs [MODEL] (the demo model keeps to the schema, but its values may be wrong)
import { Engine, GptOssError } from "gpt-oss-node";

/** @param {Record<string, unknown>} schema */
const formatOf = (schema) =>
  /** @type {const} */ ({ type: "json_schema", json_schema: { name: "city", strict: true, schema } });

const city = {
  type: "object",
  properties: {
    capital: { type: "string", enum: ["Athens", "Bern", "Oslo", "Tokyo"] },
    size: { type: "string", enum: ["small", "large"] },
  },
  required: ["capital", "size"],
  additionalProperties: false,
};

const engine = await Engine.load(process.argv[2] ?? "demo");
try {
  console.log(await ask(city));
  // With `strict`, a schema with an unsupported keyword is refused. The error names the keyword.
  console.log(await ask({ type: "array", contains: city }));
} catch (error) {
  if (!(error instanceof GptOssError)) throw error;
  console.log(`${error.code}: ${error.message}`);
} finally {
  await engine.close();
}

/** @param {Record<string, unknown>} schema */
async function ask(schema) {
  const run = engine.chat([{ role: "user", content: "What is the capital of Japan?" }], {
    reasoningEffort: "low",
    responseFormat: formatOf(schema),
    maxTokens: 200,
    temperature: 0,
  });
  // Undefined when `maxTokens` did not suffice for a whole value.
  return (await run.result).parsed;
}
