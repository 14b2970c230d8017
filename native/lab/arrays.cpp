#include "native/lab/arrays.h"

#include <algorithm>
#include <cmath>

#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/str.h"

namespace oss::lab {
namespace {

// The names of types as a caller of TypeScript knows them.
struct TypeName {
  const char *array, *element;
};
TypeName type_name(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return {"a Float32Array", "f32"};
    case DType::kBF16:
      return {"a Uint16Array of bf16 bits", "bf16"};
    case DType::kI32:
      return {"an Int32Array", "i32"};
    case DType::kU8:
      return {"a Uint8Array", "u8"};
    default:
      return {"an array of another type", dtype_name(dtype)};
  }
}

std::string type_names(std::initializer_list<DType> dtypes) {
  std::string names;
  for (const DType dtype : dtypes) names += str(names.empty() ? "" : " or ", type_name(dtype).array);
  return names;
}

std::string type_of(const Array& array) {
  const TypeName name = type_name(array.dtype);
  return array.device != nullptr ? str("a buffer of ", name.element) : name.array;
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

std::string Arguments::received(const char* name) const {
  if (const auto found = numbers.find(name); found != numbers.end()) return str(text_of(found->second), " (number)");
  if (const auto found = words.find(name); found != words.end()) return str(quote(found->second), " (string)");
  const auto found = arrays.find(name);
  return found == arrays.end() ? "" : type_of(found->second);
}

// Whether there is one. Refuses something else of this name.
bool Arguments::has_number(const char* name, const char* expected) const {
  if (numbers.contains(name)) return true;
  const std::string other = received(name);
  if (!other.empty()) refuse(str("expected ", expected, " for ", name, " but received ", other), name);
  return false;
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
  if (!has_number(name, "an integer")) refuse(str(operation, " needs ", name), name);
  return int(take_number(name, least, most, true));
}

int Arguments::count_or(const char* name, int otherwise, int least, int most) {
  return has_number(name, "an integer") ? int(take_number(name, least, most, true)) : otherwise;
}

float Arguments::number_or(const char* name, float otherwise, float least, float most) {
  return has_number(name, "a number") ? float(take_number(name, least, most, false)) : otherwise;
}

uint64_t Arguments::seed_or(const char* name, uint64_t otherwise) {
  return has_number(name, "an integer") ? uint64_t(take_number(name, 0, 0x1p53 - 1, true)) : otherwise;
}

std::string Arguments::word_or(const char* name, const std::string& otherwise,
                               std::initializer_list<const char*> known) {
  const std::string given = received(name);
  if (given.empty()) return otherwise;
  taken_.insert(name);
  const auto found = words.find(name);
  std::string names;
  for (const char* one : known) {
    if (found != words.end() && found->second == one) return one;
    names += str(names.empty() ? "" : ", ", one);
  }
  refuse(str("expected one of ", names, " for ", name, " but received ", given), name);
}

bool Arguments::has(const char* name) const {
  if (arrays.contains(name)) return true;
  const std::string other = received(name);
  if (!other.empty()) refuse(str("expected ", name, " to be a typed array or a buffer but received ", other), name);
  return false;
}

Array& Arguments::array(const char* name, std::initializer_list<DType> dtypes) {
  const std::string given = received(name);
  if (given.empty()) refuse(str(operation, " needs ", name, ", ", type_names(dtypes)), name);
  taken_.insert(name);
  const auto found = arrays.find(name);
  if (found == arrays.end() || std::ranges::find(dtypes, found->second.dtype) == dtypes.end())
    refuse(str("expected ", name, " to be ", type_names(dtypes), " but received ", given), name);
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
