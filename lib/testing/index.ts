/** `gpt-oss-node/testing`: an engine that writes what a test tells it to. */
export { type EngineRequest, type Script, ScriptedEngine, type ScriptedEngineOptions } from "./scripted-engine.js";
