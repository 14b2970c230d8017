import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Step } from "./model.js";
import { question } from "./task.js";

/** The clients, and the settings with which they ask this server. `docs/server.md` gives them to users. */

export const modelName = "gpt-oss-20b";
export const contextLength = 131_072;

export type Api = "chat completions" | "responses";

/** Where a run takes place. */
export interface Place {
  /** The address of the server, which ends with `/v1`. */
  baseUrl: string;
  /** The folder of the user, for settings; nothing else is there. */
  home: string;
  /** The folder with the installed packages. */
  packages: string;
  repository: string;
  /** Where the MCP server writes what it was given. */
  desk: string;
}

/** How a client is started. */
export interface Start {
  /** Command lines to run one after the other; the last one does the task. */
  commands: [program: string, ...args: string[]][];
  env: Record<string, string>;
}

export interface Run {
  name: string;
  client: string;
  api: Api;
  steps: readonly Step[];
  /** The call of each step, as the model names it. */
  calls: readonly string[];
  /** Kinds of tools that the client must have sent, because the run is about them. */
  kinds: readonly string[];
  /** The member in which the client sends reasoning back. Null: it sends none, and the server puts it back. */
  carries: "encrypted_content" | "reasoning_content" | null;
  start: (place: Place) => Start;
}

const everyApi: readonly Api[] = ["chat completions", "responses"];

/** Codex knows the responses API only. Without a catalog it does not know the model, and then has no tool for edits. */
const codex: Run[] = [true, false].map((hasCatalog) => ({
  name: `codex, ${hasCatalog ? "with a catalog" : "with default settings"}, MCP`,
  client: "codex",
  api: "responses",
  steps: ["read", "edit", "note"],
  calls: ["exec_command", hasCatalog ? "apply_patch" : "exec_command", "mcp__desk__note"],
  kinds: ["function", "namespace", ...(hasCatalog ? ["custom"] : [])],
  carries: "encrypted_content",
  start: ({ baseUrl, home, packages, repository, desk }) => {
    const settings = path.join(home, ".codex");
    const catalog = path.join(settings, "models.json");
    mkdirSync(settings);
    writeFileSync(catalog, JSON.stringify({ models: [codexModel] }));
    writeFileSync(
      path.join(settings, "config.toml"),
      `model = "${modelName}"
model_provider = "gpt-oss-node"
${hasCatalog ? `model_catalog_json = ${JSON.stringify(catalog)}` : ""}

[model_providers.gpt-oss-node]
name = "gpt-oss-node"
base_url = "${baseUrl}"
wire_api = "responses"

[mcp_servers.desk]
command = ${JSON.stringify(process.execPath)}
args = ${JSON.stringify([path.join(import.meta.dirname, "mcp-server.mjs"), packages, desk])}

[analytics]
enabled = false

[features]
apps = false
plugins = false
remote_plugin = false
`,
    );
    // A sandbox inside a container often does not start. The commands are those of our script.
    const args = ["exec", "--dangerously-bypass-approvals-and-sandbox", "--cd", repository, question];
    return { commands: [["codex", ...args]], env: {} };
  },
}));

/** What Codex must know of the model to give it all tools. */
const codexModel = {
  slug: modelName,
  display_name: modelName,
  description: "Runs on this machine.",
  visibility: "list",
  supported_in_api: true,
  priority: 1,
  context_window: contextLength,
  input_modalities: ["text"],
  shell_type: "unified_exec",
  apply_patch_tool_type: "freeform",
  supports_parallel_tool_calls: false,
  supports_reasoning_summaries: true,
  default_reasoning_summary: "auto",
  default_reasoning_level: "medium",
  supported_reasoning_levels: ["low", "medium", "high"].map((effort) => ({ effort, description: effort })),
  support_verbosity: false,
  truncation_policy: { mode: "tokens", limit: 10_000 },
  experimental_supported_tools: [],
  base_instructions: "You are a coding agent. Work with the tools until the task is done.",
};

const copilot = everyApi.map(
  (api): Run => ({
    name: `copilot, ${api}`,
    client: "copilot",
    api,
    steps: ["read", "edit"],
    calls: ["view", "apply_patch"],
    kinds: ["function", "custom"],
    carries: api === "responses" ? "encrypted_content" : "reasoning_content",
    start: ({ baseUrl }) => ({
      commands: [["copilot", "--prompt", question, "--allow-all-tools", "--no-auto-update"]],
      env: {
        COPILOT_OFFLINE: "true",
        COPILOT_PROVIDER_BASE_URL: baseUrl,
        COPILOT_PROVIDER_WIRE_API: api === "responses" ? "responses" : "completions",
        COPILOT_MODEL: modelName,
      },
    }),
  }),
);

const opencode = everyApi.map(
  (api): Run => ({
    name: `opencode, ${api}`,
    client: "opencode",
    api,
    steps: ["read", "edit"],
    calls: ["read", "edit"],
    kinds: ["function"],
    carries: api === "responses" ? "encrypted_content" : "reasoning_content",
    start: ({ baseUrl, home }) => {
      const settings = path.join(home, ".config/opencode");
      mkdirSync(settings, { recursive: true });
      const model = {
        name: modelName,
        reasoning: true,
        tool_call: true,
        limit: { context: contextLength, output: 8192 },
      };
      const provider = {
        npm: api === "responses" ? "@ai-sdk/openai" : "@ai-sdk/openai-compatible",
        name: "gpt-oss-node",
        options: { baseURL: baseUrl, apiKey: "none" },
        models: { [modelName]: model },
      };
      const config = { autoupdate: false, share: "disabled", provider: { local: provider } };
      writeFileSync(path.join(settings, "opencode.json"), JSON.stringify(config));
      return {
        commands: [["opencode", "run", "--auto", "--model", `local/${modelName}`, question]],
        env: { OPENCODE_DISABLE_MODELS_FETCH: "1", OPENCODE_DISABLE_LSP_DOWNLOAD: "1" },
      };
    },
  }),
);

const cline = everyApi.map(
  (api): Run => ({
    name: `cline, ${api}`,
    client: "cline",
    api,
    steps: ["read", "edit"],
    calls: ["read_files", "apply_patch"],
    kinds: ["function"],
    carries: api === "responses" ? null : "reasoning_content",
    start: ({ baseUrl, home }) => {
      const settings = path.join(home, "cline.json");
      writeFileSync(settings, JSON.stringify({ telemetryOptOut: true, autoUpdateEnabled: false }));
      const provider = api === "responses" ? "openai-native" : "openai";
      return {
        commands: [
          ["cline", "auth", "--provider", provider, "--apikey", "none", "--modelid", modelName, "--baseurl", baseUrl],
          ["cline", question],
        ],
        // Otherwise the sessions are in a process that stays, and that other runs would use too.
        env: { CLINE_SESSION_BACKEND_MODE: "local", CLINE_GLOBAL_SETTINGS_PATH: settings },
      };
    },
  }),
);

export const runs: readonly Run[] = [...codex, ...copilot, ...opencode, ...cline];
