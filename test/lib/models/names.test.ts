import { describe, expect, it } from "vitest";
import {
  isOnlyPath,
  matchingRepositories,
  releasedName,
  releasedOfOllama,
  repositoryName,
  repositoryToPull,
} from "../../../lib/models/names.js";
import { ollamaName, shortName } from "../../../lib/models/ollama-name.js";

describe("the name of a repository", () => {
  it.each([
    ["openai/gpt-oss-20b", ["openai", "gpt-oss-20b", null, null]],
    ["openai/gpt-oss-20b/", ["openai", "gpt-oss-20b", null, null]],
    ["https://huggingface.co/openai/gpt-oss-20b/", ["openai", "gpt-oss-20b", null, null]],
    ["hf.co/o/n:Q8_0", ["o", "n", null, "Q8_0"]],
    ["https://huggingface.co/o/n/tree/v1", ["o", "n", "v1", null]],
    ["https://huggingface.co/o/n/tree/main/original", ["o", "n", "main", null]],
    ["https://huggingface.co/o/n/blob/refs%2Fpr%2F1/Q8_0/n.gguf", ["o", "n", "refs/pr/1", "Q8_0/n.gguf"]],
    ["https://huggingface.co/o/n/resolve/main/n.gguf?download=true", ["o", "n", "main", "n.gguf"]],
    ["https://huggingface.co/o/n/blob/main/config.json#L3", ["o", "n", "main", null]],
    ["https://hf.co/o/n?library=transformers", ["o", "n", null, null]],
    ["20b", [null, "20b", null, null]],
    ["o/n@refs/pr/1", ["o", "n", "refs/pr/1", null]],
    ["o/n:Q8_0", ["o", "n", null, "Q8_0"]],
    ["o/n@v1:Q8_0/n-Q8_0-00001-of-00002.gguf", ["o", "n", "v1", "Q8_0/n-Q8_0-00001-of-00002.gguf"]],
    ["o/n/Q8_0/n.gguf", ["o", "n", null, "Q8_0/n.gguf"]],
    ["gpt-oss:20b", [null, "gpt-oss", null, "20b"]],
  ])("%s is read", (text, [owner, name, revision, selection]) => {
    expect(repositoryName(text)).toEqual({ owner, name, revision, selection });
  });

  it.each([
    "",
    "/",
    "a/b/c",
    "o/n@",
    "o/n:",
    "o/n@../../x",
    "o/n@/etc",
    "o/n@a\\b",
    "o/n@a//b",
    "../n",
    "-o/n",
    "o n",
    "o/n@v@w",
    "https://huggingface.co/o/n/tree/..%2F..%2Fx",
    "https://huggingface.co/o/n/discussions/1",
    "ö/n",
  ])("%j is none", (text) => {
    expect(repositoryName(text)).toBeNull();
  });

  it("says what can be pulled", () => {
    const pulled = (text: string) => repositoryToPull(repositoryName(text)!);
    expect(["120b", "GPT-OSS-20B", "openai/GPT-OSS-20b", "me/mine:Q8_0", "mine"].map(pulled)).toEqual([
      "openai/gpt-oss-120b",
      "openai/gpt-oss-20b",
      "openai/gpt-oss-20b",
      "me/mine",
      null,
    ]);
  });
});

describe("a released model", () => {
  it("has short names, in any case", () => {
    const names = ["20b", "120B", "gpt-oss-20b", "OpenAI/gpt-oss-20b/", "safeguard-20b", "gpt-oss-21b", "oss-20b", ""];
    expect(names.map(releasedName)).toEqual([
      "gpt-oss-20b",
      "gpt-oss-120b",
      "gpt-oss-20b",
      "gpt-oss-20b",
      "gpt-oss-safeguard-20b",
      null,
      null,
      null,
    ]);
  });

  it("has other names in Ollama", () => {
    const names = ["gpt-oss:20b", "gpt-oss", "GPT-OSS:latest", "gpt-oss-safeguard:120b", "gpt-oss:7b", "llama:20b"];
    expect(names.map(releasedOfOllama)).toEqual([
      "gpt-oss-20b",
      "gpt-oss-20b",
      "gpt-oss-20b",
      "gpt-oss-safeguard-120b",
      null,
      null,
    ]);
  });
});

describe("repositories that a name can mean", () => {
  const here = ["a/gpt-oss-20b-GGUF", "openai/gpt-oss-20b", "OpenAI/other", "b/gpt-oss-20b-BF16", "mine", "c/mine"];
  it.each([
    ["20b", ["openai/gpt-oss-20b", "a/gpt-oss-20b-GGUF"]],
    ["gpt-oss-20b-GGUF", ["a/gpt-oss-20b-GGUF"]],
    ["OPENAI/gpt-oss-20B", ["openai/gpt-oss-20b"]],
    ["openai/other", ["OpenAI/other"]],
    ["mine", ["mine", "c/mine"]],
    ["openai/gpt-oss-20", []],
  ])("%s", (text, expected) => {
    expect(matchingRepositories(repositoryName(text)!, here)).toEqual(expected);
  });

  it("the same spelling comes before another one", () => {
    expect(matchingRepositories(repositoryName("o/n")!, ["O/N", "o/n"])).toEqual(["o/n"]);
    expect(matchingRepositories(repositoryName("O/n")!, ["O/N", "o/n"])).toEqual(["O/N", "o/n"]);
  });
});

describe("a path", () => {
  it("is what is absolute or begins with a dot and a slash", () => {
    expect(["/a", "./a", "../a", ".", ".."].map(isOnlyPath)).toEqual([true, true, true, true, true]);
    expect(["a", "a/b", ".hidden", "...", "~", "o/n"].map(isOnlyPath)).toEqual([
      false,
      false,
      false,
      false,
      false,
      false,
    ]);
  });
});

describe("a name of Ollama", () => {
  it.each([
    ["gpt-oss", "registry.ollama.ai/library/gpt-oss:latest", "gpt-oss:latest"],
    ["gpt-oss:20b", "registry.ollama.ai/library/gpt-oss:20b", "gpt-oss:20b"],
    ["me/mine", "registry.ollama.ai/me/mine:latest", "me/mine:latest"],
    ["hf.co/me/mine:Q8_0", "hf.co/me/mine:Q8_0", "hf.co/me/mine:Q8_0"],
    ["ollama.com/library/gpt-oss:20b", "registry.ollama.ai/library/gpt-oss:20b", "gpt-oss:20b"],
    ["localhost:5000/me/mine", "localhost:5000/me/mine:latest", "localhost:5000/me/mine:latest"],
  ])("%s is read", (text, whole, short) => {
    const name = ollamaName(text)!;
    expect(`${name.host}/${name.namespace}/${name.model}:${name.tag}`).toBe(whole);
    expect(shortName(name)).toBe(short);
  });

  it.each(["", ":20b", "gpt-oss:", "a/b/c/d", "../a/b", "a//b", "a b", "..", "a/..:b", "x".repeat(129)])(
    "%j is none",
    (text) => {
      expect(ollamaName(text)).toBeNull();
    },
  );
});
