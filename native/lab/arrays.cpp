#include "native/lab/arrays.h"

#include <algorithm>
#include <cmath>

#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/str.h"

namespace oss::lab {
namespace {

// The names of types as a caller of TypeScript knows them.
const char* type_name(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "Float32Array";
    case DType::kBF16:
      return "Uint16Array of bf16 bits";
    case DType::kI32:
      return "Int32Array";
    case DType::kU8:
      return "Uint8Array";
    default:
      return dtype_name(dtype);
  }
}

std::string type_names(std::initializer_list<DType> dtypes) {
  std::string names;
  for (const DType dtype : dtypes) names += str(names.empty() ? "" : " or a ", type_name(dtype));
  return names;
}

// As JavaScript writes it.
std::string text_of(double value) {
  if (std::isnan(value)) return "NaN";
  if (value == std::floor(value) && std::fabs(value) < 0x1p53) return str(int64_t(value));
  return str(value);
}

[[noreturn]] void refuse(const std::string& message, const std::string& field) {
  throw Error(Code::kInvalidArgument, message, field);
}

}  // namespace

size_t Shape::elements() const {
  size_t product = 1;
  for (const auto& [name, extent] : extents) product *= size_t(extent);
  return product;
}

std::string Shape::text() const {
  std::string product;
  for (const auto& [name, extent] : extents) product += str(product.empty() ? "" : " x ", name, " ", extent);
  return extents.size() == 1 ? product : str(product, " = ", elements());
}

double Arguments::take_number(const char* name, double least, double most, bool whole) {
  taken_.insert(name);
  const double value = numbers.at(name);
  if (!(value >= least && value <= most) || (whole && value != std::floor(value))) {
    refuse(str("expected ", whole ? "an integer" : "a number", " in [", text_of(least), ", ", text_of(most), "] for ",
               name, " but received ", text_of(value)),
           name);
  }
  return value;
}

int Arguments::count(const char* name, int least, int most) {
  if (!numbers.contains(name)) refuse(str(operation, " needs ", name), name);
  return int(take_number(name, least, most, true));
}

int Arguments::count_or(const char* name, int otherwise, int least, int most) {
  return numbers.contains(name) ? int(take_number(name, least, most, true)) : otherwise;
}

float Arguments::number_or(const char* name, float otherwise, float least, float most) {
  return numbers.contains(name) ? float(take_number(name, least, most, false)) : otherwise;
}

uint64_t Arguments::seed_or(const char* name, uint64_t otherwise) {
  return numbers.contains(name) ? uint64_t(take_number(name, 0, 0x1p53 - 1, true)) : otherwise;
}

std::string Arguments::word_or(const char* name, const std::string& otherwise,
                               std::initializer_list<const char*> known) {
  const auto found = words.find(name);
  if (found == words.end()) return otherwise;
  taken_.insert(name);
  std::string names;
  for (const char* one : known) {
    if (found->second == one) return one;
    names += str(names.empty() ? "" : ", ", one);
  }
  refuse(str("expected one of ", names, " for ", name, " but received ", quote(found->second)), name);
}

Array& Arguments::array(const char* name, std::initializer_list<DType> dtypes) {
  const auto found = arrays.find(name);
  if (found == arrays.end()) refuse(str(operation, " needs ", name, ", a ", type_names(dtypes)), name);
  taken_.insert(name);
  if (std::ranges::find(dtypes, found->second.dtype) == dtypes.end()) {
    refuse(str("expected ", name, " to be a ", type_names(dtypes), " but received a ", type_name(found->second.dtype)),
           name);
  }
  return found->second;
}

Array& Arguments::array(const char* name, std::initializer_list<DType> dtypes, const Shape& shape) {
  Array& found = array(name, dtypes);
  if (found.elements != shape.elements()) {
    refuse(str("expected ", name, " to have ", shape.text(), " elements but received ", found.elements), name);
  }
  return found;
}

void Arguments::check_all_taken() const {
  const auto check = [&](const auto& named) {
    for (const auto& [name, value] : named) {
      if (!taken_.contains(name)) refuse(str(operation, " has no ", quote(name)), name);
    }
  };
  check(arrays);
  check(numbers);
  check(words);
}

}  // namespace oss::lab
