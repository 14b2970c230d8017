// tokenizerEncode, tokenizerEncodeInto, tokenizerEncodeAsync, tokenizerCount, tokenizerDecode, tokenizerTable:
// lib/binding.ts says what they take and give.
#pragma once
#include <napi.h>

namespace oss {

void init_tokenizer(Napi::Env env, Napi::Object exports);

}  // namespace oss
