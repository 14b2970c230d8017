import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readTls } from "../../../lib/cli/serve/tls-files.js";
import { selfSigned } from "../../support/certificate.js";
import { failure } from "../../support/failure.js";

const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-tls-"));
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, text: string): string {
  const file = path.join(folder, name);
  writeFileSync(file, text);
  return file;
}
const ours = selfSigned();
const cert = write("cert.pem", ours.cert);
const key = write("key.pem", ours.key);
const other = write("other.pem", selfSigned().key);
const wrong = write("wrong.pem", "nothing of use\n");
const missing = path.join(folder, "missing.pem");

describe("the certificate and the key of a server", () => {
  it("are read as they are", () => {
    const tls = readTls(cert, key);
    expect([String(tls.cert), String(tls.key)]).toEqual([ours.cert, ours.key]);
  });

  it.each([
    ["a missing certificate", missing, key, `The certificate ${missing} of --tls-cert cannot be read: ENOENT`],
    ["a missing key", cert, missing, `The key ${missing} of --tls-key cannot be read: ENOENT`],
    ["a folder", cert, folder, `The key ${folder} of --tls-key cannot be read: EISDIR`],
    ["no certificate", wrong, key, `The certificate ${wrong} of --tls-cert cannot be used, expected PEM: `],
    ["no key", cert, wrong, `The key ${wrong} of --tls-key cannot be used, expected PEM without a password: `],
    ["another key", cert, other, `The key ${other} of --tls-key does not fit the certificate ${cert} of --tls-cert: `],
  ])("are refused by option and file: %s", async (_, certificate, keyFile, message) => {
    expect(await failure(() => readTls(certificate, keyFile))).toMatchObject({
      code: "INVALID_ARGUMENT",
      field: "tls",
      message: expect.stringContaining(message),
    });
  });
});
