// node mcp-server.mjs PACKAGES RECORD: an MCP server over stdio with one tool, `note`. It appends the text of each call
// to the file RECORD. The folder PACKAGES has the SDK.
import { appendFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const [packages, record] = process.argv.slice(2);
const require = createRequire(path.join(packages, "package.json"));
const { McpServer } = require("@modelcontextprotocol/sdk/server/mcp.js");
const { StdioServerTransport } = require("@modelcontextprotocol/sdk/server/stdio.js");
const { z } = require("zod");

const server = new McpServer({ name: "desk", version: "1.0.0" });
const note = { description: "Notes a text on the desk.", inputSchema: { text: z.string().describe("The text.") } };
server.registerTool("note", note, ({ text }) => {
  appendFileSync(record, text);
  return { content: [{ type: "text", text: `The desk has ${text.length} characters.` }] };
});
await server.connect(new StdioServerTransport());
