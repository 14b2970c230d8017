// Converts JavaScript values ⇄ C++ structs. TypeScript has checked types and ranges; this code only converts.
#pragma once
#include <napi.h>

#include "native/engine/engine.h"

namespace oss {

EngineOptions engine_options_from_js(const Napi::Object& options);
AdapterOption adapter_option_from_js(const Napi::Object& adapter);
// Throws kInvalidArgument when the tokens' buffer is detached.
Request request_from_js(const Napi::Object& request);
std::vector<float> floats_from_js(const Napi::Value& value);
SamplingArgs sampling_from_js(const Napi::Object& params);

const char* name_of(KvType type);  // as in the options
const char* name_of(ExpertWeights type);
Napi::Object config_to_js(Napi::Env env, const Config& config);
Napi::Object info_to_js(Napi::Env env, const EngineInfo& info);
Napi::Object adapter_to_js(Napi::Env env, const AdapterInfo& adapter);
Napi::Array adapters_to_js(Napi::Env env, const std::vector<AdapterInfo>& adapters);
Napi::Object stats_to_js(Napi::Env env, const EngineStats& stats);
Napi::Object checkpoint_to_js(Napi::Env env, const Checkpoint& checkpoint);
Napi::Array events_to_js(Napi::Env env, const std::vector<Event>& events);

}  // namespace oss
