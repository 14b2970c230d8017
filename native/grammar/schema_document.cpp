#include "native/grammar/schema_document.h"

#include <algorithm>

namespace oss::grammar {

const Json* SchemaDocument::member(const Json& of, const std::string& key) const {
  constexpr size_t kFew = 16;
  if (of.object() == nullptr || of.object()->size() <= kFew) return of.find(key);
  auto& known = members_[&of];
  if (known.empty()) {
    for (const auto& [name, value] : *of.object()) known.emplace(name, &value);
  }
  const auto at = known.find(key);
  return at == known.end() ? nullptr : at->second;
}

const Json& SchemaDocument::resolve(const std::string& reference, const std::string& path) const {
  if (const auto known = resolved_.find(reference); known != resolved_.end()) return *known->second;
  const auto fail = [&](const char* why) { refuse_schema(path, str("\"$ref\" ", quote(reference), " ", why)); };
  if (!reference.starts_with('#')) fail("is not within the schema: only \"#\" and \"#/...\" are supported");
  if (reference.size() > 1 && reference[1] != '/') fail("names an anchor: only \"#\" and \"#/...\" are supported");
  const Json* at = &root_;
  for (size_t begin = 2; begin <= reference.size() && reference.size() > 1;) {
    const size_t end = std::min(reference.find('/', begin), reference.size());
    std::string key;
    for (size_t i = begin; i < end; ++i) {
      if (reference[i] == '~' && i + 1 < end) {
        key += reference[++i] == '1' ? '/' : '~';
      } else if (reference[i] == '%') {
        fail("has percent signs, which are not supported");
      } else {
        key += reference[i];
      }
    }
    if (at->array()) {
      const bool is_index = !key.empty() && key.size() < 7 && key.find_first_not_of("0123456789") == key.npos;
      const size_t index = is_index ? std::stoul(key) : at->array()->size();
      at = index < at->array()->size() ? &(*at->array())[index] : nullptr;
    } else {
      at = member(*at, key);
    }
    if (at == nullptr) fail("leads nowhere");
    begin = end + 1;
  }
  resolved_[reference] = at;
  return *at;
}

}  // namespace oss::grammar
