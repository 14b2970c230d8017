// Small files of the system: those below /proc and /sys.
#pragma once
#include <optional>
#include <string>

namespace oss {

// The whole text, at most 1 MiB of it; none when the file is not there or cannot be read.
// Throws kResourceLimit when too many files are open: what it says would be missed in silence.
std::optional<std::string> read_text_file(const std::string& path);

}  // namespace oss
