// tokenizerEncode, tokenizerEncodeInto, tokenizerEncodeAsync, tokenizerCount, tokenizerDecode, tokenizerTable:
// lib/binding.ts documents their arguments and results.
#pragma once
#include <napi.h>

namespace oss {

void init_tokenizer(Napi::Env env, Napi::Object exports);

}  // namespace oss
