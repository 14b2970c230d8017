// The values of JSON schema's "format" that are enforced, as patterns (regex.h) that a whole text matches. What they
// admit is valid for the format; of rare forms, such as quoted local parts of addresses, some is left out.
#pragma once
#include <optional>
#include <string_view>

namespace oss::grammar {

// Absent: a format that is not known, and so says nothing.
std::optional<std::string_view> format_pattern(std::string_view name);

}  // namespace oss::grammar
