/** `gpt-oss-node/testing`: an engine that writes the scripts of a test. */
export { call, preamble, reply, type Script, type ScriptedTurn, think } from "./script.js";
export { ScriptedEngine, type ScriptedEngineOptions } from "./scripted-engine.js";
export { EngineRequest, type Scripts } from "./scripted-native.js";
