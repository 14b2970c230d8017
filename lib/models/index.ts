/** Which checkpoint a user's name stands for. */
export { adapterWithPath } from "./adapter.js";
export { readStart } from "./disk.js";
export { architectureIn, ggufStartBytes } from "./gguf-architecture.js";
export { type FoundModel, listModels } from "./list.js";
export { isAdapterFolder, isSelected } from "./model-files.js";
export { isOnlyPath, releasedName, releasedOfOllama, repositoryName, repositoryToPull } from "./names.js";
export { otherModelOfConfig, otherModelOfGguf } from "./other-model.js";
export { expanded, homeFolder, huggingFaceCache, huggingFaceHome, modelPlaces } from "./places.js";
export { resolveForLoading, resolveModel } from "./resolve.js";
export { resolution, servedName, sourceWords } from "./source-words.js";
export type { ModelDetails, ModelSource, ResolvedModel, TriedPlace } from "./types.js";
export { type UnreadableFolder, unreadableFolders } from "./unreadable.js";
