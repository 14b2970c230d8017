#include "native/grammar/formats.h"

namespace oss::grammar {
namespace {

#define OSS_DATE                                                                                               \
  "(\\d{4}-((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|[12]\\d|30)|02-(0[1-9]|1\\d|2[0-8]))|" \
  "(\\d\\d(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)"
#define OSS_TIME "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)"
// Six labels of 32 characters with their points are below the 253 characters of a name.
#define OSS_LABEL "[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?"
#define OSS_BYTE "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define OSS_PATH "[A-Za-z0-9._~!$&'()*+,;=:@-]"
#define OSS_HEX "[0-9a-fA-F]"
#define OSS_PIECE "[0-9a-fA-F]{1,4}"
#define OSS_UUID(version) OSS_HEX "{8}-" OSS_HEX "{4}-" version OSS_HEX "{3}-[89abAB]" OSS_HEX "{3}-" OSS_HEX "{12}"

struct Format {
  std::string_view name, pattern;
};
constexpr Format kFormats[] = {
    {"date", OSS_DATE},
    {"time", OSS_TIME},
    {"date-time", OSS_DATE "T" OSS_TIME},
    {"duration",
     "P(\\d+W|(\\d+Y(\\d+M)?(\\d+D)?|\\d+M(\\d+D)?|\\d+D)(T(\\d+H(\\d+M)?(\\d+S)?|\\d+M(\\d+S)?|\\d+S))?|"
     "T(\\d+H(\\d+M)?(\\d+S)?|\\d+M(\\d+S)?|\\d+S))"},
    {"email", "[A-Za-z0-9_+-]{1,32}(\\.[A-Za-z0-9_+-]{1,32}){0,3}@(" OSS_LABEL "\\.){1,4}[A-Za-z]{2,24}"},
    {"hostname", OSS_LABEL "(\\." OSS_LABEL "){0,5}"},
    {"ipv4", OSS_BYTE "(\\." OSS_BYTE "){3}"},
    {"ipv6",
     "(" OSS_PIECE ":){7}" OSS_PIECE "|(" OSS_PIECE ":){1,7}:|(" OSS_PIECE ":){1,6}:" OSS_PIECE "|(" OSS_PIECE
     ":){1,5}(:" OSS_PIECE "){2}|(" OSS_PIECE ":){1,4}(:" OSS_PIECE "){3}|(" OSS_PIECE ":){1,3}(:" OSS_PIECE
     "){4}|(" OSS_PIECE ":){1,2}(:" OSS_PIECE "){5}|" OSS_PIECE ":(:" OSS_PIECE "){6}|:(:" OSS_PIECE "){1,7}|::"},
    {"uuid", OSS_HEX "{8}-" OSS_HEX "{4}-" OSS_HEX "{4}-" OSS_HEX "{4}-" OSS_HEX "{12}"},
    {"uuid1", OSS_UUID("1")},
    {"uuid3", OSS_UUID("3")},
    {"uuid4", OSS_UUID("4")},
    {"uuid5", OSS_UUID("5")},
    {"uuid6", OSS_UUID("6")},
    {"uuid7", OSS_UUID("7")},
    {"uuid8", OSS_UUID("8")},
    {"uri", "(https?|ftp)://" OSS_LABEL "(\\." OSS_LABEL "){0,5}(:[1-9]\\d{0,3})?(/" OSS_PATH "*)*(\\?(" OSS_PATH
            "|[/?])*)?(#(" OSS_PATH "|[/?])*)?"},
};

}  // namespace

std::optional<std::string_view> format_pattern(std::string_view name) {
  for (const Format& known : kFormats) {
    if (known.name == name) return known.pattern;
  }
  return std::nullopt;
}

}  // namespace oss::grammar
