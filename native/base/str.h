// str("layer ", 3, ": expected ", n) → std::string. For messages to users, never on the step path.
#pragma once
#include <sstream>
#include <string>

namespace oss {

template <typename... Parts>
std::string str(const Parts&... parts) {
  std::ostringstream out;
  out.exceptions(std::ios::badbit);  // without memory a stream would silently drop the rest
  (out << ... << parts);
  return out.str();
}

// "[2, 3]" of any range of numbers.
template <typename Range>
std::string str_shape(const Range& range) {
  std::ostringstream out;
  out.exceptions(std::ios::badbit);
  out << '[';
  const char* separator = "";
  for (const auto& value : range) {
    out << separator << value;
    separator = ", ";
  }
  out << ']';
  return out.str();
}

}  // namespace oss
