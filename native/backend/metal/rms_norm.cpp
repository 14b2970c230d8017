#include "kernels/metal/rms_norm.h"

#include "native/backend/metal/operations.h"

namespace oss::metal {

void rms_norm(Encoder& encoder, const RmsNormArgs& args, const float* x, const float* w, uint16_t* y, uint16_t* y_low) {
  const RmsNormLaunch launch = {.hidden = args.hidden, .eps = args.eps, .precise = y_low != nullptr};
  const size_t values = size_t(args.rows) * size_t(args.hidden);
  encoder.dispatch("rms_norm", {uint32_t(args.rows)}, kRmsNormThreads,
                   {bytes_of(launch), reads(x, values), reads(w, size_t(args.hidden)), writes(y, values),
                    y_low != nullptr ? writes(y_low, values) : reads(x, values)});
}

}  // namespace oss::metal
