// The values of JSON schema's "format" that are enforced, as patterns (regex.h) for a whole text. Every text that they
// match is valid for the format. They leave out some rare forms, such as quoted local parts of addresses.
#pragma once
#include <optional>
#include <string_view>

namespace oss::grammar {

// Absent for an unknown format, which has no effect.
std::optional<std::string_view> format_pattern(std::string_view name);

}  // namespace oss::grammar
