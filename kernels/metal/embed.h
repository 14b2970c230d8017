// The arguments of embed.metal, for host and device.
#pragma once
#include "kernels/common/lang.h"

namespace oss {

OSS_CONSTANT int kEmbedThreads = 256;

struct EmbedLaunch {
  int hidden;
};

}  // namespace oss
