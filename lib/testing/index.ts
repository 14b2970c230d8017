/** `gpt-oss-node/testing`: an engine that writes what a test tells it to. */
export { call, preamble, reply, type Script, type ScriptedTurn, think } from "./script.js";
export { EngineRequest, ScriptedEngine, type ScriptedEngineOptions, type Scripts } from "./scripted-engine.js";
