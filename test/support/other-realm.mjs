// Evaluates the built package in a separate context, as jest and vitest's vmThreads do: node's modules, the other
// packages and the addon come from outside. Prints its results as one line of JSON. common/other-realms.test.ts starts
// it.
import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import vm from "node:vm";

const root = path.resolve(import.meta.dirname, "../..");
const shared = {
  process,
  console,
  Buffer,
  URL,
  AbortController,
  AbortSignal,
  DOMException,
  performance,
  setTimeout,
  clearTimeout,
  queueMicrotask,
  TextDecoder,
  TextEncoder,
  structuredClone,
  crypto,
};
const context = vm.createContext(shared);
const modules = new Map();

function inside(file) {
  if (!modules.has(file)) {
    const initializeImportMeta = (meta) => {
      meta.url = pathToFileURL(file).href;
      meta.dirname = path.dirname(file);
    };
    const options = { context, identifier: file, initializeImportMeta };
    modules.set(file, new vm.SourceTextModule(readFileSync(file, "utf8"), options));
  }
  return modules.get(file);
}

async function outside(name) {
  const namespace = await import(name);
  const names = Object.keys(namespace);
  const define = function () {
    for (const key of names) this.setExport(key, namespace[key]);
  };
  return new vm.SyntheticModule(names, define, { context });
}

async function load(name) {
  const entry = inside(path.join(root, "dist", name));
  const link = (wanted, from) =>
    wanted.startsWith(".") ? inside(fileURLToPath(new URL(wanted, pathToFileURL(from.identifier)))) : outside(wanted);
  if (entry.status === "unlinked") await entry.link(link);
  if (entry.status !== "evaluated") await entry.evaluate();
  return entry.namespace;
}

const { Engine, GptOssError, inspectCheckpoint } = await load("index.js");
const { tokenizer } = await load("tokenizer/index.js");
const { renderConversation } = await load("harmony/index.js");
const realm = vm.runInContext(
  "({ Object, Array, Uint8Array, Uint32Array, Float32Array, Map, Date, Promise, Error })",
  context,
);
const seen = {};
const own = (name, value, kind) => {
  seen[name] = value instanceof realm[kind];
};
const refusal = async (work) => {
  try {
    await work();
  } catch (error) {
    return error;
  }
  return undefined;
};
const typed = (name, error, code, field) => {
  own(`${name} is an Error`, error, "Error");
  seen[`${name} is a GptOssError`] = error instanceof GptOssError;
  seen[`${name} has its code`] = error?.code === code && error.constructor === GptOssError;
  seen[`${name} has its field`] = error?.field === field;
};

own("encode()", tokenizer.encode("a"), "Uint32Array");
own("decodeBytes()", tokenizer.decodeBytes([64]), "Uint8Array");
const long = "word ".repeat(20_000);
own("encodeAsync()", await tokenizer.encodeAsync(long), "Uint32Array");
own("the promise of encodeAsync()", tokenizer.encodeAsync(long), "Promise");
for (const tokens of await tokenizer.encodeBatch([long, "b"])) own("encodeBatch()", tokens, "Uint32Array");
seen["decode() takes arrays of any realm"] =
  tokenizer.decode(new Uint32Array([64])) === "a" && tokenizer.decode(new realm.Uint32Array([64])) === "a";
seen["encodeInto() takes arrays of any realm"] = [Uint32Array, realm.Uint32Array].every(
  (Kind) => tokenizer.encodeInto("a", new Kind(1)) === 1,
);
typed("a refused id", await refusal(() => tokenizer.decode(new Uint32Array([300_000]))), "INVALID_ARGUMENT", "ids[0]");
typed("a failed load", await refusal(() => Engine.load("/nope")), "MODEL_NOT_FOUND", "model");
typed("a failed inspection", await refusal(() => inspectCheckpoint("/nope")), "MODEL_NOT_FOUND", "model");

const progress = [];
const engine = await Engine.load("synthetic:tiny", { threads: 1, onProgress: (event) => progress.push(event) });
for (const event of progress) own("a progress", event, "Object");
own("info.model", engine.info.model, "Object");
own("info.model.layerTypes", engine.info.model.layerTypes, "Array");
own("stats()", engine.stats(), "Object");
own("stats().stepMilliseconds.buckets", engine.stats().stepMilliseconds.buckets, "Array");
own("logits()", await engine.logits([1, 2]), "Float32Array");

let processed = 0;
const logitsProcessor = (logits, tokens) => {
  own("a processor's logits", logits, "Float32Array");
  own("a processor's tokens", tokens, "Uint32Array");
  // The given array, nothing, and arrays of another realm.
  return [logits, undefined, new Float32Array(logits)][processed++ % 3];
};
const prompt = new Uint32Array([1, 2]);
const result = await engine.generate(prompt, { maxTokens: 3, ignoreEos: true, logprobs: 2, logitsProcessor }).result;
own("result.tokens", result.tokens, "Array");
own("result.logprobs[0].top", result.logprobs[0].top, "Array");
own("result.timings", result.timings, "Object");
const biased = engine.generate([1], { maxTokens: 1, logitBias: new Map([[3, 1]]) });
seen["logitBias takes a Map of any realm"] = (await biased.result).tokens.length === 1;
const notInVocabulary = await refusal(() => engine.generate([999], { maxTokens: 2 }));
typed("a refused request", notInVocabulary, "INVALID_ARGUMENT", "prompt[0]");
const constraint = { kind: "text", format: { type: "regex", pattern: "(?<=a)" } };
const lookBehind = await refusal(() => engine.generate([1], { constraint }).result);
typed("a refused pattern", lookBehind, "INVALID_ARGUMENT", "constraint.format");

// A signal of the caller's own: a polyfill whose class belongs to no realm.
const polyfill = Object.assign(new EventTarget(), { aborted: false, reason: undefined });
const stopped = engine.generate([1], { maxTokens: 200, ignoreEos: true, signal: polyfill });
Object.assign(polyfill, { aborted: true, reason: "enough" }).dispatchEvent(new Event("abort"));
seen["a polyfilled signal aborts"] = (await refusal(() => stopped.result)) === "enough";
const bare = await refusal(() => engine.generate([1], { signal: { ...polyfill, aborted: true, ...listeners() } }));
seen["a signal without a reason gives one"] = bare?.name === "AbortError";
const foreign = new AbortController();
foreign.abort(new RangeError("of the main realm"));
seen["a reason is passed on as it is"] =
  (await refusal(() => tokenizer.encodeAsync(long, { signal: foreign.signal }))) === foreign.signal.reason;

const content = new Map([["type", "text"]]).set("text", "hi");
const message = new Map([["role", "user"]]).set("content", [content]);
seen["conversations may be Maps of any realm"] = renderConversation([message]).length === 5;

// The code that compilers emit for `await using`.
const dispose = vm.runInContext('Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose")', context);
seen["an engine is disposable there"] = typeof engine[dispose] === "function";
const closing = engine.close();
own("the promise of close()", closing, "Promise");
await closing;
typed("a closed engine's refusal", await refusal(() => engine.generate([1])), "CLOSED");
process.stdout.write(JSON.stringify(seen));

function listeners() {
  return { reason: undefined, addEventListener() {}, removeEventListener() {} };
}
