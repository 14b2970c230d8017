// Reads small files of the system below /proc and /sys.
#pragma once
#include <optional>
#include <string>

namespace oss {

// The text, cut to 1 MiB; none when the file does not exist or cannot be read. Throws kResourceLimit when too many
// files are open, because a limit in the file would silently be missed.
std::optional<std::string> read_text_file(const std::string& path);

}  // namespace oss
