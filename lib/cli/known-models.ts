export { type KnownModel, knownModels, knownRepository } from "../pull/known-models.js";
