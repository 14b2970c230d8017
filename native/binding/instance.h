// The classes of one environment: the main thread, or a worker.
#pragma once
#include <napi.h>

namespace oss {

struct Instance {
  Napi::FunctionReference engine_class, lab_class;
};

}  // namespace oss
