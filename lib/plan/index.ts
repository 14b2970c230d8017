export type { PlanOptions } from "./options.js";
export { planModel } from "./plan-model.js";
export type { BackendPlan, ModelPlan, PlanChange } from "./types.js";
